"""What all places of Crowley et al. 2018 have in common: their scales, and a precision that is found out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from secateur.architecture.architecture import Architecture
from secateur.errors import InputError
from secateur.papers.cells import BaseCells
from secateur.papers.crowley2018.precision import AUTO, settled
from secateur.papers.crowley2018.scales import SCALES
from secateur.papers.reproduction import BaseReproduction
from secateur.runs.executors.choice import Workers


class CrowleyReproduction(BaseReproduction):
    """One place at one scale, in one folder.

    Args:
        scale: a key of `SCALES`.
        precision: "fp32", "bf16", or "auto": bf16 where it is faster here; None: as the scale has it.
        common: as of `BaseReproduction`.
    """

    paper = "crowley2018"
    place: ClassVar[str]

    def __init__(
        self, out: str | Path, scale: str, cells: Sequence[Any], precision: str | None = None, **common: Any
    ):
        given = None if precision == AUTO else precision
        super().__init__(out, scale, SCALES, cells, precision=given, **common)
        self.scale = SCALES[scale]
        self._finds_out = precision == AUTO or (precision is None and self.scale.finds_precision)
        if precision == AUTO and self.runtime.world > 1:
            raise InputError(
                f"precision must be fp32 or bf16 where {self.runtime.world} processes share a run, got auto"
            )

    def whole(self) -> Architecture:
        """The network that is pruned."""
        raise NotImplementedError

    def run(self, command: str, *, tables_only: bool = False, workers: Workers | None = None) -> BaseCells:
        if self._finds_out and self.runtime.world == 1:
            data, size = self.data(self.cells[0]), self.recipe.batch_size
            precision, why = settled(self.out, self.whole(), data, size, self.runtime)
            self.recipe = replace(self.recipe, precision=precision)
            self.reporter.note(why)
        return super().run(command, tables_only=tables_only, workers=workers)
