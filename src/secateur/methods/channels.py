"""What all methods have in common that remove the channels of lowest score while the network trains.

Every `every` steps the channel goes whose score per unit of what it costs is lowest, physically: model and
optimizer shrink. A criterion says what the score is (`fisher`, `taylor`, `norms`, `batch_norm_scale`,
`random_channels`, `snip_channels`), and nothing else.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from secateur.budget import MEASURED, Budgets, Limits, Wanted
from secateur.errors import InputError, TrainingError, require
from secateur.methods.base import Method
from secateur.methods.goal import Goal, cost_at
from secateur.methods.granularity import Liked, check_asked, granule, liked, smallest_widths
from secateur.names import AUTO, Granularity
from secateur.surgery.along import parameter_along
from secateur.surgery.anatomy import Anatomy, Removals, anatomy_of
from secateur.surgery.constraints import Bounds, Constraints
from secateur.surgery.depth import Block, blocks_of
from secateur.surgery.graph import ChannelGraph, left_of
from secateur.surgery.optimizer_state import Optimizers, check_steps, loss_scale, steps_of, watch_optimizers

MOST_SKIPS = 200  # in a row: a scale of 2^128 is down to nothing by then


@dataclass(frozen=True)
class Config:
    """Settings of every method that removes channels step by step.

    Attributes:
        every: training steps per removal, at least 1 (Crowley et al.: 100).
        beta: the FLOP penalty per MAC in the score, at least 0 (Crowley et al.: 0).
        granularity: what is cut keeps a multiple of it in every layer, where it was as wide; 1: any number;
            "auto": the runtime of a latency budget is asked (`secateur.methods.granularity`).
        at_once: channels (granules) removed every time; 0: all that the budget asks for, at the first.
    """

    every: int = 100
    beta: float = 0.0
    granularity: Granularity = 1
    at_once: int = 1

    def __post_init__(self) -> None:
        checks = {
            "every must be at least 1 step": self.every >= 1,
            "beta must be at least 0": 0 <= self.beta < math.inf,
            'granularity must be at least 1, or "auto"': self.granularity == AUTO
            or (isinstance(self.granularity, int) and self.granularity >= 1),
            "at_once must be at least 0": self.at_once >= 0,
        }
        require(self, checks, "pruning channels: ")

    def identity(self) -> dict[str, Any]:
        """What changes a result; what came later is named only where it is used."""
        later = {"granularity": 1, "at_once": 1}
        values = {"every": self.every, "beta": self.beta}
        return values | {
            name: getattr(self, name) for name, off in later.items() if getattr(self, name) != off
        }


def untrained_groups(model: nn.Module, graph: ChannelGraph) -> list[str]:
    """Groups that a layer writes or reads which does not require gradients, where others do."""
    parameters = list(model.parameters())
    if not any(parameter.requires_grad for parameter in parameters):
        return []
    found = []
    for group in graph:
        weights = [parameter_along(model, site.axis) for site in (*group.writes, *group.reads)]
        if any(weight is not None and not weight.requires_grad for weight in weights):
            found.append(group.name)
    return found


def removal_score(score_K: Tensor, macs: int, beta: float) -> Tensor:
    """score_k - beta * MACs_k; the channel with the lowest goes. (K,) -> (K,)."""
    return score_K - beta * macs


def next_removal(graph: ChannelGraph, name: str, granularity: int, least: int = 1) -> int:
    """How many channels go from a group next: down to a multiple, then granule by granule; 0: none can.

    Args:
        least: so many are left at least.
    """
    step, width = granule(graph, name, granularity), graph.width(name)
    gone = width % step or step
    return gone if width - gone >= max(step, least) else 0


def bounds_of(constraints: Constraints | Bounds | None, model: nn.Module, *, streams: bool = False) -> Bounds:
    """What must stay of a network as it is now; bounds are what they are.

    Args:
        streams: whether residual streams of the built-in families are cut, too.

    Raises:
        InputError: where a constraint names nothing in it.
    """
    if isinstance(constraints, Bounds):
        return constraints
    if not constraints:
        return Bounds()
    return constraints.on(anatomy_of(model, streams=streams).graph, model)


class ChannelPruning(Method):
    """Removes the channels of lowest score until the budget is met; then `finished`.

    A network within the budget is tuned for one more window before the method is finished, as in Crowley et
    al. 2018, who record a network just before its next removal. Continuing with a smaller budget then gives
    the same trajectory as having asked for it at once.

    Args:
        budget: e.g. "params=25%", "params=500k,macs=40M" (all hold), "bytes=1MB", "latency=2ms@onnxruntime";
            percentages are of the network handed to `prepare`. Or `Limits`, where the original is another
            network, as where one that is cut already is cut further.
        every, beta, granularity, at_once: see `Config`.
        removals: stop after so many channels, in place of a budget.
        depth: whether residual blocks of a network that is no built-in one go, too. A block goes where the
            channels left of its own groups, which cannot get narrower, have the lowest mean score together.
        constraints: what must stay (`secateur.surgery.constraints`); a ratio in them is met exactly, beside
            the budget or in place of it, but for `removals`, of which it is a floor. Shares are of the
            network handed to `prepare`; give `Bounds` where the original is another one.

    Attributes:
        before_removal: is given the network before channels go; what it says stands with the first of them.
        goal: the limits, from `prepare` on, and whether they are met.
        bounds: what the constraints come to, from `prepare` on.
        removed: one entry per channel: group, channel (its index in the network handed to `prepare`), and
            of the network before the removal its params, macs and nonzeros, and the examples it was tuned on.

    Raises:
        InputError: where an argument makes no sense; in `prepare`, where the budget is out of reach.
    """

    def __init__(
        self,
        budget: Wanted | None = None,
        *,
        every: int = 100,
        beta: float = 0.0,
        granularity: Granularity = 1,
        at_once: int = 1,
        removals: int | None = None,
        constraints: Constraints | Bounds | None = None,
        depth: bool = False,
    ):
        _check_goal(self.name, budget, removals, constraints)
        if removals is not None and removals < 1:
            raise InputError(f"{self.name}: removals must be at least 1 channel, got {removals}")
        wanted = Budgets.parse(budget) if budget is not None and not isinstance(budget, Limits) else budget
        self.goal = Goal(wanted)
        self.removals = removals
        self.constraints = constraints
        self.bounds = Bounds()
        self.config = Config(every, beta, granularity, at_once)
        if granularity == AUTO:
            check_asked(self.name, wanted)
        self.liked: Liked | None = None
        self.before_removal: Callable[[nn.Module], dict[str, float]] | None = None
        self.removed: list[dict[str, Any]] = []
        self._steps = 0
        self._examples = 0
        self._alive: dict[str, list[int]] = {}  # present index -> index in the original network
        # Group -> its scores, and the granule that is lowest by them: they hold until the group is cut.
        self._granules: dict[str, tuple[Tensor, tuple[float, list[int]] | None]] = {}
        self._anatomy: Anatomy | None = None
        self.depth = depth
        self._blocks: list[Block] = []
        self._met = False
        self._stepped = 0  # of the optimizers, by their own count
        self._skips = 0  # in a row
        self._unsure = 0  # steps counted before any optimizer was seen to make one
        self._resumed: tuple[dict[str, Any], dict[str, Tensor]] | None = None

    # What a criterion overrides

    def ranked(self, model: nn.Module) -> Iterable[str]:
        """The groups that `raw_scores` ranks."""
        return self.anatomy.graph.groups

    def raw_scores(self, model: nn.Module) -> dict[str, Tensor]:
        """What each channel is worth, group -> (K,): the lowest go. Groups left out are never cut."""
        raise NotImplementedError

    def watch(self, model: nn.Module) -> None:
        """Attach what the criterion has to see; called once."""

    def unwatch(self) -> None:
        """Take it off again."""

    def forget(self, model: nn.Module) -> None:
        """Begin the window anew, as if nothing had been seen."""
        self._restart(model)

    def can_go(self) -> list[str]:
        """The groups that may lose channels."""
        return [name for name in self.anatomy.graph.groups if self._next(name)]

    def begin_window(self, model: nn.Module) -> None:
        """Forget what was seen; called before the first window and after every removal."""

    # The method

    def identity(self) -> dict[str, Any]:
        """The settings that change the result, but for the budget."""
        return {"method": self.name, **self.config.identity(), **({"depth": True} if self.depth else {})}

    @property
    def anatomy(self) -> Anatomy:
        """Of the network handed to `prepare`."""
        assert self._anatomy is not None, "prepare comes first"
        return self._anatomy

    def prepare(self, model: nn.Module, batches: Iterable[Any] | None = None) -> nn.Module:
        """Attach to the model; InputError where not even the smallest network would meet the budget."""
        watch_optimizers()
        self._anatomy = anatomy_of(model)
        graph = self.anatomy.graph
        if self._resumed is not None:
            self.goal = self.goal.resumed(self._resumed[0]["limits"])
        self.bounds = self._sparing_frozen(model, bounds_of(self.constraints, model))
        ranked = set(self.ranked(model))
        self._check_shares(ranked)
        least, inner = self._without_blocks(model, ranked)
        if self.goal.wanted is not None:
            self.goal.fix(model, self.anatomy)
            self._ask_runtime(model)
            smallest = smallest_widths(graph, self.granularity, self.bounds)
            smallest = {name: width for name, width in smallest.items() if name in ranked}
            smallest = {name: width for name, width in smallest.items() if name in inner.graph.groups}
            if self._resumed is None:
                self.goal.check_reachable(least, inner, smallest, self.name, self.bounds.text)
        self._alive = {name: list(range(graph.width(name))) for name in graph.groups}
        self._restart(model)
        self.watch(model)
        if self._resumed is not None:
            resumed, self._resumed = self._resumed, None
            self.restore(*resumed)
        return model

    def _sparing_frozen(self, model: nn.Module, bounds: Bounds) -> Bounds:
        """Bounds that leave alone what does not require gradients, where other layers do; that is said."""
        found = set(untrained_groups(model, self.anatomy.graph)) - bounds.exact
        names = [name for name in self.anatomy.graph.groups if name in found]
        if isinstance(self.constraints, Bounds) or not names:
            return bounds
        widths = self.anatomy.graph.widths
        if said := [name for name in names if bounds.least(name) < widths[name]]:
            warnings.warn(
                f"{self.name} leaves channels alone: {', '.join(said[:8])}: layers that write or read them "
                "do not require gradients; to have them cut, call requires_grad_(True) on these layers first",
                stacklevel=4,
            )
        floors = {**bounds.floors, **{name: widths[name] for name in names}}
        text = ", ".join(filter(None, (bounds.text, f"frozen {' '.join(said[:8])}" if said else "")))
        return replace(bounds, floors=floors, widths=widths, text=text)

    @property
    def granularity(self) -> int:
        """Layers keep channels in multiples of it; known from `prepare` on."""
        if isinstance(self.config.granularity, int):
            return self.config.granularity
        return 1 if self.liked is None else self.liked.granularity

    @property
    def found(self) -> list[str]:
        """What was found out in `prepare` that a user should know: a line, or none."""
        return [self.liked.said] if self.liked and self.liked.said else []

    def _ask_runtime(self, model: nn.Module) -> None:
        """Find the granularity, where it is to be found and is not known from a state."""
        latency = self.goal.limits.latency
        if self.config.granularity != AUTO or latency is None or latency.deployment is None:
            return
        known = None if self._resumed is None else self._resumed[0].get("granularity")
        if known is not None:
            self.liked = Liked(int(known), "")
            return
        units = self.goal.limits[MEASURED]
        self.liked = liked(model, self.anatomy, units, latency.deployment, self.bounds)

    @property
    def limit(self) -> int:
        """The limit of the one budget there is, in units, from `prepare` on."""
        return self.goal.limits.units

    def after_step(self, model: nn.Module, optimizer: Optimizers = None) -> nn.Module:
        """Count the step; at the end of a window remove what is due, or be finished.

        A step that was none is not counted: `torch.amp.GradScaler` skips where gradients are not finite.

        Args:
            optimizer: one, or a list of several, that step the model's parameters; their state is cut too.

        Raises:
            TrainingError: where step after step is skipped.
        """
        before, self._stepped = self._stepped, steps_of(optimizer)
        if self._stepped == before and self._skipped(model, optimizer):
            self._skips += 1
            if self._skips >= MOST_SKIPS:
                raise TrainingError(
                    f"{self.name}: {MOST_SKIPS} steps in a row were skipped, as gradients were not finite: "
                    "the training diverged; lower its rate"
                )
            return model
        self._skips = 0
        self._unsure += not self._stepped
        self._steps += 1
        return self.advance(model, optimizer)

    def _skipped(self, model: nn.Module, optimizer: Optimizers) -> bool:
        """Whether a step that no optimizer made was skipped, for its gradients; others are taken as made."""
        if loss_scale(optimizer) is not None:
            return True
        return any(not bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)

    def advance(self, model: nn.Module, optimizer: Optimizers = None) -> nn.Module:
        """Remove the channel that is due, if one is, as at the start of a run continued with less budget."""
        if self._steps < self.config.every:
            return model
        self._met = self._is_met(model)
        if not self._met:
            if optimizer is None:
                raise InputError(
                    f"{self.name} removes channels, so the optimizer must shrink along: "
                    "call method.after_step(model, optimizer)"
                )
            check_steps(self.name, model, optimizer)
            self._remove(model, optimizer, self.config.at_once)
            self._restart(model)
        return model

    def cut(self, model: nn.Module) -> nn.Module:
        """Remove at once all that the goal asks for, by the scores so far; nothing is trained."""
        optimizer = torch.optim.SGD(model.parameters(), lr=0.0)  # has nothing to shrink
        if not self._is_met(model):
            self._remove(model, optimizer, at_once=0)
        self._met = True
        return model

    def finalize(self, model: nn.Module) -> nn.Module:
        """Take the hooks off; prove what was cut with the weights as they are now (foreign models).

        Raises:
            TrainingError: where the network does not compute what the masked one does.
        """
        self.unwatch()
        if self.removed:
            self.anatomy.prove(model)
        return model

    @property
    def finished(self) -> bool:
        return self._met

    @property
    def about_to_cut(self) -> bool:
        return not self.removed and self._steps + 1 >= self.config.every

    @property
    def cuts_at_once(self) -> bool:
        return self.config.at_once == 0

    @property
    def completion(self) -> float:
        if self.goal.wanted is None:
            due = self.removals or len(self.removed) + sum(self._shares_due().values())
            return min(1.0, len(self.removed) / max(1, due))
        return self.goal.completion(self.removed[0], self.anatomy) if self.removed else 0.0

    def progress(self) -> dict[str, float]:
        return {"removed": len(self.removed)}

    def state(self) -> dict[str, Any]:
        return {
            "steps": self._steps,
            "examples": self._examples,
            "removed": list(self.removed),
            "alive": self._alive,
            "limits": dict(self.goal.limits),
            **self._kept_bounds(),
            **({} if self.liked is None else {"granularity": self.granularity}),
        }

    def _kept_bounds(self) -> dict[str, Any]:
        """What must stay, in channels: shares of a network that is cut already are other numbers."""
        if not self.bounds:
            return {}
        return {"floors": dict(self.bounds.floors), "exact": sorted(self.bounds.exact)}

    def restore(self, state: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Take back what `state` and `tensors` gave, limits and bounds of the original network among it.

        Called before `prepare`, that is given the network as it was left, or behind it.

        Raises:
            InputError: where the state is of a network of other widths.
        """
        if self._anatomy is None:
            self._resumed = state, tensors
            return
        alive = {name: list(indices) for name, indices in state["alive"].items()}
        found, saved = self.anatomy.graph.widths, {name: len(left) for name, left in alive.items() if left}
        if found != saved:
            raise InputError(
                f"{self.name}: the state is of a network whose groups are as wide as {saved}, got {found}: "
                "give it the network as it was when the state was taken"
            )
        if self.config.granularity == AUTO and "granularity" in state:
            self.liked = Liked(int(state["granularity"]), "")
        self._steps, self._examples = state["steps"], state["examples"]
        self.removed = list(state["removed"])
        self._alive = alive
        if "floors" in state:
            self.bounds = replace(self.bounds, floors=state["floors"], exact=frozenset(state["exact"]))
        self.goal.limits = self.goal.limits.resumed(state["limits"])  # of the original, not of this network

    @property
    def examples(self) -> int:
        """Examples seen in the present window, over all processes."""
        return self._examples

    def scores(self, model: nn.Module) -> dict[str, Tensor]:
        """The removal score of every channel over the window so far: group name -> (K,)."""
        raw = self.raw_scores(model)
        if self.config.beta == 0:
            return {name: removal_score(values, 0, 0.0) for name, values in raw.items()}
        now = self.anatomy.costs.now["macs"]
        return {
            name: removal_score(values, now - self.anatomy.costs.without(name)["macs"], self.config.beta)
            for name, values in raw.items()
        }

    def _is_met(self, model: nn.Module) -> bool:
        if self.removals is not None:
            return len(self.removed) >= self.removals
        return not any(self._shares_due().values()) and self._within_budget(model)

    def _within_budget(self, model: nn.Module) -> bool:
        return self.goal.wanted is None or self.goal.met(model, self.anatomy)

    def _next(self, name: str) -> int:
        """How many channels of a group go next; 0: none can."""
        return next_removal(self.anatomy.graph, name, self.granularity, self.bounds.least(name))

    def _shares_due(self) -> dict[str, int]:
        """Groups that have yet to lose channels to end where their ratio says, and how many."""
        width = self.anatomy.graph.width
        exact = (name for name in self.anatomy.graph.groups if name in self.bounds.exact)
        return {name: width(name) - self.bounds.least(name) for name in exact if self._next(name)}

    def _check_shares(self, ranked: Collection[str]) -> None:
        """InputError where a ratio is asked for of channels that this method does not cut."""
        if others := sorted(self.bounds.exact.difference(ranked)):
            raise InputError(
                f"{self.name} does not cut {others[0]}, so no ratio of it can go: leave it out of --ratio"
            )

    def _remove(self, model: nn.Module, optimizer: Optimizers, at_once: int) -> None:
        """Remove as many granules as are due, by the scores of this window."""
        scores = self.scores(model)
        for name, values in scores.items():
            if not bool(values.isfinite().all()):
                raise TrainingError(f"{self.name}: scores of {name} are not finite: the training diverged")
        found = self.before_removal(model) if self.before_removal is not None else {}
        first = len(self.removed)
        removals = Removals(self.anatomy, model, optimizer)
        self._granules.clear()
        done = 0
        try:
            while not self._is_met(model) and (at_once == 0 or done < at_once):
                open_to_cuts = self._open_to_cuts(model, scores)
                examples = 0 if done else self.examples  # the window's examples count once
                done += 1
                if block := self._block_due(open_to_cuts):
                    removals.make()
                    self._remove_block(model, block, optimizer, examples)
                    scores = {name: values for name, values in scores.items() if name not in block.groups}
                    continue
                name, channels = self._lowest(open_to_cuts)
                self._note(name, channels, examples)
                removals.add(name, channels)
                if "latency" in self.goal.limits:  # which is measured on the network itself
                    removals.make()
                keep = torch.ones(len(scores[name]), dtype=torch.bool)
                keep[channels] = False
                scores[name] = scores[name][keep.to(scores[name].device)]
            if found:
                self.removed[first].update(found)
        finally:
            removals.make()

    def _note(self, name: str, channels: list[int], examples: int) -> None:
        now = {key: self.anatomy.costs.now[key] for key in ("params", "macs", "nonzeros")}
        if "bytes" in self.goal.limits:
            now["bytes"] = cost_at(self.anatomy, "bytes")
        for index, channel in enumerate(channels):
            seen = 0 if index else examples
            entry = {"group": name, "channel": self._alive[name][channel], **now, "examples": seen}
            self.removed.append(entry)
        self._alive[name] = left_of(self._alive[name], channels)

    def _open_to_cuts(self, model: nn.Module, scores: dict[str, Tensor]) -> dict[str, Tensor]:
        """Of the scores those of groups that may be cut now: once the budget holds, those with shares due."""
        due = {} if self.removals is not None else self._shares_due()
        if not due or not self._within_budget(model):
            return scores
        return {name: scores[name] for name in due}

    def _without_blocks(self, model: nn.Module, ranked: set[str]) -> tuple[nn.Module, Anatomy]:
        """Find the blocks that may go, if they are asked for: the network without them, and its anatomy."""
        if not self.depth:
            return model, self.anatomy
        whole, graph = self.anatomy.whole, self.anatomy.graph.uncut()
        if whole is None:
            raise InputError(
                f"{self.name}: depth takes blocks out of networks that are no built-in ones, got "
                f"{type(model).__name__}: build it with fewer blocks"
            )
        floors = self.bounds.floors
        self._blocks = [
            block
            for block in blocks_of(whole, graph, self.anatomy.inputs)
            if ranked.issuperset(block.groups) and not any(name in floors for name in block.groups)
        ]
        if not self._blocks:
            raise InputError(
                f"{self.name}: depth takes out residual blocks, which hand on what they take and have "
                f"channels of their own, and {type(model).__name__} has none: leave depth out"
            )
        least = copy.deepcopy(model)
        anatomy_of(least).skip(least, self._blocks)
        return least, anatomy_of(least)

    def _block_due(self, scores: dict[str, Tensor]) -> Block | None:
        """The block to remove next; None where channels are."""
        if not self._blocks:
            return None
        best = self._best(scores)
        lowest, found = math.inf if best is None else best[0], None
        for block in self._blocks:
            if all(name in scores and not self._next(name) for name in block.groups):
                mean = float(torch.cat([scores[name].flatten() for name in block.groups]).mean())
                if mean < lowest:
                    lowest, found = mean, block
        return found

    def _remove_block(self, model: nn.Module, block: Block, optimizer: Optimizers, examples: int) -> None:
        for index, name in enumerate(block.groups):
            width = self.anatomy.graph.width(name)
            self._note(name, list(range(width)), 0 if index else examples)
        self.anatomy.skip(model, [block], optimizer)
        self._blocks.remove(block)

    def _lowest(self, scores: dict[str, Tensor]) -> tuple[str, list[int]]:
        """The channels to remove: of all groups the granule with the lowest mean score."""
        best = self._best(scores)
        if best is None:
            raise InputError(
                f"{self.name}: every group is as narrow as it can be at "
                f"{self.anatomy.costs.now['params']:,} parameters, short of the goal: ask for a larger "
                f"budget, or fewer removals{f' ({self.bounds.text})' if self.bounds else ''}"
            )
        return best[1], best[2]

    def _best(self, scores: dict[str, Tensor]) -> tuple[float, str, list[int]] | None:
        """The granule with the lowest mean score, of all groups; None where none can go."""
        best: tuple[float, str, list[int]] | None = None
        for name, values in scores.items():
            known = self._granules.get(name)
            if known is None or known[0] is not values:
                known = self._granules[name] = (values, self._granule_of(name, values))
            found = known[1]
            if found is not None and (best is None or found[0] < best[0]):
                best = (found[0], name, found[1])
        return best

    def _granule_of(self, name: str, values: Tensor) -> tuple[float, list[int]] | None:
        """Find the mean score and the channels of a group's lowest granule; None where none can go."""
        due = self._next(name)
        if not due:
            return None
        lowest = values.argmin()[None] if due == 1 else values.topk(due, largest=False).indices
        return float(values[lowest].mean()), sorted(lowest.tolist())

    def _restart(self, model: nn.Module) -> None:
        """Begin a window."""
        self._steps = self._examples = self._unsure = 0
        self._met = False
        self.begin_window(model)


def _check_goal(
    who: str, budget: Wanted | None, removals: int | None, constraints: Constraints | Bounds | None
) -> None:
    """InputError unless it is said where pruning stops: a budget, a number of removals, or ratios."""
    shares = constraints.exact if isinstance(constraints, Bounds) else constraints and constraints.ratio
    given = [budget is not None, removals is not None]
    if all(given) or not (any(given) or shares):
        raise InputError(f"{who}: give either a budget or a number of removals, or a ratio of channels")
