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

    @property
    def accuracy_at_cut(self) -> float:
        """What is left right after the cut; in the end, where the cut comes last."""
        return self.accuracy if self.accuracy_after_cut is None else self.accuracy_after_cut


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
class FamilyRun(Stored):
    """One run of the figures of Crowley et al. 2018.

    Attributes:
        arm: the curve, in our names.
        network, dataset, size: the paper's, or what was asked for in their place.
        budget: at this scale, "params=22.3%".
        distill: what the network learnt from the unpruned one besides; None: nothing.
        beta: the FLOP penalty that its architecture was found with.
        made_of: the network that is pruned at this scale.
        discovery_compute: training MACs that finding the architecture took.
        the others: as in the run's `Record`.
    """

    arm: str
    network: str
    dataset: str
    size: str
    budget: str
    distill: str | None
    beta: float
    made_of: str
    seed: int
    accuracy: float
    val_accuracy: float
    params: int
    macs: int
    widths: tuple[int, ...]
    epochs: int
    wall_s: float
    train_compute: int
    discovery_compute: int
    run_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned(Stored):
    """One trajectory of Crowley et al. 2018: the red curve, and all profiles on it.

    Attributes:
        beta: the FLOP penalty.
        measured_on: the split of `accuracies`, "val" or "test".
        profile_after: removals after which copycat takes its profile.
        groups, widths: of the network before pruning.
        strided: groups that a layer with a stride writes, as indices.
        removed: of every removal the index of its group.
        params, accuracies: of the network just before it.
        run_id: the run that went furthest.
    """

    seed: int
    beta: float
    measured_on: str
    profile_after: int
    groups: tuple[str, ...]
    strided: tuple[int, ...]
    widths: tuple[int, ...]
    removed: tuple[int, ...]
    params: tuple[int, ...]
    accuracies: tuple[float, ...]
    run_id: str

    def left_after(self, removals: int) -> tuple[int, ...]:
        """The width of every group after so many removals."""
        gone = self.removed[:removals]
        return tuple(width - gone.count(index) for index, width in enumerate(self.widths))


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


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyCells(BaseCells):
    """`figure1.json`, `figure2.json` and `penalties.json` of Crowley et al. 2018.

    Attributes:
        precision: of the forward passes.
        left_out: curve -> why this network has none.
        trajectories: one for each seed and penalty that a network was pruned with.
    """

    precision: str
    left_out: Mapping[str, str]
    trajectories: tuple[Pruned, ...]
    cells: tuple[FamilyRun, ...]
