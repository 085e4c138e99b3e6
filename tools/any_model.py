"""Prune every kind of network to half of its MACs and of its parameters, and check all that has to hold.

    python tools/any_model.py --out results/any-model

For each network of tests/foreign.py, of `transformers` (from their configurations) and of our families: the
groups are found and proved, the network is pruned by Fisher while it trains on noise, the cut is proved again
with its own weights, saved, loaded as its own class, compared to the bit, re-initialised by its own factory
at its narrow sizes, and scaled to 60% of itself. What does not hold ends the run with an error.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import torch

import secateur as sc
from secateur.device import Runtime
from secateur.errors import InputError
from secateur.network.inputs import batch_of, call, output_tensors
from secateur.network.weights import count_params
from secateur.runs.environment import describe_environment
from secateur.surgery.anatomy import anatomy_of

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import foreign

BUDGETS = ("macs=50%", "params=50%")
OURS = {
    "wrn-16-1": partial(sc.models.wide_resnet, depth=16, width=1, image_size=32),
    "resnet18 x0.25": partial(sc.models.resnet18, width=0.25, image_size=32),
    "vgg19 x0.25": partial(sc.models.vgg19, width=0.25, image_size=32),
    "conv4 x0.25": partial(sc.models.conv4, width=0.25, image_size=32),
}
NETWORKS = {
    **{name: (build, lambda: foreign.images(32)) for name, build in OURS.items()},
    **foreign.NETWORKS,
    **{
        f"transformers {name}": (partial(foreign.huggingface, name), lambda: foreign.images(32))
        for name in foreign.HUGGINGFACE
    },
}


def one(name: str, budget: str) -> dict[str, Any]:
    """Everything for one network and one budget."""
    build, inputs = NETWORKS[name]
    torch.manual_seed(0)
    model, examples = build(), inputs()
    targets = torch.arange(batch_of(examples)) % 10
    sc.inspect(model, examples, factory=build)
    anatomy = anatomy_of(model)
    before, frozen = anatomy.costs.now, len(anatomy.graph.frozen)
    data = [(examples, targets)]
    small = sc.prune(model, method="fisher", budget=budget, data=data, every=1, at_once=2)
    after = anatomy_of(small).costs.now
    resource = budget.partition("=")[0]
    assert after[resource] <= before[resource] // 2
    architecture = sc.Architecture.of(small)
    _check_saved(small, architecture, build, examples)
    assert count_params(architecture.build(seed=1)) == after["params"]
    return {
        "network": name,
        "budget": budget,
        "groups": len(anatomy.graph.groups),
        "frozen": max(0, frozen - 1),  # the output layer always is
        **{f"{key}_before": before[key] for key in ("params", "macs")},
        **{f"{key}_after": after[key] for key in ("params", "macs")},
        "scaled_to_60%": _scaled(architecture),
    }


def _check_saved(model: Any, architecture: sc.Architecture, build: Any, examples: Any) -> None:
    with tempfile.TemporaryDirectory() as directory:
        sc.save(model, directory)
        loaded = sc.load(directory, factory=build)
        assert type(loaded) is type(model)
        assert sc.Architecture.load(directory, factory=build) == architecture
    with torch.no_grad():
        pairs = zip(
            output_tensors(call(loaded, examples)), output_tensors(call(model, examples)), strict=True
        )
        assert all(torch.equal(one, other) for one, other in pairs)


def _scaled(architecture: sc.Architecture) -> float | str:
    """The share of parameters after scaling to 60%; where the rest is frozen, why not."""
    try:
        scaled = architecture.scaled_to("params=60%")
    except InputError as error:
        return str(error)
    assert scaled.params <= 0.6 * architecture.params
    assert count_params(scaled.build(seed=0)) == scaled.params
    return round(scaled.params / architecture.params, 3)


def table(rows: list[dict[str, Any]], environment: dict[str, Any]) -> str:
    """The rows in Markdown, and where they were made."""
    lines = [
        "| network | budget | groups (frozen) | params | MACs | scaled to 60% |",
        "|---|---|--:|--:|--:|--:|",
    ]
    for row in rows:
        params, macs = (f"{row[f'{k}_before']:,} to {row[f'{k}_after']:,}" for k in ("params", "macs"))
        scaled = row["scaled_to_60%"]
        shown = f"{scaled:.1%}" if isinstance(scaled, float) else "out of reach"
        groups = f"{row['groups']} ({row['frozen']})"
        lines.append(f"| {row['network']} | {row['budget']} | {groups} | {params} | {macs} | {shown} |")
    said = (
        f"{environment['device']}, torch {environment['torch']}, commit {environment['commit']}, "
        f"{environment['date']}. `params` and `macs` are before and after; frozen counts leave out the "
        "output layer; scaled: parameters after `scaled_to('params=60%')`."
    )
    return "\n".join([*lines, "", said])


def main() -> None:
    """Run all, print the table, and leave it with the environment."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("any-model"))
    out = parser.parse_args().out
    rows = []
    for name in NETWORKS:
        for budget in BUDGETS:
            rows.append(one(name, budget))
            print(f"{name} {budget}: proved, saved, loaded, re-initialised, scaled", flush=True)
    environment = describe_environment(Runtime("cpu"), "fp32")
    out.mkdir(parents=True, exist_ok=True)
    content = {"schema": 1, "command": "python tools/any_model.py", "rows": rows, "environment": environment}
    (out / "networks.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    (out / "networks.md").write_text(table(rows, environment) + "\n", encoding="utf-8")
    print(table(rows, environment))


if __name__ == "__main__":
    main()
