"""What `secateur compare` costs beyond its training: the whole command's wall time, over its bare training
steps.

A first comparison warms up and leaves its runs; then, in every round, the same command in a new folder,
and, in a process of its own, those runs again as plain loops: the same architectures, batch sizes, layout,
padding and threads, nothing but forward, backward, optimizer.step() and zero_grad() on batches made
beforehand. A Fisher trajectory is replayed at each size it had. Of the steps at one size every
`SAMPLED`th is made and counted so many times; networks are built, and make their first step, outside the
clock. So start, data, batches, evaluation, Fisher's sums, removals, first steps at a new size, checkpoints,
records and the report are all overhead.

On the embedded digits, where steps take milliseconds, and on 2,500 images of 32x32, which the bar is about.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.machine import keep_freed_memory
from benchmarks.processes import ask, secateur
from benchmarks.records import Case, Found, Settings
from benchmarks.timing import rotated, significant, summary
from secateur.records.record import Record

BAR = 1.05
PARTS = ("digits", "images")
ARMS = "fisher-tuned,fisher-scratch,copycat,width,bottleneck"  # channel gates change size unrecorded
QUICK_ARMS = "fisher-tuned,fisher-scratch"
IMAGES = {"train": 2000, "test": 500}
WARM_UP = 3  # bare steps outside the clock, of a process
FIRST = 1  # and of every size after that
SAMPLED = 4


def run(settings: Settings) -> Found:
    """One case for each data set."""
    found = Found()
    with tempfile.TemporaryDirectory() as folder:
        for part in PARTS:
            if settings.wanted(part):
                data = "digits" if part == "digits" else str(make_images(Path(folder) / "images", settings))
                _compare(found, part, data, Path(folder) / part, settings)
    return found


def command(data: str, settings: Settings) -> list[str]:
    """`secateur compare`, one or two minutes of it; by default it would remove a channel every 100 steps."""
    epochs, every = (1, 1) if settings.quick else (20, 5) if data == "digits" else (10, 10)
    budgets = ["params=90%"] if settings.quick else ["params=50%"]
    model = "wrn-10-1" if settings.quick else "wrn-16-1"
    options = [
        "--seeds",
        "1",
        "--epochs",
        str(epochs),
        "--prune-every",
        str(every),
        "--arms",
        QUICK_ARMS if settings.quick else ARMS,
    ]
    if settings.quick and data == "digits":
        options += ["--limit-train", "300"]
    budgets = [part for budget in budgets for part in ("--budget", budget)]
    return [
        *("compare", "--model", model, "--data", data, *budgets, *options),
        *("--device", settings.device, "--workers", "1"),
    ]


def _compare(found: Found, part: str, data: str, folder: Path, settings: Settings) -> None:
    arguments, cache = command(data, settings), str(folder / "cache")
    secateur([*arguments, "--out", str(folder / "first")], SECATEUR_CACHE=cache)
    question = {"store": str(folder / "first"), "command": arguments, "device": settings.device}
    walls: dict[str, list[float]] = {"secateur compare": [], "bare steps": []}
    for number in range(settings.rounds):
        for kind in rotated(list(walls), number):
            if kind == "bare steps":
                seconds = ask("benchmarks.compare_overhead", question, SECATEUR_CACHE=cache)["seconds"]
            else:
                started = time.perf_counter()
                secateur([*arguments, "--out", str(folder / str(number))], SECATEUR_CACHE=cache)
                seconds = time.perf_counter() - started
            walls[kind].append(seconds)
    ratio = summary([a / b for a, b in zip(*walls.values(), strict=True)])
    ms = {kind: significant(1e3 * summary(values).middle) for kind, values in walls.items()}
    bar = settings.bar(BAR) if part == "images" else None
    more = {"runs_s": round(sum(record.wall_s for record in counted(records(folder / "first"))), 1)}
    found.cases.append(Case(part, "secateur compare", "bare steps", ratio, bar, ms, more))
    shown = " ".join(Path(word).name if word == data else word for word in arguments)
    found.notes.append(f"{part}: secateur {shown}; the image cache was warm")


def make_images(folder: Path, settings: Settings) -> Path:
    """A folder of 32x32 PNGs in ten classes, as CIFAR-10 would be: a colour for each class, and noise."""
    import numpy as np
    from PIL import Image

    chance = np.random.default_rng(0)
    for split, count in IMAGES.items():
        for label in range(10):
            (folder / split / str(label)).mkdir(parents=True)
            for number in range(count // (20 if settings.quick else 1) // 10):
                pixels = chance.integers(0, 128, (32, 32, 3)) + 12 * label
                path = folder / split / str(label) / f"{number}.png"
                Image.fromarray(pixels.astype(np.uint8)).save(path, compress_level=1)
    return folder


def records(store: Path) -> list[Record]:
    """Of all finished runs."""
    return [Record.load(path) for path in sorted(store.glob("runs/*/record.json"))]


def counted(found: Sequence[Record]) -> list[Record]:
    """Without those that are the beginning of another: along one trajectory the longest run holds all."""
    longest: dict[str, Record] = {}
    for record in found:
        key = record.trajectory or record.run_id
        if key not in longest or len(record.removed or ()) > len(longest[key].removed or ()):
            longest[key] = record
    return list(longest.values())


@dataclass(frozen=True)
class Stretch:
    """Steps at one size: the widths, and the sizes of the batches in order."""

    architecture: dict[str, Any]
    batches: tuple[int, ...]


def stretches(record: Record, examples: int) -> Iterator[Stretch]:
    """The bare steps of a run on so many training examples, as its record says them."""
    identity = record.identity
    if record.removed is None:
        recipe = identity["recipe"]
        sizes = sizes_of_an_epoch(examples, recipe["batch_size"])
        yield Stretch(identity["architecture"], tuple(sizes * recipe["epochs"]))
        return
    architecture, every = identity["dense"]["architecture"], identity["method"]["every"]
    sizes = sizes_of_an_epoch(examples, identity["tuning"]["batch_size"])
    widths, done = list(architecture["widths"]), 0
    for removal in [*record.removed, None]:
        batches = tuple(sizes[step % len(sizes)] for step in range(done, done + every))
        yield Stretch({**architecture, "widths": list(widths)}, batches)
        done += every
        if removal:
            widths[group_index(architecture, removal.group)] -= 1


def group_index(architecture: dict[str, Any], name: str) -> int:
    """Which of the widths a group's is."""
    from secateur.architecture.architecture import Architecture

    groups = Architecture.from_identity(architecture).skeleton().groups
    return [group.name for group in groups].index(name)


def sizes_of_an_epoch(examples: int, batch_size: int) -> list[int]:
    """Batch sizes, in order."""
    from secateur.data import count_batches

    count = count_batches(examples, batch_size)
    return [min(batch_size, examples - first) for first in range(0, count * batch_size, batch_size)]


def child(question: dict[str, Any]) -> dict[str, float]:
    """In the fresh process: replay what the store says; the seconds of all bare steps together."""
    keep_freed_memory()
    from secateur.data import load_data
    from secateur.device import Runtime

    words = question["command"]
    limit = int(words[words.index("--limit-train") + 1]) if "--limit-train" in words else None
    data = load_data(words[words.index("--data") + 1], limit_train=limit)
    runtime, examples = Runtime(question["device"]), len(data.train)
    total, first = 0.0, True
    for record in counted(records(Path(question["store"]))):
        for stretch in stretches(record, examples):
            total += bare_seconds(stretch, data, runtime, WARM_UP if first else FIRST)
            first = False
    return {"seconds": total}


def bare_seconds(stretch: Stretch, data: Any, runtime: Any, warm_up: int) -> float:
    """Of the steps of one stretch, from a part of them."""
    import torch
    from torch.nn import functional as F

    from secateur.architecture.architecture import Architecture
    from secateur.data import epoch_batches
    from secateur.models.padding import Padding

    model = runtime.place(Architecture.from_identity(stretch.architecture).build(seed=0)).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    x, y = next(epoch_batches(data.train, data, batch_size=max(stretch.batches), device=runtime.device))
    layout = runtime.layout(model)
    ready = {size: (runtime.arrange(x[:size], layout), y[:size]) for size in set(stretch.batches)}
    padding = Padding(model)
    sampled = stretch.batches[::SAMPLED]

    def train(sizes: Sequence[int]) -> None:
        for size in sizes:
            inputs, labels = ready[size]
            with padding:
                logits = model(inputs)
            F.cross_entropy(logits, labels).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if runtime.device.type == "cuda":
            torch.cuda.synchronize()

    train(stretch.batches[:1] * warm_up)
    started = time.perf_counter()
    train(sampled)
    return (time.perf_counter() - started) * sum(stretch.batches) / sum(sampled)


if __name__ == "__main__":
    print(json.dumps(child(json.loads(sys.argv[1]))))
