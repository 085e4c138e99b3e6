"""What the reproductions of all papers have in common: a grid of cells, made once, resumed, never repeated.

Three scales: `paper` is the paper's protocol, `laptop` fits two cores and an evening, `smoke` takes minutes
on the embedded digits and says nothing but that all of it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol

from secateur.architecture.architecture import Architecture
from secateur.atomic import write_json
from secateur.data import Data, load_data
from secateur.device import Runtime
from secateur.errors import InputError, UnfinishedError, unknown
from secateur.papers.cells import About, AnyRun, BaseCells
from secateur.progress import Reporter
from secateur.runs.environment import describe_environment
from secateur.runs.executors.choice import HERE, Workers, make_graph
from secateur.runs.graph import Graph, Made, Node, NotMadeError
from secateur.runs.session import Session
from secateur.runs.store import RunStore
from secateur.runs.time_limit import TimeLimit
from secateur.training.recipe import Recipe


class AnyCell(Protocol):
    """A place of a paper's grid: a network on a data set, and what is done with it."""

    @property
    def network(self) -> str: ...

    @property
    def dataset(self) -> str: ...


@dataclass(frozen=True)
class BaseScale:
    """How large everything is.

    Attributes:
        recipe: of all runs.
        seeds: replicates.
        limit_train: training images, validation included.
        stand_in: a data set used in place of the paper's, where these must not be needed.
    """

    recipe: Recipe
    seeds: int = 3
    limit_train: int | None = None
    val_fraction: float = 0.1
    stand_in: str | None = None


class BaseReproduction:
    """The cells of one paper at one scale, in one folder; siblings say what a cell's runs and tables are.

    Args:
        scale: a key of `scales`.
        seeds, epochs, select_on, precision, limit_train: in place of the scale's.
        minutes: after which `run` stops behind an epoch; None: it goes on to the end.

    Raises:
        InputError: where one of them is unknown, or would change nothing.
    """

    paper: str
    content: ClassVar[Callable[..., BaseCells]]
    """What the file holds, made of `paper`, `about`, `cells`, and what `more` says."""
    file: ClassVar[str] = "cells.json"
    """Its name."""

    def __init__(
        self,
        out: str | Path,
        scale: str,
        scales: Mapping[str, BaseScale],
        cells: Sequence[Any],
        *,
        seeds: int | None = None,
        epochs: int | None = None,
        select_on: str | None = None,
        precision: str | None = None,
        limit_train: int | None = None,
        minutes: float | None = None,
        device: str = "auto",
        reporter: Reporter | None = None,
    ):
        self._limit = None if minutes is None else TimeLimit(minutes)  # from now on
        if scale not in scales:
            raise unknown("scale", scale, scales)
        self.out, self.scale_name, self._scale = Path(out), scale, scales[scale]
        self.cells = cells
        given = {"epochs": epochs, "select_on": select_on, "precision": precision}
        changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        self.recipe = replace(self._scale.recipe, **changes)
        if select_on and not self.recipe.follows_accuracy:
            raise InputError(
                f"select_on must be left out at scale {scale}, where nothing follows the accuracy, got "
                f"'{select_on}'"
            )
        self._limit_train = limit_train
        self.seeds = self._scale.seeds if seeds is None else seeds
        if self.seeds < 1:
            raise InputError(f"at least 1 seed is needed, got {self.seeds}")
        self.runtime = Runtime(device)
        if minutes is not None and self.runtime.world > 1:
            raise InputError(
                f"minutes must be left out where {self.runtime.world} processes share each run, got "
                f"{minutes:g}"
            )
        self.store = RunStore(out)
        self.reporter = reporter or Reporter()
        self._data: dict[tuple[str, int | None], Data] = {}

    def nodes(self, cell: Any, graph: Graph, seed: int) -> Sequence[Node]:
        """Add the cell's runs at one seed to the graph; a node for each line of `cells.json`."""
        raise NotImplementedError

    def row(self, cell: Any, index: int, node: Node, made: Made, seed: int) -> AnyRun:
        """The line of `cells.json` of the cell's node at `index`.

        Raises:
            NotMadeError: where its run, or one that it follows from, is not finished.
        """
        raise NotImplementedError

    def architecture(self, cell: Any) -> Architecture:
        """The cell's network at this scale, fitted to its images."""
        raise NotImplementedError

    def write_tables(self, content: Any) -> None:
        """Leave the tables of what `cells.json` holds."""
        raise NotImplementedError

    def more(self, made: Made) -> dict[str, Any]:
        """What the file holds besides."""
        return {}

    def image_size(self, cell: Any) -> int | None:
        """To which the cell's images are resized; None: they are left as they are."""
        return None

    def limit_train(self, cell: Any) -> int | None:
        """How many of the cell's training images are taken, validation included; None: all."""
        return self._scale.limit_train if self._limit_train is None else self._limit_train

    def data(self, cell: AnyCell) -> Data:
        """The cell's images, loaded once."""
        key = (self._scale.stand_in or cell.dataset, self.image_size(cell))
        if key not in self._data:
            self._data[key] = load_data(
                key[0],
                limit_train=self.limit_train(cell),
                val_fraction=self._scale.val_fraction,
                image_size=key[1],
                progress=self.reporter.decoding,
            )
        return self._data[key]

    def run(self, command: str, *, tables_only: bool = False, workers: Workers | None = None) -> BaseCells:
        """Make every run that is not there yet and leave the tables; what `cells.json` then holds.

        The tables are drawn anew whenever one of their runs is finished, so an interrupted reproduction shows
        what it has. With `tables_only` nothing is trained: they show the runs that are finished.

        Raises:
            InputError: where only tables are wanted and no run is finished; where the runs are to be made
                side by side within so many minutes.
            UnfinishedError: where the minutes are over; the tables show what is finished.
        """
        workers = self._workers(workers)
        graph = Graph(self.runtime.world)
        wanted = {
            (cell, seed): self.nodes(cell, graph, seed) for seed in range(self.seeds) for cell in self.cells
        }
        made = Made(graph, self.store)
        shown = {node.name for nodes in wanted.values() for node in nodes}

        def finished(node: Node) -> None:
            if node.name in shown:
                self._leave(self._rows(wanted, made), made, command)

        with self.store.locked(self.runtime.is_main), self.reporter:
            if not tables_only:
                self.reporter.note(_cost(graph, made))
            self.reporter.begin(f"{self.paper} at scale {self.scale_name}", graph.compute)
            if not tables_only:
                session = Session(self.store, self.runtime, self.reporter, self._limit)
                try:
                    make_graph(graph, session, workers, finished)
                except UnfinishedError as error:
                    raise self._unfinished(error, made) from None
            rows = self._rows(wanted, made)
            if not rows:
                raise InputError(
                    f"no finished run of these cells in '{self.out}': leave out --tables-only to make them"
                )
            return self._leave(rows, made, command)

    def _workers(self, asked: Workers | None) -> Workers:
        """Say who makes the runs: within so many minutes this process, which looks at the clock."""
        if self._limit is None or asked is None:
            return asked or Workers(1)
        if (asked.count or 1) > 1 or asked.on != HERE:
            raise InputError(
                f"minutes makes one run after the other, here, got workers {asked.count or 'auto'} on "
                f"{asked.on}: leave out --workers and --on, or --minutes"
            )
        return Workers(1)

    @staticmethod
    def _unfinished(error: UnfinishedError, made: Made) -> UnfinishedError:
        total, left = len(made.graph), len(made.unfinished())
        return UnfinishedError(
            f"{error}: {total - left} of {total} runs are finished, and the epochs of the one that was begun "
            "are kept; the same command goes on"
        )

    def _rows(self, wanted: Mapping[tuple[Any, int], Sequence[Node]], made: Made) -> list[AnyRun]:
        """The lines of all runs that are finished."""
        rows = []
        for (cell, seed), nodes in wanted.items():
            for index, node in enumerate(nodes):
                with suppress(NotMadeError):
                    rows.append(self.row(cell, index, node, made, seed))
        return rows

    def _leave(self, rows: list[AnyRun], made: Made, command: str) -> BaseCells:
        """Write `cells.json` and the tables."""
        about = self._about(rows, command)
        cells = tuple(self.distinct(rows))
        content = self.content(paper=self.paper, about=about, cells=cells, **self.more(made))
        if self.runtime.is_main:
            write_json(self.out / self.file, content.to_json())
            self.write_tables(content)
        return content

    def distinct(self, rows: Sequence[Any]) -> Sequence[AnyRun]:
        """Without repetitions, in the order of `cells.json`."""
        return rows

    def _about(self, rows: list[AnyRun], command: str) -> About:
        described = describe_environment(self.runtime, self.recipe.precision)
        records = [self.store.record(row.run_id) for row in rows]
        trained_at = sorted({record.commit for record in records if record})
        return About(
            scale=self.scale_name,
            device=described["device"],
            commit=", ".join(trained_at),
            data=self._describe_data(),
            selection=selection(self.recipe),
            command=command,
            seeds=self.seeds,
            environment={**described, "trained_at": trained_at},
        )

    def _describe_data(self) -> str:
        """Every data set that was used, and what it stands in for."""
        texts: dict[str, None] = {}
        for cell in self.cells:
            texts[self.about_data(cell)] = None
        return "; ".join(texts)

    def about_data(self, cell: Any) -> str:
        """What the cell's images are, for captions."""
        data = self.data(cell)
        place = f" in place of {cell.dataset}" if self._scale.stand_in else ""
        size = self.image_size(cell)
        resized = "" if size is None else f" at {size} x {size} pixels"
        return f"{data.label}{place}{resized}, {len(data.train):,} training images"


def _cost(graph: Graph, made: Made) -> str:
    """What is to be made, said before anything is."""
    left = made.unfinished()
    macs = sum(node.compute for node in left)
    return f"{len(left)} of {len(graph)} runs are to be made, about {macs:.2g} training MACs"


def selection(recipe: Recipe) -> str:
    """The split that training was steered by, for captions."""
    if not recipe.follows_accuracy:
        return "none, the last epoch's network"
    return "test split, as in the paper" if recipe.select_on == "test" else "validation split"
