"""What a finished network comes to on data: how often it is right, in which classes, and where it is not.

The data are read in the network's own pixel format and normalised by its own numbers; their classes are told
by name. Where names do not fit, nothing is measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from secateur.architecture.opening import Factory
from secateur.data import Data, Split, load_data
from secateur.errors import InputError, unknown
from secateur.records.evaluated import ClassRow, Evaluated, Mistake
from secateur.records.found import listed
from secateur.records.measure import wilson
from secateur.runs.predict import BATCH
from secateur.runs.predictor import Predictor

SPLITS = ("test", "val", "train", "all")
WORST = 60
"""Mistakes that are kept, the surest first."""


@dataclass(frozen=True)
class Evaluation:
    """A network on a split, with the images of its mistakes.

    Attributes:
        found: the numbers.
        images: uint8 (M, C, H, W), those of `found.worst` in order.
    """

    found: Evaluated
    images: Tensor


def evaluate(
    network: Any,
    data: str | Data,
    split: str = "test",
    *,
    factory: Factory | None = None,
    device: str = "auto",
    trusted: bool = False,
    **reading: Any,
) -> Evaluated:
    """Measure a finished network on data: `sc.evaluate`.

    Args:
        network: a folder, an exported file, or a network that `sc.load` gave.
        data: as `load_data` takes it; or loaded data, of the network's own size.
        split: one of `SPLITS`.
        factory: builds the network of a folder, where it is not of a built-in family.
        device: "cpu", "cuda", ...; "auto": the GPU where there is one. Of an exported file always the CPU.
        trusted: whether a `.c` file may be built and run: it is a program, whatever it says of itself.
        reading: other options of `load_data`.

    Returns:
        Accuracy with its interval, each class, the confusion matrix, the worst mistakes.

    Raises:
        InputError: where the data's classes are not the network's.

    Example:
        >>> sc.evaluate("small/", "photos/").in_words()  # doctest: +SKIP
    """
    predictor = Predictor.open(network, factory, device, trusted)
    check_evaluable(predictor, split)
    if isinstance(data, str):
        data = load_data(data, pixels=predictor.preprocessing.format, **reading)
    return measured(predictor, data, split).found


def check_evaluable(predictor: Predictor, split: str) -> None:
    """Raise InputError where there is no such split, or right and wrong are not known of the task."""
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    if predictor.task.name != "classification":
        raise InputError(
            f"folders of classes tell what is right in classification, got {predictor.source}, which is of "
            f"{predictor.task.name}: measure its outputs (model.preprocess) with a metric of your own"
        )


def measured(predictor: Predictor, data: Data, split: str) -> Evaluation:
    """Measure a network on data that are loaded."""
    numbers, remarks = numbers_of(data, predictor)
    check_shape(data, predictor)
    parts = [(name, _part(data, name)) for name in (SPLITS[:3] if split == "all" else (split,))]
    if split == "all" and data.val is data.test:
        parts = [part for part in parts if part[0] != "val"]
    scores = torch.cat([scores_of(predictor, part) for _, part in parts])
    truth = numbers[torch.cat([part.labels for _, part in parts])]
    places = [(name, index) for name, part in parts for index in range(len(part))]
    order = _mistakes(scores, truth)[:WORST]
    images = torch.stack([_part(data, places[i][0]).images[places[i][1]] for i in order]) if order else None
    worst = tuple(_mistake(predictor, scores[i], int(truth[i]), *places[i]) for i in order)
    found = _evaluated(predictor, data, split, scores.argmax(1), truth)
    remarks += _remarks(predictor, data, split)
    return Evaluation(
        Evaluated(worst=worst, remarks=remarks, **found), torch.empty(0) if images is None else images
    )


def check_shape(data: Data, predictor: Predictor) -> None:
    """Raise InputError unless the images are of the network's size."""
    wanted = predictor.preprocessing.format
    if data.shape != (wanted.channels, wanted.height, wanted.width):
        raise InputError(
            f"{predictor.source} takes images of {wanted.channels}x{wanted.height}x{wanted.width}, got "
            f"{'x'.join(map(str, data.shape))}: load the data with pixels=model.preprocess.format"
        )


def _part(data: Data, name: str) -> Split:
    return {"train": data.train, "val": data.val, "test": data.test}[name]


def numbers_of(data: Data, predictor: Predictor) -> tuple[Tensor, tuple[str, ...]]:
    """The network's number of each of the data's classes, told by name; what to say of it.

    Raises:
        InputError: where the data have a class that the network does not know.
    """
    ours = {name: number for number, name in enumerate(predictor.classes)}
    strange = [name for name in data.classes if name not in ours]
    if strange:
        raise InputError(
            f"the data's classes must be the network's, got {listed(strange)} in {data.label}, which "
            f"{predictor.source} does not know (it tells {listed(predictor.classes)}): rename the folders, "
            "or leave these out"
        )
    remarks = []
    if len(data.classes) < len(ours):
        remarks.append(f"{len(data.classes)} of the network's {len(ours)} classes occur in the data")
    elif tuple(data.classes) != predictor.classes:
        remarks.append("the data name the classes in another order: they were told by name")
    return torch.tensor([ours[name] for name in data.classes]), tuple(remarks)


def _remarks(predictor: Predictor, data: Data, split: str) -> tuple[str, ...]:
    """What should be known of the numbers."""
    known = predictor.artefact.data
    if split != "test" and known is not None and known.fingerprint == data.fingerprint:
        return (
            f"the network was made with these very images of the split '{split}': only 'test' is new to it",
        )
    return ()


def scores_of(predictor: Predictor, split: Split) -> Tensor:
    """Probabilities (N, K) of a split."""
    return torch.cat([predictor.probabilities(part.clone().numpy()) for part in split.images.split(BATCH)])


def _mistakes(scores: Tensor, truth: Tensor) -> list[int]:
    """Where it is wrong, the surest first."""
    said = scores.argmax(1)
    wrong = (said != truth).nonzero().flatten()
    sure = scores[wrong, said[wrong]] - scores[wrong, truth[wrong]]
    return [int(wrong[i]) for i in sure.argsort(descending=True, stable=True)]


def _mistake(predictor: Predictor, scores: Tensor, truth: int, split: str, index: int) -> Mistake:
    said = int(scores.argmax())
    return Mistake(
        split=split,
        index=index,
        true=predictor.classes[truth],
        said=predictor.classes[said],
        p_true=float(scores[truth]),
        p_said=float(scores[said]),
    )


def _evaluated(predictor: Predictor, data: Data, split: str, said: Tensor, truth: Tensor) -> dict[str, Any]:
    """All that follows from what is said and what is true."""
    count = len(predictor.classes)
    confusion = torch.zeros(count, count, dtype=torch.int64)
    confusion.index_put_((truth, said), torch.ones(len(truth), dtype=torch.int64), accumulate=True)
    rows = [_row(name, confusion, i) for i, name in enumerate(predictor.classes)]
    recalls = [row.recall for row in rows if row.recall is not None]
    n, right = len(truth), int(confusion.diagonal().sum())
    low, high = wilson(right / n, n)
    return {
        "network": predictor.source.strip("'"),
        "data": data.label,
        "found": data.found.line() if data.found else data.label,
        "split": split,
        "n": n,
        "right": right,
        "accuracy": right / n,
        "low": low,
        "high": high,
        "balanced_accuracy": sum(recalls) / len(recalls),
        "classes": tuple(rows),
        "confusion": tuple(map(tuple, confusion.tolist())),
    }


def _row(name: str, confusion: Tensor, i: int) -> ClassRow:
    n, right, called = int(confusion[i].sum()), int(confusion[i, i]), int(confusion[:, i].sum())
    low, high = wilson(right / n, n) if n else (None, None)
    return ClassRow(
        name=name,
        n=n,
        right=right,
        called=called,
        recall=right / n if n else None,
        low=low,
        high=high,
        precision=right / called if called else None,
    )
