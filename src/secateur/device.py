"""Where a run computes: the device and the processes, through `accelerate`."""

from __future__ import annotations

import datetime
import os
import platform
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from secateur.errors import InputError, unknown
from secateur.models.base import Projection

if TYPE_CHECKING:
    from accelerate import Accelerator

AUTOCAST = {"fp32": None, "bf16": torch.bfloat16}  # what a forward pass computes in; None: as it stands
DEVICES = ("auto", "cpu", "cuda", "mps")


class Runtime:
    """One process's place in a run.

    Args:
        device: "auto" (what accelerate finds best), "cpu", "cuda", "cuda:1", "mps".

    Attributes:
        device: the torch device of this process.
        world, rank: number of processes (`accelerate launch`), and which one this is.
    """

    def __init__(self, device: str = "auto"):
        kind, _, index = device.partition(":")
        if kind not in DEVICES:
            raise unknown("device", device, DEVICES)
        _check_available(kind, index)
        self.accelerator = _accelerator(kind)
        self.device: torch.device = self.accelerator.device
        self.world: int = self.accelerator.num_processes
        self.rank: int = self.accelerator.process_index

    @property
    def device_name(self) -> str:
        """By which another process asks for the same device: "cpu", "cuda:1"."""
        kind = self.device.type
        return f"cuda:{self.device.index or 0}" if kind == "cuda" else kind

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and talks."""
        return self.rank == 0

    def place(self, model: nn.Module) -> nn.Module:
        """The model on the device, in the memory layout in which its convolutions are fastest."""
        return model.to(self.device).to(memory_format=self.layout(model))  # type: ignore[call-overload]

    def layout(self, model: nn.Module) -> torch.memory_format:
        """Channels last, but on a CPU for networks with strided 1x1 convolutions other than our own.

        There the gradient of such a convolution with fewer than 16 input channels writes out of bounds, and
        the process dies or computes nonsense (oneDNN issue 6035; seen with torch 2.13 at a batch of 47).
        `secateur.models.base.Projection` goes round it.
        """
        if self.device.type == "cpu" and any(_is_strided_projection(module) for module in model.modules()):
            return torch.contiguous_format
        return torch.channels_last

    def arrange(self, x: Tensor, layout: torch.memory_format) -> Tensor:
        """A batch in a model's layout, its strides spelled out: a mixture would run in channels last."""
        if layout != torch.contiguous_format:
            return x.contiguous(memory_format=layout)
        _, channels, height, width = x.shape
        plain = x.stride() == (channels * height * width, height * width, width, 1)
        return x if plain else x.clone(memory_format=torch.contiguous_format)

    def wrap(self, model: nn.Module) -> nn.Module:
        """What to call in training: the model itself, or around it what averages over processes."""
        if self.world == 1:
            return model
        self.accelerator.free_memory()  # it would keep every size the network ever had
        return self.accelerator.prepare_model(model)

    def autocast(self, precision: str) -> AbstractContextManager[Any]:
        """The context of a forward pass: "fp32", or "bf16" (weights, optimizer and sums stay in float32)."""
        kind = AUTOCAST[precision]
        return nullcontext() if kind is None else torch.autocast(self.device.type, dtype=kind)

    def sum(self, value: Tensor) -> Tensor:
        """Sum over all processes."""
        return self.accelerator.reduce(value, "sum") if self.world > 1 else value

    def barrier(self) -> None:
        """Wait for the other processes."""
        self.accelerator.wait_for_everyone()


PATIENCE = "SECATEUR_RANK_TIMEOUT"
"""The environment variable that says how many minutes a process waits for the others."""
PATIENCE_MIN = 60.0
"""Longer than any part of an epoch in which only one of them works: measuring, writing, a slow disk."""


def patience() -> datetime.timedelta:
    """How long a process waits for the others before it takes them for lost.

    Raises:
        InputError: unless it is a number of minutes above 0.
    """
    said = os.environ.get(PATIENCE, "")
    try:
        minutes = float(said) if said else PATIENCE_MIN
    except ValueError:
        minutes = 0.0
    if not 0 < minutes <= 10**6:
        raise InputError(f"{PATIENCE} must be minutes above 0, got '{said}'")
    return datetime.timedelta(minutes=minutes)


def lost_another(error: BaseException) -> str | None:
    """What is said where processes that make a run together lost one; None for any other error.

    gloo raises plain RuntimeErrors; what they say tells them.
    """
    if not _distributed():
        return None
    kinds = (torch.distributed.DistBackendError, torch.distributed.DistNetworkError)
    said = str(error).lower()
    of_gloo = isinstance(error, RuntimeError) and ("gloo" in said or "connection closed by peer" in said)
    if not (of_gloo or isinstance(error, kinds)):
        return None
    if "timed out" in said or "timeout" in said:
        minutes = patience().total_seconds() / 60
        what = f"did not answer for {minutes:g} minutes ({PATIENCE})"
    else:
        what = "ended"
    return (
        f"another of the {torch.distributed.get_world_size()} processes that make this run together {what}: "
        "finished epochs and runs are kept; the same command continues"
    )


def _accelerator(kind: str) -> Accelerator:
    """accelerate keeps one state a process and refuses a second device: begin afresh."""
    from accelerate import Accelerator  # here, as importing secateur shall cost little more than torch
    from accelerate.state import AcceleratorState
    from accelerate.utils import InitProcessGroupKwargs

    AcceleratorState._reset_state(reset_partial_state=not _distributed())
    waits = InitProcessGroupKwargs(timeout=patience())
    return Accelerator(cpu=kind == "cpu", mixed_precision="no", kwargs_handlers=[waits])  # see `autocast`


def describe_device(device: torch.device) -> str:
    """Its kind and its name: "cpu (AMD EPYC 7B13)"."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name()
    return f"{device.type} ({name})"


def _is_strided_projection(module: nn.Module) -> bool:
    if not isinstance(module, nn.Conv2d) or isinstance(module, Projection):
        return False
    return max(module.kernel_size) == 1 and max(int(stride) for stride in module.stride) > 1


def _check_available(kind: str, index: str) -> None:
    if kind == "cuda":
        if not torch.cuda.is_available():
            raise InputError(
                "device 'cuda' was asked for, but torch finds no CUDA GPU here: use --device cpu"
            )
        if index and (not index.isdigit() or int(index) >= torch.cuda.device_count()):
            raise InputError(
                f"device 'cuda:{index}' does not exist: there are {torch.cuda.device_count()}, from cuda:0"
            )
        if index:
            torch.cuda.set_device(int(index))
    elif index:
        raise InputError(f"device '{kind}' takes no number, got '{kind}:{index}'")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise InputError("device 'mps' was asked for, but torch finds no Apple GPU here: use --device cpu")


def _distributed() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            found = next((line for line in file if line.startswith("model name")), ":")
        return found.partition(":")[2].strip() or platform.processor() or platform.machine()
    except OSError:
        return platform.processor() or platform.machine()
