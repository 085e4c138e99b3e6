"""Data sets of the Hugging Face Hub: fetched by the `datasets` library, or saved by it to a folder."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from secateur.data.labels import assign, said_of
from secateur.data.listing import Listing
from secateur.data.names import split_of
from secateur.data.reading import Reading
from secateur.data.tables import from_dataset_dict
from secateur.data.tree import Folder
from secateur.errors import InputError, first_line
from secateur.process import silent
from secateur.records.found import plain
from secateur.records.reading import read_json

HUB = {"cifar10": "uoft-cs/cifar10", "tiny-imagenet": "zh-plus/tiny-imagenet"}
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
DICT_FILE, STATE_FILE = "dataset_dict.json", "state.json"


def hub_repository(name: str) -> str:
    """The repository that `hf:owner/name` names."""
    repository = name.removeprefix("hf:")
    if not _HUB_NAME.fullmatch(repository):
        raise InputError(f"a data set of the Hub is written hf:owner/name, not '{plain(name)}'")
    return repository


def fetch(repository: str, name: str, here: str = "") -> tuple[Mapping[str, Any], tuple[Path, ...]]:
    """The splits of a data set of the Hub, and the files that hold them.

    Args:
        repository: owner/name.
        name: what the user called it.
        here: a folder of this name in the working folder, if there is one: it may have been meant.

    Raises:
        InputError: the library is missing, or it cannot fetch the data set.
    """
    try:
        datasets = silent("datasets")
    except ImportError as error:
        raise InputError(
            f"'{name}' comes from the Hugging Face Hub: run `pip install 'secateur[hub]'`, or "
            f"{_instead(name, here)}"
        ) from error
    try:
        found = datasets.load_dataset(repository, trust_remote_code=False)  # 3.x asks on a terminal
    except Exception as error:  # the library passes on what its network, file and script layers raise
        reason = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise InputError(
            f"the Hugging Face Hub did not give '{repository}' ({reason}): check name and network, or "
            f"{_instead(name, here)}"
        ) from error
    files = {Path(file["filename"]) for part in found.values() for file in part.cache_files}
    return found, tuple(sorted(files))


def read_fetched(found: Mapping[str, Any], repository: str, reading: Reading) -> Listing:
    """List what was fetched; a path that it names is followed into what the library keeps alone."""
    return from_dataset_dict(found, repository, reading, tuple(_kept_in()))


def _kept_in() -> Iterator[Path]:
    """Where the library keeps what it fetches."""
    constants = silent("huggingface_hub.constants")
    for name in ("HF_DATASETS_CACHE", "DOWNLOADED_DATASETS_PATH", "EXTRACTED_DATASETS_PATH"):
        yield Path(getattr(silent("datasets").config, name))
    yield Path(constants.HF_HUB_CACHE)


def _instead(name: str, here: str) -> str:
    folder = f"pass {here} for the folder of this name, or " if here else ""
    if name in HUB:
        within = f"a folder that has the folder '{name}' with its parquet or image files"
        return f"{folder}set SECATEUR_DATA to {within}"
    return f"{folder}pass a folder with its parquet files"


def is_saved(root: Folder) -> bool:
    """Whether `save_to_disk` of the `datasets` library wrote a folder."""
    names = {path.name for path, _ in root.others}
    return DICT_FILE in names or (STATE_FILE in names and bool(root.tables))


def saved_tables(root: Folder) -> tuple[dict[str, list[Path]], tuple[str, ...], dict[str, int]]:
    """The arrow files of each split, or of "all"; what is to be said; what was left out.

    Raises:
        InputError: a missing split, or files that are not there.
    """
    if DICT_FILE not in {path.name for path, _ in root.others}:
        return {"all": _data_files(root)}, (), {}
    found: dict[str, Folder] = {}
    others: dict[str, int] = {}
    for folder in root.folders:
        split = split_of(folder.name)
        if split is None:
            others[f"split {plain(folder.name)}"] = 1
        elif split in found:
            raise InputError(
                f"one folder per split, but {plain(str(found[split].path))} and {plain(str(folder.path))} "
                f"are both '{split}': move one away"
            )
        else:
            found[split] = folder
    if not found:
        raise InputError(f"missing split: {plain(str(root.path))} has no 'train': save one")
    chosen = assign(found, plain(str(root.path)))
    return {split: _data_files(folder) for split, folder in chosen.items()}, said_of(found), others


def _data_files(folder: Folder) -> list[Path]:
    """The files that `state.json` names, in its order; nothing outside the folder."""
    state = folder.path / STATE_FILE
    there = {path.name: path for path in folder.tables}
    try:
        content = read_json(state)
        listed = [str(file["filename"]) for file in content.get("_data_files") or []]
    except (InputError, TypeError, KeyError, AttributeError) as error:
        raise InputError(
            f"{plain(str(state))} must name the data's files, but cannot be read "
            f"({first_line(error) or type(error).__name__}): save the data set again"
        ) from error
    missing = [name for name in listed if name not in there]
    if missing:
        raise InputError(
            f"{plain(str(folder.path))} must have '{plain(str(missing[0]))}', but has not: save it again"
        )
    files = [there[name] for name in listed] or sorted(there.values())
    if not files:
        raise InputError(f"no .arrow files in {plain(str(folder.path))}: save the data set again")
    return files
