"""Conv4, Frankle & Carbin 2019 (arXiv:1803.03635, Fig. 2): four convolutions, three linear layers.

Prunable: the output of every convolution and of the two hidden linear layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from secateur.models.base import Declared, Family, as_size, check_common, check_widths, scaled, weight_layer

CHANNELS = (64, 64, 128, 128)
HIDDEN = (256, 256)


class Conv4(Family):
    """See `conv4`."""

    def __init__(
        self,
        width: float = 1,
        num_classes: int = 10,
        in_channels: int = 3,
        image_size: int | Sequence[int] = 32,
        widths: Sequence[int] | None = None,
    ):
        super().__init__()
        check_common("conv4", width=width, num_classes=num_classes, in_channels=in_channels)
        height, breadth = as_size("conv4", image_size, minimum=4)
        c1, c2, c3, c4, h1, h2 = check_widths("conv4", widths, scaled(CHANNELS + HIDDEN, width))

        self.factory = "conv4"
        self.arguments = {
            "width": width,
            "num_classes": num_classes,
            "in_channels": in_channels,
            "image_size": [height, breadth],
        }
        layers = ("conv1", "conv2", "conv3", "conv4", "fc1", "fc2", "classifier")
        self.groups = tuple(Declared(layer, (layer,), (), (reader,)) for layer, reader in pairwise(layers))
        self.conv1 = nn.Conv2d(in_channels, c1, 3, padding=1)
        self.conv2 = nn.Conv2d(c1, c2, 3, padding=1)
        self.conv3 = nn.Conv2d(c2, c3, 3, padding=1)
        self.conv4 = nn.Conv2d(c3, c4, 3, padding=1)
        self.fc1 = nn.Linear(c4 * (height // 4) * (breadth // 4), h1)
        self.fc2 = nn.Linear(h1, h2)
        self.classifier = nn.Linear(h2, num_classes)
        for layer in layers:  # Glorot & Bengio 2010, as Frankle & Carbin
            weights = weight_layer(self, layer)
            nn.init.xavier_normal_(weights.weight)
            assert weights.bias is not None
            nn.init.zeros_(weights.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv2(F.relu(self.conv1(x)))), 2)
        x = F.max_pool2d(F.relu(self.conv4(F.relu(self.conv3(x)))), 2)
        x = F.relu(self.fc1(x.flatten(1)))
        return self.classifier(F.relu(self.fc2(x)))


def conv4(
    width: float = 1,
    num_classes: int = 10,
    in_channels: int = 3,
    image_size: int | Sequence[int] = 32,
    widths: Sequence[int] | None = None,
) -> Conv4:
    """Conv4 for (N, in_channels, H, W) images of exactly `image_size` (>= 4x4); logits (N, num_classes).

    2,425,024 weights at 32x32x3 without biases.

    Args:
        width: a multiplier of the widths 64, 64, 128, 128 and 256, 256 (rounded down), above 0.
        num_classes, in_channels: at least 1.
        image_size: a side or (height, width), at least 4: the first linear layer is made for it.
        widths: of the four convolutions and the two linear layers, in place of these.

    Returns:
        The network, its weights drawn at random.

    Raises:
        ValueError: where an argument makes no sense; the message names it.

    Reference: Frankle & Carbin 2019, Fig. 2.
    """
    return Conv4(width, num_classes, in_channels, image_size, widths)
