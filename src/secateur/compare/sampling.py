"""What a test split can tell: other images would have given other accuracies.

With scores of every example, two arms are compared image by image, as McNemar's test does: an image that both
get right says nothing of their difference. Without them only a bound is known, that of two arms that fail on
different images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class TestError:
    """The part of a difference's variance that comes from which examples are in the test split.

    Attributes:
        between: of the examples' own difficulty; it stays however many seeds are run.
        within: of what one seed happens to get right; the seeds' own spread has it in it already.
    """

    __test__ = False  # no test, though its name begins so

    between: float = 0.0
    within: float = 0.0


def paired(ours: NDArray[np.float64], theirs: NDArray[np.float64], shares: bool = True) -> TestError:
    """The error of a difference of two arms that were measured on the same examples.

    With d_is the difference on example i at seed s, and d_i its mean over S seeds, var(d_i) / N is the whole,
    var_s(d_is) / (N S) the part within. Of shares of right examples var(d_i) is (sum d_i^2 + 1) / N, as
    McNemar (1947) has it, about no difference, and with half an example more on either side (Agresti and
    Min 2005), so that no number of agreements comes to certainty.

    Args:
        ours, theirs: (seeds, examples), the score of every example, the same seeds and examples.
        shares: scores lie in [0, 1].
    """
    d = ours.astype(np.float64) - theirs.astype(np.float64)
    seeds, n = d.shape
    per_example = d.mean(0)
    about, more = (0.0, 1.0) if shares else (float(per_example.mean()), 0.0)
    whole = (float(((per_example - about) ** 2).sum()) + more) / n**2
    within = 0.0
    if seeds > 1:
        rest = d - d.mean(1, keepdims=True) - per_example + per_example.mean()
        within = float((rest**2).sum()) / ((seeds - 1) * seeds * n * n)
    return TestError(max(whole - within, more / n**2), within)


def bounded(ours: float, theirs: float, n: int) -> TestError:
    """The most that error can be, where only two accuracies on `n` examples are known.

    That of two arms that fail on examples of their own; and at least that of `paired` where they differ on no
    more examples than they must.
    """
    least = (abs(ours - theirs) * n + 1) / n**2
    return TestError(max(_binomial(ours, n) + _binomial(theirs, n), least))


def _binomial(share: float, n: int) -> float:
    """The variance of a share, with one success and one failure more, so that it is never 0."""
    p = (share * n + 1) / (n + 2)
    return p * (1 - p) / n
