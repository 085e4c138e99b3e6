"""A run, written down for a process elsewhere: JSON for what it is, safetensors for its data; no pickle.

What comes out is compared with what went in by the run's id, which everything that can change a number is in.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from secateur.architecture.architecture import Architecture
from secateur.architecture.elsewhere import Described, describe, described_again
from secateur.budget import Budget, Limits
from secateur.data import Augmentation, Data, Split
from secateur.data.preprocessing import PixelFormat
from secateur.errors import InputError
from secateur.network.task import TASKS, Task
from secateur.network.tensor_files import unshared
from secateur.records.device_table import DeviceTable
from secateur.records.found import SPLITS, Found
from secateur.records.reading import parse_json
from secateur.runs.gate_channels import GateChannels
from secateur.runs.prune_channels import PruneChannels, PruneSettings, Target
from secateur.runs.run import Run
from secateur.runs.sparsify import MethodChoice, Sparsify
from secateur.runs.train import Given, Train, Tune
from secateur.surgery.constraints import Constraints
from secateur.training.loaders import Loaders
from secateur.training.recipe import Recipe
from secateur.training.terms import Terms

KINDS: dict[str, type[Run]] = {
    kind.kind: kind for kind in (Train, Given, Tune, PruneChannels, Sparsify, GateChannels)
}
"""Every kind of run, by the word that its ids begin with."""

_COMMON = ("architecture", "data", "seed", "label")
_RUNS = ("after", "teacher")  # settings that are runs themselves, on the same data


def run_as_json(run: Run) -> dict[str, Any]:
    """Write a run down; its data by fingerprint.

    Raises:
        InputError: where its network cannot be built elsewhere, its data, loss, metric or optimizer are the
            user's own objects, or a setting is not JSON.
    """
    if isinstance(run.data, Loaders):
        raise InputError("a user's own loaders stay in this process")
    own = {field.name for field in fields(run)} - {*_COMMON}
    content = {
        "kind": run.kind,
        "run_id": run.run_id,
        "architecture": describe(run.architecture),
        "data": run.data.fingerprint,
        "seed": run.seed,
        "label": run.label,
        **{name: _plain(getattr(run, name)) for name in sorted(own)},
    }
    try:
        json.dumps(content, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"'{run.label}' cannot be written down for another process ({error})") from None
    return content


def run_from_json(
    content: dict[str, Any], data: Data, architecture: Callable[[Described, Data], Architecture] | None = None
) -> Run:
    """Take up a run that `run_as_json` wrote.

    Args:
        data: of the fingerprint that is named.
        architecture: makes the network of its description; by default `described_again`.

    Raises:
        InputError: where it is another run here, as where a factory builds another network.
    """
    kind = KINDS[content["kind"]]
    make = architecture or described_again
    own = {field.name for field in fields(kind)} - {*_COMMON}
    settings: dict[str, Any] = {name: _READERS[name](content[name]) for name in own - {*_RUNS}}
    for name in own & {*_RUNS}:
        settings[name] = content[name] and run_from_json(content[name], data, architecture)
    run = kind(
        architecture=make(content["architecture"], data),
        data=data,
        seed=content["seed"],
        label=content["label"],
        **settings,
    )
    if run.run_id != content["run_id"]:
        raise InputError(
            f"'{run.label}' is another run in another process: '{run.architecture.factory}' must build the "
            f"same network there, got {run.run_id} for {content['run_id']}"
        )
    return run


def _plain(value: Any) -> Any:
    """A run's setting as JSON."""
    if isinstance(value, Run):
        return run_as_json(value)
    if isinstance(value, (Recipe, PruneSettings, MethodChoice)):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Constraints):
        return value.to_json()
    if isinstance(value, Terms):
        return _terms_as_json(value)
    if isinstance(value, Target):
        return {"limits": _plain(value.limits), "removals": value.removals}
    if isinstance(value, Limits):
        counted = {"counted": dict(value.counted), "nanoseconds": value.nanoseconds}
        return {**counted, **_latency_as_json(value.latency)}
    if isinstance(value, Path):
        return str(value.absolute())
    return list(value) if isinstance(value, tuple) else value


def _latency_as_json(latency: Budget | None) -> dict[str, Any]:
    """A latency's text; with it the table by which it is foretold, whose file may lie nowhere else."""
    where = latency.deployment if latency else None
    table = where.table.to_json() if where and where.table else None
    return {"latency": latency.text if latency else None, "table": table}


def _terms_as_json(terms: Terms) -> str:
    """The task's name; InputError where a function of the user's takes part."""
    task = terms.task
    if terms.optimizer is not None or TASKS.get(task.name) is not task:
        raise InputError("a user's own loss, metric or optimizer stays in this process")
    return task.name


def _recipe(content: dict[str, Any] | None) -> Recipe | None:
    if content is None:
        return None
    return Recipe(**{**content, "milestones": tuple(content["milestones"])})


def _limits(content: dict[str, Any] | None) -> Limits | None:
    if content is None:
        return None
    table = content["table"] and DeviceTable.from_json(content["table"])
    latency = Budget.parse(content["latency"], table) if content["latency"] else None
    return Limits(tuple(content["counted"].items()), latency, content["nanoseconds"])


def _settings(content: dict[str, Any]) -> PruneSettings:
    weights, constraints = _path(content["weights"]), Constraints.from_json(content["constraints"])
    return PruneSettings(**{**content, "weights": weights, "constraints": constraints})


def _target(content: dict[str, Any]) -> Target:
    return Target(_limits(content["limits"]), content["removals"])


def _path(content: str | None) -> Path | None:
    return Path(content) if content else None


def _same(content: Any) -> Any:
    return content


_READERS: dict[str, Callable[[Any], Any]] = {
    "recipe": _recipe,
    "training": _recipe,
    "limits": _limits,
    "settings": _settings,
    "target": _target,
    "method": lambda content: MethodChoice(**content),
    "weights": _path,
    "terms": lambda name: Terms(Task.named(name)),
    "epochs": _same,
    "constraints": Constraints.from_json,
    "about": _same,
}
"""How each setting of a run is read."""


def write_data(data: Data, path: Path) -> None:
    """Write images and labels of all splits, and in the header what else is known of them.

    Raises:
        InputError: where they cannot be written, as on a full disk.
    """
    facts = {
        "name": data.name,
        "label": data.label,
        "classes": data.classes,
        "mean": data.mean,
        "std": data.std,
        "augmentation": asdict(data.augmentation),
        "fingerprint": data.fingerprint,
        "format": asdict(data.format) if data.format else None,
        "found": data.found.to_json() if data.found else None,
    }
    splits = {name: getattr(data, name) for name in SPLITS}
    tensors = {f"{name}.images": split.images for name, split in splits.items()}
    tensors |= {f"{name}.labels": split.labels for name, split in splits.items()}
    try:
        save_file(unshared(tensors), path, {"secateur": json.dumps(facts)})
    except SafetensorError as error:  # the disk is full, say
        raise InputError(f"the images cannot be handed to other processes ({error})") from None


def read_data(path: Path) -> Data:
    """Read what `write_data` wrote."""
    with safe_open(path, "pt") as file:
        facts = parse_json(file.metadata()["secateur"], str(path))
        splits = {
            name: Split(file.get_tensor(f"{name}.images"), file.get_tensor(f"{name}.labels"))
            for name in SPLITS
        }
    tuples = {key: tuple(facts[key]) for key in ("classes", "mean", "std")}
    made = {
        "augmentation": Augmentation(**facts["augmentation"]),
        "format": PixelFormat(**facts["format"]) if facts["format"] else None,
        "found": Found.from_json(facts["found"]) if facts["found"] else None,
    }
    return Data(**{**facts, **splits, **tuples, **made})
