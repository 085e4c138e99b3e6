"""Networks of ours on the Hugging Face Hub: `hf:OWNER/NAME`, what `secateur push` put there.

Only JSON and safetensors are fetched, into the Hub's own cache: nothing of a repository is ever run.
(`--model hf:OWNER/NAME` is a network of `transformers`, which `architecture/factories.py` builds.)
"""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from secateur.architecture.file import ARCHITECTURE_FILE, ARTEFACT_FILE, TRANSFORMERS_FILE, WEIGHTS_FILE
from secateur.errors import InputError, first_line, require_packages
from secateur.process import silent
from secateur.records.out import expanded

PREFIX = "hf:"
FETCHED = (ARCHITECTURE_FILE, ARTEFACT_FILE, TRANSFORMERS_FILE, WEIGHTS_FILE)
_NAME = re.compile(r"[\w-][\w.-]{0,95}/[\w-][\w.-]{0,95}")
_REVISION = re.compile(r"[\w][\w./-]{0,200}")
_ADDRESS = re.compile(r"(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/([\w.-]+/[\w.-]+?)/?")


def library() -> Any:
    """The package `huggingface_hub`, told to send nothing of itself; InputError where it is not installed."""
    require_packages("huggingface_hub", what="the Hugging Face Hub")
    return silent("huggingface_hub")


def endpoint() -> str | None:
    """Where the Hub is, where the user's environment says another place than the library's own."""
    return os.environ.get("HF_ENDPOINT") or None


def repository(name: str) -> str:
    """OWNER/NAME of a repository; InputError where it is not written so."""
    if found := _ADDRESS.fullmatch(name):
        raise InputError(f"a repository is named OWNER/NAME, got '{name}': write {found[1]}")
    bare = name.removeprefix(PREFIX)
    parts = bare.split("/")
    if not _NAME.fullmatch(bare) or any("--" in part or ".." in part for part in parts):
        raise InputError(
            f"a repository is named OWNER/NAME, in letters, digits, '-', '_' and '.', got '{name}': write "
            "for "
            "example ann/small"
        )
    if any(part[-1] in "-." or part.endswith(".git") for part in parts):
        raise InputError(f"a repository's name ends in no '-', '.' or '.git', got '{name}': choose another")
    return bare


def revision_named(name: str) -> str:
    """A branch, a tag or a commit; InputError where it cannot be one."""
    if not _REVISION.fullmatch(name) or ".." in name or name.endswith(("/", ".lock")):
        raise InputError(f"a revision is a branch, a tag or a commit, got '{name}': write for example main")
    return name


def is_on_hub(place: str | Path) -> bool:
    """Whether a place is named as on the Hub: hf:OWNER/NAME."""
    return str(place).startswith(PREFIX)


def network_at(place: str | Path, what: str) -> Path:
    """The folder that is meant: as the user wrote it, or fetched from the Hub.

    Args:
        what: whose place it is, for messages.
    """
    return fetched(str(place)) if is_on_hub(place) else expanded(place, what)


def fetched(name: str) -> Path:
    """Fetch what is needed to load a network, and find the folder in the Hub's cache.

    Args:
        name: hf:OWNER/NAME, or hf:OWNER/NAME@REVISION.

    Raises:
        InputError: where there is no such network, or it cannot be fetched.
    """
    whole, _, revision = name.removeprefix(PREFIX).partition("@")
    bare = repository(whole)
    wanted = revision_named(revision) if revision else None
    hub = library()
    with _said_of(bare), quietly(hub):
        folder = Path(
            hub.snapshot_download(bare, revision=wanted, allow_patterns=list(FETCHED), endpoint=endpoint())
        )
    if not (folder / ARCHITECTURE_FILE).is_file():
        raise InputError(
            f"no network of Secateur in '{bare}', which has no {ARCHITECTURE_FILE}: one of transformers is "
            f"named to --model hf:{bare}"
        )
    return folder


@contextmanager
def quietly(hub: Any) -> Iterator[None]:
    """Have the library draw no bars while this holds."""
    utils = importlib.import_module(f"{hub.__name__}.utils")
    were_off = utils.are_progress_bars_disabled()
    utils.disable_progress_bars()
    try:
        yield
    finally:
        if not were_off:
            utils.enable_progress_bars()


@contextmanager
def _said_of(repo: str) -> Iterator[None]:
    """Turn what the library raises of a download into one line."""
    try:
        yield
    except Exception as error:  # its network, its HTTP and its file layers raise kinds of their own
        raise InputError(
            f"the Hugging Face Hub did not give '{repo}' ({told(error)}): check the name, the network and, "
            "of a "
            "private one, that you are logged in (hf auth login)"
        ) from error


def told(error: BaseException) -> str:
    """What the Hub or the way there says went wrong, in a line."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    message = getattr(error, "server_message", None) or ""
    said = first_line(Exception(message)) or _last_line(error) or type(error).__name__
    return f"HTTP {status}: {said}" if status else said


def _last_line(error: BaseException) -> str:
    """The line of a message that says most: the library puts the status before it, and advice behind."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if not re.match(r"\d{3} \w+ Error|\(Request ID|For more", line)]
    return (telling or lines or [""])[0][:200]
