"""Lists of images and labels beside the images: `labels.csv`, `train.csv`, `metadata.jsonl`."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from secateur.data.labels import LABEL_NAMES, choose_column
from secateur.data.names import groups_of, split_name, split_of, tokens
from secateur.data.reading import Reading
from secateur.data.rows import Rows, read_rows
from secateur.data.tree import Folder
from secateur.errors import InputError
from secateur.records.found import listed, plain

_BOXES = frozenset(["xmin", "x_min", "xmax", "x_max", "bbox", "boundingbox", "bounding_box", "encodedpixels"])
_SPLIT_COLUMNS = frozenset(["split", "set", "subset", "dataset", "partition", "phase"])
_TRIED = 200  # rows that tell whether a column names images
_DRIVE = re.compile(r"^[A-Za-z]:/")


class Images:
    """The images below a folder, found by what a list calls them."""

    def __init__(self, root: Folder):
        self.root = root

    @cached_property
    def paths(self) -> list[Path]:
        """All of them, sorted."""
        return self.root.all_images()

    @cached_property
    def _known(self) -> set[str]:
        return {str(path) for path in self.paths}

    @cached_property
    def _by_name(self) -> dict[str, list[Path]]:
        """By file name, with and without its extension."""
        found: dict[str, list[Path]] = defaultdict(list)
        for path in self.paths:
            found[path.name].append(path)
            if path.stem != path.name:
                found[path.stem].append(path)
        return found

    def find(self, value: str, rows: Rows, stems: bool = False) -> Path | None:
        """The image that a list names: relative to the list, or by a name that only one image has.

        Args:
            stems: names without an extension are names too.

        Raises:
            InputError: the list leads out of the data folder.
        """
        value = value.strip().replace("\\", "/")
        if not value:
            return None
        direct = os.path.normpath(os.path.join(rows.path.parent, value))
        if direct in self._known:
            return Path(direct)
        if value.startswith("/") or _DRIVE.match(value) or ".." in value.split("/"):
            self._check_inside(direct, value, rows)
            return None
        matching = self._ending(value, stems)
        if len(matching) > 1:
            split = split_of(rows.path.stem) or split_of(rows.path.parent.name)
            matching = [path for path in matching if split and split in map(split_of, path.parts[:-1])]
        return matching[0] if len(matching) == 1 else None

    def names_any(self, value: str, rows: Rows, stems: bool = False) -> bool:
        """Whether a text names an image, or several."""
        value = value.strip().replace("\\", "/")
        return self.find(value, rows, stems) is not None or bool(value and self._ending(value, stems))

    def _ending(self, value: str, stems: bool) -> list[Path]:
        """Images whose path ends so, with its extension, or (`stems`) without."""
        parts = value.split("/")
        found = [path for path in self._by_name.get(parts[-1], []) if stems or path.name == parts[-1]]
        return [path for path in found if list(path.parts[len(path.parts) - len(parts) : -1]) == parts[:-1]]

    def _check_inside(self, full: str, value: str, rows: Rows) -> None:
        root = os.path.realpath(self.root.path)
        if os.path.exists(full) and not os.path.realpath(full).startswith(f"{root}{os.sep}"):
            raise InputError(
                f"images must lie below the data folder {plain(root)}, but {rows.where} names "
                f"'{plain(value)}': copy it there, or pass the folder above both"
            )


def check_beneath(images: Iterable[Path], root: Path, listed_in: Path) -> None:
    """Raise InputError where a list that was passed alone names an image through a link out of its folder.

    In a folder that the user passes, links are followed, as subsets are made of them; around a single file
    lies whatever the user keeps there.
    """
    true = os.path.realpath(root)
    for path in images:
        if not os.path.realpath(path).startswith(f"{true}{os.sep}"):
            raise InputError(
                f"images must lie below the data folder {plain(true)}, but {plain(str(listed_in))} names "
                f"'{plain(path.name)}', a link to elsewhere: pass the folder if its links are yours"
            )


@dataclass
class Labelled:
    """A list that says which image is what.

    Args:
        rows: the list.
        images: of its rows; None where a row names no image.
        labels: of its rows.
        column: where the labels stand.
        named: whether that is called as labels are.
    """

    rows: Rows
    images: list[Path | None]
    labels: list[str]
    column: str
    named: bool


@dataclass
class Lists:
    """The lists below a folder that say labels, and those that do not.

    Args:
        labelled: what can be used.
        others: list -> why it cannot.
    """

    labelled: list[Labelled] = field(default_factory=list)
    others: dict[Path, str] = field(default_factory=dict)


def lists_in(root: Folder, images: Images, reading: Reading) -> Lists:
    """Read the lists of a folder and of the folders in it.

    Raises:
        InputError: a list names images and its labels are not clear, or are not there.
    """
    paths = [
        *root.lists,
        *(path for folder in root.folders for path in folder.lists if len(folder.lists) < 8),
    ]
    if len(paths) > 64:  # a list in each of many class folders is none of labels
        paths = root.lists
    found = Lists()
    unclear: list[InputError] = []
    for path in paths:
        if "submission" in tokens(path.stem):
            found.others[path] = "a form to hand in"
            continue
        try:
            labelled = _labelled(path, images, reading)
        except InputError as error:
            unclear.append(error)
            found.others[path] = str(error)
            continue
        if isinstance(labelled, str):
            found.others[path] = labelled
        else:
            found.labelled.append(labelled)
    if unclear and not found.labelled:
        raise unclear[0]
    return found


def _labelled(path: Path, images: Images, reading: Reading) -> Labelled | str:
    """A list with its labels, or why it has none."""
    rows = read_rows(path, images.find)
    if not rows.rows:
        return "it has no rows"
    naming = _image_columns(rows, images, reading)
    if not naming:
        return "no column names images"
    if boxes := [name for name in rows.columns if name.lower().replace(" ", "") in _BOXES]:
        raise InputError(
            f"labels must be one class for each image, but {rows.where} has boxes or masks "
            f"({listed(boxes)}): detection and segmentation are not read; pass loaders to secateur.compare"
        )
    image = choose_column(naming, reading.image_column, "image", rows.where, rows.shown)
    possible = [name for name in rows.columns if name and name not in (image, *naming)]
    possible = [name for name in possible if not _counts_rows(name) and not _says_splits(rows, name)]
    if reading.label_column in rows.columns:
        possible = [str(reading.label_column)]
    if not possible and reading.label_column is None:
        return "it has no labels"
    label = choose_column(possible, reading.label_column, "label", rows.where, rows.shown, LABEL_NAMES)
    stems = not any(images.names_any(value, rows) for value in rows.column(image)[:_TRIED])
    found = [images.find(value, rows, stems) for value in rows.column(image)]
    named = label.lower() in LABEL_NAMES or label == reading.label_column
    return Labelled(rows, found, [value.strip() for value in rows.column(label)], label, named)


def _image_columns(rows: Rows, images: Images, reading: Reading) -> list[str]:
    """The columns that name images; of several that name the same ones, the first.

    Where none has names of files, one with names less their extension, all different: small numbers, which
    are labels as well, would be such names too.
    """
    if reading.image_column is not None:
        return [reading.image_column] if reading.image_column in rows.columns else []
    if named := _naming(rows, images, rows.columns, stems=False):
        return named
    different = [name for name in rows.columns if len(set(rows.column(name))) == len(rows.rows)]
    return _naming(rows, images, different, stems=True)


def _naming(rows: Rows, images: Images, columns: Sequence[str], stems: bool) -> list[str]:
    found: dict[str, list[Path | None]] = {}
    for name in columns:
        tried = [images.find(value, rows, stems) for value in rows.column(name)[:_TRIED]]
        naming = sum(images.names_any(value, rows, stems) for value in rows.column(name)[:_TRIED])
        if naming * 2 >= len(tried) and tried not in found.values():
            found[name] = tried
    return list(found)


def _counts_rows(name: str) -> bool:
    return name.lower().startswith("unnamed:") or name.lower() in ("index", "id", "width", "height")


def _says_splits(rows: Rows, name: str) -> bool:
    """Whether every value of a column is the name of a split."""
    if "".join(tokens(name)) not in _SPLIT_COLUMNS:
        return False
    values = set(rows.column(name))
    return bool(values) and all(split_of(value) for value in values)


# --- splits ---------------------------------------------------------------------------------------------


def splits_of(
    found: Sequence[Labelled], root: Folder, where: str
) -> tuple[dict[str, list[tuple[Path, str]]], list[str]]:
    """Images and labels of each split, or of "all"; and what is to be said.

    A split is told by the names of several lists, by a column, or by the folders that the images lie in.

    Raises:
        InputError: rows that name no image, images with two labels, lists that cannot be told apart.
    """
    if len(found) > 1:
        return _by_list(found, where)
    (only,) = found
    pairs = _pairs(only)
    for name in only.rows.columns:
        if _says_splits(only.rows, name):
            splits = [split_of(value) for value in only.rows.column(name)]
            return _grouped(zip(splits, pairs, strict=True)), [
                f"splits are those of the column {plain(name)}"
            ]
    folders = {path.relative_to(root.path).parts[0] for path, _ in pairs if path.parent != root.path}
    groups = [group for group in groups_of(folders) if group.complete and set(group.all_names) == folders]
    if groups and all(len(names) == 1 for names in groups[0].names.values()):
        named = [split_name(path.relative_to(root.path).parts[0]) for path, _ in pairs]
        return _grouped(zip([one.split if one else None for one in named], pairs, strict=True)), []
    return {"all": _once(pairs, only.rows.where)}, []


def _by_list(found: Sequence[Labelled], where: str) -> tuple[dict[str, list[tuple[Path, str]]], list[str]]:
    """One list a split, told by its name, or by its folder's."""
    names = {str(one.rows.path): one for one in found}
    for told in (lambda path: Path(path).stem, lambda path: Path(path).parent.name):
        groups = groups_of(told(path) for path in names)
        whole = [group for group in groups if group.complete and len(group.all_names) == len(found)]
        if whole and all(len(each) == 1 for each in whole[0].names.values()):
            by_name = {told(path): one for path, one in names.items()}
            chosen = {split: by_name[each[0]] for split, each in whole[0].names.items()}
            return {split: _once(_pairs(one), one.rows.where) for split, one in chosen.items()}, []
    files = listed([Path(path).name for path in names])
    raise InputError(
        f"labels must come from one list, or from one a split, but {where} has {files}: move the others "
        "away, or call them train.csv and test.csv"
    )


def _pairs(labelled: Labelled) -> list[tuple[Path, str]]:
    """(image, label) of every row."""
    missing = [index for index, path in enumerate(labelled.images) if path is None]
    rows = labelled.rows
    if missing:
        raise InputError(
            f"every row of a list must name one image below the data folder, but {len(missing)} of "
            f"{len(rows.rows)} in {rows.where} do not (first: "
            f"{plain(', '.join(rows.rows[missing[0]]))[:80]}): add the files, or remove the rows"
        )
    return [(path, label) for path, label in zip(labelled.images, labelled.labels, strict=True) if path]


def _grouped(pairs: Iterable[tuple[str | None, tuple[Path, str]]]) -> dict[str, list[tuple[Path, str]]]:
    groups: dict[str, list[tuple[Path, str]]] = {}
    for split, pair in pairs:
        groups.setdefault(split or "all", []).append(pair)
    return {split: _once(each, "the list") for split, each in groups.items()}


def _once(pairs: Sequence[tuple[Path, str]], where: str) -> list[tuple[Path, str]]:
    """Every image once; two labels for one are refused."""
    known: dict[Path, str] = {}
    for path, label in pairs:
        if known.setdefault(path, label) != label:
            raise InputError(
                f"every image must have one label, but {where} gives {plain(path.name)} two "
                f"({plain(known[path])}, {plain(label)}): remove one; several labels for an image are for "
                "--task multilabel"
            )
    return list(known.items())
