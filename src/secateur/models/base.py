"""What every model family of ours shares: how it says what can be pruned and how it is rebuilt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional


class Declared(NamedTuple):
    """Names the layers that a family's channels live in; `secateur.surgery.families` makes a group of it.

    Attributes:
        name: of the channels.
        writers: the layers that write them: one inside a block, several that add up in a residual stream.
        norms: the normalisations between writers and readers.
        readers: the layers that read them. A linear one behind a flatten reads several features of every
            channel; how many follows from the layers' sizes.
        stage: of a residual stream, the index in the factory's argument `stages` that is its width.
    """

    name: str
    writers: tuple[str, ...]
    norms: tuple[str, ...]
    readers: tuple[str, ...]
    stage: int | None = None


class Family(nn.Module):
    """Base of the built-in families. `factory(**arguments, widths=[...])` rebuilds an equal network.

    Attributes:
        factory: name under which `secateur.models.FACTORIES` knows the constructor.
        arguments: every constructor argument but `widths`; JSON-able.
        groups: the channels inside the blocks, in network order; `widths` gives one width for each.
        streams: the residual streams that can be narrowed by changing the argument `stages`, and no more.
    """

    factory: str
    arguments: dict[str, Any]
    groups: tuple[Declared, ...]
    streams: tuple[Declared, ...] = ()

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one example."""
        height, width = self.arguments["image_size"]
        return (self.arguments["in_channels"], height, width)

    @property
    def widths(self) -> tuple[int, ...]:
        """The present width of each group, read from the layers themselves, so never stale."""
        return tuple(out_channels(self.get_submodule(group.writers[0])) for group in self.groups)


class Projection(nn.Conv2d):
    """A 1x1 convolution with a stride, without bias, as shortcuts have.

    In training on a CPU it takes the stride first: oneDNN's gradient of a strided 1x1 convolution in channels
    last writes out of bounds (its issue 6035), and the same products without a stride are also faster.
    """

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__(inputs, outputs, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(x, self.weight)

    def project(self, x: Tensor, weight: Tensor) -> Tensor:
        """With another weight in place of its own."""
        if x.device.type != "cpu" or not torch.is_grad_enabled():
            return self._conv_forward(x, weight, None)
        rows, columns = self.stride
        return functional.conv2d(x[:, :, ::rows, ::columns], weight)


def out_channels(layer: nn.Module) -> int:
    """Output channels of a convolution, output features of a linear layer."""
    width = layer.out_channels if isinstance(layer, nn.Conv2d) else layer.out_features
    assert isinstance(width, int)
    return width


def weight_layer(model: nn.Module, name: str) -> nn.Conv2d | nn.Linear:
    """The convolution or linear layer of that dotted name."""
    layer = model.get_submodule(name)
    assert isinstance(layer, (nn.Conv2d, nn.Linear))
    return layer


def scaled(base: Sequence[int], width: float) -> list[int]:
    """`base` widths times `width`, rounded down (a budget is never exceeded by rounding), at least 1.

    Example:
        >>> scaled([16, 32, 64], 0.75)
        [12, 24, 48]
    """
    return [max(1, int(channels * width)) for channels in base]


def check_common(factory: str, *, width: float, num_classes: int, in_channels: int) -> None:
    """Raise ValueError unless the arguments that every family takes make sense."""
    if not 0 < width <= 1024:
        raise ValueError(f"{factory}: the width multiplier must lie in (0, 1024], got {width}")
    if num_classes < 1:
        raise ValueError(f"{factory}: num_classes must be at least 1, got {num_classes}")
    if in_channels < 1:
        raise ValueError(f"{factory}: in_channels must be at least 1, got {in_channels}")


def stage_widths(
    factory: str, base: Sequence[int], width: float, stages: Sequence[int] | None
) -> tuple[int, ...]:
    """The channels of each residual stage: `stages` as given, else `base` times `width`."""
    if stages is None:
        return tuple(scaled(base, width))
    return tuple(check_widths(factory, stages, base, what="stages"))


def as_size(factory: str, image_size: int | Sequence[int], minimum: int) -> tuple[int, int]:
    """(height, width) from a side or a pair; ValueError where the family would shrink it to nothing."""
    pair = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    if len(pair) != 2:
        raise ValueError(f"{factory}: image_size must be a side or (height, width), got {image_size}")
    if min(pair) < minimum:
        raise ValueError(
            f"{factory}: images must be at least {minimum}x{minimum} pixels, because the network halves "
            f"them until one is left; got {pair[0]}x{pair[1]}: choose another model or --image-size"
        )
    return (pair[0], pair[1])


def check_widths(
    factory: str, widths: Sequence[int] | None, default: Sequence[int], what: str = "groups"
) -> list[int]:
    """The widths to build: `default` where none are given; ValueError unless one positive int per group."""
    if widths is None:
        return list(default)
    if len(widths) != len(default):
        raise ValueError(
            f"{factory}: widths must give one width for each of {len(default)} {what}, got {len(widths)}"
        )
    if any(not isinstance(width, int) or width < 1 for width in widths):
        raise ValueError(f"{factory}: every width must be a whole number of at least 1, got {list(widths)}")
    return list(widths)


def init_kaiming_fan_out(model: nn.Module) -> None:
    """He et al. 2015 over the fan-out (as He et al. 2016 and Zagoruyko & Komodakis 2016); linear biases 0."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)


def global_average(act_NCHW: torch.Tensor) -> torch.Tensor:
    """Mean over all positions: (N, C, H, W) -> (N, C)."""
    return act_NCHW.mean(dim=(2, 3))
