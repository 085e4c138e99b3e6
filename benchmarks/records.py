"""What a benchmark leaves: cases, notes, a table, and one JSON file."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.timing import Ratio, Times, significant

RESULTS = Path(__file__).parent / "results"
SHORTEST = 7  # rounds of a result that is kept


@dataclass(frozen=True)
class Settings:
    """How to measure.

    Attributes:
        device: "cpu" or "cuda".
        rounds: of interleaved times.
        quick: tiny shapes, for tests: the numbers mean nothing.
        only: parts of a benchmark that has parts; empty: all.
    """

    device: str = "cpu"
    rounds: int = SHORTEST
    quick: bool = False
    only: tuple[str, ...] = ()

    def bar(self, value: float) -> float | None:
        """A bar that was set for the CPU; elsewhere the same is measured without one."""
        return value if self.device == "cpu" else None

    def wanted(self, part: str) -> bool:
        """Whether this part was asked for."""
        return not self.only or part in self.only


@dataclass(frozen=True)
class Case:
    """One claim: a ratio, and the bar it should stay below.

    Attributes:
        case: its name within the benchmark.
        what, over: what is divided by what, for people.
        bar: at most this; None: measured without one.
        ms: medians of the times that went in, in milliseconds.
        more: other numbers, JSON-able.
    """

    case: str
    what: str
    over: str
    ratio: Ratio
    bar: float | None = None
    ms: Mapping[str, float] = field(default_factory=dict)
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def met(self) -> bool | None:
        """Whether the median is within the bar; None without one."""
        return None if self.bar is None else self.ratio.middle <= self.bar

    def describe(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "case": self.case,
            "what": self.what,
            "over": self.over,
            "ratio": significant(self.ratio.middle),
            "low": significant(self.ratio.low),
            "high": significant(self.ratio.high),
            "bar": self.bar,
            "met": self.met,
            "ms": dict(self.ms),
            **self.more,
        }


@dataclass
class Found:
    """What a benchmark found."""

    cases: list[Case] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    more: dict[str, Any] = field(default_factory=dict)

    def add(
        self,
        case: str,
        times: Times,
        what: str,
        over: str,
        *,
        bar: float | None = None,
        factor: float = 1.0,
        **more: Any,
    ) -> None:
        """A case from two actions of a measurement; `factor` for one that stands for several."""
        ratio = times.ratio(what, over, factor)
        self.cases.append(Case(case, what, over, ratio, bar, times.ms(what, over), more))


def record(
    name: str, settings: Settings, found: Found, idle: Mapping[str, Any], environment: Mapping[str, Any]
) -> dict[str, Any]:
    """What is written: schema 1."""
    return {
        "schema": 1,
        "benchmark": name,
        **({"only": list(settings.only)} if settings.only else {}),
        "rounds": settings.rounds,
        "quick": settings.quick,
        "cases": [case.describe() for case in found.cases],
        "notes": found.notes,
        **found.more,
        "idle": dict(idle),
        "environment": dict(environment),
    }


def file_name(content: Mapping[str, Any]) -> str:
    """THEME_HARDWARE_DATE.json; parts of a benchmark are themes of their own."""
    device = str(content["environment"]["device"]).lower()
    hardware = re.sub(r"[^a-z0-9]+", "-", device).strip("-") or platform.machine()
    theme = "-".join([content["benchmark"], *content.get("only", [])])
    return f"{theme}_{hardware}_{content['environment']['date']}.json"


def write(content: Mapping[str, Any], folder: Path) -> Path:
    """Leave the record in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / file_name(content)
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return path


def table(content: Mapping[str, Any]) -> str:
    """For a terminal: case, what over what, ratio with quartiles, bar, met or not."""
    heads = ("case", "what / over", "ratio (quartiles)", "bar", "met")
    rows = [heads, *(_row(case) for case in content["cases"])]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    title = f"{content['benchmark']}: {content['rounds']} rounds"
    marks = ["QUICK: tiny shapes, the numbers mean nothing"] if content["quick"] else []
    if content["idle"].get("idle") is False:
        busy = ", ".join(f"{row['process']} {row['cores']}" for row in content["idle"]["busy"])
        marks.append(f"THE MACHINE IS NOT IDLE ({content['idle']['cpu']:.0%} in use; {busy or 'by whom?'})")
    notes = [f"note: {note}" for note in content["notes"]]
    return "\n".join(line.rstrip() for line in ["", title, *marks, *lines, *notes])


def _row(case: Mapping[str, Any]) -> tuple[str, ...]:
    ratio = f"{case['ratio']:.4g} ({case['low']:.4g} to {case['high']:.4g})"
    bar = "" if case["bar"] is None else f"{case['bar']:g}"
    met = {None: "", True: "met", False: "NOT MET"}[case["met"]]
    return case["case"], f"{case['what']} / {case['over']}", ratio, bar, met
