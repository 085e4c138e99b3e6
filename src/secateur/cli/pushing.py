"""The command that publishes a finished network: `push`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from secateur.cli.answer import Answer
from secateur.cli.generated import words
from secateur.cli.shared import factory_named, path_argument, path_option
from secateur.cli.terminal import Table, say
from secateur.errors import InputError

if TYPE_CHECKING:
    from secateur.runs.publication import Publication
    from secateur.runs.push import Pushed


def push(
    directory: Annotated[
        Path, path_argument("Folder that train, prune, compare (its best/) or sc.save left.")
    ],
    repo: Annotated[
        str, typer.Argument(metavar="OWNER/NAME", help="Repository on the Hugging Face Hub; made if need be.")
    ],
    private: Annotated[
        bool, typer.Option("--private", help="A private repository; one that is there and public is refused.")
    ] = False,
    revision: Annotated[
        str | None,
        typer.Option("--revision", "--branch", help="The branch; by default main. Made if need be."),
    ] = None,
    message: Annotated[str | None, typer.Option(help="Of the commit.")] = None,
    license_name: Annotated[
        str | None,
        typer.Option("--license", help="For the card, as the Hub names it: apache-2.0, mit, other."),
    ] = None,
    include: Annotated[
        list[str] | None,
        typer.Option(help="Exported files to push too: model.onnx. Several with commas or repeated."),
    ] = None,
    no_card: Annotated[
        bool, typer.Option("--no-card", help="Leave README.md as it is there; by default it is written anew.")
    ] = False,
    into_other: Annotated[
        bool, typer.Option("--into-other", help="Also into a repository that holds something else.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Send nothing: print the card, and what would be pushed.")
    ] = False,
    out: Annotated[Path | None, path_option("With --dry-run: file or folder to write README.md to.")] = None,
    factory: Annotated[
        str | None,
        typer.Option(help="What builds the network, where it is not built in: it is then checked."),
    ] = None,
) -> Answer | None:
    """Publish a finished network on the Hugging Face Hub, with a model card: budget and how it was met,
    accuracy with n, sizes and latency, how it was made, how to load it. One commit, or nothing. This is the
    only command that sends anything.

    Example: `secateur push small/ ann/small --private`, then anywhere `secateur predict hf:ann/small
    photo.jpg`
    """
    from secateur.runs.publication import Publication
    from secateur.runs.push import push as publish

    if out is not None and not dry_run:
        raise InputError(
            "--out takes the card of --dry-run, which sends nothing: add --dry-run, or leave --out out"
        )
    named, build = words(*(include or [])), factory_named(factory)
    if dry_run:
        publication = Publication.of(
            directory, repo, include=named, licence=license_name, factory=build, with_card=not no_card
        )
        written = _write_card(publication.card, out) if out is not None else None
        return _planned(publication, revision or "main", private, written)
    pushed = publish(
        directory,
        repo,
        private=private,
        revision=revision,
        message=message,
        license=license_name,
        include=named,
        card=not no_card,
        into_other=into_other,
        factory=build,
    )
    return _done(pushed)


def _write_card(card: str, out: Path) -> Path:
    """Write the card; InputError where a file there is not a card of ours."""
    from secateur.atomic import make_folder, write_text
    from secateur.records.out import check_out
    from secateur.runs.publication import CARD_FILE

    path = out if out.suffix == ".md" and not out.is_dir() else out / CARD_FILE
    check_out(path.parent, [path.name])
    make_folder(path.parent)
    write_text(path, card)
    return path


def _planned(found: Publication, revision: str, private: bool, written: Path | None) -> Answer:
    content = {
        "repo": found.repo,
        "revision": revision,
        "private": private,
        "files": found.sizes,
        "left": list(found.left),
        "card": found.card,
        "written": None if written is None else str(written),
    }

    def show() -> None:
        if written is None:
            say(found.card)
        _show_files(found.sizes, found.left)
        say(f"Nothing was sent to {found.repo}.")
        if written is not None:
            say(f"The card is in {written}")

    return Answer(content, show)


def _done(found: Pushed) -> Answer:
    content = {
        "repo": found.repo,
        "url": found.url,
        "commit": found.commit,
        "created": found.created,
        "files": found.files,
        "removed": list(found.removed),
        "left": list(found.left),
        "remarks": list(found.remarks),
    }

    def show() -> None:
        _show_files(found.files, found.left)
        if found.removed:
            say(f"Removed, as this network has none: {', '.join(found.removed)}")
        for remark in found.remarks:
            say(f"Note: {remark}")
        say(f"{found.url} (commit {found.commit[:12]}): secateur predict hf:{found.repo} IMAGE")

    return Answer(content, show)


def _show_files(files: dict[str, int], left: tuple[str, ...]) -> None:
    shown = Table("file", "", "bytes")
    for name, size in files.items():
        shown.add_row(name, "", f"{size:,}")
    shown.show()
    if left:
        say(f"Not pushed: {', '.join(left)}; --include takes them along.")
