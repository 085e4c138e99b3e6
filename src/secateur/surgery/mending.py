"""Groups that fail their proof, mended: what has to change with a cut so that it is right.

Tried are numbers that modules hold and that follow the cut (`secateur.surgery.numbers`); cuts together with
other groups, as of the halves of a chunk (`secateur.surgery.unions`); and channels in balanced sets, as a
shuffle wants them; each with numbers too. The proof decides. What mended one group is tried first for the
next of its kind.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from torch import nn

from secateur.network.run_errors import RUN_ERRORS
from secateur.surgery.agreement import distance
from secateur.surgery.graph import ChannelGraph
from secateur.surgery.held_numbers import Number
from secateur.surgery.numbers import Meaning, Place, Proposal, free_of, places_read, proposals
from secateur.surgery.tables import with_tables
from secateur.surgery.trial import Trial
from secateur.surgery.unions import pairs, unions

MOST_NUMBERS = 40  # sets of numbers that are tried with a group as it is
MOST_BESIDE = 8  # the same, with a group that is cut in another way
MOST_RUNS = 100  # of a cut network, for one group
MOST_IN_VAIN = 2  # groups of a kind that nothing mended: further ones are only given what helped others
ROUGHLY = 1e-3  # of the largest output: where an attempt differs more, it is not worth a proof
MOST_SETS = 16  # channels that are tied in a set
Way = Callable[["_Patient"], Iterator[tuple[str, ChannelGraph]]]


@dataclass
class _Memory:
    """What is known of one model.

    Attributes:
        places: the integers that its modules read.
        numbers: kind of a group -> the meanings of the numbers that mended one, the last first.
        ways: kind of a group -> (way, variant) by which one was mended, the last first.
        in_vain: kind of a group -> how many of it nothing mended.
        unions: groups, by name, that were merged without success, with how.
    """

    places: dict[Place, int]
    numbers: dict[tuple[str, ...], list[frozenset[Meaning]]] = field(default_factory=dict)
    ways: dict[tuple[str, ...], list[tuple[str, str]]] = field(default_factory=dict)
    in_vain: dict[tuple[str, ...], int] = field(default_factory=dict)
    unions: set[tuple[frozenset[str], str]] = field(default_factory=set)


_MEMORIES: WeakKeyDictionary[Trial, _Memory] = WeakKeyDictionary()


def mended(
    trial: Trial, graph: ChannelGraph, name: str, proven: Sequence[str], reason: str
) -> ChannelGraph | None:
    """Find the graph in which cuts of a group are right that fail in this one; None where there is none.

    Groups that have to be cut with this one are merged into it, and are gone from the graph found. Others
    that are not proven yet may have numbers that follow them there, as the group has.

    Args:
        proven: groups that passed before; the mended one must pass together with them.
        reason: why cuts of the group are wrong, by `Trial.failure`.
    """
    if trial not in _MEMORIES:
        _MEMORIES[trial] = _Memory(places_read(trial.bench))
    return _Patient(trial, graph, name, proven, _MEMORIES[trial]).mended()


class _Patient:
    """A group that fails its proof, with what is known of those of its kind."""

    def __init__(self, trial: Trial, graph: ChannelGraph, name: str, proven: Sequence[str], memory: _Memory):
        self.trial, self.name, self.proven, self.memory = trial, name, proven, memory
        self.graph = free_of(graph, name)
        self.kind = kind_of(trial, graph, name)
        self.runs = 0

    def mended(self) -> ChannelGraph | None:
        known = self.memory.ways.setdefault(self.kind, [])
        first = list(dict.fromkeys(way for way, _ in known))
        hopeless = self.memory.in_vain.get(self.kind, 0) >= MOST_IN_VAIN
        for way in first if hopeless else [*first, *(way for way in WAYS if way not in first)]:
            for label, variant in WAYS[way](self):
                if self.runs >= MOST_RUNS:
                    break
                most = MOST_BESIDE if label else MOST_NUMBERS
                found = self._passing(variant, most)
                tables = with_tables(variant, self.name, self.trial.model) if found is None else None
                if tables is not None:
                    found = self._passing(tables, most)
                if found is not None:
                    known.insert(0, (way, label))
                    return self._alike(found, way, label, tables is not None)
        self.memory.in_vain[self.kind] = self.memory.in_vain.get(self.kind, 0) + 1
        return None

    def fails(self, graph: ChannelGraph, name: str) -> bool:
        """Tell whether cuts of a group are wrong by themselves."""
        self.runs += 1
        return self.runs < MOST_RUNS and self.trial.failure(graph, [name], quick=True) is not None

    def _passing(self, variant: ChannelGraph, most: int) -> ChannelGraph | None:
        """Find the smallest set of numbers with which cuts of the variant are right; None if none is."""
        cut = _Cut(self.trial, variant, self.name)
        proposed = proposals(variant, self.name, self.trial.model, self.memory.places)
        for chosen in itertools.islice(self._choices(proposed), most):
            numbers = [number for proposal in chosen for number in proposal.numbers]
            self.runs += 1
            if not cut.agrees(numbers):
                continue
            found = variant.with_numbers(numbers)
            if self._proved(found):
                meanings = frozenset(proposal.meaning for proposal in chosen)
                self.memory.numbers.setdefault(self.kind, []).insert(0, meanings)
                return found
        return None

    def _choices(self, proposed: Sequence[Proposal]) -> Iterator[tuple[Proposal, ...]]:
        """List sets of proposals: what helped before, none, then small and likely ones first."""
        by_meaning = {proposal.meaning: proposal for proposal in proposed}
        known = [
            tuple(by_meaning[meaning] for meaning in sorted(meanings, key=str))
            for meanings in self.memory.numbers.get(self.kind, [])
            if meanings and meanings <= set(by_meaning)
        ]
        seen = set[frozenset[Meaning]]()
        for chosen in itertools.chain(known, [()], _sets_of(proposed)):
            meanings = frozenset(proposal.meaning for proposal in chosen)
            if meanings not in seen:
                seen.add(meanings)
                yield chosen

    def _proved(self, graph: ChannelGraph) -> bool:
        if self.trial.failure(graph, [self.name]):
            return False
        with_others = [name for name in self.proven if name in graph.groups and name != self.name]
        return not with_others or self.trial.failure(graph, [*with_others, self.name]) is None

    def _alike(self, graph: ChannelGraph, way: str, label: str, tables: bool) -> ChannelGraph:
        """Mend at once what fails as this group did: others of its kind whose turn comes later."""
        (meanings, *_) = self.memory.numbers[self.kind]
        if not meanings and not tables and way not in LOCAL:
            return graph
        before, mended = graph, [self.name]
        for other in list(graph.groups):
            if other == self.name or other in self.proven or other not in graph.groups:
                continue
            if kind_of(self.trial, graph, other) != self.kind or _has_number(graph, other):
                continue
            found = self._mended_alike(graph, other, way, label, tables, meanings)
            if found is not None:
                graph = found
                mended.append(other)
        if len(mended) == 1 or self.trial.failure(graph, mended, quick=True):
            return before
        return graph

    def _mended_alike(
        self,
        graph: ChannelGraph,
        other: str,
        way: str,
        label: str,
        tables: bool,
        meanings: frozenset[Meaning],
    ) -> ChannelGraph | None:
        """Cut another group that fails in the same way, with numbers of the same meanings."""
        if not self.trial.failure(graph, [other], quick=True):
            return None
        if way in LOCAL:
            patient = _Patient(self.trial, graph, other, self.proven, self.memory)
            variants = (variant for named, variant in LOCAL[way](patient) if named == label)
            if (found := next(variants, None)) is None:
                return None
            graph = found
        if tables:
            graph = with_tables(graph, other, self.trial.model) or graph
        proposed = proposals(graph, other, self.trial.model, self.memory.places)
        chosen = [proposal for proposal in proposed if proposal.meaning in meanings]
        if len(chosen) < len(meanings):
            return None
        return graph.with_numbers([number for each in chosen for number in each.numbers])


class _Cut:
    """One cut of a group, run with any numbers: whether the model then agrees with the masked reference."""

    def __init__(self, trial: Trial, graph: ChannelGraph, name: str):
        self.bench = trial.draft or trial.bench
        self.batch = self.bench.batches[1]
        self.left = graph.uncut()
        self.compact: nn.Module | None = None
        try:
            self.compact = self.bench.compact(self.left, trial.sets(graph, [name])[0])
            self.expected = self.bench.reference(self.left, self.batch)
        except RUN_ERRORS:  # what the layers are does not allow this cut
            self.compact = None

    def agrees(self, numbers: Sequence[Number]) -> bool:
        """Tell whether the cut model with these numbers, beside those of the graph, agrees."""
        if self.compact is None:
            return False
        self.left.with_numbers(numbers).set_numbers(self.compact)
        try:
            found = self.bench.outputs(self.compact, self.batch)
        except RUN_ERRORS:
            return False
        finally:
            self._put_back(self.compact, numbers)
        return distance(found, self.expected) <= ROUGHLY

    def _put_back(self, compact: nn.Module, numbers: Sequence[Number]) -> None:
        for number in numbers:
            held = getattr(self.bench.model.get_submodule(number.module), number.attribute)
            setattr(compact.get_submodule(number.module), number.attribute, held)
        self.left.set_numbers(compact)


def kind_of(trial: Trial, graph: ChannelGraph, name: str) -> tuple[str, ...]:
    """Describe a group by the classes of the layers that it spans, and of what holds them."""
    found = set[str]()
    for site in graph.groups[name].sites:
        module, _, _ = site.axis[0].rpartition(".")
        held_by = type(trial.model.get_submodule(module)).__qualname__
        found.add(f"{held_by} {type(trial.model.get_submodule(site.axis[0])).__qualname__} {site.axis[1]}")
    return tuple(sorted(found))


def _sets_of(proposed: Sequence[Proposal]) -> Iterator[tuple[Proposal, ...]]:
    """List sets of proposals that do not contradict each other, small and likely ones first."""
    for likely in range(4):
        among = [proposal for proposal in proposed if proposal.likely <= likely]
        sizes = [1, len(among), *range(2, min(len(among), 4))] if likely == 0 else range(1, 4)
        for size in sizes:
            for chosen in itertools.combinations(among, size):
                places = [
                    (number.module, number.attribute, number.index)
                    for proposal in chosen
                    for number in proposal.numbers
                ]
                news = likely == 0 or any(proposal.likely == likely for proposal in chosen)
                if chosen and news and len(set(places)) == len(places):
                    yield chosen


def _alone(patient: _Patient) -> Iterator[tuple[str, ChannelGraph]]:
    """The group as it is, with numbers."""
    yield "", patient.graph


def _in_pairs(patient: _Patient) -> Iterator[tuple[str, ChannelGraph]]:
    """The group with others that one layer writes too, channel by channel."""
    yield from pairs(patient.graph, patient.name)


def _in_sets(patient: _Patient) -> Iterator[tuple[str, ChannelGraph]]:
    """The group's channels tied in sets: a shuffle wants equal shares."""
    group = patient.graph.groups[patient.name]
    known = [label for way, label in patient.memory.ways.get(patient.kind, ()) if way == "sets"]
    sizes = (size for size in range(2, MOST_SETS + 1) if group.width % size == 0 and group.width > size)
    labels = [f"{size} {how}" for size in sizes for how in ("parts", "runs")]
    for label in [*(label for label in known if label in labels), *labels]:
        yield label, patient.graph.with_group(group.tied(label))


def _in_unions(patient: _Patient) -> Iterator[tuple[str, ChannelGraph]]:
    """The group with all others that it hangs together with and that fail too."""
    for label, variant in unions(patient.graph, patient.name, patient.proven, patient.fails):
        merged = (frozenset({*patient.graph.groups} - {*variant.groups} | {patient.name}), label)
        if merged not in patient.memory.unions:
            patient.memory.unions.add(merged)
            yield label, variant


def _has_number(graph: ChannelGraph, name: str) -> bool:
    return any(name == follows for number in graph.numbers for follows, _ in number.each)


LOCAL: dict[str, Way] = {"pairs": _in_pairs, "sets": _in_sets}
"""Ways that concern one layer: groups of a kind are cut by the same one."""
WAYS: dict[str, Way] = {"alone": _alone, "pairs": _in_pairs, "sets": _in_sets, "unions": _in_unions}
