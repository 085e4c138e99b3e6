"""A saved network, exported in int8: calibrated on the training split, judged on the test split.

The three splits do three things. Ranges are found on images of the training split; the recipe is chosen, and
a broken result refused, on the validation split; what is reported is of the test split, for which
nothing was chosen.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from secateur.architecture.artefact import Artefact
from secateur.architecture.file import ARTEFACT_FILE
from secateur.architecture.opening import Factory
from secateur.atomic import scratch, write_json
from secateur.data import Data, Split
from secateur.data.preprocessing import PixelFormat
from secateur.deploy.calibrating import MOST
from secateur.deploy.described import metadata_of
from secateur.deploy.int8 import Int8, check_packages, int8_target, quantized
from secateur.deploy.int8_c import Int8C
from secateur.deploy.quantizing import RECIPES, Recipe
from secateur.deploy.traced import Traced
from secateur.errors import InputError, unknown
from secateur.network.metrics import ACCURACY, METRICS, Metric
from secateur.records.ours import VERSION
from secateur.records.out import check_not_read, check_ours, expanded
from secateur.records.quantized import Calibration, Quality, Quantized, SideBySide, record_path
from secateur.runs.evaluate import check_shape, numbers_of, scores_of
from secateur.runs.exported import Source, file_in
from secateur.runs.predictor import Predictor

FORMATS = {"onnx": "model.int8.onnx", "openvino": "model.int8.xml", "c": "model.int8.c"}
"""Format -> the name of its file in a network's folder."""

_BATCH = 32
_MOST_HELD_OUT = 2000
Note = Callable[[str], None]


@dataclass(frozen=True)
class Wanted:
    """An export in int8, all of which that needs no data has been checked.

    Attributes:
        source: the network; predictor: the same, as it is used.
        path: the file to write.
        calibrate: images that are calibrated on, at most.
    """

    to: str
    source: Source
    predictor: Predictor
    path: Path
    calibrate: int

    @classmethod
    def of(
        cls,
        directory: str | Path,
        to: str = "onnx",
        out: str | Path | None = None,
        *,
        factory: Factory | None = None,
        with_preprocessing: bool = False,
        calibrate: int = MOST,
    ) -> Wanted:
        """Open the network of a folder.

        Args:
            to: a key of `FORMATS`.
            out: the file to write, or a folder for it; None: the network's folder.
            calibrate: images of the training split that ranges are found on, at least 1; all of them where
                there are fewer.

        Raises:
            InputError: where it cannot be exported so, as nobody knows what it takes.
        """
        if to not in FORMATS:
            raise unknown("export format in int8", to, FORMATS)
        if calibrate < 1:
            raise InputError(f"--calibrate must be at least 1 image, got {calibrate}: {MOST} are the default")
        directory = expanded(directory, "the folder to export")
        path = int8_target(file_in(out, directory, FORMATS[to]), Path(FORMATS[to]).suffix)
        check_not_read([path, path.with_suffix(".bin"), path.with_suffix(".h"), record_path(path)], directory)
        check_ours([record_path(path)])
        check_packages(to)
        source = Source.of(directory, factory, with_preprocessing)
        if source.artefact is None or source.artefact.preprocess is None:
            raise InputError(
                f"--int8 is calibrated on images, and needs an {ARTEFACT_FILE} that says how they are made "
                f"the network's input, got none in '{directory}': save it with sc.save(model, directory, "
                "data=data), or call secateur.deploy.int8.to_int8_onnx with batches of your own"
            )
        return cls(to, source, Predictor.open(source.model), path, calibrate)

    @property
    def pixels(self) -> PixelFormat:
        """Which pixels the data are to be of."""
        return self.predictor.preprocessing.format

    @property
    def artefact(self) -> Artefact:
        """What is known of the network."""
        return self.predictor.artefact

    def write(self, data: Data, note: Note = lambda text: None, *, latency_s: float = 2.0) -> Quantized:
        """Quantise the network and leave the file, with its record beside it.

        Args:
            data: of the network's classes, in its pixels.
            note: told of what takes a while.
            latency_s: seconds that the two networks are run side by side at most.

        Raises:
            InputError: where the data are not the network's, or the result is not the network any more; no
                file is left, and one that was there stays as it was.
        """
        before = _Judged.of(self.predictor, data, note, "in float32")
        found = self.quantized(data, note)
        after = _Judged.of(self._read_back(found), data, note, "in int8")
        note("measuring the latency of both, in turns")
        record = self._record(found, data, before.beside(after, data), found.latency(limit_s=latency_s))
        found.write(self.path, {**self._metadata, "int8": json.dumps(record.to_json())})
        write_json(record_path(self.path), record.for_file())
        return record

    def quantized(
        self, data: Data, note: Note = lambda text: None, recipes: Sequence[Recipe] = RECIPES
    ) -> Int8 | Int8C:
        """Quantise the network, by the first of `recipes` that is good enough; nothing is written."""
        if self.to == "c":
            note("writing and building the network in C")
            traced = Traced.of(self.source.network, self.source.inputs)
            return Int8C.of(traced, self._batches(_held_out(data, self.calibrate)))
        fitted = _some(data.train, self.calibrate)
        note(f"finding the ranges of activations on {len(fitted):,} images of the training split")
        return quantized(
            self.to,
            Traced.of(self.source.network, self.source.inputs),
            self._batches(fitted),
            self._batches(_held_out(data, self.calibrate)),
            recipes,
        )

    def quality(self, found: Int8 | Int8C, data: Data) -> Quality:
        """How good it is on the test split, beside the network in float."""
        before = _Judged.of(self.predictor, data, lambda text: None, "")
        return before.beside(_Judged.of(self._read_back(found), data, lambda text: None, ""), data)

    @property
    def _metadata(self) -> Mapping[str, str]:
        return metadata_of(self.artefact.to_json(), self.source.where)

    def _batches(self, split: Split) -> list[list[np.ndarray]]:
        """Images as the file takes them."""
        return [
            [self.source.as_taken(images, self.predictor.preprocessing)]
            for images in split.images.split(_BATCH)
        ]

    def _read_back(self, found: Int8 | Int8C) -> Predictor:
        """The file, read as any user reads it; C is ours."""
        with scratch() as folder:
            path = folder / self.path.name
            found.write(path, self._metadata)
            return Predictor.open(path, trusted=True)

    def _record(self, found: Int8 | Int8C, data: Data, quality: Quality, pace: SideBySide) -> Quantized:
        sizes = found.plain_bytes(), found.bytes(self._metadata)
        return Quantized(
            file=self.path.name,
            runtime=pace.runtime,
            how=found.how,
            weight_bits=found.weight_bits,
            activations=found.activations,
            macs=found.macs,
            int8_macs=found.int8_macs,
            bytes_before=sizes[0],
            bytes_after=sizes[1],
            calibration=None
            if found.method is None
            else Calibration(data=data.name, split="train", n=found.calibrated_on, method=found.method),
            held_out=found.agreement,
            quality=quality,
            latency=pace,
            remarks=tuple(_remarks(quality, pace, self.artefact, data, found, sizes)),
            versions={"secateur": VERSION, **found.versions},
        )


def _some(split: Split, count: int) -> Split:
    """Draw so many examples, always the same."""
    order = torch.randperm(len(split), generator=torch.Generator().manual_seed(0))
    return split.take(order[:count].sort().values)


def _held_out(data: Data, calibrated: int) -> Split:
    """Examples that nothing is fitted to and nothing reported on: of the validation split, if it is one."""
    if data.val is not data.test:
        return _some(data.val, _MOST_HELD_OUT)
    order = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(0))
    rest = order[calibrated : calibrated + _MOST_HELD_OUT]
    return data.train.take((rest if len(rest) else order).sort().values)


@dataclass(frozen=True)
class _Judged:
    """A network on the test split.

    Attributes:
        scores: probabilities (N, K), or numbers.
        truth: what is right, as the metric takes it.
    """

    metric: Metric
    scores: Tensor
    truth: Tensor

    @classmethod
    def of(cls, predictor: Predictor, data: Data, note: Note, how: str) -> _Judged:
        check_shape(data, predictor)
        labels = data.test.labels
        if predictor.task.name == "classification":
            truth = numbers_of(data, predictor)[0][labels]
            metric = ACCURACY
        else:
            _check_targets(data, predictor)
            truth = labels
            metric = METRICS.get(predictor.artefact.metric, predictor.task.metric)
        note(f"predicting {len(labels):,} images of the test split, {how}")
        return cls(metric, scores_of(predictor, data.test), truth)

    @property
    def value(self) -> float:
        """The metric."""
        if self.metric is ACCURACY:
            return self.right / len(self.truth)
        scores = self.scores.logit() if self.metric.name in _OF_LABELS else self.scores
        return self.metric(scores, self.truth)

    @property
    def right(self) -> int:
        """Examples whose class is right."""
        return int((self.scores.argmax(1) == self.truth).sum())

    def beside(self, other: _Judged, data: Data) -> Quality:
        """This network, in float, beside the one in int8."""
        counted: dict[str, Any] = {}
        if self.metric is ACCURACY:
            same = int((self.scores.argmax(1) == other.scores.argmax(1)).sum())
            counted = {"right_before": self.right, "right_after": other.right, "same": same}
        return Quality(
            data=data.label,
            split="test",
            n=len(self.truth),
            metric=self.metric.measure,
            before=self.value,
            after=other.value,
            **counted,
        )


_OF_LABELS = ("micro-f1", "label-accuracy")  # of scores, said from 0 on


def _check_targets(data: Data, predictor: Predictor) -> None:
    """Raise InputError unless data of numbers or labels have as many as the network gives."""
    if tuple(data.classes) != predictor.artefact.classes and len(data.classes) != len(predictor.classes):
        raise InputError(
            f"the data's targets must be the network's ({', '.join(predictor.classes[:5])}), got "
            f"{', '.join(data.classes[:5])} in {data.label}: name the columns with --label-column"
        )


def _remarks(
    quality: Quality,
    pace: SideBySide,
    artefact: Artefact,
    data: Data,
    found: Int8 | Int8C,
    sizes: tuple[int, int],
) -> list[str]:
    """What should be known of the numbers; `sizes` are the bytes before and after."""
    said = []
    before, after = sizes
    if quality.is_large:
        said.append(
            f"int8 costs this network {quality.metric.shown(quality.before)} -> "
            f"{quality.metric.shown(quality.after)}: look whether that is too much before using it"
        )
    if found.method is None:
        said.append(
            "int8 is of the weights alone, and there for the memory: products are computed in float32"
        )
    elif pace.speedup < 1.05:
        said.append(
            f"int8 brings no speed on {pace.runtime} here, {pace.speedup:.2f} times that of float32"
            + (": what is left is the smaller file" if after < before else "")
        )
    if after >= before:
        said.append(
            f"the file is no smaller, {after:,} bytes after {before:,}: of a network so small most of it "
            "describes the operators, of which int8 has more"
        )
    if found.method is not None and found.int8_macs < found.macs:
        said.append(f"{1 - found.int8_macs / found.macs:.1%} of the multiply-accumulates stay in float32")
    if found.method and artefact.data is not None and artefact.data.fingerprint != data.fingerprint:
        said.append(
            f"calibrated on other images than those that the network was made with ({artefact.data.label})"
        )
    return said
