"""What benchmarks train: networks, synthetic images, and one training step, plain or of the real loop."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.records import Settings
from secateur import models
from secateur.data import Augmentation, Data, Split
from secateur.data.dataset import channel_statistics
from secateur.device import Runtime
from secateur.methods import Method
from secateur.models import parse_name
from secateur.progress import Reporter
from secateur.training.loop import Training
from secateur.training.meter import Meter
from secateur.training.recipe import Recipe

BATCH, SIDE = 128, 32
QUICK_BATCH, QUICK_SIDE = 8, 16
CIFAR_TRAIN, CIFAR_STEPS = 45_000, 45_000 / BATCH  # images and steps of an epoch where 10% are held out
LAYOUTS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
_SMALL: dict[str, dict[str, Any]] = {
    "resnet18": {"width": 0.125},
    "vgg19": {"width": 0.125},
    "conv4": {"width": 0.125},
}


def batch_size(settings: Settings) -> int:
    """128; 8 where it shall be quick."""
    return QUICK_BATCH if settings.quick else BATCH


def side(settings: Settings, name: str = "") -> int:
    """Of the images: 32; half of it where it shall be quick and the network can do with that."""
    return QUICK_SIDE if settings.quick and not name.startswith("vgg") else SIDE


def network(name: str, settings: Settings, seed: int = 0) -> models.base.Family:
    """The network of that name for ten classes of 32x32 RGB images; a tiny relative where it is quick."""
    parsed = parse_name(name)
    assert parsed is not None, name
    factory, arguments = parsed
    if settings.quick:
        arguments = {**arguments, **_SMALL.get(factory, {"depth": 10, "width": 1})}
    torch.manual_seed(seed)
    return models.FACTORIES[factory](**arguments, num_classes=10, image_size=side(settings, name))


def batch(settings: Settings, name: str = "", size: int | None = None) -> tuple[Tensor, Tensor]:
    """A batch of noise and its labels, on the device."""
    generator = torch.Generator().manual_seed(0)
    count, pixels = size or batch_size(settings), side(settings, name)
    x = torch.randn(count, 3, pixels, pixels, generator=generator)
    y = torch.randint(10, (count,), generator=generator)
    return x.to(settings.device), y.to(settings.device)


def images(count: int, pixels: int = SIDE, test: int = 20) -> Data:
    """A data set of noise: `count` training images in memory, `test` to validate and to test on."""
    generator = torch.Generator().manual_seed(0)

    def split(size: int) -> Split:
        shape = (size, 3, pixels, pixels)
        return Split(
            torch.randint(256, shape, dtype=torch.uint8, generator=generator),
            torch.randint(10, (size,), generator=generator),
        )

    train, held, final = split(count), split(test), split(test)
    mean, std = channel_statistics(train.images[:1000])
    return Data(
        name="noise",
        label="noise",
        train=train,
        val=held,
        test=final,
        classes=tuple(str(number) for number in range(10)),
        mean=mean,
        std=std,
        augmentation=Augmentation(4, True),
        fingerprint="0" * 16,
    )


def finish(settings: Settings) -> Any:
    """What waits for the device."""
    return torch.cuda.synchronize if settings.device == "cuda" else lambda: None


class Steps:
    """A plain training step on a batch that is there already: forward, backward, SGD with momentum.

    With a method, its four hooks are called as a user's own loop would; nothing else differs.
    """

    def __init__(
        self,
        model: nn.Module,
        batch: tuple[Tensor, Tensor],
        *,
        layout: torch.memory_format = torch.channels_last,
        precision: str = "fp32",
        method: Method | None = None,
        compiled: Any = None,
    ):
        x, self.y = batch
        self.x = x.contiguous(memory_format=layout)
        model = model.to(x.device).to(memory_format=layout)  # type: ignore[call-overload]
        self.method = method
        self.model = model.train() if method is None else method.prepare(model).train()
        self.called = compiled(self.model) if compiled else self.model
        groups: Any = self.model.parameters() if method is None else method.parameter_groups(self.model, 5e-4)
        self.optimizer = torch.optim.SGD(groups, lr=0.01, momentum=0.9, weight_decay=5e-4)
        self.precision = precision
        self.casts_kept = True  # whether autocast may keep its copies of the weights; not within a CUDA graph

    def __call__(self) -> None:
        self.update()
        if self.method is not None:
            self.method.after_step(self.model, self.optimizer)

    def update(self) -> None:
        """The step without the method's last word on it."""
        self.gradients()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def gradients(self) -> Tensor:
        """Forward and backward; the loss."""
        with autocast(self.x.device, self.precision, self.casts_kept):
            logits = self.called(self.x)
        loss = F.cross_entropy(logits.float(), self.y)
        if self.method is not None:
            loss = loss + self.method.penalty(self.model)
        loss.backward()
        return loss


def autocast(device: torch.device, precision: str, keep: bool = True) -> AbstractContextManager[Any]:
    """bf16 where it is asked for."""
    enabled = precision == "bf16"
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled, cache_enabled=keep)


class FixedRuntime(Runtime):
    """A runtime of the real loop in a layout that was asked for."""

    def __init__(self, device: str, layout: torch.memory_format | None = None):
        super().__init__(device)
        self.fixed = layout

    def layout(self, model: nn.Module) -> torch.memory_format:
        return super().layout(model) if self.fixed is None else self.fixed


class RealSteps:
    """A step of `secateur.training.loop.Training` itself, on a batch that is there already.

    Args:
        layout: None: the one the real loop chooses.
    """

    def __init__(
        self,
        model: nn.Module,
        settings: Settings,
        *,
        method: Method | None = None,
        precision: str = "fp32",
        layout: torch.memory_format | None = None,
    ):
        size = batch_size(settings)
        self.data = images(2 * size, side(settings))
        self.training = Training(
            model,
            self.data,
            Recipe(batch_size=size, lr=0.01, precision=precision),
            seed=0,
            runtime=FixedRuntime(settings.device, layout),
            reporter=Reporter(),
            method=method,
            epochs=None if method is not None else 1,
        )
        network, runtime = self.training.network, self.training.runtime
        self.x, self.y = next(self.training.batches.of_epoch(0, 0, network.layout))
        self.meter = Meter(self.training.progress, runtime.device)

    def __call__(self) -> None:
        self.training.step(self.x, self.y, self.meter)
