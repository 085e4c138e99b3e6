"""Budgets as people write them elsewhere: each refusal names the right one, with the user's own value."""

from __future__ import annotations

import re
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from secateur.architecture.factories import _accepted
from secateur.architecture.resolve import check_model_name
from secateur.budget import Budget, Budgets
from secateur.budget.hints import split
from secateur.cli.shared import budgets_of
from secateur.errors import InputError

MEANT = {
    "flops=80M": "macs=40M",  # 1 MAC = 2 FLOPs
    "FLOPs=50%": "macs=50%",
    "GFLOPs=1.8": "macs=900M",
    "mflops=300": "macs=150M",
    "MACs=40M": "macs=40M",
    "gmacs=0.3": "macs=300M",
    "madds=50%": "macs=50%",
    "size=1MB": "bytes=1MB",
    "size=50%": "bytes=50% or params=50%",
    "file=500kB": "bytes=500kB",
    "mb=1.5": "bytes=1.5MB",
    "kb=500": "bytes=500kB",
    "memory=1GB": "bytes=1GB",
    "sparsity=90%": "nonzeros=10%",
    "sparsity=0.9": "nonzeros=10%",
    "sparsity=95": "nonzeros=5%",
    "sparsity=97.5%": "nonzeros=2.5%",
    "density=0.1": "nonzeros=10%",
    "nnz=5%": "nonzeros=5%",
    "weights=5%": "nonzeros=5% or params=5%",
    "pruned=30%": "params=70% or nonzeros=70%",
    "compression=4x": "params=25% or nonzeros=25%",
    "compression=10": "params=10% or nonzeros=10%",
    "ratio=0.5": "params=50% or macs=50%",
    "50%": "params=50% or macs=50%",
    "0.5": "params=50% or macs=50%",
    "=50%": "params=50% or macs=50%",
    "500k": "params=500k or macs=500k",
    "1MB": "bytes=1MB",
    "2ms": "latency=2ms@torch",
    "ms=2": "latency=2ms@torch",
    "time=2ms": "latency=2ms@torch",
    "fps=500": "latency=2ms@torch",
    "speedup=2x": "latency=50%@torch",
    "latency=2": "latency=2ms@torch",
    "latency=5ms": "latency=5ms@torch",
    "params=0.5": "params=50%",
    "params=.25": "params=25%",
    "params=1.0": "params=100%",
    "params=1/2": "params=50%",
    "params=2x": "params=50%",
    "params=1e6": "params=1M",
    "params=1.5e6": "params=1.5M",
    "params=1_000_000": "params=1M",
    "params=1 million": "params=1M",
    "params=2B": "params=2G",
    "params=50 percent": "params=50%",
    "params=500kB": "bytes=500kB",
    "nonzeros=0.05": "nonzeros=5%",
    "Params=50%": "params=50%",
    "parameters=500k": "params=500k",
    "params 50%": "params=50%",
    "params:50%": "params=50%",
    "params<=500k": "params=500k",
    "params≤500k": "params=500k",
}


@pytest.mark.parametrize(("text", "right"), MEANT.items(), ids=MEANT)
def test_what_was_meant_is_named_with_its_value(text, right):
    with pytest.raises(InputError) as refused:
        Budget.parse(text)
    said = str(refused.value)
    assert f"'{text}'" in said
    written = re.search(r"write (?:for example )?(\S+?(?: or \S+)?)(?: \(one of.*)?$", said)[1]
    assert written == right
    for each in right.split(" or "):
        Budget.parse(each)


def test_why_macs_are_half_of_flops():
    with pytest.raises(InputError, match="1 MAC = 2 FLOPs"):
        Budget.parse("flops=80M")


@given(st.integers(1, 99))
def test_a_sparsity_and_its_budget_leave_the_same(percent):
    with pytest.raises(InputError) as refused:
        Budget.parse(f"sparsity={percent}%")
    right = re.search(r"write (\S+)$", str(refused.value))[1]
    assert Budget.parse(right).limit(10_000) == 10_000 - 100 * percent


@settings(max_examples=50)
@given(st.text(max_size=12), st.sampled_from(["=", " ", ":", "==", "", "<="]))
def test_whatever_is_written_is_a_budget_or_one_line(part, between):
    for text in (f"{part}{between}50%", f"params{between}{part}"):
        with suppress(InputError):
            Budget.parse(text)


SPELLINGS = ["flops", "size", "sparsity", "compression", "ratio", "ms", "keep", "fps", "params", "latency"]


@settings(max_examples=60)
@given(st.sampled_from(SPELLINGS), st.floats(1e-9, 1e15))
def test_a_budget_that_is_proposed_can_be_read(name, number):
    for text in (f"{name}={number:.6f}", f"{name}={number:.3e}", f"{name}={number:.3f}%"):
        try:
            Budget.parse(text)
        except InputError as refused:
            for each in re.findall(r"\b[a-z]+=\S+", str(refused).rpartition("write ")[2]):
                Budget.parse(each)


def test_commas_stand_between_budgets_not_in_numbers():
    assert split("params=50%,macs=1M") == ["params=50%", "macs=1M"]
    assert [str(budget) for budget in budgets_of(["params=50%,params=25%", "params=10%"])] == [
        *("params=50%", "params=25%", "params=10%")
    ]
    for parse in (Budgets.parse, lambda text: budgets_of([text])):
        with pytest.raises(InputError, match=r"not within a number, got 'params=1,000,000': write 1M"):
            parse("params=1,000,000")


MODELS = {
    "resnet50": "timm:resnet50, torchvision.models:resnet50",
    "mobilenet_v2": "timm:mobilenetv2_100, torchvision.models:mobilenet_v2",
    "vit_b_16": "timm:vit_base_patch16_224",
    "efficientnet_b0": "timm:efficientnet_b0",
    "wide_resnet50_2": "timm:wide_resnet50_2",
    "resnet50.a1_in1k": "write timm:resnet50.a1_in1k",
    "bert-base-uncased": "hf:bert-base-uncased",
    "google/vit-base-patch16-224": "hf:google/vit-base-patch16-224",
    "https://huggingface.co/microsoft/resnet-50": "write hf:microsoft/resnet-50",
    "HF:google/vit": "write hf:google/vit",
    "timm/resnet18": "write timm:resnet18",
    "torchvision.models.resnet50": "torchvision.models:resnet50",
    "torchvision:resnet50": "torchvision.models:resnet50",
    "models.py:build": "without .py: models:build",
    "src/nets.py:build": "without .py: src.nets:build",
    "nets.py": "nets:FUNCTION",
    "mymodule.build": "write mymodule:build",
    "mymodule:build()": "write mymodule:build",
    "wrn16-1": "did you mean 'wrn-16-1'?",
    "wrn_16_1": "did you mean 'wrn-16-1'?",
    "WideResNet-28-10": "did you mean 'wrn-28-10'?",
    "wrn28x10": "did you mean 'wrn-28-10'?",
    "resnet-18": "did you mean 'resnet18'?",
    "ResNet_18": "did you mean 'resnet18'?",
    "VGG-19": "did you mean 'vgg19'?",
    "weights.pth": "weights alone are no network",
    "./dense": "there is no such folder",
    "": "write for example wrn-16-1",
}


@pytest.mark.parametrize(("name", "right"), MODELS.items(), ids=MODELS)
def test_a_model_of_another_spelling_is_led_to_its_own(name, right, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as refused:
        check_model_name(name)
    assert right in str(refused.value)
    assert f"'{name}'" in str(refused.value)


def test_upper_case_is_a_name_too():
    check_model_name("WRN-16-1")
    check_model_name("ResNet18")


def test_a_function_of_torchvision_is_given_the_number_of_classes():
    """It hands its keywords on to a class that has it; any other function must name what it takes."""

    def resnet50(*, weights=None, **kwargs):
        return nn.Linear(1, kwargs["num_classes"])

    assert _accepted(resnet50, {"num_classes": 7, "in_channels": 3}) == {}
    resnet50.__module__ = "torchvision.models.resnet"
    assert _accepted(resnet50, {"num_classes": 7, "in_channels": 3}) == {"num_classes": 7}
