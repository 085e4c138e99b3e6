"""How fast training can go here: images per second of WRN-40-2 and ResNet18, beside what the device could
do.

Batches of 128 and 512 that lie on the device, channels last; fp32 (TF32 where there is such a thing) and
bf16; eager, through `torch.compile`, through its CUDA graphs ("reduce-overhead"), and as one CUDA graph of
the whole step that we capture ourselves. Ratios are over the eager fp32 step. In the same rounds the
device's rate is measured on a large matrix product of the same precision, and its bandwidth on a large
copy. The floor of a step is the longer of operations / rate and bytes / bandwidth: operations are three
times those of a forward pass; of bytes only what no fusing avoids is counted, every output of a convolution
or linear layer written once and read twice, its gradient written and read, and the optimizer's passes over
the weights.

`seeds`: one captured step of each of k networks at once, each on a stream of its own, over one after the
other. What a device does not have is left out, and the notes say so.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from benchmarks.batches import ours
from benchmarks.layouts import compiler
from benchmarks.networks import CIFAR_TRAIN, Steps, batch, finish, images, network, side
from benchmarks.records import Case, Found, Settings
from benchmarks.timing import Times, measure, significant
from secateur.network.counting import TRAINING_MACS_PER_INFERENCE_MAC, count_model_macs
from secateur.network.weights import count_params, weight_layers

SIZES = (128, 512)
PARTS = (*(f"{name}-{size}" for name in ("wrn-40-2", "resnet18") for size in SIZES), "seeds")
EPOCHS = {"wrn-40-2": 200, "resnet18": 300}  # Crowley et al. 2018; Dupont et al. 2021
PRECISIONS = ("fp32", "bf16")
BASE = "fp32 eager"
PASSES_OVER_ACTIVATIONS = 5  # written, read by the next layer, read again; the gradient written, read
PASSES_OVER_WEIGHTS = 8  # read forward and backward; gradient written and read; w and momentum read, written
BYTES = {"fp32": 4, "bf16": 2}
SEEDS = (2, 4, 8)


def run(settings: Settings) -> Found:
    """Each part that is wanted."""
    if settings.device == "cuda":
        torch.set_float32_matmul_precision("high")  # TF32
    found = Found()
    for part in PARTS:
        if not settings.wanted(part):
            continue
        if part == "seeds":
            _seeds(found, settings)
        else:
            name, _, size = part.rpartition("-")
            _rates(found, name, int(size), settings)
    return found


def _rates(found: Found, name: str, size: int, settings: Settings) -> None:
    size = size // 16 if settings.quick else size
    variants, took = _variants(found, name, size, settings)
    data = images(4 * size, side(settings))
    probes: dict[str, Callable[[], Any]] = {
        f"product {precision}": product(precision, settings) for precision in PRECISIONS
    }
    probes |= {"copy": copy(settings), "making a batch": ours(data, settings, size)}
    times = measure({**variants, **probes}, rounds=settings.rounds, finish=finish(settings))
    model = network(name, settings)
    for label in variants:
        precision = label.split()[0]
        floor = floor_of(model, size, precision, times, settings)
        seconds = times.median(label)
        more = {
            "images_per_s": round(size / seconds, 1),
            "floor_ms": {key: significant(1e3 * value) for key, value in floor.items()},
            "of_the_floor": significant(max(floor.values()) / seconds, 3),
            "of_the_peak": significant(floor["operations"] / seconds, 3),
            "compile_s": took.get(label),
        }
        ratio = times.ratio(label, BASE)
        found.cases.append(
            Case(f"{name} {size} {label}", label, BASE, ratio, ms=times.ms(label, BASE), more=more)
        )
    fastest = min(variants, key=times.median)
    found.add(f"{name} {size} making a batch", times, "making a batch", fastest)
    rate = size / times.median(fastest)
    minutes = EPOCHS[name] * CIFAR_TRAIN / rate / 60
    found.notes.append(
        f"{name}, batch {size}: {rate:,.0f} images/s at best ({fastest}): {EPOCHS[name]} epochs of "
        f"{CIFAR_TRAIN:,} in {minutes:,.1f} minutes, without validation"
    )
    found.more.setdefault("device_rates", {})[f"{name} {size}"] = rates_of(times, settings)


def _variants(
    found: Found, name: str, size: int, settings: Settings
) -> tuple[dict[str, Callable[[], Any]], dict[str, float]]:
    """label -> a step; and what preparing it took, in seconds, where that was long."""
    makers: dict[str, Callable[[Any], Any]] = {"eager": lambda make: make(None)}
    if not settings.quick:
        makers["compiled"] = lambda make: make(compiler())
    if settings.device == "cuda":
        makers["compiled, reduce-overhead"] = lambda make: make(compiler("reduce-overhead"))
        makers["captured"] = lambda make: Captured(make(None))
    else:
        found.notes.append(f"{name}, batch {size}: no CUDA graphs on this device")
    steps: dict[str, Callable[[], Any]] = {}
    took: dict[str, float] = {}
    for precision in PRECISIONS:
        for label, maker in makers.items():

            def make(compiled: Any, precision: str = precision) -> Steps:
                data = batch(settings, name, size)
                return Steps(network(name, settings), data, precision=precision, compiled=compiled)

            started = time.perf_counter()
            try:
                step = maker(make)
                step()
            except Exception as error:  # no compiler, no such kernel: the others are measured all the same
                line = str(error).splitlines()[0][:120] if str(error) else ""
                found.notes.append(
                    f"{name} {size} {precision} {label}: left out: {type(error).__name__}: {line}"
                )
                continue
            steps[f"{precision} {label}"] = step
            if label != "eager":
                took[f"{precision} {label}"] = round(time.perf_counter() - started, 1)
    return steps, took


class Captured:
    """A whole step as one CUDA graph: the kernels of forward, backward and optimizer, launched at once."""

    def __init__(self, step: Steps):
        step.casts_kept = False
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(3):  # what is made once, momentum above all, is made outside
                step.update()
        torch.cuda.current_stream().wait_stream(aside)
        self.step, self.graph = step, torch.cuda.CUDAGraph()
        step.optimizer.zero_grad(
            set_to_none=True
        )  # gradients are then the graph's own, written anew each time
        with torch.cuda.graph(self.graph):
            step.gradients()
            step.optimizer.step()

    def __call__(self) -> None:
        self.graph.replay()


def product(precision: str, settings: Settings) -> Callable[[], Any]:
    """A large square matrix product."""
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    n = _side_of_product(settings)
    a, b = (torch.randn(n, n, device=settings.device).to(kind) for _ in range(2))
    out = torch.empty_like(a)
    return lambda: torch.mm(a, b, out=out)


def copy(settings: Settings) -> Callable[[], Any]:
    """From one large buffer to another."""
    source = torch.zeros(_copied(settings), dtype=torch.uint8, device=settings.device)
    target = torch.empty_like(source)
    return lambda: target.copy_(source)


def rates_of(times: Times, settings: Settings) -> dict[str, float]:
    """Operations per second of either precision, and bytes per second read and written."""
    operations = 2 * _side_of_product(settings) ** 3
    rates = {precision: operations / times.median(f"product {precision}") for precision in PRECISIONS}
    rates["bytes"] = 2 * _copied(settings) / times.median("copy")
    return {key: significant(value, 4) for key, value in rates.items()}


def floor_of(
    model: nn.Module, size: int, precision: str, times: Times, settings: Settings
) -> dict[str, float]:
    """Seconds that a step takes at least: "operations" at the measured rate, "bytes" at the bandwidth."""
    rates = rates_of(times, settings)
    operations = 2 * TRAINING_MACS_PER_INFERENCE_MAC * count_model_macs(model) * size
    return {
        "operations": operations / rates[precision],
        "bytes": bytes_of_a_step(model, size, precision) / rates["bytes"],
    }


def bytes_of_a_step(model: Any, size: int, precision: str) -> float:
    """What a step moves at least; see the module's docstring."""
    outputs = 0

    def add(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        nonlocal outputs
        outputs += output.numel()

    hooks = [layer.register_forward_hook(add) for layer in weight_layers(model).values()]
    was_training = model.training
    with torch.no_grad():
        model.eval()(torch.zeros(1, *model.input_shape, device=next(model.parameters()).device))
    model.train(was_training)
    for hook in hooks:
        hook.remove()
    activations = PASSES_OVER_ACTIVATIONS * outputs * size * BYTES[precision]
    return activations + PASSES_OVER_WEIGHTS * count_params(model) * BYTES["fp32"]


def _side_of_product(settings: Settings) -> int:
    return 128 if settings.quick else 8192 if settings.device == "cuda" else 2048


def _copied(settings: Settings) -> int:
    return 2**20 if settings.quick else 2**30 if settings.device == "cuda" else 2**28


def _seeds(found: Found, settings: Settings) -> None:
    """k captured steps at once, over one after the other."""
    if settings.device != "cuda":
        found.notes.append("seeds: on a CPU side_by_side measures what several processes gain")
        return
    for name in EPOCHS:
        steps = [
            Captured(Steps(network(name, settings, seed), batch(settings, name), precision="bf16"))
            for seed in range(max(SEEDS))
        ]
        streams = [torch.cuda.Stream() for _ in steps]
        actions: dict[str, Callable[[], Any]] = {}
        for k in SEEDS:
            actions[f"{k} in turn"] = _in_turn(steps[:k])
            actions[f"{k} at once"] = _at_once(steps[:k], streams[:k])
        times = measure(actions, rounds=settings.rounds, finish=finish(settings))
        for k in SEEDS:
            ratio = times.ratio(f"{k} at once", f"{k} in turn")
            more = {"speed_up": round(1 / ratio.middle, 3), "of": k}
            ms = times.ms(f"{k} at once", f"{k} in turn")
            case = f"{name}, {k} seeds"
            found.cases.append(Case(case, f"{k} at once", f"{k} in turn", ratio, ms=ms, more=more))


def _in_turn(steps: list[Captured]) -> Callable[[], None]:
    def run() -> None:
        for step in steps:
            step()

    return run


def _at_once(steps: list[Captured], streams: list[Any]) -> Callable[[], None]:
    def run() -> None:
        main = torch.cuda.current_stream()
        for step, stream in zip(steps, streams, strict=True):
            stream.wait_stream(main)
            with torch.cuda.stream(stream):
                step()
        for stream in streams:
            main.wait_stream(stream)

    return run
