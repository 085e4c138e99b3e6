"""Channel groups of a network, and their physical removal: the network really gets smaller.

families   the groups that the built-in families declare
tracing    the groups of any model that runs, found by what reaches what
proof      every cut of a traced model against a masked reference
graph      groups, sites, and what is left of them
cutting    the cut of the layers and of the optimizer's state
"""

from secateur.surgery.families import (
    channel_groups,
    couplings,
    family_graph,
    features_of,
    features_per_channel,
    macs_per_channel,
    remove_channels,
    width_of,
)
from secateur.surgery.graph import ChannelGraph, ChannelGroup, Frozen, Site

__all__ = [
    "ChannelGraph",
    "ChannelGroup",
    "Frozen",
    "Site",
    "channel_groups",
    "couplings",
    "family_graph",
    "features_of",
    "features_per_channel",
    "macs_per_channel",
    "remove_channels",
    "width_of",
]
