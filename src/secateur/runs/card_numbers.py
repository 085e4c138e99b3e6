"""What a model card says of budgets, sizes and accuracy."""

from __future__ import annotations

from collections.abc import Iterator

from secateur.architecture.file import WEIGHTS_FILE
from secateur.budget import Budgets
from secateur.errors import InputError
from secateur.records.found import counted
from secateur.records.measure import Measure
from secateur.records.scrubbed import scrubbed_text
from secateur.report.cautious import interval, milliseconds, ratio, score, size
from secateur.report.markdown import code, said, table
from secateur.runs.finished import Control, Finished

UNITS = {
    "params": "parameters",
    "macs": "multiply-accumulates (MACs) of one example",
    "nonzeros": "weights that are not zero",
    "bytes": "bytes on disk",
}


def sizes(finished: Finished) -> Iterator[str]:
    """What was asked, what was reached, and how large it is beside what it was cut from."""
    yield from _budgets(finished)
    measured, control = finished.measured, finished.control
    now, before = dict(finished.counts), dict(control.counts) if control is not None else {}
    if measured is not None:
        names = ("weights", "nonzeros", "nonzero_macs", "peak_activation_bytes")
        now |= {name: getattr(measured.now, name) for name in names}
        if measured.before is not None:
            before |= {name: getattr(measured.before, name) for name in (*names, "params", "macs")}
            before["bytes"] = measured.before.file_bytes
    elif finished.made is not None:
        now |= {name: finished.made.counts[name] for name in ("weights",) if name in finished.made.counts}
    rows = [
        [words, size(now[name]), size(before.get(name)), _share(now[name], before.get(name))]
        for name, words in {
            "params": "parameters",
            "weights": "weights of convolutions and linear layers",
            "nonzeros": "weights that are not zero",
            "macs": "multiply-accumulates of one example",
            "nonzero_macs": "of these with a weight that is not zero",
            "peak_activation_bytes": "bytes of activations at the peak, of one example",
            "bytes": f"bytes of {code(WEIGHTS_FILE)}",
        }.items()
        if now.get(name) is not None
    ]
    if finished.is_sparse and now.get("weights"):
        yield f"Of its weights {ratio(now['nonzeros'], now['weights'])} are not zero."
    if before:
        yield table(["", "this network", "the uncut one", "share"], rows)
    else:
        yield table(["", "this network"], [row[:2] for row in rows])


def _share(now: int, before: int | None) -> str:
    return "-" if not before else ratio(now, before)


def _budgets(finished: Finished) -> Iterator[str]:
    """A sentence for each budget: asked, what it came to, reached."""
    made, asked = finished.made, finished.budget
    if asked is None:
        yield "No budget was asked for, or no record says which."
        return
    limits = made.limits if made is not None else {}
    for resource, text in _asked(asked):
        limit = limits.get(resource)
        if resource == "latency":
            reached = said(made.latency) if made is not None and made.latency else "not recorded"
            at_most = "" if limit is None else f" (at most {milliseconds(limit)})"
            yield f"Asked: {code(text)}{at_most}. Measured when it was made: {reached}."
            continue
        reached_count = finished.counts.get(resource)
        unit = UNITS.get(resource)
        if unit is None:
            yield f"Asked: {code(text)}."
        elif reached_count is None:
            yield f"Asked: {code(text)}. How many {unit} it has could not be counted without its code."
        elif limit is None:
            yield f"Asked: {code(text)}. It has {size(reached_count)} {unit}."
        else:
            met = "met" if reached_count <= limit else "**not met**"
            if resource == "nonzeros" and reached_count == limit:
                met = "met exactly"
            yield (
                f"Asked: {code(text)}, which is at most {size(limit)} {unit}. It has {size(reached_count)}: "
                f"{met}."
            )


def _asked(budget: str) -> list[tuple[str, str]]:
    """Resource and text of every budget, also where a table that it names is elsewhere."""
    try:
        return [(each.resource, scrubbed_text(each.text)) for each in Budgets.parse(budget)]
    except InputError:
        parts = [part.strip() for part in budget.split(",") if part.strip()]
        return [(part.partition("=")[0], scrubbed_text(part)) for part in parts]


def accuracy(finished: Finished) -> Iterator[str]:
    """Test accuracy with n and its interval, beside what it was before."""
    made = finished.made
    if made is None:
        yield "No record of a measurement on a test split came with this network."
        return
    n, measure = finished.test_size, made.measure
    rows = [_row("this network", measure, made.accuracy, n)]
    if made.before is not None:
        rows.append(_row("before weights were set to zero", measure, made.before, n))
    if finished.control is not None:
        rows.append(_row(_control_words(finished.control), measure, finished.control.accuracy, n))
    yield table(["test split", said(measure.name), "95% interval"], rows)
    of = f" of {size(n)} examples" if n else ""
    val = score(measure, made.val_accuracy, finished.val_size)
    if finished.compared:
        words = (
            f"The test split{of} took no part in training; which of the ways that were compared is shipped "
            "was judged "
            f"on it and on the validation split together. On the validation split: {val}."
        )
    elif finished.selected_on_test:
        words = (
            f"The recipe chose its epoch by this very split{of}: expect less of new images. On the "
            "validation "
            f"split: {val}."
        )
    else:
        words = (
            f"The test split{of} took no part in training, nor in what was chosen. On the validation split, "
            "which "
            f"did: {val}."
        )
    if measure.fraction and n:
        words += " The interval is Wilson's, for that many examples; another seed is not in it."
    if not measure.higher_is_better:
        words += f" Of {said(measure.name)} less is better."
    yield words
    if made.also:
        yield "Further, on the test split: " + ", ".join(
            f"{said(name)} {value:.4g}" for name, value in made.also.items()
        )


def _row(what: str, measure: Measure, value: float, n: int | None) -> list[str]:
    return [what, score(measure, value, n), interval(measure, value, n)]


def _control_words(control: Control) -> str:
    if control.given:
        return "what it was cut from, as it came"
    epochs = "" if control.epochs is None else f", after {counted('epochs', control.epochs)}"
    return f"unpruned, the same data and seed{epochs}"
