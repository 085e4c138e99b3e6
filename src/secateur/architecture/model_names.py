"""Names of networks as people write them elsewhere, led to how they are written here.

resnet50              -> timm:resnet50, or a function of one's own
bert-base-uncased     -> hf:bert-base-uncased
models.py:build       -> models:build
mymodule.build        -> mymodule:build
wrn_16_1, resnet-18   -> wrn-16-1, resnet18
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path

from secateur.errors import InputError
from secateur.models import NAMES

OWN = "package.module:function"
_WEIGHTS = (
    *(".pt", ".pth", ".ckpt", ".bin", ".safetensors", ".onnx", ".h5", ".pb", ".tflite", ".keras"),
    *(".pkl", ".npz"),
)
_WIDE = re.compile(r"(?:wrn|wide-?res-?net|wres-?net)-?(\d{1,4})-(\d{1,4}(?:\.\d{1,6})?)")
_WIDE_OF_OTHERS = ("wide-resnet50-2", "wide-resnet101-2")
_DOTTED = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+")
_TAGGED = re.compile(r"\w+\.\w*(?:in\d+k|laion|augreg|openai|imagenet)\w*")
_HUB = re.compile(r"[\w-][\w.-]*/[\w.-]+")
_ADDRESS = re.compile(r"(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/([\w.-]+/[\w.-]+).*")
_FILE = re.compile(r"(?:\./)?((?:[\w-]+/)*[\w-]+)\.py(?:[:.]+(\w+))?")
_HUBS = {"timm": "timm", **dict.fromkeys(("hf", "huggingface", "hub", "transformers"), "hf")}
_PREFIX = re.compile(rf"({'|'.join(_HUBS)})\s*[:/]+\s*(.*)", re.IGNORECASE | re.DOTALL)
_TRANSFORMERS = (
    *("bert", "roberta", "distilbert", "deberta", "albert", "electra", "gpt2", "t5", "llama", "opt", "clip"),
    *("xlm", "bart", "whisper", "wav2vec2", "dinov2"),
)
_ELSEWHERE = (
    *("resnet", "resnext", "wideresnet", "mobilenet", "efficientnet", "densenet"),
    *("vgg", "vit", "convnext", "swin", "regnet", "shufflenet"),
    *("squeezenet", "googlenet", "inception", "alexnet", "mnasnet", "deit"),
    *("mixer", "ghostnet", "maxvit", "xception", "darknet", "beit"),
    *("lenet", "unet", "levit", "resnest", "seresnet", "tinynet"),
    *("fbnet", "hrnet", "eva", "poolformer", "coatnet", "nfnet"),
)
"""How the names of torchvision's, timm's and others' networks begin."""
_TIMM = {
    "mobilenetv2": "mobilenetv2_100",
    "mobilenetv3large": "mobilenetv3_large_100",
    "mobilenetv3small": "mobilenetv3_small_100",
    "vitb16": "vit_base_patch16_224",
    "vitb32": "vit_base_patch32_224",
    "vitl16": "vit_large_patch16_224",
    "swint": "swin_tiny_patch4_window7_224",
    "swins": "swin_small_patch4_window7_224",
    "swinb": "swin_base_patch4_window7_224",
    "inceptionv3": "inception_v3",
}
"""Torchvision's names, in letters and digits alone, where timm's are others."""


def unknown_model(name: str) -> InputError:
    """What to say of a name that no network has here: what was probably meant."""
    return InputError(f"unknown model '{name}': {_advice(name.strip())}")


def misspelt_factory(name: str) -> str | None:
    """Say what the name of a factory that cannot be imported was probably meant to be; None: nobody can."""
    module, _, function = name.partition(":")
    if module in ("torchvision", "torchvision.models") and function:
        return _torchvision(function)
    if module.lower() in _HUBS and function:
        return f"write {_HUBS[module.lower()]}:{function}"
    return None


def file_for_module(name: str) -> str | None:
    """Say how a function is named that was looked for in a file (models.py:build); None where it was not."""
    if not (found := _FILE.fullmatch(name)):
        return None
    return f"name the module, without .py: {found[1].replace('/', '.')}:{found[2] or 'FUNCTION'}"


def _advice(name: str) -> str:
    """The right name, or where to find one."""
    if not name:
        return f"write for example {NAMES[0]}, {OWN}, hf:OWNER/NAME or timm:NAME"
    for guess in (_ours, _file, _prefixed, _hub, _dotted, _of_others):
        if found := guess(name):
            return found
    near = difflib.get_close_matches(name.lower(), NAMES, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return f"{hint}(one of: {', '.join(NAMES)}; of others {OWN}, hf:OWNER/NAME or timm:NAME)"


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9.]", "", name.lower())


def _ours(name: str) -> str | None:
    """A built-in network whose name is written another way."""
    squeezed = re.sub(r"[\s_x/-]+", "-", name.lower())
    wide = _WIDE.fullmatch(squeezed)
    if wide and wide[0] not in _WIDE_OF_OTHERS:
        return f"did you mean 'wrn-{wide[1]}-{wide[2]}'?"
    same = [known for known in NAMES if _letters(known) == _letters(name)]
    return f"did you mean '{same[0]}'?" if same else None


def _file(name: str) -> str | None:
    """A file, of Python or of weights, or a folder that is not there."""
    if advice := file_for_module(name):
        return advice
    if name.lower().endswith(_WEIGHTS):
        return (
            f"weights alone are no network: name what builds it, {OWN}, or a folder that train, prune or "
            "sc.save left"
        )
    if name.startswith((".", "/", "~")) or name.endswith("/"):
        return "there is no such folder: name one that train, prune or sc.save left, or an architecture.json"
    if Path(name).is_file():
        return f"this file is no network: name an architecture.json, or what builds the network, {OWN}"
    return None


def _prefixed(name: str) -> str | None:
    """An address, or a prefix that is written another way."""
    if found := _ADDRESS.fullmatch(name):
        return f"write hf:{found[1]}"
    if found := _PREFIX.fullmatch(name):
        return f"write {_HUBS[found[1].lower()]}:{found[2].strip() or 'NAME'}"
    return None


def _hub(name: str) -> str | None:
    """A model of the Hugging Face Hub without its prefix."""
    if _HUB.fullmatch(name):
        return f"of the Hugging Face Hub it is written hf:{name}, and no folder of that name is here"
    first = re.split(r"[-_]", name.lower())[0]
    return f"of the Hugging Face Hub it is written hf:{name}" if first in _TRANSFORMERS else None


def _dotted(name: str) -> str | None:
    """A function with a point where a colon belongs, or one with parentheses."""
    if ":" in name:
        bare = name.partition("(")[0].strip(": ")
        return f"write {bare}" if ":" in bare else f"a function is named {OWN}"
    if _TAGGED.fullmatch(name):
        return f"write timm:{name}"
    if not _DOTTED.fullmatch(name):
        return None
    module, _, function = name.rpartition(".")
    if module.split(".")[0] == "torchvision":
        return _torchvision(function)
    if module.split(".")[0] == "timm":
        return f"write timm:{function}"
    return f"a function is named after a colon: write {module}:{function}"


def _of_others(name: str) -> str | None:
    """A network of torchvision or timm."""
    return _torchvision(name) if _letters(name).startswith(_ELSEWHERE) else None


def _torchvision(name: str) -> str:
    timm = _TIMM.get(_letters(name), re.sub(r"\W+", "_", name.lower()))
    return (
        f"write timm:{timm}, torchvision.models:{name} where that is installed, hf:OWNER/NAME of the Hugging "
        f"Face Hub, or {OWN} of your own; built in are {', '.join(NAMES)}"
    )
