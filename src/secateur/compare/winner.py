"""Where the network of `best/` is wrong: one pass over the test split, when all is chosen.

Nothing is selected by it. What comes of it is kept beside the network, so that the page can be drawn again
where the data are away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from secateur.architecture.architecture import Architecture
from secateur.architecture.file import WEIGHTS_FILE
from secateur.architecture.saved import load_model
from secateur.data import Data
from secateur.device import Runtime
from secateur.errors import UnreadableError, kind_and_line
from secateur.network.inputs import call, logits_of
from secateur.network.metrics import IGNORED, like
from secateur.records.measured import hash_of
from secateur.records.point import Point
from secateur.records.winner import MOST_CLASSES, LabelErrors, Miss, OutputErrors, Pair, Winner
from secateur.report.thumbnails import thumbnails
from secateur.runs.session import Session
from secateur.training.batches import AnyData, measured_batches

WORST, PAIRS = 12, 12
"""How many examples, and how many pairs of classes, are kept."""


@dataclass(frozen=True)
class Shown:
    """What a network is tried on.

    Attributes:
        precision: of the forward passes, as in `Recipe`.
        task: the name of one in `network.task.TASKS`, or "custom", of which nothing is known.
    """

    architecture: Architecture
    data: AnyData
    task: str
    precision: str

    def winner(self, point: Point, session: Session, before: Winner | None) -> Winner | None:
        """Find where the network of a point is wrong; None where its task does not say what that is.

        Args:
            before: what was found last; it is kept where it is of the same weights and data.
        """
        if self.task not in _KINDS:
            return None
        folder = session.store.path(point.run_id)
        weights = hash_of(folder / WEIGHTS_FILE)
        if before and (before.weights_sha256, before.fingerprint) == (weights, self.data.fingerprint):
            return before
        try:
            with torch.random.fork_rng(devices=[]):
                model = load_model(folder, like=None if self.architecture.is_family else self.architecture)
                found = errors_of(self.task, self._outputs(model, session.runtime), self.data.classes)
        except UnreadableError:  # the same command looks again
            raise
        except Exception as error:  # the comparison is finished, and the user's code may do anything
            session.reporter.note(f"where the kept network is wrong is not shown: {kind_and_line(error)}")
            return None
        worst, why = self._pictured(found.pop("worst"))
        return Winner(
            weights_sha256=weights,
            fingerprint=self.data.fingerprint,
            arm=point.arm,
            budget=point.budget or "",
            seed=point.seed,
            run_id=point.run_id,
            task=self.task,
            worst=worst,
            no_images=why,
            **found,
        )

    def _outputs(self, model: nn.Module, runtime: Runtime) -> Iterator[tuple[Tensor, Tensor]]:
        """Scores and targets of the test split, batch by batch, on the CPU."""
        placed = runtime.place(model).eval()
        with torch.inference_mode():
            for inputs, targets in measured_batches(
                self.data.test, self.data, runtime, runtime.layout(placed), shared=False
            ):
                with runtime.autocast(self.precision):
                    output = call(placed, inputs)
                yield logits_of(output).float().cpu(), targets.cpu()

    def _pictured(self, worst: Sequence[Miss]) -> tuple[tuple[Miss, ...], str | None]:
        """Add pictures, where the data are images; else say why there are none."""
        if not isinstance(self.data, Data):
            return tuple(worst), "the data came from loaders, whose pixels are not known"
        images = [self.data.test.images[each.index].numpy() for each in worst]
        uris = thumbnails(images)
        without: list[str | None] = [None] * (len(worst) - len(uris))
        pictured = zip(worst, [*uris, *without], strict=True)
        return tuple(
            Miss(index=each.index, true=each.true, said=each.said, confidence=each.confidence, image=uri)
            for each, uri in pictured
        ), None


Batches = Iterable[tuple[Tensor, Tensor]]


def errors_of(task: str, batches: Batches, names: Sequence[str]) -> dict[str, Any]:
    """Find what a network is wrong about, as fields of `Winner`; `worst` without pictures.

    Args:
        task: a key of `_KINDS`.
        batches: scores and targets of a split.
        names: of classes, labels or outputs; others than there are: they are numbered.

    Raises:
        ValueError: where there is not one class for each example.
    """
    return _KINDS[task](batches, names)


def _of_classes(batches: Batches, names: Sequence[str]) -> dict[str, Any]:
    """Count what is taken for what; the mistakes, the surest first."""
    parts = [_each(scores, targets) for scores, targets in batches]
    truth, said, p_said, p_true = (
        torch.cat(column) for column in zip(*[each[:4] for each in parts], strict=True)
    )
    count = max(each[4] for each in parts)
    there = truth != IGNORED
    wrong = (there & (truth != said)).nonzero().flatten()
    order = wrong[(p_said - p_true)[wrong].argsort(descending=True, stable=True)][:WORST].tolist()
    classes = _named(names, count, "class")
    codes, counts = (truth[wrong] * count + said[wrong]).unique(return_counts=True)
    most = counts.argsort(descending=True, stable=True)[:PAIRS].tolist()
    matrix = torch.zeros(count, count, dtype=torch.int64) if count <= MOST_CLASSES else None
    if matrix is not None:
        ones = torch.ones(int(there.sum()), dtype=torch.int64)
        matrix.index_put_((truth[there], said[there]), ones, accumulate=True)
    return {
        "n": int(there.sum()),
        "wrong": len(wrong),
        "classes": classes if matrix is not None else (),
        "confusion": () if matrix is None else tuple(map(tuple, matrix.tolist())),
        "pairs": tuple(
            Pair(true=classes[int(codes[i]) // count], said=classes[int(codes[i]) % count], n=int(counts[i]))
            for i in most
        ),
        "worst": [
            Miss(
                index=i, true=classes[int(truth[i])], said=classes[int(said[i])], confidence=float(p_said[i])
            )
            for i in order
        ],
    }


def _each(scores: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, int]:
    """Of every example the class, what it is called, and the probabilities of both."""
    truth = targets.argmax(1) if targets.is_floating_point() else targets
    if scores.dim() != 2 or truth.dim() != 1:
        raise ValueError(f"one class for each example is needed, got scores {list(scores.shape)}")
    shares = scores.softmax(1)
    p_said, said = shares.max(1)
    p_true = shares.gather(1, truth.clamp(min=0)[:, None])[:, 0]
    return truth, said, p_said, p_true, scores.shape[1]


def _of_labels(batches: Batches, names: Sequence[str]) -> dict[str, Any]:
    """Count each label's mistakes; the examples by how far their labels' probabilities are off."""
    scores, truth = (torch.cat(column) for column in zip(*batches, strict=True))
    shares, truth = scores.sigmoid().flatten(1), truth.float().flatten(1)
    there, said = truth > 0.5, shares >= 0.5
    wrong = there != said
    off = ((shares - truth).abs() * wrong).sum(1)
    some = wrong.any(1).nonzero().flatten()
    order = some[off[some].argsort(descending=True, stable=True)][:WORST].tolist()
    labels = _named(names, shares.shape[1], "label")

    def listed(marks: Tensor) -> str:
        return ", ".join(labels[i] for i in marks.nonzero().flatten().tolist()) or "none"

    return {
        "n": len(truth),
        "wrong": len(some),
        "labels": tuple(
            LabelErrors(
                name=name,
                n=int(there[:, i].sum()),
                missed=int((there[:, i] & ~said[:, i]).sum()),
                invented=int((said[:, i] & ~there[:, i]).sum()),
            )
            for i, name in enumerate(labels)
        ),
        "worst": [Miss(index=i, true=listed(there[i]), said=listed(said[i])) for i in order],
    }


def _of_numbers(batches: Batches, names: Sequence[str]) -> dict[str, Any]:
    """Find each output's errors; the examples by their largest, in units of what is true's deviation."""
    pairs = [(scores.flatten(1), like(targets, scores).float().flatten(1)) for scores, targets in batches]
    said, truth = (torch.cat(column) for column in zip(*pairs, strict=True))
    error = (said - truth).abs()
    usual = truth.std(0, correction=0)
    relative = (error / torch.where(usual > 0, usual, torch.ones_like(usual))).amax(1)
    outputs = _named(names, truth.shape[1], "output")

    def listed(values: Tensor) -> str:
        told = [f"{value:.4g}" for value in values.tolist()]
        if len(told) == 1:
            return told[0]
        return ", ".join(f"{name} {value}" for name, value in zip(outputs, told, strict=True))

    return {
        "n": len(truth),
        "wrong": None,
        "outputs": tuple(
            OutputErrors(name=name, mean=float(error[:, i].mean()), largest=float(error[:, i].max()))
            for i, name in enumerate(outputs)
        ),
        "worst": [
            Miss(index=i, true=listed(truth[i]), said=listed(said[i]))
            for i in relative.argsort(descending=True, stable=True)[:WORST].tolist()
        ],
    }


def _named(names: Sequence[str], count: int, what: str) -> tuple[str, ...]:
    """The names of classes, labels or outputs; numbers where nobody named them."""
    return tuple(names) if len(names) == count else tuple(f"{what} {i}" for i in range(count))


_KINDS: Mapping[str, Callable[[Batches, Sequence[str]], dict[str, Any]]] = {
    "classification": _of_classes,
    "multilabel": _of_labels,
    "regression": _of_numbers,
}
