"""The commands that measure networks where they run: `measure` and `forecast`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from secateur.cli import names
from secateur.cli.answer import Answer
from secateur.cli.emitting import check_emits_alone, check_measures_here, emitted
from secateur.cli.generated import completing, taking, words
from secateur.cli.options import ModelOptions
from secateur.cli.shared import budgets_of, path_argument, path_option
from secateur.cli.terminal import Table, say

if TYPE_CHECKING:
    from secateur.records.forecasted import Forecasts
    from secateur.records.measured import Measured
    from secateur.records.shown import Shown

EMITTING = "For another device (--emit)"

RuntimeOption = Annotated[
    list[str] | None,
    typer.Option(
        help="torch, onnxruntime, openvino or c (the exported C, by the system's compiler); with commas, or "
        "repeated. By default all that are installed.",
        autocompletion=completing(names.RUNTIMES),
    ),
]
BatchOption = Annotated[int, typer.Option(help="Examples at a time.")]
ThreadsOption = Annotated[int, typer.Option(help="Threads of the CPU; the exported C has one.")]
DeviceOption = Annotated[
    str, typer.Option(help="Of torch: cpu, cuda, cuda:1, mps; the others run on the CPU.")
]


SecondsOption = Annotated[
    float,
    typer.Option(
        help="At most so long is each network timed on each runtime: less where its median is known to 1%."
    ),
]


def measure(
    network: Annotated[
        Path | None,
        path_argument("Folder that train, prune, compare (its best/) or sc.save left.", "NETWORK"),
    ] = None,
    runtime: RuntimeOption = None,
    batch: BatchOption = 1,
    threads: ThreadsOption = 1,
    before: Annotated[
        Path | None,
        path_option(
            "Folder of a network to measure it against; by default itself before pruning, as its factory "
            "makes it."
        ),
    ] = None,
    out: Annotated[Path | None, path_option("Folder for measured.html, a page with the numbers.")] = None,
    factory: Annotated[
        str | None, typer.Option(help="What builds the network, where it is not built in.")
    ] = None,
    device: DeviceOption = "cpu",
    seconds: SecondsOption = 2.0,
    emit: Annotated[
        Path | None,
        path_option(
            "Measure elsewhere: a folder to write that does it on a device with nothing but a C compiler, or "
            "--runtime onnxruntime; for --budget latency=2ms@file:device.json (docs/device.md).",
            EMITTING,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="A model by its name in place of NETWORK, trained or not, as prune takes it.",
            rich_help_panel=EMITTING,
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="What that model is for, as prune takes it.", rich_help_panel=EMITTING),
    ] = None,
    image: Annotated[
        str | None,
        typer.Option(
            "--input",
            help="CHANNELSxHEIGHTxWIDTH of an image, in place of data: 3x224x224.",
            rich_help_panel=EMITTING,
        ),
    ] = None,
    classes: Annotated[
        int | None,
        typer.Option(help="With --input: how many classes; by default 1000.", rich_help_panel=EMITTING),
    ] = None,
) -> Answer | None:
    """Size on disk, parameters, multiply-accumulates, memory, and latency on every runtime, now and before
    pruning; and whether sparsity made it any faster. Leaves measured.json in the network's folder.

    Every runtime has a process of its own. One that fails is named, and the exit code is 1.

    Example: `secateur measure small/ --runtime onnxruntime --runtime c`, or for another device
    `secateur measure small/ --emit there/`
    """
    if emit is not None:
        check_emits_alone(before, out, device, seconds)
        named = runtimes_of(runtime)
        return emitted(emit, network, model, factory, data, image, classes, named, batch, threads)
    network = check_measures_here(network, model, data, image, classes)
    from secateur.device import Runtime
    from secateur.progress import reporter_for
    from secateur.records.out import check_out
    from secateur.report.measured import PAGE, write_measured
    from secateur.runs.measuring import measure_folder
    from secateur.runs.runtimes import Plan

    if out is not None:
        check_out(out, [PAGE])
    device = Runtime(device).device_name
    plan = Plan.of(runtimes_of(runtime), batch=batch, threads=threads, device=device, seconds=seconds)
    with reporter_for(sys.stdout) as reporter:
        found = measure_folder(network, plan, before, factory, reporter)
    page = write_measured(found, out) if out is not None else None
    content: dict[str, Any] = found.to_json()
    if page is not None:
        content["page"] = str(page)
    failed = any(each.failed for each in found.not_measured)
    return Answer(content, lambda: _show(found, page), 1 if failed else 0)


@taking(ModelOptions)
def forecast(
    options: ModelOptions,
    budget: Annotated[
        list[str],
        typer.Option(
            help="params=500k, macs=25%, bytes=1MB, nonzeros=5%, latency=2ms@onnxruntime. Several, each by "
            "itself, with commas or repeated.",
            autocompletion=completing(names.BUDGETS),
        ),
    ],
    runtime: RuntimeOption = None,
    batch: BatchOption = 1,
    threads: ThreadsOption = 1,
    image: Annotated[
        str | None,
        typer.Option("--input", help="CHANNELSxHEIGHTxWIDTH of an image, in place of data: 3x224x224."),
    ] = None,
    classes: Annotated[int, typer.Option(help="With --input: how many classes.")] = 1000,
    device: DeviceOption = "cpu",
    seconds: SecondsOption = 2.0,
) -> Answer | None:
    """What networks of a budget would come to, before anyone trains one: sizes, and the latency of untrained
    networks of that shape, measured on every runtime. Accuracy is not forecast.

    Example: `secateur forecast --model wrn-40-2 --data cifar10 --budget params=25% --budget nonzeros=3%`
    """
    from secateur.device import Runtime
    from secateur.progress import reporter_for
    from secateur.runs.forecasting import forecast as forecasts
    from secateur.runs.runtimes import Plan

    budgets = budgets_of(budget)
    device = Runtime(device).device_name
    plan = Plan.of(runtimes_of(runtime), batch=batch, threads=threads, device=device, seconds=seconds)
    with reporter_for(sys.stdout) as reporter:
        if image is not None:
            architecture = options.load_at(image, classes, reporter)
        else:
            architecture = options.load_as_saved() or options.load(reporter)[1]
        found = forecasts(architecture, budgets, plan, reporter)
    failed = any(each.failed for each in found.not_measured)
    return Answer(found.to_json(), lambda: _show_forecast(found), 1 if failed else 0)


def _show_forecast(found: Forecasts) -> None:
    for table in found.tables():
        show_table(table, words=2)
        say("")


def runtimes_of(texts: list[str] | None) -> list[str] | None:
    """The runtimes that were named, with commas or one by one; None: none was."""
    return words(*texts) if texts else None


def _show(found: Measured, page: Path | None) -> None:
    sizes, times = found.tables()
    show_table(sizes)
    say("")
    show_table(times)
    if page is not None:
        say(f"Written to {page}")


def show_table(table: Shown, words: int = 1) -> None:
    """Print a title, a table and notes; as wide as the terminal.

    Args:
        words: how many columns hold words, one or two; the others hold numbers.
    """
    say(f"{table.title}:")
    filling = [""] * (2 - words)
    shown = Table(*table.heads[:words], *filling, *table.heads[words:])
    for row in table.rows:
        shown.add_row(*row[:words], *filling, *row[words:])
    if table.rows:
        shown.show()
    for note in table.notes:
        say(f"- {note}.")
