"""Sparse networks in C over the best dense engine: latency of one image, one thread against one.

`uniform`: ResNet18 and Conv4 for 32x32 images with random weights, 90, 95, 97 and 99% of each layer's zero.
`pruned`: networks really pruned, folders with many zeros in results/shipped, or those that SECATEUR_NETWORKS
names, with `:` between them. `dense`: networks without zeros, where C has only its dense kernels to offer.

C, ONNX Runtime and OpenVINO are given the same network, each in a process of its own (a pool of threads that
spins slows others down), which compares it with torch first and then waits for its turn; the processes take
turns round by round. What counts is C over whichever engine is faster, in fp32. The two engines ignore the
zeros.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.machine import ROOT
from benchmarks.networks import network, side
from benchmarks.processes import Partner, serve
from benchmarks.records import Case, Found, Settings
from benchmarks.timing import measure
from secateur.architecture.file import WEIGHTS_FILE
from secateur.architecture.saved import load_model
from secateur.deploy.c import compile as compile_c
from secateur.deploy.onnx import onnx_bytes, onnxruntime_run
from secateur.deploy.openvino import openvino_bytes, openvino_run
from secateur.deploy.traced import Traced, check
from secateur.surgery.anatomy import anatomy_of

PARTS = ("uniform", "pruned", "dense")
BARS = {0.9: 1.8, 0.95: None, 0.97: 3.5, 0.99: 5.0}  # share of zeros -> how many times as fast at least
UNIFORM = ("resnet18", "conv4")
DENSE = ("resnet18", "conv4", "wrn-40-2", "vgg19")
ENGINES = ("onnxruntime", "openvino")
RUN = "run"  # what a process is told
RUNS = {"conv4": 40}  # in a turn; else
FEW_RUNS = 10
PASSES = 3  # turns of a round
WHERE = "SECATEUR_NETWORKS"


def run(settings: Settings) -> Found:
    """All parts."""
    found = Found(more={"versions": {name: version(name) for name in ENGINES}})
    if settings.wanted("uniform"):
        for name in UNIFORM[1:] if settings.quick else UNIFORM:
            for zeros, bar in list(BARS.items())[: 1 if settings.quick else None]:
                _compare(found, f"{name} at {zeros:.0%}", {"network": name, "zeros": zeros}, settings, bar)
    if settings.wanted("pruned"):
        folders = folders_given()
        for folder in folders:
            question = {"network": folder.name, "folder": str(folder)}
            _compare(found, f"{folder.name}, pruned", question, settings, 1.0)
        if not folders:
            found.notes.append(f"no pruned networks: none in results/shipped, none named by {WHERE}")
    if settings.wanted("dense") and not settings.quick:
        for name in DENSE:
            _compare(found, f"{name} dense", {"network": name, "zeros": 0.0}, settings, None)
    return found


def folders_given() -> list[Path]:
    """Saved networks, of which at least half of the weights are zero."""
    named = os.environ.get(WHERE)
    where = [Path(each) for each in named.split(os.pathsep)] if named else ROOT.glob("results/shipped/*")
    found = sorted(folder.resolve() for folder in where if (folder / "architecture.json").is_file())
    whole = [
        folder for folder in found if (folder / WEIGHTS_FILE).exists()
    ]  # of controls the record alone is kept
    return [folder for folder in whole if _zeros(load_model(folder)) >= 0.5]


def _zeros(model: nn.Module) -> float:
    """Share of zeros among the weights of layers."""
    weights = [parameter for parameter in model.parameters() if parameter.dim() > 1]
    return 1 - sum(int(w.count_nonzero()) for w in weights) / sum(w.numel() for w in weights)


def _compare(
    found: Found, case: str, question: dict[str, Any], settings: Settings, bar: float | None
) -> None:
    """Time one network on all three, and add C over the faster engine."""
    runs = 2 if settings.quick else RUNS.get(question["network"].split("-")[0], FEW_RUNS)
    question = {**question, "quick": settings.quick, "runs": runs}
    with ExitStack() as stack:
        partners = {name: runner({**question, "runtime": name}) for name in ("c", *ENGINES)}
        for partner in partners.values():
            stack.enter_context(partner)
        times = measure(
            {name: _told(partner) for name, partner in partners.items()},
            rounds=settings.rounds,
            at_least_s=0,
            passes=1 if settings.quick else PASSES,
        )
    best = min(ENGINES, key=times.median)
    ratio = times.ratio("c", best)
    each = {name: 1e3 * times.median(name) / runs for name in times.seconds}
    more = {"times_as_fast": round(1 / ratio.middle, 2)}
    limit = None if bar is None else settings.bar(round(1 / bar, 4))
    ms = {name: float(f"{value:.4g}") for name, value in each.items()}
    found.cases.append(Case(case, "c", best, ratio, limit, ms, more))
    found.notes.append(f"{case}: {1 / ratio.middle:.2f} times as fast as {best}")


def _told(partner: Callable[[str], None]) -> Callable[[], None]:
    return lambda: partner(RUN)


def runner(question: dict[str, Any]) -> Partner:
    """A process, warmed up, that runs a network a fixed number of times whenever it is told to."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    partner = Partner("benchmarks.sparse_latency", question, **threads)
    partner(RUN)
    return partner


def _asked(question: dict[str, Any]) -> Callable[[], None]:
    """In such a process: what runs the network, once it agrees with torch."""
    model, example = _network(question)
    once = _RUNTIMES[question["runtime"]](model, example)

    def several() -> None:
        for _ in range(question["runs"]):
            once()

    return several


def _network(question: dict[str, Any]) -> tuple[nn.Module, Tensor]:
    """The network and an image of noise."""
    if "folder" in question:
        model = load_model(question["folder"]).eval()
        shape = tuple(anatomy_of(model).inputs.shape)
        return model, torch.randn(1, *shape[1:], generator=torch.Generator().manual_seed(0))
    settings = Settings(quick=question["quick"])
    model = thinned(network(question["network"], settings).eval(), question["zeros"])
    pixels = side(settings, question["network"])
    return model, torch.randn(1, 3, pixels, pixels, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def thinned(model: nn.Module, zeros: float) -> nn.Module:
    """Set a share of every layer's weights to zero, at random; outputs stay about as large as they were."""
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        if parameter.dim() > 1 and zeros:
            kept = torch.rand(parameter.shape, generator=generator) >= zeros
            parameter.mul_(kept / (1 - zeros) ** 0.5)
    return model


def _on_c(model: nn.Module, example: Tensor) -> Callable[[], object]:
    return compile_c(model, example).bound([example.numpy()])


def _on_onnxruntime(model: nn.Module, example: Tensor) -> Callable[[], object]:
    traced = Traced.of(model, example, dynamic_batch=False)
    run = onnxruntime_run(onnx_bytes(traced)[0], threads=1)
    check(run, traced)
    return lambda: run([example.numpy()])


def _on_openvino(model: nn.Module, example: Tensor) -> Callable[[], object]:
    traced = Traced.of(model, example, dynamic_batch=False)
    run = openvino_run(*openvino_bytes(traced), traced.dtype, threads=1)
    check(run, traced)
    return lambda: run([example.numpy()])


_RUNTIMES = {"c": _on_c, "onnxruntime": _on_onnxruntime, "openvino": _on_openvino}


if __name__ == "__main__":
    torch.set_num_threads(1)
    serve({RUN: _asked(json.loads(sys.argv[1]))})
