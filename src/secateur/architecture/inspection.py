"""What `secateur inspect` shows of a network: groups, costs, what is frozen and why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from secateur.architecture.architecture import Architecture
from secateur.architecture.file import WEIGHTS_FILE
from secateur.network.counting import MACS_CONVENTION
from secateur.surgery.anatomy import Anatomy, anatomy_of, cost_at

RESOURCES = ("params", "macs", "bytes")


def groups_and_costs(architecture: Architecture, model: str | None = None) -> dict[str, Any]:
    """List what can be cut, at what gain, and what cannot; JSON-able. Nothing is changed.

    Args:
        model: what the user calls it: where it lies in a folder with its weights, their file is measured.
            Its bytes are fewer than those that the shapes say where it is a sparse one.
    """
    anatomy = anatomy_of(architecture.skeleton())
    graph = anatomy.graph
    return {
        "model": architecture.display_name,
        "proof": architecture.origin.proof,
        "groups": [_group(anatomy, name) for name in graph.groups],
        "frozen": [
            {"name": frozen.name, "width": frozen.width, "reason": frozen.reason} for frozen in graph.frozen
        ],
        "now": {resource: cost_at(anatomy, resource) for resource in RESOURCES},
        "smallest": {
            resource: cost_at(anatomy, resource, dict.fromkeys(graph.groups, 1)) for resource in RESOURCES
        },
        "convention": _convention(anatomy),
        **_on_disk(model),
    }


def _on_disk(model: str | None) -> dict[str, int]:
    """The bytes of the file of weights, where there is one."""
    if model is None:
        return {}
    folder = Path(model).parent if model.endswith(".json") else Path(model)
    file = folder / WEIGHTS_FILE
    return {"bytes_on_disk": file.stat().st_size} if file.is_file() else {}


def _group(anatomy: Anatomy, name: str) -> dict[str, Any]:
    group, now = anatomy.graph.groups[name], anatomy.costs.now
    less = anatomy.costs.without(name)
    return {
        "name": name,
        "width": anatomy.graph.width(name),
        "sets": group.sets,
        "layers": list(group.modules),
        "params": now["params"] - less["params"],
        "macs": now["macs"] - less["macs"],
    }


def _convention(anatomy: Anatomy) -> str:
    """Say how MACs were counted, and which operators are in no number."""
    text, costs = MACS_CONVENTION, anatomy.costs
    if costs.other_macs:
        text += (
            f"; {costs.other_macs:,} of them in products that no weight is part of and that no cut changes"
        )
    if costs.unfollowed:
        text += f"; those of products that no weight is part of: {costs.unfollowed}"
    if costs.uncounted:
        named = ", ".join(f"{name} ({n} calls)" for name, n in costs.uncounted.items())
        text += f"; NOT counted, as nobody knows their cost: {named}"
    return text
