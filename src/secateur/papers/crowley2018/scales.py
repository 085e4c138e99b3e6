"""The three scales of Crowley et al. 2018: the network, the images, the sizes and the training.

The paper has one network, WRN-40-2, and its sizes are numbers of parameters. Of another network they are the
same shares: 200K of WRN-40-2's 2,243,546 is 8.9% of whatever is pruned.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from secateur.names import SelectingSplit
from secateur.papers.reproduction import BaseScale
from secateur.runs.prune_channels import PruneSettings
from secateur.training.recipe import Recipe

NETWORK = "wrn-40-2"
DATASET = "cifar10"
PARAMS = 2_243_546
"""Of WRN-40-2."""

SIZES = tuple(f"{thousands}K" for thousands in range(200, 2001, 100))
"""Fig. 1: "between 200K and 2M parameters, in increments of roughly 100K"."""


def share_of(size: str) -> float:
    """The share of WRN-40-2's parameters that a size of the paper's is, in (0, 1).

    Example:
        >>> round(share_of("500K"), 4)
        0.2229
    """
    return 1000 * int(size.removesuffix("K")) / PARAMS


def share_budget(size: str) -> str:
    """The budget of another network, in percent.

    Example:
        >>> share_budget("500K")
        'params=22.3%'
    """
    return f"params={share_of(size):.1%}"


@dataclass(frozen=True)
class Scale(BaseScale):
    """How large everything is.

    Attributes:
        prune: of the trajectories, at the recipe's epochs.
        removals: after which copycat takes its profile; None: the paper's share of all channels.
        networks: in place of the paper's.
        finds_precision: whether forward passes are in bf16 where that is faster.
        sizes: of Fig. 1, those of the paper.
        penalties: of FLOPs, per MAC.
        image_sizes: data set -> the side its images are resized to; the others' are as they are.
    """

    prune: PruneSettings = field(default_factory=PruneSettings)
    removals: int | None = None
    networks: dict[str, str] = field(default_factory=dict, hash=False)
    finds_precision: bool = False
    sizes: tuple[str, ...] = SIZES
    image_sizes: dict[str, int] = field(default_factory=dict, hash=False)
    penalties: tuple[float, ...] = (1e-9, 1e-8, 1e-7)

    def pruning(self, epochs: int, measured_on: SelectingSplit) -> PruneSettings:
        """Of the trajectory where networks are trained for so many epochs: tuning takes the same share.

        Example:
            >>> SCALES["paper"].pruning(50, "val").every
            25
        """
        every = max(1, round(self.prune.every * epochs / self.recipe.epochs))
        return replace(self.prune, every=every, measured_on=measured_on)

    def budget(self, size: str, network: str) -> str:
        """The budget at a size of the paper's: its own parameters of its own network, else the same share."""
        return f"params={size}" if network == NETWORK else share_budget(size)


SCALES = {
    "paper": Scale(Recipe(), val_fraction=0.02, removals=500, penalties=(1e-11, 1e-10, 1e-9)),
    "laptop": Scale(
        Recipe(epochs=80, batch_size=64),
        limit_train=10_000,
        finds_precision=True,
        prune=PruneSettings(every=80),
        networks={"wrn-22-8": "wrn-22-2.25", "wrn-16-8": "wrn-16-2.25", NETWORK: "wrn-16-1"},
        sizes=("200K", "500K", "800K", "1300K", "2000K"),
        image_sizes={"cifar10": 16, "tiny-imagenet": 32},
    ),
    "smoke": Scale(
        Recipe(epochs=10, batch_size=32, lr=0.05),
        seeds=2,
        stand_in="digits",
        prune=PruneSettings(every=2),
        networks={"wrn-22-8": "wrn-22-1", "wrn-16-8": "wrn-16-1", NETWORK: "wrn-16-0.5"},
        sizes=("500K", "800K", "1300K"),
    ),
}
