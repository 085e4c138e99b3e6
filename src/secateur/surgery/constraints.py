"""What must stay: channel groups that are not cut, not below a width, or by exactly a share.

    keep       "stem.*"            nothing is cut from what matches: a layer keeps its whole shape
    at_least   "stage1=16"         so many channels are left at least
    ratio      "layer4.*=50%"      exactly this share of the channels goes, rounded down; what else the budget
                                   asks for goes from other groups

A pattern is a glob (`fnmatch`, cases differ; * crosses dots) on dotted names: of channel groups, of layers,
and of what holds them, so that `layer4` means all of it. Where several match one group, `keep` holds before
`at_least`, that before `ratio`; of several floors the highest, of several ratios the last that was given. A
share is of what goes, as everywhere in the field (Torch-Pruning's `pruning_ratio`); budgets are what is left.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from fractions import Fraction
from typing import Any

from torch import nn

from secateur.errors import InputError
from secateur.models import Family
from secateur.network.weights import weight_layers
from secateur.surgery.graph import ChannelGraph
from secateur.surgery.group import ChannelGroup

_SHARE = re.compile(r"(\d{1,3}(?:\.\d{1,6})?)\s*%|(0?\.\d{1,8})")
_SHOWN = 6

Patterns = str | Iterable[str]
Floors = Mapping[str, int] | Patterns
Ratios = Mapping[str, "float | str"] | Patterns


@dataclass(frozen=True)
class Constraints:
    """What must stay, as a user says it; `on` finds what that means for one network.

    Attributes:
        keep: patterns of what is not cut at all.
        at_least: (pattern, channels left at least).
        ratio: (pattern, share of the channels that goes), each share in (0, 1).

    Example:
        >>> str(Constraints.parse(keep="stem.*", at_least={"stage1": 16}, ratio=["layer4.*=50%"]))
        'keep stem.*, at least stage1=16, ratio layer4.*=50%'
    """

    keep: tuple[str, ...] = ()
    at_least: tuple[tuple[str, int], ...] = ()
    ratio: tuple[tuple[str, Fraction], ...] = ()

    @classmethod
    def parse(cls, keep: Patterns = (), at_least: Floors = (), ratio: Ratios = ()) -> Constraints:
        """Read them as arguments or options give them.

        Args:
            keep: a pattern or several.
            at_least: {"stage1": 16}, or texts "stage1=16".
            ratio: {"layer4.*": 0.5} or {"layer4.*": "50%"}, or texts "layer4.*=50%".

        Raises:
            InputError: naming what is wrong, and what would be right.
        """
        kept = tuple(_pattern(text, "keep", "stem.*") for text in _each(keep))
        floors = tuple(
            (name, _floor(value, name)) for name, value in _pairs(at_least, "at-least", "stage1=16")
        )
        shares = tuple((name, _share(value, name)) for name, value in _pairs(ratio, "ratio", "layer4.*=50%"))
        return cls(kept, floors, shares)

    def __bool__(self) -> bool:
        return bool(self.keep or self.at_least or self.ratio)

    def __str__(self) -> str:
        return ", ".join(
            [
                *(f"keep {pattern}" for pattern in self.keep),
                *(f"at least {pattern}={floor}" for pattern, floor in self.at_least),
                *(f"ratio {pattern}={_percent(share)}" for pattern, share in self.ratio),
            ]
        )

    def identity(self) -> dict[str, Any]:
        """What goes into a run's hash: nothing where nothing is asked for."""
        return {"constraints": self.to_json()} if self else {}

    def to_json(self) -> dict[str, Any]:
        """Write them down; `from_json` reads them."""
        return {
            "keep": list(self.keep),
            "at_least": [list(pair) for pair in self.at_least],
            "ratio": [[pattern, str(share)] for pattern, share in self.ratio],
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Constraints:
        """Take up what `to_json` wrote."""
        floors = tuple((str(pattern), int(floor)) for pattern, floor in content["at_least"])
        shares = tuple((str(pattern), Fraction(share)) for pattern, share in content["ratio"])
        return cls(tuple(content["keep"]), floors, shares)

    def only_keeps(self, who: str) -> Constraints:
        """The constraints themselves; InputError where others than `keep` are among them."""
        if self.at_least or self.ratio:
            raise InputError(
                f"{who} sets weights to zero and cuts no channels, so of what must stay it takes keep alone, "
                f"got '{self}': leave out --at-least and --ratio"
            )
        return self

    def without_ratio(self, who: str) -> Constraints:
        """The constraints themselves; InputError where a ratio is among them."""
        if self.ratio:
            raise InputError(
                f"{who} shares the channels out over the whole network by itself, so it takes no ratio, got "
                f"'{self}': leave out --ratio, or choose a criterion that removes them one by one (fisher)"
            )
        return self

    def on(self, graph: ChannelGraph, model: nn.Module) -> Bounds:
        """Find what they mean for a network as it is now.

        Args:
            graph: of the network; of a built-in family with the streams or without, as a method cuts them.

        Raises:
            InputError: where a pattern names nothing there, or a ratio nothing that can be cut.
        """
        names = _Names(graph, model)
        exact = self._exact(names)
        floors = {name: width for name, (width, _) in exact.items()}
        raised = dict[str, int]()
        for pattern, floor in self.at_least:
            for group in names.writing(pattern):
                raised[group] = max(raised.get(group, 0), min(floor, graph.width(group)))
        for pattern in self.keep:
            raised |= {group: graph.width(group) for group in names.spanning(pattern)}
        floors |= {name: max(width, floors.get(name, 0)) for name, width in raised.items()}
        bounds = Bounds(floors, frozenset(exact), graph.widths, str(self))
        return bounds.said(self._words(names, bounds))

    def kept_layers(self, model: nn.Module) -> frozenset[str]:
        """The layers with weights that `keep` names, for methods that set weights to zero.

        Raises:
            InputError: where a pattern names nothing in the network.
        """
        known = [name for name, _ in model.named_modules() if name]
        layers = weight_layers(model)
        found: set[str] = set()
        for pattern in self.keep:
            if not any(matches(pattern, name) for name in known):
                raise _nothing("layer", pattern, known)
            found |= {name for name in layers if matches(pattern, name)}
        return frozenset(found)

    def words_of_weights(self, model: nn.Module) -> Iterator[str]:
        """One line for each pattern of `keep`: what it means where weights are set to zero."""
        for pattern in self.keep:
            layers = sorted(replace(self, keep=(pattern,)).kept_layers(model))
            yield f"keep {pattern}: " + (
                f"no weight of {_listed(layers)} is set to zero"
                if layers
                else "there are no weights to set to zero"
            )

    def _exact(self, names: _Names) -> dict[str, tuple[int, Fraction]]:
        """Group -> the width that its ratio leaves, and the ratio."""
        found: dict[str, tuple[int, Fraction]] = {}
        for pattern, share in self.ratio:
            groups = [name for name in names.writing(pattern) if names.graph.groups[name].stage is None]
            if not groups:
                raise InputError(
                    f"nothing that '{pattern}' names can be cut, so no ratio of it can go: `secateur "
                    "inspect` lists the channel groups, and says why the rest is frozen"
                )
            for name in groups:
                width = names.graph.width(name)
                found[name] = (max(1, width - int(width * share)), share)
        return found

    def _words(self, names: _Names, bounds: Bounds) -> Iterator[str]:
        """One line for each pattern: what it was taken to mean."""
        width = names.graph.width
        for pattern in self.keep:
            groups = names.spanning(pattern)
            whole = _listed(f"{name} ({width(name)})" for name in groups)
            yield f"keep {pattern}: " + (f"nothing is cut from {whole}" if groups else _ANYHOW)
        for pattern, floor in self.at_least:
            groups = names.writing(pattern)
            left = _listed(f"{name} ({min(floor, width(name))} of {width(name)})" for name in groups)
            yield f"at least {pattern}={floor}: " + (f"so many are left of {left}" if groups else _ANYHOW)
        for pattern, share in self.ratio:
            groups = [name for name in names.writing(pattern) if name in bounds.exact]
            cuts = _listed(f"{name} {width(name)} -> {bounds.least(name)}" for name in groups)
            yield f"ratio {pattern}={_percent(share)}: {_percent(share)} of the channels go: {cuts}"


NO_CONSTRAINTS = Constraints()
"""Nothing has to stay."""

_ANYHOW = "no channels are cut there anyhow"


@dataclass(frozen=True)
class Bounds:
    """How narrow the channel groups of one network may get.

    Attributes:
        floors: group -> the fewest channels that are left; groups not named go down to one.
        exact: groups that end at their floor, whatever the budget asks for.
        widths: group -> its width in the network that the bounds are of; all groups are in it.
        text: the constraints, as they were given.
        words: what each was taken to mean, a line for each.
    """

    floors: Mapping[str, int] = field(default_factory=dict)
    exact: frozenset[str] = frozenset()
    widths: Mapping[str, int] = field(default_factory=dict)
    text: str = ""
    words: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.text)

    def said(self, words: Iterable[str]) -> Bounds:
        """The same bounds with other words."""
        return replace(self, words=tuple(words))

    def least(self, name: str) -> int:
        """The fewest channels that are left of a group."""
        return self.floors.get(name, 1)

    def within(self, names: Sequence[str], widths: Sequence[int]) -> tuple[int, ...]:
        """Widths of groups, moved to where they may lie; what keeps all its channels gets no more."""
        return tuple(
            self.floors[name] if self._fixed(name) else max(width, self.least(name))
            for name, width in zip(names, widths, strict=True)
        )

    def _fixed(self, name: str) -> bool:
        return name in self.exact or (name in self.floors and self.floors[name] == self.widths[name])


class _Names:
    """What a pattern can name in a network."""

    def __init__(self, graph: ChannelGraph, model: nn.Module):
        self.graph = graph
        streams = [stream.name for stream in model.streams] if isinstance(model, Family) else []
        self._modules = [*streams, *(name for name, _ in model.named_modules() if name)]

    def spanning(self, pattern: str) -> list[str]:
        """The groups that are part of what a pattern names: written or read there."""
        return self._groups(pattern, lambda group: group.modules)

    def writing(self, pattern: str) -> list[str]:
        """The groups whose channels are made by what a pattern names."""
        return self._groups(pattern, lambda group: [site.axis[0] for site in group.writes])

    def _groups(self, pattern: str, layers: Callable[[ChannelGroup], Iterable[str]]) -> list[str]:
        found = [
            group.name
            for group in self.graph
            if any(matches(pattern, name) for name in (group.name, *layers(group)))
        ]
        if not found and not any(matches(pattern, name) for name in self._modules):
            raise _nothing("channel group or layer", pattern, [*self.graph.groups, *self._modules])
        return found


def matches(pattern: str, name: str) -> bool:
    """Whether a pattern names this, or something that holds it.

    Example:
        >>> [matches(pattern, "layer4.0.conv1") for pattern in ("layer4", "layer4.*", "layer", "*.conv1")]
        [True, True, False, True]
    """
    parts = name.split(".")
    holders = [".".join(parts[:end]) for end in range(1, len(parts) + 1)]
    both = {pattern, pattern.removesuffix(".*")}  # `stem.*` means a stem that is one layer, too
    return any(fnmatchcase(holder, each) for holder in holders for each in both)


def _nothing(what: str, pattern: str, known: Sequence[str]) -> InputError:
    unique = list(dict.fromkeys(known))
    near = difflib.get_close_matches(pattern.rstrip(".*"), unique, n=4, cutoff=0.4) or unique[:4]
    return InputError(
        f"no {what} is named '{pattern}': the nearest are {', '.join(near)} (`secateur inspect` lists them)"
    )


def _each(given: Patterns) -> Iterable[str]:
    return [given] if isinstance(given, str) else given


def _pattern(text: Any, option: str, example: str) -> str:
    if not isinstance(text, str) or not text.strip():
        raise InputError(f"{option} is a pattern of names, got {text!r}: write for example '{example}'")
    return text.strip()


def _pairs(given: Mapping[str, Any] | Patterns, option: str, example: str) -> Iterator[tuple[str, Any]]:
    """(pattern, value) of a mapping, or of texts PATTERN=VALUE."""
    if isinstance(given, Mapping):
        for pattern, value in given.items():
            yield _pattern(pattern, option, example), value
        return
    for text in _each(given):
        pattern, equals, value = text.rpartition("=") if isinstance(text, str) else ("", "", "")
        if not equals or not pattern.strip() or not value.strip():
            raise InputError(f"{option} reads PATTERN=VALUE, got {text!r}: write for example '{example}'")
        yield pattern.strip(), value.strip()


def _floor(value: Any, pattern: str) -> int:
    """A number of channels."""
    if isinstance(value, str) and re.fullmatch(r"\d{1,9}", value):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InputError(
            f"at-least is a whole number of channels from 1 on, got '{value}' for '{pattern}': write for "
            f"example '{pattern}=16'"
        )
    return value


def _share(value: Any, pattern: str) -> Fraction:
    """A share of the channels that goes, in (0, 1)."""
    found: Fraction | None = None
    if isinstance(value, str) and (read := _SHARE.fullmatch(value.strip())):
        found = Fraction(read[1]) / 100 if read[1] else Fraction(read[2])
    elif isinstance(value, (float, Fraction)) and not isinstance(value, bool) and math.isfinite(value):
        found = Fraction(str(value))
    if found is None or not 0 < found < 1:
        raise InputError(
            f"ratio is the share of the channels that goes, above 0% and below 100%, got '{value}' for "
            f"'{pattern}': write for example '{pattern}=50%'"
        )
    return found


def _percent(share: Fraction) -> str:
    return f"{float(share * 100):g}%"


def _listed(parts: Iterable[str]) -> str:
    every = list(parts)
    more = f" and {len(every) - _SHOWN} more" if len(every) > _SHOWN else ""
    return ", ".join(every[:_SHOWN]) + more
