"""The tables of Dupont et al. 2021, made again: `secateur reproduce dupont2021 table1`.

The runs of a cell serve Tables 1, 2 and 3 alike. The scales are explained in `secateur.papers.reproduction`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from secateur.architecture.architecture import Architecture
from secateur.budget import Budget
from secateur.compare.arms import ARMS, WEIGHT_ARMS, chosen
from secateur.compare.comparison import Comparison
from secateur.compare.replicate import Replicate
from secateur.compare.settings import Settings
from secateur.errors import InputError, unknown
from secateur.models import FACTORIES
from secateur.papers.cells import DupontCells, DupontRun
from secateur.papers.dupont2021.grid import CELLS, METHODS, SCALES, Cell
from secateur.papers.dupont2021.tables import write_tables
from secateur.papers.reproduction import BaseReproduction
from secateur.progress import Reporter
from secateur.records.record import Record
from secateur.runs.graph import Graph, Made, Node
from secateur.runs.method_settings import Given


class Reproduction(BaseReproduction):
    """The cells at one scale, in one folder.

    Args:
        scale: a key of `SCALES`.
        methods: some of `secateur.compare.arms.WEIGHT_ARMS`.
        settings: of these methods, besides the scale's: method -> setting -> value.
        seeds, epochs, limit_train: in place of the scale's.
        select_on: in place of the scale's: "val" for the paper's protocol without its selection on test.
        width: factor on every network's widths, in place of the scale's.
        minutes: after which `run` stops behind an epoch.

    Raises:
        InputError: at once, where one of them is unknown, or a method cannot meet a cell's budget.
    """

    paper = "dupont2021"
    content = DupontCells

    def __init__(
        self,
        out: str | Path,
        scale: str = "laptop",
        cells: Sequence[Cell] = CELLS,
        *,
        methods: Sequence[str] = METHODS,
        settings: Given | None = None,
        seeds: int | None = None,
        epochs: int | None = None,
        select_on: str | None = None,
        limit_train: int | None = None,
        width: float | None = None,
        minutes: float | None = None,
        device: str = "auto",
        reporter: Reporter | None = None,
    ):
        for method in methods:
            if method not in WEIGHT_ARMS:
                raise unknown("method", method, WEIGHT_ARMS)
        if not methods:
            raise InputError(
                "at least one method is needed, got none: leave them out for the paper's and ours"
            )
        if width is not None and not 0 < width <= 4:
            raise InputError(f"width must lie in (0, 4], a factor on the paper's, got {width:g}")
        self.methods = tuple(dict.fromkeys(methods))
        self._width = width
        self._questions: dict[Cell, Comparison] = {}
        super().__init__(
            out,
            scale,
            SCALES,
            cells,
            seeds=seeds,
            epochs=epochs,
            select_on=select_on,
            limit_train=limit_train,
            minutes=minutes,
            device=device,
            reporter=reporter,
        )
        self.scale = SCALES[scale]
        self.sparsity = replace(self.scale.sparsity, settings=settings or {})
        for cell in self.cells[:1]:
            chosen(self._settings(cell))

    def image_size(self, cell: Cell) -> int | None:
        return self.scale.image_size(cell)

    def limit_train(self, cell: Cell) -> int | None:
        own = None if self.scale.stand_in else self.scale.limits.get(cell.dataset)
        return own if own and self._limit_train is None else super().limit_train(cell)

    def width(self, cell: Cell) -> float:
        """The factor on the widths of the cell's network."""
        return self.scale.width(cell) if self._width is None else self._width

    def architecture(self, cell: Cell) -> Architecture:
        """The cell's network, fitted to its images."""
        data = self.data(cell)
        assert cell.network in FACTORIES
        return Architecture.from_factory(
            cell.network,
            {
                "width": self.width(cell),
                "num_classes": data.num_classes,
                "in_channels": data.shape[0],
                "image_size": list(data.shape[1:]),
            },
        )

    def nodes(self, cell: Cell, graph: Graph, seed: int) -> list[Node]:
        """Add the unpruned network, and the network of every method."""
        question = self._question(cell)
        replicate = _OfCell(question, graph, seed, str(cell))
        label = f"{cell.network}/{cell.dataset} seed {seed}"
        dense = graph.add(replicate.train(question.architecture, self.recipe, label))
        return [dense, *(ARMS[method].node(replicate, cell.budget) for method in self.methods)]

    def _question(self, cell: Cell) -> Comparison:
        """Ask what `secateur compare` would be asked for this cell, with its checks."""
        if cell not in self._questions:
            settings = self._settings(cell)
            question = Comparison(self.architecture(cell), self.data(cell), settings, prunes=False)
            for arm in chosen(settings, question.architecture):
                arm.check(question, cell.budget)
            self._questions[cell] = question
        return self._questions[cell]

    def _settings(self, cell: Cell) -> Settings:
        """What is compared in a cell, and how."""
        return Settings((cell.budget,), self.methods, recipe=self.recipe, sparsity=self.sparsity)

    def about_data(self, cell: Cell) -> str:
        width = self.width(cell)
        narrowed = "" if width == 1 else f", {cell.network} of {width:g} times the width"
        return f"{super().about_data(cell)}{narrowed}"

    def row(self, cell: Cell, index: int, node: Node, made: Made, seed: int) -> DupontRun:
        method = ("dense", *self.methods)[index]
        return _row(cell, method, made.record(node), rate=None if method == "dense" else cell.rate)

    def distinct(self, rows: Sequence[DupontRun]) -> list[DupontRun]:
        return _once(rows)

    def write_tables(self, content: DupontCells) -> None:
        write_tables(content, self.out)


class _OfCell(Replicate):
    """One seed of one cell, whose runs are named by it: a graph holds those of many."""

    def __init__(self, question: Comparison, graph: Graph, seed: int, cell: str):
        super().__init__(question, graph, seed)
        self.cell = cell

    def label(self, what: str, budget: Budget) -> str:
        return f"{self.cell} {what} seed {self.seed}"


def _row(cell: Cell, method: str, record: Record, rate: str | None) -> DupontRun:
    nonzeros, weights = record.counted_weights()
    return DupontRun(
        network=cell.network,
        dataset=cell.dataset,
        rate=rate,
        method=method,
        seed=record.seed,
        accuracy=record.accuracy,
        accuracy_before=record.accuracy_before,
        accuracy_after_cut=record.accuracy_after_cut,
        remaining=record.share_remaining,
        nonzeros=nonzeros,
        weights=weights,
        epochs=record.epochs,
        val_accuracy=record.val_accuracy,
        wall_s=record.wall_s,
        train_compute=record.train_compute,
        run_id=record.run_id,
    )


def _once(rows: Iterable[DupontRun]) -> list[DupontRun]:
    """Without the repetitions of the dense network, which every rate brings."""
    unique = {(row.network, row.dataset, row.method, row.rate, row.seed): row for row in rows}
    return [unique[key] for key in sorted(unique, key=str)]
