"""The tables and the figure of docs/verdict.md, of what `tools/verdict_power.py` measured.

python tools/verdict_tables.py      draws the figure; `python tools/readme.py` writes the tables
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Any

from verdict_gaps import LOSES
from verdict_gaps import OUT as OF_GAPS
from verdict_power import ARMS, IMAGES, OUT, ROOT, SEEDS, SPREADS, TIES, Case

from secateur.atomic import write_bytes
from secateur.report.drawing import encode, house_style, new_figure

GAP_SEEDS = (3, 5, 10)
FIGURE = ROOT / "docs" / "verdict-power.svg"
GAPS = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0)


def recorded() -> list[dict[str, Any]]:
    """The cases in the file."""
    found: list[dict[str, Any]] = json.loads(OUT.read_text(encoding="utf-8"))["cases"]
    return found


def chosen(**wanted: Any) -> list[dict[str, Any]]:
    """The recorded cases with these entries; those that are not named are as in `Case`."""
    plain = {**asdict(Case(0, 0)), **wanted}
    named = {key: value for key, value in plain.items() if key in wanted or key not in ("arms", "seeds")}
    return [case for case in recorded() if all(case[key] == value for key, value in named.items())]


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"


def _table(heads: list[str], lines: list[list[str]]) -> str:
    ruled = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    return "\n".join([*ruled, *(f"| {' | '.join(cells)} |" for cells in lines), ""])


def power_table() -> str:
    """How often an arm 3 standard deviations ahead is found; in brackets by the rule before."""
    cells = {
        (case["arms"], case["seeds"]): f"{_percent(case['wins'])} ({_percent(case['intervals'])})"
        for case in chosen(truth="one ahead", gap=3.0)
    }
    return _table(
        ["arms", *(f"{seeds} seeds" for seeds in SEEDS)],
        [[str(arms), *(cells[arms, seeds] for seeds in SEEDS)] for arms in ARMS],
    )


def false_wins_table() -> str:
    """The largest share of false wins over all numbers of arms, for each kind of tie."""
    lines = []
    for truth in TIES:
        for spreads in SPREADS:
            cases = chosen(truth=truth, spreads=spreads)
            worst = [max(case["wins"] for case in cases if case["seeds"] == seeds) for seeds in SEEDS]
            marked = [_percent(share) if share <= 0.05 else f"**{_percent(share)}**" for share in worst]
            lines.append([truth, spreads, *marked])
    return _table(["the best are", "spreads", *(f"{seeds} seeds" for seeds in SEEDS)], lines)


def images_table() -> str:
    """Accuracies of six arms: false wins (the worse of both ties), and how often the best is found."""
    lines = []
    for images in IMAGES:
        for kept in (True, False):
            tied = [case for truth in TIES for case in chosen(truth=truth, images=images, kept=kept)]
            ahead = chosen(truth="one ahead", gap=3.0, images=images, kept=kept)
            cells = []
            for seeds in (2, 3, 5, 10):
                false = max(case["wins"] for case in tied if case["seeds"] == seeds)
                (found,) = (case["wins"] for case in ahead if case["seeds"] == seeds)
                cells.append(f"{_percent(false)}, {_percent(found)}")
            lines.append([f"{images:,}", "each image's score" if kept else "accuracies alone", *cells])
    return _table(["test images", "known are", *(f"{seeds} seeds" for seeds in (2, 3, 5, 10))], lines)


def statements_table() -> str:
    """The largest share of comparisons with anything false said, over all numbers of arms and seeds."""
    lines = []
    for truth in TIES:
        cells = [
            _percent(max(case["false_statements"] for case in chosen(truth=truth, spreads=spreads)))
            for spreads in SPREADS
        ]
        lines.append([truth, *cells])
    return _table(["the best are", *SPREADS], lines)


def gaps_table() -> str:
    """Comparisons of which runs failed: false wins, and how often the best is found."""
    found = json.loads(OF_GAPS.read_text(encoding="utf-8"))["gaps"]
    kinds = (
        ("false wins, two arms tied", "one of the two", {"arms": 2, "truth": TIES[0]}, 0),
        ("false wins, two of six tied ahead", "one of the two", {"arms": 6, "truth": TIES[1]}, 0),
        ("found, of six one is ahead", "that one", {"arms": 6, "truth": "one ahead"}, 0),
        ("found, of six one is ahead", "another", {"arms": 6, "truth": "one ahead"}, 1),
    )
    lines = []
    for what, who, wanted, arm in kinds:
        for which in LOSES:
            cells = {
                each["case"]["seeds"]: f"{_percent(each['wins'])} ({_percent(each['careless'])}, "
                f"{_percent(each['whole'])})"
                for each in found
                if (each["which"], each["arm"], each["lost"], each["case"]["images"]) == (which, arm, 1, 0)
                if all(each["case"][key] == value for key, value in wanted.items())
            }
            lines.append([what, f"{who}, {which}", *(cells[seeds] for seeds in GAP_SEEDS)])
    return _table(["", "a seed is lost by", *(f"{seeds} seeds" for seeds in GAP_SEEDS)], lines)


def gaps_source() -> str:
    """Where these numbers come from."""
    content = json.loads(OF_GAPS.read_text(encoding="utf-8"))
    counts = sorted({each["n"] for each in content["gaps"]})
    environment = content["environment"]
    return (
        f"{len(content['gaps'])} kinds with gaps, {counts[-1]:,} comparisons each ({counts[0]:,} of images); "
        f"`{content['command']}` at commit {environment['commit']} on {environment['device']}, "
        f"{environment['date']}; `results/verdict-power/gaps.json`.\n"
    )


def source() -> str:
    """Where the numbers come from."""
    content = json.loads(OUT.read_text(encoding="utf-8"))
    counts = sorted({case["n"] for case in content["cases"]})
    environment = content["environment"]
    return (
        f"{len(content['cases'])} kinds of comparison, {counts[-1]:,} each ({counts[0]:,} of images); "
        f"`{content['command']}` at commit {environment['commit']} on {environment['device']}, "
        f"{environment['date']}; `results/verdict-power/power.json`.\n"
    )


TABLES = {
    "power": power_table,
    "false-wins": false_wins_table,
    "statements": statements_table,
    "images": images_table,
    "source": source,
    "gaps": gaps_table,
    "gaps-source": gaps_source,
}
"""What stands in docs/verdict.md between `<!-- verdict-power NAME -->` and `<!-- end -->`."""


def draw() -> None:
    """The figure: what is found at which gap, and false wins."""
    with house_style():
        figure = new_figure(9.6, 3.7)
        axes = figure.subplots(1, 2)
        _draw_power(axes[0])
        _draw_false_wins(axes[1])

        write_bytes(FIGURE, encode(figure, "svg"))


def _draw_power(axes: Any) -> None:
    for seeds, color in ((3, "#1b6ca8"), (5, "#b3541e")):
        cases = {case["gap"]: case for case in recorded_gaps(seeds)}
        axes.plot(GAPS, [100 * cases[gap]["wins"] for gap in GAPS], "o-", color=color, label=f"{seeds} seeds")
        old = [100 * cases[gap]["intervals"] for gap in GAPS]
        axes.plot(GAPS, old, "o--", color=color, alpha=0.45, label=f"{seeds} seeds, the rule before")
    axes.set(
        title="The best of 6 arms is found",
        xlabel="ahead of the others by (standard deviations)",
        ylabel="% of comparisons",
        ylim=(-3, 103),
    )
    axes.legend(fontsize=8.5)


def recorded_gaps(seeds: int) -> list[dict[str, Any]]:
    """Six arms with equal spreads, one ahead by each gap."""
    return [case for gap in GAPS for case in chosen(arms=6, seeds=seeds, truth="one ahead", gap=gap)]


def _draw_false_wins(axes: Any) -> None:
    colors = dict(zip(SPREADS, ("#1b6ca8", "#b3541e", "#3a7d44", "#7a4b8c"), strict=True))
    for truth, line in zip(TIES, ("-", "--"), strict=True):
        for spreads in SPREADS:
            cases = chosen(truth=truth, spreads=spreads)
            worst = [100 * max(case["wins"] for case in cases if case["seeds"] == seeds) for seeds in SEEDS]
            axes.plot(SEEDS, worst, f"o{line}", color=colors[spreads], label=f"{truth}, {spreads}")
    axes.axhline(5, color="#555", linewidth=0.8, linestyle=":")
    axes.set(
        title="A winner among equals (worst of 2 to 12 arms)",
        xlabel="seeds",
        ylabel="% of comparisons",
        ylim=(-0.4, 14),
        xticks=SEEDS,
    )
    axes.legend(fontsize=7.2, ncols=1, loc="upper right")


def main() -> int:
    """Draw."""
    draw()
    return 0


if __name__ == "__main__":
    sys.exit(main())
