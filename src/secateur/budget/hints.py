"""Budgets as people write them elsewhere, led to how they are written here: each with the user's own value.

flops=80M     -> macs=40M           sparsity=90% -> nonzeros=10%
size=1MB      -> bytes=1MB          params=0.5   -> params=50%
compression=4 -> params=25%         50%          -> params=50% or macs=50%
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from secateur.budget.resources import MEASURED
from secateur.budget.tables import parts
from secateur.errors import InputError, unknown

COUNTED = ("params", "macs", "nonzeros", "bytes")
RUNTIME = "torch"
_MOST, _LONGEST = 10**15, 40

_FORM = re.compile(
    r"\s*(?P<name>[^\W\d][\w .-]*?)?\s*(?:==|<=|>=|≤|=|:|<|\s)?\s*(?P<amount>[-+.\d].*)?", re.S
)
_WRITTEN = re.compile(
    r"(?P<number>\d[\d_,']*\.?\d*|\.\d+)(?:e\+?(?P<exponent>\d{1,2}))?(?:/(?P<over>\d{1,6}))?\s*"
    r"(?P<unit>[a-zµ%]*)",
    re.IGNORECASE | re.ASCII,
)
_THOUSANDS = re.compile(r"=\s*(\d{1,3}(?:,\d{3})+)(?![\d.%])")
_POWERS = {
    **dict.fromkeys(("k", "thousand", "tsd", "th"), 3),
    **dict.fromkeys(("m", "mio", "mil", "mn", "mm", "million", "millions"), 6),
    **dict.fromkeys(("g", "b", "bn", "bil", "billion", "billions"), 9),
}
_PERCENT = ("%", "percent", "pct", "pc", "prozent")
_BYTES = {"b": "", "kb": "kB", "mb": "MB", "gb": "GB", "kib": "KiB", "mib": "MiB", "gib": "GiB"}
_TIMES = {"s": 1, "sec": 1, "seconds": 1, "ms": 1000, "us": 10**6}


@dataclass(frozen=True)
class Amount:
    """A number with its unit in lower case, as somebody wrote it; `pointed`: with a decimal point."""

    number: Fraction
    unit: str
    pointed: bool = False

    @classmethod
    def read(cls, text: str) -> Amount | None:
        """Read more than budgets take: 1e6, 1_000, .5, 1/2, 50 percent, 4x; None where it is no number."""
        found = _WRITTEN.fullmatch(text.strip()) if len(text) <= _LONGEST else None
        if not found:
            return None
        number = Fraction(re.sub("[_,']", "", found["number"]))
        number *= 10 ** int(found["exponent"] or 0)
        if over := int(found["over"] or 1):
            return cls(number / over, found["unit"].lower(), "." in text or "/" in text)
        return None

    @property
    def share(self) -> Fraction | None:
        """The share that is meant, where one is: in percent, between 0 and 1, or so many times smaller."""
        if self.unit in _PERCENT:
            return self.number / 100
        if self.unit == "x":
            return 1 / self.number if self.number > 1 else self.number
        if not self.unit and (0 < self.number < 1 or (self.number == 1 and self.pointed)):
            return self.number
        return None

    @property
    def count(self) -> Fraction | None:
        """The count that is meant, where one is."""
        if not self.unit:
            return self.number
        return self.number * 10 ** _POWERS[self.unit] if self.unit in _POWERS else None


def refusal(text: str, resources: Iterable[str]) -> InputError:
    """What to say of a text that names no resource of budgets: what was meant, with the value given.

    Args:
        resources: that there are.
    """
    form = _FORM.fullmatch(text)
    name, written = (form["name"] or "", form["amount"] or "") if form else ("", "")
    amount = Amount.read(written.partition("@")[0])
    kept = _letters(name)
    if not name:
        return _unnamed(text, written, amount)
    if kept in _MEANT:
        return _MEANT[kept].refusal(text, kept, amount)
    if kept in resources and ("=" not in text or name != kept or "==" in text or "<" in text):
        fixed = amount and own_value(kept, written)
        told = f"write {fixed}" if fixed else f"write for example {_example(kept)}"
        return InputError(f"a budget reads RESOURCE=AMOUNT, got '{text}': {told}")
    if "=" in text:
        return unknown("budget resource", name, resources)
    return _unread(text)


def own_value(resource: str, written: str) -> str | None:
    """The budget that an amount is meant for, as budgets are written; None where nobody can tell.

    Example:
        >>> own_value("params", "1e6"), own_value("params", "0.5"), own_value("params", "500kB")
        ('params=1M', 'params=50%', 'bytes=500kB')
    """
    number, at, where = written.partition("@")
    amount = Amount.read(number)
    if amount is None or amount.number <= 0:
        return None
    if resource == MEASURED:
        return _latency(amount, f"@{where}" if at and where else f"@{RUNTIME}")
    if amount.share is not None:
        return _part(resource, amount.share)
    if amount.unit in _BYTES and (resource == "bytes" or amount.unit != "b"):
        return f"bytes={_decimal(amount.number)}{_BYTES[amount.unit]}"
    count = amount.count
    if count is None or count.denominator != 1 or not 1 <= count < _MOST:
        return None
    return f"{resource}={_short(count)}"


def split(text: str) -> list[str]:
    """The budgets of a text with commas.

    Raises:
        InputError: where the commas stand within a number.
    """
    if found := _THOUSANDS.search(text):
        fixed = _short(Fraction(found[1].replace(",", "")))
        raise InputError(
            f"commas stand between budgets, not within a number, got '{text}': write {fixed} for {found[1]}"
        )
    return parts(text, (*COUNTED, MEASURED))


@dataclass(frozen=True)
class Meant:
    """What a name is led to.

    Attributes:
        resources: the first is what is most likely meant.
        why: the invariant, before the value received.
        factor: of a count.
        rest: whether the share that is left was meant by the one that goes.
        shrinks: whether a plain number above 1 says how many times smaller.
        power: of ten, that the name has in it (gflops).
        rate: whether it is so many a second.
        other: whether the value given says nothing of a budget.
        unit: of a number that has none.
    """

    resources: tuple[str, ...]
    why: str
    factor: Fraction = Fraction(1)
    rest: bool = False
    shrinks: bool = False
    power: int = 0
    unit: str = ""
    rate: bool = False
    other: bool = False

    def refusal(self, text: str, name: str, amount: Amount | None) -> InputError:
        """The line that is said."""
        found = [each for resource in self.resources if (each := self._written(resource, amount))]
        if not found:
            return InputError(f"{self.why}, got '{text}': write for example {_example(self.resources[0])}")
        return InputError(f"{self.why}, got '{text}': write {' or '.join(dict.fromkeys(found))}")

    def _written(self, resource: str, amount: Amount | None) -> str | None:
        if amount is None or amount.number <= 0 or self.other:
            return None
        if not amount.unit and self.unit:
            amount = Amount(amount.number, self.unit)
        if self.rate:
            amount = Amount(1000 / amount.number, "ms")
        if resource == MEASURED and not self.shrinks:
            return own_value(resource, f"{_decimal(amount.number)}{amount.unit}")
        share = self._share(amount)
        if share is not None:
            at = f"@{RUNTIME}" if resource == MEASURED else ""
            return _part(resource, share, at)
        if amount.unit in _BYTES and amount.unit != "b":
            return own_value("bytes", f"{_decimal(amount.number)}{amount.unit}")
        count = amount.count
        if count is None or not 1 <= (count := count * self.factor * 10**self.power) < _MOST:
            return None
        return f"{resource}={_short(count)}"

    def _share(self, amount: Amount) -> Fraction | None:
        share = amount.share
        if share is None or self.power:
            per_cent = self.rest and not amount.unit and amount.number <= 100
            smaller = self.shrinks and not amount.unit and amount.number > 1
            share = amount.number / 100 if per_cent else 1 / amount.number if smaller else None
        if share is None:
            return None
        return 1 - share if self.rest and amount.unit != "x" else share


_FLOPS = "budgets count MACs (multiply-accumulates; 1 MAC = 2 FLOPs)"
_MACS = "computation is limited in MACs (multiply-accumulates)"
_ZEROS = "sparsity is written as the weights that are not zero"
_GONE = "a budget says what is left, not what goes"
_SMALLER = "a budget says what is left of a resource, not by how much it shrinks"
_TIME = "time is limited as a latency, at the runtime that it is measured with"


def _names(meant: Meant, names: str) -> dict[str, Meant]:
    return dict.fromkeys(names.split(), meant)


_MEANT = {
    **_names(Meant(("macs",), _FLOPS, Fraction(1, 2)), "flops flop floatingpointoperations"),
    **_names(Meant(("macs",), _FLOPS, Fraction(1, 2), power=9), "gflops gflop"),
    **_names(Meant(("macs",), _FLOPS, Fraction(1, 2), power=6), "mflops mflop"),
    **_names(Meant(("macs",), _MACS), "mac madd madds multadds multadd maccs compute computation ops"),
    **_names(Meant(("macs",), _MACS), "multiplyaccumulates multiplyadds operations"),
    **_names(Meant(("macs",), _MACS, power=9), "gmacs gmac"),
    **_names(Meant(("macs",), _MACS, power=6), "mmacs mmac"),
    **_names(Meant(("params",), "parameters are called params"), "param parameter parameters numparams"),
    **_names(Meant(("params",), "parameters are called params"), "nparams numparameters paramcount"),
    **_names(
        Meant(("nonzeros", "params"), "nonzeros are weights that are not zero, params what a network has"),
        "weights weight numweights",
    ),
    **_names(
        Meant(("bytes", "params"), "the size of the file is limited in bytes, of the network in params"),
        "size modelsize networksize",
    ),
    **_names(
        Meant(("bytes",), "the size of the file is limited in bytes"),
        "file filesize disk storage diskspace download",
    ),
    **{
        unit: Meant(("bytes",), "the size of the file is limited in bytes", unit=unit)
        for unit in _BYTES
        if unit != "b"
    },
    **_names(
        Meant(("bytes",), "memory in use is not limited, the size of the file is"),
        "memory mem ram vram gpumemory peakmemory",
    ),
    **_names(Meant(("nonzeros",), _ZEROS, rest=True), "sparsity sparse zeros zeroes zeroweights"),
    **_names(
        Meant(("params", "nonzeros"), _GONE, rest=True),
        "pruned prune pruning pruneratio pruningratio prunerate pruningrate removed remove reduction",
    ),
    **_names(Meant(("nonzeros",), "weights that are not zero are called nonzeros"), "nonzero nnz l0"),
    **_names(Meant(("nonzeros",), "weights that are not zero are called nonzeros"), "density remaining"),
    **_names(
        Meant(("params", "macs"), "a budget names what it limits"), "ratio keep kept share budget fraction"
    ),
    **_names(
        Meant(("params", "nonzeros"), _SMALLER, shrinks=True),
        "compression compressionratio compressionrate compress shrink factor",
    ),
    **_names(Meant((MEASURED,), _TIME), "time runtime inference inferencetime delay speed latencyms"),
    **_names(Meant((MEASURED,), _TIME, unit="ms"), "ms milliseconds millisecond"),
    **_names(Meant((MEASURED,), _TIME, unit="us"), "us microseconds"),
    **_names(Meant((MEASURED,), _TIME, unit="s"), "s seconds sec"),
    **_names(Meant((MEASURED,), _TIME, shrinks=True), "speedup faster acceleration"),
    **_names(Meant((MEASURED,), _TIME, rate=True), "fps throughput"),
    **_names(
        Meant(("params", "macs"), "channels are not limited as such, what they make is"),
        "channels channel filters filter width neurons",
    ),
    **_names(
        Meant(
            ("params",), "a budget limits the network's size; accuracy is what is measured then", other=True
        ),
        "accuracy acc loss",
    ),
}
"""A name as it is written elsewhere, in small letters alone -> what it is led to."""


def _unnamed(text: str, written: str, amount: Amount | None) -> InputError:
    """An amount alone."""
    if amount is None or amount.number <= 0:
        return _unread(text)
    if amount.unit in _TIMES:
        found: Sequence[str | None] = [_latency(amount, f"@{RUNTIME}")]
    elif amount.unit in _BYTES and amount.unit != "b":
        found = [own_value("bytes", written)]
    elif amount.unit or amount.number > 100:
        found = [own_value(resource, written) for resource in ("params", "macs")]
    else:
        share = amount.share or amount.number / 100
        found = [_part(resource, share) for resource in ("params", "macs")]
    told = " or ".join(each for each in found if each)
    if not told:
        return _unread(text)
    return InputError(f"a budget names what it limits, RESOURCE=AMOUNT, got '{text}': write {told}")


def _unread(text: str) -> InputError:
    return InputError(
        f"a budget reads RESOURCE=AMOUNT, got '{text}': write for example params=500k or params=25%"
    )


def _latency(amount: Amount, at: str) -> str | None:
    if amount.unit in _TIMES:
        unit = "s" if _TIMES[amount.unit] == 1 else amount.unit
        return f"{MEASURED}={_decimal(amount.number)}{unit}{at}" if float(_decimal(amount.number)) else None
    if amount.share is not None:
        return _part(MEASURED, amount.share, at)
    return None if amount.unit or amount.number < 1 else f"{MEASURED}={_decimal(amount.number)}ms{at}"


def _example(resource: str) -> str:
    return f"{MEASURED}=2ms@{RUNTIME}" if resource == MEASURED else f"{resource}=50%"


def _letters(name: str) -> str:
    return re.sub(r"[\W_]", "", name).lower()


def _part(resource: str, share: Fraction, at: str = "") -> str | None:
    """A share of a resource; None where it is no share, or too small to be written."""
    percent = _decimal(share * 100)
    return f"{resource}={percent}%{at}" if share <= 1 and float(percent) > 0 else None


def _short(count: Fraction) -> str:
    """A count with the suffix that makes it shortest, whole or exact."""
    for power, suffix in ((9, "G"), (6, "M"), (3, "k")):
        if count >= 10**power and (count * 1000 / 10**power).denominator == 1:
            return f"{_decimal(count / 10**power)}{suffix}"
    return str(int(count))


def _decimal(number: Fraction) -> str:
    """A number without an exponent, to six decimals, none of them a zero at the end."""
    return f"{float(number):.6f}".rstrip("0").rstrip(".") if number.denominator != 1 else str(number)
