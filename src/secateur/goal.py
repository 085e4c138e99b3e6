"""Where pruning stops: within every limit, of whatever is counted or measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from secateur.errors import InputError
from secateur.surgery.anatomy import Anatomy


@dataclass(frozen=True)
class Goal:
    """Limits that all hold at once: resource -> at most so many of its units."""

    limits: Mapping[str, int]

    def met(self, anatomy: Anatomy) -> bool:
        """Whether the network is within every limit as it is now."""
        now = anatomy.costs.now
        return all(now[resource] <= limit for resource, limit in self.limits.items())

    def completion(self, first: Mapping[str, int], now: Mapping[str, int]) -> float:
        """How far of the way from `first` to the limits is gone, in [0, 1]; of several, the least."""
        shares = [
            (first[resource] - now[resource]) / max(1, first[resource] - limit)
            for resource, limit in self.limits.items()
        ]
        return min(1.0, max(0.0, min(shares, default=1.0)))

    def check_reachable(self, anatomy: Anatomy, smallest: Mapping[str, int], who: str) -> None:
        """InputError unless the network with groups down to the widths `smallest` is within every limit."""
        least = anatomy.costs.at(smallest)
        for resource, limit in self.limits.items():
            if least[resource] > limit:
                raise InputError(
                    f"{who}: the budget of {limit:,} {resource} is below what is left when every group is "
                    f"down to {_width_words(smallest)}, {least[resource]:,}: ask for at least "
                    f"{resource}={least[resource]}"
                )


def _width_words(smallest: Mapping[str, int]) -> str:
    return "one channel" if set(smallest.values()) <= {1} else "its smallest width"
