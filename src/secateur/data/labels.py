"""Rules shared by folders, parquet files and the Hub: which split is which, which labels are valid."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import TypeVar

from secateur.errors import InputError

T = TypeVar("T")

_SPLIT = re.compile(r"(train|test|val)(?:ing|id|idation)?(?![a-z])", re.IGNORECASE)


def split_of(name: str) -> str | None:
    """ "train", "test" or "val" if a file, folder or Hub split says so at its start, else None.

    Example:
        >>> split_of("validation-00000-of-00001"), split_of("trains")
        ('val', None)
    """
    match = _SPLIT.match(name)
    return match[1].lower() if match else None


def assign(found: Mapping[str, T], where: str) -> dict[str, T]:
    """Decide what tests: `test` if there is one, else `val` (TinyImageNet publishes no test labels).

    Args:
        found: what each of "train", "test", "val" was found to be; at least one.
        where: the source, for messages.

    Returns:
        "train" and "test", and "val" if both a test and a validation split were found.

    Raises:
        InputError: there is no training split, or nothing to test on.
    """
    if "train" not in found:
        raise InputError(f"missing split: {where} has {_listed(found)} but no 'train': add one")
    if "test" in found:
        return dict(found)
    if "val" not in found:
        raise InputError(
            f"missing split: {where} has 'train' but neither 'test' nor 'valid': add one, "
            f"or leave out the name 'train' to have a test split of 20% held out"
        )
    return {"train": found["train"], "test": found["val"]}


def check_labels(
    labels: Mapping[str, Sequence[int | None]], classes: Sequence[str] | None, where: str
) -> tuple[str, ...]:
    """The class names, after checking that labels are 0..K-1 and every split has every class.

    Args:
        labels: those of each split.
        classes: their names, if the source tells; else the labels' numbers are the names.
        where: the source, for messages.

    Raises:
        InputError: labels are missing, negative, too large or with gaps; a class lacks images in a split;
            there is one class only.
    """
    present = {split: set(values) for split, values in labels.items()}
    for split, values in present.items():
        _check_labelled(split, values, where)
    if classes is None:
        classes = _names_of_numbers(set().union(*present.values()), where)
    for split, values in present.items():
        _check_range(split, values, len(classes), where)
    if len(classes) < 2:
        raise InputError(
            f"there must be at least two classes, but {where} has only '{classes[0]}': add another"
        )
    for split, values in present.items():
        check_complete(split, [classes[k] for k in values if k is not None], classes, where)
    return tuple(classes)


def check_complete(split: str, present: Collection[str], classes: Sequence[str], where: str) -> None:
    """Every class needs an image in every split.

    Raises:
        InputError: naming the first class that has none.
    """
    missing = [name for name in classes if name not in set(present)]
    if missing:
        more = f" (and {len(missing) - 1} others)" if len(missing) > 1 else ""
        whose = "" if split == "all" else f" of split '{split}'"
        raise InputError(
            f"every class needs images in every split, but class '{missing[0]}'{more}{whose} in {where} "
            f"has none: add some, or remove the class"
        )


def _check_labelled(split: str, values: set[int | None], where: str) -> None:
    if not values:
        raise InputError(f"split '{split}' of {where} has no images: add some")
    unlabelled = sorted(str(value) for value in values if value is None or value < 0)
    if unlabelled:
        raise InputError(
            f"labels must be 0..K-1, but split '{split}' of {where} has {unlabelled[0]} (-1 and None mark "
            f"unlabelled images): remove them, or the whole split if another can be the test split"
        )


def _names_of_numbers(values: set[int | None], where: str) -> tuple[str, ...]:
    numbers = sorted(value for value in values if value is not None)
    if numbers != list(range(len(numbers))):
        raise InputError(
            f"labels must be 0..K-1, but {where} has {len(numbers)} different labels from {numbers[0]} to "
            f"{numbers[-1]}: number the classes without gaps"
        )
    return tuple(str(number) for number in numbers)


def _check_range(split: str, values: set[int | None], count: int, where: str) -> None:
    largest = max(value for value in values if value is not None)
    if largest >= count:
        raise InputError(
            f"labels must be 0..{count - 1} for {count} class names, but split '{split}' of {where} has "
            f"{largest}: correct the label or add its name"
        )


def _listed(names: Collection[str]) -> str:
    return " and ".join(f"'{name}'" for name in sorted(names))
