"""`secateur measure --emit`: a folder that measures itself on another device."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from secateur.cli.answer import Answer, is_quiet
from secateur.cli.options import ModelOptions
from secateur.cli.shared import factory_named
from secateur.cli.terminal import say
from secateur.errors import InputError

_CLASSES = 1000


def emitted(
    out: Path,
    network: Path | None,
    model: str | None,
    factory: str | None,
    data: str | None,
    image: str | None,
    classes: int | None,
    runtime: Sequence[str] | None,
    batch: int,
    threads: int,
) -> Answer:
    """Write the folder for a saved network, or for a model by its name, trained or not."""
    from secateur.progress import reporter_for
    from secateur.runs.emit import check_emits, emit

    runtimes = list(runtime or ["c"])
    if len(runtimes) != 1:
        raise InputError(
            f"--emit writes a folder for one --runtime, c or onnxruntime, got {', '.join(runtimes)}: "
            "write one folder for each"
        )
    if (network is None) == (model is None):
        raise InputError(
            "--emit measures the network of a folder, or a --model by its name, got "
            f"{'neither' if model is None else 'both'}: write secateur measure small/ --emit DIR"
        )
    if model is None and (data or image or classes):
        raise InputError("--data, --input and --classes go with --model: a folder says itself what it takes")
    if image and data:
        raise InputError("--input takes the place of --data, got both: leave one out")
    if classes is not None and not image:
        raise InputError(f"--classes goes with --input, got --classes {classes} alone: leave it out")
    check_emits(out, runtimes[0], batch, threads)
    with reporter_for(sys.stderr, silent=is_quiet()) as reporter:
        opened = (
            _saved(network, factory)
            if network is not None
            else _named(str(model), factory, data, image, classes or _CLASSES, reporter)
        )
        reporter.note("writing the network and narrower ones (large networks take minutes)")
        found = emit(opened, out, runtime=runtimes[0], batch=batch, threads=threads)

    def show() -> None:
        for line in found.lines():
            say(line)

    content = {
        "folder": str(found.path),
        "runtime": found.runtime,
        "bytes": found.size,
        "layers": found.layers,
        "networks": found.networks,
        "run": found.run,
        "remarks": list(found.remarks),
    }
    return Answer(content, show)


def _saved(network: Path, factory: str | None) -> Any:
    from secateur.architecture.saved import load_model

    return load_model(network, factory_named(factory))


def _named(
    model: str, factory: str | None, data: str | None, image: str | None, classes: int, reporter: Any
) -> Any:
    options = ModelOptions(model=model, factory=factory)
    options = replace(options, data=data) if data else options
    if image is not None:
        return options.load_at(image, classes, reporter).build(seed=0)
    architecture = options.load_as_saved() or options.load(reporter)[1]
    return architecture.build(seed=0)


def check_measures_here(
    network: Path | None, model: str | None, data: str | None, image: str | None, classes: int | None
) -> Path:
    """The folder to measure here; InputError where there is none, or what only --emit takes is given."""
    given = {"--model": model, "--data": data, "--input": image, "--classes": classes}
    for name, value in given.items():
        if value is not None:
            raise InputError(
                f"{name} goes with --emit, which writes a folder for another device, got {name} {value}: add "
                "--emit DIR, or name the folder of a network; before anyone trains: secateur forecast"
            )
    if network is None:
        raise InputError(
            "a network to be measured is a folder that train, prune, compare (its best/) or sc.save left, "
            "got none: write secateur measure small/"
        )
    return network


def check_emits_alone(before: Path | None, out: Path | None, device: str, seconds: float) -> None:
    """Raise InputError where what only measuring here takes is given with --emit."""
    given = {
        "--before": before is not None,
        "--out": out is not None,
        "--device": device != "cpu",
        "--seconds": seconds != 2.0,
    }
    for name, there in given.items():
        if there:
            raise InputError(
                f"{name} is for measuring on this machine, which --emit does not: leave it out (README.txt "
                "in the folder says what can be set there)"
            )
