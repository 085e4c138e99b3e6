"""A finished network, measured where it runs: sizes and times, as it is and as it was before pruning."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from secateur.architecture.architecture import Architecture
from secateur.architecture.building import built
from secateur.architecture.elsewhere import name_to_import
from secateur.architecture.factories import factory_of
from secateur.architecture.file import (
    ARCHITECTURE_FILE,
    TRANSFORMERS_FILE,
    WEIGHTS_FILE,
    read_architecture,
)
from secateur.architecture.foreign import ForeignOrigin
from secateur.architecture.from_transformers import factory_beside
from secateur.architecture.opening import Factory, open_for
from secateur.architecture.saved import load_model, save_model
from secateur.atomic import scratch, write_json
from secateur.device import Runtime
from secateur.errors import InputError
from secateur.network.copies import copied
from secateur.network.masks import count_nonzeros
from secateur.network.weight_file import file_bytes
from secateur.network.weights import count_weights
from secateur.progress import Reporter, told
from secateur.records.measured import BEFORE, MEASURED_FILE, NOW, Measured, hash_of
from secateur.records.out import check_ours, check_writable, expanded
from secateur.records.results import Results
from secateur.runs.brought import words_on_speed
from secateur.runs.runtimes import Found, Plan, speed_of, subject_of, time_on, timing_of, versions
from secateur.runs.sizes import sizes_of
from secateur.runs.store import RunStore
from secateur.runs.timing import Subject
from secateur.surgery.anatomy import anatomy_of

UNTRAINED = (
    "before is the network before pruning with untrained weights, which sizes and times do not depend on"
)


def measure(
    network: Any,
    runtimes: Sequence[str] | None = None,
    *,
    batch: int = 1,
    threads: int = 1,
    before: Any = None,
    factory: Factory | str | None = None,
    device: str = "cpu",
    **limits: float,
) -> Measured:
    """Measure a network where it runs, now and before pruning: `sc.measure`.

    Every runtime has a process of its own, one after another; in it the two networks take turns.

    Args:
        network: a folder that `sc.save`, `train`, `prune` or `compare` left, or a network that was loaded,
            pruned or inspected.
        runtimes: some of `secateur.budget.RUNTIMES`; None: all that are installed, and what is not is named.
        batch, threads: at least 1.
        before: a folder or a network to measure it against; None: itself before pruning, as its factory makes
            it, with untrained weights.
        factory: builds the network of a folder, where it is not of a built-in family; or its name.
        device: of torch; the other runtimes are measured on the CPU.
        limits: `seconds`, seconds for each network and runtime; `timeout_s`, for a runtime as a whole.

    Returns:
        Sizes and times; `print` shows them as tables.

    Raises:
        InputError: where there is no network, a setting makes no sense, or a runtime asked for is not there.

    Example:
        >>> print(sc.measure("small/", ["onnxruntime", "c"]))  # doctest: +SKIP
    """
    plan = Plan.of(runtimes, batch=batch, threads=threads, device=Runtime(device).device_name, **limits)
    build = factory_of(factory) if isinstance(factory, str) else factory
    with scratch() as made:
        pair = Pair.opened(network, before, build, made)
        return pair.measured(plan, told())


def measure_folder(
    folder: Path, plan: Plan, before: Any, factory: str | None, reporter: Reporter
) -> Measured:
    """Measure a network's folder, and leave the numbers there, as `measured.json`.

    Raises:
        InputError: as `measure`; where the folder has a file of that name that is not ours.
    """
    folder = network_in(folder)
    check_writable(folder, f"where {MEASURED_FILE} is left")
    check_ours([folder / MEASURED_FILE])
    with scratch() as made:
        pair = Pair.opened(folder, before, factory_of(factory) if factory else None, made)
        found = pair.measured(plan, reporter)
    write_json(folder / MEASURED_FILE, found.for_file())
    return found


def network_in(folder: str | Path) -> Path:
    """The folder of one network: itself, or of a comparison its best/; InputError where there is none."""
    path = expanded(folder, "the network")
    if path.name in (ARCHITECTURE_FILE, WEIGHTS_FILE):
        path = path.parent
    if not (path / ARCHITECTURE_FILE).is_file() and (path / "best" / ARCHITECTURE_FILE).is_file():
        path = path / "best"
    if not (path / ARCHITECTURE_FILE).is_file():
        raise InputError(
            f"no network at '{folder}': name a folder that train, prune, compare or sc.save left, with an "
            f"{ARCHITECTURE_FILE} and a {WEIGHTS_FILE}"
        )
    return path


@dataclass(frozen=True)
class Pair:
    """A network and what it was before pruning, each in a folder where other processes find it.

    Attributes:
        before: None where there is nothing to compare with, and `remarks` says why.
        factory: the name by which another process imports what builds them; None: none is needed, or none is
            had (`by_name`), and torch too runs what was traced.
        made: a folder of ours, for what is handed to other processes.
    """

    name: str
    now: nn.Module
    before: nn.Module | None
    folders: dict[str, Path]
    factory: str | None
    by_name: bool
    made: Path
    remarks: tuple[str, ...] = ()

    @classmethod
    def opened(cls, network: Any, before: Any, factory: Factory | None, made: Path) -> Pair:
        """Open a network and find out what it was before pruning."""
        model, folder, name = _opened(network, factory, made / NOW)
        other: nn.Module | None
        if before is not None:
            other, beside, what = _opened(before, factory, made / BEFORE)
            other, remark = _like(model, other), f"before is {what}, as --before says"
        else:
            other, remark = _before(model, folder, factory)
            beside = made / BEFORE
            if other is not None:
                save_model(other, beside)
            elif (dense := _dense_of(folder)) is not None:  # a narrower network, of a comparison
                other, beside, _ = _opened(dense, factory, beside)
                remark = f"before is the unpruned network of the comparison, {dense}"
        folders = {NOW: folder} | ({BEFORE: beside} if other is not None else {})
        named, by_name = _named(model, folder, factory)
        return cls(name, model, other, folders, named, by_name, made, (remark,) if remark else ())

    def measured(self, plan: Plan, reporter: Reporter) -> Measured:
        """Count and time the two."""
        found = time_on(plan, self._subjects(plan), reporter)
        now = sizes_of(self.now, (self.folders[NOW] / WEIGHTS_FILE).stat().st_size)
        before = None if self.before is None else sizes_of(self.before, file_bytes(self.before))
        speeds = tuple(
            speed_of(runtime, each[BEFORE], each[NOW])
            for runtime, each in found.timed.items()
            if {NOW, BEFORE} <= each.keys()
        )
        words = words_on_speed(now, before, speeds) if before is not None else ()
        return Measured(
            network=self.name,
            weights_sha256=hash_of(self.folders[NOW] / WEIGHTS_FILE),
            now=now,
            before=before,
            timings=tuple(
                timing_of(which, runtime, each[which], plan)
                for runtime, each in found.timed.items()
                for which in (NOW, BEFORE)
                if which in each
            ),
            speeds=speeds,
            not_measured=tuple(found.not_measured),
            remarks=(*words, *self.remarks, *self._remarks(found)),
            versions=versions(),
            platform=platform.platform(),
        )

    def _subjects(self, plan: Plan) -> list[Subject]:
        both = {NOW: self.now, BEFORE: self.before}
        return [
            subject_of(
                which,
                model,
                plan.batch,
                self.made,
                self.folders[which] if self.by_name else None,
                self.factory,
            )
            for which, model in both.items()
            if model is not None
        ]

    def _remarks(self, found: Found) -> list[str]:
        """What else should be known of the numbers."""
        remarks = list(found.remarks)
        if "torch" in found.timed and not self.by_name:
            remarks.append(
                "torch ran the operators that torch.export recorded, which takes somewhat longer than the "
                "network itself: its factory has no name by which another process finds it"
            )
        if unknown := anatomy_of(self.now).costs.uncounted:
            remarks.append(f"nobody knows the multiply-accumulates of {', '.join(sorted(unknown))}")
        return remarks


def _opened(network: Any, factory: Factory | None, made: Path) -> tuple[nn.Module, Path, str]:
    """A network with the folder that it lies in, and its name for people."""
    if isinstance(network, nn.Module):
        save_model(network, made)  # or says that it was not inspected
        return network, made, Architecture.of(network).display_name
    folder = network_in(network)
    model = load_model(folder, factory)
    return model, folder, f"{Architecture.of(model).display_name} in {folder}"


def _dense_of(folder: Path) -> Path | None:
    """The folder of the unpruned network that a comparison's best/ stands beside; None where it is gone."""
    results = folder.parent / "results.json"
    if folder.name != "best" or not results.is_file():
        return None
    store = RunStore(folder.parent)
    found = (store.path(point.run_id) for point in Results.load(results).dense)
    return next((each for each in found if (each / WEIGHTS_FILE).is_file()), None)


def _named(model: nn.Module, folder: Path, factory: Factory | None) -> tuple[str | None, bool]:
    """The name of what builds a network, for another process; whether that one can build it at all."""
    origin = Architecture.of(model).origin
    if not isinstance(origin, ForeignOrigin) or (factory is None and (folder / TRANSFORMERS_FILE).is_file()):
        return None, True
    name = name_to_import(factory) if factory is not None else None
    return name, name is not None


def _before(model: nn.Module, folder: Path, factory: Factory | None) -> tuple[nn.Module | None, str]:
    """The network before pruning, or None; what is to be said of it."""
    architecture = Architecture.of(model)
    origin, content = architecture.origin, read_architecture(folder)[0]
    skipped = content.get("skipped") or {}
    if architecture.widths == origin.widths and not skipped and count_nonzeros(model) == count_weights(model):
        return None, (
            "nothing was pruned: the network is as its factory makes it, so there is no before; --before DIR "
            "names a network to measure it against"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if skipped:
            return _with_blocks(model, folder, factory, content)
        if isinstance(origin, ForeignOrigin) and origin.build is None:
            assert origin.anatomy.whole is not None
            return _like(model, copied(origin.anatomy.whole)), UNTRAINED
        return _like(model, Architecture.whole(origin).build()), UNTRAINED


def _with_blocks(
    model: nn.Module, folder: Path, factory: Factory | None, content: dict[str, Any]
) -> tuple[nn.Module | None, str]:
    """The network before blocks were taken out, which its factory alone knows; it is opened anew."""
    build = factory or factory_beside(folder / ARCHITECTURE_FILE)
    if build is None:
        return None, "blocks are gone from it, and no factory is known that makes them: there is no before"
    whole = built(partial(build, **content["arguments"]), content["factory"])
    open_for(whole, anatomy_of(model).inputs, factory=partial(build, **content["arguments"]))
    return _like(model, whole), UNTRAINED


def _like(model: nn.Module, other: nn.Module) -> nn.Module:
    """Another network in the precision of the first."""
    real = next((value.dtype for value in model.parameters() if value.is_floating_point()), torch.float32)
    return other.to(real)
