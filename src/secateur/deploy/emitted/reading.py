"""What README.txt says in an emitted folder."""

from __future__ import annotations

from secateur.deploy.emitted.plan import Plan, kept_text

_SECONDS = {"c": 0.015, "onnxruntime": 0.03}
"""About how long one layer takes in one round."""


def readme(runtime: str, plan: Plan, **said: str) -> str:
    """The text.

    Args:
        said: what only the runtime's folder knows: bytes of weights, the command that builds.
    """
    seconds = (len(plan.points) + len(plan.networks)) * 3 * _SECONDS[runtime]
    minutes = max(1, round(seconds / 60))
    return kept_text(f"{runtime}.txt").format(
        counts=f"{len(plan.points)} layers and {len(plan.networks)} networks are measured, in turns.",
        about=f"{minutes} minute{'s' * (minutes > 1)}",
        batch=plan.batch,
        threads=plan.threads,
        **said,
    ) + kept_text("back.txt")
