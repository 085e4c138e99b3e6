"""Write the README's tables from the files in results/; with --check only say whether they are up to date.

A table stands between `<!-- results/NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"(<!-- results/([\w.-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def table(name: str) -> str:
    """One recorded comparison: its verdict, its table, and where it comes from."""
    path = ROOT / "results" / name / "results.json"
    results = json.loads(path.read_text(encoding="utf-8"))
    data, environment = results["data"], results["environment"]
    rows = [
        "| budget | arm | params | accuracy ± std | 95% interval | training compute | with discovery |",
        "|---|---|---|---|---|---|---|",
        *(row(entry) for entry in results["summary"]),
    ]
    dense = results["dense_summary"]
    source = (
        f"{results['model']} on {data['label']}: {data['train']:,} training, {data['val']:,} validation and "
        f"{data['test']:,} test images; {results['settings']['epochs']} epochs, one channel every "
        f"{results['settings']['prune_every']} steps, {results['settings']['seeds']} seeds; the dense "
        f"network ({dense['params']:,.0f} parameters) reaches {dense['mean']:.1%}. {environment['device']}, "
        f"{environment['threads']} threads, trained at commit "
        f"{', '.join(environment['trained_at'])}; `results/{name}/results.json`."
    )
    command = f"    {results['command']}"
    return "\n".join([f"> {results['verdict']['text']}", "", *rows, "", source, "", command, ""])


def row(entry: dict) -> str:
    """One arm at one budget."""
    total = entry["train_compute"] + entry["discovery_compute"]
    spread = "" if entry["std"] is None else f" ± {entry['std']:.1%}"
    interval = "" if entry["low"] is None else f"{entry['low']:.1%} to {entry['high']:.1%}"
    return (
        f"| {entry['budget']} ({entry['limit']:,}) | {entry['arm']} | {entry['params']:,.0f} "
        f"| {entry['mean']:.1%}{spread} | {interval} | {entry['train_compute']:.2g} MACs | {total:.2g} MACs |"
    )


def main() -> int:
    """Exit code 1 where --check finds a difference."""
    readme = ROOT / "README.md"
    old = readme.read_text(encoding="utf-8")
    new = BLOCK.sub(lambda found: f"{found[1]}{table(found[2])}{found[3]}", old)
    if "--check" in sys.argv:
        if new != old:
            print("README.md does not say what results/ says: run python tools/readme.py")
        return int(new != old)
    readme.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
