"""A finished network that predicts: of a folder, an ONNX file or OpenVINO's; all take the same pixels.

Images are made pixels by the artefact's own format, normalised by its own mean and deviation, whatever the
images are: nothing is measured on them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from secateur.architecture.artefact import Artefact, artefact_of
from secateur.architecture.file import ARCHITECTURE_FILE, ARTEFACT_FILE
from secateur.architecture.hub import is_on_hub, network_at
from secateur.architecture.opening import Factory
from secateur.architecture.saved import load_model
from secateur.data.preprocessing import Preprocessing, scale_and_shift
from secateur.deploy.c import read_c
from secateur.deploy.described import INSIDE, of_file
from secateur.deploy.onnx import read_onnx
from secateur.deploy.openvino import read_openvino
from secateur.deploy.traced import Run
from secateur.device import Runtime
from secateur.errors import InputError
from secateur.network.finite import check_finite
from secateur.network.inputs import logits_of
from secateur.network.modes import in_evaluation
from secateur.network.task import TASKS, Task

Probabilities = Callable[[np.ndarray], Tensor]
_INDEPENDENT = 0.05  # of the largest score; low precision and int8 are far below it
READERS: dict[str, Callable[[Path], tuple[Run, Mapping[str, str], int | None]]] = {
    ".onnx": read_onnx,
    ".xml": read_openvino,
    ".c": read_c,
}
"""How files of other runtimes are read: to what runs them, their metadata, and their batch size if fixed."""


@dataclass(frozen=True)
class Predictor:
    """A network with all that is needed to use it.

    Attributes:
        source: where it comes from, for messages.
        classes: the names of its scores, in order; of numbers: "output", or "output 0", ...
        preprocessing: what makes its input of an image.
        task: what its scores mean.
        artefact: the rest that is known of it.
        probabilities: uint8 (N, C, H, W) -> (N, K) on the CPU; of regression, the numbers.
    """

    source: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    task: Task
    artefact: Artefact
    probabilities: Probabilities

    @classmethod
    def open(
        cls, network: Any, factory: Factory | None = None, device: str = "auto", trusted: bool = False
    ) -> Predictor:
        """Open whatever predicts.

        Args:
            network: a folder that `sc.save`, `train`, `prune` or `compare` left; `hf:OWNER/NAME`, what `push`
                put on the Hub; an `.onnx`, `.xml` or `.c` file that `export` wrote; a network that
                `sc.load` gave; or a predictor.
            factory: builds the network of a folder, where it is not of a built-in family.
            trusted: whether a `.c` file may be built and run: it is a program, whatever it says of itself.

        Raises:
            InputError: where there is none, or it does not say what it takes.
        """
        if isinstance(network, Predictor):
            return network
        if isinstance(network, nn.Module):
            return _of_module(network, f"the {type(network).__name__}", device)
        path = network_at(network, "the network")
        if path.suffix in READERS and not path.is_dir():
            return _of_file(path, trusted)
        folder = (
            path.parent if path.name in ("architecture.json", "model.safetensors", ARTEFACT_FILE) else path
        )
        if (folder / "best" / ARCHITECTURE_FILE).is_file() and not (folder / ARCHITECTURE_FILE).is_file():
            raise InputError(
                f"'{path}' holds a comparison, not one network: name '{folder / 'best'}', or one of its runs"
            )
        if not folder.is_dir():
            raise InputError(
                f"no network at '{path}': name a folder that train, prune, compare (its best/) or sc.save "
                "left, or an .onnx, .xml or .c file that export wrote"
            )
        source = network if is_on_hub(network) else folder
        return _of_module(load_model(folder, factory), f"'{source}'", device)


def _of_module(model: nn.Module, source: str, device: str) -> Predictor:
    """The network in torch."""
    artefact = artefact_of(model)
    if artefact is None or artefact.preprocess is None:
        raise InputError(
            f"a network can be used where it says how images are made its input, which {source} does not: "
            "save it with sc.save(model, directory, data=data), or train it again"
        )
    check_finite(model, source)
    runtime, preprocess = Runtime(device), artefact.preprocess
    placed, task = in_evaluation(runtime.place(model)), _task_of(artefact, source)
    scale, shift = (each.to(runtime.device) for each in scale_and_shift(preprocess.mean, preprocess.std))
    layout = runtime.layout(placed)

    @torch.inference_mode()
    def probabilities(pixels: np.ndarray) -> Tensor:
        images = torch.from_numpy(pixels).to(runtime.device).float().mul_(scale).add_(shift)
        return task.probabilities(logits_of(placed(runtime.arrange(images, layout)))).float().cpu()

    return _described(source, artefact, preprocess, task, probabilities)


def _of_file(path: Path, trusted: bool) -> Predictor:
    """The network in another runtime, described by its own metadata."""
    if not path.is_file():
        raise InputError(f"no network at '{path}': name a file that export wrote")
    if path.suffix == ".c" and not trusted:
        raise InputError(
            f"a C file is a program, which runs on your machine to predict, got '{path}': say --trust "
            "(trusted=True) of one that you exported yourself, or name the folder that it is of"
        )
    run, metadata, fixed = READERS[path.suffix](path)
    if fixed is not None:
        run = _in_batches_of(fixed, run)
    content, where = of_file(metadata)
    if content is None:
        raise InputError(
            f"'{path}' does not say what its classes are and what it takes: export it again from a folder "
            f"with an {ARTEFACT_FILE}"
        )
    artefact = Artefact.from_json(content, str(path))
    preprocess = artefact.preprocess
    if preprocess is None:
        raise InputError(f"'{path}' does not say how images are made its input: export it again")
    task = _task_of(artefact, f"'{path}'")

    def probabilities(pixels: np.ndarray) -> Tensor:
        if where == INSIDE:
            return torch.from_numpy(run([np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))])[0]).float()
        scale, shift = scale_and_shift(preprocess.mean, preprocess.std)
        images = torch.from_numpy(pixels).float().mul_(scale).add_(shift)
        return task.probabilities(torch.from_numpy(run([images.numpy()])[0]).float())

    return _described(f"'{path}'", artefact, preprocess, task, probabilities)


def _in_batches_of(size: int, run: Run) -> Run:
    """Run any number of images in batches of one size; the last is filled up with its own last image."""

    def whole(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        (images,), found = arrays, []
        for start in range(0, len(images), size):
            batch = images[start : start + size]
            filling = np.repeat(batch[-1:], size - len(batch), axis=0)
            found.append(run([np.concatenate([batch, filling])])[0][: len(batch)])
        return [np.concatenate(found)]

    return whole


def _task_of(artefact: Artefact, source: str) -> Task:
    """The task by its name; InputError for one whose scores only its author can read."""
    if artefact.task not in TASKS:
        raise InputError(
            f"what scores mean is known of {', '.join(TASKS)}, and {source} is of the task "
            f"'{artefact.task}': call it with model.preprocess(image) yourself"
        )
    return Task.named(artefact.task)


def _described(
    source: str, artefact: Artefact, preprocess: Preprocessing, task: Task, probabilities: Probabilities
) -> Predictor:
    """The predictor; it is run once, so that what does not fit is refused before anything is read."""
    wanted = preprocess.format
    zeros = np.zeros((1, wanted.channels, wanted.height, wanted.width), np.uint8)
    with _said_of(source):
        found = probabilities(zeros)
    if found.dim() != 2:
        raise InputError(f"{source} must give scores (N, K), got {tuple(found.shape)}: it is no classifier")
    _check_independent(source, zeros, found, probabilities)
    count = found.shape[1]
    names = artefact.classes or (("output",) if count == 1 else tuple(f"output {i}" for i in range(count)))
    if len(names) != count:
        raise InputError(f"{source} gives {count} scores, but names {len(names)} classes: export it again")
    return Predictor(source, names, preprocess, task, artefact, probabilities)


def _check_independent(source: str, zeros: np.ndarray, alone: Tensor, probabilities: Probabilities) -> None:
    """Raise InputError where scores depend on the images beside: batches are ours, not the user's."""
    noise = np.random.default_rng(0).integers(0, 256, zeros.shape, dtype=np.uint8)
    with _said_of(source):
        beside = probabilities(np.concatenate([zeros, noise]))[:1]
    gap = float((beside - alone).abs().max() / alone.abs().max().clamp_min(1e-9))
    if not gap <= _INDEPENDENT:
        raise InputError(
            f"an image's scores must not depend on the images beside it, got scores from {source} that "
            f"another image changes by {gap:.2g} of the largest: the network mixes its examples in "
            "evaluation, as BatchNorm with track_running_stats=False does; train it with running statistics"
        )


@contextmanager
def _said_of(source: str) -> Iterator[None]:
    """Turn what a network says of an input that does not fit into one line."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # of any runtime, or the user's own module
        said = (str(error).strip().splitlines() or [""])[0][:200]
        raise InputError(
            f"{source} does not take the images that it says it does: {type(error).__name__}: {said}"
        ) from error
