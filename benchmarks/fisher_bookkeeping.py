"""What watching costs: a training step that keeps Fisher's sums, over the same step without.

Both are `Training.step` itself, on the same batch, with the same network (WRN-40-2, batch 128, fp32), in
each memory layout. No channel is removed meanwhile. A second plain network is the control: what it differs
from 1 by is chance, and no claim is finer than that.
"""

from __future__ import annotations

from benchmarks.networks import LAYOUTS, RealSteps, finish, network
from benchmarks.records import Found, Settings
from benchmarks.timing import measure
from secateur.methods import Fisher

BAR = 1.02
NEVER = 10**9  # steps until a removal
STEPS = 4  # of a round, which take turns one by one
ROUNDS = 2  # times as many as elsewhere


def run(settings: Settings) -> Found:
    """One case for each layout."""
    found = Found()
    for name, layout in LAYOUTS.items():
        watching = Fisher(removals=1, every=NEVER)
        plain = RealSteps(network("wrn-40-2", settings), settings, layout=layout)
        control = RealSteps(network("wrn-40-2", settings), settings, layout=layout)
        watched = RealSteps(network("wrn-40-2", settings), settings, layout=layout, method=watching)
        times = measure(
            {"step": plain, "step with Fisher's sums": watched, "step of another copy": control},
            rounds=ROUNDS * settings.rounds,
            finish=finish(settings),
            at_least_s=0,
            passes=STEPS,
        )
        found.add(f"wrn-40-2 {name}", times, "step with Fisher's sums", "step", bar=settings.bar(BAR))
        found.add(f"control {name}", times, "step of another copy", "step")
    found.notes.append(
        f"{ROUNDS * settings.rounds} rounds of {STEPS} steps each, which take turns one by one"
    )
    return found
