"""The page: `report.html`, one file that needs nothing but a browser."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

from secateur.atomic import write_text
from secateur.records.results import Results

from . import charts, differences, series, table
from .accuracy import accuracy_chart
from .beside import Beside
from .figures import write_figures
from .measured import parts
from .quantity import quantity_of
from .series import Histories
from .style import looks_of
from .templates import environment


def write_report(
    results: Results,
    histories: Histories,
    directory: Path,
    beside: Beside | None = None,
) -> Path:
    """Write `report.html` and `figures/*.{png,svg}` under `directory`.

    Args:
        results: the content of `results.json`.
        histories: for each run id, its epochs.
        directory: where to write; made if it is not there. Each file is replaced as a whole or not at all.
        beside: what was found elsewhere.

    Returns:
        The path of the page.
    """
    write_figures(results, histories, directory / "figures")
    page = directory / "report.html"
    write_text(page, render(results, histories, beside))
    return page


def render(results: Results, histories: Histories, beside: Beside | None = None) -> str:
    """The page as text. Whatever is missing, of the results or beside them, is left out."""
    beside = beside or Beside()
    templates = environment("secateur.report")
    templates.filters["count"] = table.count
    shown = page_charts(results, histories)
    sections = table.sections(results)
    resource = series.resource_of(results)
    of_weights = resource.key == "nonzeros"
    specs = {chart.id: [view.spec for view in chart.views] for chart in shown}
    return templates.get_template("report.html").render(
        results=results,
        charts={chart.id: chart for chart in shown},
        specs=embed(specs),
        plotly=plotly_offline(),
        looks=looks_of([*series.arms(results), "dense"]),
        meanings=beside.meanings,
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
        measured=beside.measured and parts(beside.measured),
        beside=beside,
        basis={entry.basis for entry in results.verdict.per_budget},
        dense=table.dense_row(results),
        convention=table.COMPUTE_CONVENTION,
        flat=flat,
        csp="default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:",
    )


def page_charts(results: Results, histories: Histories) -> list[charts.Chart]:
    """The charts that there is something to draw for, in the order of the page."""
    found: list[charts.Chart] = []
    if results.summary:
        found.append(accuracy_chart(results))
    if series.profiles(results):
        found.append(charts.profile_chart(results))
    if runs := series.curves(results, histories):
        found.append(charts.curves_chart(runs, quantity_of(results)))
    if series.trajectories(results):
        found.append(charts.trajectory_chart(results))
    return found


def plotly_offline() -> str:
    """plotly.js as shipped in the Python package, with every address in its strings pointed nowhere.

    The bundle names map servers and a logo link that no chart of ours uses. The Content-Security-Policy of
    the page forbids any request anyway; this makes it plain to who searches the file. XML namespaces stay.
    """
    from plotly.offline import get_plotlyjs

    return re.sub(r"""(["'`])https?://(?!www\.w3\.org/)""", r"\1about:blank#", get_plotlyjs())


def embed(value: Any) -> str:
    """JSON that can stand inside a script element: nothing in it can close the element or open another.

    Example:
        >>> embed({"a": "</script>", "b": float("nan")})
        '{"a":"\\\\u003c/script\\\\u003e","b":null}'
    """
    text = json.dumps(_finite(value), allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


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
