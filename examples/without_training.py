"""One call without training: channels are scored once and cut, and the weights that stay are as they were.

By the norms of the filters (no data are needed), by Fisher information of a few batches, or by a criterion of
your own. Run it with `python examples/without_training.py [FOLDER]`.
"""

import copy
import sys
import tempfile
from pathlib import Path

import torch
from torch import nn

import secateur as sc


def network():
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(128, 10),
    )


def darkness(activations, gradients):
    """A criterion of one's own: channels that are dark on average go. (N, C, ...) -> (C,)."""
    return activations.abs().flatten(2).mean((0, 2))


if __name__ == "__main__":
    torch.manual_seed(0)
    torch.set_num_threads(1)
    out = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())
    images, labels = torch.rand(64, 1, 8, 8), torch.randint(0, 10, (64,))
    trained = network()  # stands for a network that you have trained

    small = sc.prune(
        copy.deepcopy(trained), method="filter-norm", budget="macs=50%", example_inputs=images, train=False
    )
    print(
        f"filter-norm: {sc.Architecture.of(small).widths} channels, {sc.Architecture.of(small).macs:,} MACs"
    )

    # Half of the second layer's channels and none of the first, by the gradients of one pass over the data.
    batches = [(images, labels)]
    small = sc.prune(
        copy.deepcopy(trained), method="fisher", ratio={"3": 0.5}, keep="0", data=batches, train=False
    )
    print(f"fisher, a share of one layer: {sc.Architecture.of(small).widths} channels")

    small = sc.prune(copy.deepcopy(trained), method=darkness, budget="params=50%", data=batches, train=False)
    print(f"own criterion: {sc.Architecture.of(small).widths} channels")

    sc.save(small, out / "small")
    again = sc.load(out / "small", factory=network)
    print(f"loaded again, the same outputs: {torch.equal(again(images), small(images))}")
