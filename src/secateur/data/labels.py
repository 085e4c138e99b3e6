"""Rules shared by folders, tables and the Hub: which split tests, which column and which labels are valid."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeVar

from secateur.errors import InputError
from secateur.records.found import listed, plain

T = TypeVar("T")

_FRACTION = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
LABEL_NAMES = ("label", "labels", "class", "target")
"""What a column of labels is called where others are beside it."""


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


def said_of(found: Collection[str]) -> tuple[str, ...]:
    """What is to be said of the splits that were found, before `assign`."""
    if "val" in found and "test" not in found:
        return ("no test split: 'val' is it, and validation is held out of train",)
    return ()


def choose_column(
    possible: Sequence[str], asked: str | None, what: str, where: str, shown: str, names: Sequence[str] = ()
) -> str:
    """The column that is asked for, the only possible one, or the only one of a usual name.

    Args:
        possible: columns that it could be.
        asked: the user's `--label-column` or `--image-column`.
        what: "label" or "image".
        where: the table, for messages.
        shown: all its columns, for messages.
        names: of what is called so, where there are others beside it.

    Raises:
        InputError: none or several could be meant, or the one asked for is none of them.
    """
    if asked is not None and asked not in possible:
        raise InputError(
            f"--{what}-column names a column that can be the {what}, but '{plain(asked)}' of {where} is "
            f"none: it has {shown}"
        )
    usual = [column for column in possible if column.lower() in names]
    found = [asked] if asked is not None else usual or list(possible)
    if len(found) != 1:
        could = f"{listed(found)} could each be it" if found else "none is there"
        raise InputError(
            f"{where} must have one {what} column, but {could}: it has {shown}"
            + (f"; choose with --{what}-column NAME" if found else "")
        )
    return found[0]


def number_labels(
    values: Mapping[str, Sequence[Any]], where: str
) -> tuple[dict[str, list[int]], tuple[str, ...]]:
    """Number labels that are texts, truths or numbers from 0, in their order; give the class names too.

    Args:
        values: those of each split.
        where: the source, for messages.

    Raises:
        InputError: labels are missing, or are fractions, lists, or of several kinds.
    """
    for split, labels in values.items():
        if not labels:
            raise InputError(f"split '{split}' of {where} has no images: add some")
        if missing := sum(value is None or value == "" for value in labels):
            raise InputError(
                f"every image needs a label, but {missing} of {len(labels)} in split '{split}' of {where} "
                "have none: label them, or remove them"
            )
    ordered = _ordered({_whole(value, where) for labels in values.values() for value in labels}, where)
    number = {value: index for index, value in enumerate(ordered)}
    numbered = {split: [number[_whole(value, where)] for value in labels] for split, labels in values.items()}
    return numbered, tuple(plain(str(value)) for value in ordered)


def _whole(value: Any, where: str) -> Any:
    """A number without a fraction as a whole one; what can be no label is refused."""
    if isinstance(value, float):
        if not value.is_integer():
            raise _fraction(f"{value:g}", where)
        return int(value)
    if not isinstance(value, str | bool | int):
        raise InputError(
            f"labels must be texts or whole numbers, one for each image, but {where} has "
            f"{plain(str(value))[:40]} ({type(value).__name__}): choose another with --label-column NAME"
        )
    return value


def _ordered(values: Collection[Any], where: str) -> list[Any]:
    kinds = {type(value) for value in values}
    if len(kinds) > 1:
        raise InputError(f"labels must be of one kind, but {where} has texts and numbers: write all alike")
    if kinds == {str} and all(_is_number(value) for value in values):
        return sorted(values, key=lambda value: (int(value), value))
    numbers = kinds == {str} and all(_FRACTION.fullmatch(value) for value in values)
    if numbers and (fractions := sorted(value for value in values if not float(value).is_integer())):
        raise _fraction(fractions[0], where)
    return sorted(values)


def _fraction(value: str, where: str) -> InputError:
    return InputError(
        f"labels must name classes, but {where} has {value}, a number with a fraction: choose another with "
        "--label-column NAME; numbers to predict are for --task regression"
    )


def _is_number(text: str) -> bool:
    return text.isascii() and text.removeprefix("-").isdigit()


def check_spelling(names: Collection[str], where: str) -> None:
    """Refuse names of classes that differ only in capitals, spaces around them or how accents are written.

    Raises:
        InputError: naming two of them.
    """
    known: dict[str, str] = {}
    for name in sorted(names):
        other = known.setdefault(unicodedata.normalize("NFKC", name).casefold().strip(), name)
        if other != name:
            raise InputError(
                f"class names must differ by more than capitals and spaces, but {where} has "
                f"'{plain(other)}' and '{plain(name)}': give both one name, or two clearly different ones"
            )


def check_labels(
    labels: Mapping[str, Sequence[int | None]], classes: Sequence[str], where: str
) -> tuple[str, ...]:
    """The class names, after checking that labels are 0..K-1 and every split has every class.

    Args:
        labels: those of each split.
        classes: their names.
        where: the source, for messages.

    Raises:
        InputError: labels are missing, negative or too large; a class lacks images in a split; there is one
            class only; two have one name.
    """
    if len(set(classes)) < len(classes):
        twice = next(name for name in classes if list(classes).count(name) > 1)
        raise InputError(f"class names must differ, but {where} has '{plain(twice)}' twice: rename one")
    check_spelling(classes, where)
    present = {split: set(values) for split, values in labels.items()}
    for split, values in present.items():
        check_labelled(split, values, where)
        _check_range(split, values, len(classes), where)
    if len(classes) < 2:
        raise InputError(
            f"there must be at least two classes, but {where} has only '{plain(classes[0])}': add another"
        )
    for split, values in present.items():
        check_complete(split, [classes[k] for k in values if k is not None], classes, where)
    return tuple(classes)


def check_complete(split: str, present: Collection[str], classes: Sequence[str], where: str) -> None:
    """Every class needs an image in every split.

    Raises:
        InputError: naming the first class that has none.
    """
    there = set(present)
    missing = [plain(name) for name in classes if name not in there]
    if missing:
        more = f" (and {len(missing) - 1} others)" if len(missing) > 1 else ""
        whose = "" if split == "all" else f" of split '{split}'"
        raise InputError(
            f"every class needs images in every split, but class '{missing[0]}'{more}{whose} in {where} "
            f"has none: add some, or remove the class"
        )


def check_labelled(split: str, values: Collection[int | None], where: str) -> None:
    """Refuse a split without labels, and whole numbers that mark what has none."""
    if not values:
        raise InputError(f"split '{split}' of {where} has no images: add some")
    unlabelled = sorted(str(value) for value in values if value is None or value < 0)
    if unlabelled:
        raise InputError(
            f"labels must be 0..K-1, but split '{split}' of {where} has {unlabelled[0]} (-1 and None mark "
            f"unlabelled images): remove them, or the whole split if another can be the test split"
        )


def _check_range(split: str, values: set[int | None], count: int, where: str) -> None:
    largest = max(value for value in values if value is not None)
    if largest >= count:
        raise InputError(
            f"labels must be 0..{count - 1} for {count} class names, but split '{split}' of {where} has "
            f"{largest}: correct the label or add its name"
        )


def _listed(names: Collection[str]) -> str:
    return " and ".join(f"'{name}'" for name in sorted(names))
