"""A finished network on the Hugging Face Hub: one commit of its files and its card, or none.

Nothing else of this library sends anything anywhere, and this only when it is called.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from secateur.architecture.file import ARCHITECTURE_FILE, TRANSFORMERS_FILE, WEIGHTS_FILE
from secateur.architecture.hub import endpoint, library, quietly, revision_named, told
from secateur.architecture.opening import Factory
from secateur.errors import InputError
from secateur.records.ours import VERSION
from secateur.runs.publication import CARD_FILE, RECORDS, Publication, is_export

MAIN = "main"
_OURS = (ARCHITECTURE_FILE, TRANSFORMERS_FILE, WEIGHTS_FILE, *RECORDS)
_NEUTRAL = (CARD_FILE, ".gitattributes", ".gitignore")
"""What a repository may hold that is as good as empty, besides a licence."""


@dataclass(frozen=True)
class Pushed:
    """What was published.

    Attributes:
        repo: OWNER/NAME.
        url: of the repository, or of the branch.
        commit: its id.
        created: whether the repository was made for it.
        files: name -> bytes.
        removed: files of an earlier push that this network does not have.
        left: exported files in the folder that were not named.
        card: README.md.
        remarks: what the Hub said of the card.
    """

    repo: str
    url: str
    commit: str
    created: bool
    files: dict[str, int]
    removed: tuple[str, ...]
    left: tuple[str, ...]
    card: str
    remarks: tuple[str, ...]


def push(
    directory: str | Path,
    repo: str,
    *,
    private: bool = False,
    revision: str | None = None,
    message: str | None = None,
    license: str | None = None,
    include: Iterable[str | Path] = (),
    card: bool = True,
    into_other: bool = False,
    factory: Factory | None = None,
    token: str | None = None,
) -> Pushed:
    """Publish a finished network on the Hugging Face Hub, with a model card: `sc.push`.

    Args:
        directory: that `train`, `prune`, `compare` (its `best/`) or `sc.save` left.
        repo: OWNER/NAME; it is made where it is not there.
        private: only who is let in sees it. Where the repository is there and public, nothing is pushed.
        revision: the branch; None: main. It is made where it is not there.
        message: of the commit.
        license: as the Hub names licences, "apache-2.0"; None: the card says none.
        include: exported files of this network, "model.onnx".
        card: whether README.md is written; False keeps what is there.
        into_other: whether a repository that holds something else is written to as well.
        factory: builds the network, where it is not of a built-in family.
        token: of the Hub; None: that of `hf auth login`, or $HF_TOKEN.

    Returns:
        Where it lies, and what was sent.

    Raises:
        InputError: before anything is sent, where the folder holds no whole network, or the name is none; and
            where the Hub refuses. What was sent is seen in one commit, whole, or not at all.

    Example:
        >>> sc.push("small/", "ann/small", private=True).url  # doctest: +SKIP
        'https://huggingface.co/ann/small'
    """
    branch = MAIN if revision is None else revision_named(revision)
    publication = Publication.of(
        directory, repo, include=include, licence=license, factory=factory, with_card=card
    )
    hub = library()
    token = token or hub.get_token()
    if not token:
        raise InputError(
            "no token of the Hugging Face Hub is known here: log in once with `hf auth login`, or set "
            "HF_TOKEN"
        )
    api = hub.HfApi(endpoint(), token, library_name="secateur", library_version=VERSION)
    name = publication.repo
    with _said_of(name), quietly(hub):
        created = _made(api, hub, name, private)
        there = [] if created else _files_in(api, hub, name, branch)
    _check_other(name, there, into_other)
    removed = [file for file in there if (file in _OURS or is_export(file)) and file not in publication.files]
    operations = [
        *(hub.CommitOperationAdd(file, content) for file, content in publication.files.items()),
        *(hub.CommitOperationDelete(file) for file in removed),
    ]
    with _said_of(name, created), quietly(hub), warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        if branch != MAIN:
            api.create_branch(name, branch=branch, exist_ok=True)
        commit = api.create_commit(
            name,
            operations,
            commit_message=message or f"Network of secateur {VERSION}",
            revision=branch,
        )
    return Pushed(
        name,
        f"{api.endpoint}/{name}" + ("" if branch == MAIN else f"/tree/{branch}"),
        str(commit.oid),
        created,
        publication.sizes,
        tuple(removed),
        publication.left,
        publication.card,
        _remarks(warned),
    )


def _remarks(warned: Iterable[warnings.WarningMessage]) -> tuple[str, ...]:
    """What the Hub said of the card, not what the library's own parts say of each other."""
    said = (" ".join(str(each.message).split()) for each in warned)
    return tuple(text for text in said if CARD_FILE in text)


def _made(api: Any, hub: Any, name: str, private: bool) -> bool:
    """Make the repository; False where it was there.

    Raises:
        InputError: where it is to be private, and is there for all to see.
    """
    try:
        api.create_repo(name, private=private or None)
        return True
    except hub.utils.HfHubHTTPError as error:
        status = error.response.status_code
        if status not in (401, 402, 403, 409):
            raise
        if status != 409 or private:  # no right to make one may still be a right to write to one
            found = _info(api, hub, name)
            if found is None:
                raise
            if private and not found.private:
                raise InputError(
                    f"--private was asked for, and '{name}' is there already, for all to see: make it "
                    "private in "
                    "its settings, choose another name, or leave --private out"
                ) from None
        return False


def _info(api: Any, hub: Any, name: str) -> Any:
    """What is known of a repository; None where it cannot be seen."""
    try:
        return api.repo_info(name)
    except hub.utils.HfHubHTTPError:
        return None


def _files_in(api: Any, hub: Any, name: str, branch: str) -> list[str]:
    """The files of a branch; none where it is not there yet."""
    try:
        return sorted(api.list_repo_files(name, revision=branch))
    except hub.utils.HfHubHTTPError as error:
        if error.response.status_code == 404:
            return []
        raise


def _check_other(name: str, there: list[str], into_other: bool) -> None:
    """Raise InputError where a repository is somebody's other work."""
    others = [file for file in there if file not in _NEUTRAL and not file.upper().startswith("LICENSE")]
    if others and ARCHITECTURE_FILE not in there and not into_other:
        raise InputError(
            f"'{name}' holds something else ({', '.join(others[:3])}{', ...' if len(others) > 3 else ''}): "
            "choose "
            "another name, or say --into-other to add this network to it"
        )


@contextmanager
def _said_of(name: str, created: bool = False) -> Iterator[None]:
    """Turn what the library raises of the Hub, or of the way to it, into one line."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # its network, its HTTP and its file layers raise kinds of their own
        status = getattr(getattr(error, "response", None), "status_code", None)
        owner = name.partition("/")[0]
        fix = {
            401: "the token is not accepted: log in again with `hf auth login`, or set another HF_TOKEN",
            403: f"the token may not write for '{owner}': make one at huggingface.co/settings/tokens",
        }.get(status or 0, "nothing was published; the same command tries again")
        empty = f"; '{name}' was made, and is empty" if created else ""
        raise InputError(
            f"the Hugging Face Hub did not take '{name}' ({told(error)}): {fix}{empty}"
        ) from error
