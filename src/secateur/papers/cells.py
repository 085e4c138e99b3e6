"""`cells.json`, which a paper's reproduction leaves: its runs, a line for each, and how they were made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from secateur.records.stored import Stored, optional


class AnyRun(Protocol):
    """A line of any paper's cells."""

    @property
    def run_id(self) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class About(Stored):
    """Under what conditions the runs were made; what stands under the tables.

    Attributes:
        scale: "smoke", "laptop" or "paper".
        device, data, selection: in words.
        commit: of the checkouts that the runs were made with, joined by commas.
        command: that makes it again.
        seeds: replicates asked for, at least 1.
        environment: that the tables were drawn up with, as JSON; `trained_at` are the runs' commits.
    """

    scale: str
    device: str
    commit: str
    data: str
    selection: str
    command: str
    seeds: int
    environment: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class DupontRun(Stored):
    """One run of Dupont et al. 2021.

    Attributes:
        rate: share of the weights that is pruned, "95%"; None for the unpruned network.
        accuracy, accuracy_before: on the test split, in the end and right before the cut, in [0, 1]; None
            without a cut.
        accuracy_after_cut: right after it, where training went on from there.
        remaining: C / C_initial at the end of training; None where there is no gate.
        epochs to run_id: as in the run's `Record`.
    """

    network: str
    dataset: str
    rate: str | None
    method: str
    seed: int
    accuracy: float
    accuracy_before: float | None
    accuracy_after_cut: float | None = optional()
    remaining: float | None
    nonzeros: int
    weights: int
    epochs: int
    val_accuracy: float
    wall_s: float
    train_compute: int
    run_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CrowleyRun(Stored):
    """One run of Crowley et al. 2018, section 3.2.

    Attributes:
        network, size: the paper's.
        rate: share of the weights that is pruned, "95%"; None where a profile is rescaled.
        made_of: the network in its place at this scale.
        not_zero: parameters that are not zero: the weights that stay, all biases and normalisation.
        discovery_compute: training MACs that finding the architecture took.
        the others: as in the run's `Record`.
    """

    method: str
    network: str
    dataset: str
    rate: str | None
    size: str
    made_of: str
    seed: int
    accuracy: float
    params: int
    weights: int
    nonzeros: int
    not_zero: int
    epochs: int
    val_accuracy: float
    wall_s: float
    train_compute: int
    discovery_compute: int
    run_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseCells(Stored):
    """The whole file, but the lines."""

    SCHEMA: ClassVar[int | None] = 1
    AGAIN: ClassVar[str] = "run `secateur reproduce` again, with --tables-only nothing is trained"

    paper: str
    about: About


@dataclass(frozen=True, slots=True, kw_only=True)
class DupontCells(BaseCells):
    """`cells.json` of Dupont et al. 2021."""

    cells: tuple[DupontRun, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CrowleyCells(BaseCells):
    """`cells.json` of Crowley et al. 2018."""

    cells: tuple[CrowleyRun, ...]
