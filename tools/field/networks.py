"""The networks that `tools/prunability.py` tries: names here, libraries only when one is built.

Of torchvision every classifier is listed; the smallest of each family is tried unless `--all` asks for the
others. Of timm the smallest of each family, and more of the families that are many networks under one name.
Of transformers small configurations with random weights: nothing is downloaded. Inputs are as small as the
network takes them, for what is right at 64 pixels is right at 224.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from field import ours

CLASSES = 10
EXAMPLES = 2


@dataclass(frozen=True)
class Network:
    """One network to try.

    Attributes:
        name: "KIND/NAME".
        build: makes it with random weights.
        inputs: makes as many examples as asked for.
        more: tried only with `--all`.
        lists: the inputs are a list of images, as detectors take them.
    """

    name: str
    build: Callable[[], nn.Module]
    inputs: Callable[[int], Any]
    more: bool = False

    @property
    def kind(self) -> str:
        """Where it is from: "torchvision", "timm", ..."""
        return self.name.partition("/")[0]


def seeded(*shape: int) -> Tensor:
    """Normal noise, the same every time."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def images(side: int, channels: int = 3) -> Callable[[int], Tensor]:
    """Square images."""
    return lambda n: seeded(n, channels, side, side)


def list_of_images(side: int) -> Callable[[int], tuple[list[Tensor]]]:
    """What torchvision's detectors take: a list of images without a batch dimension."""
    return lambda n: (list(seeded(n, 3, side, side).abs().clamp(0, 1)),)


def tokens(
    words: int, length: int = 12, *, mask: bool = True, **more: Any
) -> Callable[[int], dict[str, Tensor]]:
    """Token ids, with an attention mask whose last places are padding in the last example."""

    def make(n: int) -> dict[str, Tensor]:
        drawn = torch.Generator().manual_seed(0)
        found = {"input_ids": torch.randint(3, words, (n, length), generator=drawn)}
        if mask:
            found["attention_mask"] = torch.ones(n, length, dtype=torch.long)
            found["attention_mask"][-1, -3:] = 0
        for name, size in more.items():
            found[name] = torch.randint(3, words, (n, size), generator=drawn)
        return found

    return make


# ---- torchvision -----------------------------------------------------------------------------------------

# One of each family first, then the others; (name, side, arguments beyond num_classes).
_AUX: dict[str, Any] = {"init_weights": False}
TORCHVISION: tuple[tuple[str, int, dict[str, Any]], ...] = (
    ("resnet18", 64, {}),
    ("resnet50", 64, {}),
    ("mobilenet_v2", 64, {}),
    ("mobilenet_v3_small", 64, {}),
    ("efficientnet_b0", 64, {}),
    ("vgg11", 32, {}),
    ("vgg11_bn", 32, {}),
    ("densenet121", 64, {}),
    ("vit_b_32", 64, {"image_size": 64}),
    ("vit_b_16", 32, {"image_size": 32}),
    ("convnext_tiny", 64, {}),
    ("swin_t", 64, {}),
    ("swin_v2_t", 64, {}),
    ("alexnet", 64, {}),
    ("squeezenet1_0", 64, {}),
    ("squeezenet1_1", 64, {}),
    ("googlenet", 64, _AUX),
    ("inception_v3", 128, _AUX),
    ("shufflenet_v2_x0_5", 64, {}),
    ("mnasnet0_5", 64, {}),
    ("regnet_x_400mf", 64, {}),
    ("regnet_y_400mf", 64, {}),
    ("resnext50_32x4d", 64, {}),
    ("wide_resnet50_2", 64, {}),
    ("efficientnet_v2_s", 64, {}),
    ("mobilenet_v3_large", 64, {}),
    ("maxvit_t", 224, {}),
)
TORCHVISION_MORE: tuple[tuple[str, int, dict[str, Any]], ...] = tuple(
    (name, 32 if name.startswith("vgg") else 64, {"image_size": 64} if name.startswith("vit_l") else {})
    for name in (
        *("resnet34", "resnet101", "resnet152", "resnext101_32x8d", "resnext101_64x4d", "wide_resnet101_2"),
        *("densenet161", "densenet169", "densenet201", "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19"),
        *("vgg19_bn", "efficientnet_b1", "efficientnet_b2", "efficientnet_b3", "efficientnet_b4"),
        *("efficientnet_b5", "efficientnet_b6", "efficientnet_b7", "efficientnet_v2_m", "efficientnet_v2_l"),
        *("mnasnet0_75", "mnasnet1_0", "mnasnet1_3", "shufflenet_v2_x1_0", "shufflenet_v2_x1_5"),
        *("shufflenet_v2_x2_0", "regnet_x_800mf", "regnet_x_1_6gf", "regnet_x_3_2gf", "regnet_x_8gf"),
        *("regnet_x_16gf", "regnet_x_32gf", "regnet_y_800mf", "regnet_y_1_6gf", "regnet_y_3_2gf"),
        *("regnet_y_8gf", "regnet_y_16gf", "regnet_y_32gf", "convnext_small", "convnext_base"),
        *("convnext_large", "swin_s", "swin_b", "swin_v2_s", "swin_v2_b", "vit_l_32", "vit_l_16"),
    )
)
"""Beyond the smallest. Two are not here, as copies of them do not fit in memory: vit_h_14, regnet_y_128gf."""

SEGMENTATION = (
    ("lraspp_mobilenet_v3_large", 64),
    ("deeplabv3_mobilenet_v3_large", 64),
    ("fcn_resnet50", 64),
    ("deeplabv3_resnet50", 64),
)
DETECTION: tuple[tuple[str, int], ...] = (
    ("ssdlite320_mobilenet_v3_large", 64),
    ("fasterrcnn_mobilenet_v3_large_320_fpn", 64),
    ("retinanet_resnet50_fpn", 64),
    ("fcos_resnet50_fpn", 64),
    ("fasterrcnn_resnet50_fpn", 64),
    ("maskrcnn_resnet50_fpn", 64),
    ("keypointrcnn_resnet50_fpn", 64),
    ("ssd300_vgg16", 300),
)


class DetectorBody(nn.Module):
    """What of a torchvision detector has weights on every image: backbone, pyramid, and a one-stage head.

    Its boxes are picked by scores, so that two networks that compute the same but for rounding may give
    other boxes; the features before that choice can be compared. For regions (R-CNN) the proposal head
    is the head; what comes behind the choice of regions is given the pooled pyramid itself.
    """

    def __init__(self, detector: Any):
        super().__init__()
        self.detector = detector

    def forward(self, images: Tensor) -> list[Tensor]:
        """Give all that is computed before boxes are chosen."""
        found = self.detector.backbone(images)
        levels = [found] if isinstance(found, Tensor) else list(found.values())
        if hasattr(self.detector, "head"):
            return [*self.detector.head(levels).values()]
        rpn, heads = self.detector.rpn.head(levels), self.detector.roi_heads
        outputs = [*rpn[0], *rpn[1]]
        regions = nn.functional.adaptive_avg_pool2d(levels[0], 7)
        outputs += heads.box_predictor(heads.box_head(regions))
        for name in ("mask", "keypoint"):
            if getattr(heads, f"{name}_head", None) is not None:
                wide = nn.functional.adaptive_avg_pool2d(levels[0], 14)
                outputs.append(getattr(heads, f"{name}_predictor")(getattr(heads, f"{name}_head")(wide)))
        return outputs


def _torchvision(name: str, **settings: Any) -> nn.Module:
    models = importlib.import_module("torchvision.models")
    built: nn.Module = models.get_model(name, weights=None, num_classes=CLASSES, **settings)
    return built


def _segmenter(name: str) -> nn.Module:
    return _torchvision(name, weights_backbone=None, aux_loss=True if "resnet" in name else None)


def _detector(name: str) -> nn.Module:
    return _torchvision(name, weights_backbone=None)


def _body(name: str) -> nn.Module:
    return DetectorBody(_detector(name))


# ---- timm ------------------------------------------------------------------------------------------------

# Name and side; "@" before the side where the network is built for it (`img_size`).
TIMM = """
resnet18 64, mobilenetv3_small_050 64, vit_tiny_patch16_224 @64, efficientnet_b0 64, convnext_zepto_rms 64,
swin_tiny_patch4_window7_224 @64, regnetx_002 64, regnety_002 64, mobilenetv2_035 64, densenet121 64,
resnet10t 64, resnetv2_18 64, seresnext26t_32x4d 64, ecaresnet26t 64, legacy_seresnet18 64, lcnet_035 64,
mnasnet_small 64, mixnet_s 64, tf_efficientnetv2_b0 64, ghostnet_050 64, hardcorenas_a 64, rexnet_100 64,
deit_tiny_distilled_patch16_224 @64, convnextv2_atto 64, mobileone_s1 @64, repvgg_a0 @64, gcresnext26ts @64,
cs3darknet_focus_s 64, dla46_c 64, hrnet_w18_small 64, ese_vovnet19b_slim_dw 64, res2next50 64,
resnest14d 64, skresnet18 64, dpn48b 64, nf_regnet_b0 64, nf_resnet26 64, starnet_s050 64,
repghostnet_050 64, lcnetv2_small 64, cspnext_tiny 64, hgnetv2_b0 64, fasternet_t0 64, inception_next_atto 64,
mambaout_femto 64, edgenext_xx_small 64, mobilevit_xxs @64, mobilevitv2_050 @64, pvt_v2_b0 64, pit_ti_224 @64,
efficientvit_b0 64, efficientvit_m0 @64, efficientformerv2_s0 @64, efficientformer_l1 @224,
xcit_nano_12_p16_224 @64, cait_xxs24_224 @64, convit_tiny @64, crossvit_tiny_240 64, levit_128s @64,
eva02_tiny_patch14_224 @70, gmlp_ti16_224 @64, gmixer_12_224 @64, resmlp_12_224 @64, mixer_s32_224 @64,
poolformer_s12 64, caformer_s18 64, convformer_s18 64, coat_tiny @64, coat_lite_tiny @64,
coatnet_pico_rw_224 @64, maxvit_pico_rw_256 @64, botnet26t_256 @64, eca_botnext26ts_256 @64,
tiny_vit_5m_224 64, swiftformer_xs @64, fastvit_t8 64, repvit_m0_9 @64, shvit_s1 64, iformer_t 64,
cpubone_nano 64, efficientvim_m1 64, rdnet_tiny 64, visformer_tiny @64, vit_tiny_r_s16_p8_224 @64,
vit_relpos_small_patch16_224 @64, vitamin_small_224 @64, volo_d1_224 @64, nest_tiny @64, gcvit_xxtiny @64,
hiera_tiny_224 @64, davit_tiny 64, focalnet_tiny_srf 64, mvitv2_tiny @64, tnt_s_patch16_224 @64,
twins_svt_small @64, twins_pcpvt_small @64, swinv2_tiny_window8_256 @64, swinv2_cr_tiny_224 @64,
sequencer2d_s @64, lowformer_b0 64, nextvit_small 64, csatv2 64, legacy_xception 64, xception41 64,
inception_v3 96, inception_v4 96, inception_resnet_v2 96, selecsls42 64, tresnet_m 64, convmixer_768_32 64,
eca_nfnet_l0 64, vgg11 32, ghostnetv3_050 64
"""
TIMM_MORE = """
resnext50_32x4d 64, wide_resnet50_2 64, res2net50_14w_8s 64, beit_base_patch16_224 @64,
samvit_base_patch16_224 @64, naflexvit_base_patch16_gap @64, hieradet_small 64, halonet_h1 @256,
mobilenetv5_base 64, nasnetalarge 64, pnasnet5large 64
"""


def _timm(name: str, settings: dict[str, Any]) -> nn.Module:
    built: nn.Module = importlib.import_module("timm").create_model(name, num_classes=CLASSES, **settings)
    return built


def _listed(text: str) -> list[tuple[str, int, dict[str, Any]]]:
    found = []
    for entry in text.replace("\n", " ").split(","):
        name, side = entry.split()
        fixed = side.startswith("@")
        found.append((name, int(side.lstrip("@")), {"img_size": int(side[1:])} if fixed else {}))
    return found


# ---- transformers ----------------------------------------------------------------------------------------

_TEXT = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
_BERT = {**_TEXT, "intermediate_size": 64, "max_position_embeddings": 32, "num_labels": CLASSES}
_LLAMA = {
    **{**_TEXT, "intermediate_size": 64, "max_position_embeddings": 32, "num_key_value_heads": 2},
    **{"use_cache": False, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2},
}
_VIT = {
    **{
        "image_size": 32,
        "patch_size": 8,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    },
    **{"intermediate_size": 64, "num_labels": CLASSES},
}
_SPEECH: dict[str, Any] = {
    **{"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64},
    **{"conv_dim": (16, 16), "conv_stride": (5, 2), "conv_kernel": (10, 3), "num_feat_extract_layers": 2},
    **{"num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4, "num_labels": CLASSES},
    **{"classifier_proj_size": 16, "vocab_size": 20},
}
_SOUND = lambda n: {"input_values": seeded(n, 1600)}  # noqa: E731

TRANSFORMERS: dict[str, tuple[str, dict[str, Any], str, Callable[[int], Any]]] = {
    "bert": ("BertConfig", _BERT, "BertForSequenceClassification", tokens(64)),
    "vit": ("ViTConfig", _VIT, "ViTForImageClassification", images(32)),
    "llama": ("LlamaConfig", _LLAMA, "LlamaForCausalLM", tokens(64)),
    "gpt2": (
        "GPT2Config",
        {
            **{
                "vocab_size": 64,
                "n_embd": 32,
                "n_layer": 2,
                "n_head": 4,
                "n_positions": 32,
                "use_cache": False,
            },
            **{"bos_token_id": 1, "eos_token_id": 2},
        },
        "GPT2LMHeadModel",
        tokens(64),
    ),
    "resnet": (
        "ResNetConfig",
        {"embedding_size": 16, "hidden_sizes": [32, 48], "depths": [1, 2], "num_labels": CLASSES},
        "ResNetForImageClassification",
        images(32),
    ),
    "distilbert": (
        "DistilBertConfig",
        {
            **{"vocab_size": 64, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64},
            **{"max_position_embeddings": 32, "num_labels": CLASSES},
        },
        "DistilBertForSequenceClassification",
        tokens(64),
    ),
    "roberta": (
        "RobertaConfig",
        {**_BERT, "max_position_embeddings": 40},
        "RobertaForTokenClassification",
        tokens(64),
    ),
    "electra": (
        "ElectraConfig",
        {**_BERT, "embedding_size": 16},
        "ElectraForSequenceClassification",
        tokens(64),
    ),
    "albert": (
        "AlbertConfig",
        {**_BERT, "embedding_size": 16},
        "AlbertForSequenceClassification",
        tokens(64),
    ),
    "mistral": ("MistralConfig", {**_LLAMA, "sliding_window": 8}, "MistralForCausalLM", tokens(64)),
    "qwen2": ("Qwen2Config", _LLAMA, "Qwen2ForCausalLM", tokens(64)),
    "qwen3": ("Qwen3Config", {**_LLAMA, "head_dim": 8}, "Qwen3ForCausalLM", tokens(64)),
    "gemma": ("GemmaConfig", {**_LLAMA, "head_dim": 8}, "GemmaForCausalLM", tokens(64)),
    "phi": ("PhiConfig", _LLAMA, "PhiForCausalLM", tokens(64)),
    "gpt-neox": ("GPTNeoXConfig", {**_LLAMA, "rotary_pct": 0.5}, "GPTNeoXForCausalLM", tokens(64)),
    "opt": (
        "OPTConfig",
        {**_LLAMA, "ffn_dim": 64, "word_embed_proj_dim": 32},
        "OPTForCausalLM",
        tokens(64),
    ),
    "bart": (
        "BartConfig",
        {
            **{"vocab_size": 64, "d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "use_cache": False},
            **{"encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 64},
            **{"decoder_ffn_dim": 64, "max_position_embeddings": 32},
        },
        "BartForConditionalGeneration",
        tokens(64, decoder_input_ids=6),
    ),
    "t5": (
        "T5Config",
        {
            **{"vocab_size": 64, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4},
            **{"decoder_start_token_id": 0, "use_cache": False},
        },
        "T5ForConditionalGeneration",
        tokens(64, decoder_input_ids=6),
    ),
    "deit": ("DeiTConfig", _VIT, "DeiTForImageClassification", images(32)),
    "beit": ("BeitConfig", _VIT, "BeitForImageClassification", images(32)),
    "swin": (
        "SwinConfig",
        {
            **{"image_size": 32, "patch_size": 2, "embed_dim": 16, "depths": [1, 2], "num_heads": [2, 4]},
            **{"window_size": 4, "num_labels": CLASSES},
        },
        "SwinForImageClassification",
        images(32),
    ),
    "convnextv2": (
        "ConvNextV2Config",
        {"hidden_sizes": [16, 24, 32, 40], "depths": [1, 1, 2, 1], "image_size": 32, "num_labels": CLASSES},
        "ConvNextV2ForImageClassification",
        images(32),
    ),
    "segformer": (
        "SegformerConfig",
        {
            **{"hidden_sizes": [16, 24, 32, 40], "depths": [1, 1, 1, 1], "num_attention_heads": [1, 2, 2, 4]},
            **{"decoder_hidden_size": 32, "num_labels": CLASSES},
        },
        "SegformerForSemanticSegmentation",
        images(64),
    ),
    "mobilevit": (
        "MobileViTConfig",
        {
            **{
                "image_size": 64,
                "hidden_sizes": [24, 32, 40],
                "neck_hidden_sizes": [8, 8, 16, 16, 24, 24, 48],
            },
            **{"num_labels": CLASSES},
        },
        "MobileViTForImageClassification",
        images(64),
    ),
    "clip": (
        "CLIPConfig",
        {
            "text_config": {**_LLAMA, "projection_dim": 16},
            "vision_config": {**_VIT, "projection_dim": 16},
            "projection_dim": 16,
        },
        "CLIPModel",
        lambda n: {**tokens(64)(n), "pixel_values": images(32)(n)},
    ),
    "wav2vec2": ("Wav2Vec2Config", _SPEECH, "Wav2Vec2ForSequenceClassification", _SOUND),
    "hubert": ("HubertConfig", _SPEECH, "HubertForCTC", _SOUND),
    "ast": (
        "ASTConfig",
        {**_VIT, "max_length": 32, "num_mel_bins": 16, "frequency_stride": 8, "time_stride": 8},
        "ASTForAudioClassification",
        lambda n: {"input_values": seeded(n, 32, 16)},
    ),
    "whisper": (
        "WhisperConfig",
        {
            **{"vocab_size": 64, "d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "num_mel_bins": 8},
            **{"encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 64},
            **{"decoder_ffn_dim": 64, "max_source_positions": 16, "max_target_positions": 16},
            **{"use_cache": False, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2},
            **{"decoder_start_token_id": 1, "begin_suppress_tokens": None, "suppress_tokens": None},
        },
        "WhisperForConditionalGeneration",
        lambda n: {"input_features": seeded(n, 8, 32), "decoder_input_ids": tokens(64, 6)(n)["input_ids"]},
    ),
}


def _transformer(config: str, settings: dict[str, Any], model: str) -> nn.Module:
    library = importlib.import_module("transformers")
    built: nn.Module = getattr(library, model)(getattr(library, config)(**settings))
    return built


# ---- written here ----------------------------------------------------------------------------------------


def _words(n: int, length: int, most: int = 40) -> Tensor:
    return torch.randint(0, most, (n, length), generator=torch.Generator().manual_seed(0))


def _steps(n: int) -> tuple[Tensor, Tensor]:
    return seeded(n, 3, 16, 16), torch.arange(1, n + 1) * 100


OURS: dict[str, tuple[Callable[[], nn.Module], Callable[[int], Any]]] = {
    "detector/yolov8 (C2f)": (ours.YoloV8, images(64)),
    "detector/yolov5 (CSP)": (ours.YoloV5, images(64)),
    "detector/retinanet (FPN)": (ours.RetinaFpn, images(64)),
    "detector/efficientdet (BiFPN)": (ours.BiFpn, images(64)),
    "detector/detr": (ours.Detr, images(64)),
    "diffusion/time added": (ours.DiffusionUnet, _steps),
    "diffusion/scale and shift": (partial(ours.DiffusionUnet, scale=True), _steps),
    "diffusion/attention": (partial(ours.DiffusionUnet, attention="full"), _steps),
    "diffusion/linear attention": (partial(ours.DiffusionUnet, attention="linear", learned=True), _steps),
    "diffusion/text": (partial(ours.DiffusionUnet, text=20), lambda n: (*_steps(n), seeded(n, 7, 20))),
    "recurrent/tagger (LSTM)": (ours.Tagger, lambda n: _words(n, 9)),
    "recurrent/gru": (ours.GruClassifier, lambda n: seeded(n, 9, 12)),
    "recurrent/crnn": (ours.Crnn, lambda n: seeded(n, 1, 16, 32)),
    "recurrent/seq2seq": (ours.Seq2Seq, lambda n: (_words(n, 9), _words(n, 7))),
    "recurrent/convlstm": (ours.ConvLstm, lambda n: seeded(n, 4, 3, 12, 12)),
}


def every() -> dict[str, Network]:
    """All networks by name, those that say most first."""
    found = [Network(name, build, inputs) for name, (build, inputs) in OURS.items()]
    for more, listed in ((False, TORCHVISION), (True, TORCHVISION_MORE)):
        for name, side, settings in listed:
            found.append(
                Network(f"torchvision/{name}", partial(_torchvision, name, **settings), images(side), more)
            )
    found += [
        Network(f"segmentation/{name}", partial(_segmenter, name), images(side))
        for name, side in SEGMENTATION
    ]
    for name, side in DETECTION:
        found.append(Network(f"detection/{name}", partial(_body, name), images(side)))
        found.append(Network(f"detection list/{name}", partial(_detector, name), list_of_images(side), True))
    for name, (config, chosen, model, inputs) in TRANSFORMERS.items():
        found.append(Network(f"transformers/{name}", partial(_transformer, config, chosen, model), inputs))
    for more, text in ((False, TIMM), (True, TIMM_MORE)):
        for name, side, settings in _listed(text):
            found.append(Network(f"timm/{name}", partial(_timm, name, settings), images(side), more))
    return {network.name: network for network in found}
