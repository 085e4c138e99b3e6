"""Augmentation of uint8 images, a batch at a time: crops, mirroring, colour jitter.

`draw` draws all chance of an epoch; `augmented` has none of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample
from torch.nn.functional import pad as zero_pad

SMALLEST_BOX = 0.08  # share of the image's area, as Szegedy et al. 2015, section 6, and everybody since
_RATIO = 4 / 3  # the widest box, and the inverse of the narrowest
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


@dataclass(frozen=True)
class Augmentation:
    """What is done at random to training images.

    Args:
        pad: zero-pad by so many pixels (>= 0) and crop at random.
        flip: mirror left-right with p = 0.5.
        resized: instead of `pad`, cut out a box of 8% to 100% of the area and of 3:4 to 4:3, and resize it.
        jitter: in [0, 1): brightness, contrast and saturation are multiplied by 1 - jitter .. 1 + jitter.
    """

    pad: int
    flip: bool
    resized: bool = False
    jitter: float = 0.0


@dataclass(frozen=True)
class Drawn:
    """The chance of an epoch, or of a batch; each tensor has an entry for each example, or is None.

    Args:
        pad: zero-padding around each image.
        top, left: int64 (N,), the corner of the crop in the padded image, 0..2*pad.
        mirrored: bool (N,).
        boxes: int64 (N, 4): top, left, height and width of what is resized to the whole.
        tints: float32 (N, 3): factors of brightness, contrast and saturation.
    """

    pad: int = 0
    top: Tensor | None = None
    left: Tensor | None = None
    mirrored: Tensor | None = None
    boxes: Tensor | None = None
    tints: Tensor | None = None

    def to(self, device: torch.device) -> Drawn:
        """The same on a device."""
        return self._each(lambda values: values.to(device))

    def of_batch(self, chosen: slice) -> Drawn:
        """The chance of the examples at these places of the epoch."""
        return self._each(lambda values: values[chosen])

    def _each(self, change: Callable[[Tensor], Tensor]) -> Drawn:
        changed = {name: change(value) for name, value in vars(self).items() if isinstance(value, Tensor)}
        return Drawn(self.pad, **changed)


def draw(n: int, augmentation: Augmentation, size: torch.Size, generator: torch.Generator) -> Drawn:
    """Draw for `n` images of `size` (height, width); what is not used is not drawn."""
    drawn: dict[str, Tensor] = {}
    if augmentation.resized:
        drawn["boxes"] = draw_boxes(n, size, generator)
    else:
        drawn["top"], drawn["left"] = (_integers(2 * augmentation.pad + 1, n, generator) for _ in range(2))
    if augmentation.flip:
        drawn["mirrored"] = _integers(2, n, generator).bool()
    if augmentation.jitter:
        drawn["tints"] = 1 + augmentation.jitter * (2 * _shares((n, 3), generator) - 1)
    return Drawn(0 if augmentation.resized else augmentation.pad, **drawn)


def draw_boxes(n: int, size: torch.Size, generator: torch.Generator) -> Tensor:
    """Boxes within images of `size` (height, width), int64 (n, 4): top, left, height, width.

    The area is uniform in 8% to 100%, the logarithm of width / height uniform in that of 3:4 to 4:3; a side
    longer than the image's is the image's.
    """
    height, width = size
    area, ratio, down, across = _shares((n, 4), generator).unbind(1)
    area = (SMALLEST_BOX + (1 - SMALLEST_BOX) * area) * height * width
    ratio = _RATIO ** (2 * ratio - 1)
    high = (area / ratio).sqrt().round().clamp(1, height)
    wide = (area * ratio).sqrt().round().clamp(1, width)
    top = torch.minimum((down * (height - high + 1)).floor(), height - high)
    left = torch.minimum((across * (width - wide + 1)).floor(), width - wide)
    return torch.stack([top, left, high, wide], 1).long()


def augmented(images: Tensor, drawn: Drawn) -> Tensor:
    """Crop or resize, mirror and tint images, uint8 (B, C, H, W), as was drawn for them."""
    if drawn.boxes is not None:
        images = resized_crop(images, drawn.boxes)
    elif drawn.top is not None and drawn.left is not None and drawn.pad:
        images = crop(images, drawn.top, drawn.left, drawn.pad)
    if drawn.mirrored is not None:
        images = mirror(images, drawn.mirrored)
    return images if drawn.tints is None else tinted(images, drawn.tints)


def crop(images: Tensor, top: Tensor, left: Tensor, pad: int) -> Tensor:
    """Zero-pad every image by `pad` and cut one window of the old size out of each.

    In memory, a window is its image shifted, so one run of bytes an image takes them all; the pixels that
    the shift brought in from beyond an edge are then blacked out.

    Args:
        images: uint8 (B, C, H, W), contiguous.
        top, left: int64 (B,), the window's corner in the padded image, 0..2*pad.

    Returns:
        (B, C, H, W), contiguous.
    """
    count, channels, height, width = images.shape
    size = channels * height * width
    slack = images.new_zeros(pad * (width + 1))  # the largest shift
    starts = torch.arange(0, count * size, size, device=images.device) + (top * width + left)
    shifted = _runs(torch.cat([slack, images.flatten(), slack]), starts, size)
    rows = _inside(height, pad, images.device)[top].unsqueeze(2)
    columns = _inside(width, pad, images.device)[left].unsqueeze(1)
    return shifted.view_as(images).mul_((rows * columns).unsqueeze(1))


@lru_cache(maxsize=16)
def _inside(side: int, pad: int, device: torch.device) -> Tensor:
    """(2 * pad + 1, side) of 0 and 1: in the window that begins at row i, whether row j is of the image."""
    return zero_pad(torch.ones(side, dtype=torch.uint8, device=device), [pad, pad]).unfold(0, side, 1)


def _runs(values: Tensor, starts: Tensor, length: int) -> Tensor:
    """(B, length): `values[start : start + length]` for each of the starts, int64 (B,).

    On a CPU each run is one `memcpy`: numpy copies elements of `length` bytes, which may begin at any byte.
    """
    if values.device.type != "cpu":
        return values[starts.unsqueeze(1) + torch.arange(length, device=values.device)]
    elements = np.ndarray((len(values) - length + 1,), f"V{length}", values.numpy(), strides=(1,))
    return torch.from_numpy(elements[starts.numpy()].view(np.uint8)).view(len(starts), length)


def mirror(images: Tensor, mirrored: Tensor) -> Tensor:
    """Reverse the columns of the images (B, C, H, W) where `mirrored`, bool (B,), is true.

    Choosing whole images among both versions takes a quarter of the time of an element-wise `torch.where`.
    """
    both = torch.cat([images, images.flip(-1)])
    count = len(images)
    return both.index_select(0, torch.arange(count, device=images.device) + count * mirrored)


def resized_crop(images: Tensor, boxes: Tensor) -> Tensor:
    """Cut a box out of each image, uint8 (B, C, H, W), and resize it to H x W, bilinear.

    Boxes are no larger than the image, so nothing is reduced and there is nothing to antialias.

    Args:
        boxes: int64 (B, 4): top, left, height, width.
    """
    height, width = images.shape[-2:]
    top, left, high, wide = boxes.unbind(1)
    rows = _sampled(top, high, height)[:, :, None].expand(-1, -1, width)
    columns = _sampled(left, wide, width)[:, None, :].expand(-1, height, -1)
    places = torch.stack([columns, rows], -1)
    sampled = grid_sample(images.float(), places, "bilinear", "border", align_corners=False)
    return sampled.round_().clamp_(0, 255).to(torch.uint8)


def _sampled(first: Tensor, length: Tensor, side: int) -> Tensor:
    """(B, side): where `side` pixels of a run that begins at `first` are taken, in `grid_sample`'s units."""
    steps = (torch.arange(side, device=first.device) + 0.5) / side
    places = (steps * length[:, None] - 0.5).clamp(min=0)
    places = torch.minimum(places, (length[:, None] - 1).float()) + first[:, None]
    return (2 * places + 1) / side - 1


def tinted(images: Tensor, tints: Tensor) -> Tensor:
    """Change brightness, then contrast, then saturation of images, uint8 (B, C, H, W).

    Args:
        tints: float32 (B, 3): brightness multiplies all; contrast the distance from the image's mean grey;
            saturation the distance from each pixel's grey (of one channel: nothing).
    """
    brightness, contrast, saturation = tints.view(-1, 3, 1, 1, 1).unbind(1)
    values = (images.float() * brightness).clamp_(0, 255)
    mean = _grey(values).mean((1, 2, 3), keepdim=True)
    values = ((values - mean) * contrast + mean).clamp_(0, 255)
    grey = _grey(values)
    values = (values - grey) * saturation + grey
    return values.round_().clamp_(0, 255).to(torch.uint8)


def _grey(values: Tensor) -> Tensor:
    """float32 (B, 1, H, W)."""
    if values.shape[1] == 1:
        return values
    weights = values.new_tensor(_LUMA).view(1, 3, 1, 1)
    return (values * weights).sum(1, keepdim=True)


def _integers(high: int, n: int, generator: torch.Generator) -> Tensor:
    return on_cpu(torch.randint(high, (n,), generator=generator, device=generator.device))


def _shares(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return on_cpu(torch.rand(shape, generator=generator, device=generator.device))


def on_cpu(tensor: Tensor) -> Tensor:
    """The same on the CPU, where batches are put together unless they fit on the device."""
    return tensor.to("cpu")
