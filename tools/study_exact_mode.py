"""Which settings of the exact mode help: each variant against the default, over seeds, on the digits.

    python tools/study_exact_mode.py results/exact-mode-digits      about 5 minutes on one core

Leaves study.json and study.md in the folder. Variants are compared on the validation split; accuracies on the
test split, before and after the cut, stand beside. Interrupted, it goes on where it was.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from secateur.atomic import write_bytes, write_json
from secateur.budget import Budget
from secateur.data import load_data
from secateur.device import Runtime
from secateur.environment import describe_environment
from secateur.execution import Session
from secateur.naming import resolve_model
from secateur.progress import reporter_for
from secateur.runs import RunStore
from secateur.sparse import Sparsity, sparse_arms
from secateur.statistics import interval
from secateur.training import Recipe

RECIPE = Recipe(epochs=40, batch_size=64, lr=0.1, weight_decay=5e-5, schedule="cosine", precision="bf16")
BUDGETS = ("nonzeros=0.25%",)
SEEDS = 3
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "C falls until 40%": {"end": 0.4},
    "C falls until 60%, n rises to 16": {"end": 0.6, "n_final": 16},
    "C falls until 80%, n rises until 95%": {"end": 0.8, "sharpen_until": 0.95},
    "n rises to 16": {"n_final": 16},
    "n stays 4": {"n_final": 4},
    "n begins at 8": {"n": 8},
    "floor of 0.3": {"floor": 0.3},
}


def main() -> int:
    """Make what is missing, and the table."""
    out = Path(sys.argv[1])
    runtime = Runtime("cpu", RECIPE.precision)
    data = load_data("digits")
    session = Session(data, RunStore(out / "work"), runtime, reporter_for(sys.stdout))
    architecture = resolve_model("conv4", data)
    rows = []
    with session.working("study", 0):
        for name, settings in VARIANTS.items():
            for budget in BUDGETS:
                limit = Budget.parse(budget).limit_for(architecture.skeleton())
                records = [made(session, architecture, settings, limit, seed, name) for seed in range(SEEDS)]
                rows.append({"variant": name, "budget": budget, **summary(records)})
                leave(out, rows, runtime)
    return 0


def made(session: Session, architecture: Any, settings: dict, limit: int, seed: int, name: str) -> dict:
    """One run's record."""
    sparsity = Sparsity(reparametrization=settings)
    arm = sparse_arms(sparsity)["reparametrization"]
    return session.sparsify(architecture, RECIPE, seed, arm, sparsity, limit, f"{name} {limit:,} seed {seed}")


def summary(records: list[dict]) -> dict[str, Any]:
    """Means over the seeds, in fractions."""
    keys = ("val_accuracy", "accuracy", "accuracy_before")
    return {
        **{key: interval([record[key] for record in records]) for key in keys},
        "commits": sorted({record["environment"]["commit"] for record in records}),
    }


def leave(out: Path, rows: list[dict], runtime: Runtime) -> None:
    """study.json and study.md."""
    about = {"command": f"python tools/study_exact_mode.py {out}", "recipe": vars(RECIPE), "seeds": SEEDS}
    content = {"schema": 1, **about, "environment": describe_environment(runtime), "rows": rows}
    write_json(out / "study.json", content)
    lines = [
        "| variant | budget | validation ± std | test before the cut | test after |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['variant']} | {row['budget']} | {row['val_accuracy']['mean']:.1%} ± "
        f"{row['val_accuracy']['std']:.1%} | {row['accuracy_before']['mean']:.1%} "
        f"| {row['accuracy']['mean']:.1%} |"
        for row in rows
    ]
    write_bytes(out / "study.md", ("\n".join(lines) + "\n").encode())


if __name__ == "__main__":
    sys.exit(main())
