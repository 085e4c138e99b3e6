"""The errors a user can meet, each one line: the invariant, the value received, the fix."""

from __future__ import annotations

import difflib
import errno
import os
import sys
from collections.abc import Iterable

from secateur.names import harmless
from secateur.process import silent

_MOST = 10_000
"""Characters of a message that are looked at; some have millions."""
WINDOWS = sys.platform == "win32"

EXTRAS = {
    "compare": ("scipy", "matplotlib"),
    "data": ("PIL", "pyarrow"),
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("openvino",),
    "hub": ("datasets", "huggingface_hub"),
    "heic": ("pillow_heif",),
    "hf": ("transformers",),
    "timm": ("timm", "torchvision"),
    "ray": ("ray",),
    "wandb": ("wandb",),
    "tensorboard": ("tensorboard",),
    "mlflow": ("mlflow",),
}
"""What is installed by its name in brackets, `secateur[compare]`, and the modules that it brings."""


class InputError(ValueError):
    """The user asked for something that cannot be done. The CLI prints the line and exits with code 2."""


class UnreadableError(InputError):
    """A file that the system does not let us read now. It may be whole: it is neither damaged nor absent."""


class TrainingError(RuntimeError):
    """A run had to stop (a non-finite loss, say). The CLI prints the line and exits with code 1."""


class UnfinishedError(RuntimeError):
    """The time that was given is over; all that is finished is kept. The CLI's exit code is 75."""


OUT_OF_MEMORY = (
    "there is not enough memory: take a smaller --batch-size, --image-size or network, or --accumulate"
)
_NO_MEMORY = (
    *("out of memory", "allocate memory"),
    *("could not create a primitive", "failed to map segment"),
)


def out_of_memory(error: BaseException) -> bool:
    """Whether there was not enough memory; torch, oneDNN and the dynamic linker have no class for that."""
    said = first_line(error, 2000).lower()
    return isinstance(error, MemoryError) or any(words in said for words in _NO_MEMORY)


def first_line(error: BaseException, most: int = 200) -> str:
    """What an error of somebody else's code says, on one line that commands no terminal.

    That code may fail at saying it, too, or say what no file can hold.
    """
    try:
        said = str(error)
    except (Exception, SystemExit):
        said = "its message cannot be read"
    text = said[:_MOST].strip().splitlines()
    return harmless(text[0])[:most] if text else ""


def kind_and_line(error: BaseException, most: int = 160) -> str:
    """The same with the error's type before it, shortened."""
    said = first_line(error, most)
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


_WAYS_OUT = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "make room there (`df -h`, and `df -i` for files)"),
    **dict.fromkeys(
        (errno.EROFS, errno.EACCES, errno.EPERM),
        "look at its permissions, and whether its disk may be written to",
    ),
    errno.EIO: "its disk or network fails: look at it before you go on",
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), "allow more open files (`ulimit -n`)"),
    errno.EFBIG: "allow larger files (`ulimit -f`), or choose a disk that can hold them",
    errno.ENAMETOOLONG: "choose a shorter name",
}
"""What to do about what the system refuses."""


def refused(error: OSError) -> str:
    """What the system refused to do, in one line: the file, the reason, the way out.

    Example:
        >>> refused(OSError(errno.ENOSPC, "No space left on device", "out/record.json"))
        "'out/record.json': No space left on device: make room there (`df -h`, and `df -i` for files)"
    """
    if error.errno is None:
        return f"the system refused: {first_line(error)}: check the path, the permissions and the space left"
    names = [
        os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, (str, bytes))
    ]
    which = f"{' -> '.join(map(repr, names))}: " if names else "the system refused: "
    way = _WAYS_OUT.get(error.errno, "check the path, the permissions and the space left")
    return f"{which}{os.strerror(error.errno)}: {way}"


def unknown(kind: str, received: str, valid: Iterable[str]) -> InputError:
    """An `InputError` for a name that is not one of `valid`, naming the nearest valid one.

    Example:
        >>> str(unknown("arm", "copy-cat", ["copycat", "width"]))
        "unknown arm 'copy-cat': did you mean 'copycat'? (one of: copycat, width)"
    """
    names = list(valid)
    near = difflib.get_close_matches(received.lower(), names, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return InputError(f"unknown {kind} '{received}': {hint}(one of: {', '.join(names)})")


def require(settings: object, checks: dict[str, bool], who: str = "") -> None:
    """InputError for the first invariant that does not hold, with the value of the setting it begins with.

    Args:
        checks: "epochs must be at least 1" -> whether that holds of `settings.epochs`.
        who: said before it.
    """
    for invariant, holds in checks.items():
        if not holds:
            raise InputError(f"{who}{invariant}, got {getattr(settings, invariant.split()[0])}")


def require_posix(what: str) -> None:
    """Raise InputError on Windows: our locks, workers and signals are POSIX's (docs/install.md)."""
    if WINDOWS:
        raise InputError(
            f"{what} needs Linux or another POSIX system, and this is Windows: run it in WSL 2 "
            "(sc.prune, sc.save and sc.load in your own loop are not refused)"
        )


def missing(module: str, what: str = "this", reason: str = "") -> InputError:
    """The `InputError` for a package that is not installed: which extra brings it.

    Args:
        module: by which it is imported, one of `EXTRAS`.
        what: needs it.
        reason: why it cannot be imported, where it is there.

    Example:
        >>> str(missing("scipy", "a comparison"))
        "a comparison needs the package scipy, which is not installed: pip install 'secateur[compare]'"
    """
    extra = extra_of(module)
    top = module.partition(".")[0]
    package = {"PIL": "pillow"}.get(top, top)
    why = f"cannot be imported ({reason})" if reason else "is not installed"
    return InputError(f"{what} needs the package {package}, which {why}: pip install 'secateur[{extra}]'")


def extra_of(module: str) -> str | None:
    """The extra that brings a module, by its dotted name; None where none does."""
    top = module.partition(".")[0]
    return next((extra for extra, brought in EXTRAS.items() if top in brought), None)


def require_packages(*modules: str, what: str = "this") -> None:
    """Import optional packages, before anything is done that would be lost without them.

    Raises:
        InputError: one of them is not installed, with the extra that brings it.
    """
    for module in modules:
        try:
            silent(module)
        except ModuleNotFoundError:
            raise missing(module, what) from None
        except (ImportError, RuntimeError) as error:  # broken, as a torchvision that does not fit torch
            raise missing(module, what, first_line(error)) from None


def require_extra(extra: str, what: str = "this") -> None:
    """`require_packages` of all that an extra brings."""
    require_packages(*EXTRAS[extra], what=what)
