"""How much an arm's result varies from seed to seed, learnt from all arms together.

Three seeds say little of one arm's spread. Smyth (2004) lets all arms say what spreads are usual, and moves
each arm's own towards that; how far depends on d0, how alike the spreads are. He takes the likeliest d0; of
few arms that is a guess, so here d0 is averaged over, as are the usual spread s0^2 and, for shares of right
examples, how spreads grow with the distance from 0 and 1: s0^2 (p (1 - p))^power.

    sigma_a^2 ~ v_a s0^2 d0 / chi^2(d0),   s_a^2 | sigma_a^2 ~ sigma_a^2 chi^2(d_a) / d_a
    s~_a^2 = (d0 v_a s0^2 + d_a s_a^2) / (d0 + d_a),   with d0 + d_a degrees of freedom

Reference: G. K. Smyth, "Linear models and empirical Bayes methods for assessing differential expression in
microarray experiments", SAGMB 3(1), 2004, section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

ALIKE = np.array([1.0, 2.0, 4.0, 8.0, 16.0, 1e6])
"""d0, equally likely: from spreads that have little in common to one spread of all."""
USUAL = np.exp(np.arange(-8.0, 3.01, 0.4))
"""s0^2, equally likely on the logarithmic scale, in units of the arms' mean."""
POWERS = (0.0, 1.0, 2.0)
"""How spreads grow with p (1 - p): not at all, as of independent examples, as of equal odds."""
SURE_OF_SEEDS = 0.01
"""Level of the test whether some seeds are better than others for all arms; then arms are paired by seed."""
ENOUGH = 4
"""Degrees of freedom that the test needs of what is left of the table."""
LEAST = 1e-24
"""No variance is taken for less."""


@dataclass(frozen=True)
class Sample:
    """One arm's values, one for each seed.

    Attributes:
        mean: of them.
        variance: of the sample, s^2, with `freedom` degrees of freedom.
        n: how many.
    """

    mean: float
    variance: float
    freedom: float
    n: int

    @property
    def of_mean(self) -> float:
        """The variance of the mean, by this arm's own values."""
        return self.variance / self.n


def samples(values: Sequence[Sequence[float]], resolution: float = 0.0) -> tuple[list[Sample], bool]:
    """Each arm's sample, and whether the arms are paired by seed.

    They are where the F test of a two-way table says that seeds differ, at 1%: then each seed's mean over the
    arms is taken out, and a difference of two arms is one of paired values.

    Args:
        values: for each arm one value a seed, the same seeds in the same order where arms shall be paired.
        resolution: between two values that can be told apart: 1/n of n examples.
    """
    rows = [np.asarray(row, dtype=np.float64) for row in values]
    grain = resolution**2 / 12  # of what is rounded (Sheppard)
    alike = len(rows) > 1 and len({len(row) for row in rows}) == 1
    paired = alike and _seeds_differ(np.stack(rows), grain)
    if not paired:
        return [_sample(row, row, 1.0, grain) for row in rows], False
    left = np.stack(rows) - np.mean(rows, axis=0)
    return [_sample(row, rest, 1 - 1 / len(rows), grain) for row, rest in zip(rows, left, strict=True)], True


def _sample(row: Array, varying: Array, share: float, grain: float) -> Sample:
    """`share`: of the degrees of freedom that is left when the seeds' means are out."""
    variance = float(varying.var(ddof=1)) / share if len(row) > 1 else 0.0
    return Sample(float(row.mean()), max(variance + grain, LEAST), (len(row) - 1) * share, len(row))


def _seeds_differ(table: Array, grain: float) -> bool:
    """The F test of the columns of an (arms, seeds) table."""
    from scipy.special import fdtrc  # scipy.stats takes a second to import

    arms, seeds = table.shape
    if (arms - 1) * (seeds - 1) < ENOUGH:
        return False
    columns = arms * table.mean(0).var(ddof=1)
    rest = table - table.mean(0) - table.mean(1, keepdims=True) + table.mean()
    freedom = (arms - 1) * (seeds - 1)
    residual = max(float((rest**2).sum()) / freedom + grain, LEAST)
    return float(fdtrc(seeds - 1, freedom, columns / residual)) < SURE_OF_SEEDS


@dataclass(frozen=True)
class Spreads:
    """What may be true of the arms' spreads: `G` possibilities with their weights.

    Attributes:
        weights: (G,), sum to 1.
        variances: (G, arms), s~^2, of one value of each arm.
        freedom: (G, arms), their degrees of freedom.
        scales: (arms,), what spreads are measured in, v; with all alike 1.
    """

    weights: Array
    variances: Array
    freedom: Array
    scales: Array


def spreads(found: Sequence[Sample], shares: bool = False, floor: float = 1e-3) -> Spreads:
    """All arms' spreads, each moved towards what is usual.

    Args:
        shares: the values are shares of right examples, in [0, 1].
        floor: a share counts as no closer than this to 0 and 1, in (0, 0.5).
    """
    s2 = np.array([each.variance for each in found])
    d = np.array([each.freedom for each in found])
    means = np.array([each.mean for each in found])
    shares = shares and bool(((means >= 0) & (means <= 1)).all())
    grids = [_grid(s2, _scales(means, power, floor)) for power in (POWERS if shares else POWERS[:1])]
    d0, prior, v = (np.concatenate(parts) for parts in zip(*grids, strict=True))
    likelihood = _log_likelihood(s2, d, d0[:, None], prior)
    weights = np.exp(likelihood - likelihood.max())
    weights /= weights.sum()
    kept = weights > 1e-6
    weights, d0, prior = weights[kept] / weights[kept].sum(), d0[kept, None], prior[kept]
    moved = (d0 * prior + d * s2) / (d0 + d)
    return Spreads(weights, moved, d0 + d, weights @ v[kept])


def _scales(means: Array, power: float, floor: float) -> Array:
    """v of each arm, with geometric mean 1."""
    near = np.clip(means, floor, 1 - floor)
    scale = (near * (1 - near)) ** power
    return scale / np.exp(np.log(scale).mean())


def _grid(s2: Array, v: Array) -> tuple[Array, Array, Array]:
    """Every d0 with every s0^2: d0 (G,), v s0^2 (G, arms), v (G, arms)."""
    usual = USUAL * float((s2 / v).mean())
    d0, s0 = (each.ravel() for each in np.meshgrid(ALIKE, usual, indexing="ij"))
    return d0, s0[:, None] * v, np.tile(v, (len(d0), 1))


def _log_likelihood(s2: Array, d: Array, d0: Array, prior: Array) -> Array:
    """Of the sample variances, s_a^2 ~ v_a s0^2 F(d_a, d0), but for what is the same everywhere."""
    from scipy.special import gammaln

    scale = d0 * prior
    each = gammaln((d + d0) / 2) - gammaln(d0 / 2) - d / 2 * np.log(scale)
    return np.asarray((each - (d + d0) / 2 * np.log1p(d * s2 / scale)).sum(1))
