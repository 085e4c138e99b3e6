"""What commands answer: plans, results, groups and networks, for people and as JSON."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import typer

from secateur.cli.answer import Answer
from secateur.cli.terminal import Table, printable, say, show
from secateur.progress import duration
from secateur.records.measure import number
from secateur.records.results import counted_for

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from secateur.architecture.architecture import Architecture
    from secateur.compare.one_network import Subject
    from secateur.compare.planned import Planned
    from secateur.compare.wanted import Wanted
    from secateur.deploy.c import CExport
    from secateur.deploy.traced import Export
    from secateur.records.advice import Advice
    from secateur.records.point import Point
    from secateur.records.quantized import Quantized
    from secateur.records.results import Results
    from secateur.runs.executors.choice import Workers
    from secateur.runs.graph import Graph
    from secateur.runs.session import Session
    from secateur.surgery.constraints import Constraints
    from secateur.training.batches import AnyData

FAILED = 3
"""The exit code of a comparison some runs of which failed; the others are in its results."""


def or_dash(value: object) -> str:
    return "-" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def inspection(found: dict[str, Any]) -> Answer:
    """The groups, what is frozen, the totals and the smallest network that cutting can reach."""
    return Answer(found, lambda: _show_inspection(found))


def _show_inspection(found: dict[str, Any]) -> None:
    shown = Table("group", "layers that it spans", "channels", "params each", "MACs each")
    for group in found["groups"]:
        spanned = group["layers"]
        more = f" and {len(spanned) - 4} more" if len(spanned) > 4 else ""
        tied = f" (tied: {group['sets']})" if group["sets"] else ""
        shown.add_row(
            group["name"],
            ", ".join(spanned[:4]) + more + tied,
            f"{group['width']:,}",
            f"{group['params']:,}",
            f"{group['macs']:,}",
        )
    say(f"{found['model']}: {found['proof']}")
    shown.show()
    for frozen in found["frozen"]:
        say(f"frozen: {frozen['name']} ({frozen['width']}): {frozen['reason']}")
    for name, counts in (("now", found["now"]), ("at least", found["smallest"])):
        say(f"{name}: {', '.join(f'{value:,} {resource}' for resource, value in counts.items())}")
    if "bytes_on_disk" in found:
        say(f"on disk: {found['bytes_on_disk']:,} bytes of model.safetensors")
    say(found["convention"])


def constraints(architecture: Architecture, wanted: Constraints, session: Session, method: str) -> None:
    """What each of the constraints was taken to mean for this network, by a method or (empty) by all arms."""
    from secateur.compare.arms import WEIGHT_ARMS
    from secateur.methods import CHANNEL_METHODS

    if method in WEIGHT_ARMS:
        words = tuple(wanted.words_of_weights(architecture.skeleton()))
    else:
        bounds = architecture.bounds(wanted, streams=method not in CHANNEL_METHODS)
        words = bounds.words if bounds else ()
    if session.runtime.is_main:
        for line in words:
            session.reporter.note(line)


def differences(rows: Sequence[tuple[str, Any, Any]]) -> Answer:
    """Where two architectures differ."""
    found = [{"what": name, "first": one, "second": other} for name, one, other in rows]
    return Answer({"same": not rows, "differences": found}, lambda: _show_differences(rows))


def _show_differences(rows: Sequence[tuple[str, Any, Any]]) -> None:
    if not rows:
        say("The architectures are the same.")
        return
    shown = Table("what", "", "first", "second")
    for name, one, other in rows:
        shown.add_row(name, "", or_dash(one), or_dash(other))
    shown.show()


def plan(wanted: Wanted, session: Session, asked: Workers) -> Answer:
    """The arms with their sizes, compute and an estimate of the time."""
    from secateur.compare.planned import Planned

    found = Planned.of(wanted, session, asked)
    return Answer(found.to_json(), lambda: _show_plan(found))


def plan_of_one(graph: Graph, subject: Subject, session: Session, settings: Mapping[str, Any]) -> Answer:
    """The runs that one network takes, with their compute, an estimate of the time, and what was set."""
    from secateur.compare.arms import PlanRow
    from secateur.compare.forecast import estimate_seconds
    from secateur.device import describe_device

    architecture, data = subject.architecture, subject.data
    macs = [node.run.architecture.macs if node.run else architecture.macs for node in graph]
    rows = [
        PlanRow(node.name, "", None, None, architecture.params, each, None, node.compute)
        for node, each in zip(graph, macs, strict=True)
    ]
    seconds = estimate_seconds(session.runtime, data, architecture, subject.recipe, rows)
    device = describe_device(session.runtime.device)
    runs = [
        {"run": node.name, "after": list(node.after), "compute": node.compute, "seconds": taken}
        for node, taken in zip(graph, seconds, strict=True)
    ]
    content = {
        "model": architecture.display_name,
        "params": architecture.params,
        "macs": architecture.macs,
        "data": data.label,
        "found": _found(data),
        "runs": runs,
        "seconds": sum(seconds),
        "device": device,
        **_set(settings),
    }
    return Answer(content, lambda: _show_plan_of_one(content))


def _set(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What was set of methods, as JSON; nothing where nothing was."""
    return {"settings": {name: dict(own) for name, own in settings.items()}} if settings else {}


def _say_settings(settings: Mapping[str, Any]) -> None:
    """A line of what was set of methods, where something was."""
    from secateur.runs.method_settings import in_words

    if settings:
        say(f"With {in_words(settings)}.")


def _found(data: AnyData) -> dict[str, Any] | None:
    """What the data were understood to be, as JSON."""
    return data.found.to_json() if data.found else None


def _show_plan_of_one(content: Mapping[str, Any]) -> None:
    from secateur.network.counting import MACS_CONVENTION, TRAINING_CONVENTION

    size = f"{content['params']:,} parameters, {content['macs']:,} MACs"
    say(f"{content['model']} ({size}) on {content['data']}; nothing is trained now.")
    shown = Table("run", "after", "training MACs", "about")
    for run in content["runs"]:
        shown.add_row(run["run"], ", ".join(run["after"]), f"{run['compute']:.3g}", duration(run["seconds"]))
    shown.show()
    _say_settings(content.get("settings", {}))
    say(f"{MACS_CONVENTION}; {TRAINING_CONVENTION}.")
    say(f"In all about {duration(content['seconds'])} on {content['device']}.")


def _show_plan(found: Planned) -> None:
    say(found.title)
    if found.tuned:
        say(f"{found.tuned}.")
    shown = Table(*found.heads)
    for cells in found.cells():
        shown.add_row(*cells)
    shown.show()
    for note in found.notes():
        say(note)


def results(found: Results, directory: Path, out: Path) -> Answer:
    """A comparison: every arm at every budget, and the verdict.

    Args:
        directory: where its report lies: `out`, or a folder in it where that has another question's.
    """
    content = {"directory": str(directory), "report": str(directory / "report.html"), **found.to_json()}
    if found.failed:
        first, count = found.failed[0], len(found.failed)
        them = "them" if count > 1 else "it"
        said = f"{first.label}: {first.error}"
        print(
            f"secateur: {count} run{'s' if count > 1 else ''} failed ({printable(said)}"
            f"{f'; and {count - 1} more' if count > 1 else ''}); the results are of all others. Alone, with "
            f"all that is said of {them}: SECATEUR_DEBUG=1 {printable(found.command)} "
            "--workers 1 --retry-failed",
            file=sys.stderr,
        )
    return Answer(content, lambda: _show_results(found, directory, out), FAILED if found.failed else 0)


def together(
    shown: Answer | None, finish: Callable[[], None] | None, session: Session, *, failed: bool
) -> Answer | None:
    """Have all of several processes end with the same code, and none before the results were shown.

    Whoever launched them kills the others when one ends with another code than 0.

    Args:
        shown: of the first process; the others have None.
        finish: what is done when it was shown.
        failed: whether runs did.
    """
    if not failed or session.runtime.world == 1:
        return replace(shown, after=finish) if shown else None
    if shown is None:
        session.runtime.barrier()
        raise typer.Exit(FAILED)

    def after() -> None:
        if finish:
            finish()
        session.runtime.barrier()

    return replace(shown, after=after)


def _show_results(found: Results, directory: Path, out: Path) -> None:
    from secateur.network.counting import MACS_CONVENTION, TRAINING_CONVENTION

    counted = counted_for(found.resource)
    measure = found.measure
    shown = Table("arm", "budget", counted, measure.name, "± (95%)", "training MACs", "discovery MACs")
    for row in found.summary:
        shown.add_row(
            row.arm,
            f"{row.budget} ({row.limit:,})",
            f"{row.count_of(counted):,.0f}",
            measure.plain(row.mean),
            "" if row.half is None else measure.plain(row.half).rstrip("%"),
            f"{row.train_compute:.2e}",
            f"{row.discovery_compute:.2e}" if row.discovery_compute else "",
        )
    shown.show()
    say(f"{MACS_CONVENTION}; {TRAINING_CONVENTION}.")
    if found.advice:
        _show_advice(found.advice)
    _show_failed(found)
    say(f"\n{found.verdict.text}")
    for entry in found.verdict.per_budget:
        say(f"  {entry.budget}: {entry.text}.")
    say(f"Report: {directory / 'report.html'}")
    if directory != out:
        say(f"{out / 'report.html'} answers another question, and was left as it is.")


def _show_failed(found: Results) -> None:
    """The runs that failed, and the networks that are missing for it."""
    for run in found.failed:
        waiting = [each for each in found.missing if each.failed == run.label]
        lost = [f"{each.arm} {each.budget or 'unpruned'} seed {each.seed}" for each in waiting]
        say(f"failed: {run.label}: {run.error}" + (f"; missing for it: {', '.join(lost)}" if lost else ""))


def _show_advice(found: Advice) -> None:
    """The headline, what is beneath it, and the command that would decide what is open."""
    say(f"\n{found.text}")
    for line in found.lines:
        say(f"  {line}")
    if found.command:
        print(f"  {printable(found.command)}")  # not broken into lines: it is to be copied
    for entry in found.per_budget if len(found.per_budget) > 1 else ():
        say(f"  {entry.budget}: {entry.text}.")


def network(point: Point, session: Session) -> Answer | None:
    """One network that was trained or pruned; None in the other processes of a distributed run."""
    if not session.runtime.is_main:
        return None
    directory = session.store.directory
    also = "".join(f", {name} {number(value)}" for name, value in (point.also or {}).items())
    text = (
        f"{point.arm}: {point.measure.shown(point.accuracy)}{also} on the test split with {_size_of(point)}; "
        f"written to {directory}"
    )
    return Answer({"directory": str(directory), **point.to_json()}, lambda: show(text))


def _size_of(point: Point) -> str:
    """What the network has: a network with zeroed weights computes as much as before, and that is said."""
    if point.nonzeros == point.weights:
        size = f"{point.params:,} parameters, {point.macs:,} MACs (multiply-accumulates, one image"
        if point.uncounted:
            size += f"; not counted, as nobody knows their cost: {', '.join(point.uncounted)}"
        return f"{size}), {point.bytes:,} bytes" + (f", {point.latency}" if point.latency else "")
    return (
        f"exactly {point.nonzeros:,} of {point.weights:,} weights not zero ({point.macs:,} MACs, as "
        f"many as before: of runtimes only the exported C skips zeros), {point.bytes:,} bytes"
    )


def scaled(source: Architecture, found: Architecture, written: Path | None) -> Answer:
    """Every group's width before and after; `written`: the file, if there is one."""
    content = {
        "written": None if written is None else str(written),
        "source": {"params": source.params, "macs": source.macs, "widths": list(source.widths)},
        "scaled": found.to_dict(),
    }
    return Answer(content, lambda: _show_scaled(source, found, written))


def _show_scaled(source: Architecture, found: Architecture, written: Path | None) -> None:
    from secateur.network.counting import MACS_CONVENTION

    shown = Table("group", "", "width", "scaled")
    for name, old, new in zip(source.group_names(), source.widths, found.widths, strict=True):
        shown.add_row(name, "", str(old), str(new))
    shown.add_row("params", "", f"{source.params:,}", f"{found.params:,}")
    shown.add_row("MACs", "", f"{source.macs:,}", f"{found.macs:,}")
    shown.show()
    say(f"{MACS_CONVENTION}.")
    if written is not None:
        say(f"Written to {written}")


def exported(written: Export) -> Answer:
    """A file for another runtime, and what its proof found."""
    found = {key: str(value) if isinstance(value, Path) else value for key, value in vars(written).items()}
    if not written.checked:
        found["difference"] = None
    return Answer(found, lambda: show(_exported(written)))


def _exported(written: Export) -> str:
    widths = f"\n{written.widths}" if written.widths else ""
    if written.format == "c":
        return _exported_c(cast("CExport", written)) + widths
    return f"{written.path}: {written.size:,} bytes; {_proof(written)}{widths}"


def _proof(written: Export) -> str:
    return (
        f"differs from torch by {written.difference:.1e} of the largest output, at batch sizes "
        f"{', '.join(map(str, written.checked))}"
    )


def _exported_c(written: CExport) -> str:
    """Where the files are, what memory they need, and whether they were tried."""
    stored = f", {written.sparse_layers} of {written.layers} layers sparse" if written.sparse_layers else ""
    text = (
        f"{written.path}: {written.size:,} bytes with {written.header.name}; weights "
        f"{written.constant_bytes:,} bytes in {written.values}{stored}; memory at run time "
        f"{written.arena_bytes:,} bytes, static\n"
    )
    if not written.compared:
        return (
            text + "It was NOT compared with torch: no C compiler (cc, gcc, clang or $CC) is on this machine."
        )
    rounding = ", of which float16 weights are the most" if written.values == "float16" else ""
    return f"{text}Built with {written.versions['compiler']}: {_proof(written)}{rounding}"


def quantized(found: Quantized, path: Path) -> Answer:
    """A file in int8, beside the same network in float32."""
    return Answer({**found.to_json(), "path": str(path)}, lambda: _show_quantized(found, path))


def _show_quantized(found: Quantized, path: Path) -> None:
    say(f"{path}: {found.how}.")
    if found.calibration is not None:
        fitted = found.calibration
        images = f"{fitted.n:,} images of the split '{fitted.split}' of {fitted.data}"
        say(f"Calibrated on {images}; {found.share:.1%} of the MACs are computed in int8.")
    shown = Table("", "", "float32", "int8")
    title = "bytes of weights and tables" if found.runtime == "c" else "bytes"
    shown.add_row(title, "", f"{found.bytes_before:,}", f"{found.bytes_after:,}")
    if (quality := found.quality) is not None:
        title = f"{quality.metric.name}, split '{quality.split}', n = {quality.n:,}"
        shown.add_row(title, "", quality.metric.plain(quality.before), quality.metric.plain(quality.after))
        if (bounds := quality.interval(quality.after)) and (first := quality.interval(quality.before)):
            intervals = [f"{low:.1%} to {high:.1%}" for low, high in (first, bounds)]
            shown.add_row("  95% interval", "", *intervals)
    if (pace := found.latency) is not None:
        title = f"ms on {pace.runtime} {pace.version}, batch {pace.batch}, {pace.threads} thread, median"
        shown.add_row(title, "", *(f"{each.median_ns / 1e6:.3g}" for each in (pace.before, pace.after)))
        shown.add_row(
            "  95th percentile", "", *(f"{each.p95_ns / 1e6:.3g}" for each in (pace.before, pace.after))
        )
    shown.show()
    if quality is not None and quality.same is not None:
        say(f"The same class for {quality.same:,} of these {quality.n:,} images.")
    if found.held_out is not None:
        say(f"Of {found.held_out.n:,} images held out: {found.held_out.in_words()}.")
    for remark in found.remarks:
        say(f"Note: {remark}.")
