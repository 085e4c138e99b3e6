"""Images with targets that are no classes: train, validation and test, and what was found."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from secateur.data.dataset import Split
from secateur.data.decode import Decoded
from secateur.data.duplicates import duplicates
from secateur.data.splits import TEST_FRACTION, TEST_SEED
from secateur.data.targets import Targets
from secateur.errors import InputError
from secateur.records.found import Found


def split_targeted(
    decoded: Decoded, targets: Targets, limit: int | None, val_fraction: float, split_seed: int
) -> dict[str, Split]:
    """Train, val and test: the places of their images, and their targets.

    What is held out is drawn evenly from all: there are no classes to be fair to.

    Raises:
        InputError: there are too few images.
    """
    values = torch.cat([targets.values[name] for name in decoded.sizes])
    places = {name: part.images for name, part in decoded.places.items()}
    if "all" in places:
        held = max(1, round(TEST_FRACTION * len(places["all"])))
        test, pool = _drawn(places["all"], held, TEST_SEED)
    else:
        test, pool = places["test"], places["train"]
    if limit is not None:
        if not 4 <= limit <= len(pool):
            raise InputError(f"limit_train must be from 4 to {len(pool)} (all there are), not {limit}")
        pool, _ = _drawn(pool, limit, split_seed)
    if "val" in places:
        val, train = places["val"], pool
    else:
        val, train = _drawn(pool, max(1, round(val_fraction * len(pool))), split_seed)
    if len(train) < 2:
        raise InputError(f"training needs two images at least, but {len(train)} are left: add some")
    chosen = {"train": train, "val": val, "test": test}
    return {name: Split(where, values[where]) for name, where in chosen.items()}


def _drawn(places: Tensor, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """`count` of them drawn, and the others, both in order."""
    order = torch.randperm(len(places), generator=torch.Generator().manual_seed(seed))
    return places[order[:count].sort().values], places[order[count:].sort().values]


def found_targeted(
    called: str, decoded: Decoded, targets: Targets, splits: Mapping[str, Split], task: str, fit: str
) -> Found:
    """Describe the data set; `splits` with the images themselves."""
    height, width = decoded.images.shape[-2:]
    plainly = {
        name: Split(part.images, torch.zeros(len(part), dtype=torch.int64)) for name, part in splits.items()
    }
    return Found(
        name=called,
        classes=targets.names,
        counts={name: _counts(part.labels, task, len(targets.names)) for name, part in splits.items()},
        smallest=decoded.smallest or (width, height),
        largest=decoded.largest or (width, height),
        size=(width, height),
        fit=fit,
        left_out=decoded.left_out,
        remarks=(*decoded.remarks, *duplicates(plainly, ("image",))),
        task=task,
        images={name: len(part) for name, part in splits.items()},
    )


def _counts(values: Tensor, task: str, columns: int) -> tuple[int, ...]:
    """Images that have each label; of numbers all."""
    if task == "multilabel":
        return tuple(int(count) for count in values.sum(0).tolist())
    return (len(values),) * columns
