"""The rows of Crowley et al. 2018, section 3.2: copycat's networks beside SNIP's."""

from __future__ import annotations

from dataclasses import dataclass

from secateur.papers.crowley2018.scales import DATASET, NETWORK
from secateur.papers.published import published

SNIP, COPYCAT = "snip", "copycat"


@dataclass(frozen=True)
class Cell:
    """One row: the paper's network, how much of it goes (None: its profile is rescaled), and what is left."""

    method: str
    network: str
    rate: str | None
    size: str
    dataset: str = DATASET

    @property
    def published(self) -> float | None:
        """The paper's test error in percent."""
        place = f"section 3.2, {self.size}"
        return published(place, self.dataset, self.network, self.method, self.rate or "", "crowley2018")


CELLS = (
    Cell(SNIP, "wrn-22-8", "95%", "858K"),
    Cell(COPYCAT, NETWORK, None, "800K"),
    Cell(SNIP, "wrn-16-8", "95%", "548K"),
    Cell(COPYCAT, NETWORK, None, "500K"),
)
