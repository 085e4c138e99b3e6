"""Which folders are splits, which are classes: decided by what lies in them, refused where it may be both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from secateur.data.class_folders import ByClass, by_prefix, check_classes, images_by_class, shown
from secateur.data.names import PICTURES, Group, are_parts, groups_of, numbered_alike, split_name
from secateur.data.tree import Folder
from secateur.errors import InputError
from secateur.records.found import listed, plain

LOOSE = "images beside the class folders"
BESIDE = "images in folders beside the splits"


@dataclass
class Layout:
    """Images by split and class.

    Args:
        splits: "train", "test" and perhaps "val", or "all" -> class -> images.
        where: split -> the folder, for messages.
        left_out: images that are in none of them, by reason.
        remarks: what was decided and might not have been meant.
    """

    splits: dict[str, ByClass]
    where: dict[str, str]
    left_out: Counter[str] = field(default_factory=Counter)
    remarks: list[str] = field(default_factory=list)


def through_wrappers(folder: Folder) -> Folder:
    """The folder that a chain of wrappers leads to: each holds one folder, and no images of its own.

    A folder that is called as a split is no wrapper, nor is one beside another that might be a class.
    """
    while not folder.images and not folder.tables and not folder.lists:
        inner = [each for each in folder.folders if not each.documents]
        if len(inner) != 1 or not (inner[0].filled or inner[0].lists or inner[0].tables):
            return folder
        found = split_name(inner[0].name)
        if found and not found.rest:
            return folder
        folder = inner[0]
    return folder


def lay_out(root: Folder) -> Layout:
    """Decide which folders are splits and which are classes.

    Raises:
        InputError: it is ambiguous, with both readings and the option that decides; or there are no classes.
    """
    candidates = [folder for folder in root.folders if not folder.documents]
    groups = groups_of(folder.name for folder in candidates)
    complete = [group for group in groups if group.complete]
    if len(complete) > 1:
        both = " or ".join(f"'{plain(group.names['train'][0])}'" for group in complete)
        raise InputError(
            f"{shown(root)} must have one training split, but that may be {both}: say which with "
            f"--splits train=DIR,test=DIR"
        )
    if complete:
        return _as_splits(root, complete[0], candidates)
    if named := _alone(root, groups, candidates):
        raise named
    return _as_classes(root)


def lay_out_as_told(root: Folder, splits: Mapping[str, str] | None, classes_in: str | None) -> Layout:
    """The layout that the user says it is."""
    if splits:
        return _of_splits({split: folder_at(root, name, "splits") for split, name in splits.items()})
    assert classes_in is not None
    if classes_in == "*":
        return _pooled(root)
    folder = folder_at(root, classes_in, "classes_in")
    layout = Layout({"all": images_by_class(folder)}, {"all": shown(folder)})
    _count_loose(layout, folder)
    return layout


def folder_at(root: Folder, name: str, option: str) -> Folder:
    """The folder of this name, below the data folder.

    Raises:
        InputError: there is none.
    """
    folder = root
    for part in Path(name).parts:
        inner = {each.name: each for each in folder.folders}
        if part not in inner:
            raise InputError(
                f"--{option.replace('_', '-')} names folders below {shown(root)}, but '{plain(name)}' is "
                f"not there: it has {listed(sorted(inner)) or 'no folders'}"
            )
        folder = inner[part]
    return folder


# --- splits ---------------------------------------------------------------------------------------------


def _as_splits(root: Folder, group: Group, candidates: Sequence[Folder]) -> Layout:
    """The folders of a group as splits."""
    by_name = {folder.name: folder for folder in candidates}
    members = [by_name[name] for name in group.all_names]
    others = [folder for folder in candidates if folder.name not in group.all_names and folder.count]
    nested = [folder for folder in members if through_wrappers(folder).filled]
    if not nested:
        raise _flat_splits(root, group, others)
    _check_alike(root, group, nested, others)
    layout = _of_splits(_one_each(root, group, by_name))
    if left := sum(folder.count for folder in others):
        layout.left_out[f"{BESIDE} ({listed([folder.name for folder in others])})"] = left
    if loose := len(root.images):
        layout.left_out["images beside the splits"] = loose
    return layout


def _flat_splits(root: Folder, group: Group, others: Sequence[Folder]) -> InputError:
    """What is wrong with folders that are called as splits and hold images directly, as classes do."""
    names = listed(group.all_names)
    images = [
        path for folder in root.folders if folder.name in group.names["train"] for path in folder.images
    ]
    if others:
        return InputError(
            f"folders must be splits or classes, but {names} of {shown(root)} are called as splits and hold "
            f"images as {listed([folder.name for folder in others])} beside them: --classes-in . takes all "
            "as classes, --splits train=DIR,test=DIR names splits, which then need class folders"
        )
    return InputError(
        f"no class folders in {names} of {shown(root)}: sort the images into "
        f"{plain(group.names['train'][0])}/CLASS/, or put a labels.csv with the columns file,label beside "
        f"them; --classes-in . takes {names} as classes{by_prefix(images)}"
    )


def _check_alike(root: Folder, group: Group, nested: Sequence[Folder], others: Sequence[Folder]) -> None:
    """Refuse splits among folders that hold the same as they do."""
    inside = set.intersection(*({each.name for each in through_wrappers(one).filled} for one in nested))
    same = [other.name for other in others if inside and inside <= {each.name for each in other.filled}]
    if same:
        raise InputError(
            f"folders must be splits or classes, but {listed(group.all_names)} of {shown(root)} are "
            f"called as splits and hold the same folders ({listed(sorted(inside))}) as {listed(same)}: "
            "--classes-in . takes all as classes, --splits train=DIR,test=DIR takes splits and leaves the "
            "others out"
        )


def _one_each(root: Folder, group: Group, by_name: Mapping[str, Folder]) -> dict[str, Folder]:
    """The folder of each split."""
    for split, names in group.names.items():
        if len(names) > 1:
            raise InputError(
                f"one folder per split, but {' and '.join(plain(str(root.path / name)) for name in names)} "
                f"are both '{split}': merge them, or choose with --splits train=DIR,val=DIR,test=DIR"
            )
    return {split: by_name[names[0]] for split, names in group.names.items()}


def _of_splits(folders: Mapping[str, Folder]) -> Layout:
    """A layout of these splits, through each one's wrappers."""
    inner = {split: through_wrappers(folder) for split, folder in folders.items()}
    for split, folder in inner.items():
        if folder.flat or _only_pictures(folder):
            raise InputError(
                f"no class folders in {shown(folder)}, which is the split '{split}' and holds "
                f"{folder.count} images: sort them into {shown(folder)}/CLASS/, or move it away (with "
                f"--splits another can be named, and without a test split 20% are held out of what "
                f"--data {shown(inner['train'])} has)"
            )
    layout = Layout(
        {split: images_by_class(folder) for split, folder in inner.items()},
        {split: shown(folder) for split, folder in inner.items()},
    )
    for folder in inner.values():
        _count_loose(layout, folder)
    return layout


def _only_pictures(folder: Folder) -> bool:
    """Whether all images lie in one folder that is called `images`."""
    inner = folder.filled
    return not folder.images and len(inner) == 1 and inner[0].flat and inner[0].name.lower() in PICTURES


def _alone(root: Folder, groups: Sequence[Group], candidates: Sequence[Folder]) -> InputError | None:
    """What is wrong with folders that are called as splits, where one of them is missing; None: nothing."""
    whole = [group for group in groups if not group.rest]
    by_name = {folder.name: folder for folder in candidates}
    nested = [
        name
        for group in whole
        for name in group.all_names
        if through_wrappers(by_name[name]).filled or len(candidates) == 1
    ]
    if not nested:
        return None
    others = [folder for folder in candidates if folder.name not in nested and folder.count]
    has = " and ".join(f"'{split}'" for split in sorted(whole[0].names))
    if not others and "train" in whole[0].names:
        return InputError(
            f"missing split: {shown(root)} has 'train' but neither 'test' nor 'valid': add one, or pass "
            f"--data {plain(str(root.path / nested[0]))} to have a test split of 20% held out"
        )
    if not others:
        return InputError(
            f"missing split: {shown(root)} has {has} but no 'train': add one, or name it with "
            f"--splits train=DIR,test=DIR"
        )
    inside = {each.name for name in nested for each in by_name[name].filled}
    if len(others) > 1 and all(inside == {each.name for each in other.filled} for other in others):
        return None  # all are alike: classes, or parts
    return InputError(
        f"folders must be splits or classes, but '{plain(nested[0])}' of {shown(root)} is called as a "
        f"split, and beside it is {listed([folder.name for folder in others])}: name the splits with "
        f"--splits train=DIR,test=DIR, or take all as classes with --classes-in ."
    )


# --- classes --------------------------------------------------------------------------------------------


def _as_classes(root: Folder) -> Layout:
    """Every folder a class, or every folder's folders, where they are the splits."""
    if layout := _splits_within(root):
        return layout
    layout = Layout({"all": images_by_class(root)}, {"all": shown(root)})
    if called := [name for name in layout.splits["all"] if (found := split_name(name)) and not found.rest]:
        layout.remarks.append(
            f"{listed(called)} {'are read as classes' if len(called) > 1 else 'is read as a class'}"
        )
    shared = _shared(root)
    if shared and are_parts(sorted(shared)) and not numbered_alike([each.name for each in root.filled]):
        layout.remarks.append(f"{listed(sorted(shared))} in every class are read as parts of it")
    elif shared:
        raise InputError(
            f"folders must be classes or parts of the data, but all of {shown(root)} "
            f"({listed([each.name for each in root.filled])}) have the same folders "
            f"({listed(sorted(shared))}): take those inside as classes with --classes-in '*', or those "
            "outside with --classes-in ."
        )
    _count_loose(layout, root)
    return layout


def _shared(root: Folder) -> set[str]:
    """The names of folders that all folders have, where they have the same ones, and no other images."""
    if len(root.filled) < 2 or any(folder.images for folder in root.filled):
        return set()
    inside = [{each.name for each in folder.filled} for folder in root.filled]
    common = set.intersection(*inside)
    most = max(len(names) for names in inside)
    return common if len(common) > 1 and len(common) * 2 >= most else set()


def _pooled(root: Folder) -> Layout:
    """The folders' folders as classes, those of the same name together."""
    by_class: ByClass = {}
    for folder in root.filled:
        for each in folder.filled:
            by_class.setdefault(each.name, []).extend(each.all_images())
    check_classes(by_class, root)
    layout = Layout({"all": {name: sorted(paths) for name, paths in by_class.items()}}, {"all": shown(root)})
    for folder in [root, *root.filled]:
        _count_loose(layout, folder)
    return layout


def _splits_within(root: Folder) -> Layout | None:
    """CLASS/train and CLASS/test: None where the folders are not so."""
    if len(root.filled) < 2 or any(folder.images for folder in root.filled):
        return None
    groups = [groups_of(each.name for each in folder.filled) for folder in root.filled]
    if not all(len(found) == 1 and found[0].complete for found in groups):
        return None
    splits: dict[str, ByClass] = {}
    for folder, (group,) in zip(root.filled, groups, strict=True):
        if len(group.all_names) != len(folder.filled) or any(len(each) > 1 for each in group.names.values()):
            return None
        inner = {each.name: each for each in folder.filled}
        for split, (name,) in group.names.items():
            splits.setdefault(split, {})[folder.name] = inner[name].all_images()
    layout = Layout(splits, {split: f"{shown(root)}/*/{split}" for split in splits})
    layout.remarks.append("every class has its own split folders")
    _count_loose(layout, root)
    return layout


def _count_loose(layout: Layout, folder: Folder) -> None:
    if folder.images:
        layout.left_out[LOOSE] += len(folder.images)
