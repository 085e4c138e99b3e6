"""The claims of Dupont et al. 2021 with their verdicts: Markdown, CSV, a page, and lines for a terminal."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from secateur.atomic import write_bytes
from secateur.papers.cells import DupontCells
from secateur.papers.dupont2021.claims import NOT_HELD, NOT_MEASURED, Checked, Outcome, check
from secateur.papers.text import MISSING, conditions, markdown
from secateur.records.written import field
from secateur.report.templates import environment

TITLE = "What Dupont et al. 2021 say of their method, checked"
COLUMNS = ("the paper's own tables", "as written, here", "exact mode, here")
_KEYS = ("paper", "faithful", "exact")
_HEADS = (
    *("claim", "dataset", "network", "rate", "relation", "bound"),
    *(f"{key}_{what}" for key in _KEYS for what in ("verdict", "value", "std", "n", "note")),
    *("scale", "device", "commit"),
)


def verdicts(content: DupontCells) -> list[str]:
    """A line for each claim: its name, and what came of it in the paper's tables and here."""
    return [f"{each.claim.name}: {_overall(each)}" for each in check(content.cells)]


def _overall(each: Checked) -> str:
    """The verdicts of all three columns, with the number of places where it held, of those measured."""
    parts = []
    for column, head in enumerate(COLUMNS):
        held, measured = each.counts(column)
        places = f" (at {held} of {measured})" if measured else ""
        parts.append(f"{head}: {each.overall(column)}{places}")
    return "; ".join(parts)


def contradicted(each: Checked) -> str:
    """Where the paper's own tables contradict its text; empty: nowhere.

    Example:
        "The paper's tables contradict it: conv4 on cifar10, 97% (+2.29)."
    """
    places = [
        f"{place} ({_number(outcomes[0], True, each.claim.unit)})"
        for place, outcomes in zip(each.claim.places, each.outcomes, strict=True)
        if outcomes[0].verdict == NOT_HELD
    ]
    return f"The paper's own tables contradict it: {'; '.join(places)}." if places else ""


def outcome_text(outcome: Outcome, is_theirs: bool, unit: str) -> str:
    """One place's verdict, with its number.

    Example:
        >>> outcome_text(Outcome("held", 30.63, None, 1), True, "points")
        'held: +30.63'
        >>> outcome_text(Outcome("not held", 0.2036, 0.0012, 2), False, "")
        'not held: 0.204 ± 0.001 (2)'
    """
    if outcome.value is None:
        return outcome.note or (MISSING if is_theirs else NOT_MEASURED)
    count = "" if is_theirs else f" ({outcome.n})"
    note = f", {outcome.note}" if outcome.note else ""
    return f"{outcome.verdict}{note}: {_number(outcome, is_theirs, unit)}{count}"


def _number(outcome: Outcome, is_theirs: bool, unit: str) -> str:
    """Points with their sign and one decimal, fractions with three; the paper's with its two."""
    assert outcome.value is not None
    digits = 2 if is_theirs else 1 if unit else 3
    value = round(outcome.value, digits) + 0.0  # no -0.0
    spread = "" if outcome.std is None else f" ± {outcome.std:.{digits}f}"
    return f"{value:{'+' if unit else ''}.{digits}f}{spread}"


def _texts(each: Checked, index: int) -> list[str]:
    """The row of one place: where, and the three verdicts."""
    unit = each.claim.unit
    outcomes = [
        outcome_text(outcome, column == 0, unit) for column, outcome in enumerate(each.outcomes[index])
    ]
    return [str(each.claim.places[index]), *outcomes]


def _rows(each: Checked) -> list[list[str]]:
    """The places of which anything is known."""
    return [
        _texts(each, index)
        for index, outcomes in enumerate(each.outcomes)
        if any(outcome.value is not None or outcome.note for outcome in outcomes)
    ]


def paragraphs(contents: Mapping[str, DupontCells]) -> list[str]:
    """Every claim in a paragraph, on the runs of several reproductions together; Markdown. What those were.

    Args:
        contents: by the folder's name; of one network on one data set all are at one scale.
    """
    cells = [cell for content in contents.values() for cell in content.cells if cell.method != "dense"]
    found = [_paragraph(each) for each in check(cells)]
    sources = [f"- `{name}`: {markdown(_source(content))}" for name, content in contents.items()]
    return [*found, "Made of:\n\n" + "\n".join(sources)]


def _paragraph(each: Checked) -> str:
    said = f"**{each.claim.name}.** “{each.claim.said}.” Read as: {each.claim.reading}. {contradicted(each)}"
    parts = [said.rstrip()]
    for column, head in enumerate(COLUMNS):
        held, measured = each.counts(column)
        text = f"{_capital(head)}: {each.overall(column)}"
        if measured:
            text += f", at {held} of {measured}"
        if measured and column:
            text += f" ({'; '.join(_measured(each, column))})"
        parts.append(f"{text}.")
    return markdown(" ".join(parts)).replace(r"\*\*", "**")


def _measured(each: Checked, column: int) -> list[str]:
    """Where a claim was measured, with the numbers: a text for each network."""
    found: dict[str, list[str]] = {}
    for place, outcomes in zip(each.claim.places, each.outcomes, strict=True):
        outcome = outcomes[column]
        if outcome.value is not None:
            number = f"{_number(outcome, False, each.claim.unit)} ({outcome.n})"
            found.setdefault(f"{place.network} on {place.dataset}", []).append(f"{place.rate} {number}")
    return [f"{where}: {', '.join(numbers)}" for where, numbers in found.items()]


def _source(content: DupontCells) -> str:
    epochs = sorted({cell.epochs for cell in content.cells if cell.method == "dense"})
    return (
        f"scale {content.about.scale}, {content.about.data}, {' and '.join(map(str, epochs))} epochs, commit "
        f"{content.about.commit}"
    )


def caption(content: DupontCells) -> str:
    """What the numbers are, and under what conditions ours were made."""
    counts = [outcome.n for each in check(content.cells) for row in each.outcomes for outcome in row[1:]]
    return (
        "Numbers are percent points, or fractions of C_initial; ours with their sample standard deviation "
        "and the number of seeds in brackets; a difference is taken seed by seed. A claim is held where it "
        "is at every place that was measured. Not clearly: the 95% interval over the seeds reaches over the "
        "line. "
        f"{conditions(content.about, counts)}"
    )


def to_markdown(content: DupontCells) -> str:
    """Every claim: the paper's words, how they are read, the verdicts, the numbers."""
    lines = [f"**{TITLE}**", ""]
    for each in check(content.cells):
        claim, rows = each.claim, _rows(each)
        lines += [f"**{markdown(claim.name)}.** {markdown(_capital(_overall(each)))}.", ""]
        lines += [f"> {markdown(claim.said)}", ""]
        lines += [markdown(f"Read as: {claim.reading}. {contradicted(each)}").rstrip(), ""]
        if rows:
            lines += [f"| where | {' | '.join(COLUMNS)} |", "|---|---|---|---|"]
            lines += [f"| {' | '.join(map(markdown, row))} |" for row in rows]
            lines.append("")
    command = " ".join(content.about.command.split())
    return "\n".join([*lines, markdown(caption(content)), "", f"    {command}"]) + "\n"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def to_csv(content: DupontCells) -> str:
    """One line for each claim at each place, to twelve digits; empty where there is nothing."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_HEADS)
    about = content.about
    for each in check(content.cells):
        claim = each.claim
        for place, outcomes in zip(claim.places, each.outcomes, strict=True):
            found: list[Any] = [claim.name, place.dataset, place.network, place.rate]
            found += [claim.relation, claim.bound(place)]
            for outcome in outcomes:
                found += [outcome.verdict, outcome.value, outcome.std, outcome.n, outcome.note]
            writer.writerow(map(field, (*found, about.scale, about.device, about.commit)))
    return out.getvalue()


def to_html(content: DupontCells) -> str:
    """One page that loads nothing and runs nothing; every text in it is escaped."""
    return (
        environment("secateur.papers")
        .get_template("claims.html")
        .render(
            title=TITLE,
            columns=COLUMNS,
            claims=[
                {
                    "name": each.claim.name,
                    "said": each.claim.said,
                    "reading": f"{each.claim.reading}. {contradicted(each)}",
                    "overall": _capital(_overall(each)),
                    "rows": _rows(each),
                }
                for each in check(content.cells)
            ],
            meanings={},
            caption=caption(content),
            command=content.about.command,
        )
    )


def write_claims(content: DupontCells, out: Path) -> None:
    """Leave the claims as markdown, CSV and HTML."""
    for suffix, render in (("md", to_markdown), ("csv", to_csv), ("html", to_html)):
        write_bytes(out / f"claims.{suffix}", render(content).encode())
