"""What meeting the budget exactly costs: `Reparametrization` solving for t, over a plain training step.

ResNet18 (11M weights, 32x32, batch 128), the schedule under way. Before every solution the weights are
trained on for as many steps as lie between two, outside the clock, so that the solver meets what it meets
in training: weights that moved, and a warm start. Its time is divided by those steps. The solution over all
weights, which precedes an evaluation, is put over an epoch of plain steps (45,000 images at 128).
"""

from __future__ import annotations

from benchmarks.networks import CIFAR_STEPS, Steps, batch, finish, network
from benchmarks.records import Found, Settings
from benchmarks.timing import Action, measure
from secateur.methods import Reparametrization

BAR = 0.01
STEPS, UNDER_WAY = 100_000, 40_000  # of a training, and where in it we are


def run(settings: Settings) -> Found:
    """Per step, and per evaluation."""
    name, data = "resnet18", batch(settings, "resnet18")
    method = Reparametrization("nonzeros=5%", steps=STEPS)
    gated, plain = Steps(network(name, settings), data, method=method), Steps(network(name, settings), data)
    method.restore({"step": UNDER_WAY}, {})
    method.before_evaluation(gated.model)
    period = method.config.solve_every

    def train() -> None:
        for _ in range(period):
            gated.update()

    def follow() -> None:
        for _ in range(period):
            method.after_step(gated.model, gated.optimizer)

    times = measure(
        {
            "step": plain,
            "solving for t": Action(follow, before=train, per=period),
            "solving over all weights": Action(
                lambda: method.before_evaluation(gated.model), before=gated.update
            ),
        },
        rounds=settings.rounds,
        finish=finish(settings),
        at_least_s=0,
    )
    found = Found()
    found.add("each step", times, "solving for t", "step", bar=settings.bar(BAR))
    found.add("each evaluation", times, "solving over all weights", "step", factor=1 / CIFAR_STEPS)
    found.notes += [
        f"a solution every {period} steps, on a sample of the weights; its time is divided by {period}",
        f"each evaluation: over {CIFAR_STEPS:.1f} steps, an epoch",
    ]
    return found
