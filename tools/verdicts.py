"""Judge the recorded comparisons in results/ again by today's rule, and say what changed.

    python tools/verdicts.py      rewrites summary and verdict of results/*/results.json, and the first figure

What was measured stays. The verdicts by the rule before, for which intervals of means had to lie apart, are
kept in results/verdicts/before.json; `python tools/readme.py` puts both into docs/verdict.md.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import redraw

from secateur.atomic import write_json
from secateur.compare.judging import judged_again
from secateur.records.results import BudgetVerdict, Results
from secateur.runs.store import RunStore

ROOT = Path(__file__).parents[1]
BEFORE = ROOT / "results" / "verdicts" / "before.json"


def recorded() -> list[Path]:
    """The folders of the recorded comparisons."""
    return sorted(path.parent for path in (ROOT / "results").glob("*/results.json"))


def again(directory: Path) -> None:
    """Judge one comparison again."""
    results = Results.load(directory / "results.json")
    kept = json.loads(BEFORE.read_text(encoding="utf-8")) if BEFORE.is_file() else {}
    if directory.name not in kept and not any(entry.gaps for entry in results.verdict.per_budget):
        kept[directory.name] = [told(entry) for entry in results.verdict.per_budget]
        BEFORE.parent.mkdir(parents=True, exist_ok=True)
        write_json(BEFORE, kept)
    found = judged_again(results, RunStore(directory))
    write_json(directory / "results.json", found.to_json())
    redraw.comparison(directory)


def told(entry: BudgetVerdict) -> dict[str, Any]:
    """What one verdict says, without its words."""
    return {
        "budget": entry.budget,
        "leader": entry.leader,
        "winner": entry.winner,
        "behind": list(entry.behind),
    }


def table() -> str:
    """What changed, as Markdown: one row for each budget of each comparison."""
    before = json.loads(BEFORE.read_text(encoding="utf-8"))
    lines = [
        "| comparison | budget | leader before | now | wins | behind before | behind now | smallest gap |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for directory in recorded():
        results = Results.load(directory / "results.json")
        for old in before.get(directory.name, []):
            now = next(entry for entry in results.verdict.per_budget if entry.budget == old["budget"])
            lines.append(f"| `{directory.name}` | {now.budget} {row(old, now)}")
    return "\n".join([*lines, ""])


def row(old: dict[str, Any], now: BudgetVerdict) -> str:
    """The cells of one budget behind its name."""
    nearest = min(now.gaps, key=lambda gap: gap.gap)
    leader = now.leader if now.leader == old["leader"] else f"**{now.leader}**"
    winners = f"{old['winner'] or 'nobody'} → {now.winner or 'nobody'}"
    changed = set(old["behind"]) ^ set(now.behind)
    behind = ", ".join(f"**{arm}**" if arm in changed else arm for arm in now.behind)
    dropped = ", ".join(f"**{arm}**" if arm in changed else arm for arm in old["behind"])
    return (
        f"| {old['leader']} | {leader} | {winners} | {dropped or '–'} | {behind or '–'} "
        f"| {nearest.visible * 100:.1f} points |"
    )


def main() -> int:
    """Judge all of them."""
    for directory in recorded():
        again(directory)
        print(f"{directory.name}: {Results.load(directory / 'results.json').verdict.text}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
