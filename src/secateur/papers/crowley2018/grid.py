"""The cells of Crowley et al. 2018, section 3.2, at three scales."""

from __future__ import annotations

from dataclasses import dataclass, field

from secateur.papers.published import published
from secateur.papers.reproduction import BaseScale
from secateur.runs.prune_channels import PruneSettings
from secateur.training.recipe import Recipe

PLACES = ("snip",)
SNIP, COPYCAT = "snip", "copycat"


@dataclass(frozen=True)
class Cell:
    """One row: the paper's network, how much of it goes (None: its profile is rescaled), and what is left."""

    method: str
    network: str
    rate: str | None
    size: str
    dataset: str = "cifar10"

    @property
    def published(self) -> float | None:
        """The paper's test error in percent."""
        place = f"section 3.2, {self.size}"
        return published(place, self.dataset, self.network, self.method, self.rate or "", "crowley2018")


CELLS = (
    Cell(SNIP, "wrn-22-8", "95%", "858K"),
    Cell(COPYCAT, "wrn-40-2", None, "800K"),
    Cell(SNIP, "wrn-16-8", "95%", "548K"),
    Cell(COPYCAT, "wrn-40-2", None, "500K"),
)


@dataclass(frozen=True)
class Scale(BaseScale):
    """How large everything is.

    Attributes:
        prune: of the trajectory that copycat takes its profile from.
        removals: after which it does so; None: the paper's share of all channels.
        networks: in place of the paper's.
        budgets: of copycat, in place of the paper's sizes.
    """

    prune: PruneSettings = field(default_factory=PruneSettings)
    removals: int | None = None
    networks: dict[str, str] = field(default_factory=dict, hash=False)
    budgets: dict[str, str] = field(default_factory=dict, hash=False)


_SHARES = {"800K": "params=35.7%", "500K": "params=22.3%"}  # of WRN-40-2's 2,243,546

SCALES = {
    "paper": Scale(Recipe(), val_fraction=0.002, removals=500),
    "laptop": Scale(
        Recipe(epochs=20),
        limit_train=5000,
        prune=PruneSettings(every=10),
        networks={"wrn-22-8": "wrn-22-2", "wrn-16-8": "wrn-16-2", "wrn-40-2": "wrn-40-0.5"},
        budgets=_SHARES,
    ),
    "smoke": Scale(
        Recipe(epochs=10, batch_size=32, lr=0.05),
        seeds=2,
        stand_in="digits",
        prune=PruneSettings(every=2),
        networks={"wrn-22-8": "wrn-22-1", "wrn-16-8": "wrn-16-1", "wrn-40-2": "wrn-16-0.5"},
        budgets=_SHARES,
    ),
}
