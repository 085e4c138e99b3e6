"""What uneven widths cost, and what computing them as multiples of 8 gains (`secateur.models.padding`).

A step of `Training` on WRN-40-2 (batch 128) whole, and with 125 and 500 of its 1,344 channels gone, drawn at
random: as the loop has it, and without its padding.
"""

from __future__ import annotations

from contextlib import nullcontext

from benchmarks.fisher_run import BARS, order_of_removal, without
from benchmarks.networks import RealSteps, finish, network
from benchmarks.records import Found, Settings
from benchmarks.timing import measure

REMOVED = (125, 500)
QUICK_REMOVED = (16,)


def run(settings: Settings) -> Found:
    """For each precision and size: padded / not, and not / the whole network."""
    found = Found()
    for precision in BARS:
        steps = {"whole": RealSteps(network("wrn-40-2", settings), settings, precision=precision)}
        for removed in QUICK_REMOVED if settings.quick else REMOVED:
            whole = network("wrn-40-2", settings)
            compact = without(whole, order_of_removal(whole.widths)[:removed])
            padded, plain = (
                RealSteps(compact.build(seed=0), settings, precision=precision) for _ in range(2)
            )
            plain.training.network.padding = nullcontext()
            steps |= {f"{removed} gone, padded": padded, f"{removed} gone": plain}
        times = measure(dict(steps), rounds=settings.rounds, finish=finish(settings), at_least_s=0)
        for name in [name for name in steps if name.endswith("gone")]:
            found.add(f"{precision} {name}, padded", times, f"{name}, padded", name)
            found.add(f"{precision} {name}, over whole", times, name, "whole")
    return found
