"""`manifest.json`: which files belong together, so that a folder is one network's or is known to be torn.

    {"schema": 1, "format": "secateur-manifest",
     "files": {"architecture.json": "5f2b...", "model.safetensors": "c06a..."}}

A folder's files are replaced one by one, and a command can be killed between two of them. So the manifest
comes first, with the hashes of what is to come: from then on, until the last file is there, the folder does
not agree with it, whether it had a manifest before or not. Folders of older versions have none, and are not
checked. `record.json` and `artefact.json`, to which people add names and notes, are not named: they are
replaced after the manifest and before the weights, so while they are of another network, so are the weights;
and what is ours in them has a digest of its own (`records.seal`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from secateur.atomic import json_bytes, naming, remove, write_bytes
from secateur.errors import InputError
from secateur.records.reading import is_file_name
from secateur.records.stored import Stored, Wrong

MANIFEST_FILE = "manifest.json"
FORMAT = "secateur-manifest"
NAMED = ("architecture.json", "transformers.json", "model.safetensors")


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest(Stored):
    """The files of one network.

    Attributes:
        format: what the file says that it is.
        files: name -> SHA-256, in hex digits.
    """

    SCHEMA: ClassVar[int | None] = 1

    format: str = FORMAT
    files: Mapping[str, str]

    @classmethod
    def of(cls, files: Mapping[str, bytes]) -> Manifest:
        """Of files by their contents."""
        return cls(files={name: hashlib.sha256(files[name]).hexdigest() for name in NAMED if name in files})

    @classmethod
    def of_folder(cls, folder: Path) -> Manifest:
        """Of what a folder has."""
        return cls(files={name: digest_of(folder / name) for name in NAMED if (folder / name).is_file()})

    def check(self) -> None:
        """What types do not say."""
        if self.format != FORMAT:
            raise Wrong(f"'{FORMAT}'", self.format).inside("format")
        if not all(map(is_file_name, self.files)):
            raise Wrong("names of files", sorted(self.files)).inside("files")


def replace_files(folder: Path, files: Mapping[str, bytes | None]) -> None:
    """Write a network's files, in this order, in place of another's.

    Args:
        files: name -> content; None: it has no such file. The weights come last.
    """
    written = {name: content for name, content in files.items() if content is not None}
    write_bytes(folder / MANIFEST_FILE, json_bytes(Manifest.of(written).to_json()))
    for name, content in files.items():
        if content is None:
            remove(folder / name)
        else:
            write_bytes(folder / name, content)


def check_whole(folder: Path) -> None:
    """Raise InputError where a folder's files are not those that were written together.

    One that is missing was taken away, which is seen by whoever needs it.
    """
    path = folder / MANIFEST_FILE
    if not path.is_file():
        return
    for name, digest in Manifest.load(path).files.items():
        if (folder / name).is_file() and digest_of(folder / name) != digest:
            raise InputError(
                f"{folder}: its files must be of one network, but {name} is not the one that {MANIFEST_FILE} "
                "names: a command was killed while it replaced them, or it was changed since; run that "
                f"command again, or delete {MANIFEST_FILE} if you changed it yourself"
            )


def digest_of(path: Path) -> str:
    """SHA-256 of a file, in hex digits."""
    with naming(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
