"""The benchmark of sparse networks in C: what is divided by what, on a stand-in clock, without processes."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks import sparse_latency, timing
from benchmarks.records import Settings

import secateur as sc
from secateur import models

SECONDS = {"c": 0.002, "onnxruntime": 0.010, "openvino": 0.008}


class Clock:
    """Goes on where a runtime runs."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the processes were asked, in place of processes."""
    clock, questions = Clock(), []

    class Runner:
        def __init__(self, question: dict[str, Any]):
            questions.append(question)
            self.seconds = SECONDS[question["runtime"]] * question["runs"]

        def __call__(self, word: str) -> None:
            assert word == sparse_latency.RUN
            clock.now += self.seconds

        def __enter__(self) -> Runner:
            return self

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr(sparse_latency, "runner", Runner)
    monkeypatch.setattr(sparse_latency, "measure", partial(timing.measure, clock=clock))
    return questions


def test_c_over_the_faster_engine(asked: list[dict[str, Any]]) -> None:
    found = sparse_latency.run(Settings(only=("uniform",)))
    assert [case.case for case in found.cases] == [
        f"{name} at {zeros}%" for name in ("resnet18", "conv4") for zeros in (90, 95, 97, 99)
    ]
    for case in found.cases:
        assert (case.what, case.over) == ("c", "openvino")
        assert case.ratio.middle == pytest.approx(0.25)
        assert dict(case.ms) == {"c": 2, "onnxruntime": 10, "openvino": 8}
        assert case.more == {"times_as_fast": 4.0}
    assert [case.bar for case in found.cases[:4]] == [0.5556, None, 0.2857, 0.2]
    assert [case.met for case in found.cases[:4]] == [True, None, True, False]
    assert {each["runtime"] for each in asked} == set(SECONDS)


def test_pruned_networks_are_folders_with_zeros(
    asked: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = models.conv4(width=0.125, num_classes=10, image_size=16)
    sc.save(network, tmp_path / "dense")
    sc.save(sparse_latency.thinned(network, 0.9), tmp_path / "sparse")
    monkeypatch.setenv(sparse_latency.WHERE, f"{tmp_path / 'dense'}:{tmp_path / 'sparse'}")
    found = sparse_latency.run(Settings(only=("pruned",)))
    assert [(case.case, case.bar) for case in found.cases] == [("sparse, pruned", 1.0)]
    assert {each["folder"] for each in asked} == {str(tmp_path / "sparse")}


def test_thinned_networks_have_that_share_of_zeros_in_every_layer() -> None:
    network = models.conv4(width=0.5, num_classes=10, image_size=16)
    sparse_latency.thinned(network, 0.9)
    for layer in (network.conv2, network.fc1):
        assert float((layer.weight == 0).float().mean()) == pytest.approx(0.9, abs=0.01)
    assert torch.isfinite(network(torch.randn(1, 3, 16, 16))).all()
