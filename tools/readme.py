"""Write the tables of README and docs from the files in results/; with --check only say if they are stale.

What is generated stands between `<!-- NAME -->`, or `<!-- NAME WORD -->`, and `<!-- end -->`: NAME is one of
`BLOCKS`, or `results/FOLDER`, which is a recorded comparison (results.json), or with a word that table of it
(WORD.md). Other comments are left alone.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import controls_table
import others_table
import verdict_tables
import verdicts
from field import table
from prunability import OURS, recorded

from secateur.papers.cells import DupontCells
from secateur.papers.dupont2021.claim_pages import paragraphs
from secateur.records.results import Results, SummaryRow

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"


def block(name: str, word: str | None) -> str:
    """What stands between the marks."""
    if name in BLOCKS:
        return BLOCKS[name]()
    if name == "verdict-power":
        return verdict_tables.TABLES[word]()
    folder = name.removeprefix("results/")
    if word is None:
        return comparison(folder)
    return (ROOT / "results" / folder / f"{word}.md").read_text(encoding="utf-8").rstrip() + "\n"


def dupont_claims() -> str:
    """A paragraph for each claim, on all recorded reproductions at the laptop's scale together."""
    paths = sorted((ROOT / "results").glob("dupont2021-laptop*/cells.json"))
    contents = {f"results/{path.parent.name}": DupontCells.load(path) for path in paths}
    return "\n\n".join(paragraphs(contents)) + "\n"


def comparison(name: str) -> str:
    """One recorded comparison: its verdict, its table, and where it comes from."""
    results = Results.load(ROOT / "results" / name / "results.json")
    rows = sparse_rows(results) if results.resource == "nonzeros" else dense_rows(results)
    parts = [f"> {results.verdict.text}", "", *rows, "", source(name, results)]
    return "\n".join([*parts, "", f"    {results.command}", ""])


def source(name: str, results: Results) -> str:
    """Data, recipe, machine and commit."""
    data, settings, environment = results.data, results.settings, results.environment
    dense = results.dense_summary
    removal = f", one channel every {settings['prune_every']} steps" if "fisher" in settings["arms"] else ""
    size = f"{dense.params:,.0f} parameters"
    return (
        f"{results.model} on {data.label}: {data.train:,} training, {data.val:,} validation and "
        f"{data.test:,} test images; {settings['epochs']} epochs{removal}, {settings['seeds']} seeds; the "
        f"dense network ({size}) reaches {dense.mean:.1%}. {environment['device']}, "
        f"{environment['threads']} threads, trained at commit {', '.join(environment['trained_at'])}; "
        f"`results/{name}/results.json`."
    )


def dense_rows(results: Results) -> list[str]:
    """Arms whose networks are smaller: sizes and compute."""
    return [
        "| budget | arm | params | accuracy ± std | 95% interval | training compute | with discovery |",
        "|---|---|---|---|---|---|---|",
        *(dense_row(entry) for entry in results.summary),
    ]


def dense_row(entry: SummaryRow) -> str:
    """One arm at one budget."""
    total = entry.train_compute + entry.discovery_compute
    interval = "" if entry.low is None else f"{entry.low:.1%} to {entry.high:.1%}"
    return (
        f"| {entry.budget} ({entry.limit:,}) | {entry.arm} | {entry.params:,.0f} "
        f"| {accuracy(entry)} | {interval} | {entry.train_compute:.2g} MACs | {total:.2g} MACs |"
    )


def sparse_rows(results: Results) -> list[str]:
    """Arms that zero weights: one row for each, one column for each budget.

    In brackets stands what there was right before the cut and, where training went on, right after it.
    """
    budgets = list(dict.fromkeys(entry.budget for entry in results.summary))
    cells = {(entry.arm, entry.budget): entry for entry in results.summary}
    limits = {entry.budget: entry.limit for entry in results.summary}
    heads = [f"{budget} ({limits[budget]:,})" for budget in budgets]
    arms = dict.fromkeys(entry.arm for entry in results.summary)
    return [
        f"| accuracy ± std (before the cut) | {' | '.join(heads)} |",
        f"|---|{'---|' * len(budgets)}",
        *(f"| {arm} | {' | '.join(sparse_cell(cells[arm, b]) for b in budgets)} |" for arm in arms),
    ]


def sparse_cell(entry: SummaryRow) -> str:
    """One arm at one budget."""
    known = [each for each in (entry.accuracy_before, entry.accuracy_after_cut) if each is not None]
    return accuracy(entry) + (f" ({' → '.join(f'{each:.1%}' for each in known)})" if known else "")


def accuracy(entry: SummaryRow) -> str:
    """Mean and standard deviation."""
    return f"{entry.mean:.1%}" + ("" if entry.std is None else f" ± {entry.std:.1%}")


def speed(folder: Path) -> str:
    """Every claim of speed that was measured: a table for each machine, unmet bars and all."""
    machines: dict[str, list[dict]] = {}
    for found in newest(folder):
        environment = found["environment"]
        machine = f"{environment['device']}, {environment['threads']} threads"
        machines.setdefault(machine, []).append(found)
    if not machines:
        return "Nothing is recorded yet: `make bench` measures it here.\n"
    return "\n".join(line for machine in sorted(machines) for line in on_one(machine, machines[machine]))


def newest(folder: Path) -> list[dict]:
    """The last result of each theme on each hardware; quick ones do not count."""
    found: dict[str, tuple[str, dict]] = {}
    for path in sorted(folder.glob("*_*_*.json")):
        theme_and_hardware, _, date = path.stem.rpartition("_")
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["quick"]:
            continue
        if date >= found.get(theme_and_hardware, ("", {}))[0]:
            found[theme_and_hardware] = (date, content)
    return [content for _, content in found.values()]


def on_one(machine: str, results: list[dict]) -> list[str]:
    """The table of one machine: what has a bar, then what has none, and where it comes from."""
    rows = [(case, result) for result in results for case in result["cases"]]
    barred = [claim(case, result) for case, result in rows if case["bar"] is not None]
    others = [claim(case, result) for case, result in rows if case["bar"] is None]
    heads = ["| claim | ratio (quartiles) | bar | met |", "|---|---|---|---|"]
    lines = [f"**{machine}**", ""]
    if barred:
        lines += [*heads, *barred, ""]
    if others:
        summary = "<details><summary>Measured without a bar</summary>"
        lines += [summary, "", *heads, *others, "", "</details>", ""]
    return [*lines, where_from(results), ""]


def claim(case: dict, result: dict) -> str:
    """One row."""
    bar, met = ("", "") if case["bar"] is None else (f"{case['bar']:g}", "yes" if case["met"] else "**no**")
    text = f"`{result['benchmark']}` {case['case']}: {case['what']} / {case['over']}"
    return f"| {text} | {case['ratio']:.4g} ({case['low']:.4g} to {case['high']:.4g}) | {bar} | {met} |"


def where_from(results: list[dict]) -> str:
    """Rounds, dates, commits; and whether something else was running."""
    origins: dict[str, list[str]] = {}
    for result in results:
        environment = result["environment"]
        said = f"{result['rounds']} rounds on {environment['date']} at commit {environment['commit']}"
        busy = "" if result["idle"]["idle"] in (True, None) else ", the machine not idle"
        origins.setdefault(said + busy, []).append("-".join([result["benchmark"], *result.get("only", [])]))
    parts = [f"{', '.join(names)}: medians of {said}" for said, names in origins.items()]
    return "; ".join(parts) + ". Notes and times: `benchmarks/results/`."


def prunable() -> str:
    """How many of the networks that were tried are pruned to half of their MACs, right, and loaded again."""
    rows = recorded(ROOT / "results" / "prunability" / OURS).values()
    return f"{sum(map(table.done, rows))} of {len(rows)}"


BLOCKS: dict[str, Callable[[], str]] = {
    "benchmarks": lambda: speed(RESULTS),
    "controls": controls_table.said,
    "dupont-claims": dupont_claims,
    "others": others_table.others_table,
    "prunable": prunable,
    "settings": controls_table.settings_table,
    "verdicts": verdicts.table,
}
"""What can be generated, by the name in its mark."""

BLOCK = re.compile(
    rf"(<!-- (results/[\w.-]+|verdict-power|{'|'.join(BLOCKS)})(?: ([\w-]+))? -->)(\n?).*?(<!-- end -->)",
    re.DOTALL,
)


def written(text: str) -> str:
    """A page with every generated part made anew."""
    return BLOCK.sub(lambda found: f"{found[1]}{found[4]}{block(found[2], found[3])}{found[5]}", text)


def main() -> int:
    """Exit code 1 where --check finds a difference."""
    stale = 0
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        old = path.read_text(encoding="utf-8")
        new = written(old)
        if "--check" not in sys.argv:
            path.write_text(new, encoding="utf-8")
        elif new != old:
            print(f"{path.name} does not say what results/ says: run python tools/readme.py")
            stale = 1
    return stale


if __name__ == "__main__":
    sys.exit(main())
