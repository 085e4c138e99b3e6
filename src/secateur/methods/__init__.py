"""Pruning methods: siblings of equal shape, one file each."""

from secateur.methods.base import Method
from secateur.methods.batch_norm_scale import BatchNormScale
from secateur.methods.channel_reparametrization import ChannelReparametrization
from secateur.methods.channels import ChannelPruning
from secateur.methods.dynamic_feedback import DynamicFeedback
from secateur.methods.fisher import Fisher
from secateur.methods.gradual_magnitude import GradualMagnitude
from secateur.methods.l1 import L1
from secateur.methods.magnitude import Magnitude
from secateur.methods.norms import FilterNorm
from secateur.methods.random import Random
from secateur.methods.random_channels import RandomChannels
from secateur.methods.reparametrization import Reparametrization
from secateur.methods.snip import SNIP
from secateur.methods.snip_channels import SNIPChannels
from secateur.methods.taylor import Taylor

CHANNEL_METHODS: dict[str, type[ChannelPruning]] = {
    of.name: of for of in (Fisher, Taylor, FilterNorm, BatchNormScale, SNIPChannels, RandomChannels)
}
"""The criteria for channels, by name."""

METHODS: dict[str, type[Method]] = {
    **CHANNEL_METHODS,
    "channel-reparametrization": ChannelReparametrization,
    "dynamic-feedback": DynamicFeedback,
    "gradual-magnitude": GradualMagnitude,
    "l1": L1,
    "magnitude": Magnitude,
    "random": Random,
    "reparametrization": Reparametrization,
    "snip": SNIP,
}
"""Every registered method, by name."""

__all__ = [
    "CHANNEL_METHODS",
    "L1",
    "METHODS",
    "SNIP",
    "BatchNormScale",
    "ChannelPruning",
    "ChannelReparametrization",
    "DynamicFeedback",
    "FilterNorm",
    "Fisher",
    "GradualMagnitude",
    "Magnitude",
    "Method",
    "Random",
    "RandomChannels",
    "Reparametrization",
    "SNIPChannels",
    "Taylor",
]
