"""The forest plot of a page: drawn for wide pages and for narrow ones, all of it and near the best."""

from __future__ import annotations

from secateur.records.results import Results

from . import svg
from .charts import Chart, View
from .forest_drawing import narrow_differences, narrow_figure, wide_figure
from .forest_rows import MOST_ROWS, Forest, forest_of
from .quantity import quantity_of

MANY = 60
"""Rows; of more there is one drawing, which is scrolled on phones, as two would be too heavy for a page."""


def forest_chart(results: Results) -> Chart:
    """The chart, drawn for wide pages, and for narrow ones; of many rows, each budget by itself."""
    quantity, forest = quantity_of(results), forest_of(results)
    alt = (
        f"{quantity.title} on the test split: every arm at every budget with its 95% interval and its seeds"
        f"{', beside the unpruned network' if results.dense_summary else ''}; the table has the numbers."
    )
    views = [View("everything", _markup(forest, "f", alt, MANY))]
    if (near := forest.near()) is not None:
        views.append(View("near the best", _markup(near, "g", alt, MOST_ROWS)))
    return Chart("forest", alt, views)


def _markup(forest: Forest, name: str, alt: str, most: int) -> str:
    """All drawings of a view: the wide ones, then, of no more rows than `most`, those for phones."""
    parts = forest.parts()
    large = len(forest.rows) > most
    wide, narrow = [], []
    for index, part in enumerate(parts):
        heading = f"{part.rows[0].text}. {alt}" if len(parts) > 1 else alt
        figure, css = wide_figure(part), "scrolls large" if large else "wide"
        wide.append(svg.markup(figure, f"{name}{index}", heading, tips=part.tips, css=css))
        if not large:
            narrow.append(svg.markup(narrow_figure(part), f"{name}n{index}", heading, css="narrow"))
    for index, part in enumerate(part for part in parts if part.judged and not large):
        said = "How far each arm is from the one that leads, with 95% intervals."
        narrow.append(svg.markup(narrow_differences(part), f"{name}d{index}", said, css="narrow"))
    return "".join([*wide, *narrow])
