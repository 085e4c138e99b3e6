"""What pruning brought where a network runs, in plain words: above all, where it brought nothing."""

from __future__ import annotations

from secateur.records.measured import Sizes, Speed

MANY_ZEROS, CUT = 0.3, 0.9
"""The share of zeros, and of multiply-accumulates left, from which on a runtime is held to them."""
ALIKE = 0.02
"""So small a change of a time is none, however surely it was measured."""
WIDE = 1.25
"""From so large a ratio of its bounds on an interval is too wide to call a network no faster."""


def words_on_speed(now: Sizes, before: Sizes, speeds: tuple[Speed, ...]) -> tuple[str, ...]:
    """Say of each runtime whether zeros, or a cut, made it faster; nothing where there was neither."""
    if now.zeros >= MANY_ZEROS:
        what = f"{_percent(now.zeros)} of the weights are zero"
        return tuple(f"{each.runtime}: {what}, {_on_zeros(each, now, before)}" for each in speeds)
    if now.macs <= CUT * before.macs:
        what = f"{_percent(now.macs / before.macs)} of the multiply-accumulates are left"
        return tuple(f"{each.runtime}: {what}, {_on_a_cut(each)}" for each in speeds)
    return ()


def _on_zeros(speed: Speed, now: Sizes, before: Sizes) -> str:
    if faster(speed):
        also = " (channels are gone too)" if now.macs <= CUT * before.macs else ""
        return f"and it is faster, {interval(speed)}{also}"
    if _unsure(speed):
        return _cannot_be_told(speed)
    why = "too few for skipping them to pay" if speed.runtime == "c" else "it multiplies by zeros"
    return f"and it is {_no(speed)} faster ({interval(speed)}): {why}"


def _on_a_cut(speed: Speed) -> str:
    if faster(speed):
        return f"and it is faster, {interval(speed)}"
    if _unsure(speed):
        return _cannot_be_told(speed)
    return f"and it is {_no(speed)} faster ({interval(speed)}): its time goes elsewhere"


def faster(speed: Speed) -> bool:
    """Whether it is beyond doubt, and by more than nothing."""
    return speed.low > 1 + ALIKE


def _unsure(speed: Speed) -> bool:
    """Whether times varied so much that nothing can be said but that it is not faster beyond doubt."""
    return speed.high > WIDE * speed.low


def _cannot_be_told(speed: Speed) -> str:
    return (
        f"and whether it is faster cannot be told ({interval(speed)}): times varied, so measure again where "
        "nothing else runs"
    )


def _no(speed: Speed) -> str:
    return "slower, not" if speed.high < 1 - ALIKE else "no"


def interval(speed: Speed) -> str:
    """A speed for people.

    Example:
        >>> interval(Speed(runtime="c", speedup=3.61, low=3.5, high=3.7))
        '3.61x, 95% interval 3.50 to 3.70'
    """
    return f"{speed.speedup:.2f}x, 95% interval {speed.low:.2f} to {speed.high:.2f}"


def _percent(share: float) -> str:
    """As many digits as it takes to tell it from 100%."""
    return f"{share:.0%}" if share < 0.985 else f"{share:.2%}"
