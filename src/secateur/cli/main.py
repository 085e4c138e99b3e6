"""The command line. Torch is imported by the commands that need it, so that `--help` answers at once."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from secateur.cli import names
from secateur.cli.generated import option, taking, words
from secateur.cli.options import MACHINE, PRUNING, ModelOptions, Options, PruneOptions
from secateur.cli.printing import (
    console,
    or_dash,
    show_inspection,
    show_plan,
    show_point,
    show_results,
    show_scaled,
    table,
)
from secateur.errors import InputError, TrainingError
from secateur.process import keep_freed_memory

if TYPE_CHECKING:
    from secateur.architecture.architecture import Architecture
    from secateur.data import Data
    from secateur.runs.session import Session

app = typer.Typer(
    name="secateur",
    help="The best neural network inside a size budget: pruned, or trained smaller from scratch, "
    "and honestly compared.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
runs_app = typer.Typer(help="List, show or delete the runs of an output folder.", no_args_is_help=True)
app.add_typer(runs_app, name="runs")

_INTERRUPTED = "interrupted: finished epochs and runs are kept; the same command continues"

_Workers = Annotated[
    str,
    option(
        "Networks trained side by side, in so many processes that share the threads; auto: several where "
        "they are small enough to gain by it, on a CPU.",
        MACHINE,
    ),
]

_On = Annotated[
    str,
    option(
        "Where these processes run: here, ray (a cluster of this machine, started for it), or "
        "ray://HOST:PORT, whose machines share the folder of --out.",
        MACHINE,
    ),
]


@app.command()
@taking(PruneOptions)
def compare(
    options: PruneOptions,
    budget: Annotated[
        list[str] | None,
        typer.Option(help="At most so much: params=500k, macs=25%, nonzeros=5%. Repeatable."),
    ] = None,
    arms: Annotated[
        str,
        typer.Option(
            help=f"Which of {names.arms()}. Those from {names.arms(names.FIRST_OF_WEIGHTS).split(',')[0]} on set "
            "weights to zero, for budgets in nonzeros. By default what suits the budget."
        ),
    ] = "",
    seeds: Annotated[int, typer.Option(help="Replicates, for intervals.")] = 1,
    match: Annotated[str, typer.Option(help="epochs, or compute: what fisher-tuned spent.")] = "epochs",
    copycat_after: Annotated[
        int | None, option("Removals after which copycat takes its profile.", PRUNING)
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for report, results and runs.")] = Path(
        "secateur-compare"
    ),
    workers: _Workers = "auto",
    on: _On = "here",
    plan: Annotated[bool, typer.Option("--plan", help="Show what would be trained; train nothing.")] = False,
) -> None:
    """Prune and tune, or train something smaller from scratch? All arms at equal budget, and a verdict.

    Interrupt it at any moment; the same command continues.

    Example: `secateur compare --model wrn-16-1 --data digits --budget params=50% --budget params=25%
    --seeds 3 --epochs 30 --prune-every 10`
    """
    from secateur.compare.arms import chosen
    from secateur.compare.run import answer
    from secateur.compare.settings import Settings
    from secateur.compare.wanted import ask
    from secateur.runs.executors.choice import Workers

    asked = Workers.parse(workers, on)
    settings = Settings(
        budgets=_budgets(budget or ["params=50%", "params=25%"]),
        arms=tuple(words(arms)),
        seeds=seeds,
        match=match,
        recipe=options.recipe(),
        prune=options.pruning(),
        copycat_after=copycat_after,
        sparsity=options.sparsity(),
    )
    chosen(settings)
    session, data, architecture = _session(options, out)
    wanted = ask(architecture, data, settings)
    if plan and session.runtime.is_main:
        show_plan(wanted, session, asked)
    if plan:
        return
    results = answer(wanted, session, _command_line(), asked)
    if session.runtime.is_main:
        show_results(results, out)


@app.command()
@taking(Options)
def train(
    options: Options,
    seed: Annotated[int, typer.Option(help="Of initialisation and order.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder for the network and its record.")] = Path(
        "secateur-train"
    ),
) -> None:
    """Train one network from scratch; leaves record.json, architecture.json and model.safetensors.

    Example: `secateur train --model wrn-16-1 --data digits --epochs 30 --out dense/`
    """
    from secateur.compare.single import Subject, train_one

    session, data, architecture = _session(options, out)
    show_point(train_one(session, Subject(architecture, data, options.recipe(), seed)), session)


@app.command()
@taking(PruneOptions)
def prune(
    options: PruneOptions,
    method: Annotated[
        str,
        typer.Argument(
            help="Channels: fisher, taylor, filter-norm, batch-norm-scale, snip-channels, random-channels, "
            f"channel-reparametrization. Weights: {names.arms(names.FIRST_OF_WEIGHTS)}."
        ),
    ],
    budget: Annotated[
        str,
        typer.Option(
            help="params=500k, macs=25%, bytes=1MB, latency=2ms@onnxruntime, or several with commas: all "
            "hold; for weights nonzeros=5%, met exactly."
        ),
    ],
    seed: Annotated[int, typer.Option(help="Of initialisation and order.")] = 0,
    trained: Annotated[
        bool,
        typer.Option(
            "--trained",
            help="The model comes trained (by its factory, or as the folder named): prune it at once.",
        ),
    ] = False,
    out: Annotated[Path, typer.Option(help="Folder for the network and its record.")] = Path(
        "secateur-prune"
    ),
) -> None:
    """Train a network, or take a trained one, and prune it until every budget holds. The network is left in
    model.safetensors, architecture.json and record.json.

    Example: `secateur prune fisher --model wrn-16-1 --data digits --budget params=25% --epochs 30
    --prune-every 10`, or `secateur prune reparametrization --model conv4 --data digits --budget nonzeros=1%`
    """
    from secateur.budget import Budgets
    from secateur.compare.single import Subject, arm_alone, check_budgets, check_name, prune_one
    from secateur.methods import CHANNEL_METHODS

    check_name(method)
    wanted = Budgets.parse(budget)
    step_by_step = method in CHANNEL_METHODS
    pruning, sparsity = options.pruning(method if step_by_step else "fisher"), options.sparsity()
    if trained and not step_by_step:
        raise InputError(f"--trained is for what prunes channels step by step, got {method}: leave it out")
    if trained:
        folder = Path(options.model)
        pruning = replace(pruning, trained=True, weights=folder if folder.is_dir() else None)
    check_budgets(method, wanted)
    session, data, architecture = _session(options, out)
    subject = Subject(architecture, data, options.recipe(), seed)
    if step_by_step:
        point = prune_one(session, subject, pruning, wanted)
    else:
        point = arm_alone(session, subject, method, wanted, sparsity)
    show_point(point, session)


@app.command("inspect")
@taking(ModelOptions)
def inspect_model(
    options: ModelOptions,
    image: Annotated[
        str | None,
        typer.Option("--input", help="CHANNELSxHEIGHTxWIDTH of an image, in place of data: 3x224x224."),
    ] = None,
    classes: Annotated[int, typer.Option(help="With --input: how many classes.")] = 1000,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for scripts.")] = False,
) -> None:
    """What can be cut from a model, what cannot and why. Nothing is changed, nothing is written.

    Example: `secateur inspect --model mypackage.nets:build --input 3x224x224`
    """
    import json

    from secateur.architecture.inspection import groups_and_costs
    from secateur.progress import reporter_for

    with reporter_for(sys.stderr) as reporter:
        if image is None:
            _, architecture = options.load(reporter)
        else:
            architecture = options.load_at(image, classes, reporter)
    found = groups_and_costs(architecture)
    if as_json:
        print(json.dumps(found, indent=1))
    else:
        show_inspection(found)


@app.command()
def diff(
    first: Annotated[Path, typer.Argument(help="An architecture.json, or a folder that holds one.")],
    second: Annotated[Path, typer.Argument(help="Another one.")],
) -> None:
    """Where two architectures differ, group by group. Nothing is built: the files are compared.

    Example: `secateur diff dense/ small/`
    """
    from secateur.architecture.file import diff_files

    rows = diff_files(first, second)
    shown = table("what", "", "first", "second")
    for name, one, other in rows:
        shown.add_row(name, "", or_dash(one), or_dash(other))
    if rows:
        console().print(shown)
    else:
        print("The architectures are the same.")


@app.command()
def export(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder that train, prune or sc.save left.")
    ],
    to: Annotated[str, typer.Option(help="onnx or openvino.")] = "onnx",
    out: Annotated[Path | None, typer.Option(help="File to write; by default beside the weights.")] = None,
    factory: Annotated[
        str | None, typer.Option(help="What builds the network, where it is not built in.")
    ] = None,
) -> None:
    """Write a saved network for another runtime, proved to compute the same.

    Example: `secateur export small/ --to onnx`
    """
    from secateur.runs.export import export_directory

    written = export_directory(directory, to, out, factory=_factory(factory))
    print(
        f"{written.path}: {written.size:,} bytes; differs from torch by {written.difference:.1e} of the "
        f"largest output, at batch sizes {', '.join(map(str, written.checked))}"
    )


@app.command()
def reproduce(
    paper: Annotated[str, typer.Argument(help="dupont2021 or crowley2018.")],
    place: Annotated[
        str,
        typer.Argument(
            help="dupont2021: table1, table2, table3 (of the same runs) or figure2. crowley2018: snip, the "
            "comparison of section 3.2."
        ),
    ],
    scale: Annotated[
        str, typer.Option(help="smoke (minutes, embedded digits), laptop (hours, CPU) or paper (a GPU).")
    ] = "laptop",
    cells: Annotated[
        str | None,
        typer.Option(
            help="dupont2021: which, conv4/cifar10/95%,vgg19/cifar10; by default the paper's whole grid."
        ),
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(help="dupont2021: rows, weight arms of compare; by default the paper's and ours."),
    ] = None,
    seeds: Annotated[int | None, typer.Option(help="Replicates, in place of the scale's.")] = None,
    epochs: Annotated[int | None, typer.Option(help="In place of the scale's.")] = None,
    select_on: Annotated[
        str | None,
        typer.Option(help="dupont2021: val or test, in place of the scale's (paper: test, as the paper)."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    workers: _Workers = "auto",
    on: _On = "here",
    tables_only: Annotated[
        bool, typer.Option("--tables-only", help="Train nothing; tables of the runs that are finished.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for tables and runs.")] = None,
) -> None:
    """Make a paper's table or figure again, with the published numbers beside.

    Interrupt it at any moment; the same command continues, and more cells can be added later.

    Example: `secateur reproduce dupont2021 table1 --scale laptop --cells conv4/cifar10`, or
    `secateur reproduce crowley2018 snip --scale smoke`
    """
    from secateur.errors import unknown
    from secateur.papers import crowley2018, dupont2021
    from secateur.papers.reproduction import BaseReproduction
    from secateur.progress import reporter_for
    from secateur.runs.executors.choice import Workers

    asked = Workers.parse(workers, on)
    places = {"dupont2021": dupont2021.PLACES, "crowley2018": crowley2018.PLACES}
    if paper not in places:
        raise unknown("paper", paper, places)
    if place not in places[paper]:
        raise unknown(f"table or figure of {paper}", place, places[paper])
    out = out or Path(f"secateur-{paper}-{scale}")
    if place == "figure2":
        out.mkdir(parents=True, exist_ok=True)
        dupont2021.draw_figure2(out / "figure2.png", out / "figure2.svg")
        print(f"Written to {out / 'figure2.png'} and {out / 'figure2.svg'}")
        return
    common: dict[str, Any] = {
        "seeds": seeds,
        "epochs": epochs,
        "device": device,
        "reporter": reporter_for(sys.stdout),
    }
    reproduction: BaseReproduction
    if paper == "crowley2018":
        _refuse(paper, {"--cells": cells, "--methods": methods, "--select-on": select_on})
        reproduction, written = crowley2018.Reproduction(out, scale, **common), "snip"
    else:
        chosen = dupont2021.parse_cells(cells)
        named = words(methods) if methods else dupont2021.METHODS
        reproduction = dupont2021.Reproduction(
            out, scale, chosen, methods=named, select_on=select_on, **common
        )
        written = "table1, table2 and table3"
    command = _command_line().replace(" --tables-only", "")  # what it is that the tables are made by
    reproduction.run(command, tables_only=tables_only, workers=asked)
    if reproduction.runtime.is_main:
        print((out / f"{place}.md").read_text(encoding="utf-8"))
        print(f"Written to {out}: {written} as .md, .csv and .html")


def _refuse(paper: str, options: dict[str, str | None]) -> None:
    """InputError for the first option that was given: the paper has one grid and selects nothing."""
    for name, value in options.items():
        if value is not None:
            raise InputError(f"{paper} is made as a whole and has no {name}, got '{value}': leave it out")


@app.command()
def scale(
    arch: Annotated[Path, typer.Argument(help="An architecture.json, or a folder that holds one.")],
    budget: Annotated[str, typer.Option(help="params=300k, or a share of ARCH itself: params=50%.")],
    out: Annotated[
        Path | None, typer.Option(help="File or folder to write the scaled architecture to.")
    ] = None,
    factory: Annotated[
        str | None, typer.Option(help="What builds the network, where it is not built in.")
    ] = None,
) -> None:
    """Scale a saved profile to a budget (copycat): every group width times alpha. Trains nothing.

    Example: `secateur scale secateur-compare/best --budget params=20k --out small.json`, then
    `secateur train --model small.json`
    """
    from secateur.architecture.architecture import Architecture

    (wanted,) = _budgets([budget])
    source = Architecture.load(arch, _factory(factory))
    scaled = source.scaled_to(wanted)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        if out.suffix != ".json":
            out.mkdir(exist_ok=True)
        scaled.save(out)
    show_scaled(source, scaled)
    if out is not None:
        print(f"Written to {out / 'architecture.json' if out.is_dir() else out}")


@app.command()
def report(
    directories: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Folders that `compare` left.")],
) -> None:
    """Draw report.html and figures/ again from results.json.

    Example: `secateur report secateur-compare/`
    """
    from secateur.compare.results import load_results, rewrite_report

    loaded = [(directory, load_results(directory)) for directory in directories]
    for directory, results in loaded:
        print(rewrite_report(directory, results))


_Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder that compare, train or prune left.")]


@runs_app.command("list")
def list_runs(directory: _Folder = Path("secateur-compare")) -> None:
    """All runs of a folder, finished or not.

    Example: `secateur runs list secateur-compare/`
    """
    from secateur.runs.store import RunStore

    store = _existing(RunStore(directory))
    shown = table("run", "what", "parameters", "accuracy", "epochs")
    for run_id in store.ids():
        record = store.record(run_id)
        if record is None:
            shown.add_row(run_id, "unfinished", "", "", "")
            continue
        size, accuracy = f"{record.params:,}", f"{record.accuracy:.1%}"
        shown.add_row(run_id, record.label, size, accuracy, str(record.epochs))
    console().print(shown)


@runs_app.command("show")
def show_run(
    run: Annotated[str, typer.Argument(help="A run's id, or how it begins.")],
    directory: _Folder = Path("secateur-compare"),
) -> None:
    """One run's record, as JSON.

    Example: `secateur runs show train-3fa9 secateur-compare/`
    """
    import json

    from secateur.runs.store import RunStore

    store = _existing(RunStore(directory))
    run_id = store.resolve(run)
    record = store.record(run_id)
    shown = record.to_json() if record else {"run_id": run_id, "finished": False}
    print(json.dumps(shown, indent=1))


@runs_app.command("delete")
def delete_run(
    run: Annotated[str, typer.Argument(help="A run's id, or how it begins.")],
    directory: _Folder = Path("secateur-compare"),
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete one run; the next command that needs it makes it again.

    Example: `secateur runs delete train-3fa9 secateur-compare/ --yes`
    """
    from secateur.runs.store import RunStore

    store = _existing(RunStore(directory))
    run_id = store.resolve(run)
    if not yes and not (sys.stdin.isatty() and typer.confirm(f"Delete {run_id}?")):
        raise InputError(f"{run_id} was not deleted: add --yes to confirm")
    with store.locked():
        store.delete(run_id)
    print(f"Deleted {run_id}")


def _existing(store: Any) -> Any:
    if not store.runs.is_dir():
        raise InputError(f"no runs in '{store.directory}': name a folder that compare, train or prune left")
    return store


def _session(options: Options, out: Path) -> tuple[Session, Data, Architecture]:
    """What to work with, as the options say; everything is checked, nothing is written."""
    from secateur.device import Runtime
    from secateur.progress import reporter_for
    from secateur.runs.session import Session
    from secateur.runs.store import RunStore

    options.recipe()  # has its checks
    runtime = Runtime(options.device)
    reporter = reporter_for(sys.stdout, silent=not runtime.is_main)
    with reporter:
        data, architecture = options.load(reporter)
    return Session(RunStore(out), runtime, reporter), data, architecture


def _factory(name: str | None) -> Any:
    """What builds a network, by the name that the user gave."""
    from secateur.architecture.factories import factory_of

    return None if name is None else factory_of(name)


def _budgets(texts: list[str]) -> tuple[Any, ...]:
    from secateur.budget import Budget

    return tuple(Budget.parse(text) for text in texts)


def _command_line() -> str:
    return shlex.join(["secateur", *sys.argv[1:]])


def _raise_interrupt(_signal: int, _frame: Any) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """Run the command line; every error a user can meet becomes one line, never a traceback.

    Exit codes: 0 done, 2 bad input (nothing was written), 1 anything else, 130 interrupted.
    """
    from typer.exceptions import TyperException

    signal.signal(signal.SIGTERM, _raise_interrupt)
    keep_freed_memory()
    debug = bool(os.environ.get("SECATEUR_DEBUG"))
    try:
        code = app(standalone_mode=False)
    except TyperException as error:
        if not (message := error.format_message()):
            sys.exit(error.exit_code)  # no command was given, and the help has been shown
        _fail(f"{message} See `secateur --help`.", error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        _fail(_INTERRUPTED, 130)
    except InputError as error:
        _fail(str(error), 2)
    except TrainingError as error:
        _fail(str(error), 1)
    except OSError as error:
        _fail(f"the system refused: {error}: check the path, the permissions and the space left", 2)
    except Exception as error:  # the last resort: no traceback reaches a user
        if debug:
            raise
        _fail(
            (
                f"internal error, {type(error).__name__}: {error}: SECATEUR_DEBUG=1 shows where; please "
                "report it"
            ),
            1,
        )
    else:
        if code == 130:  # typer turns Ctrl-C into this
            _fail(_INTERRUPTED, 130)
        sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str, code: int) -> None:
    print(f"secateur: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)
