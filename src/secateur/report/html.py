"""The page: `report.html`, one file that needs nothing but a browser."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from secateur.atomic import write_text
from secateur.records.results import Results
from secateur.records.written import tidied, written

from . import differences, palette, series, table
from .accuracy import accuracy_chart
from .beside import Beside
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
from .take import take
from .templates import environment
from .trajectory import trajectory_chart


def write_report(
    results: Results, histories: Histories, directory: Path, beside: Beside | None = None
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
    templates.filters.update(count=table.count, variable=palette.variable)
    names = ("early", "script", "live") if beside.progress else ("early", "script")
    scripts = {name: templates.get_template(f"partials/{name}.js").render() for name in names}
    return templates.get_template("report.html").render(
        results=results,
        beside=beside,
        **_drawn(results, histories),
        **_said(results, beside),
        **scripts,
        csp=policy(scripts.values()),
    )


def _drawn(results: Results, histories: Histories) -> dict[str, Any]:
    """Charts and marks, and the colours that they name."""
    looks = looks_of([*series.arms(results), "dense"])
    with house_style():
        shown = page_charts(results, histories)
        samples = {arm: sample(look) for arm, look in looks.items()}
    markup = [*samples.values(), *(view.svg for chart in shown for view in chart.views)]
    named = {*palette.named_in(markup), *(look.color for look in looks.values())}
    light, dark = palette.declarations(named)
    return {
        "charts": {chart.id: chart for chart in shown},
        "looks": looks,
        "samples": samples,
        "drawn_light": light,
        "drawn_dark": dark,
    }


def _said(results: Results, beside: Beside) -> dict[str, Any]:
    """Tables, facts and words."""
    resource = series.resource_of(results)
    return {
        "meanings": beside.meanings,
        "arms": series.arms(results),
        "seeds": series.seed_count(results),
        "one_seed": any(row.n == 1 for row in results.summary),
        "several": any(row.n > 1 for row in results.summary),
        "resource": resource,
        "quantity": quantity_of(results),
        "examples": "images" if len(results.data.shape) == 3 else "examples",
        "of_weights": resource.key == "nonzeros",
        "zeroes": any(series.zeroes_weights(row) for row in results.summary),
        "take": take(beside.taken, results, beside.measured),
        "table": table.table(results),
        "csv": f"data:text/csv;charset=utf-8,{quote(table.as_csv(results))}",
        "differences": differences.lines(results),
        "measured": beside.measured and parts(beside.measured),
        "basis": {entry.basis for entry in results.verdict.per_budget},
        "convention": table.COMPUTE_CONVENTION,
        "flat": flat,
    }


def policy(scripts: Iterable[str]) -> str:
    """The page's Content-Security-Policy: nothing is loaded; only these scripts run, told by their hash."""
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
        for script in scripts
    )
    return f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:"


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
    """A setting as text: no number in it has more digits than say something.

    Example:
        >>> flat([30, 60, 90]), flat(None), flat(True), flat("digits"), flat(0.0008000000000000003)
        ('30, 60, 90', '–', 'yes', 'digits', '0.0008')
        >>> flat({"lr": 0.30000000000000004, "steps": (1, 2)})
        'lr: 0.3, steps: (1, 2)'
    """
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return written(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_inside(each)}" for key, each in value.items()) or "–"
    if isinstance(value, list | tuple):
        return ", ".join(map(_inside, value)) or "–"
    return tidied(str(value))


def _inside(value: Any) -> str:
    """A value within another: what has parts of its own is in brackets."""
    nested = isinstance(value, Mapping | list | tuple) and value
    return f"({flat(value)})" if nested else flat(value)
