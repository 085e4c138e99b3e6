"""The commands that use a finished network: `predict` and `evaluate`."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from secateur.cli.answer import Answer
from secateur.cli.generated import taking
from secateur.cli.options import DataOptions
from secateur.cli.shared import factory_named, path_argument, path_option
from secateur.cli.terminal import Table, in_line, say
from secateur.errors import InputError, require_packages

if TYPE_CHECKING:
    from secateur.records.evaluated import Evaluated
    from secateur.runs.predict import Prediction, Unreadable

_Network = Annotated[
    Path,
    path_argument(
        "Folder that train, prune, compare (its best/) or sc.save left; hf:OWNER/NAME of the Hugging Face "
        "Hub; or an .onnx, .xml or .c file that export wrote.",
        "NETWORK",
    ),
]
_Factory = Annotated[
    str | None, typer.Option(help="What builds the network of a folder, where it is not built in.")
]
_Trust = Annotated[
    bool,
    typer.Option("--trust", help="Build and run a .c file, a program: one that you exported yourself."),
]
_Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")]
_MOST_COLUMNS = 12
"""Classes up to which the confusion matrix is printed; the page and --json have any."""


def predict(
    network: _Network,
    images: Annotated[
        list[str],
        typer.Argument(metavar="IMAGE...", help="Files, folders with all below them, or patterns ('*.jpg')."),
    ],
    top: Annotated[int, typer.Option(help="So many classes of each image, the most probable first.")] = 3,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="As a table with commas, a line for each image.")
    ] = False,
    factory: _Factory = None,
    device: _Device = "auto",
    trust: _Trust = False,
) -> Answer | None:
    """What a finished network says of images: classes and probabilities.

    Images are made its input as it was trained: size, fit and normalisation lie beside it. What cannot be
    read is named on stderr, the others are predicted, and the exit code is 1.

    Example: `secateur predict small/ photo.jpg holiday/ --top 3`
    """
    from secateur.runs.predict import Unreadable, images_at, predictions
    from secateur.runs.predictor import Predictor

    if top < 1:
        raise InputError(f"--top must be at least 1, got {top}")
    predictor = Predictor.open(network, factory_named(factory), device, trust)
    paths = list(dict.fromkeys(path for image in images for path in images_at(image)))
    found = _telling(predictions(predictor, paths, top))
    said = [each for each in found if not isinstance(each, Unreadable)]
    if not said:
        raise InputError(f"no image of {len(paths)} can be read: they are named above")
    content = {
        "network": predictor.source.strip("'"),
        "task": predictor.task.name,
        "predictions": [each.to_json(top) for each in said],
    }
    show = _show_csv if as_csv else _show
    return Answer(content, lambda: show(said, top), 0 if len(said) == len(paths) else 1)


def _telling(found: Iterable[Prediction | Unreadable]) -> Iterator[Prediction | Unreadable]:
    """Hand them on, naming on stderr what cannot be read."""
    from secateur.runs.predict import Unreadable

    for each in found:
        if isinstance(each, Unreadable):
            print(f"secateur: {in_line(each.file)} cannot be read: {in_line(each.why)}", file=sys.stderr)
        yield each


def _show(said: Sequence[Prediction], top: int) -> None:
    for each in said:
        pairs = list(zip(each.classes, each.probabilities, strict=True))
        if each.task == "regression":
            print(
                f"{in_line(each.file)}  " + "  ".join(f"{in_line(name)} {value:.6g}" for name, value in pairs)
            )
        else:
            shown = "  ".join(f"{in_line(name)} {share:.1%}" for name, share in pairs[:top])
            print(f"{in_line(each.file)}  {shown}")


def _show_csv(said: Sequence[Prediction], top: int) -> None:
    """A line for each image: its classes with their probabilities, or its numbers; see `written.field`."""
    from secateur.records.written import field

    writer = csv.writer(sys.stdout, lineterminator="\n")

    def write(cells: Iterable[Any]) -> None:
        writer.writerow([field(cell) if isinstance(cell, str) else cell for cell in cells])

    if said[0].task == "regression":
        write(["file", *said[0].classes])
        for each in said:
            write([each.file, *each.probabilities])
        return
    shown = range(1, min(top, len(said[0].classes)) + 1)
    numbers = ["" if i == 1 else f"_{i}" for i in shown]
    write(["file", *(f"{name}{i}" for i in numbers for name in ("class", "probability"))])
    for each in said:
        pairs = zip(each.classes[:top], each.probabilities[:top], strict=True)
        write([each.file, *(cell for pair in pairs for cell in pair)])


@taking(DataOptions)
def evaluate(
    options: DataOptions,
    network: _Network,
    split: Annotated[str, typer.Option(help="test, val, train or all.")] = "test",
    out: Annotated[
        Path | None, path_option("Folder for evaluation.html: confusion matrix and the surest mistakes.")
    ] = None,
    factory: _Factory = None,
    device: _Device = "auto",
    trust: _Trust = False,
) -> Answer | None:
    """How good a finished network is on data: accuracy with an interval, each class, what is taken for what.

    The data are read as the network takes images; their classes are told by name.

    Example: `secateur evaluate small/ --data photos/ --out evaluation/`
    """
    from secateur.progress import reporter_for
    from secateur.records.out import check_out
    from secateur.report.evaluation import PAGE, write_evaluation
    from secateur.runs.evaluate import check_evaluable, measured
    from secateur.runs.predictor import Predictor

    if out is not None:
        require_packages("PIL", what="the page of an evaluation")
        check_out(out, [PAGE], data=options.data_folder)
    predictor = Predictor.open(network, factory_named(factory), device, trust)
    check_evaluable(predictor, split)
    with reporter_for(sys.stdout) as reporter:
        data = options.load_data(reporter, predictor.preprocessing.format)
    evaluation = measured(predictor, data, split)
    page = (
        write_evaluation(evaluation.found, list(evaluation.images.numpy()), out) if out is not None else None
    )
    content: dict[str, Any] = evaluation.found.to_json()
    if page is not None:
        content["page"] = str(page)
    return Answer(content, lambda: _show_evaluation(evaluation.found, page))


def _show_evaluation(found: Evaluated, page: Path | None) -> None:
    from secateur.records.evaluated import HEADS

    say(found.found)
    say(f"{found.network} on the split '{found.split}': {found.in_words()}")
    for remark in found.remarks:
        say(f"Note: {remark}.")
    shown = Table(HEADS[0], "", *HEADS[1:])
    for name, *numbers in found.cells():
        shown.add_row(in_line(name), "", *numbers)
    shown.show()
    if len(found.classes) <= _MOST_COLUMNS:
        _show_confusion(found)
    if page is not None:
        say(f"Written to {page}")
    elif found.worst:
        say("--out DIR leaves a page with the images that it is surest and wrong about.")


def _show_confusion(found: Evaluated) -> None:
    names = [in_line(row.name) for row in found.classes]
    shown = Table("is / called", "", *names)
    for name, counts in zip(names, found.confusion, strict=True):
        shown.add_row(name, "", *(str(count) if count else "." for count in counts))
    shown.show()
