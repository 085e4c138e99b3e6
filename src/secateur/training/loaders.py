"""A user's own data: three iterables of (inputs, targets), most often DataLoaders, as a training takes them.

    loaders = Loaders(train, val, test)

An epoch of each is a function of a seed (`secateur.training.chance`). One pass through all of it, before
anything is trained, counts it, has every batch's targets looked at, and hashes the content: the hash is the
data's part of a run's identity.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from secateur.data import Augmentation, Found
from secateur.errors import InputError, TrainingError, kind_and_line
from secateur.network.inputs import Inputs, batch_of, input_tensors, map_inputs, pair_of, read_as
from secateur.records.found import SPLITS
from secateur.training.chance import seeded
from secateur.training.seeds import derived_seed

Batch = tuple[Inputs, Any]
Look = Callable[[Batch], None]
_MOST = 10_000_000
_SAMPLED = 2  # batches that are drawn twice, to see whether the seed decides them


@dataclass(frozen=True)
class Counted:
    """What one pass found: how many examples and batches, examples in the smallest one, and their hash."""

    examples: int
    batches: int
    smallest: int
    digest: str


class LoadedSplit:
    """One of the three iterables; `count` goes through it once, after which it has a length.

    Args:
        batches: yields (inputs, targets) every time it is gone through.
        name: "train", "val" or "test".

    Raises:
        InputError: where it is no iterable, or can be gone through only once.
    """

    def __init__(self, batches: Iterable[Any], name: str):
        if isinstance(batches, Iterator) or not hasattr(batches, "__iter__"):
            raise InputError(
                f"data are gone through once an epoch: {name} must be a DataLoader or a list of (inputs, "
                f"targets), got {type(batches).__name__}"
            )
        self.source, self.name = batches, name
        self.counted: Counted | None = None

    def __len__(self) -> int:
        """Examples, once counted."""
        assert self.counted is not None, "count comes first"
        return self.counted.examples

    def batches(self, seed: int) -> Iterator[Batch]:
        """Go through it once; all chance is the seed's."""
        try:
            for batch in seeded(self.source, seed):
                yield pair_of(batch, self.name)
        except (InputError, TrainingError, OSError, MemoryError):
            raise
        except Exception as error:  # the user's code
            raise InputError(f"{self.name} failed with {kind_and_line(error)}") from error

    def first(self) -> Batch:
        """The first batch; InputError where there is none."""
        for batch in self.batches(_COUNTING):
            return batch
        raise InputError(f"{self.name} holds no batch: pass an iterable of (inputs, targets)")

    def count(self, look: Look, size_of: Callable[[Inputs], int] = batch_of) -> None:
        """Go through it once, count it and hash it.

        Args:
            look: is shown every batch, and may refuse it.
            size_of: how many examples inputs hold.
        """
        sizes: list[int] = []
        found = hashlib.sha256()
        for batch in self.batches(_COUNTING):
            if len(sizes) == _MOST:
                raise InputError(
                    f"{self.name} must end, an epoch at a time; {_MOST:,} batches came, and more"
                )
            look(batch)
            sizes.append(size_of(batch[0]))
            _feed(found, batch)
        if not sizes:
            raise InputError(f"{self.name} holds no batch: pass an iterable of (inputs, targets)")
        self.counted = Counted(sum(sizes), len(sizes), min(sizes), found.hexdigest())

    @property
    def repeats(self) -> bool:
        """Whether the seed decides what it yields, by its first batches."""
        return self._beginning() == self._beginning()

    def _beginning(self) -> str:
        found = hashlib.sha256()
        for batch in islice(self.batches(_COUNTING), _SAMPLED):
            _feed(found, batch)
        return found.hexdigest()


_COUNTING = derived_seed(0, "counting")


class Loaders:
    """A user's data as runs take it, with those attributes of `secateur.data.Data` that both need.

    Args:
        train, val, test: iterables of (inputs, targets), to be gone through again and again: DataLoaders,
            lists. Inputs are a tensor, a tuple of them, or a dictionary of keyword arguments. Their order and
            augmentation may be drawn by torch, numpy and `random`.
        name: for captions.
        fingerprint: says that the data are the same, in place of a hash of their content: for data whose
            hash would take too long. Change it when the data change.

    Attributes:
        example: the first training batch, as it is at the seed of counting.
        num_classes: scores that the network gives for an example; 0 where it gives none, or nobody said.
        known: inputs of which the network that takes these told where their examples lie; None: nobody did.
    """

    augmentation = Augmentation(pad=0, flip=False)
    classes: tuple[str, ...] = ()
    found: Found | None = None  # a user's loaders are taken as they are

    def __init__(
        self,
        train: Iterable[Any],
        val: Iterable[Any],
        test: Iterable[Any],
        *,
        name: str = "own data",
        fingerprint: str | None = None,
    ):
        self.name = self.label = name
        self.train, self.val, self.test = (
            LoadedSplit(split, called) for split, called in zip((train, val, test), SPLITS, strict=True)
        )
        self.example = self.train.first()
        self._fingerprint = fingerprint
        self._repeats = True
        self.num_classes = 0
        self.known: Inputs = None

    @classmethod
    def of(cls, data: Any) -> Loaders:
        """Take what a user passes as data.

        Raises:
            InputError: unless it is three iterables.
        """
        if isinstance(data, Loaders):
            return data
        if isinstance(data, (tuple, list)) and len(data) == 3:
            return cls(*data)
        got = f"{len(data)} of them" if isinstance(data, (tuple, list)) else type(data).__name__
        raise InputError(
            "data are a name or folder, loaded data, or three iterables of (inputs, targets), "
            f"(train, val, test); got {got}"
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one example's first input."""
        return tuple(input_tensors(self.example[0])[0].shape[1:])

    @property
    def batch_size(self) -> int:
        """Examples in the first training batch."""
        return self._size_of(self.example[0])

    def count(self, look: Look) -> list[str]:
        """Go through everything once.

        Args:
            look: is shown every batch, and may refuse it.

        Returns:
            What a user should know of it, a line each.
        """
        for split in (self.train, self.val, self.test):
            split.count(look, self._size_of)
        self._repeats = self.train.repeats
        if self._repeats:
            return []
        return [
            "train yields other batches each time, whatever the seed: an interrupted comparison will not "
            "continue to the same numbers. Draw by torch, numpy or random, without persistent_workers"
        ]

    def _size_of(self, inputs: Inputs) -> int:
        return batch_of(read_as(inputs, self.known))

    @property
    def fingerprint(self) -> str:
        """16 hex digits over the content of all three; of a train that is another each time over its size."""
        found = hashlib.sha256(b"loaders")
        for split in (self.train, self.val, self.test):
            assert split.counted is not None, "count comes first"
            known = split.counted.digest if self._repeats or split is not self.train else ""
            size = f"{split.counted.examples} {split.counted.batches}"
            found.update(f"{size} {self._fingerprint or known}\n".encode())
        return found.hexdigest()[:16]


def _feed(found: Any, batch: Any) -> None:
    """Add everything in a batch to a hash."""

    def add(tensor: Tensor) -> Tensor:
        plain = tensor.detach().cpu().contiguous()
        found.update(f"{plain.dtype} {list(plain.shape)}".encode())
        found.update(plain.reshape(-1).view(torch.uint8).numpy().data if plain.numel() else b"")
        return tensor

    map_inputs(batch, add)
