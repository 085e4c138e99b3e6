"""Networks that are not ours, as users have them: small, each with something that surgery can get wrong."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


class DenseLayer(nn.Module):
    """Pre-activation bottleneck whose output is concatenated to its input (Huang et al. 2017)."""

    def __init__(self, channels, growth):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(channels), nn.Conv2d(channels, 2 * growth, 1, bias=False)
        self.bn2, self.conv2 = nn.BatchNorm2d(2 * growth), nn.Conv2d(2 * growth, growth, 3, 1, 1, bias=False)

    def forward(self, x):
        new = self.conv2(F.relu(self.bn2(self.conv1(F.relu(self.bn1(x))))))
        return torch.cat([x, new], 1)


class DenseNet(nn.Module):
    def __init__(self, growth=6, num_classes=10, in_channels=3):
        super().__init__()
        self.stem = nn.Conv2d(in_channels, 2 * growth, 3, 1, 1, bias=False)
        self.block1 = nn.Sequential(*[DenseLayer((2 + i) * growth, growth) for i in range(3)])
        self.transition = nn.Conv2d(5 * growth, 3 * growth, 1, bias=False)
        self.block2 = nn.Sequential(*[DenseLayer((3 + i) * growth, growth) for i in range(2)])
        self.bn, self.fc = nn.BatchNorm2d(5 * growth), nn.Linear(5 * growth, num_classes)

    def forward(self, x):
        x = F.avg_pool2d(self.transition(self.block1(self.stem(x))), 2)
        return self.fc(F.relu(self.bn(self.block2(x))).mean((2, 3)))


def shuffle(x, groups):
    n, c, h, w = x.shape
    return x.view(n, groups, c // groups, h, w).transpose(1, 2).reshape(n, c, h, w)


class ShuffleNet(nn.Module):
    """Two ShuffleNet units: grouped 1x1, shuffle, depthwise, grouped 1x1, identity (Zhang et al. 2018)."""

    def __init__(self, channels=32, groups=2, num_classes=10, in_channels=3):
        super().__init__()
        self.groups = groups
        self.stem = nn.Conv2d(in_channels, channels, 3, 1, 1)
        self.units = nn.ModuleList()
        for _ in range(2):
            unit = nn.ModuleDict(
                {
                    "squeeze": nn.Conv2d(channels, channels, 1, groups=groups, bias=False),
                    "bn1": nn.BatchNorm2d(channels),
                    "depth": nn.Conv2d(channels, channels, 3, 1, 1, groups=channels, bias=False),
                    "bn2": nn.BatchNorm2d(channels),
                    "expand": nn.Conv2d(channels, channels, 1, groups=groups, bias=False),
                    "bn3": nn.BatchNorm2d(channels),
                }
            )
            self.units.append(unit)
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, x):
        x = F.relu(self.stem(x))
        for unit in self.units:
            new = shuffle(F.relu(unit["bn1"](unit["squeeze"](x))), self.groups)
            x = F.relu(x + unit["bn3"](unit["expand"](unit["bn2"](unit["depth"](new)))))
        return self.fc(x.mean((2, 3)))


class PlainShuffle(nn.Module):
    """A shuffle between two ungrouped convolutions: its order depends on the width, and nothing says so."""

    def __init__(self, channels=32, num_classes=10, in_channels=3):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, 1, 1)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1)
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, x):
        return self.fc(F.relu(self.conv2(shuffle(F.relu(self.conv1(x)), 4))).mean((2, 3)))


class PaddedBlock(nn.Module):
    """A basic block whose shortcut subsamples and pads channels with zeros (He et al. 2016, option A)."""

    def __init__(self, channels, out, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out)
        self.conv2, self.bn2 = nn.Conv2d(out, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out)
        self.stride, self.more = stride, (out - channels) // 2

    def forward(self, x):
        new = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        short = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.more, self.more))
        return F.relu(short + new)


class PaddedResNet(nn.Module):
    def __init__(self, width=8, num_classes=10, in_channels=3):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(in_channels, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        self.blocks = nn.Sequential(
            PaddedBlock(width, width, 1),
            PaddedBlock(width, 2 * width, 2),
            PaddedBlock(2 * width, 4 * width, 2),
        )
        self.fc = nn.Linear(4 * width, num_classes)

    def forward(self, x):
        return self.fc(self.blocks(F.relu(self.bn(self.conv(x)))).mean((2, 3)))


class SqueezeExcite(nn.Module):
    """Two convolutions and a squeeze-and-excitation with a sigmoid, f(0) = 0.5 (Hu et al. 2018)."""

    def __init__(self, channels=24, num_classes=10, in_channels=3):
        super().__init__()
        self.conv1, self.bn = nn.Conv2d(in_channels, channels, 3, 1, 1), nn.BatchNorm2d(channels)
        self.down, self.up = nn.Linear(channels, channels // 4), nn.Linear(channels // 4, channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 2, 1)
        self.act, self.fc = nn.PReLU(channels), nn.Linear(channels * 16, num_classes)

    def forward(self, x):
        x = torch.sigmoid(self.bn(self.conv1(x)))
        x = x * torch.sigmoid(self.up(F.silu(self.down(x.mean((2, 3))))))[:, :, None, None]
        return self.fc(F.adaptive_avg_pool2d(self.act(self.conv2(x)), 4).flatten(1))


class GroupNormNet(nn.Module):
    """Group normalisation, an attention over positions that nothing can cut, transposed convolution, GELU."""

    def __init__(self, channels=16, num_classes=10, in_channels=3):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(in_channels, channels, 3, 2, 1), nn.GroupNorm(4, channels)
        self.up, self.norm2 = nn.ConvTranspose2d(channels, channels, 2, 2), nn.GroupNorm(8, channels)
        self.query, self.key = nn.Conv2d(channels, channels, 1), nn.Conv2d(channels, channels, 1)
        self.conv2, self.fc = nn.Conv2d(channels, channels, 3, 2, 1), nn.Linear(channels, num_classes)

    def forward(self, x):
        x = F.softplus(self.norm1(self.conv1(x)))
        x = F.gelu(self.norm2(self.up(x)))
        x = F.avg_pool2d(x, 4)
        query, key = self.query(x).flatten(2), self.key(x).flatten(2)
        weights = (query.transpose(1, 2) @ key).softmax(-1)
        x = x + (x.flatten(2) @ weights).view_as(x)
        return self.fc(F.gelu(self.conv2(x)).mean((2, 3)))


def mlp(features=64, num_classes=10):
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(features, 48),
        nn.LayerNorm(48),
        nn.GELU(),
        nn.Linear(48, 32),
        nn.Sigmoid(),
        nn.Linear(32, num_classes),
    )


def signal_net(channels=16, num_classes=10):
    """One-dimensional convolutions over (N, 2, 64)."""
    return nn.Sequential(
        nn.Conv1d(2, channels, 5, padding=2),
        nn.BatchNorm1d(channels),
        nn.ReLU(),
        nn.Conv1d(channels, 2 * channels, 5, stride=2, padding=2, groups=2),
        nn.InstanceNorm1d(2 * channels, affine=True),
        nn.SiLU(),
        nn.AdaptiveAvgPool1d(4),
        nn.Flatten(),
        nn.Linear(8 * channels, num_classes),
    )


class TwoInputs(nn.Module):
    """An image and a vector; one layer is used for both halves of the image. The output is a dictionary."""

    def __init__(self, num_classes=10, in_channels=3):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, 12, 3, 1, 1)
        self.shared = nn.Conv2d(12, 12, 3, 1, 1)
        self.vector, self.fc = nn.Linear(7, 20), nn.Linear(44, num_classes)

    def forward(self, image, vector):
        x = F.relu(self.conv(image))
        left, right = x.chunk(2, 3)
        both = torch.cat([F.relu(self.shared(left)), F.relu(self.shared(right))], 1).mean((2, 3))
        return {"logits": self.fc(torch.cat([both, F.relu(self.vector(vector))], 1)), "aux": None}


def huggingface(name):
    """A small network of `transformers` from its configuration, without a download."""
    import transformers as tf

    configs = {
        "resnet": lambda: tf.ResNetConfig(
            embedding_size=16, hidden_sizes=[32, 48], depths=[1, 2], layer_type="bottleneck"
        ),
        "mobilenet_v2": lambda: tf.MobileNetV2Config(image_size=32, depth_multiplier=0.35),
        "convnext": lambda: tf.ConvNextConfig(
            hidden_sizes=[16, 24, 32, 40], depths=[1, 1, 2, 1], image_size=32
        ),
        "regnet": lambda: tf.RegNetConfig(
            embedding_size=16, hidden_sizes=[24, 48], depths=[1, 2], groups_width=8, layer_type="y"
        ),
        "efficientnet": lambda: tf.EfficientNetConfig(
            image_size=32, width_coefficient=0.25, depth_coefficient=0.4, hidden_dim=320
        ),
    }
    config = configs[name]()
    config.num_labels = 10
    return tf.AutoModelForImageClassification.from_config(config)


def images(side=32, channels=3, examples=4):
    return torch.randn(examples, channels, side, side, generator=torch.Generator().manual_seed(0))


HUGGINGFACE = ("resnet", "mobilenet_v2", "convnext", "regnet", "efficientnet")
NETWORKS = {
    "densenet": (DenseNet, lambda: images(16)),
    "shufflenet": (ShuffleNet, lambda: images(16)),
    "padded resnet": (PaddedResNet, lambda: images(16)),
    "squeeze-excite": (SqueezeExcite, lambda: images(16)),
    "group norm": (GroupNormNet, lambda: images(16)),
    "mlp": (mlp, lambda: images(8, 1)),
    "1-d": (signal_net, lambda: torch.randn(4, 2, 64, generator=torch.Generator().manual_seed(0))),
    "two inputs": (TwoInputs, lambda: (images(16), torch.randn(4, 7))),
    "plain shuffle": (PlainShuffle, lambda: images(16)),
}
"""Name -> (factory, example inputs)."""
