"""What a comparison would train, before anything is: `--plan`, and `sc.plan`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from secateur.compare.arms import PlanRow
from secateur.compare.forecast import estimate_seconds
from secateur.compare.wanted import Wanted
from secateur.device import describe_device
from secateur.network.counting import MACS_CONVENTION, TRAINING_CONVENTION
from secateur.progress import duration
from secateur.records.found import Found
from secateur.records.results import counted_for
from secateur.records.shown import Shown
from secateur.runs.executors.choice import Workers, count_for, in_words
from secateur.runs.graph import Graph
from secateur.runs.method_settings import in_words as settings_in_words
from secateur.runs.session import Session


@dataclass(frozen=True, repr=False)
class Planned:
    """The networks of one seed, about what each takes, and about how long all seeds take.

    Attributes:
        model, data: names, as people know them.
        found: what the data were understood to be; None where nobody looked.
        resource: what budgets limit.
        seeds: replicates; each takes what `rows` say.
        rows: a network each, in order.
        row_seconds: about how long each takes here, in seconds.
        device, workers: on what, and how many side by side, in words.
        tuned: what is said of a network that comes trained; empty for others.
        settings: what was set of methods: method -> setting -> value.
    """

    model: str
    data: str
    found: Found | None
    resource: str
    seeds: int
    rows: tuple[PlanRow, ...]
    row_seconds: tuple[float, ...]
    device: str
    workers: str
    tuned: str = ""
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @classmethod
    def of(cls, wanted: Wanted, session: Session, asked: Workers) -> Planned:
        """Plan a checked comparison; a few steps of throwaway networks are timed."""
        question, settings = wanted.question, wanted.question.settings
        rows, runtime = wanted.plan(session.runtime.world), session.runtime
        seconds = estimate_seconds(runtime, question.data, question.architecture, settings.recipe, rows)
        graph = Graph(runtime.world)
        wanted.add_to(graph)
        return cls(
            model=question.name,
            data=question.data.label,
            found=question.data.found,
            resource=settings.resource,
            seeds=settings.seeds,
            rows=tuple(rows),
            row_seconds=tuple(seconds),
            device=describe_device(runtime.device),
            workers=in_words(count_for(asked, graph, session), asked.on),
            tuned=question.tuned or "",
            settings=settings.sparsity.settings,
        )

    @property
    def seconds(self) -> float:
        """About how long all seeds take, one run after the other."""
        return sum(self.row_seconds) * self.seeds

    def to_json(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "model": self.model,
            "data": self.data,
            "found": self.found.to_json() if self.found else None,
            "resource": self.resource,
            "seeds": self.seeds,
            "rows": [_as_json(row, taken) for row, taken in zip(self.rows, self.row_seconds, strict=True)],
            "seconds": self.seconds,
            "device": self.device,
            "workers": self.workers,
            **(
                {"settings": {name: dict(own) for name, own in self.settings.items()}}
                if self.settings
                else {}
            ),
        }

    def __repr__(self) -> str:
        return self._shown().text()

    def _repr_html_(self) -> str:
        return self._shown().html()

    @property
    def title(self) -> str:
        """What it is the plan of."""
        return f"{self.model} on {self.data}: one seed of {self.seeds}; nothing is trained now."

    @property
    def heads(self) -> tuple[str, ...]:
        """Of the table: two columns of words, the others of numbers."""
        return ("arm", "budget", counted_for(self.resource), "MACs", "epochs", "training MACs", "about")

    def cells(self) -> list[tuple[str, ...]]:
        """The table's rows."""
        return [
            (
                row.arm,
                row.budget and f"{row.budget} ({row.limit:,})",
                *_size(row, self.resource),
                str(row.epochs or "until met"),
                f"{'' if row.exact else '~ '}{row.compute:.3g}",
                duration(taken),
            )
            for row, taken in zip(self.rows, self.row_seconds, strict=True)
        ]

    def notes(self) -> list[str]:
        """What is said below it."""
        found = [f"With {settings_in_words(self.settings)}."] if self.settings else []
        found += [
            f"{row.arm} {row.budget}: widths {', '.join(map(str, row.architecture.widths))}"
            for row in self.rows
            if row.architecture is not None and row.limit and not row.zeroes
        ]
        if any(row.zeroes for row in self.rows):
            met = "the budget is met exactly" if self.resource == "nonzeros" else "the file is small enough"
            found.append(f"Weights are set to zero until {met}; the MACs stay the network's.")
        if not all(row.exact for row in self.rows):
            found.append("~ and ≤: pruning decides; the estimate takes channels evenly from all groups.")
        return [
            *found,
            f"{MACS_CONVENTION}; {TRAINING_CONVENTION}.",
            f"In all about {duration(self.seconds)} on {self.device}, one run after the other.",
            f"--workers: {self.workers}.",
        ]

    def _shown(self) -> Shown:
        rows = [(f"{arm} {budget}".strip(), *rest) for arm, budget, *rest in self.cells()]
        title = f"{self.title} {self.tuned}." if self.tuned else self.title
        return Shown(title, self.heads[:1] + self.heads[2:], rows, self.notes())


def _as_json(row: PlanRow, seconds: float) -> dict[str, Any]:
    """A row as JSON, for one seed."""
    kept = {name: value for name, value in vars(row).items() if name != "architecture"}
    widths = None if row.architecture is None else list(row.architecture.widths)
    return {**kept, "budget": row.budget or None, "exact": row.exact, "widths": widths, "seconds": seconds}


def _size(row: PlanRow, resource: str) -> tuple[str, str]:
    """What a planned network will have of parameters (of nonzeros, where those are limited) and of MACs."""
    if row.zeroes:
        return f"{'=' if resource == 'nonzeros' else '≤'} {row.limit:,}", f"{row.macs:,}"
    if row.architecture is None and row.limit is None:
        return "", f"~ {row.macs:,}"
    if row.architecture is None:
        if resource == "macs":
            return "", f"≤ {row.limit:,}"
        return f"≤ {row.limit:,}", f"~ {row.macs:,}"
    if resource in ("nonzeros", "bytes"):
        return f"{row.architecture.cost(resource):,}", f"{row.macs:,}"
    return f"{row.params:,}", f"{row.macs:,}"
