"""Where networks come from: one protocol, implemented for the built-in families and for all factories.

`family.FamilyOrigin` calls a factory of ours, `foreign.ForeignOrigin` the user's. An `Architecture` is an
origin at some widths, and asks it for everything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from torch import nn

from secateur.data import Data

OFFERED = ("num_classes", "in_channels", "image_size")
"""The arguments that a user's factory is called with, where it has parameters of these names; no others."""

_ATTRIBUTE = "_secateur_origin"


class GroupOfWhole(NamedTuple):
    """What `architecture.json` says of a group beside its name and width.

    Attributes:
        width: in the whole network.
        layers: the dotted names of those it spans.
        sets: how its channels are tied, e.g. "4 parts"; mostly "".
        sites: where its channels lie (`secateur.architecture.sites`); none of a built-in family's.
    """

    width: int
    layers: list[str]
    sets: str
    sites: Sequence[dict[str, Any]] = ()


Kept = Mapping[str, Sequence[int]]
"""Group -> the channels that are left, by their number in the whole network, ascending."""


class Origin(Protocol):
    """How the networks of an architecture are made, and what is known of them at any widths of their groups.

    `widths` in a call is one width for each channel group, in network order; `kept` says of some groups which
    channels these are, and of those that it leaves out it is the first.
    """

    @property
    def name(self) -> str:
        """The factory: a key of `secateur.models.FACTORIES`, or the name that the user gave."""

    @property
    def arguments(self) -> dict[str, Any]:
        """What the factory is called with, beside widths; JSON-able."""

    @property
    def is_family(self) -> bool:
        """Whether the factory is built in, so that its name and arguments alone make the network."""

    @property
    def display_name(self) -> str:
        """The network's name for people, e.g. 'wrn-16-0.75' or 'mypackage.nets:build'."""

    @property
    def proof(self) -> str:
        """Why its groups can be trusted, in words."""

    @property
    def widths(self) -> tuple[int, ...]:
        """The groups' widths in the whole network, as the factory makes it."""

    @property
    def widest(self) -> tuple[int, ...] | None:
        """The largest widths that can be made; None where any can."""

    @property
    def inside(self) -> tuple[int, ...]:
        """Which of the groups lie inside blocks, or in a plain chain: no residual streams."""

    @property
    def stages(self) -> list[int] | None:
        """The widths of residual stages where they are arguments of the factory, else None."""

    @property
    def classes(self) -> int | None:
        """How many classes the network tells apart; None where its output has no scores."""

    @property
    def inputs(self) -> Any:
        """Shapes and types of one example, as JSON."""

    @property
    def layout(self) -> str | None:
        """Twelve hex digits of the whole network's tensor names and shapes; None where the code is ours."""

    def checked(self, widths: Sequence[int]) -> dict[str, int | None]:
        """Count, without running it, what a network at these widths must share with its file."""

    def described(self) -> dict[str, Any]:
        """Say what `architecture.json` has beside groups, inputs and counts; the same at all widths."""

    def names_at(self, widths: Sequence[int]) -> tuple[str, ...]:
        """Name the channel groups, in network order."""

    def groups_at(self, widths: Sequence[int]) -> list[GroupOfWhole]:
        """Describe the groups of the network at these widths."""

    def make(self, widths: Sequence[int], kept: Kept | None = None) -> nn.Module:
        """Build the network, freshly initialised, on the CPU."""

    def rebuilt(self, widths: Sequence[int], kept: Kept | None = None) -> nn.Module:
        """Build the network that a saved state is put into: all that is not in a state is what it was."""

    def skeleton(self, widths: Sequence[int]) -> nn.Module:
        """Build the network on the meta device: shapes only."""

    def cost(self, widths: Sequence[int], resource: str) -> int:
        """Count a resource (`secateur.budget.COUNTERS`)."""

    def clamped(self, widths: Sequence[int]) -> tuple[int, ...]:
        """Narrow what is wider than can be made."""

    def identity_at(self, widths: Sequence[int], kept: Kept | None = None) -> dict[str, Any]:
        """Say what identifies the network beyond the factory's name, its arguments and the widths."""

    def comes_trained_at(self, widths: Sequence[int]) -> bool:
        """Say whether a network at these widths begins with weights that were trained elsewhere."""

    def with_arguments(self, changes: dict[str, Any]) -> tuple[Origin, tuple[int, ...]]:
        """Take other arguments for the factory, and the widths that it then makes.

        Raises:
            InputError: where the factory refuses them.
        """

    def fitted_to(self, data: Data, widths: Sequence[int]) -> Origin:
        """Take the data's images; InputError where a network at these widths does not take them."""

    def at_images(self, shape: Sequence[int], widths: Sequence[int]) -> Origin:
        """Take images of (channels, height, width); InputError where a network at these widths does not."""

    def widths_of(self, model: nn.Module) -> tuple[int, ...]:
        """Read the present widths of a network that was made here."""

    def kept_of(self, model: nn.Module) -> Kept:
        """Read which channels are left of a network that was made here, of groups where not the first are."""


def carry_origin(model: nn.Module, origin: Origin | None) -> None:
    """Have a model know where it comes from: copies of it share the origin, a pickled one has none.

    Args:
        origin: None: the model carries none any more.
    """
    if origin is None:
        model.__dict__.pop(_ATTRIBUTE, None)
    else:
        setattr(model, _ATTRIBUTE, origin)


def carried_origin(model: nn.Module) -> Origin | None:
    """Look up the origin that a model carries; None where it carries none."""
    return getattr(model, _ATTRIBUTE, None)
