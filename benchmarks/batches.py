"""What making batches costs: 128 images of 32x32 from memory, cropped, mirrored and normalised.

By `secateur.data.batches.epoch_batches`, over whole epochs of 45,000 images (the drawing of their order
included) and in channels last as the step wants them, over a plain training step of several networks; and
over a pipeline that treats one image at a time, as data loaders do, written here without processes,
decoding or PIL, so that it is the fastest of its kind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count

import torch
from torch import Tensor

from benchmarks.networks import CIFAR_TRAIN, Steps, batch, batch_size, finish, images, network, side
from benchmarks.records import Found, Settings
from benchmarks.timing import measure
from secateur.data import Augmentation, Data, epoch_batches

BAR = 0.005
NETWORKS = ("conv4", "wrn-16-1", "wrn-40-2", "resnet18", "vgg19")
PAD = 4


def run(settings: Settings) -> Found:
    """One case for each network, and one against the pipeline by the image."""
    found = Found()
    data = images(512 if settings.quick else CIFAR_TRAIN, side(settings))
    for name in NETWORKS:
        step = Steps(network(name, settings), batch(settings, name))
        times = measure(
            {"batch": ours(data, settings), "step": step}, rounds=settings.rounds, finish=finish(settings)
        )
        found.add(f"batch / step of {name}", times, "batch", "step", bar=settings.bar(BAR))
    pair = {"batch": ours(data, settings), "batch by the image": by_the_image(data, settings)}
    times = measure(pair, rounds=settings.rounds, finish=finish(settings))
    found.add("batch / pipeline by the image", times, "batch", "batch by the image")
    return found


def ours(data: Data, settings: Settings, size: int | None = None) -> Callable[[], object]:
    """The next batch of the real pipeline, epoch after epoch."""

    def forever() -> Iterator[tuple[Tensor, Tensor]]:
        for epoch in count():
            yield from epoch_batches(
                data.train,
                data,
                batch_size=size or batch_size(settings),
                device=settings.device,
                generator=torch.Generator().manual_seed(epoch),
                augmentation=Augmentation(PAD, True),
                layout=torch.channels_last,
            )

    endless = forever()
    return lambda: next(endless)


def by_the_image(data: Data, settings: Settings) -> Callable[[], object]:
    """The same for one image after the other, then stacked."""
    mean = torch.tensor(data.mean).view(-1, 1, 1)
    std = torch.tensor(data.std).view(-1, 1, 1)
    generator = torch.Generator().manual_seed(0)
    height, width = data.shape[1:]

    def one(index: int) -> Tensor:
        image = torch.nn.functional.pad(data.train.images[index], [PAD] * 4)
        top, left, mirrored = (int(torch.randint(n, (), generator=generator)) for n in (9, 9, 2))
        image = image[:, top : top + height, left : left + width]
        return ((image.flip(-1) if mirrored else image).float().div(255) - mean) / std

    def make() -> tuple[Tensor, Tensor]:
        chosen = torch.randint(len(data.train), (batch_size(settings),), generator=generator).tolist()
        x = torch.stack([one(index) for index in chosen])
        return x.to(settings.device), data.train.labels[chosen].to(settings.device)

    return make
