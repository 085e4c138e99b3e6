"""Which images a training sees, in which order: drawn anew from the seed for each epoch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from secateur.data import Data, count_batches, epoch_batches
from secateur.device import Runtime
from secateur.training.recipe import Recipe
from secateur.training.seeds import derived_seed

Batch = tuple[Tensor, Tensor]  # images float32 (N, C, H, W), labels int64 (N,)


@dataclass(frozen=True)
class TrainingBatches:
    """Draws the batches of the training split, as the recipe and the seed say."""

    data: Data
    recipe: Recipe
    seed: int
    runtime: Runtime

    def per_epoch(self) -> int:
        """How many batches an epoch has, in each process."""
        return count_batches(len(self.data.train), self.recipe.batch_size, self.runtime.world)

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
