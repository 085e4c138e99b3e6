"""Smaller networks of the same kind: all channels narrowed, those inside the blocks, or whole stages."""

from __future__ import annotations

from collections.abc import Sequence

from secateur.architecture.fitting import fit_scale
from secateur.architecture.origin import Origin
from secateur.errors import InputError


def scaled(origin: Origin, widths: Sequence[int], resource: str, limit: int) -> tuple[int, ...]:
    """Multiply every width by one alpha, the largest within the limit.

    Args:
        limit: in units of the resource.

    Raises:
        InputError: where even widths of 1 are too many.

    Reference: Crowley et al. 2018, section 3.2: B(N_i, alpha N_mj, N_o).
    """
    if origin.widest is not None and origin.cost(origin.widest, resource) <= limit:
        return origin.widest

    def cost(candidate: list[int]) -> int:
        return origin.cost(origin.clamped(candidate), resource)

    return origin.clamped(fit_scale(widths, cost, limit, f"scaled {origin.name} group widths")[1])


def bottlenecked(origin: Origin, widths: Sequence[int], resource: str, limit: int) -> tuple[int, ...]:
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
        return scaled(origin, widths, resource, limit)

    def at(candidate: Sequence[int]) -> tuple[int, ...]:
        narrowed = dict(zip(inside, candidate, strict=True))
        return origin.clamped([narrowed.get(i, width) for i, width in enumerate(widths)])

    if origin.widest is not None:
        widest = at([origin.widest[i] for i in inside])
        if origin.cost(widest, resource) <= limit:
            return widest
    what = f"{origin.name} widths inside the blocks, the streams as they are (the arm width narrows both)"
    base = [widths[i] for i in inside]
    return at(fit_scale(base, lambda candidate: origin.cost(at(candidate), resource), limit, what)[1])


def narrowed(origin: Origin, resource: str, limit: int) -> tuple[Origin, tuple[int, ...]]:
    """Multiply every layer of the factory's own shape by one k, the largest within the limit: WRN-d-k.

    Families with residual stages scale the stages; what has none, every group.

    Raises:
        InputError: where one channel a layer is too many.

    Reference: Crowley et al. 2018, section 3.1 (the yellow curve of Fig. 1).
    """
    if origin.stages is None:  # of a foreign network, residual streams are among the groups
        own, widths = origin.with_arguments({})
        return own, scaled(own, widths, resource, limit)

    def with_stages(stages: list[int]) -> tuple[Origin, tuple[int, ...]]:
        return origin.with_arguments({"stages": stages})

    def cost(stages: list[int]) -> int:
        narrow, widths = with_stages(stages)
        return narrow.cost(widths, resource)

    return with_stages(fit_scale(origin.stages, cost, limit, f"{origin.name} stage widths")[1])
