"""The commands that make networks, and those that look at them. Each imports what it needs itself."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from secateur.cli import names, printing
from secateur.cli.answer import Answer, is_quiet
from secateur.cli.generated import completing, option, taking, words
from secateur.cli.options import PRUNING, RECIPE, Int8Options, ModelOptions, Options, PruneOptions
from secateur.cli.shared import (
    OnOption,
    PlanOption,
    RetryFailedOption,
    RunLimitOption,
    WorkersOption,
    budgets_of,
    command_line,
    factory_named,
    only_one,
    path_argument,
    path_option,
    planned,
    session_for,
)
from secateur.cli.terminal import show
from secateur.cli.watching import LogWithOption, OpenOption, check_open, opened
from secateur.errors import InputError, require_extra
from secateur.names import AUTO
from secateur.process import keep_imported

if TYPE_CHECKING:
    from secateur.records.point import Point
    from secateur.runs.session import Session


@taking(PruneOptions)
def compare(
    options: PruneOptions,
    budget: Annotated[
        list[str] | None,
        typer.Option(
            help="At most so much: params=500k, macs=25%, nonzeros=5%. Several, each by itself, with commas "
            "or repeated.",
            autocompletion=completing(names.BUDGETS),
        ),
    ] = None,
    arms: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Which of {names.arms()}; with commas, or repeated. From magnitude on they set weights to "
            "zero, for budgets in nonzeros. By default what suits the budget.",
            autocompletion=completing(names.all_arms),
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Replicates, for intervals.")] = 1,
    match: Annotated[
        str,
        typer.Option(
            help="epochs, or compute: what fisher-tuned spent.", autocompletion=completing(names.MATCHES)
        ),
    ] = "epochs",
    copycat_after: Annotated[
        int | None, option("Removals after which copycat takes its profile.", PRUNING)
    ] = None,
    out: Annotated[Path, path_option("Folder for report, results and runs.")] = Path("secateur-compare"),
    workers: WorkersOption = "auto",
    on: OnOption = "here",
    retry_failed: RetryFailedOption = False,
    run_limit: RunLimitOption = None,
    log_with: LogWithOption = None,
    plan: PlanOption = False,
    open_page: OpenOption = False,
) -> Answer | None:
    """Prune and tune, or train something smaller from scratch? All arms at equal budget, and a verdict.

    Interrupt it at any moment; the same command continues. A run that fails is told, and the others go on:
    exit code 3.

    Example: `secateur compare --model wrn-16-1 --data digits --budget params=50% --budget params=25%
    --seeds 3 --epochs 30 --prune-every 10`
    """
    from secateur.compare.arms import chosen
    from secateur.compare.drawn_up import asked_in
    from secateur.compare.results import PAGE
    from secateur.compare.run import answer
    from secateur.compare.settings import Settings
    from secateur.compare.wanted import ask
    from secateur.records.out import FOLDER_FILES
    from secateur.runs.executors.choice import Workers
    from secateur.runs.run_limit import seconds_of

    require_extra("compare", "secateur compare")
    asked, limit = Workers.parse(workers, on), seconds_of(run_limit)
    check_open(open_page, plan)
    if options.finds_rate:
        raise InputError("--lr auto is for one network, of train and prune: give compare a rate")
    if options.channels.get("granularity") == AUTO:
        raise InputError("--granularity auto is for prune, with a latency budget: give compare a number")
    settings = Settings(
        budgets=budgets_of(budget or ["params=50%", "params=25%"]),
        arms=tuple(words(*(arms or []))),
        seeds=seeds,
        match=match,
        recipe=options.recipe(),
        tuning=options.fine_tuning(),
        prune=options.pruning(),
        copycat_after=copycat_after,
        sparsity=options.sparsity(),
        terms=options.terms(),
    )
    chosen(settings)
    session, data, architecture = session_for(options, out, FOLDER_FILES, log_with)
    session.retries_failed, session.run_limit = retry_failed, limit
    printing.constraints(architecture, settings.prune.constraints, session, "")
    wanted = ask(architecture, data, settings)
    if plan:
        return printing.plan(wanted, session, asked) if session.runtime.is_main else None
    folder, is_main = asked_in(wanted).folder(session.store.directory), session.runtime.is_main
    with opened(open_page and is_main, folder, PAGE) as finish:
        found = answer(wanted, session, command_line(), asked, reads=options.model_path)
    shown = printing.results(found.results, found.directory, out) if is_main else None
    return printing.together(shown, finish, session, failed=bool(found.failed))


@taking(Options)
def train(
    options: Options,
    seed: Annotated[int, typer.Option(help="Of initialisation and order.")] = 0,
    teacher: Annotated[
        Path | None, option("With --distill: the folder of a trained network to learn from.", RECIPE)
    ] = None,
    teacher_factory: Annotated[
        str | None, option("What builds the teacher, where it is not built in.", RECIPE)
    ] = None,
    out: Annotated[Path, path_option("Folder for the network and its record.")] = Path("secateur-train"),
    log_with: LogWithOption = None,
    plan: PlanOption = False,
) -> Answer | None:
    """Train one network, from scratch or from its pretrained weights; leaves record.json, architecture.json
    and model.safetensors.

    Example: `secateur train --model wrn-16-1 --data digits --epochs 30 --out dense/`
    """
    from secateur.compare.one_network import FILES, Subject, teacher_in, train_one

    anew, tuned = options.recipe(), options.fine_tuning()  # refused before anything is read
    session, data, architecture = session_for(options, out, FILES, log_with)
    recipe = tuned if architecture.comes_trained else anew
    subject = Subject(
        architecture, data, recipe, seed, finds_rate=options.finds_rate and not plan, terms=options.terms()
    )
    taught = None if teacher is None else teacher_in(session, teacher, subject, teacher_factory)

    def work(where: Session) -> Point:
        return train_one(where, subject, taught)

    return planned(session, subject, work) if plan else printing.network(work(session), session)


@taking(PruneOptions)
def prune(
    options: PruneOptions,
    method: Annotated[
        str,
        typer.Argument(
            help="Channels: fisher, taylor, filter-norm, batch-norm-scale, snip-channels, random-channels, "
            f"channel-reparametrization. Weights: {names.arms(names.FIRST_OF_WEIGHTS)}.",
            autocompletion=completing(names.methods),
        ),
    ],
    budget: Annotated[
        list[str],
        typer.Option(
            help="params=500k, macs=25%, bytes=1MB, latency=2ms@onnxruntime, latency=2ms@file:device.json "
            "(docs/device.md), or several with commas or "
            "repeated: all hold; for weights nonzeros=5%, or bytes.",
            autocompletion=completing(names.BUDGETS),
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
    tune_epochs: Annotated[
        int | None,
        option(
            "Epochs of tuning after pruning; by default none, with --trained those of the recipe (3).",
            PRUNING,
        ),
    ] = None,
    out: Annotated[Path, path_option("Folder for the network and its record.")] = Path("secateur-prune"),
    log_with: LogWithOption = None,
    plan: PlanOption = False,
) -> Answer | None:
    """Train a network, or take a trained one, and prune it until every budget holds. The network is left in
    model.safetensors, architecture.json and record.json.

    Example: `secateur prune fisher --model wrn-16-1 --data digits --budget params=25% --epochs 30
    --prune-every 10`, or `secateur prune reparametrization --model conv4 --data digits --budget nonzeros=1%`
    """
    from secateur.budget import Budgets
    from secateur.compare.one_network import (
        FILES,
        Subject,
        arm_alone,
        check_budgets,
        check_name,
        check_settings,
        prune_one,
        with_tuning,
    )
    from secateur.methods import CHANNEL_METHODS
    from secateur.methods.granularity import check_asked

    check_name(method)
    wanted = Budgets.parse(",".join(budget))
    step_by_step = method in CHANNEL_METHODS
    pruning, sparsity = options.pruning(method if step_by_step else "fisher"), options.sparsity()
    if trained and not step_by_step:
        raise InputError(f"--trained is for what prunes channels step by step, got {method}: leave it out")
    if trained:
        from secateur.architecture.matching import weights_for

        pruning = replace(pruning, trained=True, weights=weights_for(options.model))
    check_budgets(method, wanted)
    check_settings(method, sparsity)
    if pruning.granularity == AUTO:
        check_asked(method, wanted)
    sparsity = with_tuning(sparsity, None if step_by_step else tune_epochs, method)
    anew, tuned = options.recipe(), options.fine_tuning()
    session, data, architecture = session_for(options, out, FILES, log_with)
    printing.constraints(architecture, pruning.constraints, session, method)
    recipe = tuned if trained or architecture.comes_trained else anew
    subject = Subject(
        architecture, data, recipe, seed, finds_rate=options.finds_rate and not plan, terms=options.terms()
    )
    epochs = (recipe.epochs if trained else 0) if tune_epochs is None else tune_epochs

    def work(where: Session) -> Point:
        if step_by_step:
            return prune_one(where, subject, pruning, wanted, epochs)
        return arm_alone(where, subject, method, wanted, sparsity, pruning.constraints)

    if plan:
        return planned(session, subject, work, sparsity.settings)
    return printing.network(work(session), session)


@taking(ModelOptions)
def inspect_model(
    options: ModelOptions,
    image: Annotated[
        str | None,
        typer.Option("--input", help="CHANNELSxHEIGHTxWIDTH of an image, in place of data: 3x224x224."),
    ] = None,
    classes: Annotated[int, typer.Option(help="With --input: how many classes.")] = 1000,
) -> Answer | None:
    """What can be cut from a model, what cannot and why. Nothing is changed, nothing is written.

    Example: `secateur inspect --model mypackage.nets:build --input 3x224x224`
    """
    from secateur.architecture.inspection import groups_and_costs
    from secateur.progress import reporter_for

    with reporter_for(sys.stderr, silent=is_quiet()) as reporter:
        if image is not None:
            architecture = options.load_at(image, classes, reporter)
        else:
            architecture = options.load_as_saved() or options.load(reporter)[1]
    return printing.inspection(groups_and_costs(architecture, options.model))


def diff(
    first: Annotated[Path, path_argument("An architecture.json, or a folder that holds one.", "FIRST")],
    second: Annotated[Path, path_argument("Another one.", "SECOND")],
) -> Answer | None:
    """Where two architectures differ, group by group. Nothing is built: the files are compared.

    Example: `secateur diff dense/ small/`
    """
    from secateur.architecture.file import diff_files

    return printing.differences(diff_files(first, second))


@taking(Int8Options)
def export(
    options: Int8Options,
    directory: Annotated[Path, path_argument("Folder that train, prune or sc.save left.")],
    to: Annotated[
        str, typer.Option(help="onnx, openvino or c.", autocompletion=completing(names.FORMATS))
    ] = "onnx",
    int8: Annotated[
        bool,
        typer.Option(
            "--int8",
            help="In 8-bit integers, calibrated on training images of --data; accuracy and latency, before "
            "and after, are measured (docs/int8.md).",
        ),
    ] = False,
    out: Annotated[
        Path | None, path_option("File to write, or folder for it; by default beside the weights.")
    ] = None,
    factory: Annotated[
        str | None, typer.Option(help="What builds the network, where it is not built in.")
    ] = None,
    with_preprocessing: Annotated[
        bool,
        typer.Option(
            "--with-preprocessing",
            help="Take images (uint8, batch x height x width x channels, at the network's size) and give "
            "probabilities; by default normalised numbers in, scores out.",
        ),
    ] = False,
    values: Annotated[
        str | None,
        typer.Option(
            help="For --to c: what weights are stored as, float32 (the default) or float16.",
            autocompletion=completing(names.VALUES),
        ),
    ] = None,
    pad_widths: Annotated[
        str | None,
        typer.Option(
            help="auto (the default): channels of zero are added, to multiples of 8 for onnx and 16 for "
            "openvino, where that is measured to be faster; off; or the multiple (docs/widths.md).",
            autocompletion=completing(names.PADDINGS),
        ),
    ] = None,
) -> Answer | None:
    """Write a saved network for another runtime, proved to compute the same. Class names, input size and
    normalisation lie in the file as metadata.

    Example: `secateur export small/ --to onnx --with-preprocessing`, or `secateur export small/ --to openvino
    --int8 --data photos/`, or `secateur export small/ --to c --values float16`
    """
    from secateur.runs.export import export_directory

    _check_values(values, to, int8)
    if int8 and pad_widths is not None:
        raise InputError(f"--pad-widths is for exports without --int8, got {pad_widths}: leave it out")
    if int8:
        return _export_in_int8(options, directory, to, out, factory, with_preprocessing)
    options.check_unused()
    written = export_directory(
        directory,
        to,
        out,
        factory=factory_named(factory),
        with_preprocessing=with_preprocessing,
        **({} if values is None else {"values": values}),
        **({} if pad_widths is None else {"pad_widths": pad_widths}),
    )
    return printing.exported(written)


def _check_values(values: str | None, to: str, int8: bool) -> None:
    """Raise InputError where --values is given for what stores weights in one way only."""
    if values is not None and (to != "c" or int8):
        other = "--int8" if int8 else f"--to {to}"
        raise InputError(f"--values is for --to c without --int8, got {other}: leave it out")


def _export_in_int8(
    options: Int8Options,
    directory: Path,
    to: str,
    out: Path | None,
    factory: str | None,
    with_preprocessing: bool,
) -> Answer:
    """Quantise a saved network; whatever can be refused without data is refused before they are read."""
    from secateur.deploy.calibrating import MOST
    from secateur.progress import reporter_for
    from secateur.records.out import check_outside_data
    from secateur.runs.quantizing import Wanted

    if to == "c" and options.calibrate is not None:
        raise InputError("--to c has weights in int8 alone, and calibrates nothing: leave --calibrate out")
    wanted = Wanted.of(
        directory,
        to,
        out,
        factory=factory_named(factory),
        with_preprocessing=with_preprocessing,
        calibrate=MOST if options.calibrate is None else options.calibrate,
    )
    chosen = options.of_network(wanted.artefact.data, wanted.artefact.task)
    if chosen.data_folder is not None:
        check_outside_data(wanted.path.parent, chosen.data_folder)
    with reporter_for(sys.stdout) as reporter:
        data = chosen.load_data(reporter, wanted.pixels)
        found = wanted.write(data, reporter.note)
    return printing.quantized(found, wanted.path)


def scale(
    arch: Annotated[Path, path_argument("An architecture.json, or a folder that holds one.", "ARCH")],
    budget: Annotated[
        list[str],
        typer.Option(
            help="params=300k, or a share of ARCH itself: params=50%.",
            autocompletion=completing(names.BUDGETS),
        ),
    ],
    out: Annotated[Path | None, path_option("File or folder to write the scaled architecture to.")] = None,
    factory: Annotated[
        str | None, typer.Option(help="What builds the network, where it is not built in.")
    ] = None,
) -> Answer | None:
    """Scale a saved profile to a budget (copycat): every group width times alpha. Trains nothing.

    Example: `secateur scale secateur-compare/best --budget params=20k --out small.json`, then
    `secateur train --model small.json`
    """
    from secateur.architecture.architecture import Architecture
    from secateur.architecture.file import ARCHITECTURE_FILE
    from secateur.atomic import make_folder

    wanted = only_one(budgets_of(budget))
    source = Architecture.load(arch, factory_named(factory))
    scaled = source.scaled_to(wanted)
    if out is not None:
        file = out if out.suffix == ".json" and not out.is_dir() else out / ARCHITECTURE_FILE
        _check_scaled(file, arch)
        make_folder(file.parent)
        scaled.save(file)
    return printing.scaled(source, scaled, file if out is not None else None)


def _check_scaled(file: Path, source: Path) -> None:
    """Raise InputError where the scaled architecture would replace its source, or what is not ours."""
    from secateur.records.out import check_not_read, check_out

    check_out(file.parent, [file.name])
    check_not_read([file], source)
    if file.name == "architecture.json" and (file.parent / "model.safetensors").exists():
        raise InputError(
            f"an architecture may not replace that of the weights beside it, got '{file}': choose another "
            "--out"
        )


def report(
    directories: Annotated[list[Path], path_argument("Folders that `compare` left.", "DIR...")],
    open_page: OpenOption = False,
) -> Answer | None:
    """Draw report.html and figures/ again from results.json. The verdict is judged again by today's rule.

    Example: `secateur report secateur-compare/`
    """
    from secateur.compare.judging import judge_folder
    from secateur.compare.results import PAGE, agreeing, load_results, rewrite_report

    require_extra("compare", "secateur report")
    keep_imported()
    if open_page and len(directories) > 1:
        raise InputError(f"--open shows one report, got {len(directories)} folders: name one")
    loaded = [(directory, load_results(directory)) for directory in directories]
    written: list[str] = []
    changes: list[str] = []
    for directory, results in loaded:
        with agreeing(directory):
            judged, changed = judge_folder(directory, results)
            written.append(str(rewrite_report(directory, judged)))
        changes += [changed] if changed else []
    found = Answer(
        {"reports": written, "judged_again": changes}, lambda: show("\n".join([*changes, *written]))
    )
    with opened(open_page, directories[0], PAGE, there=True) as finish:
        return replace(found, after=finish)
