"""Layers that nobody has seen run: where a model does not run in training, they may read what is cut."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import nn

from secateur.surgery.cutting import in_size
from secateur.surgery.graph import ChannelGraph


def may_be_read(
    graph: ChannelGraph, layers: Mapping[str, nn.Module], ran: Iterable[str], failure: str | None
) -> dict[str, str]:
    """Say which groups a layer may read that runs in training alone, which nobody could run.

    Args:
        layers: all convolutions and linear layers.
        ran: those that were called.
        failure: why the model does not run in training on its inputs; None: it does, and nothing is hidden.

    Returns:
        group -> the reason to leave it: it is as wide as what such a layer reads.
    """
    called = set(ran)
    hidden = {in_size(layer): name for name, layer in layers.items() if name not in called}
    if failure is None or not hidden:
        return {}
    found = {}
    for group in graph:
        sizes = [graph.size(site.axis) for site in group.sites if site.axis[1] == "out"]
        if reader := next((hidden[size] for size in sizes if size in hidden), None):
            found[group.name] = (
                f"{reader} may read it in training, where the model does not run on these inputs "
                f"({failure}): inspect it with inputs that it trains on"
            )
    return found
