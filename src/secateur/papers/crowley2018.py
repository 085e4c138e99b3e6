"""The last comparison of Crowley et al. 2018, made again: `secateur reproduce crowley2018 snip`.

Section 3.2 holds the copycat networks of WRN-40-2, at about 800K and 500K parameters, against networks whose
weights Lee et al. 2018 set to zero before training: WRN-22-8 and WRN-16-8, of which 5% are left. Below the
paper's scale all of these networks are narrower, by about the same factor.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from secateur.architecture.architecture import Architecture
from secateur.architecture.resolve import resolve_model
from secateur.atomic import write_bytes
from secateur.budget import Budget
from secateur.compare.comparison import Comparison, Settings
from secateur.compare.jobs import Job, jobs_of_seed, make
from secateur.compare.replicate import Replicate
from secateur.compare.verdict import interval
from secateur.papers.published import published
from secateur.papers.reproduction import BaseReproduction, BaseScale, Run
from secateur.papers.text import MISSING, About, conditions, markdown, shown
from secateur.progress import Reporter
from secateur.report.templates import environment
from secateur.runs.session import NotMadeError, PruneSettings, Record, Session
from secateur.runs.sparse import Sparsity, sparse_arms
from secateur.training.recipe import Recipe

PLACES = ("snip",)
SNIP, COPYCAT = "snip", "copycat"


@dataclass(frozen=True)
class Cell:
    """One row: the paper's network, how much of it goes (None: its profile is rescaled), and what is left."""

    method: str
    network: str
    rate: str | None
    size: str
    dataset: str = "cifar10"

    @property
    def published(self) -> float | None:
        """The paper's test error in percent."""
        place = f"section 3.2, {self.size}"
        return published(place, self.dataset, self.network, self.method, self.rate or "", "crowley2018")


CELLS = (
    Cell(SNIP, "wrn-22-8", "95%", "858K"),
    Cell(COPYCAT, "wrn-40-2", None, "800K"),
    Cell(SNIP, "wrn-16-8", "95%", "548K"),
    Cell(COPYCAT, "wrn-40-2", None, "500K"),
)


@dataclass(frozen=True)
class Scale(BaseScale):
    """How large everything is.

    Attributes:
        prune: of the trajectory that copycat takes its profile from.
        removals: after which it does so; None: the paper's share of all channels.
        networks: in place of the paper's.
        budgets: of copycat, in place of the paper's sizes.
    """

    prune: PruneSettings = field(default_factory=PruneSettings)
    removals: int | None = None
    networks: dict[str, str] = field(default_factory=dict, hash=False)
    budgets: dict[str, str] = field(default_factory=dict, hash=False)


_SHARES = {"800K": "params=35.7%", "500K": "params=22.3%"}  # of WRN-40-2's 2,243,546

SCALES = {
    "paper": Scale(Recipe(), val_fraction=0.002, removals=500),
    "laptop": Scale(
        Recipe(epochs=20),
        limit_train=5000,
        prune=PruneSettings(every=10),
        networks={"wrn-22-8": "wrn-22-2", "wrn-16-8": "wrn-16-2", "wrn-40-2": "wrn-40-0.5"},
        budgets=_SHARES,
    ),
    "smoke": Scale(
        Recipe(epochs=10, batch_size=32, lr=0.05),
        seeds=2,
        stand_in="digits",
        prune=PruneSettings(every=2),
        networks={"wrn-22-8": "wrn-22-1", "wrn-16-8": "wrn-16-1", "wrn-40-2": "wrn-16-0.5"},
        budgets=_SHARES,
    ),
}


class Reproduction(BaseReproduction):
    """The comparison at one scale, in one folder.

    Args:
        scale: a key of `SCALES`.
        seeds, epochs: in place of the scale's.

    Raises:
        InputError: where one of them makes no sense.
    """

    paper = "crowley2018"

    def __init__(
        self,
        out: str | Path,
        scale: str = "laptop",
        *,
        seeds: int | None = None,
        epochs: int | None = None,
        device: str = "auto",
        reporter: Reporter | None = None,
    ):
        super().__init__(
            out, scale, SCALES, CELLS, seeds=seeds, epochs=epochs, device=device, reporter=reporter
        )
        self.scale = SCALES[scale]
        self._comparisons: dict[Cell, Comparison] = {}

    def network(self, cell: Cell) -> str:
        """The name of the network used at this scale."""
        return self.scale.networks.get(cell.network, cell.network)

    def architecture(self, cell: Cell) -> Architecture:
        return self._comparison(cell).architecture

    def jobs_of(self, cell: Cell, session: Session, seed: int) -> list[Job]:
        """SNIP's network, or what `secateur compare` would do for copycat's."""
        comparison = self._comparison(cell)
        rows = comparison.plan(session)
        work = {"cell": CELLS.index(cell), "seed": seed}
        if cell.method == SNIP:
            (compute,) = [row.compute for row in rows if row.arm == SNIP]
            return [Job(f"snip {cell.network} seed {seed}", (), compute, work)]
        return [
            replace(job, work={**work, "step": job.work})  # both sizes have one trajectory
            for job in jobs_of_seed(comparison, session, rows, seed)
        ]

    def make(self, work: dict[str, Any], sessions: Mapping[Cell, Session]) -> None:
        cell = CELLS[work["cell"]]
        if cell.method == SNIP:
            self._snip(cell, sessions[cell], work["seed"])
        else:
            make(Replicate(self._comparison(cell), sessions[cell], work["seed"], ()), work["step"])

    def rows(self, cell: Cell, session: Session, seed: int) -> list[Run]:
        with suppress(NotMadeError):
            make = self._snip if cell.method == SNIP else self._copycat
            return [self._row(cell, make(cell, session, seed))]
        return []

    def compute(self, sessions: Mapping[Cell, Session]) -> float:
        planned = {
            (cell.network, row.arm, row.budget): row.compute  # a network to prune is trained once
            for cell, session in sessions.items()
            for row in self._comparison(cell).plan(session)
            if cell.method == COPYCAT or row.arm == SNIP
        }
        return self.seeds * sum(planned.values())

    def write_tables(self, content: dict[str, Any]) -> None:
        write_tables(content, self.out)

    def _comparison(self, cell: Cell) -> Comparison:
        """What `secateur compare` would do for this row; its widths are solved for once."""
        if cell not in self._comparisons:
            self._comparisons[cell] = self._new_comparison(cell)
        return self._comparisons[cell]

    def _new_comparison(self, cell: Cell) -> Comparison:
        if cell.rate is None:
            budget = self.scale.budgets.get(cell.size, f"params={cell.size}")
        else:
            budget = f"nonzeros={100 - int(cell.rate[:-1])}%"
        data = self.data(cell)
        settings = Settings(
            (Budget.parse(budget),),
            (cell.method,),
            recipe=self.recipe,
            prune=self.scale.prune,
            copycat_after=self.scale.removals,
        )
        return Comparison(resolve_model(self.network(cell), data), data, settings)

    def _snip(self, cell: Cell, session: Session, seed: int) -> Record:
        comparison, settings = self._comparison(cell), Sparsity()
        (limits,) = comparison.limits.values()
        label = f"snip {comparison.name} seed {seed}"
        arm = sparse_arms(settings)[SNIP]
        return session.sparsify(comparison.architecture, self.recipe, seed, arm, settings, limits, label)

    def _copycat(self, cell: Cell, session: Session, seed: int) -> Record:
        """Both sizes have one trajectory, whose runs are made for the first and found by the second."""
        comparison = self._comparison(cell)
        (point,) = Replicate(comparison, session, seed, comparison.plan(session)).stand().points()
        record = self.store.record(point["run_id"])
        assert record is not None
        return {**record, "discovery_compute": point["discovery_compute"]}

    def _row(self, cell: Cell, record: Record) -> Run:
        return {
            "method": cell.method,
            "network": cell.network,
            "dataset": cell.dataset,
            "rate": cell.rate,
            "size": cell.size,
            "made_of": self.network(cell),
            "seed": record["seed"],
            "accuracy": record["accuracy"],
            "params": record["params"],
            "weights": record["weights"],
            "nonzeros": record["nonzeros"],
            "not_zero": record["params"] - record["weights"] + record["nonzeros"],
            "epochs": len(record["history"]),
            "val_accuracy": record["val_accuracy"],
            "wall_s": record["wall_s"],
            "train_compute": record["train_compute"],
            "discovery_compute": record.get("discovery_compute", 0),
            "run_id": record["run_id"],
        }


@dataclass(frozen=True)
class Entry:
    """A row's numbers: test error in percent points, parameters as a mean; None without a run."""

    cell: Cell
    made_of: str | None
    not_zero: float | None
    mean: float | None
    std: float | None
    n: int


def entries(runs: Sequence[Mapping[str, Any]]) -> list[Entry]:
    """Every row of the paper, whether it has runs or not."""
    return [_entry(cell, [run for run in runs if _cell_of(run) == cell]) for cell in CELLS]


def _cell_of(run: Mapping[str, Any]) -> Cell:
    return Cell(run["method"], run["network"], run["rate"], run["size"], run["dataset"])


def _entry(cell: Cell, runs: Sequence[Mapping[str, Any]]) -> Entry:
    if not runs:
        return Entry(cell, None, None, None, None, 0)
    found = interval([100 * (1 - run["accuracy"]) for run in runs])
    size = interval([run["not_zero"] for run in runs])["mean"]
    return Entry(cell, runs[0]["made_of"], size, found["mean"], found["std"], len(runs))


_TITLE = "Crowley et al. 2018, section 3.2: test error (%) of SNIP's networks and of copycat's"
_HEADS = ("network", "parameters", "error (%)", "network", "not zero", "error (%) (n)")
_COLUMNS = (
    *("method", "dataset", "network", "rate", "size", "published", "ours_network", "ours_not_zero"),
    *("ours_mean", "ours_std", "n", "scale", "device", "commit"),
)
_MEANINGS = {
    SNIP: "weights set to zero before training (Lee et al. 2018, quoted); not zero are the weights that "
    "stay and all biases and normalisation, where the paper's sizes are 5% of all parameters",
    COPYCAT: "the profile that Fisher pruning finds in the network named, every middle width times alpha, "
    "from scratch",
}


def _texts(entry: Entry) -> tuple[str, ...]:
    """A row as it is shown: the method, the paper's network, size and error, and ours."""
    cell, pruned = entry.cell, f", {entry.cell.rate} pruned" if entry.cell.rate else ""
    return (
        cell.method,
        f"{cell.network}{pruned}",
        cell.size,
        MISSING if cell.published is None else f"{cell.published:.2f}",
        MISSING if entry.made_of is None else f"{entry.made_of}{pruned}",
        MISSING if entry.not_zero is None else f"{entry.not_zero:,.0f}",
        shown(entry.mean, entry.std, entry.n, 2),
    )


def caption(runs: Sequence[Mapping[str, Any]], about: About) -> str:
    """How long every network was trained, and what else stands under each paper's tables."""
    epochs = " and ".join(str(count) for count in sorted({run["epochs"] for run in runs}))
    return f"Epochs: {epochs} (in the paper 200). {conditions(about, [row.n for row in entries(runs)])}"


def to_markdown(runs: Sequence[Mapping[str, Any]], about: About) -> str:
    """Title, table, legend, conditions and command."""
    heads = [*(f"paper: {head}" for head in _HEADS[:3]), *(f"ours: {head}" for head in _HEADS[3:])]
    lines = [
        f"**{markdown(_TITLE)}**",
        "",
        f"| method | {' | '.join(heads)} |",
        "|---|---|--:|--:|---|--:|--:|",
        *(f"| {' | '.join(map(markdown, _texts(entry)))} |" for entry in entries(runs)),
        "",
        *(f"- {method}: {markdown(meaning)}" for method, meaning in _MEANINGS.items()),
        "",
        markdown(caption(runs, about)),
        "",
        f"    {' '.join(about['command'].split())}",
    ]
    return "\n".join(lines) + "\n"


def to_csv(runs: Sequence[Mapping[str, Any]], about: About) -> str:
    """One line for each row, at full precision; empty where there is nothing."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for entry in entries(runs):
        cell = entry.cell
        theirs = (cell.method, cell.dataset, cell.network, cell.rate, cell.size, cell.published)
        ours = (entry.made_of, entry.not_zero, entry.mean, entry.std, entry.n)
        writer.writerow((*theirs, *ours, about["scale"], about["device"], about["commit"]))
    return out.getvalue()


def to_html(runs: Sequence[Mapping[str, Any]], about: About) -> str:
    """One page that loads nothing and runs nothing; every text in it is escaped."""
    return (
        environment("secateur.papers")
        .get_template("snip.html")
        .render(
            title=_TITLE,
            heads=_HEADS,
            rows=[_texts(entry) for entry in entries(runs)],
            meanings=_MEANINGS,
            caption=caption(runs, about),
            command=about["command"],
        )
    )


def write_tables(content: dict[str, Any], out: Path) -> None:
    """Leave the table as markdown, CSV and HTML."""
    for suffix, render in (("md", to_markdown), ("csv", to_csv), ("html", to_html)):
        write_bytes(out / f"snip.{suffix}", render(content["cells"], content["about"]).encode())
