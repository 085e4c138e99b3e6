"""How amounts of a resource are written: `500k`, `25%`, `1.5MB`, `2ms`, read as exact numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from secateur.budget.hints import own_value
from secateur.budget.resources import MEASURED, TRAINABLE
from secateur.errors import InputError

_AMOUNT = re.compile(r"(\d{1,18}(?:\.\d{1,18})?)\s*([a-z]{0,3}|%)", re.IGNORECASE)


@dataclass(frozen=True)
class Unit:
    """How amounts of a resource are written: suffix in lower case -> its factor, in words, an example."""

    factors: Mapping[str, Fraction | int]
    words: str
    example: str


_THOUSANDS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}


_COUNT = Unit(_THOUSANDS, "k, M, G or %", "500k")


UNITS = {
    **dict.fromkeys(TRAINABLE, _COUNT),
    "bytes": Unit(
        {
            **_THOUSANDS,
            **{f"{power}b": factor for power, factor in _THOUSANDS.items()},
            **{"kib": 2**10, "mib": 2**20, "gib": 2**30},
        },
        "kB, MB, GB, KiB, MiB, GiB or %",
        "1.5MB",
    ),
    MEASURED: Unit({"s": 1, "ms": Fraction(1, 10**3), "us": Fraction(1, 10**6)}, "s, ms, us or %", "2ms"),
}


def amount_of(resource: str, amount: str, text: str) -> tuple[Fraction, bool]:
    """The number in the resource's unit, and whether it is a share; InputError for all else."""
    unit, at = UNITS[resource], "@onnxruntime" if resource == MEASURED else ""
    meant = own_value(resource, text.partition("=")[2].strip())
    example = f"write {meant or f'for example {resource}={unit.example}{at} or {resource}=25%{at}'}"
    found = _AMOUNT.fullmatch(amount)
    suffix = found[2].lower() if found else ""
    relative = suffix == "%"
    if not found or not (relative or suffix in unit.factors):
        raise InputError(
            f"a budget's amount is a number with {unit.words}, got '{amount}' in '{text}': {example}"
        )
    if not suffix and "." in amount:  # a share, most likely, of which nothing would be left
        raise InputError(
            f"a budget is a whole number of {resource}, or a share in percent, got '{text}': {example}"
        )
    value = Fraction(found[1]) * (Fraction(1, 100) if relative else unit.factors[suffix])
    if value <= 0:
        raise InputError(f"a budget must be above zero, got '{text}': {example}")
    if relative and value > 1:
        raise InputError(
            "a budget in percent is a share of the original network, at most 100%, got "
            f"'{text}': write for example {resource}=50%{at}"
        )
    return value, relative
