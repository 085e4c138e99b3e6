"""What the names of files and folders say: which split they are, and whether they are anybody's data."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

_WORDS = {
    "train": ("train", "training", "trn", "trainval"),
    "val": ("val", "valid", "validation", "validate", "dev"),
    "test": ("test", "testing", "tst", "eval", "evaluation", "holdout", "heldout"),
}
_SPLIT_OF = {word: split for split, words in _WORDS.items() for word in words}

# Words that say only that there is data: `train` and `test_images` go together.
_FILLERS = frozenset(
    (
        *("set", "data", "dataset", "split", "subset", "part", "folder", "dir", "files", "of"),
        *("image", "images", "img", "imgs", "picture", "pictures", "photo", "photos", "samples"),
    )
)
_SHARD = re.compile(r"-\d+-of-\d+(-[0-9a-f]{8,})?$")
_EXTENSION = re.compile(r"\.(parquet|arrow|csv|tsv|jsonl|npz)$", re.IGNORECASE)
_MNIST_TEST = re.compile(r"(?<![a-z0-9])t10k(?![a-z0-9])", re.IGNORECASE)
_TOKEN = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_]+")

# What archivers, file servers, desktops and notebooks leave behind.
_LEFT_BEHIND = frozenset(
    (
        *("__macosx", "@eadir", "@recycle", "@recently-snapshot", "#recycle", "#snapshot", "lost+found"),
        *("$recycle.bin", "recycler", "system volume information", "lost.dir", "found.000"),
        *("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__pycache__", "network trash folder"),
        *("temporary items", "folder.jpg.tmp"),
    )
)
_PARTS = frozenset(
    (
        *("day", "night", "dawn", "dusk", "indoor", "indoors", "outdoor", "outdoors", "inside", "outside"),
        *("left", "right", "front", "back", "rear", "top", "bottom", "side", "above", "below", "near", "far"),
        *("raw", "original", "originals", "processed", "cropped", "crops", "augmented", "aug", "flipped"),
        *("image", "images", "img", "imgs", "photo", "photos", "jpg", "jpeg", "png", "frames", "more"),
        *("easy", "medium", "hard", "old", "new", "high", "low", "summer", "winter", "spring", "autumn"),
        *("part", "batch", "session", "set", "series", "sub", "misc", "other"),
    )
)
"""Names of sub-folders that say how, when or in which lot pictures were taken, not what they show."""


PICTURES = frozenset(
    (
        *("image", "images", "img", "imgs", "input", "inputs", "photo", "photos", "picture", "pictures"),
        *("jpegimages", "rgb", "original", "originals", "frames", "leftimg8bit", "raw"),
    )
)
"""Names of folders that only hold pictures, whatever these show."""


@dataclass(frozen=True)
class SplitName:
    """A name that has the word of a split in it: which, and the name's other words."""

    split: str
    rest: tuple[str, ...]


def tokens(name: str) -> list[str]:
    """The words and numbers of a name, small: at spaces, signs, digits and capitals.

    Example:
        >>> tokens("TrainingData_2024")
        ['training', 'data', '2024']
    """
    words = [token.lower() for token in _TOKEN.findall(name)]
    for index, pair in enumerate(pairwise(words)):
        if pair in (("hold", "out"), ("held", "out")):  # written in two words
            return [*words[:index], "holdout", *words[index + 2 :]]
    return words


def split_name(name: str) -> SplitName | None:
    """Read the one word of a split in a name; None where there is none, or where there are two.

    Numbers, and words that say only that there is data, are no part of the rest.

    Example:
        >>> split_name("my_train-2024"), split_name("trains"), split_name("train_station").rest
        (SplitName(split='train', rest=('my',)), None, ('station',))
    """
    name = _SHARD.sub("", _EXTENSION.sub("", name))
    if _MNIST_TEST.search(name):
        name = _MNIST_TEST.sub("test", name)
    words = tokens(name)
    found = [split for word in words if (split := _split_in(word))]
    if len(found) != 1:
        return None
    others = [word for word in words if not _split_in(word)]
    rest = tuple(word for word in others if word not in _FILLERS and not word.isdigit())
    return SplitName(found[0], rest)


def _split_in(word: str) -> str | None:
    """The split that a word is, also where a word for data is written together with it: `trainimages`."""
    if word in _SPLIT_OF:
        return _SPLIT_OF[word]
    for filler in _FILLERS:
        if word.endswith(filler) and (split := _SPLIT_OF.get(word.removesuffix(filler))):
            return split
        if word.startswith(filler) and (split := _SPLIT_OF.get(word.removeprefix(filler))):
            return split
    return None


def split_of(name: str) -> str | None:
    """ "train", "test" or "val" if that is all that a name says, else None.

    Example:
        >>> split_of("validation-00000-of-00001"), split_of("train_images"), split_of("train_station")
        ('val', 'train', None)
    """
    found = split_name(name)
    return found.split if found and not found.rest else None


@dataclass(frozen=True)
class Group:
    """Names that are each a split, and otherwise alike.

    Args:
        rest: what all have besides.
        names: split -> the names that say so.
    """

    rest: tuple[str, ...]
    names: dict[str, list[str]]

    @property
    def complete(self) -> bool:
        """There is something to train on, and something to test on."""
        return "train" in self.names and len(self.names) > 1

    @property
    def all_names(self) -> list[str]:
        """Every name of the group."""
        return [name for names in self.names.values() for name in names]


def groups_of(names: Iterable[str]) -> list[Group]:
    """The names that say a split, by what else they say; the one whose names say nothing else first."""
    groups: dict[tuple[str, ...], Group] = {}
    for name in names:
        if found := split_name(name):
            group = groups.setdefault(found.rest, Group(found.rest, {}))
            group.names.setdefault(found.split, []).append(name)
    return sorted(groups.values(), key=lambda group: group.rest)


def is_left_behind(name: str) -> bool:
    """Whether a file or folder is hidden, or was left by an archiver, a file server or a desktop."""
    return name.startswith((".", "~$")) or name.lower() in _LEFT_BEHIND


def are_parts(names: Sequence[str]) -> bool:
    """Whether folders of these names are parts of one thing rather than classes.

    Numbered alike, or all of them single letters, numbers, or words such as "day" and "night".

    Example:
        >>> are_parts(["batch1", "batch2"]), are_parts(["day", "night"]), are_parts(["cat", "dog"])
        (True, True, False)
    """
    words = [tokens(name) for name in names]
    if all(len(found) == 1 and (len(found[0]) == 1 or found[0].isdigit()) for found in words):
        return True
    if all(any(word in _PARTS for word in found) for found in words):
        return True
    return numbered_alike(names)


def numbered_alike(names: Sequence[str]) -> bool:
    """Whether names differ in their numbers only: "batch1", "batch2"; "2023", "2024".

    Example:
        >>> numbered_alike(["site-1", "site-02"]), numbered_alike(["one"])
        (True, False)
    """
    words = [tokens(name) for name in names]
    without = {tuple(word for word in found if not word.isdigit()) for found in words}
    return len(without) == 1 and all(any(word.isdigit() for word in found) for found in words)
