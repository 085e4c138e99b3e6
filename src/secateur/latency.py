"""What a network costs where it runs: its latency, measured, and the size of its file, counted.

Convention for latency, said wherever a number is shown: the median over many runs after warm-up, in
evaluation mode, of one batch, of 1 example on 1 thread unless said otherwise. Inputs and outputs lie in the
host's memory for onnxruntime and OpenVINO, and for torch where the model lies. Exported networks have that
batch size fixed, and their weights' own precision.
"""

from __future__ import annotations

import json
import math
import re
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn

from secateur.device import describe_device
from secateur.errors import InputError, unknown

RUNTIMES = ("torch", "onnxruntime", "openvino")
_OPTIONS = {"batch": "batch_size", "threads": "threads"}
_WHOLE = re.compile(r"[1-9][0-9]{0,5}")
_FEWEST, _PRECISE, _LOOK_EVERY = 5, 0.01, 10
_SPELLED = {
    **{"bool": "BOOL", "float4_e2m1fn_x2": "F4", "uint8": "U8", "int8": "I8", "float8_e5m2": "F8_E5M2"},
    **{"float8_e4m3fn": "F8_E4M3", "float8_e8m0fnu": "F8_E8M0", "float8_e4m3fnuz": "F8_E4M3FNUZ"},
    **{"float8_e5m2fnuz": "F8_E5M2FNUZ", "int16": "I16", "uint16": "U16", "float16": "F16"},
    **{"bfloat16": "BF16", "int32": "I32", "uint32": "U32", "float32": "F32", "complex64": "C64"},
    **{"float64": "F64", "int64": "I64", "uint64": "U64"},
}
"""torch's dtype -> how safetensors spells it. In a file the tensors lie in the reverse of this order."""
_RANK = {dtype: rank for rank, dtype in enumerate(_SPELLED)}


@dataclass(frozen=True)
class Deployment:
    """Where and how a network is to run.

    Attributes:
        runtime: one of `RUNTIMES`.
        batch_size: examples at a time, at least 1.
        threads: CPU threads of the runtime, at least 1.

    Example:
        >>> str(Deployment.parse("onnxruntime:batch=8"))
        'onnxruntime:batch=8:threads=1'
    """

    runtime: str
    batch_size: int = 1
    threads: int = 1

    def __post_init__(self) -> None:
        if self.runtime not in RUNTIMES:
            raise unknown("runtime", self.runtime, RUNTIMES)
        for name, field in _OPTIONS.items():
            if not isinstance(getattr(self, field), int) or getattr(self, field) < 1:
                raise InputError(
                    f"{name} must be a whole number of at least 1, got {getattr(self, field)}: write {name}=1"
                )

    @classmethod
    def parse(cls, text: str) -> Deployment:
        """Read 'torch', 'onnxruntime:batch=8', 'openvino:batch=8:threads=2'.

        Raises:
            InputError: naming what is wrong, and the runtimes or options that exist.
        """
        runtime, *options = (part.strip() for part in text.split(":"))
        if runtime not in RUNTIMES:
            raise unknown("runtime", runtime, RUNTIMES)
        found: dict[str, int] = {}
        for option in options:
            name, _, value = (part.strip() for part in option.partition("="))
            if name not in _OPTIONS:
                raise unknown("option of a runtime", name, _OPTIONS)
            if _OPTIONS[name] in found:
                raise InputError(f"every option of a runtime is given once, got '{text}': keep one {name}")
            if not _WHOLE.fullmatch(value):
                raise InputError(
                    f"{name} must be a whole number from 1 to 999999, got '{option}': write {name}=1"
                )
            found[_OPTIONS[name]] = int(value)
        return cls(runtime, **found)

    def __str__(self) -> str:
        return f"{self.runtime}:batch={self.batch_size}:threads={self.threads}"


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
    example_inputs: Tensor | Sequence[Tensor] | Mapping[str, Tensor],
    runtime: str | Deployment = "torch",
    *,
    batch_size: int | None = None,
    threads: int | None = None,
    repeats: int = 30,
    warmup: int = 5,
    limit_s: float = 2.0,
) -> Latency:
    """The median time of one batch, on this machine, now.

    It runs at least `repeats` times and on until the median is known to about 1% (its 95% interval from the
    quartiles, McGill et al. 1978), or until `limit_s` is over, then from the fifth run on. For the other
    runtimes the network is exported first and compared with torch, as in `secateur.export`.

    Args:
        model: any module that `secateur.export` takes; a copy is measured, in evaluation mode. On a GPU torch
            is measured there; the other runtimes are measured on the CPU.
        example_inputs: as `secateur.export.to_onnx` takes them. What is timed are these very examples,
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
    from secateur.export import named_inputs, with_batch  # above us: budgets, below export, need this module

    where = Deployment.parse(runtime) if isinstance(runtime, str) else runtime
    where = Deployment(
        where.runtime,
        where.batch_size if batch_size is None else batch_size,
        where.threads if threads is None else threads,
    )
    _check(repeats, warmup, limit_s)
    batch = with_batch(named_inputs(example_inputs), where.batch_size)
    keyword = isinstance(example_inputs, Mapping)
    with _RUNNERS[where.runtime](model, batch, keyword, where) as (run, device, dtype):
        times = _timed(run, repeats, warmup, limit_s)
    low, median, high = statistics.quantiles(times, n=4)
    return Latency(
        median,
        (low, high),
        len(times),
        where.runtime,
        version(where.runtime),
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
    """Seconds of each run."""
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
    """Whether the time is over, or the median is known to `_PRECISE`: +-1.57 IQR / sqrt(n), 95%."""
    n = len(times)
    if over:
        return n >= _FEWEST
    if n < repeats or n % _LOOK_EVERY:
        return False
    low, median, high = statistics.quantiles(times, n=4)
    return 1.57 * (high - low) / n**0.5 <= _PRECISE * median


Runner = Iterator[tuple[Callable[[], object], str, str]]


@contextmanager
def _on_torch(model: nn.Module, batch: dict[str, Tensor], keyword: bool, where: Deployment) -> Runner:
    """torch where the model lies, with the number of threads put back at the end."""
    from secateur.export import copy_of

    anchor = next(iter((*model.parameters(), *model.buffers(), *batch.values())))
    inputs = {name: value.to(anchor.device) for name, value in batch.items()}
    network = copy_of(model)

    def run() -> None:
        network(**inputs) if keyword else network(*inputs.values())
        _wait_for(anchor.device)

    before = torch.get_num_threads()
    torch.set_num_threads(where.threads)
    try:
        with torch.inference_mode():
            yield run, describe_device(anchor.device), str(anchor.dtype).removeprefix("torch.")
    finally:
        torch.set_num_threads(before)


def _exported(model: nn.Module, batch: dict[str, Tensor], keyword: bool) -> Any:
    """The network as `secateur.export` traces it, for this batch size only."""
    from secateur.export import Traced

    return Traced.of(model, batch if keyword else tuple(batch.values()), dynamic_batch=False)


@contextmanager
def _on_onnxruntime(model: nn.Module, batch: dict[str, Tensor], keyword: bool, where: Deployment) -> Runner:
    from secateur import export

    export.require_packages("onnx")
    traced = _exported(model, batch, keyword)
    content, _ = export.onnx_bytes(traced)
    run = export.onnxruntime_run(content, where.threads)
    export.check(run, traced)
    arrays = [value.numpy() for value in traced.examples.values()]
    yield lambda: run(arrays), describe_device(torch.device("cpu")), traced.dtype


@contextmanager
def _on_openvino(model: nn.Module, batch: dict[str, Tensor], keyword: bool, where: Deployment) -> Runner:
    from secateur import export

    export.require_packages("openvino")
    traced = _exported(model, batch, keyword)
    run = export.openvino_run(*export.openvino_bytes(traced), traced.dtype, where.threads)
    export.check(run, traced)
    arrays = [value.numpy() for value in traced.examples.values()]
    yield lambda: run(arrays), describe_device(torch.device("cpu")), traced.dtype


_RUNNERS = {"torch": _on_torch, "onnxruntime": _on_onnxruntime, "openvino": _on_openvino}


def _wait_for(device: torch.device) -> None:
    """Until the device has done what it was given: a call on a GPU returns before that."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def artefact_bytes(model: nn.Module) -> int:
    """Bytes of the safetensors file with the network's state, to the byte, without writing it.

    Eight bytes say how long the header is; the header, JSON padded with spaces to a multiple of eight, has
    one entry for every tensor; then come the tensors. Shapes are enough, so the meta device will do. A tensor
    under several names counts for each, though safetensors refuses to write such a state.

    Example:
        >>> artefact_bytes(nn.Linear(3, 2))
        160
    """
    return state_bytes(model.state_dict())


def state_bytes(state: Mapping[str, Tensor]) -> int:
    """`artefact_bytes` of a state dict; InputError where it holds what safetensors cannot.

    The order of the tensors matters, as it decides how many digits their offsets have: by dtype, the widest
    first, then by name.
    """
    dtypes = {name: _dtype_of(name, tensor) for name, tensor in state.items()}
    header: dict[str, dict[str, Any]] = {}
    end = 0
    for name in sorted(state, key=lambda name: (-_RANK[dtypes[name]], name.encode())):
        tensor, begin = state[name], end
        end += tensor.numel() * tensor.element_size()
        shape = list(tensor.shape)
        if dtypes[name] == "float4_e2m1fn_x2":
            shape[-1] *= 2  # two numbers to the byte
        header[name] = {"dtype": _SPELLED[dtypes[name]], "shape": shape, "data_offsets": [begin, end]}
    written = len(json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode())
    return 8 + (written + 7) // 8 * 8 + end


def _dtype_of(name: str, value: object) -> str:
    """The dtype's name; InputError unless it is a tensor of a kind that safetensors writes."""
    dtype = str(value.dtype).removeprefix("torch.") if isinstance(value, Tensor) else type(value).__name__
    if dtype not in _RANK:
        raise InputError(
            f"a network's file holds tensors of numbers that safetensors knows, but '{name}' is {dtype}: "
            "convert it, or leave it out of the state"
        )
    return dtype
