"""How a finished network was made, of the `record.json` that a run or a command left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from secateur.errors import InputError
from secateur.records.found import Found
from secateur.records.measure import ACCURACY, Measure
from secateur.records.point import Point
from secateur.records.reading import read_json
from secateur.records.record import Record
from secateur.records.seal import check_seal

RECORD_FILE = "record.json"


@dataclass(frozen=True)
class Made:
    """How a network was made, of a run's record or of a point's: what both have.

    Attributes:
        label: the run in words, where it says; arm: the way to it, where it says.
        budget: as the user wrote it; None: none, or it is not known.
        counts: "params", "macs", "nonzeros", "weights", "bytes" -> of the finished network, what is known.
        limits: resource -> units that it had to be within; latency in nanoseconds.
        accuracy, val_accuracy: on the test and the validation split, or the value of `measure`.
        before: accuracy on the test split before weights were set to zero.
        epochs: rows of its history.
        identity, environment: as the record has them.
        weights_sha256: the beginning of the hash of the weights that all this is of, where it says.
    """

    run_id: str
    seed: int
    label: str | None
    arm: str | None
    budget: str | None
    counts: Mapping[str, int]
    limits: Mapping[str, int]
    latency: str | None
    accuracy: float
    val_accuracy: float
    measure: Measure
    also: Mapping[str, float]
    before: float | None
    epochs: int
    train_compute: int
    wall_s: float
    identity: Mapping[str, Any]
    environment: Mapping[str, Any]
    uncounted: Mapping[str, int]
    found: Found | None
    weights_sha256: str | None = None

    @classmethod
    def read(cls, path: Path) -> Made | None:
        """Of a `record.json`; None where there is none, InputError where it is damaged."""
        if not path.is_file():
            return None
        content = _json(path)
        if "arm" in content:
            found = cls._of_point(content, str(path))
            check_seal(content, str(path), "run the command that left it again")
            return found
        return cls.of_record(Record.from_json(content, str(path)))

    @classmethod
    def of_record(cls, record: Record) -> Made:
        """Of a run's own record."""
        return cls._of(record, record, None, len(record.history))

    @classmethod
    def _of_point(cls, content: dict[str, Any], source: str) -> Made:
        point = Point.from_json(content, source)
        rest: dict[str, Any] = {
            key: content.get(key) for key in ("identity", "environment", "data", "history")
        }
        for key in ("identity", "environment"):
            if not isinstance(rest[key], dict):
                raise InputError(f"{source}: '{key}' must be an object: run the command that left it again")
        found = None if rest["data"] is None else Found.from_json(rest["data"], f"{source}: data")
        history = rest["history"] if isinstance(rest["history"], list) else []
        more = _Rest(rest["identity"], rest["environment"], found)
        made = cls._of(point, more, point.budget, len(history))
        digest = content.get("weights_sha256")
        return replace(made, weights_sha256=digest) if isinstance(digest, str) and digest else made

    @classmethod
    def _of(
        cls,
        point: Point | Record,
        more: Record | _Rest,
        budget: str | None,
        epochs: int,
    ) -> Made:
        return cls(
            run_id=point.run_id,
            seed=point.seed,
            label=getattr(point, "label", None),
            arm=getattr(point, "arm", None),
            budget=budget,
            counts=counts_of(point),
            limits=point.limits or _targets(more.identity),
            latency=point.latency,
            accuracy=point.accuracy,
            val_accuracy=point.val_accuracy,
            measure=point.metric or ACCURACY,
            also=point.also or {},
            before=point.accuracy_before,
            epochs=epochs,
            train_compute=point.train_compute,
            wall_s=point.wall_s,
            identity=more.identity,
            environment=more.environment,
            uncounted=point.uncounted or {},
            found=more.data,
        )


@dataclass(frozen=True)
class _Rest:
    """What `record.json` has beside a point."""

    identity: Mapping[str, Any]
    environment: Mapping[str, Any]
    data: Found | None


def counts_of(point: Point | Record) -> dict[str, int]:
    """How large a record says that a network is, what it says."""
    counted = {name: getattr(point, name) for name in ("params", "macs", "nonzeros", "weights", "bytes")}
    return {name: count for name, count in counted.items() if count is not None}


def _targets(identity: Mapping[str, Any]) -> Mapping[str, int]:
    """The limits in units that a run's identity names; what it tuned may name them one level down."""
    target = identity.get("target")
    if isinstance(target, dict):
        return {name: value for name, value in target.items() if type(value) is int}
    after = identity.get("after")
    return _targets(after) if isinstance(after, dict) else {}


def _json(path: Path) -> dict[str, Any]:
    """The content of a JSON file; InputError where it holds no object."""
    content = read_json(path, "run the command that left it again")
    if not isinstance(content, dict):
        raise InputError(f"{path}: must hold an object, got {str(content)[:40]}: run its command again")
    return content
