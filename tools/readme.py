"""Write the tables of README and docs from the files in results/; with --check only say if they are stale.

A table stands between `<!-- results/NAME -->` and `<!-- end -->`: of a comparison (results.json), or with
`<!-- results/NAME TABLE -->` a paper's table made again (TABLE.md).
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"(<!-- results/([\w.-]+)(?: (\w+))? -->\n).*?(<!-- end -->)", re.DOTALL)


def block(name: str, table: str | None) -> str:
    """What stands between the marks."""
    if table is None:
        return comparison(name)
    return (ROOT / "results" / name / f"{table}.md").read_text(encoding="utf-8").rstrip() + "\n"


def comparison(name: str) -> str:
    """One recorded comparison: its verdict, its table, and where it comes from."""
    results = json.loads((ROOT / "results" / name / "results.json").read_text(encoding="utf-8"))
    of_weights = results["settings"].get("resource") == "nonzeros"
    rows = sparse_rows(results) if of_weights else dense_rows(results)
    parts = [f"> {results['verdict']['text']}", "", *rows, "", source(name, results)]
    return "\n".join([*parts, "", f"    {results['command']}", ""])


def source(name: str, results: dict) -> str:
    """Data, recipe, machine and commit."""
    data, settings, environment = results["data"], results["settings"], results["environment"]
    dense = results["dense_summary"]
    removal = f", one channel every {settings['prune_every']} steps" if "fisher" in settings["arms"] else ""
    size = f"{dense['params']:,.0f} parameters"
    return (
        f"{results['model']} on {data['label']}: {data['train']:,} training, {data['val']:,} validation and "
        f"{data['test']:,} test images; {settings['epochs']} epochs{removal}, {settings['seeds']} seeds; the "
        f"dense network ({size}) reaches {dense['mean']:.1%}. {environment['device']}, "
        f"{environment['threads']} threads, trained at commit {', '.join(environment['trained_at'])}; "
        f"`results/{name}/results.json`."
    )


def dense_rows(results: dict) -> list[str]:
    """Arms whose networks are smaller: sizes and compute."""
    return [
        "| budget | arm | params | accuracy ± std | 95% interval | training compute | with discovery |",
        "|---|---|---|---|---|---|---|",
        *(dense_row(entry) for entry in results["summary"]),
    ]


def dense_row(entry: dict) -> str:
    """One arm at one budget."""
    total = entry["train_compute"] + entry["discovery_compute"]
    interval = "" if entry["low"] is None else f"{entry['low']:.1%} to {entry['high']:.1%}"
    return (
        f"| {entry['budget']} ({entry['limit']:,}) | {entry['arm']} | {entry['params']:,.0f} "
        f"| {accuracy(entry)} | {interval} | {entry['train_compute']:.2g} MACs | {total:.2g} MACs |"
    )


def sparse_rows(results: dict) -> list[str]:
    """Arms that zero weights: one row for each, one column for each budget; before the cut in brackets."""
    budgets = list(dict.fromkeys(entry["budget"] for entry in results["summary"]))
    cells = {(entry["arm"], entry["budget"]): entry for entry in results["summary"]}
    limits = {entry["budget"]: entry["limit"] for entry in results["summary"]}
    heads = [f"{budget} ({limits[budget]:,})" for budget in budgets]
    arms = dict.fromkeys(entry["arm"] for entry in results["summary"])
    return [
        f"| accuracy ± std (before the cut) | {' | '.join(heads)} |",
        f"|---|{'---|' * len(budgets)}",
        *(f"| {arm} | {' | '.join(sparse_cell(cells[arm, b]) for b in budgets)} |" for arm in arms),
    ]


def sparse_cell(entry: dict) -> str:
    """One arm at one budget."""
    before = entry.get("accuracy_before")
    return accuracy(entry) + ("" if before is None else f" ({before:.1%})")


def accuracy(entry: dict) -> str:
    """Mean and standard deviation."""
    return f"{entry['mean']:.1%}" + ("" if entry["std"] is None else f" ± {entry['std']:.1%}")


def main() -> int:
    """Exit code 1 where --check finds a difference."""
    stale = 0
    for path in (ROOT / "README.md", ROOT / "docs" / "deviations.md", ROOT / "docs" / "surgery.md"):
        old = path.read_text(encoding="utf-8")
        new = BLOCK.sub(lambda found: f"{found[1]}{block(found[2], found[3])}{found[4]}", old)
        if "--check" not in sys.argv:
            path.write_text(new, encoding="utf-8")
        elif new != old:
            print(f"{path.name} does not say what results/ says: run python tools/readme.py")
            stale = 1
    return stale


if __name__ == "__main__":
    sys.exit(main())
