"""What a model card says of time: on each runtime, now and before pruning; and of the files in int8."""

from __future__ import annotations

from collections.abc import Iterator

from secateur.records.measured import BEFORE, NOW, Measured, Timing
from secateur.records.quantized import Quantized
from secateur.records.scrubbed import scrubbed_text
from secateur.report.cautious import interval, milliseconds, percent, ratio, score, size
from secateur.report.markdown import code, said, table
from secateur.runs.finished import Finished


def latency(finished: Finished) -> Iterator[str]:
    """A row for each runtime, and what should be known of the numbers."""
    measured = finished.measured
    if measured is None or not measured.timings:
        yield f"It was not measured. On your machine: {code('secateur measure FOLDER')}."
        return
    both = any(row.which == BEFORE for row in measured.timings)
    head = ["runtime", "batch, threads", "median", "95th percentile"]
    head += ["the uncut one", "times as fast"] if both else []
    rows = [_row(measured, row, both) for row in measured.timings if row.which == NOW]
    yield table(head, rows)
    devices = ", ".join(dict.fromkeys(said(scrubbed_text(row.device)) for row in measured.timings))
    most = min(row.n for row in measured.timings)
    yield (
        f"Of one batch, on {devices}, at least {most:,} runs of each, every runtime in a process of its "
        "own. Times "
        "on another machine are others."
    )
    known = [said(scrubbed_text(remark), 400) for remark in measured.remarks]
    known += [f"{said(row.runtime)} was not measured: {said(row.why)}" for row in measured.not_measured]
    if known:
        yield "\n".join(f"- {each}" for each in known)


def _row(measured: Measured, row: Timing, both: bool) -> list[str]:
    found = [
        f"{said(row.runtime)} {said(row.version)}, {said(row.dtype)}",
        f"{row.batch}, {row.threads}",
        milliseconds(row.median_ns),
        milliseconds(row.p95_ns),
    ]
    if not both:
        return found
    before, speed = measured.timing(row.runtime, BEFORE), measured.speed(row.runtime)
    found.append("-" if before is None else milliseconds(before.median_ns))
    if speed is None:
        return [*found, "-"]
    return [*found, f"{_down(speed.speedup)} ({_down(speed.low)} to {_up(speed.high)})"]


def _down(value: float) -> str:
    """Two decimals, rounded down: of how much faster it is."""
    return f"{int(value * 100) / 100:.2f}"


def _up(value: float) -> str:
    return f"{-int(-value * 100 // 1) / 100:.2f}"


def quantized(finished: Finished) -> list[str]:
    """What the files in int8 come to; nothing where there are none."""
    return [line for each in finished.quantized for line in _of_file(each)]


def _of_file(found: Quantized) -> Iterator[str]:
    yield (
        f"{code(found.file)}, for {said(found.runtime)}: {said(found.how, 400)} In int8 are "
        f"{ratio(found.int8_macs, found.macs, up=False) if found.macs else '-'} of the multiply-accumulates; "
        f"{size(found.bytes_before)} bytes before, {size(found.bytes_after)} after."
    )
    rows = []
    if quality := found.quality:
        metric = (
            f"{said(quality.metric.name)}, {said(quality.split)} split of {said(scrubbed_text(quality.data))}"
        )
        rows += [
            [
                f"{metric}, {when}",
                score(quality.metric, value, quality.n),
                interval(quality.metric, value, quality.n),
            ]
            for when, value in (("float32", quality.before), ("int8", quality.after))
        ]
    if rows:
        yield table(["", "value", "95% interval"], rows)
    if pace := found.latency:
        yield (
            f"On {said(pace.runtime)} {said(pace.version)}, {said(scrubbed_text(pace.device))}, batch "
            f"{pace.batch}, "
            f"{pace.threads} threads: {milliseconds(pace.before.median_ns)} before, "
            f"{milliseconds(pace.after.median_ns)} in int8 (medians), {_down(pace.speedup)} times as fast."
        )
    if calibration := found.calibration:
        yield (
            f"Calibrated on {calibration.n:,} images of the split {said(calibration.split)} of "
            f"{said(scrubbed_text(calibration.data))} ({said(calibration.method)})."
        )
    if agreement := found.held_out:
        same = "" if agreement.share is None else f", the same class for {percent(agreement.share)}"
        yield f"Beside float32, on {agreement.n:,} images that nothing was fitted to{same}."
    if found.remarks:
        yield "\n".join(f"- {said(scrubbed_text(each), 400)}" for each in found.remarks)
