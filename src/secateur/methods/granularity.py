"""granularity="auto": which multiple of channels the runtime of a latency budget likes, asked of it.

Channels pruned one by one leave uneven widths, and some runtimes compute 37 channels in the time of 40, or
of 48. Near the budget the network is tried at uneven widths and at the same ones rounded to multiples of 4,
8, 16 and 32, all timed in turns, with weights as they are, for latency does not depend on them. Of two
networks of different speed that with more channels is not yet the better one: how channels grow with time is
read off two uneven networks, and by that every number of channels is taken to the same time:

    channels_g (t_1 / t_g)^k        k = log(channels_1 / channels'_1) / log(t_1 / t'_1)

The multiple with the most is taken; of those within 1% of it the smallest, which leaves a criterion most
choice.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import distributed as dist
from torch import nn

from secateur.budget import Budgets, Deployment, Limits
from secateur.deploy.widths import side_by_side
from secateur.errors import InputError
from secateur.methods.goal import agreed_latency, plain_copy
from secateur.surgery.anatomy import Anatomy, anatomy_of
from secateur.surgery.constraints import Bounds
from secateur.surgery.graph import ChannelGraph

CANDIDATES = (1, 4, 8, 16, 32)
_SMALLER = 0.7  # of the MACs: the second uneven network, for k
_EXPONENT = (0.2, 3.0)  # between which k lies
_AS_GOOD = 0.99
_SPREAD = 0.15  # of a width, to either side: uniform shares of even widths would be even
_LARGEST = 0.9  # share of the MACs at which the network is tried, where the budget hardly binds


@dataclass(frozen=True)
class Liked:
    """A multiple of channels, and how it was found, in a line."""

    granularity: int
    said: str


def check_asked(who: str, wanted: Budgets | Limits | None) -> None:
    """Raise InputError where there is no latency budget whose runtime could be asked."""
    if isinstance(wanted, Limits):
        latency = wanted.latency
    else:
        latency = next((budget for budget in wanted or () if budget.measured), None)
    if latency is None:
        raise InputError(
            f"{who}: granularity auto asks the runtime of a latency budget, got none: add one, "
            "latency=2ms@onnxruntime, or give a number of channels"
        )
    if latency.deployment is not None and latency.deployment.table is not None:
        raise InputError(
            f"{who}: granularity auto asks a runtime on this machine, got '{latency}', whose table is of "
            "another device and says nothing between its widths: give a number of channels, 8 or 16"
        )


def granule(graph: ChannelGraph, name: str, granularity: int) -> int:
    """How many channels of a group make up a multiple of `granularity` in every layer that writes them."""
    sites = [site for site in graph.groups[name].sites if site.write or site.axis[1] == "out"]
    return math.lcm(*(granularity // math.gcd(granularity, site.entries.shape[1]) for site in sites))


def smallest_widths(graph: ChannelGraph, granularity: int, bounds: Bounds | None = None) -> dict[str, int]:
    """What every group can be cut down to: one granule, or more where `bounds` say so, or all that it has."""
    found = {}
    for name in graph.groups:
        step, least = granule(graph, name, granularity), bounds.least(name) if bounds else 1
        found[name] = min(-(-least // step) * step, graph.width(name))
    return found


def liked(model: nn.Module, anatomy: Anatomy, limit_ns: int, deployment: Deployment, bounds: Bounds) -> Liked:
    """Ask the runtime; of several processes that of the first is asked, as all of them have to cut alike.

    Args:
        model: as it is before anything is removed; it is not changed.
        limit_ns: the latency budget.
    """
    now = agreed_latency(plain_copy(model), anatomy.inputs, deployment).nanoseconds
    share = min(_LARGEST, limit_ns / now)
    tried = _shapes(anatomy, share, bounds)
    models = {name: _narrowed(model, widths) for name, widths in tried.items()}
    times = _times(models, anatomy, deployment)
    channels = {name: sum(widths.values()) for name, widths in tried.items()}
    return _best(times, channels, deployment)


def _shapes(anatomy: Anatomy, share: float, bounds: Bounds) -> dict[str, dict[str, int]]:
    """The widths that are tried: "1", "4", ... at a share of the MACs, and "less": uneven, smaller."""
    graph, costs = anatomy.graph, anatomy.costs
    whole = costs.now["macs"]
    uneven = _at_macs(anatomy, share * whole, bounds)
    limit = costs.at(uneven)["macs"]
    found = {"1": uneven, "less": _at_macs(anatomy, share * _SMALLER * whole, bounds)}
    for granularity in CANDIDATES[1:]:
        smallest = smallest_widths(graph, granularity, bounds)
        if costs.at(smallest)["macs"] <= limit:
            found[str(granularity)] = _rounded(graph, uneven, granularity, smallest)
    return found


def _at_macs(anatomy: Anatomy, limit: float, bounds: Bounds) -> dict[str, int]:
    """Uneven widths, about a share of the present ones: the largest with so many MACs, or the smallest."""
    graph, draw = anatomy.graph, random.Random(0)
    spread = {name: draw.uniform(1 - _SPREAD, 1 + _SPREAD) for name in graph.groups}
    smallest = smallest_widths(graph, 1, bounds)

    def at(alpha: float) -> dict[str, int]:
        wanted = {name: round(alpha * spread[name] * graph.width(name)) for name in graph.groups}
        return {name: max(smallest[name], min(width, graph.width(name))) for name, width in wanted.items()}

    low, high = 0.0, 1.0
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (middle, high) if anatomy.costs.at(at(middle))["macs"] <= limit else (low, middle)
    return at(low)


def _rounded(
    graph: ChannelGraph, widths: Mapping[str, int], granularity: int, smallest: Mapping[str, int]
) -> dict[str, int]:
    """The nearest widths that pruning in multiples can leave."""
    found = {}
    for name, width in widths.items():
        step = granule(graph, name, granularity)
        found[name] = max(smallest[name], min(round(width / step) * step, graph.width(name)))
    return found


def _narrowed(model: nn.Module, widths: Mapping[str, int]) -> nn.Module:
    small = plain_copy(model)
    anatomy_of(small).narrow(small, dict(widths))
    return small


def _times(models: Mapping[str, nn.Module], anatomy: Anatomy, deployment: Deployment) -> dict[str, float]:
    """Nanoseconds of each, timed in turns, or foretold by a table; in all processes those of the first."""
    if deployment.table is not None:
        return {
            name: float(agreed_latency(each, anatomy.inputs, deployment).nanoseconds)
            for name, each in models.items()
        }
    found = {name: each.median for name, each in side_by_side(models, anatomy.inputs, deployment).items()}
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        place = next(next(iter(models.values())).parameters()).device
        agreed = torch.tensor(list(found.values()), dtype=torch.float64, device=place)
        dist.broadcast(agreed, 0)
        return dict(zip(found, agreed.tolist(), strict=True))
    return found


def _best(times: Mapping[str, float], channels: Mapping[str, int], deployment: Deployment) -> Liked:
    """The multiple that leaves the most channels in the time of the uneven network."""
    least, most = _EXPONENT
    exponent = least
    if channels["less"] < channels["1"] and times["less"] < times["1"]:
        exponent = math.log(channels["1"] / channels["less"]) / math.log(times["1"] / times["less"])
    exponent = min(most, max(least, exponent))
    kept = {
        int(name): channels[name] * (times["1"] / times[name]) ** exponent for name in times if name != "less"
    }
    best = min(each for each in kept if kept[each] >= _AS_GOOD * max(kept.values()))
    found = ", ".join(f"{each}: {kept[each]:.0f}" for each in sorted(kept))
    asked = f"channels that multiples leave in {times['1'] / 1e6:.3g} ms on {deployment}"
    return Liked(best, f"granularity {best}: {asked}: {found}")
