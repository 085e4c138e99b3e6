"""A number from eight measurements: prune a network that predicts it, and compare ways to a smaller one.

`task="regression"` trains by the mean squared error and judges by its root: the lower, the better.
Run it with `python examples/regression.py [FOLDER]`.
"""

import sys
import tempfile
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import secateur as sc


def network():
    return nn.Sequential(nn.Linear(8, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 1))


def measurements(count, seed):
    """Friedman's first function of five of the eight, with noise, standardised: (N, 8) and (N,)."""
    chance = torch.Generator().manual_seed(seed)
    x = torch.rand(count, 8, generator=chance)
    y = 10 * torch.sin(torch.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2 + 10 * x[:, 3] + 5 * x[:, 4]
    return TensorDataset(x, (y + torch.randn(count, generator=chance) - 14.4) / 5)


def adam(parameters):
    return torch.optim.AdamW(parameters, lr=2e-2)


def rmse(model, data):
    x, y = data.tensors
    with torch.no_grad():
        return float((model(x).squeeze(1) - y).square().mean().sqrt())


if __name__ == "__main__":
    torch.manual_seed(0)
    torch.set_num_threads(1)
    out = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())
    train, val, test = (measurements(count, seed) for seed, count in enumerate((400, 100, 200)))
    loaders = DataLoader(train, batch_size=50, shuffle=True), DataLoader(val, 100), DataLoader(test, 100)

    # One network, pruned while it goes on training.
    model = network()
    optimizer = adam(model.parameters())
    for _ in range(10):
        for x, y in loaders[0]:
            nn.functional.mse_loss(model(x).squeeze(1), y).backward()
            optimizer.step()
            optimizer.zero_grad()
    before = rmse(model, test)
    model = sc.prune(
        model,
        method="taylor",
        budget="params=40%",
        data=loaders[0],
        task="regression",
        optimizer=optimizer,
        every=5,
        tune_epochs=5,
    )
    sc.save(model, out / "pruned")
    print(f"pruned: rmse {before:.2f} before, {rmse(model, test):.2f} with 40% of the parameters")

    # All ways to a network of that size, trained alike, two seeds each.
    result = sc.compare(
        network,
        data=loaders,
        budgets=["params=40%"],
        arms=["fisher-tuned", "width", "channel-reparametrization"],
        task="regression",
        optimizer=adam,
        seeds=2,
        epochs=8,
        prune_every=2,
        device="cpu",
        out=out / "comparison",
    )
    for row in result.results.summary:
        print(f"{row.arm}: rmse {row.mean:.2f} with {row.params:,.0f} parameters")
    print(result.verdict)
