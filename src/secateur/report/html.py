"""The page: `report.html`, one file that needs nothing but a browser."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from secateur.atomic import write_text
from secateur.records.measured import Measured
from secateur.records.results import Results

from . import differences, palette, series, table
from .accuracy import accuracy_chart
from .charts import Chart
from .curves import curves_chart
from .drawing import house_style
from .figures import write_figures
from .forest import forest_chart
from .legend import sample
from .measured import parts
from .profile import profile_chart
from .quantity import quantity_of
from .series import Histories
from .style import looks_of
from .templates import environment
from .trajectory import trajectory_chart


def write_report(
    results: Results,
    histories: Histories,
    directory: Path,
    meanings: Mapping[str, str] | None = None,
    measured: Measured | None = None,
) -> Path:
    """Write `report.html` and `figures/*.{png,svg}` under `directory`.

    Args:
        results: the content of `results.json`.
        histories: for each run id, its epochs.
        directory: where to write; made if it is not there. Each file is replaced as a whole or not at all.
        meanings: one line on each arm; none: they are shown by name only.
        measured: what the network in best/ comes to where it runs, where that is known.

    Returns:
        The path of the page.
    """
    write_figures(results, histories, directory / "figures")
    page = directory / "report.html"
    write_text(page, render(results, histories, meanings, measured))
    return page


def render(
    results: Results,
    histories: Histories,
    meanings: Mapping[str, str] | None = None,
    measured: Measured | None = None,
) -> str:
    """The page as text."""
    templates = environment("secateur.report")
    templates.filters.update(count=table.count, variable=palette.variable)
    looks = looks_of([*series.arms(results), "dense"])
    with house_style():
        shown = page_charts(results, histories)
        samples = {arm: sample(look) for arm, look in looks.items()}
    markup = [*samples.values(), *(view.svg for chart in shown for view in chart.views)]
    sections = table.sections(results)
    resource = series.resource_of(results)
    of_weights = resource.key == "nonzeros"
    return templates.get_template("template.html").render(
        results=results,
        charts={chart.id: chart for chart in shown},
        colors=palette.style_sheet(palette.named_in(markup)),
        samples=samples,
        looks=looks,
        meanings=meanings or {},
        arms=series.arms(results),
        seeds=series.seed_count(results),
        one_seed=any(row.n == 1 for row in results.summary),
        several=any(row.n > 1 for row in results.summary),
        resource=resource,
        quantity=quantity_of(results),
        examples="images" if len(results.data.shape) == 3 else "examples",
        of_weights=of_weights,
        zeroes=of_weights and any(series.zeroes_weights(row) for row in results.summary),
        cut=of_weights and any(row.accuracy_before is not None for row in results.summary),
        ratios=not of_weights or any(row.arm == "fisher-tuned" for row in results.summary),
        sections=sections,
        differences=differences.lines(results),
        measured=measured and parts(measured),
        basis={entry.basis for entry in results.verdict.per_budget},
        dense=table.dense_row(results),
        convention=table.COMPUTE_CONVENTION,
        flat=flat,
        csp="default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:",
    )


def page_charts(results: Results, histories: Histories) -> list[Chart]:
    """The charts that there is something to draw for, in the order of the page; in `house_style`."""
    found: list[Chart] = []
    if results.summary:
        found += [forest_chart(results), accuracy_chart(results)]
    if series.profiles(results):
        found.append(profile_chart(results))
    if runs := series.curves(results, histories):
        found.append(curves_chart(runs, quantity_of(results)))
    if series.trajectories(results):
        found.append(trajectory_chart(results))
    return found


def flat(value: Any) -> str:
    """A setting as text.

    Example:
        >>> flat([30, 60, 90]), flat(None), flat(True), flat("digits")
        ('30, 60, 90', '–', 'yes', 'digits')
    """
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(flat(v) for v in value) or "–"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else str(value)
