"""The arms of a comparison: siblings of one shape, one file for each kind.

A class in this folder that derives from `Arm` and has a name is an arm; nothing else lists them. Other
packages offer theirs as entry points (`secateur.methods.registry.offered`).
"""

from __future__ import annotations

from collections.abc import Sequence

from secateur.architecture.architecture import Architecture
from secateur.compare.arms.base import Arm, PlanRow
from secateur.compare.arms.weights import WeightArm
from secateur.compare.settings import Settings, Sparsity
from secateur.errors import InputError, unknown
from secateur.methods.registry import named_classes, offered
from secateur.runs.method_settings import in_words
from secateur.surgery.constraints import NO_CONSTRAINTS, Constraints

_OURS = {kind.name: kind for kind in named_classes(__name__, __path__, Arm)}
_KINDS = [*_OURS.values(), *offered("secateur.arms", Arm, _OURS, needs=("meaning", "place"))]
ARMS: dict[str, Arm] = {kind.name: kind() for kind in sorted(_KINDS, key=lambda kind: kind.place)}
"""Every arm, by name."""

WEIGHT_ARMS = tuple(name for name, arm in ARMS.items() if arm.zeroes)
"""Those that set weights to zero."""


def default_arms(
    resource: str, architecture: Architecture | None = None, constraints: Constraints = NO_CONSTRAINTS
) -> tuple[str, ...]:
    """Say what is compared where nobody does: the ways to zero weights, or to a smaller network.

    Args:
        constraints: what must stay; arms that cannot keep to it are left out.
    """

    def place(arm: Arm) -> int | None:
        return arm.default_for_nonzeros if resource == "nonzeros" else arm.default_for_size

    places = {
        arm.name: where
        for arm in ARMS.values()
        if (where := place(arm)) is not None
        and resource in arm.limited_in
        and (architecture is None or arm.suits(architecture))
        and arm.takes(constraints)
    }
    return tuple(sorted(places, key=lambda name: places[name]))


def chosen(settings: Settings, architecture: Architecture | None = None) -> tuple[Arm, ...]:
    """Give the arms that are compared: those that were named, or those that suit budgets and network.

    Raises:
        InputError: for an unknown arm, or one that these settings or this network rule out.
    """
    for name in settings.arms:
        if name not in ARMS:
            raise unknown("arm", name, ARMS)
    constraints = settings.prune.constraints
    names: Sequence[str] = settings.arms or default_arms(settings.resource, architecture, constraints)
    arms = tuple(ARMS[name] for name in names)
    check_applied(settings.sparsity, arms)
    for arm in arms:
        arm.check_settings(settings)
        if architecture is not None and not arm.suits(architecture):
            others = ", ".join(default_arms(settings.resource, architecture, constraints))
            raise InputError(
                f"the arm {arm.name} does not suit '{architecture.factory}': leave it out (without --arms "
                f"these are taken: {others})"
            )
    return arms


def check_applied(sparsity: Sparsity, arms: Sequence[Arm]) -> None:
    """Raise InputError where something is set of a method that is in none of these arms."""
    own = [(arm.method(sparsity, 0).name, arm.given(sparsity)) for arm in arms if isinstance(arm, WeightArm)]
    used = {method for method, _ in own}
    for method, given in sparsity.settings.items():
        if not all(any(name in taken for each, taken in own if each == method) for name in given):
            asked = ", ".join(arm.name for arm in arms)
            takes = f"settings of {', '.join(sorted(used))}" if used else "no settings"
            raise InputError(
                f"{asked} take{'s' if len(arms) == 1 else ''} {takes}, got {in_words({method: given})}: "
                f"leave it out, or ask for an arm of {method} that takes it"
            )


__all__ = ["ARMS", "WEIGHT_ARMS", "Arm", "PlanRow", "check_applied", "chosen", "default_arms"]
