"""A folder that measures itself on another device: `secateur measure --emit DIR`."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from secateur.atomic import make_folder, part_folder, sync_folder, write_bytes
from secateur.budget import Deployment
from secateur.deploy.emitted.c_folder import c_files
from secateur.deploy.emitted.onnx_folder import onnx_files
from secateur.deploy.emitted.plan import NETWORKS, PLAN_FILE, Plan
from secateur.errors import InputError, unknown
from secateur.network.plain import bare
from secateur.network.weights import weight_layers
from secateur.records.device_table import RUNTIMES, TABLE_FILE
from secateur.records.ours import wrote
from secateur.records.out import check_writable, expanded
from secateur.records.shown import Shown

_SPARSE = 0.5

FOLDERS: dict[str, Callable[[Plan], dict[str, bytes]]] = {"c": c_files, "onnxruntime": onnx_files}
"""Runtime -> what makes every file of the folder."""


@dataclass(frozen=True)
class Emitted:
    """A folder that was written.

    Attributes:
        path: the folder.
        size: bytes of all files.
        layers: how many layers are measured alone, each at so many channels; networks: how many whole ones.
        run: the command that is given there.
        remarks: what a user should know.
    """

    path: Path
    runtime: str
    size: int
    layers: int
    networks: int
    run: str
    remarks: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """What was written, and what to do with it."""
        return [
            f"{self.path}: {self.size:,} bytes; {self.layers} layers and {self.networks} whole networks to "
            f"measure with {self.runtime}",
            f"there: {self.run}",
            f"here: --budget latency=50%@file:{TABLE_FILE}",
            *self.remarks,
        ]

    def __repr__(self) -> str:
        return Shown(f"Emitted for {self.runtime}", (), [], self.lines()).text()


def emit(
    model: nn.Module,
    out: str | Path,
    *,
    runtime: str = "c",
    batch: int = 1,
    threads: int = 1,
    networks: int = NETWORKS,
) -> Emitted:
    """Write a folder that measures a network's layers, and it, on a machine with nothing but `runtime`.

    What it prints there, `device.json`, is a table of costs: `--budget latency=2ms@file:device.json`.

    Args:
        model: of a built-in family, or opened by `sc.inspect`; trained or not, as its weights do not matter.
        out: the folder; made if need be. One that is there must be empty, or have been emitted.
        runtime: "c" (a C compiler) or "onnxruntime".
        batch, threads: as the network will be run; C runs one example at a time on one thread.
        networks: how many whole networks are measured, by which the error of the table is told.

    Raises:
        InputError: where an argument makes no sense, a package is missing, or the network cannot be exported.

    Example:
        >>> emit(sc.models.resnet18(), "there/")  # doctest: +SKIP
    """
    out = expanded(out, "--emit")
    check_emits(out, runtime, batch, threads, networks)
    model = bare(model)
    plan = Plan.of(model, batch, threads, networks)
    files = FOLDERS[runtime](plan)
    _write(out, files)
    command = (
        "sh build.sh && ./measure > device.json" if runtime == "c" else "python measure.py > device.json"
    )
    size = sum(map(len, files.values()))
    return Emitted(out, runtime, size, len(plan.points), len(plan.networks), command, _remarks(model))


def check_emits(out: Path, runtime: str, batch: int, threads: int, networks: int = NETWORKS) -> None:
    """Raise InputError, before anything is made, where an argument makes no sense."""
    if runtime not in RUNTIMES:
        raise unknown("runtime of another device", runtime, RUNTIMES)
    Deployment("torch", batch, threads)  # refuses what are no counts
    if runtime == "c" and (batch, threads) != (1, 1):
        raise InputError(
            f"C runs one example at a time on one thread, got batch {batch} and {threads} threads: leave "
            "them out (a batch of 8 takes eight times as long), or choose onnxruntime"
        )
    if not 1 <= networks <= 64:
        raise InputError(f"1 to 64 whole networks are measured, got {networks}: leave it out for {NETWORKS}")
    if out.exists() and not out.is_dir():
        raise InputError(f"--emit writes a folder, got '{out}', which is a file: choose another")
    check_writable(out, "--emit")
    if out.is_dir() and any(out.iterdir()) and not wrote(out / PLAN_FILE):
        raise InputError(
            f"a folder is emitted where there is none, or over one that was emitted, and '{out}' holds other "
            "files: choose another --emit"
        )


def _write(out: Path, files: dict[str, bytes]) -> None:
    """Write the files beside their places, then put them there; those of another emission go."""
    make_folder(out)
    with part_folder(out, "emitting") as made:
        for name, content in files.items():
            make_folder((made / name).parent)
            write_bytes(made / name, content)
        for old in _emitted_before(out):
            shutil.rmtree(old) if old.is_dir() and not old.is_symlink() else old.unlink()
        for entry in sorted(made.iterdir()):
            entry.replace(out / entry.name)
        sync_folder(out)
    write_bytes(out / PLAN_FILE, files[PLAN_FILE])


def _emitted_before(out: Path) -> list[Path]:
    """What of a folder we wrote: a table that was measured there stays."""
    return [out / name for name in ("onnx", "c", "measure.py", "build.sh") if (out / name).exists()]


def _remarks(model: nn.Module) -> tuple[str, ...]:
    """That zeros within layers do not count, where there are many."""
    sparse = [
        name
        for name, layer in weight_layers(model).items()
        if int((layer.weight == 0).sum()) > _SPARSE * layer.weight.numel()
    ]
    if not sparse:
        return ()
    return (
        f"{len(sparse)} layers are mostly zeros ({', '.join(sparse[:3])}): here they are measured as if they "
        "were dense, which is what channels cost; `secateur measure` says what zeros bring on this machine",
    )
