"""Folders made for other tasks, detection and segmentation: recognised and refused, not read as classes."""

from __future__ import annotations

import re
from pathlib import Path

from secateur.data.names import PICTURES, tokens
from secateur.data.tree import Folder
from secateur.errors import InputError
from secateur.records.found import plain

_MASKS = frozenset(
    (
        *("mask", "masks", "segmentation", "segmentations", "segmentationclass", "segmentationobject", "seg"),
        *("groundtruth", "ground_truth", "ground-truth", "gt", "gtfine", "trimap", "trimaps", "annotation"),
        *("annotations", "label", "labels", "target", "targets", "labelids"),
    )
)
_SURELY_MASKS = _MASKS - {"annotation", "annotations", "label", "labels", "target", "targets"}
MASKS = "masks beside their images"
_MASK_ENDINGS = ("_mask", "-mask", "_seg", "_segmentation", "_gt", "_groundtruth")


def refuse_other_tasks(root: Folder) -> None:
    """Raise InputError where folders are those of detection or of segmentation."""
    for folder in root.walk():
        names = {each.name.lower(): each for each in folder.folders}
        if "images" in names and "labels" in names and not names["labels"].count:
            raise _refused(folder, "YOLO: images/ and labels/", "detection")
        if "jpegimages" in names and "annotations" in names and not names["annotations"].count:
            raise _refused(folder, "Pascal VOC: JPEGImages/ and Annotations/", "detection")
        if coco := _coco_file(folder):
            raise _refused(folder, f"COCO: {plain(coco.name)}", "detection")
        if boxes := _boxes_beside(folder):
            raise _refused(folder, boxes, "detection")
        if pair := _pictures_and_masks(folder):
            raise _refused(folder, f"{plain(pair[0])} beside {plain(pair[1])}", "segmentation")


def _pictures_and_masks(folder: Folder) -> tuple[str, str] | None:
    """The names of a folder of pictures and one of masks: `images` and `masks`, `train` and `train_masks`."""
    for masks in folder.filled:
        words = _words(masks.name)
        if not words & _MASKS:
            continue
        rest = words - _MASKS - PICTURES
        for pictures in folder.filled:
            found = _words(pictures.name)
            if pictures is masks or found & _MASKS or found - PICTURES != rest:
                continue
            if found & PICTURES or (words & _SURELY_MASKS and _same_files(pictures, masks)):
                return pictures.name, masks.name
    return None


def _words(name: str) -> set[str]:
    """The words of a name; numbers are none."""
    whole = {name.lower()} & (_MASKS | PICTURES)  # some are written in two words
    return whole or {word for word in tokens(name) if not word.isdigit()}


def _same_files(pictures: Folder, masks: Folder) -> bool:
    """Whether most masks are called as a picture, perhaps with an ending for masks."""
    stems = {path.stem for path in pictures.all_images()}
    called = [path.stem for path in masks.all_images()]
    return sum(stem in stems or _is_mask(stem, stems) for stem in called) * 2 > len(called)


def _refused(folder: Folder, evidence: str, task: str) -> InputError:
    return InputError(
        f"images must have one class each, but {plain(str(folder.path))} looks like a data set for {task} "
        f"({evidence}): pass loaders to secateur.compare for that; if its folders are classes, say "
        f"--classes-in DIR"
    )


def _coco_file(folder: Folder) -> Path | None:
    for path, reason in folder.others:
        name = path.name.lower()
        if reason == ".json" and (
            name.startswith("instances_") or "coco" in name or name == "via_region_data.json"
        ):
            return path
    return None


def _boxes_beside(folder: Folder) -> str | None:
    """Images that each have a file of the same name with boxes: `.xml` (VOC) or `.txt` (YOLO)."""
    if len(folder.images) < 2:
        return None
    stems = {path.stem for path in folder.images}
    for extension in (".xml", ".txt"):
        same = [path for path, reason in folder.others if reason == extension and path.stem in stems]
        if len(same) * 2 > len(stems) and any(_has_boxes(path) for path in same[:5]):
            return f"{len(same)} {extension} files called as images"
    return None


def _has_boxes(path: Path) -> bool:
    """Whether a file's beginning is that of annotations: XML of VOC, or a class number and four of a box."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            head = file.read(4096)
    except OSError:
        return False
    if path.suffix.lower() == ".xml":
        return "<annotation" in head
    words = head.splitlines()[0].split() if head.strip() else []
    return len(words) >= 5 and all(re.fullmatch(r"-?\d+(\.\d*)?(e-?\d+)?", word) for word in words)


def set_masks_aside(root: Folder) -> None:
    """Take what is called as an image and `_mask` out of the images, and count it among the others."""
    for folder in root.walk():
        stems = {path.stem for path in folder.images}
        masks = [path for path in folder.images if _is_mask(path.stem, stems)]
        if masks:
            folder.images = [path for path in folder.images if path not in set(masks)]
            folder.others += [(path, MASKS) for path in masks]


def _is_mask(stem: str, stems: set[str]) -> bool:
    """Whether it is called as another with an ending for masks; several masks of one image are numbered."""
    name = stem.rstrip("0123456789").rstrip("_- ") if stem[-1:].isdigit() else stem
    return any(name.lower().endswith(end) and name[: -len(end)] in stems for end in _MASK_ENDINGS)
