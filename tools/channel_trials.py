"""Other schedules of `channel-reparametrization`, judged on the validation split; no test image is seen.

    python tools/channel_trials.py wrn-16-1 --share 10 --seeds 3      # goes on where it stopped

The setting is that of tools/channels.py. One JSON file a run in results/channels-peers/trials, and a table of
all of them, trials.md, for docs/channels.md. `whole stream` is the method as it is on the same network handed
over as somebody's own: traced, so that the stem's residual stream has gates as well, which the built-in wide
residual network leaves alone.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import mean
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent))

import torch
from channels import NETWORKS, OUT, Setting, spread
from torch import Tensor, nn

import secateur as sc
from secateur.atomic import write_json
from secateur.device import Runtime
from secateur.methods import ChannelReparametrization
from secateur.progress import Reporter
from secateur.runs.environment import describe_environment
from secateur.training.batches import steps_per_epoch
from secateur.training.evaluation import evaluate
from secateur.training.loop import Training
from secateur.training.seeds import derived_seed

VARIANTS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "cut at 35%": {"end": 0.25, "sharpen_until": 0.35, "cut_at": 0.35},
    "cut at 65%": {"end": 0.5, "sharpen_until": 0.65, "cut_at": 0.65},
    "n to 512": {"n_final": 512},
    "inside the blocks alone": {"streams": False},
    "whole stream": {},
}


class Owned(nn.Module):
    """A network as somebody's own: nothing is declared, all is traced."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Any:
        return self.net(x)


def run(setting: Setting, data: Any, share: int, variant: str, seed: int) -> dict[str, Any]:
    """One network under the method; its accuracy on the validation split."""
    recipe, runtime = setting.recipe(), Runtime("cpu")
    model = sc.Architecture.of(setting.model()).build(seed=derived_seed(seed, "initialisation"))
    if variant == "whole stream":
        model = Owned(model)
        sc.inspect(model, torch.ones(2, *data.shape))
    steps = steps_per_epoch(data, recipe, 1) * recipe.epochs
    method = ChannelReparametrization(f"macs={share}%", steps=steps, **VARIANTS[variant])
    common = {"seed": seed, "runtime": runtime, "reporter": Reporter(), "epochs": recipe.epochs}
    training = Training(model, data, recipe, method=method, **common).fit().finish()
    return {
        "network": setting.network,
        "variant": variant,
        "share": share,
        "seed": seed,
        "macs": training.macs,
        "limit": method.limit,
        "params": training.params,
        "val_accuracy": evaluate(training.model, data.val, data, runtime, setting.precision),
        "train_compute": training.progress.compute,
        "setting": asdict(setting),
        "environment": describe_environment(runtime, setting.precision),
    }


def table(runs: Sequence[dict[str, Any]]) -> str:
    """A row for each network, budget and variant."""
    found: dict[tuple[str, int, str], list[dict[str, Any]]] = {}
    for each in runs:
        found.setdefault((each["network"], each["share"], each["variant"]), []).append(each)
    best_first = sorted(found.items(), key=lambda item: (item[0][0], -item[0][1], -_mean(item[1], VAL)))
    rows = [
        f"| {network} | {share}% | {variant} | {spread([each[VAL] for each in group])} | {len(group)} "
        f"| {_mean(group, 'params'):,.0f} | {_mean(group, 'train_compute'):.2g} |"
        for (network, share, variant), group in best_first
    ]
    heads = [
        "| network | MACs | variant | validation ± std | seeds | params | training MACs |",
        "|---|---|---|---|---|---|---|",
    ]
    return "\n".join([*heads, *rows, ""]) if rows else "Nothing is recorded yet.\n"


VAL = "val_accuracy"


def _mean(runs: Sequence[dict[str, Any]], key: str) -> float:
    return mean(each[key] for each in runs)


def make(network: str, share: int, seeds: int, variants: Sequence[str], out: Path) -> None:
    """All runs that are not there yet."""
    setting, folder = Setting(network), out / "trials"
    folder.mkdir(parents=True, exist_ok=True)
    data = setting.data()
    for seed in range(100, 100 + seeds):  # none that the comparison has
        for variant in variants:
            name = f"{network}-{share}-{variant.replace(' ', '-').replace('%', '')}-s{seed}.json"
            if not (folder / name).exists():
                made = run(setting, data, share, variant, seed)
                write_json(folder / name, made)
                print(f"{name}: {made[VAL]:.1%}", file=sys.stderr, flush=True)
    runs = [json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("*.json"))]
    (out / "trials.md").write_text(table(runs), encoding="utf-8")


def main(given: Sequence[str] | None = None) -> int:
    """Make the runs that are not there, and the table; exit code 2 for a budget that cannot be."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("network", nargs="?", default=NETWORKS[0], choices=NETWORKS)
    parser.add_argument("--share", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--variants", nargs="*", default=[*VARIANTS], choices=[*VARIANTS])
    parser.add_argument("--out", type=Path, default=OUT)
    asked = parser.parse_args(given)
    torch.set_num_threads(1)
    try:
        make(asked.network, asked.share, asked.seeds, asked.variants, asked.out)
    except sc.InputError as error:
        print(f"channel_trials: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
