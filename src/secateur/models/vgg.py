"""VGG19, Simonyan & Zisserman 2015 (arXiv:1409.1556), for small images: batch norm, one linear layer.

Prunable: the output of every one of the sixteen convolutions.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from secateur.models.base import (
    Declared,
    Family,
    as_size,
    check_common,
    check_widths,
    global_average,
    scaled,
)

CHANNELS = (64, 64, 128, 128, *[256] * 4, *[512] * 8)
POOL_AFTER = (1, 3, 7, 11, 15)  # 2x2 max-pooling behind these convolutions


class VGG19(Family):
    """See `vgg19`."""

    def __init__(
        self,
        width: float = 1,
        num_classes: int = 10,
        in_channels: int = 3,
        image_size: int | Sequence[int] = 32,
        widths: Sequence[int] | None = None,
    ):
        super().__init__()
        check_common("vgg19", width=width, num_classes=num_classes, in_channels=in_channels)
        size = as_size("vgg19", image_size, minimum=32)
        channels = check_widths("vgg19", widths, scaled(CHANNELS, width))

        self.factory = "vgg19"
        self.arguments = {
            "width": width,
            "num_classes": num_classes,
            "in_channels": in_channels,
            "image_size": list(size),
        }
        readers = [*(f"convs.{j}" for j in range(1, len(channels))), "classifier"]
        self.groups = tuple(
            Declared(f"convs.{j}", (f"convs.{j}",), (f"norms.{j}",), (reader,))
            for j, reader in enumerate(readers)
        )
        inputs = [in_channels, *channels[:-1]]
        self.convs = nn.ModuleList(
            nn.Conv2d(i, o, 3, padding=1, bias=False) for i, o in zip(inputs, channels, strict=True)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(o) for o in channels)
        self.classifier = nn.Linear(channels[-1], num_classes)
        self._initialise()

    def _initialise(self) -> None:
        """He et al. 2015 over the fan-out for convolutions, N(0, 0.01) for the classifier (torchvision's)."""
        for conv in self.convs.children():
            assert isinstance(conv.weight, Tensor)
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(self.classifier.weight, 0, 0.01)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, x: Tensor) -> Tensor:
        for j, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            x = F.relu(norm(conv(x)))
            if j in POOL_AFTER:
                x = F.max_pool2d(x, 2)
        return self.classifier(global_average(x))


def vgg19(
    width: float = 1,
    num_classes: int = 10,
    in_channels: int = 3,
    image_size: int | Sequence[int] = 32,
    widths: Sequence[int] | None = None,
) -> VGG19:
    """VGG19 with batch norm for (N, in_channels, H, W) images of at least 32x32; logits (N, num_classes).

    The five poolings leave 1x1 of 32x32; what a larger image leaves is averaged.

    Args:
        width: a multiplier of the widths 64 to 512 (rounded down), above 0.
        num_classes, in_channels: at least 1.
        image_size: a side or (height, width), at least 32; used for counting MACs, not fixed in the weights.
        widths: of each of the sixteen convolutions, in place of these.

    Returns:
        The network, its weights drawn at random.

    Raises:
        ValueError: where an argument makes no sense; the message names it.

    Reference: Simonyan & Zisserman 2015, Table 1, column E.
    """
    return VGG19(width, num_classes, in_channels, image_size, widths)
