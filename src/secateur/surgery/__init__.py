"""Channel groups of a network, and their physical removal: the network really gets smaller.

families   the groups that the built-in families declare
probe      a copy of a model that runs with marks in place of numbers
tracing    the groups of any model that runs, found by what reaches what
links      which entries of which axes hang together
grouping   channel groups out of them, and why the rest is frozen
reference  the masked reference: the uncut network in which nobody reads what goes
agreement  whether a cut network agrees with it, and where it begins to differ
trial      cuts tried on a copy with random weights
proof      every group by trials, a finished cut by its own weights
watching   which operator runs in which module, to name the one to blame
graph      groups, sites, and what is left of them
cutting    the cut of the layers and of the optimizer's state
state      the tensors of a network's state, whose sizes follow the axes
operators  which operators multiply, by which sizes, and which cost nothing
multiplying a run, and what it multiplied
cut_runs   runs of a network that is cut to widths
products   all that a network multiplies, as products of sizes that follow groups
depth      residual blocks that can go as a whole
costs      what a network costs at any widths, in closed form
soft_cost  the same at widths that are no whole numbers, with its slope
anatomy    all of it for one network; it follows every cut
"""

from secateur.surgery.families import channel_group, family_graph
from secateur.surgery.graph import ChannelGraph
from secateur.surgery.group import ChannelGroup, Frozen, Site

__all__ = ["ChannelGraph", "ChannelGroup", "Frozen", "Site", "channel_group", "family_graph"]
