"""The tables and the figure of Dupont et al. 2021, made again: `secateur reproduce dupont2021 table1`.

A cell is a network on a data set at a pruning rate. Its runs serve Tables 1, 2 and 3 alike. The scales
are explained in `secateur.papers.reproduction`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from secateur.architecture.architecture import Architecture
from secateur.atomic import write_bytes
from secateur.budget import Budget, Limits
from secateur.compare.jobs import Job
from secateur.errors import InputError, unknown
from secateur.models import FACTORIES
from secateur.papers.reproduction import BaseReproduction, BaseScale
from secateur.papers.tables import RATES, TABLES, to_csv, to_html, to_markdown
from secateur.progress import Reporter
from secateur.runs.session import NotMadeError, Record, Session
from secateur.runs.sparse import Sparsity, sparse_arms
from secateur.training.recipe import Recipe

PLACES = (*TABLES, "figure2")
GRID = (("conv4", "cifar10"), ("vgg19", "cifar10"), ("resnet18", "cifar10"), ("conv4", "tiny-imagenet"))
METHODS = ("magnitude", "magnitude-tuned", "reparametrization-faithful", "reparametrization")


@dataclass(frozen=True)
class Cell:
    """One column of one network's rows; `rate` is the share of the weights that goes, as in the paper."""

    network: str
    dataset: str
    rate: str

    @property
    def budget(self) -> Budget:
        """What is left: 95% pruned is nonzeros=5%."""
        return Budget.parse(f"nonzeros={100 - int(self.rate[:-1])}%")

    def __str__(self) -> str:
        return f"{self.network}/{self.dataset}/{self.rate}"


CELLS = tuple(Cell(network, dataset, rate) for network, dataset in GRID for rate in RATES)


@dataclass(frozen=True)
class Scale(BaseScale):
    """How large everything is.

    Attributes:
        recipe: of all arms (the exact mode keeps its schedule: `SparseArm.scheduled`).
        widths: factor on each network's widths.
        image_sizes: to which a network's images are resized; others are left as they are.
    """

    sparsity: Sparsity = field(default_factory=Sparsity)
    widths: dict[str, float] = field(default_factory=dict, hash=False)
    image_sizes: dict[str, int] = field(default_factory=dict, hash=False)


_PAPER = Recipe(
    epochs=300,
    batch_size=128,
    lr=0.1,
    momentum=0.9,
    weight_decay=5e-5,
    schedule="plateau",
    gamma=0.3,
    patience=10,
    early_stop=60,
    select_on="test",
)
_LAPTOP = Recipe(
    epochs=20, batch_size=64, lr=0.05, momentum=0.9, weight_decay=5e-5, schedule="cosine", precision="bf16"
)
_SMOKE = replace(_LAPTOP, epochs=4, precision="fp32")

SCALES = {
    "paper": Scale(_PAPER, sparsity=Sparsity(tune_epochs=300), val_fraction=0.002),
    "laptop": Scale(_LAPTOP, limit_train=5000, widths={"resnet18": 0.25, "vgg19": 0.25}),
    "smoke": Scale(
        _SMOKE,
        seeds=2,
        limit_train=300,
        widths={"conv4": 0.25, "resnet18": 0.125, "vgg19": 0.125},
        stand_in="digits",
        image_sizes={"vgg19": 32},
    ),
}


def parse_cells(text: str | None) -> tuple[Cell, ...]:
    """The cells named, 'conv4/cifar10/95%,vgg19/cifar10'; parts left out at the end mean all of them.

    Raises:
        InputError: where the paper has no such cell.
    """
    if text is None:
        return CELLS
    found = [cell for pattern in text.split(",") for cell in _matching(pattern.strip())]
    return tuple(cell for cell in CELLS if cell in found)


def _matching(pattern: str) -> list[Cell]:
    parts = pattern.split("/")
    found = [cell for cell in CELLS if str(cell).split("/")[: len(parts)] == parts]
    if not found:
        raise InputError(
            f"Dupont et al. 2021 have no cell '{pattern}': write NETWORK/DATASET/RATE, for example "
            f"{CELLS[0]}; there are {', '.join('/'.join(pair) for pair in GRID)} at {', '.join(RATES)}"
        )
    return found


class Reproduction(BaseReproduction):
    """The cells at one scale, in one folder.

    Args:
        scale: a key of `SCALES`.
        methods: some of `secateur.runs.sparse.SPARSE_ARMS`.
        seeds, epochs: in place of the scale's.
        select_on: in place of the scale's: "val" for the paper's protocol without its selection on test.

    Raises:
        InputError: where one of them is unknown.
    """

    paper = "dupont2021"

    def __init__(
        self,
        out: str | Path,
        scale: str = "laptop",
        cells: Sequence[Cell] = CELLS,
        *,
        methods: Sequence[str] = METHODS,
        seeds: int | None = None,
        epochs: int | None = None,
        select_on: str | None = None,
        device: str = "auto",
        reporter: Reporter | None = None,
    ):
        for method in methods:
            if method not in sparse_arms():
                raise unknown("method", method, sparse_arms())
        self.methods = tuple(methods)
        super().__init__(
            out,
            scale,
            SCALES,
            cells,
            seeds=seeds,
            epochs=epochs,
            select_on=select_on,
            device=device,
            reporter=reporter,
        )
        self.scale = SCALES[scale]

    def image_size(self, cell: Cell) -> int | None:
        return self.scale.image_sizes.get(cell.network)

    def architecture(self, cell: Cell) -> Architecture:
        """The cell's network, fitted to its images."""
        data = self.data(cell)
        assert cell.network in FACTORIES
        return Architecture.from_factory(
            cell.network,
            {
                "width": self.scale.widths.get(cell.network, 1),
                "num_classes": data.num_classes,
                "in_channels": data.shape[0],
                "image_size": list(data.shape[1:]),
            },
        )

    def compute(self, sessions: Mapping[Cell, Session]) -> float:
        epochs = (len(self.methods) + 1) * self.recipe.epochs * self.seeds
        return epochs * sum(
            session.epoch_compute(self.architecture(cell), self.recipe) for cell, session in sessions.items()
        )

    def jobs_of(self, cell: Cell, session: Session, seed: int) -> list[Job]:
        """The dense network, what is trained before a cut, and then every method."""
        found, epoch = [], session.epoch_compute(self.architecture(cell), self.recipe)
        place, arms = f"{cell.network}/{cell.dataset}", sparse_arms(self.scale.sparsity)
        work = {"cell": str(cell), "seed": seed}
        dense = Job(f"{place} seed {seed}", (), epoch * self.recipe.epochs, {**work, "method": "dense"})
        for method in self.methods:
            before, epochs, _ = arms[method].recipes(self.recipe, self.scale.sparsity)
            first = dense
            if before not in (None, self.recipe):
                name = f"{place} seed {seed}: {before.epochs} epochs first"
                first = Job(name, (), epoch * before.epochs, {**work, "method": method, "first": True})
                found.append(first)
            after = (first.name,) if before else ()
            name = f"{cell} {method} seed {seed}"
            found.append(Job(name, after, epoch * epochs, {**work, "method": method}))
        return [dense, *found]

    def make(self, work: dict[str, Any], sessions: Mapping[Cell, Session]) -> None:
        (cell,) = [cell for cell in sessions if str(cell) == work["cell"]]
        if "first" not in work:
            self._record(cell, sessions[cell], work["method"], work["seed"])
            return
        before, _, _ = sparse_arms(self.scale.sparsity)[work["method"]].recipes(
            self.recipe, self.scale.sparsity
        )
        assert before is not None
        label = f"{cell} {work['method']} seed {work['seed']}: training first"
        sessions[cell].train(self.architecture(cell), before, work["seed"], label)

    def described(self) -> dict[str, Any]:
        cells = ",".join(map(str, self.cells))
        methods = list(self.methods)
        return {**super().described(), "cells": cells, "methods": methods, "select_on": self.recipe.select_on}

    def rows(self, cell: Cell, session: Session, seed: int) -> list[dict[str, Any]]:
        """The dense network's row, and one for each method; without those that are not to be made."""
        rows = []
        for method in ("dense", *self.methods):
            with suppress(NotMadeError):
                record = self._record(cell, session, method, seed)
                rows.append(_row(cell, method, record, rate=None if method == "dense" else cell.rate))
        return rows

    def _record(self, cell: Cell, session: Session, method: str, seed: int) -> Record:
        architecture, settings = self.architecture(cell), self.scale.sparsity
        if method == "dense":
            label = f"{cell.network}/{cell.dataset} seed {seed}"
            return session.train(architecture, self.recipe, seed, label)
        limits = Limits.of(cell.budget, architecture.skeleton())
        arm, label = sparse_arms(settings)[method], f"{cell} {method} seed {seed}"
        return session.sparsify(architecture, self.recipe, seed, arm, settings, limits, label)

    def distinct(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return _once(rows)

    def write_tables(self, content: dict[str, Any]) -> None:
        write_tables(content, self.out)


def _row(cell: Cell, method: str, record: Record, rate: str | None) -> dict[str, Any]:
    return {
        "network": cell.network,
        "dataset": cell.dataset,
        "rate": rate,
        "method": method,
        "seed": record["seed"],
        "accuracy": record["accuracy"],
        "accuracy_before": record.get("accuracy_before"),
        "remaining": record.get("remaining"),
        "nonzeros": record["nonzeros"],
        "weights": record["weights"],
        "epochs": len(record["history"]),
        "val_accuracy": record["val_accuracy"],
        "wall_s": record["wall_s"],
        "train_compute": record["train_compute"],
        "run_id": record["run_id"],
    }


def _once(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without the repetitions of the dense network, which every rate brings."""
    unique = {(row["network"], row["dataset"], row["method"], row["rate"], row["seed"]): row for row in rows}
    return [unique[key] for key in sorted(unique, key=str)]


def write_tables(content: dict[str, Any], out: Path) -> None:
    """Leave each table as markdown, CSV and HTML."""
    for table in TABLES:
        for suffix, render in (("md", to_markdown), ("csv", to_csv), ("html", to_html)):
            text = render(table, content["cells"], content["about"])
            write_bytes(out / f"{table}.{suffix}", text.encode())
