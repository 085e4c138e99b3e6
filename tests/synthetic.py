"""Results of comparisons that were never run, of any shape, and pages taken apart."""

from __future__ import annotations

import math
import random
import re
import statistics
from html.parser import HTMLParser
from typing import Any

from secateur.records.record import Epoch
from secateur.records.results import Results

ARMS = ["fisher-tuned", "fisher-scratch", "copycat", "width", "bottleneck"]
T95 = {2: 12.706, 3: 4.303}  # Student's t, 97.5%, n - 1 degrees of freedom


def synthetic_json(
    arms: list[str] = ARMS,
    budgets: tuple[tuple[str, int], ...] = (("params=50%", 39048), ("params=25%", 19524)),
    seeds: int = 3,
    blocks: tuple[int, ...] = (16, 16, 32, 32, 64, 64),
    epochs: int = 30,
    dense_params: int = 78096,
) -> tuple[dict[str, Any], dict[str, list[dict[str, Any]]]]:
    """Results and histories with the shape and the size of a real comparison; deterministic."""
    rng = random.Random(0)
    skill = {"fisher-tuned": 0.0, "fisher-scratch": 1.6, "copycat": 1.9, "width": 0.8, "bottleneck": 0.5}
    histories: dict[str, list[dict[str, Any]]] = {}

    def history(run_id: str, top: float, params: int) -> None:
        histories[run_id] = [
            {
                "epoch": e,
                "loss": 2.3 * math.exp(-4 * e / epochs) + 0.02 + 0.02 * rng.random(),
                "train_accuracy": min(1.0, top + 0.02),
                "val_accuracy": top * (1 - 0.88 * math.exp(-6 * e / epochs))
                - 0.02 * rng.random() * (e < epochs * 0.9),
                "lr": 0.1,
                "params": params,
            }
            for e in range(1, epochs + 1)
        ]

    def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
        values = [r["accuracy"] for r in rows]
        n, mean = len(values), statistics.fmean(values)
        std = statistics.stdev(values) if n > 1 else None
        half = None if std is None else T95[n] * std / math.sqrt(n)
        means = {
            k: statistics.fmean(r[k] for r in rows)
            for k in ("params", "macs", "train_compute", "discovery_compute", "wall_s")
        }
        return {
            "n": n,
            "mean": mean,
            "std": std,
            "half": half,
            "low": None if half is None else mean - half,
            "high": None if half is None else mean + half,
            "val_mean": statistics.fmean(r["val_accuracy"] for r in rows),
            **means,
        }

    def row(run_id: str, seed: int, params: int, top: float, discovery: int) -> dict[str, Any]:
        return {
            "seed": seed,
            "params": params,
            "macs": params * 51,
            "accuracy": top,
            "val_accuracy": top + 0.004 * rng.random(),
            "train_compute": 3 * params * 51 * 1149 * epochs,
            "discovery_compute": discovery,
            "wall_s": 12.5 + rng.random(),
            "run_id": run_id,
        }

    dense = []
    for seed in range(seeds):
        top = 0.982 + 0.004 * rng.random()
        history(f"dense-{seed}", top, dense_params)
        own = row(f"dense-{seed}", seed, dense_params, top, 0)
        dense.append({"arm": "dense", "budget": None, **own, "epochs": epochs, "widths": {"blocks.0": 16}})
    points, groups = [], []
    for budget, limit in budgets:
        for arm in arms:
            rows = []
            for seed in range(seeds):
                shared = arm == "fisher-tuned"
                own = re.sub(r"[^A-Za-z0-9_-]", "", arm)[:40] or "run"  # ids are names of folders
                run_id = f"{own}-{seed}" if shared else f"{own}-{budget}-{seed}"
                small = 1 - limit / dense_params
                top = 0.974 - 0.05 * small**2 + skill.get(arm, 1.0) / 100 * small + rng.gauss(0, 0.003)
                params = limit - rng.randrange(limit // 60)
                history(run_id, top, params)
                discovery = 0 if arm in ("width", "bottleneck") else dense[0]["train_compute"] * 7 // 5
                rows.append(row(run_id, seed, params, top, discovery))
                points.append(
                    {"arm": arm, "budget": budget, **rows[-1], "epochs": epochs, "widths": {"blocks.0": 16}}
                )
            groups.append({"arm": arm, "budget": budget, "limit": limit, **summary(rows)})
    kept = [
        [max(1, round(of * (0.95 - 0.6 * i / len(blocks)) - rng.randrange(2))) for i, of in enumerate(blocks)]
        for _ in range(seeds)
    ]
    results = {
        "schema": 1,
        "command": "secateur compare --model wrn-16-1 --budget params=50% --budget params=25% --seeds 3",
        "model": "wrn-16-1",
        "data": {
            "name": "digits",
            "label": "digits (1797 images of handwritten digits, 8 × 8)",
            "train": 1149,
            "val": 288,
            "test": 360,
            "classes": 10,
            "shape": [1, 8, 8],
            "fingerprint": "0123456789abcdef",
        },
        "settings": {
            "epochs": epochs,
            "match": "epochs",
            "seeds": seeds,
            "prune_every": 10,
            "milestones": [0.3, 0.6, 0.9],
            "beta": 0.0,
            "limit_train": None,
        },
        "dense": dense,
        "points": points,
        "summary": groups,
        "dense_summary": {"arm": "dense", "budget": None, "limit": None, **summary(dense)},
        "profiles": [
            {
                "seed": seed,
                "removed": sum(blocks) - sum(kept[seed]),
                "groups": [
                    {"name": f"blocks.{i}", "kept": k, "of": of}
                    for i, (k, of) in enumerate(zip(kept[seed], blocks, strict=True))
                ],
            }
            for seed in range(seeds)
        ],
        "trajectory": [
            {
                "seed": seed,
                "removed": list(range(0, 150, 2)),
                "params": [dense_params - dense_params * k // 195 for k in range(0, 150, 2)],
                "val_accuracy": [
                    0.985 - 0.00002 * (k / 8) ** 2.9 - 0.004 * rng.random() for k in range(0, 150, 2)
                ],
            }
            for seed in range(seeds)
        ],
        "verdict": {
            "text": (
                "At 25% of the parameters copycat is best: 97.1% on the test split, 1.4 points "
                "above fisher-tuned; at 50% there is no clear winner."
            ),
            "per_budget": [
                {
                    "budget": "params=50%",
                    "limit": 39048,
                    "leader": "copycat",
                    "winner": None,
                    "text": (
                        "No clear winner: the 95% intervals of copycat, fisher-scratch and width overlap."
                    ),
                },
                {
                    "budget": "params=25%",
                    "limit": 19524,
                    "leader": "copycat",
                    "winner": "copycat",
                    "text": ("copycat, 97.10% ± 0.21 over 3 seeds; next is fisher-scratch at 96.43%."),
                },
            ],
        },
        "environment": {
            "secateur": "0.1.0",
            "torch": "2.9.0",
            "python": "3.11.2",
            "device": "cpu",
            "commit": "0123456789abcdef",
            "precision": "fp32",
            "threads": 2,
            "date": "2026-01-01",
        },
    }
    return results, histories


Shown = tuple[Results, dict[str, tuple[Epoch, ...]]]


def read(results: dict[str, Any], histories: dict[str, list[dict[str, Any]]]) -> Shown:
    """What a report is drawn of."""
    found = {run_id: tuple(map(Epoch.from_json, rows)) for run_id, rows in histories.items()}
    return Results.from_json(results), found


def synthetic(**changes: Any) -> Shown:
    return read(*synthetic_json(**changes))


class Elements(HTMLParser):
    """Every element with its attributes, and the text outside scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._inside = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self._inside = tag

    def handle_data(self, data: str) -> None:
        if self._inside not in ("script", "style"):
            self.text += data
