"""From uint8 images to normalised batches: shuffled, cropped, mirrored, cut among processes, resumable.

All chance of an epoch is drawn at its start, so an epoch is a pure function of its generator's seed: any
batch can be made again without making those before it, and every process sees the same epoch.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from secateur.data.augment import Augmentation, Drawn, augmented, draw, on_cpu
from secateur.data.dataset import Data, Split
from secateur.data.memory import available_memory, in_words
from secateur.data.preprocessing import scale_and_shift
from secateur.errors import InputError

_RESIDENT_BYTES = 2 * 2**30  # what a device that cannot tell its free memory is trusted to hold

# Copies of splits' tensors on other devices; each lives as long as the tensor it is of.
_COPIES: MutableMapping[Tensor, dict[torch.device, Tensor]] = WeakTensorKeyDictionary()


@dataclass(frozen=True)
class _Epoch:
    """The order of an epoch and its augmentation."""

    order: Tensor | None = None  # int64 (N,); None: as they are stored
    drawn: Drawn | None = None  # entry i belongs to the i-th example of the order

    def to(self, device: torch.device) -> _Epoch:
        order = None if self.order is None else self.order.to(device)
        return _Epoch(order, self.drawn.to(device) if self.drawn else None)


def count_batches(n: int, batch_size: int, world: int = 1) -> int:
    """Training batches in an epoch of `n` examples.

    A short last batch counts only if it has two examples for each of `world` processes: batch
    normalisation needs more than one.

    Args:
        n: examples, at least 0.
        batch_size: examples of all processes together.
        world: processes, at least 1.

    Returns:
        Batches of every process.

    Raises:
        InputError: `batch_size` itself is below two for each process.

    Example:
        >>> count_batches(257, 128), count_batches(258, 128)
        (2, 3)
    """
    if batch_size < 2 * world:
        raise InputError(
            f"batch size must be at least {2 * world} (two for each process: batch normalisation needs "
            f"more than one), not {batch_size}"
        )
    full, rest = divmod(n, batch_size)
    return full + (rest >= 2 * world)


def epoch_batches(
    split: Split,
    data: Data,
    *,
    batch_size: int,
    device: torch.device | str,
    generator: torch.Generator | None = None,
    augmentation: Augmentation | None = None,
    start: int = 0,
    rank: int = 0,
    world: int = 1,
    layout: torch.memory_format = torch.contiguous_format,
) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch of `split`, normalised with `data`'s mean and std.

    With a generator (training): shuffled, augmented if `augmentation` is given; a short last batch is
    dropped as `count_batches` says. Without (evaluation): in order, not augmented, nothing dropped.
    The generator is drawn from when this function is called, never later.

    Args:
        split: the images and their labels.
        data: whose mean and std they are normalised by.
        generator: draws the order and the augmentation; None: neither.
        augmentation: what is done to the images of a training epoch; None: nothing.
        batch_size: examples of all processes together, >= 1 (training: >= 2 * world).
        device: where the batches shall be. The split is copied there if it fits, once for all epochs: the
            copy stays as long as the split does, which must not be written to.
        start: batches to skip; the following ones are those of the uninterrupted epoch.
        rank, world: this process, 0..world-1, and their number. Each batch is cut to a multiple of `world`
            (training only) and this process gets its `[rank::world]`; an empty slice is left out.
        layout: `torch.contiguous_format` or `torch.channels_last`, how x lies in memory; images that are both
            at once, of one channel or one pixel, have plain strides.

    Yields:
        x: float32 (B, C, H, W) in `layout`, (pixel / 255 - mean) / std; black where padded.
        y: int64 (B,). Both are the caller's: no later batch is written over them.

    Raises:
        InputError: the batch size or the training split is too small.
    """
    assert start >= 0, start
    assert 0 <= rank < world, (rank, world)
    if batch_size < 1:
        raise InputError(f"batch size must be at least 1, not {batch_size}")
    slices = _evaluation_slices(len(split), batch_size)
    if generator is None:
        augmentation = None
    else:
        slices = _training_slices(len(split), batch_size, world)
    epoch = _draw(len(split), generator, augmentation, split.images.shape[-2:])
    mine = [positions[rank::world] for positions in slices[start:]]
    return _batches(split, data, epoch, mine, torch.device(device), layout)


def check_batch(data: Data, batch_size: int, device: torch.device) -> None:
    """Refuse, before anything is trained, a batch that memory cannot hold twice: its bytes and as numbers.

    What the network makes of it takes more, often many times as much.

    Raises:
        InputError: naming both sizes.
    """
    channels, height, width = data.shape
    size = batch_size * channels * height * width * 8
    memory = available_memory()
    if device.type == "cpu" and size > memory:
        raise InputError(
            f"a batch must fit into memory, but {batch_size} images of {channels}x{height}x{width} take at "
            f"least {in_words(size)} and {in_words(memory)} are available: lower --batch-size or --image-size"
        )


def first_images(data: Data, count: int) -> Tensor:
    """Read the first training images, normalised: (count, C, H, W), on the CPU."""
    batches = epoch_batches(data.train, data, batch_size=count, device=torch.device("cpu"))
    return next(iter(batches))[0]


def _evaluation_slices(n: int, batch_size: int) -> list[range]:
    return [range(first, min(first + batch_size, n)) for first in range(0, n, batch_size)]


def _training_slices(n: int, batch_size: int, world: int) -> list[range]:
    """Positions of each global batch, a multiple of `world` and no longer than `batch_size`."""
    count = count_batches(n, batch_size, world)
    if not count:
        raise InputError(f"training needs two examples for each process, {2 * world}, and has {n}: add data")
    slices = _evaluation_slices(n, batch_size)[:count]
    return [positions[: len(positions) // world * world] for positions in slices]


def _draw(
    n: int, generator: torch.Generator | None, augmentation: Augmentation | None, shape: torch.Size
) -> _Epoch:
    if generator is None:
        return _Epoch()
    order = on_cpu(torch.randperm(n, generator=generator, device=generator.device))
    return _Epoch(order, draw(n, augmentation, shape, generator) if augmentation else None)


def _batches(
    split: Split,
    data: Data,
    epoch: _Epoch,
    slices: list[range],
    device: torch.device,
    layout: torch.memory_format,
) -> Iterator[tuple[Tensor, Tensor]]:
    home = device if _fits(split, device) else torch.device("cpu")
    images, labels = _copy_at(split.images, home), _copy_at(split.labels, home)
    drawn = epoch.to(home)
    layout = _unambiguous(layout, images)
    scale, shift = (t.to(device) for t in _affine(data, images, layout))
    for positions in slices:
        if not positions:
            continue
        chosen = slice(positions.start, positions.stop, positions.step)
        batch = _take(images, drawn, chosen)
        if drawn.drawn:
            batch = augmented(batch, drawn.drawn.of_batch(chosen))
        answers = _take(labels, drawn, chosen).to(device, copy=True)  # never a view of the split's own
        yield normalise(batch.to(device), scale, shift, layout), answers


def _take(values: Tensor, epoch: _Epoch, chosen: slice) -> Tensor:
    """The examples at the places `chosen` of the epoch; a view where the epoch keeps the stored order."""
    return values[chosen] if epoch.order is None else values.index_select(0, epoch.order[chosen])


def normalise(images: Tensor, scale: Tensor, shift: Tensor, layout: torch.memory_format) -> Tensor:
    """float32 (B, C, H, W) in `layout`, a new tensor: `images * scale + shift`, from uint8; see `_affine`."""
    if layout == torch.contiguous_format:
        return images.to(torch.float32, memory_format=layout).mul_(scale).add_(shift)
    floats = torch.empty(images.shape, dtype=torch.float32, device=images.device, memory_format=layout)
    for channel in range(images.shape[1]):  # as a whole, torch would rearrange it element by element
        floats[:, channel] = images[:, channel]
    return floats.mul_(scale).add_(shift)


def _affine(data: Data, images: Tensor, layout: torch.memory_format) -> tuple[Tensor, Tensor]:
    """`(x / 255 - mean) / std` as one multiplication and one addition, each float32 (1, C, 1, 1).

    For channels last they are (1, C, H, W): a broadcast would have inner loops of C elements.
    """
    scale, shift = scale_and_shift(data.mean, data.std)
    if layout == torch.channels_last:
        scale, shift = (
            t.expand(1, *images.shape[1:]).contiguous(memory_format=layout) for t in (scale, shift)
        )
    return scale, shift


def _unambiguous(layout: torch.memory_format, images: Tensor) -> torch.memory_format:
    """Where an image lies alike in both layouts, its strides are plain, by which torch chooses a kernel."""
    _, channels, height, width = images.shape
    return torch.contiguous_format if channels == 1 or height * width == 1 else layout


def _copy_at(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device; what must be copied is copied once, and kept while `tensor` lives."""
    copies = _COPIES.get(tensor, {})
    if device in copies:
        return copies[device]
    copy = tensor.to(device)
    if copy is not tensor:
        _COPIES.setdefault(tensor, {})[device] = copy
    return copy


def _fits(split: Split, device: torch.device) -> bool:
    """Whether the split is on the device or may be: within half of the free memory where that is known."""
    size = split.images.nbytes
    if device.type == "cpu" or device in _COPIES.get(split.images, {}):
        return True
    if device.type == "cuda":
        return size < torch.cuda.mem_get_info(device)[0] / 2
    return size < _RESIDENT_BYTES
