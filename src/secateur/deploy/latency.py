"""What a network costs where it runs: its latency, measured.

Convention for latency, said wherever a number is shown: the median over many runs after warm-up, in
evaluation mode, of one batch, of 1 example on 1 thread unless said otherwise. Inputs and outputs lie in the
host's memory for onnxruntime and OpenVINO, and for torch where the model lies. Exported networks have that
batch size fixed, and their weights' own precision.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import torch
from torch import nn

from secateur.budget import Deployment
from secateur.deploy.c import c_run, find_compiler
from secateur.deploy.given import Given, Inputs
from secateur.deploy.onnx import onnx_bytes, onnxruntime_run
from secateur.deploy.openvino import openvino_bytes, openvino_run
from secateur.deploy.traced import Run, Traced, check, copy_of
from secateur.device import describe_device
from secateur.errors import InputError, require_extra
from secateur.network.inputs import call

_FEWEST, _PRECISE, _LOOK_EVERY = 5, 0.01, 10


@dataclass(frozen=True)
class Latency:
    """How long a network took for one batch.

    Attributes:
        median_s: seconds, the median over `n` runs.
        quartiles_s: seconds, the first and the third quartile.
        runtime_version: of the package that ran it.
        device: "cpu (...)" or "cuda (...)", as in a run's record.
        dtype: of the network, "float32" for example; OpenVINO computes a float64 network in float32.
    """

    median_s: float
    quartiles_s: tuple[float, float]
    n: int
    runtime: str
    runtime_version: str
    batch_size: int
    threads: int
    device: str
    dtype: str

    @property
    def nanoseconds(self) -> int:
        """The median rounded up, the unit of a latency budget's limit: never in our favour."""
        return math.ceil(self.median_s * 1e9)

    def __str__(self) -> str:
        low, high = (f"{value * 1e3:.3g}" for value in self.quartiles_s)
        threads = f"{self.threads} thread" + "s" * (self.threads > 1)
        return (
            f"{self.median_s * 1e3:.3g} ms (quartiles {low} to {high}, {self.n} runs; {self.runtime} "
            f"{self.runtime_version}, batch {self.batch_size}, {threads}, {self.device}, {self.dtype})"
        )


def measure(
    model: nn.Module,
    example_inputs: Inputs,
    runtime: str | Deployment = "torch",
    *,
    batch_size: int | None = None,
    threads: int | None = None,
    repeats: int = 30,
    warmup: int = 5,
    limit_s: float = 2.0,
) -> Latency:
    """Measure the median time of one batch, on this machine, now.

    It runs at least `repeats` times and on until the median is known to about 1% (its 95% interval from the
    quartiles, McGill et al. 1978), or until `limit_s` is over, then from the fifth run on. For the other
    runtimes the network is exported first and compared with torch, as in `secateur.deploy`.

    Args:
        model: any module that `secateur.deploy` takes; a copy is measured, in evaluation mode. On a GPU torch
            is measured there; the other runtimes are measured on the CPU.
        example_inputs: as `secateur.deploy.onnx.to_onnx` takes them. What is timed are these very examples,
            repeated up to the batch.
        runtime: one of `RUNTIMES`, or text with options ("onnxruntime:batch=8"), or a `Deployment`.
        batch_size, threads: at least 1; None: what `runtime` says, else 1.
        repeats: runs at least, from 5 on.
        warmup: runs before the first that counts, at least 1.
        limit_s: seconds after which no further run begins, above 0; warm-up and export are not counted.

    Raises:
        InputError: where an argument makes no sense, a package is missing or the network cannot be exported.

    Example:
        >>> print(measure(nn.Linear(4, 2), torch.zeros(1, 4)))  # doctest: +SKIP
        0.0061 ms (quartiles 0.006 to 0.0062, 30 runs; torch 2.13.0, batch 1, 1 thread, cpu (...), float32)
    """
    where = Deployment.parse(runtime) if isinstance(runtime, str) else runtime
    if where.table is not None:
        raise InputError(
            f"a latency is measured on this machine, got '{where}', a table of another device: write "
            f"{where.runtime}, or call secateur.deploy.predicted.predicted"
        )
    where = Deployment(
        where.runtime,
        where.batch_size if batch_size is None else batch_size,
        where.threads if threads is None else threads,
    )
    _check(repeats, warmup, limit_s)
    batch = Given.of(example_inputs).with_batch(where.batch_size)
    with _RUNNERS[where.runtime](model, batch, where) as (run, device, dtype):
        times = _timed(run, repeats, warmup, limit_s)
    low, median, high = statistics.quantiles(times, n=4)
    return Latency(
        median,
        (low, high),
        len(times),
        where.runtime,
        version_of(where.runtime),
        where.batch_size,
        where.threads,
        device,
        dtype,
    )


def _check(repeats: int, warmup: int, limit_s: float) -> None:
    if repeats < _FEWEST:
        raise InputError(f"repeats must be at least {_FEWEST}, got {repeats}: a median of fewer says nothing")
    if warmup < 1:
        raise InputError(f"warmup must be at least 1, got {warmup}: the first run allocates and compiles")
    if not 0 < limit_s < float("inf"):
        raise InputError(f"limit_s must be above 0 seconds, got {limit_s}: write for example 2.0")


def _timed(run: Callable[[], object], repeats: int, warmup: int, limit_s: float) -> list[float]:
    """Time runs, in seconds each."""
    for _ in range(warmup):
        run()
    times: list[float] = []
    end = time.perf_counter() + limit_s
    while not _enough(times, repeats, time.perf_counter() > end):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return times


def _enough(times: Sequence[float], repeats: int, over: bool) -> bool:
    """Tell whether the time is over, or the median is known to `_PRECISE`: +-1.57 IQR / sqrt(n), 95%."""
    n = len(times)
    if over:
        return n >= _FEWEST
    if n < repeats or n % _LOOK_EVERY:
        return False
    low, median, high = statistics.quantiles(times, n=4)
    return 1.57 * (high - low) / n**0.5 <= _PRECISE * median


Runner = Iterator[tuple[Callable[[], object], str, str]]


@contextmanager
def prepared(
    models: Mapping[str, nn.Module], batch: Given, where: Deployment
) -> Iterator[dict[str, Callable[[], object]]]:
    """Have several networks ready on one runtime, for `deploy.rounds.timed`: name -> what runs it."""
    with ExitStack() as stack:
        runner = _RUNNERS[where.runtime]
        yield {name: stack.enter_context(runner(model, batch, where))[0] for name, model in models.items()}


@contextmanager
def _on_torch(model: nn.Module, batch: Given, where: Deployment) -> Runner:
    """torch where the model lies, with the number of threads put back at the end."""
    before = torch.get_num_threads()
    torch.set_num_threads(where.threads)
    try:
        with torch.inference_mode():
            yield torch_run(copy_of(model), batch)
    finally:
        torch.set_num_threads(before)


def torch_run(network: nn.Module, batch: Given) -> tuple[Callable[[], object], str, str]:
    """What runs a batch where a network lies and waits for its end, in inference mode; device and dtype."""
    anchor = next(iter((*network.parameters(), *network.buffers(), *batch.tensors.values())))
    inputs = batch.examples.map(lambda value: value.to(anchor.device)).inputs

    def run() -> None:
        call(network, inputs)
        _wait_for(anchor.device)

    return run, describe_device(anchor.device), str(anchor.dtype).removeprefix("torch.")


def _exported(model: nn.Module, batch: Given) -> Any:
    """Trace the network as `secateur.deploy` does, for this batch size only."""
    return Traced.of(model, batch.examples, dynamic_batch=False)


@contextmanager
def _elsewhere(model: nn.Module, batch: Given, where: Deployment) -> Runner:
    """Another runtime, on the CPU: the network is exported for this batch, and compared with torch."""
    traced = _exported(model, batch)
    run = run_of(traced, where)
    arrays = [value.numpy() for value in traced.examples.values()]
    yield lambda: run(arrays), describe_device(torch.device("cpu")), traced.dtype


def run_of(traced: Traced, where: Deployment) -> Run:
    """Make a runtime other than torch run a traced network, once it has agreed with torch.

    Raises:
        InputError: where a package is missing, or the network cannot be exported.
    """
    check_installed(where.runtime)
    if where.runtime == "c" and where.threads != 1:
        raise InputError(
            f"the C that is exported runs on one thread, got {where}: write c, or choose another runtime"
        )
    run = _EXPORTED[where.runtime](traced, where.threads)
    check(run, traced)
    return run


def check_installed(runtime: str) -> None:
    """Raise InputError, which says what to install, unless what a runtime needs is there."""
    if runtime in _PACKAGES:
        require_extra(_PACKAGES[runtime])
    elif runtime == "c":
        find_compiler()


def version_of(runtime: str) -> str:
    """Of what runs networks; of C the compiler."""
    return find_compiler().version if runtime == "c" else version(runtime)


def _in_onnxruntime(traced: Traced, threads: int) -> Run:
    return onnxruntime_run(onnx_bytes(traced)[0], threads)


def _in_openvino(traced: Traced, threads: int) -> Run:
    return openvino_run(*openvino_bytes(traced), traced.dtype, threads)


def _in_c(traced: Traced, threads: int) -> Run:
    return c_run(traced)


_PACKAGES = {"onnxruntime": "onnx", "openvino": "openvino"}
_EXPORTED = {"onnxruntime": _in_onnxruntime, "openvino": _in_openvino, "c": _in_c}
_RUNNERS = {"torch": _on_torch, **dict.fromkeys(_EXPORTED, _elsewhere)}


def _wait_for(device: torch.device) -> None:
    """Wait until the device has done what it was given: a call on a GPU returns before that."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
