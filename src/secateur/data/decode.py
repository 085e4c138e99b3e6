"""From encoded images (files or bytes) to one uint8 tensor, with Pillow, in threads."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import torch

from secateur.data.dataset import Split
from secateur.data.formats import UNREADABLE
from secateur.data.jpeg import describe_codec
from secateur.data.pixels import PixelFormat, without_bombs
from secateur.data.preprocessing import why_unreadable
from secateur.data.reading import Reading
from secateur.data.store import Place
from secateur.data.survey import (
    FileState,
    Header,
    depth_of,
    extremes,
    proposed_side,
    read_header,
    remarks,
    state_of,
)
from secateur.errors import InputError

T = TypeVar("T")
Progress = Callable[[str, int, int], None]

_CHUNK = 64  # images a thread takes at once
_NAMED = 5  # unreadable files that a message names

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Encoded:
    """Images of one split, not decoded yet.

    Args:
        images: N files, or contents of files.
        labels: N class numbers, 0..K-1.
        names: N names for error messages: a path, or a file and its row.
    """

    images: Sequence[Path | bytes]
    labels: Sequence[int]
    names: Sequence[str]

    @staticmethod
    def joined(parts: Iterable[Encoded]) -> Encoded:
        """All images of `parts`, in order."""
        parts = list(parts)
        return Encoded(
            [image for part in parts for image in part.images],
            [label for part in parts for label in part.labels],
            [name for part in parts for name in part.names],
        )


@dataclass(frozen=True)
class Decoded:
    """Decoded splits, one after the other.

    Args:
        images: uint8 (N, C, H, W) of all splits.
        labels: int64 (N,).
        sizes: examples of "train", "test" and perhaps "val", or of "all"; their sum is N.
        classes: K class names.
        codec: how the files are compressed if that loses something: "jpeg q75", "jpeg", or "".
        smallest, largest: the least and the greatest (width, height) of the images before they were resized;
            None: that of `images`.
        left_out: what was not read (".heic", "unreadable") -> how many.
        remarks: what else was found, a sentence each.
        format: which pixels were made of the images; None: they were pixels already.
        files: what was read from files, and each file's state before (see `survey.state_of`).
    """

    images: torch.Tensor
    labels: torch.Tensor
    sizes: Mapping[str, int]
    classes: tuple[str, ...]
    codec: str = ""
    smallest: tuple[int, int] | None = None
    largest: tuple[int, int] | None = None
    left_out: Mapping[str, int] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    format: PixelFormat | None = None
    files: Mapping[str, FileState] = field(default_factory=dict, compare=False)

    @property
    def places(self) -> dict[str, Split]:
        """Each split with the places of its images, int64 (N,), for the images, which so are not touched."""
        sizes = list(self.sizes.values())
        parts = zip(torch.arange(len(self.labels)).split(sizes), self.labels.split(sizes), strict=True)
        return {name: Split(*part) for name, part in zip(self.sizes, parts, strict=True)}


def decode(
    encoded: Mapping[str, Encoded],
    classes: tuple[str, ...],
    reading: Reading | None = None,
    progress: Progress | None = None,
    place: Place | None = None,
) -> Decoded:
    """Decode all splits to the same shape: (1, H, W) if every image is grey, else (3, H, W).

    Args:
        encoded: the images of each split.
        reading: the size, the fit, the background, and whether what cannot be read is left out.
        progress: called with (description, images done, images in all), in this thread.
        place: chooses where the pixels go; None: memory.

    Raises:
        InputError: images cannot be read (all are named at once), sizes differ and no `image_size` is given,
            or there is no space for the pixels.
    """
    with without_bombs():
        return _Decoding(encoded, classes, reading or Reading(), progress, place or Place(None)).decoded()


class _Decoding:
    """The images of all splits, one after the other, on their way to pixels."""

    def __init__(
        self,
        encoded: Mapping[str, Encoded],
        classes: tuple[str, ...],
        reading: Reading,
        progress: Progress | None,
        place: Place,
    ) -> None:
        self.parts = encoded
        self.all = Encoded.joined(encoded.values())
        self.classes = classes
        self.reading = reading
        self.progress = progress
        self.place = place
        self.headers: dict[int, Header] = {}
        self.states: dict[str, FileState] = {}
        self.broken: dict[int, str] = {}

    def decoded(self) -> Decoded:
        """Survey the headers, decode, and leave out or refuse what cannot be read."""
        self._each(self._survey, range(len(self.all.images)), "reading headers")
        self._check_any()
        known = [self.headers[i] for i in sorted(self.headers)]
        if self.broken and not self.reading.skip_unreadable:
            self._refuse_all_broken()
        wanted = self._format(known)
        count = len(self.all.images)
        store = self.place.reserve((count, wanted.channels, wanted.height, wanted.width))

        def decode_one(i: int) -> None:
            pixels = self._attempt(i, wanted.read)
            if pixels is not None:
                store.write(i, pixels)

        self._each(decode_one, sorted(self.headers), "decoding images")
        kept = [i for i in range(count) if i not in self.broken]
        self._check_broken()
        self._check_kept(kept)
        return self._result(kept, store.finished(kept), wanted)

    def _result(self, kept: Sequence[int], images: torch.Tensor, wanted: PixelFormat) -> Decoded:
        known = [self.headers[i] for i in kept]
        labels = torch.tensor([self.all.labels[i] for i in kept], dtype=torch.int64)
        codec = describe_codec([self.all.images[i] for i in kept])
        left_out = {UNREADABLE: len(self.broken)} if self.broken else {}
        said = remarks(known, self.reading.background)
        sizes = self._sizes()
        return Decoded(
            images, labels, sizes, self.classes, codec, *extremes(known), left_out, said, wanted, self.states
        )

    def _survey(self, i: int) -> None:
        """Note the header of image i, and the state of its file before it was read."""

        def survey(source: Path | bytes) -> Header:
            if isinstance(source, Path):
                self.states[str(source)] = state_of(source)
            return read_header(source, self.reading.background)

        header = self._attempt(i, survey)
        if header is not None:
            self.headers[i] = header

    def _attempt(self, i: int, read: Callable[[Path | bytes], T]) -> T | None:
        """Read image i; None, and noted, where it cannot be read."""
        source = self.all.images[i]
        try:
            return read(source)
        # Pillow's decoders raise whatever they meet in a broken file: OSError, SyntaxError, struct.error, ...
        except Exception as error:
            self.broken[i] = why_unreadable(error) or type(error).__name__
            return None

    def _format(self, known: Sequence[Header]) -> PixelFormat:
        """The one format of all images."""
        if self.reading.pixels is not None:
            return self.reading.pixels
        side = self.reading.image_size
        if side is None:
            self._check_sizes(known)
        width, height = (side, side) if side else known[0].size
        channels = 3 if any(header.colour for header in known) else 1
        look = self.reading
        return PixelFormat(channels, height, width, look.fit, look.background, depth_of(known))

    def _check_sizes(self, known: Sequence[Header]) -> None:
        """Refuse images of several sizes, with a size to take."""
        areas = {i: header.size[0] * header.size[1] for i, header in self.headers.items()}
        small, large = (min(areas, key=lambda i: areas[i]), max(areas, key=lambda i: areas[i]))
        first = known[0].size
        if all(header.size == first for header in known):
            return
        if self.headers[small].size == self.headers[large].size:
            large = next(i for i, header in self.headers.items() if header.size != self.headers[small].size)
        (w, h), (wide, high) = (self.headers[i].size for i in (small, large))
        side = proposed_side(known)
        faster = " (smaller trains faster)" if side > 64 else ""
        raise InputError(
            f"images must have one size, but {self.all.names[small]} is {w}x{h} and "
            f"{self.all.names[large]} is {wide}x{high}: resize them all with --image-size {side}{faster}"
        )

    def _check_any(self) -> None:
        if not self.headers:
            raise self._unreadable()

    def _refuse_all_broken(self) -> None:
        """Look for further broken files, so that one message tells of all."""
        shape = PixelFormat(3, 8, 8)
        self._each(lambda i: self._attempt(i, shape.read), sorted(self.headers), "looking for broken images")
        raise self._unreadable()

    def _check_broken(self) -> None:
        for i in self.broken:
            _log.info("unreadable: %s (%s)", self.all.names[i], self.broken[i])
        if self.broken and not self.reading.skip_unreadable:
            raise self._unreadable()

    def _unreadable(self) -> InputError:
        """All that cannot be read, the first five by name."""
        named = [f"{self.all.names[i]} ({self.broken[i]})" for i in sorted(self.broken)[:_NAMED]]
        if len(named) == 1:
            name, why = self.all.names[min(self.broken)], self.broken[min(self.broken)]
            return InputError(
                f"every image must be readable, but {name} is not ({why}): replace or remove it, or leave it "
                "out with --skip-unreadable"
            )
        more = f" and {len(self.broken) - _NAMED} more" if len(self.broken) > _NAMED else ""
        return InputError(
            f"every image must be readable, but {len(self.broken)} of {len(self.all.images)} are not: "
            f"{', '.join(named)}{more}: replace or remove them, or leave them out with --skip-unreadable"
        )

    def _check_kept(self, kept: Sequence[int]) -> None:
        """Every class of every split must keep an image."""
        remaining = set(kept)
        first = 0
        for split, part in self.parts.items():
            places = range(first, first + len(part.labels))
            first += len(part.labels)
            lost = {self.all.labels[i] for i in places} - {
                self.all.labels[i] for i in places if i in remaining
            }
            if lost:
                whose = "" if split == "all" else f" in split '{split}'"
                raise InputError(
                    f"every class needs an image that can be read, but all of class "
                    f"'{self.classes[min(lost)]}'{whose} are unreadable: replace some"
                )

    def _sizes(self) -> dict[str, int]:
        """Images of each split that are kept."""
        sizes, first = {}, 0
        for name, part in self.parts.items():
            last = first + len(part.labels)
            sizes[name] = len(part.labels) - sum(first <= i < last for i in self.broken)
            first = last
        return sizes

    def _each(self, work: Callable[[int], object], items: Sequence[int], description: str) -> None:
        """`work(i)` for each item in threads (Pillow releases the lock)."""

        def run(first: int) -> int:
            last = min(first + _CHUNK, len(items))
            for i in items[first:last]:
                work(i)
            return last

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for done in pool.map(run, range(0, len(items), _CHUNK)):
                if self.progress:
                    self.progress(description, done, len(items))
