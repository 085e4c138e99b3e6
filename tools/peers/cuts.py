"""The peers' own ways from a trained network down to a budget of MACs.

Neither takes a budget of MACs. torch-pruning takes a share of the channels and makes it in steps; its own
`reproduce/main.py` steps on until the wanted speed-up is reached (`progressive_pruning`: `pruning_ratio=1`,
`iterative_steps=400`, no training between), and so does `Progressive`: the first of the 400 that meets the
budget. torch-kirigami takes a share of the channels and searches by itself; `Ranked` has its `Greedy` rank
them once, for a share beyond the budget, and finds the fewest of that order that meet the budget, by halving.
(Asking `Greedy` again for every share would find the same: its order is fixed, and what it takes for a
smaller share is a beginning of what it takes for a larger one.)

Importance is what each documents first: the group's l2 norm over all that a channel's removal takes away,
divided by the mean over the group (`GroupMagnitudeImportance(p=2)`, `GroupMagnitude(p=2)`). torch-pruning
ranks within each group by default, over the whole network with `global_pruning`: both are here.
torch-kirigami within each axis would be the former by a slower road, so only its global ranking is.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from torch import Tensor, nn

from secateur.errors import InputError
from secateur.models.base import Projection
from secateur.network.counting import count_model_macs

STEPS = 400
"""torch-pruning's `--iterative-steps`."""
MOST = 0.9
"""The share of the channels that torch-kirigami ranks."""


@dataclass(frozen=True)
class Cut:
    """A network that was cut, and how.

    Attributes:
        share: of the channels, as the library counts them, that went.
        asked: how often the library was asked for a network.
    """

    model: nn.Module
    share: float
    asked: int


Way = Callable[[nn.Module, Tensor, int], Cut]
"""(trained network, one example, at most so many MACs) -> what is left."""


def plain(model: nn.Module) -> nn.Module:
    """Put `nn.Conv2d` where our families have a subclass of it, with the same weights; in place.

    torch-kirigami cannot trace the subclass, whose forward pass looks at the device.
    """
    for name, layer in list(model.named_modules()):
        if isinstance(layer, Projection):
            conv = nn.Conv2d(layer.in_channels, layer.out_channels, 1, layer.stride, bias=False)
            conv.weight = layer.weight
            parent, _, last = name.rpartition(".")
            setattr(model.get_submodule(parent), last, conv)
    return model


def fewest(meets: Callable[[int], bool], most: int) -> int:
    """The smallest number in [0, most] that meets, where every larger one does too; by halving.

    Raises:
        InputError: where not even `most` does.
    """
    if not meets(most):
        raise InputError(f"the budget is not met with {most} channels cut: ask for a larger one")
    low, high = 0, most
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if meets(middle) else (middle + 1, high)
    return high


def first_within(step: Callable[[], None], macs: Callable[[], int], limit: int, steps: int = STEPS) -> int:
    """Step until the MACs are within the limit; how many steps it took.

    Raises:
        InputError: where all of them do not get there.
    """
    for done in range(steps + 1):
        if macs() <= limit:
            return done
        if done < steps:
            step()
    raise InputError(f"the budget of {limit:,} MACs is not met after {steps} steps, got {macs():,}")


@dataclass(frozen=True)
class Progressive:
    """torch-pruning's `BasePruner`, step by step.

    Attributes:
        everywhere: rank all groups together (`global_pruning`).
    """

    everywhere: bool

    def __call__(self, model: nn.Module, example: Tensor, limit: int) -> Cut:
        import torch_pruning as library

        model = plain(model).eval()
        pruner = library.pruner.BasePruner(
            model,
            example,
            importance=library.importance.GroupMagnitudeImportance(p=2),
            global_pruning=self.everywhere,
            pruning_ratio=1.0,
            iterative_steps=STEPS,
            ignored_layers=[layer for layer in model.modules() if isinstance(layer, nn.Linear)],
            in_channel_groups={},  # its defaults are shared between pruners
            out_channel_groups={},
            num_heads={},
        )
        steps = first_within(pruner.step, lambda: count_model_macs(model), limit)
        return Cut(model, steps / STEPS, steps)


@dataclass(frozen=True)
class Chosen:
    """A strategy of torch-kirigami: these candidates and no others."""

    keys: Sequence[str]

    def select(self, context: Any) -> Any:
        """What was chosen."""
        from torch_kirigami.pruning import StrategyResult

        return StrategyResult(tuple(self.keys))


class Ranked:
    """torch-kirigami's `Greedy`, by `GroupMagnitude` over the whole network.

    What it ranked is kept: the same network at another budget is not ranked again.
    """

    def __init__(self) -> None:
        self._ranked: dict[float, tuple[str, ...]] = {}

    def __call__(self, model: nn.Module, example: Tensor, limit: int) -> Cut:
        model = plain(model).eval()
        order = self._order(model, example)
        count = fewest(lambda n: count_model_macs(_without(model, example, order[:n])) <= limit, len(order))
        asked = 1 + len(order).bit_length()
        return Cut(_without(model, example, order[:count]), count / len(order) * MOST, asked)

    def _order(self, model: nn.Module, example: Tensor) -> tuple[str, ...]:
        from torch_kirigami.pruning import ChannelRatio, Greedy, GroupMagnitude

        print_of = float(sum(value.detach().double().sum() for value in model.parameters()))
        if print_of not in self._ranked:
            pruner, space = _opened(copy.deepcopy(model), example)
            budget = ChannelRatio(MOST, scope="global")
            plan = pruner.plan(space, budget=budget, strategy=Greedy(GroupMagnitude(p=2)))
            self._ranked[print_of] = tuple(plan.selected)
        return self._ranked[print_of]


def _opened(model: nn.Module, example: Tensor) -> tuple[Any, Any]:
    from torch_kirigami import DependencyGraph
    from torch_kirigami.pruning import Pruner

    pruner = Pruner(model, graph=DependencyGraph.build(model, args=(example,)))
    return pruner, pruner.discover_candidates()


def _without(model: nn.Module, example: Tensor, keys: Sequence[str]) -> nn.Module:
    """A copy without these channels."""
    from torch_kirigami.pruning import ChannelRatio

    model = copy.deepcopy(model)
    if not keys:
        return model
    pruner, space = _opened(model, example)
    plan = pruner.plan(space, budget=ChannelRatio(0.0, scope="global"), strategy=Chosen(keys))
    cut: nn.Module = pruner.apply(plan)[0]
    return cut


WAYS: dict[str, Way] = {
    "torch-pruning, global": Progressive(everywhere=True),
    "torch-pruning, per layer": Progressive(everywhere=False),
    "torch-kirigami, global": Ranked(),
}
LIBRARIES = {"torch-pruning": "torch_pruning", "torch-kirigami": "torch_kirigami"}


def missing(way: str) -> str | None:
    """The library that a way needs and that is not installed; None where it is."""
    library = way.split(",")[0]
    return None if find_spec(LIBRARIES[library]) else library
