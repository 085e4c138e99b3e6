"""The last comparison of Crowley et al. 2018, made again: `secateur reproduce crowley2018 snip`.

Section 3.2 holds the copycat networks of WRN-40-2, at about 800K and 500K parameters, against networks whose
weights Lee et al. 2018 set to zero before training: WRN-22-8 and WRN-16-8, of which 5% are left. Below the
paper's scale all of these networks are narrower, by about the same factor. Copycat's networks are those of
Fig. 1 at these sizes: in the same folder they are not trained twice.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from secateur.architecture.architecture import Architecture
from secateur.architecture.resolve import resolve_model
from secateur.budget import Budget
from secateur.compare.arms.weights import WeightArm
from secateur.compare.replicate import OnTrajectory, Replicate
from secateur.compare.settings import Settings
from secateur.compare.wanted import Wanted, ask
from secateur.papers.cells import CrowleyCells, CrowleyRun
from secateur.papers.crowley2018.base import CrowleyReproduction
from secateur.papers.crowley2018.claims import write_claims
from secateur.papers.crowley2018.snip_grid import CELLS, COPYCAT, Cell
from secateur.papers.crowley2018.snip_tables import write_tables
from secateur.records.record import Record
from secateur.runs.graph import Graph, Made, Node


class Snip(CrowleyReproduction):
    """The comparison at one scale, in one folder.

    Args:
        scale: a key of `SCALES`.
        each_prunes: every seed prunes a network of its own; else the first seed's profile serves all.
        common: as of `CrowleyReproduction`.

    Raises:
        InputError: where one of them makes no sense.
    """

    place = "snip"
    content = CrowleyCells

    def __init__(
        self,
        out: str | Path,
        scale: str = "laptop",
        *,
        each_prunes: bool = False,
        **common: Any,
    ):
        super().__init__(out, scale, CELLS, **common)
        self.each_prunes = each_prunes
        self._asked: dict[Cell, Wanted] = {}
        self._replicates: dict[tuple[Cell, int], Replicate] = {}

    def network(self, cell: Cell) -> str:
        """The name of the network used at this scale."""
        return self.scale.networks.get(cell.network, cell.network)

    def image_size(self, cell: Cell) -> int | None:
        return None if self._scale.stand_in else self.scale.image_sizes.get(cell.dataset)

    def whole(self) -> Architecture:
        cell = next(each for each in CELLS if each.method == COPYCAT)
        return resolve_model(self.network(cell), self.data(cell))

    def architecture(self, cell: Cell) -> Architecture:
        return self._wanted(cell).question.architecture

    def nodes(self, cell: Cell, graph: Graph, seed: int) -> list[Node]:
        """Add SNIP's network, or copycat's and all that it stands on; all have one trajectory.

        A comparison would train SNIP's unpruned network too, to say what the zeros cost; the paper does not.
        """
        wanted = self._wanted(cell)
        replicate = self._replicates[cell, seed] = self._replicate(cell, wanted, graph, seed)
        (arm,), (budget,) = wanted.arms, wanted.question.budgets
        if isinstance(arm, WeightArm):
            run = arm.run(wanted.question, budget, seed, f"snip {cell.network} seed {seed}")
            return [replicate.once(arm.name, budget, lambda: graph.add(run))]
        return [arm.node(replicate, budget)]

    def _replicate(self, cell: Cell, wanted: Wanted, graph: Graph, seed: int) -> Replicate:
        """One seed of a row; of copycat's the first seed's trajectory serves all."""
        if cell.rate is not None or seed == 0 or self.each_prunes:
            return Replicate(wanted.question, graph, seed)
        return OnTrajectory(wanted.question, self._replicates[cell, 0], seed)

    def row(self, cell: Cell, index: int, node: Node, made: Made, seed: int) -> CrowleyRun:
        wanted = self._wanted(cell)
        (arm,), (budget,) = wanted.arms, wanted.question.budgets
        point = arm.point(self._replicates[cell, seed], budget, made)
        return self._row(cell, made.record(node), point.discovery_compute)

    def write_tables(self, content: CrowleyCells) -> None:
        write_tables(content, self.out)
        write_claims(self.out)

    def _wanted(self, cell: Cell) -> Wanted:
        """Ask what `secateur compare` would be asked for this row; its widths are solved for once."""
        if cell not in self._asked:
            self._asked[cell] = self._new(cell)
        return self._asked[cell]

    def _new(self, cell: Cell) -> Wanted:
        if cell.rate is None:
            budget = self.scale.budget(cell.size, self.network(cell))
        else:
            budget = f"nonzeros={100 - int(cell.rate[:-1])}%"
        data = self.data(cell)
        settings = Settings(
            (Budget.parse(budget),),
            (cell.method,),
            recipe=self.recipe,
            prune=self.scale.pruning(self.recipe.epochs, "val"),  # as the trajectory of Fig. 1
            copycat_after=self.scale.removals,
        )
        return ask(resolve_model(self.network(cell), data), data, settings)

    def _row(self, cell: Cell, record: Record, discovery_compute: int = 0) -> CrowleyRun:
        nonzeros, weights = record.counted_weights()
        return CrowleyRun(
            method=cell.method,
            network=cell.network,
            dataset=cell.dataset,
            rate=cell.rate,
            size=cell.size,
            made_of=self.network(cell),
            seed=record.seed,
            accuracy=record.accuracy,
            params=record.params,
            weights=weights,
            nonzeros=nonzeros,
            not_zero=record.params - weights + nonzeros,
            epochs=record.epochs,
            val_accuracy=record.val_accuracy,
            wall_s=record.wall_s,
            train_compute=record.train_compute,
            discovery_compute=discovery_compute,
            run_id=record.run_id,
        )
