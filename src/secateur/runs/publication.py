"""What of a finished network's folder is published: checked files, clean records, the card."""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from secateur.architecture.file import ARCHITECTURE_FILE, ARTEFACT_FILE, TRANSFORMERS_FILE, WEIGHTS_FILE
from secateur.architecture.hub import repository
from secateur.architecture.opening import Factory
from secateur.atomic import json_bytes
from secateur.errors import InputError
from secateur.records.measured import MEASURED_FILE
from secateur.records.ours import wrote
from secateur.records.out import expanded
from secateur.records.quantized import record_path
from secateur.records.reading import read_json
from secateur.records.scrubbed import scrubbed
from secateur.records.seal import sealed_again
from secateur.runs.card import body
from secateur.runs.card_metadata import metadata
from secateur.runs.finished import Finished
from secateur.runs.made import RECORD_FILE

CARD_FILE = "README.md"
RECORDS = (ARTEFACT_FILE, TRANSFORMERS_FILE, RECORD_FILE, MEASURED_FILE)
"""JSON that is published where it is there."""

COMPANIONS = {".xml": ".bin", ".c": ".h"}
"""Of an exported file: what lies beside it and belongs to it."""

EXPORTED = (".onnx", *COMPANIONS)
_EXPORT = re.compile(r"model(\.int8)?\.(onnx|xml|bin|c|h)(\.json)?")

Content = bytes | Path


@dataclass(frozen=True)
class Publication:
    """A network, ready to be published.

    Attributes:
        repo: OWNER/NAME.
        finished: what its folder says.
        card: README.md, whole.
        files: name in the repository -> what it holds; the card is one of them.
        left: exported files in the folder that were not named, and stay here.
    """

    repo: str
    finished: Finished
    card: str
    files: Mapping[str, Content]
    left: tuple[str, ...]

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes of each file."""
        return {
            name: len(content) if isinstance(content, bytes) else content.stat().st_size
            for name, content in self.files.items()
        }

    @classmethod
    def of(
        cls,
        directory: str | Path,
        repo: str,
        *,
        include: Iterable[str | Path] = (),
        licence: str | None = None,
        factory: Factory | None = None,
        with_card: bool = True,
    ) -> Publication:
        """Gather what is published of a folder.

        Args:
            include: exported files, by their names in the folder or by path; what belongs to them comes too.
            licence: as the Hub names licences.
            factory: builds the network, where it is not of a built-in family: it is then loaded, as a check.
            with_card: whether README.md is one of the files.

        Raises:
            InputError: where there is no network, a file is damaged or of another network, or holds places of
                this machine.
        """
        named = repository(repo)
        finished = Finished.of(directory, factory)
        _check_no_links(finished.directory)
        card = f"---\n{metadata(finished, named, licence)}\n---\n\n{body(finished, named)}"
        files: dict[str, Content] = {CARD_FILE: card.encode()} if with_card else {}
        files[ARCHITECTURE_FILE] = finished.directory / ARCHITECTURE_FILE
        for name in RECORDS:
            if (finished.directory / name).is_file():
                files[name] = _without_places(finished.directory / name)
        files[WEIGHTS_FILE] = finished.directory / WEIGHTS_FILE
        for each in include:
            for path in _exported(each, finished.directory):
                files[path.name] = _without_places(path) if path.suffix == ".json" else _checked(path)
        _check_no_places(files)
        left = sorted(path.name for path in finished.directory.iterdir() if is_export(path.name))
        return cls(named, finished, card, files, tuple(name for name in left if name not in files))


def is_export(name: str) -> bool:
    """Whether a file is called as `export` calls its own."""
    return bool(_EXPORT.fullmatch(name))


def _exported(named: str | Path, folder: Path) -> Iterator[Path]:
    """The file that was named, and what belongs to it.

    Raises:
        InputError: where it is not there, or `export` did not write it.
    """
    path = expanded(named, "--include")
    path = folder / path if not path.is_absolute() and (folder / path).is_file() else path
    if path.suffix not in EXPORTED:
        raise InputError(
            f"--include names what export wrote ({', '.join(EXPORTED)}), got '{named}': architecture, "
            "weights and "
            "records are pushed anyway"
        )
    if not path.is_file():
        raise InputError(f"--include names a file in '{folder}', and there is no '{named}': export it first")
    if not wrote(path):
        raise InputError(f"--include takes what secateur export wrote, which '{named}' is not known to be")
    yield path
    companion = path.with_suffix(COMPANIONS.get(path.suffix, path.suffix))
    if companion != path:
        if not companion.is_file():
            raise InputError(f"'{path.name}' belongs together with '{companion.name}', which is not there")
        yield companion
    if record_path(path).is_file():
        yield record_path(path)


def _without_places(path: Path) -> Content:
    """A record as it is, or, where it names places on this machine, without them."""
    content = read_json(path, "run the command that left it again")
    clean = scrubbed(content)
    return path if clean == content else json_bytes(sealed_again(clean, content))


def _check_no_links(folder: Path) -> None:
    """Raise InputError where a file is a link that leads out of its folder: nobody meant to publish that."""
    for path in (folder / name for name in (ARCHITECTURE_FILE, *RECORDS, WEIGHTS_FILE)):
        if not path.resolve().is_relative_to(folder.resolve()):
            raise InputError(
                f"what is published lies in its folder, and '{path}' is a link to '{path.resolve()}': copy "
                "the file there"
            )


def _checked(path: Path) -> Path:
    if path.stat().st_size == 0:
        raise InputError(f"'{path}' is empty: export it again")
    return path


def _check_no_places(files: Mapping[str, Content]) -> None:
    """Raise InputError where a file names the user's home folder."""
    home = str(Path.home())
    if len(home) < 2:
        return
    for name, content in files.items():
        if _holds(content, f"{home}/".encode()):
            raise InputError(
                f"nothing is published that names a place on this machine, and '{name}' has '{home}/' in it: "
                "leave it out, or make it again elsewhere"
            )


def _holds(content: Content, part: bytes) -> bool:
    """Whether bytes are among a file's, which may be larger than memory."""
    if isinstance(content, bytes):
        return part in content
    with content.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        return mapped.find(part) >= 0
