"""An arm of which runs failed, judged with care: what is said in its favour must hold with them counted, too.

Runs do not fail at random: a training that diverges takes an arm's worst seed with it, and flatters the arm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from secateur.records.measure import ACCURACY, Measure
from secateur.records.results import SummaryRow


def counted_as_worst(
    row: SummaryRow, lost: Sequence[int], rows: Sequence[SummaryRow], measure: Measure = ACCURACY
) -> SummaryRow:
    """Give a row its lost seeds back, each as bad as the worst network of any arm at the budget.

    Args:
        lost: the seeds whose runs failed.
        rows: of all arms at the budget, this one among them.

    Returns:
        the row with mean and spread on the test split of all its seeds; what is not judged stays.
    """
    there = row.values or (row.mean,) * row.n
    worst = min((value for each in rows for value in each.values or (each.mean,)), key=measure.rank)
    values = (*there, *(worst for _ in lost))
    n = len(values)
    mean = math.fsum(values) / n
    return replace(
        row,
        n=n,
        mean=mean,
        std=math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1)) if n > 1 else None,
        seeds=(*row.seeds, *lost),
        values=values if row.values else (),
    )
