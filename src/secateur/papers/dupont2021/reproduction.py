"""The tables of Dupont et al. 2021, made again: `secateur reproduce dupont2021 table1`.

The runs of a cell serve Tables 1, 2 and 3 alike. The scales are explained in `secateur.papers.reproduction`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from secateur.architecture.architecture import Architecture
from secateur.compare.arms import ARMS, WEIGHT_ARMS
from secateur.compare.arms import chosen as check_arms
from secateur.compare.arms.weights import WeightArm
from secateur.compare.comparison import Comparison
from secateur.compare.replicate import Replicate
from secateur.compare.settings import Settings
from secateur.errors import unknown
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
        seeds, epochs: in place of the scale's.
        select_on: in place of the scale's: "val" for the paper's protocol without its selection on test.

    Raises:
        InputError: where one of them is unknown.
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
        device: str = "auto",
        reporter: Reporter | None = None,
    ):
        for method in methods:
            if method not in WEIGHT_ARMS:
                raise unknown("method", method, WEIGHT_ARMS)
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
        self.sparsity = replace(self.scale.sparsity, settings=settings or {})
        for cell in self.cells[:1]:
            check_arms(self._settings(cell))

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

    def nodes(self, cell: Cell, graph: Graph, seed: int) -> list[Node]:
        """Add the unpruned network, and the network of every method."""
        question = self._question(cell)
        replicate = Replicate(question, graph, seed)
        label = f"{cell.network}/{cell.dataset} seed {seed}"
        found = [graph.add(replicate.train(question.architecture, self.recipe, label))]
        for method in self.methods:
            run = self._arm(method).run(question, cell.budget, seed, f"{cell} {method} seed {seed}")
            found.append(graph.add(run))
        return found

    def _question(self, cell: Cell) -> Comparison:
        """Ask what `secateur compare` would be asked for this cell."""
        return Comparison(self.architecture(cell), self.data(cell), self._settings(cell), prunes=False)

    def _settings(self, cell: Cell) -> Settings:
        """What is compared in a cell, and how."""
        return Settings((cell.budget,), self.methods, recipe=self.recipe, sparsity=self.sparsity)

    @staticmethod
    def _arm(method: str) -> WeightArm:
        arm = ARMS[method]
        assert isinstance(arm, WeightArm)
        return arm

    def row(self, cell: Cell, index: int, node: Node, made: Made, seed: int) -> DupontRun:
        method = ("dense", *self.methods)[index]
        return _row(cell, method, made.record(node), rate=None if method == "dense" else cell.rate)

    def distinct(self, rows: Sequence[DupontRun]) -> list[DupontRun]:
        return _once(rows)

    def write_tables(self, content: DupontCells) -> None:
        write_tables(content, self.out)


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
