"""What an export starts at: a saved network with its inputs, and the file that it is to become."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from secateur.architecture.artefact import Artefact, artefact_of
from secateur.architecture.file import ARTEFACT_FILE
from secateur.architecture.opening import Factory
from secateur.architecture.saved import load_model
from secateur.data.preprocessing import Preprocessing, scale_and_shift
from secateur.deploy.described import INSIDE, OUTSIDE, Preprocessed, example_images
from secateur.errors import InputError
from secateur.network.task import Task
from secateur.records.out import expanded
from secateur.surgery.anatomy import anatomy_of


@dataclass(frozen=True)
class Source:
    """A saved network on its way into a file.

    Attributes:
        model: as it was saved.
        network: what is exported of it: itself, or with the normalisation of images within.
        inputs: examples of what `network` takes.
        artefact: what is known of it; None: nothing.
        where: images are normalised, `described.OUTSIDE` or `INSIDE`.
    """

    model: nn.Module
    network: nn.Module
    inputs: Any
    artefact: Artefact | None
    where: str

    @classmethod
    def of(cls, directory: Path, factory: Factory | None = None, with_preprocessing: bool = False) -> Source:
        """Load the network of a folder."""
        model = load_model(directory, factory)
        artefact = artefact_of(model)
        if with_preprocessing:
            network, inputs = _preprocessed(model, artefact, directory)
            return cls(model, network, inputs, artefact, INSIDE)
        return cls(model, model, anatomy_of(model).inputs, artefact, OUTSIDE)

    def computing_with(self, model: nn.Module) -> Source:
        """Export another network in place of it, that computes the same."""
        if model is self.model:
            return self
        taken = self.artefact.preprocess if self.artefact and self.where == INSIDE else None
        if taken is None:
            return replace(self, model=model, network=model)
        assert self.artefact is not None
        within = Preprocessed(model, taken, Task.named(self.artefact.task)).eval()
        return replace(self, model=model, network=within)

    def as_taken(self, images: Tensor, preprocessing: Preprocessing) -> np.ndarray:
        """Make what the file takes of images, uint8 (N, C, H, W)."""
        if self.where == INSIDE:
            return np.ascontiguousarray(images.numpy().transpose(0, 2, 3, 1))
        scale, shift = scale_and_shift(preprocessing.mean, preprocessing.std)
        return images.float().mul_(scale).add_(shift).numpy()


def _preprocessed(model: Any, artefact: Artefact | None, directory: Path) -> tuple[Preprocessed, Any]:
    """The network that takes images, and images; InputError where nobody knows how they are normalised."""
    if artefact is None or artefact.preprocess is None:
        raise InputError(
            f"--with-preprocessing needs an {ARTEFACT_FILE} that says how images are normalised, got none in "
            f"'{directory}': save the network with sc.save(model, directory, data=data)"
        )
    task = Task.named(artefact.task)
    return Preprocessed(model, artefact.preprocess, task).eval(), example_images(artefact.preprocess)


def file_in(out: str | Path | None, directory: Path, name: str) -> Path:
    """Find the file to write: `out`; `name` in it, where it is a folder; or in the network's own folder."""
    if out is None:
        return directory / name
    path = expanded(out, "--out")
    return path / name if path.is_dir() or not path.suffix else path
