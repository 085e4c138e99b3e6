"""Where a command may write: nothing that is not ours is overwritten, nor what the command itself reads."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from secateur.errors import InputError, first_line
from secateur.records.ours import wrote

FOLDER_FILES = (".lock", "plan.json")
"""What every folder of runs has beside `runs/`."""

_LONGEST_NAME = 255
"""Bytes: NAME_MAX of all common file systems."""
_HALF_MADE = 16
"""Bytes by which the name of what is half made of a file may be longer than the file's."""
_SUBFOLDERS = ("runs", "best", "figures", "reports")


def expanded(path: str | Path, what: str = "a path") -> Path:
    """Read a path as the user wrote it: `~` is the home folder.

    Args:
        what: whose path it is, for the message: "--out".

    Raises:
        InputError: where it is empty, has a name that is too long, or names a user whom the system does
            not know.
    """
    if isinstance(path, str) and not path.strip():
        raise InputError(f"{what} must name a file or folder, got '{path}': leave it out for the default")
    check_length(Path(path), what)
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise InputError(
            f"{what} must name a folder that exists here, got '{path}': no such user is known"
        ) from None


def check_out(
    out: Path, files: Iterable[str], *, model: str | Path | None = None, data: str | Path | None = None
) -> None:
    """Check that files can be written into a folder without a loss; nothing is written.

    Args:
        out: the folder; it need not exist.
        files: that will be written there, by their path within it.
        model: the folder or file that the network is read from, where it is one.
        data: the folder that the images are read from, where it is one.

    Raises:
        InputError: where `out` is a file or cannot be written to, lies in the data, or holds something of
            these names that Secateur did not write, or that is being read.
    """
    check_writable(out)
    if data is not None:
        check_outside_data(out, Path(data))
    names = list(files)
    wanted = [out / name for name in names]
    inner = {path.parent for path in wanted} | ({out / "runs"} if set(FOLDER_FILES) <= set(names) else set())
    for folder in sorted(each for each in inner - {out} if each.is_dir()):
        check_writable(folder)  # another user's, say
    if model is not None:
        check_not_read(wanted, Path(model))
    check_ours(wanted)
    if set(FOLDER_FILES) <= set(names):
        _check_folder(out / "runs")
        check_stays(out / "runs", out)
    for path in wanted:
        if path.with_name("record.json") in wanted:
            _check_has_copy(path)


def check_ours(paths: Iterable[Path]) -> None:
    """Raise InputError where one of these is there and is not a file that Secateur wrote."""
    for path in paths:
        check_length(path, beside=_HALF_MADE)
        if os.path.lexists(path) and not wrote(path):
            raise InputError(
                f"only what Secateur wrote is overwritten, which '{path}' is not known to be: choose another "
                "--out, or move it away"
            )
        if path.parent.name in _SUBFOLDERS:
            _check_folder(path.parent)
            check_stays(path.parent, path.parent.parent)


def check_stays(place: Path, folder: Path) -> None:
    """Raise InputError where a place in a folder of ours is a link that leads out of it.

    Whoever handed us the folder may have laid it: through it nothing is written, removed or renamed. Files
    that are links are replaced by files, and the folder that the user names may be one.
    """
    if not place.resolve().is_relative_to(folder.resolve()):
        raise InputError(
            f"what is written to '{folder}' must stay there, but '{place}' is a link to '{place.resolve()}': "
            "remove the link, or name that folder itself"
        )


def _check_folder(path: Path) -> None:
    if path.exists() and not path.is_dir():
        raise InputError(f"'{path}' must be a folder, got a file: choose another --out, or move it away")


def _check_has_copy(path: Path) -> None:
    """Raise InputError for weights that lie nowhere else: those that a run left have its record beside them.

    What `sc.save` wrote is the user's only copy: no run's network replaces it.
    """
    if path.name != "model.safetensors" or not path.exists():
        return
    of_comparison = path.parent.name == "best" and wrote(path.parent.parent / "results.json")
    if not of_comparison and not wrote(path.with_name("record.json")):
        raise InputError(
            f"a run's network replaces only another run's, and '{path}' has no record.json beside it, as "
            "sc.save leaves it: choose another --out, or move it away"
        )


def check_not_read(paths: Sequence[Path], model: Path) -> None:
    """Raise InputError where writing these would replace the network that is read; links are followed."""
    file = model / "architecture.json" if model.is_dir() else model
    taken = {each.resolve() for each in (file, file.parent / "model.safetensors") if each.exists()}
    for path in paths:
        if path.resolve() in taken:
            raise InputError(
                f"the result may not replace the network that it is made of, got '{path}' for the model "
                f"'{model}': choose another --out"
            )


def check_writable(out: Path, what: str = "--out") -> None:
    """Raise InputError unless `out` is a folder that can be written to, or can be made; nothing is left.

    Args:
        what: whose path it is, for the message.
    """
    check_length(out, what)
    nearest = next(each for each in (out, *out.absolute().parents) if os.path.lexists(each))
    if not nearest.is_dir():
        raise InputError(f"{what} must be a folder, got '{out}', where '{nearest}' is a file: choose another")
    try:
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        why = error.strerror or first_line(error)
        raise InputError(
            f"{what} must be a folder that can be written to, got '{out}' ({why}): choose another"
        ) from None


def check_length(path: Path, what: str = "--out", beside: int = 0) -> None:
    """Raise InputError where a name in a path is longer than file systems take.

    Args:
        what: whose path it is, for the message.
        beside: bytes that the last name must leave, for what is half made of a file.
    """
    last = len(path.parts) - 1
    for index, name in enumerate(path.parts):
        most = _LONGEST_NAME - (beside if index == last else 0)
        if len(os.fsencode(name)) > most:
            raise InputError(
                f"{what} must have names of at most {most} bytes, got '{name[:40]}...' with "
                f"{len(os.fsencode(name))}: choose a shorter name"
            )


def check_outside_data(out: Path, data: Path) -> None:
    """Raise InputError where what is written would be read as images, or lies where images are."""
    if not data.is_dir():
        return
    root, target = data.resolve(), out.resolve()
    if target.is_relative_to(root):
        raise InputError(
            f"--out must lie outside --data, where it would be read as images, got '{out}' in '{data}': "
            "choose another --out"
        )
    if any(root.is_relative_to(target / name) for name in _SUBFOLDERS):
        raise InputError(
            f"--data may not lie where --out is written to, got '{data}' in '{out}': choose another --out"
        )
