"""Smaller networks of the same kind: all channels narrowed, those inside the blocks, or whole stages."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from secateur.architecture.fitting import fit_scale
from secateur.architecture.origin import Origin
from secateur.errors import InputError
from secateur.surgery.constraints import Bounds

Widths = tuple[int, ...]


def bounded(origin: Origin, bounds: Bounds | None) -> Callable[[Sequence[int]], Widths]:
    """What moves widths to where they may lie: no wider than can be made, and what must stay stays."""
    if not bounds:
        return origin.clamped
    names = origin.names_at(origin.widths)
    return lambda widths: origin.clamped(bounds.within(names, widths))


def check_bounds(cost: Callable[[list[int]], int], groups: int, limit: int, bounds: Bounds) -> None:
    """Raise InputError where what must stay is too much for the limit, by the cost of widths of 1."""
    if (smallest := cost([1] * groups)) > limit:
        raise InputError(
            f"the budget of {limit:,} is below what must stay ({bounds.text}), {smallest:,}: ask for at "
            f"least {smallest}"
        )


def scaled(
    origin: Origin, widths: Sequence[int], resource: str, limit: int, bounds: Bounds | None = None
) -> Widths:
    """Multiply every width by one alpha, the largest within the limit.

    Args:
        limit: in units of the resource.
        bounds: what must stay of the whole network.

    Raises:
        InputError: where even widths of 1 are too many.

    Reference: Crowley et al. 2018, section 3.2: B(N_i, alpha N_mj, N_o).
    """
    at = bounded(origin, bounds)

    def cost(candidate: Sequence[int]) -> int:
        return origin.cost(at(candidate), resource)

    if bounds:
        check_bounds(cost, len(widths), limit, bounds)
    widest = origin.widths if bounds else origin.widest
    if widest is not None and cost(widest) <= limit:
        return at(widest)
    return at(fit_scale(widths, cost, limit, f"scaled {origin.name} group widths")[1])


def bottlenecked(
    origin: Origin, widths: Sequence[int], resource: str, limit: int, bounds: Bounds | None = None
) -> Widths:
    """Multiply the widths inside the blocks by one z, the largest within the limit; streams stay as wide.

    Raises:
        InputError: where every group is a stream, or even widths of 1 inside the blocks are too many.

    Reference: Crowley et al. 2018, section 3.1 (the green curve of Fig. 1).
    """
    inside = origin.inside
    if not inside:
        raise InputError(
            f"a bottleneck narrows the channels inside blocks, and '{origin.name}' has none: all its "
            f"{len(widths)} channel groups are residual streams; narrow every group (the arm width)"
        )
    if len(inside) == len(widths):
        return scaled(origin, widths, resource, limit, bounds)
    within = bounded(origin, bounds)

    def at(candidate: Sequence[int]) -> Widths:
        narrowed = dict(zip(inside, candidate, strict=True))
        return within([narrowed.get(i, width) for i, width in enumerate(widths)])

    def cost(candidate: Sequence[int]) -> int:
        return origin.cost(at(candidate), resource)

    if bounds:
        check_bounds(cost, len(inside), limit, bounds)
    if origin.widest is not None:
        widest = [origin.widest[i] for i in inside]
        if cost(widest) <= limit:
            return at(widest)
    what = f"{origin.name} widths inside the blocks, the streams as they are (the arm width narrows both)"
    base = [widths[i] for i in inside]
    return at(fit_scale(base, cost, limit, what)[1])


def narrowed(
    origin: Origin, resource: str, limit: int, bounds: Bounds | None = None
) -> tuple[Origin, Widths]:
    """Multiply every layer of the factory's own shape by one k, the largest within the limit: WRN-d-k.

    Families with residual stages scale the stages; what has none, every group.

    Args:
        bounds: what must stay of the whole network; in a family with stages, of these too.

    Raises:
        InputError: where one channel a layer is too many.

    Reference: Crowley et al. 2018, section 3.1 (the yellow curve of Fig. 1).
    """
    if origin.stages is None:  # of a foreign network, residual streams are among the groups
        own, widths = origin.with_arguments({})
        return own, scaled(own, widths, resource, limit, bounds)
    within, whole = bounded(origin, bounds), origin.stages

    def with_stages(stages: Sequence[int]) -> tuple[Origin, Widths]:
        narrow, widths = origin.with_arguments({"stages": list(stages)})
        if bounds:  # the channels inside the blocks go on following k where their stage cannot
            narrow, _ = origin.with_arguments({"stages": list(_stages_within(whole, stages, bounds))})
            widths = within(widths)
        return narrow, widths

    def cost(stages: Sequence[int]) -> int:
        narrow, widths = with_stages(stages)
        return narrow.cost(widths, resource)

    if bounds:
        check_bounds(cost, len(whole), limit, bounds)
        if cost(whole) <= limit:
            return with_stages(whole)
    return with_stages(fit_scale(whole, cost, limit, f"{origin.name} stage widths")[1])


def _stages_within(whole: Sequence[int], stages: Sequence[int], bounds: Bounds) -> Widths:
    """Widths of stages, moved to where they may lie; one that is no channel group stays as wide as it is."""
    names = [f"stages.{index}" for index in range(len(whole))]
    inside = bounds.within(names, stages)
    known = [name in bounds.widths for name in names]
    return tuple(new if there else old for new, old, there in zip(inside, whole, known, strict=True))
