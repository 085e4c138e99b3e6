"""What Secateur wrote, told by the files themselves, of this version and of earlier ones.

Whatever has room for a mark bears one: JSON its format, or the environment that it was made with; pages and
figures their generator; ONNX and OpenVINO a metadata key. What has none (weights, tables) is ours where it
lies beside what has. Nothing of torch is needed, so that readers of data can ask too.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from secateur.errors import InputError, UnreadableError
from secateur.records.reading import read_json, unreadable

VERSION = "0.1.0"
"""Of Secateur, at its one place: the package's metadata take it from here; mere sources have none."""

MARK = "secateur"
"""What files that others can read are marked by: a page's generator, a figure's software, a metadata key."""

FORMATS = (
    "secateur-architecture",
    "secateur-artefact",
    "secateur-device-table",
    "secateur-int8",
    "secateur-manifest",
    "secateur-measured",
    "secateur-transformers",
    "secateur-winner",
)
"""What files of ours say that they are, under "format"."""

CELLS_FILES = ("cells.json", "figure1.json", "figure2.json", "penalties.json")
"""What a paper's reproduction leaves its runs in: one file for each place that has its own."""

_TELLING = (
    *("architecture.json", "artefact.json", "manifest.json", "record.json", "results.json"),
    *(*CELLS_FILES, "plan.json"),
)
_TEMPORARY = re.compile(r"\..+\.part")
_RUN = re.compile(r"[a-z][a-z-]*-[0-9a-f]+-s\d+")
_HEAD, _TAIL = 2**14, 2**18


def is_ours(folder: Path) -> bool:
    """Whether a folder is one that Secateur left its files in: it is no data, whatever lies in it.

    Example:
        >>> is_ours(Path("secateur-compare"))  # doctest: +SKIP
        True
    """
    told = any(map(_seems_ours, (folder / name for name in _TELLING)))
    return told or any(map(is_run, _folders_in(folder / "runs")))


def _seems_ours(path: Path) -> bool:
    try:
        return wrote(path)
    except UnreadableError:
        return False


def is_run(folder: Path) -> bool:
    """Whether a folder bears a run's id: what was broken off in its first epoch holds no file yet."""
    return bool(_RUN.fullmatch(folder.name)) and folder.parent.name == "runs"


def wrote(path: Path) -> bool:
    """Whether Secateur wrote this file; False where there is none.

    Raises:
        UnreadableError: nobody can tell now, as the system refuses to read it.
    """
    if not path.is_file():
        return False
    if path.name == ".lock":
        return path.stat().st_size == 0
    if _TEMPORARY.fullmatch(path.name):
        return True
    try:
        return _BY_SUFFIX.get(path.suffix, _beside_ours)(path)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise unreadable(path, error, "look at its permissions and its disk, then try again") from None


def _folders_in(folder: Path) -> list[Path]:
    return [each for each in folder.iterdir() if each.is_dir()] if folder.is_dir() else []


def _is_our_json(path: Path) -> bool:
    try:
        content = read_json(path)
    except UnreadableError:
        raise
    except InputError:
        return False
    return isinstance(content, dict) and _says_ours(content)


def _says_ours(content: dict[str, Any]) -> bool:
    """Whether JSON has a format of ours, was made with Secateur, or is a plan of runs."""
    about = content.get("about")
    made_with = content.get("environment", about.get("environment") if isinstance(about, dict) else None)
    if content.get("format") in FORMATS or (isinstance(made_with, dict) and MARK in made_with):
        return True
    runs = content.get("runs")
    return (
        set(content) == {"schema", "runs"}
        and isinstance(runs, list)
        and all(isinstance(run, dict) and {"name", "after", "compute"} <= set(run) for run in runs)
    )


def _is_our_page(path: Path) -> bool:
    """Whether a page names us as what made it."""
    with path.open("rb") as file:
        return b'content="secateur"' in file.read(_HEAD)


def _is_our_text(path: Path) -> bool:
    """Whether a model card says that we wrote it; other texts, a paper's tables, lie beside what does."""
    if path.name != "README.md":
        return _beside_ours(path)
    with path.open("rb") as file:
        return b"<!-- written by secateur:" in file.read(_HEAD)


def _is_our_figure(path: Path) -> bool:
    """Whether a figure names us as what made it; those of older versions lie beside results."""
    with path.open("rb") as file:
        return MARK.encode() in file.read(_HEAD) or _beside_ours(path)


def _ends_with_mark(path: Path) -> bool:
    """Whether an exported network has our metadata, which its format writes last."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL))
        return MARK.encode() in file.read()


def _begins_with_mark(path: Path) -> bool:
    """Whether a network in C says on its second line that we wrote it."""
    with path.open("rb") as file:
        lines = file.read(_HEAD).split(b"\n")
    return len(lines) > 1 and lines[1].startswith(b" * " + MARK.encode())


def _has_marked_xml(path: Path) -> bool:
    return wrote(path.with_suffix(".xml"))


def _beside_architecture(path: Path) -> bool:
    """Whether weights lie where an architecture of ours says what they are, or in a run's folder."""
    return wrote(path.parent / "architecture.json") or is_run(path.parent)


def _beside_ours(path: Path) -> bool:
    """Whether a table or a figure lies in a folder of results, or in its `figures/`."""
    folders = (path.parent, path.parent.parent) if path.parent.name == "figures" else (path.parent,)
    return any(wrote(folder / name) for folder in folders for name in ("results.json", *CELLS_FILES))


_BY_SUFFIX: dict[str, Callable[[Path], bool]] = {
    ".json": _is_our_json,
    ".html": _is_our_page,
    ".md": _is_our_text,
    ".png": _is_our_figure,
    ".svg": _is_our_figure,
    ".onnx": _ends_with_mark,
    ".xml": _ends_with_mark,
    ".bin": _has_marked_xml,
    ".safetensors": _beside_architecture,
    ".c": _begins_with_mark,
    ".h": _begins_with_mark,
}
