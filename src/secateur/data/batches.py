"""From uint8 images to normalised batches: shuffled, cropped, mirrored, cut among processes, resumable.

All chance of an epoch is drawn at its start, so an epoch is a pure function of its generator's seed: any
batch can be made again without making those before it, and every process sees the same epoch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad as zero_pad

from secateur.data.dataset import Augmentation, Data, Split
from secateur.errors import InputError

_RESIDENT_BYTES = 2 * 2**30  # what a device that cannot tell its free memory is trusted to hold


@dataclass(frozen=True)
class _Epoch:
    """The order of an epoch and its augmentation; entry i belongs to the i-th example drawn."""

    order: Tensor  # int64 (N,)
    top: Tensor | None = None  # int64 (N,), row of the crop in the padded image, 0..2*pad
    left: Tensor | None = None  # int64 (N,), its column
    mirrored: Tensor | None = None  # bool (N,)

    def to(self, device: torch.device) -> _Epoch:
        moved = {name: None if value is None else value.to(device) for name, value in vars(self).items()}
        return _Epoch(**moved)  # type: ignore[arg-type]  # `order` is never None


def count_batches(n: int, batch_size: int, world: int = 1) -> int:
    """Training batches in an epoch of `n` examples.

    A short last batch counts only if it has two examples for each of `world` processes: batch
    normalisation needs more than one.

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
) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch of `split`, normalised with `data`'s mean and std.

    With a generator (training): shuffled, augmented if `augmentation` is given; a short last batch is
    dropped as `count_batches` says. Without (evaluation): in order, not augmented, nothing dropped.
    The generator is drawn from when this function is called, never later.

    Args:
        batch_size: examples of all processes together, >= 1 (training: >= 2 * world).
        device: where the batches shall be. The split is moved there once if it fits.
        start: batches to skip; the following ones are those of the uninterrupted epoch.
        rank, world: this process, 0..world-1, and their number. Each batch is cut to a multiple of `world`
            (training only) and this process gets its `[rank::world]`; an empty slice is left out.

    Yields:
        x: float32 (B, C, H, W), contiguous, (pixel / 255 - mean) / std; black where padded.
        y: int64 (B,).

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
    epoch = _draw(len(split), generator, augmentation)
    mine = [positions[rank::world] for positions in slices[start:]]
    return _batches(split, data, epoch, mine, torch.device(device), augmentation.pad if augmentation else 0)


def _evaluation_slices(n: int, batch_size: int) -> list[range]:
    return [range(first, min(first + batch_size, n)) for first in range(0, n, batch_size)]


def _training_slices(n: int, batch_size: int, world: int) -> list[range]:
    """Positions of each global batch, a multiple of `world` and no longer than `batch_size`."""
    count = count_batches(n, batch_size, world)
    if not count:
        raise InputError(f"training needs two examples for each process, {2 * world}, and has {n}: add data")
    slices = _evaluation_slices(n, batch_size)[:count]
    return [positions[: len(positions) // world * world] for positions in slices]


def _draw(n: int, generator: torch.Generator | None, augmentation: Augmentation | None) -> _Epoch:
    if generator is None:
        return _Epoch(torch.arange(n))
    order = _on_cpu(torch.randperm(n, generator=generator, device=generator.device))
    if augmentation is None:
        return _Epoch(order)
    top, left = (_integers(2 * augmentation.pad + 1, n, generator) for _ in range(2))
    mirrored = _integers(2, n, generator).bool() if augmentation.flip else None
    return _Epoch(order, top, left, mirrored)


def _integers(high: int, n: int, generator: torch.Generator) -> Tensor:
    return _on_cpu(torch.randint(high, (n,), generator=generator, device=generator.device))


def _on_cpu(tensor: Tensor) -> Tensor:
    return tensor.to("cpu")


def _batches(
    split: Split, data: Data, epoch: _Epoch, slices: list[range], device: torch.device, pad: int
) -> Iterator[tuple[Tensor, Tensor]]:
    home = device if _fits(split, device) else torch.device("cpu")
    images, labels = split.images.to(home), split.labels.to(home)
    drawn = epoch.to(home)
    scale, shift = (t.to(device) for t in _affine(data))
    for positions in slices:
        if not positions:
            continue
        chosen = slice(positions.start, positions.stop, positions.step)
        rows = drawn.order[chosen]
        batch = _augment(images.index_select(0, rows), drawn, chosen, pad)
        yield normalise(batch.to(device), scale, shift), labels[rows].to(device)


def _augment(images: Tensor, epoch: _Epoch, chosen: slice, pad: int) -> Tensor:
    if epoch.top is not None and epoch.left is not None and pad:
        images = crop(images, epoch.top[chosen], epoch.left[chosen], pad)
    return images if epoch.mirrored is None else mirror(images, epoch.mirrored[chosen])


def crop(images: Tensor, top: Tensor, left: Tensor, pad: int) -> Tensor:
    """Zero-pad every image by `pad` and cut one window of the old size out of each.

    The windows of all offsets are a strided view, so that one gather of whole rows takes all crops.
    Padding a batch costs microseconds; a padded copy of the data set would cost its memory again.

    Args:
        images: (B, C, H, W).
        top, left: int64 (B,), the window's corner in the padded image, 0..2*pad.

    Returns:
        (B, C, H, W).
    """
    height, width = images.shape[-2:]
    windows = zero_pad(images, [pad] * 4).unfold(2, height, 1).unfold(3, width, 1)
    return windows[torch.arange(len(images), device=images.device), :, top, left]


def mirror(images: Tensor, mirrored: Tensor) -> Tensor:
    """Reverse the columns of the images (B, C, H, W) where `mirrored`, bool (B,), is true.

    Choosing whole images among both versions takes a quarter of the time of an element-wise `torch.where`.
    """
    both = torch.cat([images, images.flip(-1)])
    count = len(images)
    return both.index_select(0, torch.arange(count, device=images.device) + count * mirrored)


def normalise(images: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """float32 (B, C, H, W), contiguous: `images * scale + shift`, from uint8; see `_affine`."""
    floats = images.to(torch.float32).mul_(scale).add_(shift)
    return floats.contiguous()


def _affine(data: Data) -> tuple[Tensor, Tensor]:
    """`(x / 255 - mean) / std` as one multiplication and one addition, each float32 (1, C, 1, 1)."""
    mean, std = (torch.tensor(v, dtype=torch.float64).view(1, -1, 1, 1) for v in (data.mean, data.std))
    return (1 / (255 * std)).float(), (-mean / std).float()


def _fits(split: Split, device: torch.device) -> bool:
    """Whether the split may live on the device: within half of the free memory where that is known."""
    size = split.images.nbytes
    if device.type == "cpu":
        return True
    if device.type == "cuda":
        return size < torch.cuda.mem_get_info(device)[0] / 2
    return size < _RESIDENT_BYTES
