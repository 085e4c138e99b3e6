"""What C code knows of torch's operators: one file a kind, which registers its own with `lowering.lowers`."""

from secateur.deploy.c.fusing import fused
from secateur.deploy.c.lowering import Build, lower
from secateur.deploy.c.operators import layers, moves, pointwise, pools, reductions
from secateur.deploy.c.program import Program
from secateur.deploy.traced import Traced

KNOWN = (layers, moves, pointwise, pools, reductions)
"""The files that know operators."""


def lowered(traced: Traced) -> Program:
    """Make a program of a network traced with one example, its steps joined where they can be."""
    build = Build()
    return fused(lower(traced, build), build)
