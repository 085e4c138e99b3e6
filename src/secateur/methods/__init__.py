"""The methods: siblings of equal shape, one per file. The registry is what the CLI and the tests go by."""

from __future__ import annotations

from secateur.methods.base import Method
from secateur.methods.channel_reparametrization import ChannelReparametrization
from secateur.methods.fisher import Fisher
from secateur.methods.l1 import L1
from secateur.methods.magnitude import Magnitude
from secateur.methods.random import Random
from secateur.methods.reparametrization import Reparametrization
from secateur.methods.snip import SNIP

METHODS: dict[str, type[Method]] = {
    "channel-reparametrization": ChannelReparametrization,
    "fisher": Fisher,
    "l1": L1,
    "magnitude": Magnitude,
    "random": Random,
    "reparametrization": Reparametrization,
    "snip": SNIP,
}

__all__ = [
    "L1",
    "METHODS",
    "SNIP",
    "ChannelReparametrization",
    "Fisher",
    "Magnitude",
    "Method",
    "Random",
    "Reparametrization",
]
