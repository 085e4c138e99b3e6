"""What Dupont et al. 2021 say of their method, each as a check with a verdict.

A check is made on the paper's own tables, which contradict its text in places, and on our runs: of the method
as written, and of the exact mode. A difference is taken seed by seed.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from secateur.compare.summary import interval
from secateur.papers.cells import DupontRun
from secateur.papers.published import published

FAITHFUL, EXACT = "reparametrization-faithful", "reparametrization"
HELD, NOT_HELD, NOT_MEASURED = "held", "not held", "not measured"
RATES = ("90%", "95%", "97%", "99%")


@dataclass(frozen=True)
class Place:
    """A network on a data set, at a share of the weights that goes."""

    network: str
    dataset: str
    rate: str

    @property
    def target(self) -> float:
        """The share that is to be left."""
        return (100 - int(self.rate[:-1])) / 100

    def __str__(self) -> str:
        return f"{self.network} on {self.dataset}, {self.rate}"


BySeed = Mapping[int, float]
Numbers = Callable[[Place, str, str], BySeed]
"""(place, what, method) -> the number of every seed; what: accuracy "before" the cut, right "after" it and in
the "end", in percent points (in the paper the cut is the end), "remaining" as a fraction. Nothing where there
is none."""

_OURS = {"end": "accuracy", "after": "accuracy_at_cut", "before": "accuracy_before"}
_THEIRS = {"end": "Table 1", "after": "Table 1", "remaining": "Table 2", "before": "Table 3"}


def theirs(place: Place, what: str, method: str) -> BySeed:
    """The paper's own numbers, as of one seed."""
    found = published(_THEIRS[what], place.dataset, place.network, method, place.rate)
    return {} if found is None else {0: found}


def ours(cells: Sequence[DupontRun]) -> Numbers:
    """The numbers of our runs."""
    runs: dict[tuple[str, str, str | None, str], dict[int, DupontRun]] = {}
    for cell in cells:
        key = (cell.network, cell.dataset, cell.rate, cell.method)
        runs.setdefault(key, {})[cell.seed] = cell

    def numbers(place: Place, what: str, method: str) -> BySeed:
        found = runs.get((place.network, place.dataset, place.rate, method), {})
        factor = 100 if what in _OURS else 1
        values = {seed: getattr(run, _OURS.get(what, what)) for seed, run in found.items()}
        return {seed: factor * value for seed, value in values.items() if value is not None}

    return numbers


def less(one: BySeed, other: BySeed) -> BySeed:
    """The difference, of the seeds that both have."""
    return {seed: round(one[seed] - other[seed], 9) for seed in one if seed in other}


def cost_of_cut(numbers: Numbers, place: Place, method: str) -> BySeed:
    """Points of accuracy that the cut takes, at once."""
    return less(numbers(place, "before", method), numbers(place, "after", method))


def misses_target(numbers: Numbers, place: Place, method: str) -> bool | None:
    """Whether C / C_initial is above the target, at the two decimals of Table 2; None: there is no number."""
    found = numbers(place, "remaining", method)
    return None if not found else round(math.fsum(found.values()) / len(found), 2) > place.target


@dataclass(frozen=True)
class Claim:
    """One sentence of the paper, and how it is checked.

    Attributes:
        name: in a few words.
        said: the paper's words.
        reading: what is compared, where the words leave that open.
        places: where.
        value: the number of every seed, of a method.
        relation: "at least", "above", "below" or "at most".
        bound: at a place.
        only_where: False where the claim says nothing of a place; None: it says something of all.
        unit: of the number: "points", or "" for a fraction.
    """

    name: str
    said: str
    reading: str
    places: tuple[Place, ...]
    value: Callable[[Numbers, Place, str], BySeed]
    relation: str
    bound: Callable[[Place], float]
    only_where: Callable[[Numbers, Place, str], bool] | None = None
    unit: str = "points"

    def at(self, place: Place, numbers: Numbers, method: str) -> Outcome:
        """Check one place."""
        if self.only_where is not None and not self.only_where(numbers, place, method):
            measured = misses_target(numbers, place, method) is not None
            return Outcome(NOT_MEASURED, note="does not apply" if measured else "")
        values = list(self.value(numbers, place, method).values())
        if not values:
            return Outcome(NOT_MEASURED)
        found, bound = interval(values, share=False), self.bound(place)
        held = _RELATIONS[self.relation](round(found.mean, 2 if self.unit == "" else 9), bound)
        clear = found.half is None or abs(found.mean - bound) > found.half
        return Outcome(
            HELD if held else NOT_HELD, found.mean, found.std, found.n, "" if clear else "not clearly"
        )


_RELATIONS = {"at least": operator.ge, "above": operator.gt, "below": operator.lt, "at most": operator.le}


@dataclass(frozen=True)
class Outcome:
    """What came of a check at one place.

    Attributes:
        value, std, n: over seeds; None and 0 where nothing was measured; std None of one.
        note: "does not apply"; or "not clearly": the 95% interval reaches over the bound.
    """

    verdict: str
    value: float | None = None
    std: float | None = None
    n: int = 0
    note: str = ""


@dataclass(frozen=True)
class Checked:
    """A claim at all of its places: (the paper's own tables, ours as written, ours exact) at each."""

    claim: Claim
    outcomes: tuple[tuple[Outcome, Outcome, Outcome], ...]

    def overall(self, column: int) -> str:
        """The verdict on a column: held where it is at every place that was measured."""
        counts = self.counts(column)
        if not counts[1]:
            return NOT_MEASURED
        return HELD if counts[0] == counts[1] else NOT_HELD

    def counts(self, column: int) -> tuple[int, int]:
        """At how many places it held, and at how many it was measured."""
        verdicts = [outcomes[column].verdict for outcomes in self.outcomes]
        measured = [verdict for verdict in verdicts if verdict != NOT_MEASURED]
        return measured.count(HELD), len(measured)


def check(cells: Sequence[DupontRun]) -> list[Checked]:
    """Every claim on the paper's own numbers and on these runs."""
    mine = ours(cells)
    return [
        Checked(
            claim,
            tuple(
                (
                    claim.at(place, theirs, FAITHFUL),
                    claim.at(place, mine, FAITHFUL),
                    claim.at(place, mine, EXACT),
                )
                for place in claim.places
            ),
        )
        for claim in CLAIMS
    ]


def _places(
    networks: Sequence[str], rates: Sequence[str] = RATES, dataset: str = "cifar10"
) -> tuple[Place, ...]:
    return tuple(Place(network, dataset, rate) for network in networks for rate in rates)


def _over(other: str) -> Callable[[Numbers, Place, str], BySeed]:
    """Points ahead of another method, after the cut."""
    return lambda numbers, place, method: less(numbers(place, "end", method), numbers(place, "end", other))


def _over_l1(numbers: Numbers, place: Place, method: str) -> BySeed:
    """Points that the cut takes more of L1's network."""
    return less(cost_of_cut(numbers, place, "l1"), cost_of_cut(numbers, place, method))


def _steadier(numbers: Numbers, place: Place, method: str) -> BySeed:
    """Points that tuning loses more than the method, from 90% on."""
    first = Place(place.network, place.dataset, "90%")

    def lost(name: str) -> BySeed:
        return less(numbers(first, "end", name), numbers(place, "end", name))

    return less(lost("magnitude-tuned"), lost(method))


def _always(bound: float) -> Callable[[Place], float]:
    return lambda place: bound


_ALL = (*_places(("conv4", "vgg19", "resnet18")), *_places(("conv4",), dataset="tiny-imagenet"))
_TINY = _places(("conv4",), dataset="tiny-imagenet")

CLAIMS = (
    Claim(
        "At least 30 points over magnitude without tuning, up to 97%",
        "providing a significant improvement w.r.t. the non fine-tuned version of MP (at least more than 30% "
        "for pruning rates up to 97%)",
        "Conv4 on CIFAR-10, accuracy after the cut less that of magnitude",
        _places(("conv4",), RATES[:3]),
        *(_over("magnitude"), "at least", _always(30)),
    ),
    Claim(
        "Within 4 points of magnitude with tuning, up to 97%",
        "The performances are within a few percent of fine-tuned MP (less than 4% up to a pruning rate of "
        "97%)",
        "Conv4 on CIFAR-10, accuracy after the cut less that of magnitude-tuned",
        _places(("conv4",), RATES[:3]),
        *(_over("magnitude-tuned"), "above", _always(-4)),
    ),
    Claim(
        "Ahead of magnitude without tuning on larger networks too",
        "For larger networks (namely VGG19 and ResNet18), the significant improvement over the non "
        "fine-tuned version of MP is still observed, although less pronounced",
        "ahead at all, up to 97% as in the sentence before",
        _places(("vgg19", "resnet18"), RATES[:3]),
        *(_over("magnitude"), "above", _always(0)),
    ),
    Claim(
        "Behind magnitude with tuning at high rates on larger networks",
        "For high pruning rates, our method lags behind the fine-tuned version",
        "at 97 and 99%",
        _places(("vgg19", "resnet18"), RATES[2:]),
        *(_over("magnitude-tuned"), "below", _always(0)),
    ),
    Claim(
        "The budget is reached",
        "Sparsity is induced with a budget loss that provides an accurate pruning",
        "C / C_initial at the end of training, at two decimals, at most the target; section 3.2 itself says "
        "that it is not always reached",
        _ALL,
        lambda numbers, place, method: numbers(place, "remaining", method),
        "at most",
        lambda place: place.target,
        unit="",
    ),
    Claim(
        "The cut costs less than 0.5 points where the target is met",
        "when the targeted rate is reached, the test accuracy is either within a small margin (less than "
        "0.5%), or larger than the performances of the network trained with our method, before effective "
        "pruning",
        "accuracy before the cut less accuracy after it",
        _ALL,
        *(cost_of_cut, "below", _always(0.5)),
        only_where=lambda numbers, place, method: misses_target(numbers, place, method) is False,
    ),
    Claim(
        "The cut costs much where the target is missed",
        "When the targeted rate is not precisely reached, this has a strong negative impact on the "
        "effectively pruned networks",
        "more than those 0.5 points",
        _ALL,
        *(cost_of_cut, "above", _always(0.5)),
        only_where=lambda numbers, place, method: misses_target(numbers, place, method) is True,
    ),
    Claim(
        "Ahead of magnitude without tuning on TinyImageNet",
        "on TinyImageNet, our method [...] outperforms MP [...] by a significant margin, especially at the "
        "highest pruning rates",
        "ahead at all, at every rate",
        *(_TINY, _over("magnitude"), "above", _always(0)),
    ),
    Claim(
        "Ahead of magnitude with tuning on TinyImageNet",
        "on TinyImageNet, our method [...] outperforms MP as well as fine-tuned MP by a significant margin, "
        "especially at the highest pruning rates",
        "ahead at all, at every rate",
        *(_TINY, _over("magnitude-tuned"), "above", _always(0)),
    ),
    Claim(
        "Steadier than magnitude with tuning on TinyImageNet",
        "on TinyImageNet, our method remains stable w.r.t. different pruning rates",
        "from 90 to 99% it loses less accuracy than magnitude-tuned",
        *(_TINY[3:], _steadier, "above", _always(0)),
    ),
    Claim(
        "A more convenient way to a budget than L1",
        "it allows reaching a targeted pruning budget in a more convenient way than l1 regularization",
        "no number in the paper: with the same settings at every rate, the cut costs less than after L1",
        *(_ALL, _over_l1, "above", _always(0)),
    ),
)
