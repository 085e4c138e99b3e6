"""Latency, measured by the real runtimes, and the size of a file, counted. No times are asserted."""

from __future__ import annotations

import math
import os
import sys

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.torch import save
from torch import nn

import secateur as sc
from secateur import models
from secateur.architecture.file import WEIGHTS_FILE
from secateur.budget import RUNTIMES, Budget, Deployment
from secateur.deploy import latency
from secateur.deploy.c.compiling import has_compiler
from secateur.deploy.latency import Latency, measure
from secateur.errors import InputError
from secateur.network import tensor_files
from secateur.network.tensor_files import artefact_bytes, state_bytes

SHORT = {"repeats": 5, "warmup": 1, "limit_s": 0.05}


@pytest.fixture(scope="module")
def model():
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.Flatten(), nn.Linear(144, 3))


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_what_is_measured_is_said(model, runtime):
    before = {name: value.clone() for name, value in model.train().state_dict().items()}
    threads, cores = torch.get_num_threads(), os.sched_getaffinity(0)
    if runtime == "c" and not has_compiler():
        pytest.skip("there is no C compiler here")
    count = 1 if runtime == "c" else 2  # the exported C has one thread
    found = measure(model, torch.zeros(1, 1, 8, 8), f"{runtime}:batch=3:threads={count}", **SHORT)
    assert (found.runtime, found.batch_size, found.threads) == (runtime, 3, count)
    assert found.dtype == "float32"
    assert found.device.startswith("cpu (")
    assert any(letter.isdigit() for letter in found.runtime_version)
    assert found.n >= 5
    low, high = found.quartiles_s
    assert 0 < low <= found.median_s <= high
    assert f"{found.n} runs; {runtime} " in str(found)
    assert f", batch 3, {count} thread" in str(found)
    assert torch.get_num_threads() == threads
    assert os.sched_getaffinity(0) == cores
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_failing_network_leaves_the_threads_too():
    threads = torch.get_num_threads()
    with pytest.raises(RuntimeError, match="mat1"):
        measure(nn.Linear(3, 2), torch.zeros(1, 4), threads=threads + 1)
    assert torch.get_num_threads() == threads


def test_torch_is_measured_as_a_user_would_run_it():
    seen = []

    class Spy(nn.Module):
        def forward(self, x, *, shift):
            seen.append((self.training, torch.is_inference_mode_enabled(), len(x), torch.get_num_threads()))
            return x + shift

    inputs = {"x": torch.zeros(2, 3), "shift": torch.zeros(2, 3)}
    found = measure(Spy().train(), inputs, batch_size=5, repeats=7, warmup=2, limit_s=0.01)
    assert set(seen) == {(False, True, 5, 1)}
    assert len(seen) == found.n + 2


def test_runs_go_on_until_the_median_is_known_or_the_time_is_over():
    assert not latency._enough([1.0] * 29, repeats=30, over=False)
    assert latency._enough([1.0] * 30, repeats=30, over=False)
    noisy = [1.0, 2.0] * 15
    assert not latency._enough(noisy, repeats=30, over=False)
    assert latency._enough(noisy, repeats=30, over=True)
    assert latency._enough(noisy * 10_000, repeats=30, over=False)
    assert not latency._enough([1.0] * 4, repeats=30, over=True)


def test_nanoseconds_are_rounded_up():
    found = Latency(1.5000001e-6, (1e-6, 2e-6), 30, "torch", "2", 1, 1, "cpu", "float32")
    assert found.nanoseconds == 1501
    assert found.nanoseconds > Budget.parse("latency=1.5us@torch").limit(0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"runtime": "onxruntime"}, "unknown runtime 'onxruntime': did you mean 'onnxruntime'"),
        ({"batch_size": 0}, "batch must be a whole number of at least 1, got 0"),
        ({"threads": 0}, "threads must be a whole number of at least 1, got 0"),
        ({"repeats": 4}, "repeats must be at least 5, got 4"),
        ({"warmup": 0}, "warmup must be at least 1, got 0"),
        ({"limit_s": math.nan}, "limit_s must be above 0 seconds, got nan"),
    ],
)
def test_a_wrong_setting_is_one_clear_line(model, settings, message):
    with pytest.raises(InputError, match=message):
        measure(model, torch.zeros(1, 1, 8, 8), **settings)


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_missing_runtime_is_named_with_its_extra(model, monkeypatch, runtime):
    monkeypatch.setitem(sys.modules, runtime, None)
    with pytest.raises(InputError, match=f"needs the package {runtime}"):
        measure(model, torch.zeros(1, 1, 8, 8), runtime)


def test_a_deployment_is_read_and_written():
    assert Deployment.parse("torch") == Deployment("torch", 1, 1)
    found = Deployment.parse("openvino: threads=2 :batch=16")
    assert found == Deployment("openvino", batch_size=16, threads=2)
    assert Deployment.parse(str(found)) == found


@pytest.mark.parametrize(
    "build",
    [
        lambda: models.wide_resnet(depth=16, width=1),
        lambda: models.resnet18(width=0.25),
        lambda: models.vgg19(width=0.125),
        lambda: models.conv4(width=0.25, image_size=8, in_channels=1),
    ],
)
def test_the_size_is_that_of_the_file_that_is_saved(tmp_path, build):
    model = build()
    sc.save(model, tmp_path)
    size = (tmp_path / WEIGHTS_FILE).stat().st_size
    assert artefact_bytes(model) == size
    assert sc.Architecture.of(model).cost("bytes") == size  # known from shapes alone


def test_a_budget_in_bytes_is_met_by_the_file(tmp_path):
    original = sc.Architecture.of(models.wide_resnet(depth=10, width=1))
    for scaled in (original.scaled_to("bytes=40%"), original.narrowed_to("bytes=40%")):
        sc.save(scaled.build(seed=0), tmp_path)
        size = (tmp_path / WEIGHTS_FILE).stat().st_size
        assert 0.3 * original.cost("bytes") < size <= 0.4 * original.cost("bytes")


DTYPES = [
    getattr(torch, name) for name in tensor_files.SPELLED if hasattr(torch, name) and "float4" not in name
]
TENSORS = st.builds(
    lambda dtype, shape: torch.zeros(shape).to(dtype),
    st.sampled_from(DTYPES),
    st.lists(st.integers(0, 12), max_size=4),
)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=20).filter(lambda n: n != "__metadata__")


@settings(deadline=None, max_examples=300)
@given(st.dictionaries(NAMES, TENSORS, max_size=12))
@example({'"\\\n\x00\x1f\x7f/é\u2028😀': torch.zeros(3)})
@example({f"{dtype}": torch.zeros(2, 2).to(dtype) for dtype in DTYPES})
def test_the_size_of_any_state_is_that_of_its_safetensors_file(state):
    assert state_bytes(state) == len(save(state))


@pytest.mark.skipif(not hasattr(torch, "float4_e2m1fn_x2"), reason="torch before 2.8")
def test_two_numbers_to_the_byte():
    state = {"x": torch.empty(3, 50, dtype=torch.float4_e2m1fn_x2)}
    assert state_bytes(state) == len(save(state))


def test_a_state_that_safetensors_cannot_hold_is_refused():
    with pytest.raises(InputError, match="'x' is complex128"):
        state_bytes({"x": torch.zeros(2, dtype=torch.complex128)})
    with pytest.raises(InputError, match="'x' is dict"):
        state_bytes({"x": {}})
