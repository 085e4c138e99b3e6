"""What the exact mode is held to, from recorded runs: python tools/bars.py results/NAME...

For each network and budget, in percent points of test accuracy, means over the seeds: the exact mode, what
the cut changed (the largest of the seeds), the lead over tuned magnitude pruning, the distance from the
unpruned network after as many epochs, and whether every run has exactly its budget.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from statistics import mean

EXACT, TUNED, DENSE = "reparametrization", "magnitude-tuned", "dense"


def load(folder: Path) -> list[dict]:
    """Runs of a reproduction (cells.json) or a comparison (results.json), in one form."""
    if (folder / "cells.json").is_file():
        cells = json.loads((folder / "cells.json").read_text(encoding="utf-8"))["cells"]
        return [
            {**cell, "network": f"{cell['network']}/{cell['dataset']}", "budget": kept(cell["rate"])}
            for cell in cells
        ]
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    network = f"{results['model']}/{results['data']['name']}"
    rows = [*results["points"], *results["dense"]]
    return [{**row, "network": network, "method": row["arm"], "budget": row["budget"]} for row in rows]


def kept(rate: str | None) -> str | None:
    """95% pruned is nonzeros=5%."""
    return None if rate is None else f"nonzeros={100 - int(rate[:-1])}%"


def rows(runs: list[dict]) -> Iterable[str]:
    """One line for each network and budget that has the exact mode."""
    keys = dict.fromkeys((run["network"], run["budget"]) for run in runs if run["method"] == EXACT)
    for network, budget in sorted(keys, key=lambda key: (key[0], -float(key[1][9:-1]))):
        exact = chosen(runs, network, budget, EXACT)
        share = float(budget[9:-1]) / 100
        gap = max(abs(run["accuracy"] - run["accuracy_before"]) for run in exact)
        tuned, dense = (chosen(runs, network, key, name) for key, name in ((budget, TUNED), (None, DENSE)))
        met = all(run["nonzeros"] == round(share * run["weights"]) for run in exact)
        after = mean(run["accuracy"] for run in exact)
        yield (
            f"| {network} | {budget} | {len(exact)} | {after:.1%} | {100 * gap:.2f} "
            f"| {difference(after, tuned)} | {difference(after, dense)} | {'yes' if met else 'NO'} |"
        )


def chosen(runs: list[dict], network: str, budget: str | None, method: str) -> list[dict]:
    """The runs of one cell."""
    wanted = (network, budget, method)
    return [run for run in runs if (run["network"], run["budget"], run["method"]) == wanted]


def difference(after: float, others: list[dict]) -> str:
    """Points above the mean of others."""
    return f"{100 * (after - mean(run['accuracy'] for run in others)):+.1f}" if others else "-"


def main() -> int:
    """Print the table."""
    print("| network | budget | n | exact | cut changed | over magnitude-tuned | over dense | budget met |")
    print("|---|---|--:|--:|--:|--:|--:|---|")
    for folder in sys.argv[1:]:
        for line in rows(load(Path(folder))):
            print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
