"""Points: one network's line in `results.json`."""

from __future__ import annotations

from typing import Any

from secateur.architecture.architecture import Architecture

_WHERE_KNOWN = (
    *("nonzeros", "weights", "accuracy_before", "val_accuracy_before", "remaining"),
    *("bytes", "latency", "latency_ns", "limits", "uncounted"),
)


Record = dict[str, Any]


Point = dict[str, Any]


def point_of(
    record: Record,
    arm: str,
    budget: str | None,
    *,
    before: Record | None = None,
    discovery_compute: int = 0,
    epochs: int | None = None,
) -> Point:
    """One network's line in `results.json`.

    Args:
        record: of the run that made the network.
        budget: as the user wrote it; None for the network that nothing was cut from.
        before: the run it continued from, whose cost is its own too.
        discovery_compute: training MACs that finding the architecture took.
    """
    of = record["architecture"]
    names = of["groups"] if "groups" in of else Architecture.from_identity(of).group_names()
    return {
        "arm": arm,
        "budget": budget,
        "seed": record["seed"],
        "params": record["params"],
        **{key: record[key] for key in _WHERE_KNOWN if key in record},
        "macs": record["macs"],
        "accuracy": record["accuracy"],
        "val_accuracy": record["val_accuracy"],
        "train_compute": record["train_compute"] + (before["train_compute"] if before else 0),
        "discovery_compute": discovery_compute,
        "wall_s": record["wall_s"] + (before["wall_s"] if before else 0.0),
        "run_id": record["run_id"],
        "epochs": epochs,
        "widths": dict(zip(names, of["widths"], strict=True)),
    }
