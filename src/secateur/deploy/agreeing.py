"""How far two networks agree on the same examples: the classes, and how far the outputs differ."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from secateur.deploy.given import said_in_one_line
from secateur.deploy.traced import Run
from secateur.errors import InputError
from secateur.records.quantized import Agreement

GOOD = 0.05
"""Error up to which no other recipe is tried: about where 8 bits lie, and less noisy than counted classes."""


_BROKEN_KAPPA, _BROKEN_ERROR = 0.5, 0.3


def refuse_if_broken(agreement: Agreement) -> None:
    """Raise InputError for another network than the one in float."""
    kappa = agreement.beyond_chance
    if agreement.error > _BROKEN_ERROR and (kappa is None or kappa < _BROKEN_KAPPA):
        raise InputError(
            f"in int8 the network must say what it says in float, got {agreement.in_words()}: no file is "
            "left; calibrate on more examples, of the kind that it will see, or export it without int8"
        )


def agreement_of(expected: Sequence[np.ndarray], found: Sequence[np.ndarray]) -> Agreement:
    """Compare the outputs of two networks on the same examples."""
    wanted, got = (
        [np.nan_to_num(np.asarray(each, np.float64)) for each in outputs] for outputs in (expected, found)
    )
    error = max(_relative_rms(one, other) for one, other in zip(wanted, got, strict=True))
    first, second = wanted[0], got[0]
    if first.ndim != 2 or first.shape[1] < 2:
        return Agreement(n=len(first) if first.ndim else 1, same=None, chance=None, error=error)
    said, again = first.argmax(1), second.argmax(1)
    shares = [np.bincount(each, minlength=first.shape[1]) / len(first) for each in (said, again)]
    return Agreement(
        n=len(first), same=int((said == again).sum()), chance=float(shares[0] @ shares[1]), error=error
    )


def _relative_rms(expected: np.ndarray, found: np.ndarray) -> float:
    """The root mean square of the difference over that of what is expected, at most 1e9."""
    size = float(np.sqrt(np.square(expected).mean())) if expected.size else 0.0
    difference = float(np.sqrt(np.square(expected - found).mean())) if expected.size else 0.0
    return min(difference / size, 1e9) if size else min(difference, 1e9)


def outputs_of(run: Run, batches: Sequence[Sequence[np.ndarray]]) -> list[np.ndarray]:
    """What a network gives on all batches, joined; batch by batch where an output has no examples."""
    with said_in_one_line("be run on the batches given"):
        found = [run(batch) for batch in batches]
    return [_joined([each[index] for each in found]) for index in range(len(found[0]))]


def _joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts) if parts[0].ndim else np.stack(parts)
