"""The grid of Dupont et al. 2021: a cell is a network on a data set at a pruning rate, at three scales."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from secateur.budget import Budget
from secateur.compare.settings import Sparsity
from secateur.errors import InputError
from secateur.papers.dupont2021.tables import RATES, TABLES
from secateur.papers.reproduction import BaseScale
from secateur.training.recipe import Recipe

PLACES = (*TABLES, "claims", "figure2")
GRID = (("conv4", "cifar10"), ("vgg19", "cifar10"), ("resnet18", "cifar10"), ("conv4", "tiny-imagenet"))
METHODS = ("magnitude", "magnitude-tuned", "reparametrization-faithful", "reparametrization")


@dataclass(frozen=True)
class Cell:
    """One column of one network's rows; `rate` is the share of the weights that goes, as in the paper."""

    network: str
    dataset: str
    rate: str

    @property
    def budget(self) -> Budget:
        """What is left: 95% pruned is nonzeros=5%."""
        return Budget.parse(f"nonzeros={100 - int(self.rate[:-1])}%")

    def __str__(self) -> str:
        return f"{self.network}/{self.dataset}/{self.rate}"


CELLS = tuple(Cell(network, dataset, rate) for network, dataset in GRID for rate in RATES)


@dataclass(frozen=True)
class Scale(BaseScale):
    """How large everything is.

    Attributes:
        recipe: of all arms (the exact mode keeps its schedule: `WeightArm.scheduled`).
        widths: factor on each network's widths.
        image_sizes: to which images are resized, by network or "NETWORK/DATASET"; others stay as they are.
        limits: of the training images, by data set, in place of `limit_train`.
    """

    sparsity: Sparsity = field(default_factory=Sparsity)
    widths: dict[str, float] = field(default_factory=dict, hash=False)
    image_sizes: dict[str, int] = field(default_factory=dict, hash=False)
    limits: dict[str, int] = field(default_factory=dict, hash=False)

    def width(self, cell: Cell) -> float:
        """The factor on the widths of the cell's network."""
        return self.widths.get(cell.network, 1)

    def image_size(self, cell: Cell) -> int | None:
        """To which the cell's images are resized; None: they are left as they are."""
        sizes = self.image_sizes
        return sizes.get(f"{cell.network}/{cell.dataset}", sizes.get(cell.network))


_PAPER = Recipe(
    epochs=300,
    batch_size=128,
    lr=0.1,
    momentum=0.9,
    weight_decay=5e-5,
    schedule="plateau",
    gamma=0.3,
    patience=10,
    early_stop=60,
    select_on="test",
)
_LAPTOP = Recipe(
    epochs=20, batch_size=64, lr=0.05, momentum=0.9, weight_decay=5e-5, schedule="cosine", precision="bf16"
)
_SMOKE = replace(_LAPTOP, epochs=4, precision="fp32")

SCALES = {
    "paper": Scale(_PAPER, sparsity=Sparsity(tune_epochs=300), val_fraction=0.002),
    "laptop": Scale(
        _LAPTOP,
        limit_train=5000,
        widths={"resnet18": 0.25, "vgg19": 0.25},
        image_sizes={"conv4/tiny-imagenet": 16},
        limits={"tiny-imagenet": 20_000},
    ),
    "smoke": Scale(
        _SMOKE,
        seeds=2,
        limit_train=300,
        widths={"conv4": 0.25, "resnet18": 0.125, "vgg19": 0.125},
        stand_in="digits",
        image_sizes={"vgg19": 32},
    ),
}


def parse_cells(text: str | None) -> tuple[Cell, ...]:
    """The cells named, 'conv4/cifar10/95%,vgg19/cifar10'; parts left out at the end mean all of them.

    Raises:
        InputError: where the paper has no such cell.
    """
    if text is None:
        return CELLS
    found = [cell for pattern in text.split(",") for cell in _matching(pattern.strip())]
    return tuple(cell for cell in CELLS if cell in found)


def _matching(pattern: str) -> list[Cell]:
    parts = pattern.split("/")
    found = [cell for cell in CELLS if str(cell).split("/")[: len(parts)] == parts]
    if not found:
        raise InputError(
            f"Dupont et al. 2021 have no cell '{pattern}': write NETWORK/DATASET/RATE, for example "
            f"{CELLS[0]}; there are {', '.join('/'.join(pair) for pair in GRID)} at {', '.join(RATES)}"
        )
    return found
