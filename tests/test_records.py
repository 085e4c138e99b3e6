"""Records, points and results: what is written comes back alike, and what is wrong is named."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import FrozenInstanceError, fields
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from secateur.errors import InputError
from secateur.papers.cells import (
    About,
    CrowleyCells,
    CrowleyRun,
    DupontCells,
    DupontRun,
    FamilyCells,
    FamilyRun,
    Pruned,
)
from secateur.records.advice import Advice, BudgetAdvice, Unpruned, Untold
from secateur.records.failed import Failed, FailedRun, Missing
from secateur.records.forecasted import Forecast, Forecasts
from secateur.records.found import Found
from secateur.records.measure import Measure
from secateur.records.measured import Measured, NotMeasured, Sizes, Speed, Timing
from secateur.records.point import Point
from secateur.records.record import Epoch, Record, Removal
from secateur.records.results import (
    BudgetVerdict,
    DataSummary,
    Gap,
    Profile,
    ProfileGroup,
    Results,
    SummaryRow,
    Trajectory,
    Verdict,
)
from secateur.records.stored import ABSENT, Absent, Stored
from secateur.records.winner import LabelErrors, Miss, OutputErrors, Pair, Winner
from secateur.runs.life import Alive
from secateur.runs.tracking.mark import Mark, Marks

ROOT = Path(__file__).parents[1]
RECORDED = sorted((ROOT / "results").glob("*/results.json"))
CLASSES = [
    *(Results, DataSummary, Found, Point, SummaryRow, Profile, ProfileGroup, Trajectory),
    *(Verdict, BudgetVerdict, Gap, Measure),
    *(Advice, BudgetAdvice, Untold, Unpruned),
    *(Alive, Failed, FailedRun, Missing),
    *(Record, Epoch, Removal),
    *(Marks, Mark),
    *(About, DupontCells, DupontRun, CrowleyCells, CrowleyRun, FamilyCells, FamilyRun, Pruned),
    *(Winner, Pair, LabelErrors, OutputErrors, Miss),
    *(Measured, Sizes, Timing, Speed, NotMeasured, Forecasts, Forecast),
]

PRUNED = {
    "schema": 1,
    "run_id": "prune-3908cee1e220-s0",
    "label": "fisher-tuned latency=50%:torch seed 0",
    "seed": 0,
    "identity": {"kind": "prune", "method": {"name": "fisher", "beta": 0.0}},
    "architecture": {"factory": "nets:build", "arguments": {}, "widths": [5, 7], "groups": ["0", "3"]},
    "params": 672,
    "macs": 8200,
    "weights": 600,
    "nonzeros": 600,
    "bytes": 3000,
    "accuracy": 0.9,
    "val_accuracy": 1.0,
    "train_compute": 10**18,
    "wall_s": 12.25,
    "history": [
        {
            "epoch": 1,
            "loss": 0.5,
            "train_accuracy": 0.75,
            "val_accuracy": None,
            "lr": 0.0008,
            "params": 700,
            "removed": 3,
        },
        {
            "epoch": 2,
            "loss": 0.25,
            "train_accuracy": 0.8,
            "val_accuracy": 0.875,
            "test_accuracy": 0.7,
            "lr": 0.0008,
            "params": 672,
            "removed": 4,
        },
    ],
    "removed": [
        {
            "group": "0",
            "channel": 7,
            "params": 720,
            "macs": 9000,
            "nonzeros": 700,
            "bytes": 1,
            "examples": 64,
        },
        {"group": "3", "channel": 0, "params": 710, "macs": 8800, "nonzeros": 690, "examples": 0},
    ],
    "trajectory": "0123456789ab-s0",
    "trained": "train-2bc92b92550b-s0",
    "limits": {"latency": 1500000},
    "latency": "1.4 ms",
    "latency_ns": 1400000,
    "environment": {"torch": "2.13.0", "threads": 2, "commit": "0123456789ab"},
    "uncounted": {"aten::fft_rfft": 2},
}
SPARSE = {
    **{key: PRUNED[key] for key in list(PRUNED)[: list(PRUNED).index("removed")]},
    "accuracy_before": 0.95,
    "val_accuracy_before": 0.9,
    "remaining": None,
    "environment": {},
}


def leaves(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value, containers too."""
    if path:
        yield path
    items = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in items if isinstance(content, dict | list) else ():
        yield from leaves(value, (*path, key)) if isinstance(value, dict | list) else [(*path, key)]


def at(content: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        content = content[key]
    return content


def strategy(hint: Any) -> st.SearchStrategy[Any]:
    """Any value of a declared type."""
    kind, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(),
            lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
            max_leaves=4,
        )
    if kind is tuple:
        return st.lists(strategy(arguments[0]), max_size=2).map(tuple)
    if kind is Mapping:
        return st.dictionaries(st.text(), strategy(arguments[1]), max_size=2)
    if arguments:
        return st.one_of(*(strategy(each) for each in arguments))
    scalars = {
        type(None): st.none(),
        Absent: st.just(ABSENT),
        str: st.text(),
        bool: st.booleans(),
        int: st.integers(),
        float: st.floats(allow_nan=False, allow_infinity=False),
    }
    return scalars[hint] if hint in scalars else values(hint)


def values(cls: type[Stored]) -> st.SearchStrategy[Any]:
    hints = {each.name: get_type_hints(cls)[each.name] for each in fields(cls)}  # type: ignore[arg-type]
    parts = {name: strategy(hint) for name, hint in hints.items()}
    if cls is Epoch:
        parts["more"] = st.dictionaries(st.text().filter(lambda key: key not in hints), st.floats(0, 1))
    if cls is Record:
        widths = st.lists(st.integers(1, 9), max_size=3)
        parts["architecture"] = st.fixed_dictionaries({"widths": widths, "factory": st.text()})
    if cls is Found:
        pair = st.tuples(st.integers(), st.integers())
        parts |= dict.fromkeys(("smallest", "largest", "size"), pair)
        parts |= {"classes": st.just(("a", "b")), "counts": st.dictionaries(st.text(), pair)}
    if cls is Timing:
        parts = {name: st.integers(1) if hints[name] is int else each for name, each in parts.items()}
        parts["which"] = st.sampled_from(["now", "before"])
    if cls is Speed:
        ordered = st.lists(st.floats(0.01, 100), min_size=3, max_size=3).map(sorted)
        return st.builds(
            lambda runtime, each: Speed(runtime=runtime, low=each[0], speedup=each[1], high=each[2]),
            st.text(),
            ordered,
        )
    if cls is Measured:
        parts["format"] = st.just("secateur-measured")
    if cls is Miss:
        parts["image"] = st.none() | st.just("data:image/png;base64,iVBORw0KGgo=")
    if cls is Winner:
        pair = st.tuples(st.integers(), st.integers())
        parts |= {"format": st.just("secateur-winner"), "classes": st.just(("a", "b"))}
        parts["confusion"] = st.just(()) | st.tuples(pair, pair)
    if cls is Results:
        parts["settings"] = st.dictionaries(st.text().filter(lambda key: key != "resource"), st.integers())
    ids = st.sampled_from(["train-2bc92b92550b-s0", "abc"])  # a text that is no name is refused
    parts |= {name: ids for name in ("run_id", "trained") if name in hints}
    return st.builds(cls, **parts)


@pytest.mark.parametrize("cls", CLASSES)
def test_what_is_written_comes_back(cls):
    @settings(suppress_health_check=[HealthCheck.too_slow])  # the first value builds all strategies
    @given(values(cls))
    def comes_back(value):
        assert cls.from_json(json.loads(json.dumps(value.to_json()))) == value

    comes_back()


@pytest.mark.parametrize("content", [PRUNED, SPARSE], ids=["pruned", "sparse"])
def test_a_record_is_written_as_it_was_read(content):
    assert json.dumps(Record.from_json(content).to_json()) == json.dumps(content)


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.parent.name)
def test_every_recorded_comparison_is_read_and_written_again_alike(path):
    """They were left by several versions."""
    text = path.read_text()
    assert json.dumps(Results.load(path).to_json(), indent=1) + "\n" == text


def test_a_record_of_the_first_version_is_read():
    """It counted neither weights nor bytes; what a later version may add is passed over."""
    first = {key: value for key, value in SPARSE.items() if key not in ("weights", "nonzeros", "bytes")}
    record = Record.from_json({**first, "of_the_future": 1})
    assert record.to_json() == first
    assert record.count_of("nonzeros") == 0
    with pytest.raises(InputError, match="must count weights and nonzeros"):
        record.counted_weights()


def test_the_fields_of_a_record():
    record = Record.from_json(PRUNED)
    assert record.history[0].more == {"removed": 3}
    assert (record.history[0].val_accuracy, record.history[1].test_accuracy) == (None, 0.7)
    assert record.removed is not None
    assert record.removed[1] == Removal(
        group="3", channel=0, params=710, macs=8800, nonzeros=690, bytes=None, examples=0
    )
    assert (record.widths, record.group_names, record.epochs) == ((5, 7), ("0", "3"), 2)
    assert (record.remaining, record.share_remaining) == (ABSENT, None)
    assert Record.from_json(SPARSE).remaining is None
    assert (record.commit, record.threads, record.count_of("bytes")) == ("0123456789ab", 2, 3000)
    with pytest.raises(FrozenInstanceError):
        record.params = 1  # type: ignore[misc]


def test_a_point_adds_the_cost_of_the_run_before():
    record = Record.from_json(PRUNED)
    before = Record.from_json({**SPARSE, "train_compute": 5, "wall_s": 1.0})
    point = Point.of(
        record, "fisher-tuned", "latency=50%:torch", ("a", "b"), before=before, discovery_compute=7
    )
    assert (point.train_compute, point.wall_s, point.discovery_compute) == (10**18 + 5, 13.25, 7)
    assert list(point.to_json()) == [
        *(
            "arm",
            "budget",
            "seed",
            "params",
            "nonzeros",
            "weights",
            "bytes",
            "latency",
            "latency_ns",
            "limits",
        ),
        *("uncounted", "macs", "accuracy", "val_accuracy", "train_compute", "discovery_compute", "wall_s"),
        *("run_id", "epochs", "widths"),
    ]
    assert point.to_json()["widths"] == {"a": 5, "b": 7}


def mutations() -> Iterator[tuple[type[Stored], dict[str, Any], tuple[Any, ...]]]:
    """Every value of two records, and of a recorded comparison with lists cut to two entries."""
    results = json.loads((ROOT / "results/digits-wrn-16-1/results.json").read_text())
    for key in ("dense", "points", "summary", "profiles", "trajectory"):
        results[key] = results[key][:2]
    for row in results["trajectory"]:
        row |= {key: row[key][:2] for key in ("removed", "params", "val_accuracy")}
    for cls, content in ((Record, PRUNED), (Record, SPARSE), (Results, results)):
        for path in leaves(content):
            yield cls, content, path


def test_a_value_of_another_type_is_refused_or_kept():
    """Never another exception, and never a value that is taken for something else."""
    messages = []
    others = [None, True, 3, 0.5, float("nan"), 10**400, "text", [], [1], ["a"], {}, {"a": 1}, {"a": "b"}]
    for cls, content, path in mutations():
        for other in others:
            changed = copy.deepcopy(content)
            at(changed, path[:-1])[path[-1]] = other
            try:
                value = cls.from_json(changed, "folder/file.json")
            except InputError as error:
                messages.append(str(error))
                continue
            if value.to_json() != changed:
                assert other is None  # an optional key that is null is as if it were not there
                del at(changed, path[:-1])[path[-1]]
                assert value.to_json() == changed
    assert len(messages) > 1000
    form = re.compile(r"folder/file.json: (.* must be .*|schema 1 is read here), got [^\n]*: [\w' ,]+")
    assert [message for message in messages if not form.fullmatch(message)] == []


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("removed", 1, "group"), 3, "'removed[1].group' must be text, got 3"),
        (("history", 0, "removed"), "x", "'history[0].removed' must be a finite number, got \"x\""),
        (("history",), {}, "'history' must be a list, got {}"),
        (("seed",), True, "'seed' must be a whole number, got true"),
        (("limits", "latency"), 1.5, "'limits.latency' must be a whole number, got 1.5"),
        (("architecture", "widths", 1), "5", "'architecture.widths' must be a list of whole numbers"),
    ],
)
def test_the_message_names_file_key_and_value(path, value, message):
    changed = copy.deepcopy(PRUNED)
    at(changed, path[:-1])[path[-1]] = value
    with pytest.raises(InputError) as raised:
        Record.from_json(changed, "runs/x/record.json")
    assert str(raised.value).startswith(f"runs/x/record.json: {message}")


def test_a_key_that_is_missing_is_named():
    for key in ("run_id", "architecture", "accuracy", "history", "environment"):
        with pytest.raises(InputError, match=f"'{key}' must be there, got nothing"):
            Record.from_json({name: value for name, value in PRUNED.items() if name != key})


def test_files_that_are_no_json_are_named(tmp_path):
    for content in (b"{", b"\xff\xfe", b"[" * 100_000):
        (tmp_path / "record.json").write_bytes(content)
        with pytest.raises(InputError, match=r"record\.json: not valid JSON"):
            Record.load(tmp_path / "record.json")


def test_every_key_is_documented():
    """docs/results.md has a table for each class, with its fields in their order."""
    text = (ROOT / "docs/results.md").read_text()
    tables = re.findall(r"\| key of `(\w+)` \|.*\n\|[-|]+\n((?:\|.*\n)+)", text)
    found = {name: re.findall(r"^\| `(\w+)` \|", rows, re.M) for name, rows in tables}
    assert found == {
        cls.__name__: [*(["schema"] if cls.SCHEMA else []), *(each.name for each in fields(cls))]  # type: ignore[arg-type]
        for cls in CLASSES
    }


def test_a_number_of_a_method_that_is_none_is_named():
    """It comes from somebody's own method, not from a file."""
    row = {**PRUNED["history"][0], "score": {1, 2}}  # type: ignore[index]
    with pytest.raises(InputError, match=r"'score' must be a finite number, got \"\{1, 2\}\""):
        Epoch.from_json(row)


def test_values_can_be_read_like_the_dictionaries_that_they_were():
    record = Record.from_json(SPARSE)
    assert record["accuracy"] == record.accuracy
    assert dict(record) == SPARSE
    assert "removed" not in record
    with pytest.raises(KeyError):
        record["removed"]
