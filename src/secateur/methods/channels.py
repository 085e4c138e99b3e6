"""What all methods have in common that remove the channels of lowest score while the network trains.

Every `every` steps the channel goes whose score per unit of what it costs is lowest, physically: model and
optimizer shrink. A criterion says what the score is (`fisher`, `taylor`, `norms`, `batch_norm_scale`,
`random_channels`, `snip_channels`), and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from secateur.budget import Wanted
from secateur.errors import InputError, TrainingError
from secateur.methods.channel_choice import ChannelChoice
from secateur.methods.channel_limits import Config, bounds_of
from secateur.methods.granularity import Liked, smallest_widths
from secateur.names import AUTO, Granularity
from secateur.surgery.anatomy import anatomy_of
from secateur.surgery.constraints import Bounds, Constraints
from secateur.surgery.optimizer_state import Optimizers, check_steps, loss_scale, steps_of, watch_optimizers

MOST_SKIPS = 200  # in a row: a scale of 2^128 is down to nothing by then


class ChannelPruning(ChannelChoice):
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
        config = Config(every, beta, granularity, at_once)
        super().__init__(config, budget, removals, constraints, depth=depth)
        self._steps = 0
        self._examples = 0
        self._met = False
        self._stepped = 0  # of the optimizers, by their own count
        self._skips = 0  # in a row
        self._unsure = 0  # steps counted before any optimizer was seen to make one

    # What a criterion overrides, beside `ranked`, `raw_scores` and `can_go`

    def watch(self, model: nn.Module) -> None:
        """Attach what the criterion has to see; called once."""

    def unwatch(self) -> None:
        """Take it off again."""

    def forget(self, model: nn.Module) -> None:
        """Begin the window anew, as if nothing had been seen."""
        self._restart(model)

    def begin_window(self, model: nn.Module) -> None:
        """Forget what was seen; called before the first window and after every removal."""

    # The method

    def identity(self) -> dict[str, Any]:
        """The settings that change the result, but for the budget."""
        return {"method": self.name, **self.config.identity(), **({"depth": True} if self.depth else {})}

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

    def _restart(self, model: nn.Module) -> None:
        """Begin a window."""
        self._steps = self._examples = self._unsure = 0
        self._met = False
        self.begin_window(model)
