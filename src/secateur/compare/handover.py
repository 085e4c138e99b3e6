"""A comparison, handed from one process to another through a folder: JSON and safetensors, no pickle.

    work.json          the network, the settings, the store and the machine
    data.safetensors   the images and labels of all three splits; what else is known of them in its header

What comes out is compared with what went in, by the identities that go into the runs' hashes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from secateur.architecture.architecture import Architecture
from secateur.architecture.building import factory_name
from secateur.architecture.factories import PREFIXES, factory_of, names_factory
from secateur.architecture.origin import Origin
from secateur.architecture.resolve import resolve_model
from secateur.atomic import write_json
from secateur.budget import Budget
from secateur.compare.planning import PlanRow
from secateur.data import Augmentation, Data, Split
from secateur.device import Runtime
from secateur.errors import InputError
from secateur.network.tensor_files import unshared
from secateur.progress import Reporter
from secateur.runs.session import PruneSettings, Session
from secateur.runs.sparse import Sparsity
from secateur.runs.store import RunStore
from secateur.training.recipe import Recipe

if TYPE_CHECKING:
    from secateur.compare.comparison import Comparison, Settings

WORK, DATA = "work.json", "data.safetensors"
_SPLITS = ("train", "val", "test")


def leave(comparison: Comparison, session: Session, rows: Sequence[PlanRow], folder: Path) -> None:
    """Write into `folder` all that another process needs to make runs of the comparison.

    Raises:
        InputError: where the network cannot be built there, its factory having no name to import it by.
    """
    architecture = comparison.architecture
    work = {
        "architecture": _described(architecture),
        "identity": architecture.identity(),
        "settings": _settings_as_json(comparison.settings),
        "rows": [[row.arm, row.budget, row.compute] for row in rows],
        "store": str(session.store.directory.absolute()),
        "device": session.runtime.device_name,
    }
    try:
        write_json(folder / WORK, work)
    except (TypeError, ValueError) as error:
        raise InputError(f"the settings cannot be written down for other processes ({error})") from None
    _leave_data(comparison.data, folder / DATA)


@dataclass(frozen=True)
class Taken:
    """What was handed over: where to make runs, of which network, the settings' fields, and the plan."""

    session: Session
    architecture: Architecture
    settings: dict[str, Any]
    rows: list[PlanRow]


def take(folder: Path, reporter: Reporter) -> Taken:
    """What `leave` wrote, in a process that shares the store with others.

    Raises:
        InputError: where the factory cannot be imported here, or builds another network than it did there.
    """
    work = json.loads((folder / WORK).read_text(encoding="utf-8"))
    data = _taken_data(folder / DATA)
    architecture = _taken_architecture(work["architecture"], data)
    if architecture.identity() != work["identity"]:
        raise InputError(f"'{architecture.factory}' is another network in another process")
    runtime = Runtime(work["device"])
    session = Session(data, RunStore(work["store"], shared=True), runtime, reporter)
    rows = [PlanRow(arm, budget, None, None, 0, 0, None, compute) for arm, budget, compute in work["rows"]]
    return Taken(session, architecture, _settings_from_json(work["settings"]), rows)


def _described(architecture: Architecture) -> dict[str, Any]:
    """The network: of a family by its identity, else by its description and the factory's name."""
    if architecture.origin is None:
        return {"family": architecture.identity()}
    name = importable_name(architecture.origin)
    if name is None:
        raise InputError(f"the factory of '{architecture.factory}' cannot be imported by another process")
    if architecture.origin.pretrained is not None or name.startswith(PREFIXES):
        return {"named": name, "widths": list(architecture.widths)}
    return {"factory": name, "content": architecture.to_dict()}


def importable_name(origin: Origin) -> str | None:
    """The name by which another process gets the very factory that is at hand here; None: there is none.

    It is asked of the factory itself, never taken from a file's word.
    """
    build: Any = origin.build
    if isinstance(build, partial):
        if build.args or build.keywords != origin.arguments:
            return None
        build = build.func
    if origin.name.startswith(PREFIXES) and getattr(build, "__module__", "") == names_factory.__module__:
        return origin.name
    name = factory_name(build)
    module, _, path = name.partition(":")
    found: Any = None if module == "__main__" else sys.modules.get(module)
    for part in path.split("."):
        found = getattr(found, part, None)
    return name if found is not None and found is build and names_factory(name) else None


def _taken_architecture(described: dict[str, Any], data: Data) -> Architecture:
    if "family" in described:
        return Architecture.from_identity(described["family"])
    if "named" in described:
        return resolve_model(described["named"], data).with_widths(described["widths"])
    return Architecture.from_dict(described["content"], "the model", factory_of(described["factory"]))


def _settings_as_json(settings: Settings) -> dict[str, Any]:
    weights = settings.prune.weights
    return {
        "budgets": [budget.text for budget in settings.budgets],
        "arms": list(settings.arms),
        "seeds": settings.seeds,
        "match": settings.match,
        "recipe": asdict(settings.recipe),
        "prune": asdict(settings.prune) | {"weights": str(weights.absolute()) if weights else None},
        "copycat_after": settings.copycat_after,
        "sparsity": asdict(settings.sparsity),
    }


def _settings_from_json(content: dict[str, Any]) -> dict[str, Any]:
    recipe, prune = content["recipe"], content["prune"]
    recipe["milestones"] = tuple(recipe["milestones"])
    prune["weights"] = Path(prune["weights"]) if prune["weights"] else None
    made = {
        "budgets": tuple(Budget.parse(text) for text in content["budgets"]),
        "arms": tuple(content["arms"]),
        "recipe": Recipe(**recipe),
        "prune": PruneSettings(**prune),
        "sparsity": Sparsity(**content["sparsity"]),
    }
    return {**content, **made}


def _leave_data(data: Data, path: Path) -> None:
    facts = {
        "name": data.name,
        "label": data.label,
        "classes": data.classes,
        "mean": data.mean,
        "std": data.std,
        "augmentation": asdict(data.augmentation),
        "fingerprint": data.fingerprint,
    }
    splits = {name: getattr(data, name) for name in _SPLITS}
    tensors = {f"{name}.images": split.images for name, split in splits.items()}
    tensors |= {f"{name}.labels": split.labels for name, split in splits.items()}
    try:
        save_file(unshared(tensors), path, {"secateur": json.dumps(facts)})
    except SafetensorError as error:  # the disk is full, say
        raise InputError(f"the images cannot be handed to other processes ({error})") from None


def _taken_data(path: Path) -> Data:
    with safe_open(path, "pt") as file:
        facts = json.loads(file.metadata()["secateur"])
        splits = {
            name: Split(file.get_tensor(f"{name}.images"), file.get_tensor(f"{name}.labels"))
            for name in _SPLITS
        }
    tuples = {key: tuple(facts[key]) for key in ("classes", "mean", "std")}
    return Data(**{**facts, **splits, **tuples, "augmentation": Augmentation(**facts["augmentation"])})
