"""Measure the verdict's two error rates: false wins, and leaders that are not found.

    python tools/verdict_power.py            all cases (about 10 minutes on one core); leaves the file
    python tools/verdict_power.py --quick    fewer repetitions, in a minute; nothing is written

What is measured is the rule itself, `secateur.compare.verdict.decide`, on made-up comparisons whose truth is
known. A win is false where the truth is a tie of the best, or another arm is better. Tables and figure
of docs/verdict.md are made of the file by `tools/verdict_tables.py`.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.atomic import write_json
from secateur.compare.summary import interval
from secateur.compare.verdict import Evidence, decide
from secateur.device import Runtime
from secateur.records.measure import ACCURACY, Measure
from secateur.records.results import SummaryRow
from secateur.runs.environment import describe_environment

ROOT = Path(__file__).parents[1]
OUT = ROOT / "results" / "verdict-power" / "power.json"
ARMS, SEEDS = (2, 3, 6, 12), (2, 3, 5, 10)
IMAGES = (30, 500)
PLAIN = Measure(name="value", higher_is_better=True, fraction=False)
REPETITIONS = 1000

Rng = np.random.Generator
Array = NDArray[np.float64]


def _all_alike(arms: int) -> Array:
    return np.ones(arms)


def _one_to_four(arms: int) -> Array:
    return np.linspace(4, 1, arms)


def _one_noisy(arms: int) -> Array:
    return np.array([4.0, *[1.0] * (arms - 1)])


def _two_noisy(arms: int) -> Array:
    return np.array([4.0, 4.0, *[1.0] * (arms - 2)])


SPREADS: dict[str, Callable[[int], Array]] = {
    "equal": _all_alike,
    "from 4 to 1": _one_to_four,
    "one four times the others'": _one_noisy,
    "two four times the others'": _two_noisy,
}
TIES = ("all tied", "two tied ahead")


@dataclass(frozen=True)
class Case:
    """One kind of comparison.

    Attributes:
        truth: "all tied", "two tied ahead" (the noisiest, the others far behind), or "one ahead".
        gap: of the one that is ahead, in standard deviations (root mean square of the arms').
        images: in the test split; 0: values are numbers with a normal distribution.
        kept: whether every image's score is known.
        shared: the standard deviation of what seeds do to all arms alike, in units of the arms' own.
    """

    arms: int
    seeds: int
    spreads: str = "equal"
    truth: str = "all tied"
    gap: float = 0.0
    images: int = 0
    kept: bool = True
    shared: float = 0.0


@dataclass(frozen=True)
class Rates:
    """What came of it, as shares of `n` comparisons.

    Attributes:
        wins: a winner was declared that is none (of ties), or the one that is (where one is ahead).
        wrong: where one is ahead, another was declared the winner.
        false_statements: something said that is not true: a false win, or an arm behind that is not.
        intervals: wins by the rule before, for which intervals of means had to lie apart.
    """

    n: int
    wins: float
    wrong: float
    false_statements: float
    intervals: float


def measure(case: Case, n: int, rng: Rng) -> Rates:
    """Make `n` comparisons of a kind and count."""
    counts = np.zeros(4)
    for _ in range(n):
        truth, rows, evidence, measured = made(case, rng)
        counts += judged(truth, rows, evidence, measured)
    return Rates(n, *(round(float(count) / n, 5) for count in counts))


def judged(truth: Array, rows: list[SummaryRow], evidence: Evidence, measured: Measure) -> Array:
    """1 or 0 for each of `Rates`' shares."""
    found = decide(rows, evidence, measured)
    leader = rows.index(found.leader)
    best = np.flatnonzero(truth == truth.max())
    right = len(best) == 1 and best[0] == leader
    behind = [rows.index(row) for row, is_behind in zip(found.others, found.behind, strict=True) if is_behind]
    false = any(truth[other] >= truth[leader] for other in behind)
    old = old_winner(rows)
    tied = len(best) > 1
    return np.array(
        [found.wins and (tied or right), found.wins and not (tied or right), false, _old(old, best, tied)],
        dtype=float,
    )


def _old(winner: int | None, best: Array, tied: bool) -> bool:
    return winner is not None and (tied or winner == best[0])


def old_winner(rows: list[SummaryRow]) -> int | None:
    """Who won by the rule before: its 95% interval over the seeds lies above every other's."""
    intervals = [interval(row.values, share=False) for row in rows]
    leader = max(range(len(rows)), key=lambda index: rows[index].val_mean)
    low = intervals[leader].low
    highs = [each.high for index, each in enumerate(intervals) if index != leader]
    assert low is not None
    return leader if all(high is not None and low > high for high in highs) else None


def made(case: Case, rng: Rng) -> tuple[Array, list[SummaryRow], Evidence, Measure]:
    """One made-up comparison: the true means, and what is seen of it."""
    sd = SPREADS[case.spreads](case.arms)
    truth = np.zeros(case.arms)
    if case.truth == "two tied ahead":
        truth[2:] = -20 * sd.max()
    if case.truth == "one ahead":
        sd = sd[rng.permutation(case.arms)]
        truth[0] = case.gap * math.sqrt(float((sd**2).mean()))
    if case.images:
        return _with_images(case, truth, sd, rng)
    seeds = case.shared * rng.standard_normal(case.seeds)
    test = truth[:, None] + sd[:, None] * rng.standard_normal((case.arms, case.seeds)) + seeds
    val = test + sd[:, None] * rng.standard_normal(test.shape)
    return truth, [row(arm, test[arm], val[arm]) for arm in range(case.arms)], Evidence(), PLAIN


LEVEL, HARD, SEED = 2.5, 1.5, 0.15
"""Log odds of an image of middling difficulty, and standard deviations of the images' and of a seed's."""


def _with_images(
    case: Case, truth: Array, sd: Array, rng: Rng
) -> tuple[Array, list[SummaryRow], Evidence, Measure]:
    """Accuracies: images of different difficulty, the same for all arms; each arm finds others hard, too."""
    far = np.where(truth < 0, -3.0, 0.0)  # far behind, but still an accuracy
    own = 0.5 * HARD
    seeds = SEED * sd[:, None] * rng.standard_normal((case.arms, case.seeds))
    ability = LEVEL + far + np.where(truth > 0, case.gap * spread_of_accuracy(case), 0.0)

    def seen(images: int) -> Array:
        hard = HARD * rng.standard_normal(images) + own * rng.standard_normal((case.arms, images))
        odds = (ability[:, None] + seeds)[:, :, None] + hard[:, None, :]
        return (rng.random(odds.shape) < 1 / (1 + np.exp(-odds))).astype(np.float64)

    test, val = seen(case.images), seen(max(case.images // 4, 10))
    rows = [row(arm, test[arm].mean(1), val[arm].mean(1)) for arm in range(case.arms)]
    scores: dict[tuple[str, str | None, int], Array] = {}
    if case.kept:
        scores = {(rows[a].arm, "b", s): test[a, s] for a in range(case.arms) for s in range(case.seeds)}
    return ability, rows, Evidence(case.images, val.shape[2], scores), ACCURACY


def spread_of_accuracy(case: Case) -> float:
    """The standard deviation of one run's accuracy, over seeds and test splits, in log odds.

    The accuracy itself has sqrt(slope^2 seed^2 + p (1 - p) / n) with slope the mean p_i (1 - p_i) of images.
    """
    points, weights = np.polynomial.hermite_e.hermegauss(40)
    p = 1 / (1 + np.exp(-(LEVEL + HARD * math.sqrt(1.25) * points)))
    weights = weights / weights.sum()
    mean, slope = float(weights @ p), float(weights @ (p * (1 - p)))
    return math.sqrt((slope * SEED) ** 2 + mean * (1 - mean) / case.images) / slope


def row(arm: int, test: Array, val: Array) -> SummaryRow:
    """As `summarise` makes it of points."""
    return SummaryRow(
        arm=f"arm {arm}",
        budget="b",
        limit=1,
        n=len(test),
        mean=float(test.mean()),
        std=float(test.std(ddof=1)),
        low=None,
        high=None,
        seeds=tuple(range(len(test))),
        values=tuple(float(value) for value in test),
        val_mean=float(val.mean()),
        params=1.0,
        macs=1.0,
        train_compute=1.0,
        discovery_compute=0.0,
        wall_s=1.0,
    )


def cases() -> list[Case]:
    """Everything that is measured."""
    found = [
        Case(arms, seeds, spreads, truth)
        for truth in TIES
        for spreads in SPREADS
        for arms in ARMS
        for seeds in SEEDS
        if not (arms == 2 and (truth == TIES[1] or spreads == "two four times the others'"))
    ]
    found += [Case(arms, seeds, truth="one ahead", gap=3.0) for arms in ARMS for seeds in SEEDS]
    found += [Case(6, 3, truth="one ahead", gap=gap) for gap in (0.5, 1.0, 1.5, 2.0, 2.5, 4.0, 5.0, 6.0)]
    found += [Case(6, 5, truth="one ahead", gap=gap) for gap in (0.5, 1.0, 1.5, 2.0, 2.5, 4.0, 5.0, 6.0)]
    found += [Case(6, seeds, "from 4 to 1", "one ahead", 3.0) for seeds in SEEDS]
    for images in IMAGES:
        for kept in (True, False):
            for seeds in (2, 3, 5, 10):
                found += [Case(6, seeds, truth=truth, images=images, kept=kept) for truth in TIES]
                found += [Case(6, seeds, truth="one ahead", gap=3.0, images=images, kept=kept)]
    found += [Case(6, seeds, truth="all tied", shared=2.0) for seeds in SEEDS]
    found += [Case(6, seeds, truth="two tied ahead", shared=2.0) for seeds in SEEDS]
    found += [Case(6, seeds, truth="one ahead", gap=3.0, shared=2.0) for seeds in SEEDS]
    return found


def run(n: int, seed: int = 0) -> list[dict[str, Any]]:
    """Measure every case, each with random numbers of its own."""
    found, began = [], time.monotonic()
    wanted = cases()
    for index, case in enumerate(wanted):
        repetitions = max(20, n // 2) if case.images else n  # they take several times as long
        rates = measure(case, repetitions, np.random.default_rng([seed, index]))
        found.append({**asdict(case), **asdict(rates)})
        if index % 10 == 9:
            print(f"{index + 1}/{len(wanted)} after {time.monotonic() - began:.0f} s", file=sys.stderr)
    return found


def write_measured(
    doc: str, out: Path, key: str, seed: int, run: Callable[[int], list[dict[str, Any]]]
) -> int:
    """Measure so many comparisons of every case, and write them; a few, and only shown, with --quick."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("-n", type=int, default=REPETITIONS, help=f"comparisons of each of the {key}")
    asked = parser.parse_args()
    if asked.quick:
        for line in run(40):
            print(line)
        return 0
    environment = describe_environment(Runtime("cpu"), "fp32")  # as it was begun
    content = {
        "schema": 1,
        "command": f"python tools/{Path(sys.argv[0]).name} -n {asked.n}",
        "seed": seed,
        key: run(asked.n),
        "environment": environment,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    write_json(out, content)
    return 0


def main() -> int:
    """Measure, and write."""
    return write_measured(__doc__ or "", OUT, "cases", 0, run)


if __name__ == "__main__":
    sys.exit(main())
