"""What a training sees, in which order: drawn anew from the seed for each epoch.

`batches_of` has both kinds: images of `secateur.data`, and a user's own loaders.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

import torch
from torch import Tensor

from secateur.data import Data, Split, count_batches, epoch_batches
from secateur.device import Runtime
from secateur.errors import InputError, TrainingError
from secateur.network.inputs import Inputs, map_inputs
from secateur.training.loaders import LoadedSplit, Loaders
from secateur.training.recipe import Recipe
from secateur.training.seeds import derived_seed

AnyData = Data | Loaders
"""What a run is trained and measured on."""
AnySplit = Split | LoadedSplit

Batch = tuple[Inputs, Any]  # of images: float32 (N, C, H, W), labels int64 (N,)
EVALUATION_BATCH = 500


class Batches(Protocol):
    """The batches of the training split, as a recipe and a seed say."""

    def per_epoch(self) -> int:
        """How many batches an epoch has, in each process."""

    def of_epoch(self, epoch: int, start: int, layout: torch.memory_format) -> Iterator[Batch]:
        """This process's share of an epoch, from batch number `start` on, on the device."""

    def for_scoring(self, layout: torch.memory_format) -> Iterator[Batch]:
        """What a method may look at before the first step, the same for every process."""


def batches_of(data: AnyData, recipe: Recipe, seed: int, runtime: Runtime) -> Batches:
    """Make what draws the training batches."""
    if isinstance(data, Loaders):
        return LoadedBatches(data, seed, runtime)
    return TrainingBatches(data, recipe, seed, runtime)


def steps_per_epoch(data: AnyData, recipe: Recipe, world: int = 1) -> int:
    """Count the optimizer steps of an epoch, in each process."""
    if isinstance(data, Loaders):
        assert data.train.counted is not None
        return data.train.counted.batches
    return count_batches(len(data.train), recipe.batch_size, world)


def examples_per_epoch(data: AnyData, recipe: Recipe, world: int = 1) -> int:
    """Count the training examples that one epoch really sees: every process gets equally many of a batch."""
    if isinstance(data, Loaders):
        return len(data.train)
    whole, rest = divmod(len(data.train), recipe.batch_size)
    seen = whole * (recipe.batch_size // world * world)
    batches = count_batches(len(data.train), recipe.batch_size, world)
    return seen + (rest // world * world if batches > whole else 0)


def measured_batches(
    split: AnySplit, data: AnyData, runtime: Runtime, layout: torch.memory_format, shared: bool = True
) -> Iterator[Batch]:
    """Every example of a split, on the device.

    Args:
        shared: every process gets its share; else all of it.
    """
    if isinstance(split, LoadedSplit):
        return placed(split.batches(derived_seed(0, "measuring")), runtime, layout)
    assert isinstance(data, Data)
    return epoch_batches(
        split,
        data,
        batch_size=EVALUATION_BATCH,
        device=runtime.device,
        rank=runtime.rank if shared else 0,
        world=runtime.world if shared else 1,
        layout=layout,
    )


def placed(batches: Iterator[Batch], runtime: Runtime, layout: torch.memory_format) -> Iterator[Batch]:
    """Move inputs and targets to the device, and images (N, C, H, W) into the network's layout."""

    def move(tensor: Tensor) -> Tensor:
        return tensor.to(runtime.device)

    def arrange(tensor: Tensor) -> Tensor:
        moved = move(tensor)
        return runtime.arrange(moved, layout) if moved.dim() == 4 and moved.is_floating_point() else moved

    for inputs, targets in batches:
        yield map_inputs(inputs, arrange), map_inputs(targets, move)


@dataclass(frozen=True)
class LoadedBatches:
    """Draws an epoch of a user's own loader, whose batches are its own.

    Raises:
        InputError: where several processes would share a run.
    """

    data: Loaders
    seed: int
    runtime: Runtime

    def __post_init__(self) -> None:
        if self.runtime.world > 1:
            raise InputError(
                f"own loaders train in one process, got {self.runtime.world}: leave out accelerate launch"
            )

    def per_epoch(self) -> int:
        assert self.data.train.counted is not None
        return self.data.train.counted.batches

    def of_epoch(self, epoch: int, start: int, layout: torch.memory_format) -> Iterator[Batch]:
        """Draw the epoch from `start` on: what comes before it is drawn too, and passed over.

        Raises:
            TrainingError: where the epoch ends before as many batches as were counted.
        """
        wanted, given = self.per_epoch(), start
        drawn = self.data.train.batches(derived_seed(self.seed, "order", epoch))
        for batch in placed(islice(drawn, start, wanted), self.runtime, layout):
            given += 1
            yield batch
        if given < wanted:
            raise TrainingError(
                f"train yielded {given} batches in epoch {epoch + 1}, and {wanted} when they were counted"
            )

    def for_scoring(self, layout: torch.memory_format) -> Iterator[Batch]:
        drawn = self.data.train.batches(derived_seed(self.seed, "scoring"))
        yield from placed(drawn, self.runtime, layout)


@dataclass(frozen=True)
class TrainingBatches:
    """Draws the batches of the training split, as the recipe and the seed say."""

    data: Data
    recipe: Recipe
    seed: int
    runtime: Runtime

    def per_epoch(self) -> int:
        """How many batches an epoch has, in each process."""
        return steps_per_epoch(self.data, self.recipe, self.runtime.world)

    def of_epoch(self, epoch: int, start: int, layout: torch.memory_format) -> Iterator[Batch]:
        """This process's share of an epoch, augmented, from batch number `start` on."""
        return epoch_batches(
            self.data.train,
            self.data,
            batch_size=self.recipe.batch_size,
            device=self.runtime.device,
            generator=self._order(epoch),
            augmentation=self.recipe.augmentation(self.data),
            start=start,
            rank=self.runtime.rank,
            world=self.runtime.world,
            layout=layout,
        )

    def for_scoring(self, layout: torch.memory_format) -> Iterator[Batch]:
        """What a method may look at before the first step; a generator, so the others cost nothing.

        Training images in an order of their own, not augmented, in whole batches that are the same for every
        process, so that all of them see, and choose, alike.
        """
        order = torch.Generator().manual_seed(derived_seed(self.seed, "scoring"))
        yield from epoch_batches(
            self.data.train,
            self.data,
            batch_size=self.recipe.batch_size,
            device=self.runtime.device,
            generator=order,
            layout=layout,
        )

    def _order(self, epoch: int) -> torch.Generator:
        return torch.Generator().manual_seed(derived_seed(self.seed, "order", epoch))
