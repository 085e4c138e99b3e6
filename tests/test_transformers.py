"""Networks of `transformers` go through unmodified, batches as dictionaries too, and load from a folder."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import secateur as sc
from secateur.architecture.from_transformers import described, factory_from
from secateur.network.inputs import pair_of
from test_constraints import cli

transformers = pytest.importorskip("transformers", reason="needs secateur[hf]")

SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
IDS = torch.randint(0, 40, (8, 6), generator=torch.Generator().manual_seed(0))
MASK = (torch.arange(6) < torch.tensor([6, 5, 4, 6, 3, 6, 6, 2])[:, None]).long()
LABELS = torch.arange(8) % 3


def bert() -> nn.Module:
    torch.manual_seed(0)
    config = transformers.BertConfig(vocab_size=40, max_position_embeddings=8, num_labels=3, **SIZES)
    return transformers.BertForSequenceClassification(config)


def vit(**changes: Any) -> nn.Module:
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        **{"image_size": 8, "patch_size": 4, "num_channels": 1, "num_labels": 10, **SIZES, **changes}
    )
    return transformers.ViTForImageClassification(config)


def texts() -> dict[str, Tensor]:
    """As a collator of the package makes a batch."""
    return {"input_ids": IDS, "attention_mask": MASK, "labels": LABELS}


def logits(model: nn.Module, **inputs: Tensor) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(**inputs).logits
    return found


@pytest.mark.parametrize(
    "batch",
    [
        texts(),
        (transformers.BatchEncoding({"input_ids": IDS, "attention_mask": MASK}), LABELS),
    ],
    ids=["labels inside", "pair with a BatchEncoding"],
)
def test_a_text_classifier_is_cut_to_its_budget_saved_and_loaded(batch: Any, tmp_path: Path) -> None:
    whole = bert()
    model = sc.prune(copy.deepcopy(whole), budget="macs=90%", data=[batch], every=1, at_once=8)
    assert type(model) is transformers.BertForSequenceClassification
    found = sc.Architecture.of(model)
    assert found.macs <= 0.9 * sc.inspect(whole, {"input_ids": IDS, "attention_mask": MASK}).now["macs"]
    assert found.widths[0] < 32
    sc.save(model, tmp_path)
    again = sc.load(tmp_path)
    assert type(again) is transformers.BertForSequenceClassification
    inputs = {"input_ids": IDS, "attention_mask": MASK}
    assert torch.equal(logits(again, **inputs), logits(model, **inputs))
    assert not torch.equal(logits(again, input_ids=IDS), logits(again, **inputs))  # the mask is used


def test_batches_of_the_package_are_taken_apart() -> None:
    inputs, targets = pair_of(transformers.BatchEncoding(texts()))
    assert sorted(inputs) == ["attention_mask", "input_ids"]
    assert targets is LABELS


def test_losses_of_a_batch_are_those_of_the_package() -> None:
    model = bert().eval()
    inputs, targets = pair_of(texts())
    with torch.no_grad():
        theirs = model(**texts()).loss
        ours = nn.functional.cross_entropy(model(**inputs).logits, targets)
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(
    ("batch", "said"),
    [
        ({"input_ids": IDS}, "has its targets under one of labels, label, label_ids, got input_ids"),
        ({"labels": LABELS, "label": LABELS}, "has its targets under one of"),
        ({"input_idz": IDS, "labels": LABELS}, "cannot be run on the inputs given"),
        ({"input_ids": IDS, "labels": LABELS.float()}, "task='regression'"),
    ],
)
def test_dictionaries_that_do_not_fit_are_refused_in_one_line(batch: dict[str, Tensor], said: str) -> None:
    with pytest.raises(sc.InputError) as caught:
        sc.prune(bert(), budget="macs=80%", data=[batch])
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_vision_transformer_from_a_folder_can_be_built_anew_and_cut_further(tmp_path: Path) -> None:
    x = torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    batch = {"pixel_values": x, "labels": torch.arange(8)}
    model = sc.prune(vit(), budget="params=90%", data=[batch], every=1, at_once=8)
    sc.save(model, tmp_path / "one")
    architecture = sc.Architecture.load(tmp_path / "one")
    assert architecture.factory == "transformers:ViTForImageClassification"
    assert logits(architecture.build(seed=1), pixel_values=x).shape == (8, 10)
    again = sc.prune(sc.load(tmp_path / "one"), budget="params=90%", data=[batch], every=1, at_once=8)
    sc.save(again, tmp_path / "two")
    smaller = sc.load(tmp_path / "two")
    assert torch.equal(logits(smaller, pixel_values=x), logits(again, pixel_values=x))
    assert sc.Architecture.of(smaller).params <= 0.9 * architecture.params
    assert sorted(each.name for each in (tmp_path / "two").iterdir()) == [
        "architecture.json",
        "manifest.json",
        "model.safetensors",
        "transformers.json",
    ]


# What a file may not ask for


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    model = vit()
    sc.inspect(model, {"pixel_values": torch.randn(2, 1, 8, 8)})
    sc.save(model, tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"class": "logging"}, "must name a model class of transformers"),
        ({"class": "AutoModelForImageClassification"}, "must name a model class of transformers"),
        ({"class": "PreTrainedModel"}, "must name a model class of transformers"),
        ({"class": "os.system"}, "must name a model class of transformers"),
        ({"class": None}, "must name a model class of transformers"),
        ({"config": []}, "must name a model class of transformers"),
        ({"format": "else"}, '"format" must be "secateur-transformers"'),
        ({"class": "BertForSequenceClassification"}, "other tensors"),
    ],
)
def test_a_description_that_was_changed_is_refused(saved: Path, changes: dict[str, Any], said: str) -> None:
    file = saved / "transformers.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    with pytest.raises(sc.InputError) as caught:
        sc.load(saved)
    assert said in str(caught.value)


def test_a_configuration_is_changed_within_the_layout_that_was_saved_or_refused(saved: Path) -> None:
    file = saved / "transformers.json"
    content = json.loads(file.read_text())
    content["config"]["intermediate_size"] = 10**9  # nothing of that size is made
    file.write_text(json.dumps(content))
    with pytest.raises(sc.InputError, match="the factory builds a network with other tensors"):
        sc.load(saved)


def test_nothing_is_downloaded_and_no_code_is_run_for_a_configuration() -> None:
    theirs = described(vit())
    assert theirs is not None
    with pytest.raises(sc.InputError, match="'use_pretrained_backbone' would be built of downloaded parts"):
        factory_from({**theirs, "config": {**theirs["config"], "use_pretrained_backbone": True}})
    config = {
        **theirs["config"],
        "attn_implementation": "owner/kernel",
        "auto_map": {"AutoModel": "owner/code--x"},
    }
    model = factory_from({**theirs, "config": config})()
    assert model.config._attn_implementation in ("sdpa", "eager")


def test_without_its_description_the_factory_has_to_be_named(saved: Path) -> None:
    (saved / "transformers.json").unlink()
    with pytest.raises(sc.InputError, match="pass the factory"):
        sc.load(saved)
    assert isinstance(sc.load(saved, factory=vit), transformers.ViTForImageClassification)


def test_a_subclass_of_the_users_own_is_not_taken_for_theirs(tmp_path: Path) -> None:
    class Mine(transformers.ViTForImageClassification):  # type: ignore[misc, name-defined]
        pass

    assert described(Mine(vit().config)) is None


# Folders that save_pretrained left


def pretrained(folder: Path, **changes: Any) -> Path:
    vit(**changes).save_pretrained(folder)
    return folder


COMMAND = "prune fisher --data digits --limit-train 100 --val-fraction 0.3 --device cpu --budget params=95%"


def test_a_folder_that_save_pretrained_left_is_pruned_and_its_result_loads_by_itself(tmp_path: Path) -> None:
    folder, out = pretrained(tmp_path / "theirs"), tmp_path / "small"
    asked = f"--model {folder} --trained --prune-every 1 --at-once 8 --tune-epochs 0 --out {out}"
    assert cli(f"{COMMAND} {asked}") == 0
    model = sc.load(out)
    assert isinstance(model, transformers.ViTForImageClassification)
    assert sc.Architecture.of(model).params <= 0.95 * sum(p.numel() for p in vit().parameters())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"num_labels": 3}, "tells apart 3 classes and the data set digits has 10"),
        (
            {"id2label": dict(enumerate("1023456789")), "label2id": {}},
            "is the class '1', and in the data set digits class 0 is '0'",
        ),
        ({"image_size": 16}, "Input image size (8*8) doesn't match model (16*16)"),
    ],
)
def test_a_trained_classifier_of_other_classes_or_images_is_refused(
    tmp_path: Path, changes: dict[str, Any], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = pretrained(tmp_path / "theirs", **changes)
    capsys.readouterr()  # the progress of saving
    assert cli(f"{COMMAND} --model hf:{folder} --trained --out {tmp_path / 'out'}") == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.strip().count("\n") == 0
    assert not (tmp_path / "out").exists()


def test_pickled_weights_are_never_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = pretrained(tmp_path / "theirs")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert cli(f"{COMMAND} --model hf:{folder} --trained --out {tmp_path / 'out'}") == 2
    assert "weights are read from safetensors, never from pickles" in capsys.readouterr().err
