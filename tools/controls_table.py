"""The tables of docs/controls.md, of what `tools/controls.py` left in results/controls."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from secateur.atomic import write_text
from secateur.compare.arms import ARMS
from secateur.compare.arms.weights import WeightArm
from secateur.compare.settings import Sparsity
from secateur.compare.summary import Interval, interval
from secateur.methods import METHODS
from secateur.runs.method_settings import SETTABLE, settings_of, written

OUT = Path(__file__).parents[1] / "results" / "controls"
EXACT, DENSE = "reparametrization", "dense"
NAMES = {
    "small": "ResNet18 x0.125 at 16 px",
    "resnet18": "ResNet18 x0.25",
    "vgg19": "VGG19 x0.25",
    "conv4": "Conv4",
}

UNTUNED = (
    "**Not made yet**: no two trials have been made of every arm. All arms below stand with their defaults: "
    "those of their papers, or, where these are of far longer trainings, those of "
    "[deviations.md](deviations.md).\n"
)

Row = Mapping[str, Any]


def paired(rows: Sequence[Row], control: str, kept: int | None) -> Interval | None:
    """The exact mode less a control, over the seeds that both have; None where there is none.

    Args:
        kept: the exact mode's; the dense network keeps all.
    """
    ours, theirs = values(rows, EXACT, kept), values(rows, control, None if control == DENSE else kept)
    seeds = [seed for seed in ours if seed in theirs]
    return interval([ours[seed] - theirs[seed] for seed in seeds], share=False) if seeds else None


def values(rows: Sequence[Row], arm: str, kept: int | None, key: str = "accuracy") -> dict[int, float]:
    """Seed -> accuracy on the test split."""
    return {row["seed"]: row[key] for row in rows if (row["arm"], row["kept"]) == (arm, kept)}


def verdict(difference: Interval) -> str:
    """What an interval says of the exact mode: ahead, level within it, or behind."""
    if difference.low is None or difference.high is None:
        return "one seed"
    if difference.low > 0:
        return "ahead"
    return "behind" if difference.high < 0 else "level"


def accuracy_cell(rows: Sequence[Row], arm: str, kept: int | None) -> str:
    """Mean ± standard deviation (n), in percent; before the cut in brackets, where that was another."""
    found = values(rows, arm, kept)
    if not found:
        return ""
    whole = interval([100 * value for value in found.values()], share=False)
    spread = "" if whole.std is None else f" ± {whole.std:.1f}"
    before = [value for value in values(rows, arm, kept, "accuracy_before").values() if value is not None]
    cut = ""
    if len(before) == len(found):
        mean_before = 100 * sum(before) / len(before)
        cut = f", {mean_before:.1f} before its cut" if abs(mean_before - whole.mean) >= 0.05 else ""
    return f"{whole.mean:.1f}{spread} ({whole.n}{cut})"


def difference_cell(rows: Sequence[Row], control: str, kept: int) -> str:
    """The difference in percent points, its interval, and what it says."""
    found = paired(rows, control, kept)
    if found is None:
        return ""
    said = f"{100 * found.mean:+.1f}"
    if found.low is not None and found.high is not None:
        said += f" [{100 * found.low:+.1f}, {100 * found.high:+.1f}]"
    return f"{said} {verdict(found)}"


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> list[str]:
    """Markdown."""
    ruled = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return [*ruled, *(f"| {' | '.join(line)} |" for line in lines), ""]


def of_network(rows: Sequence[Row], name: str) -> list[str]:
    """Both tables of one network: what every arm reaches, and how far the exact mode is from it."""
    kept = sorted({row["kept"] for row in rows if row["kept"]}, reverse=True)
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    settings = {row["arm"]: row["settings"] for row in rows}
    shares = [f"{each}% kept" for each in kept]
    dense = accuracy_cell(rows, DENSE, None)
    pruned = [arm for arm in arms if arm != DENSE]
    reached = [
        [arm, f"`{settings[arm]}`" if settings[arm] else "defaults", *cells]
        for arm in pruned
        if any(cells := [accuracy_cell(rows, arm, each) for each in kept])
    ]
    apart = [
        [arm, *cells]
        for arm in (*([DENSE] if dense else []), *(arm for arm in pruned if arm != EXACT))
        if any(cells := [difference_cell(rows, arm, each) for each in kept])
    ]
    return [
        f"**{NAMES[name]}**" + (f", the dense network: {dense}" if dense else ""),
        "",
        *table(["arm", "settings", *shares], reached),
        "The exact mode less each of them, in points, over the seeds that both have [95% interval]:",
        "",
        *table(["arm", *shares], apart),
    ]


def said() -> str:
    """How the exact mode stands beside all other ways at the smallest share that was compared."""
    rows = json.loads((OUT / "comparison.json").read_text(encoding="utf-8"))["rows"]
    kept = min(row["kept"] for row in rows if row["kept"])
    arms = {row["arm"] for row in rows if row["kept"] == kept} - {EXACT}
    words = [verdict(found) for arm in arms if (found := paired(rows, arm, kept)) is not None]
    ours = len(values(rows, EXACT, kept))
    return (
        f"beside {len(arms)} other ways to {kept}% of the weights, ours is ahead of {words.count('ahead')}, "
        f"level with {words.count('level')} and behind {words.count('behind') or 'none'} (n = {ours} seeds)"
    )


def counted(rows: Sequence[Row]) -> str:
    """How often the exact mode is ahead of controls, level with them, and behind, over all cells."""
    said = [
        verdict(found)
        for network in dict.fromkeys(row["network"] for row in rows)
        for own in [[row for row in rows if row["network"] == network]]
        for kept in {row["kept"] for row in own if row["kept"]}
        for arm in {row["arm"] for row in own} - {EXACT, DENSE}
        if (found := paired(own, arm, kept)) is not None
    ]
    counts = ", ".join(f"{said.count(word)} {word}" for word in ("ahead", "level", "behind", "one seed"))
    return f"Over all {len(said)} pairs of a control and a share, the exact mode is: {counts}."


def comparison_table(content: Mapping[str, Any]) -> str:
    """Everything that is recorded of the comparison."""
    rows = content["rows"]
    lines: list[str] = []
    for network in dict.fromkeys(row["network"] for row in rows):
        lines += of_network([row for row in rows if row["network"] == network], network)
    commits = sorted({row["commit"] for row in rows})
    if not rows:
        return "Nothing is recorded yet: `python tools/controls.py compare` makes it.\n"
    where = f"Made at commit {', '.join(commits)} on {content['environment']['device']}."
    return "\n".join([*lines, counted(rows), "", f"{where} `results/controls/comparison.json`.", ""])


def tuning_table(content: Mapping[str, Any]) -> str:
    """Every trial with its mean on validation, and what was chosen."""
    seeds = len(content["seeds"])
    if not seeds:
        return UNTUNED
    lines = [
        [arm, *(_trial(trial, value, trial == content["chosen"][arm]) for trial, value in trials.items())]
        for arm, trials in content["val_accuracy"].items()
    ]
    tried = content["trials"]
    said = (
        f"{tried} settings of each arm, {seeds} seed{'s' * (seeds != 1)} each, at {content['kept']}% kept; "
        "means of the accuracy on 2,000 validation images, in percent; **chosen**."
    )
    return "\n".join([*table(["arm", *(f"trial {i + 1}" for i in range(tried))], lines), said, ""])


def _trial(settings: str, value: float, is_chosen: bool) -> str:
    name = settings.split(".", 1)[-1] or "defaults"
    cell = f"{name}: {100 * value:.1f}"
    return f"**{cell}**" if is_chosen else cell


def settings_table() -> str:
    """What can be set of every method, with its defaults: what makes an arm what it is left out."""
    lines = []
    for name in SETTABLE:
        kind: Any = METHODS[name]
        method = kind("nonzeros=1%", **({"steps": 1} if kind.takes_steps else {}))
        own = {key for arm in ARMS.values() if isinstance(arm, WeightArm) for key in fixed(arm, name)}
        said = [f"`{key}` {usual(method, key)}" for key in settings_of(name) if key not in own]
        if said:
            lines.append([f"`{name}`", ", ".join(said)])
    return "\n".join(table(["method", "settings and their defaults"], lines))


def fixed(arm: WeightArm, method: str) -> set[str]:
    """The settings of a method that an arm of it gives itself."""
    made = arm.method(Sparsity(), 0)
    return set(made.settings) - {"strength"} if made.name == method else set()


def usual(method: Any, name: str) -> str:
    """A setting's default, as it is written; of layer shares the method's own."""
    if name == "layer_shares":
        return str(method.default_shares)
    if name == "compiled":
        return "false"
    home = next(home for home in (getattr(method, "config", None), method) if hasattr(home, name))
    return written(getattr(home, name))


def leave_tables(folder: Path = OUT) -> None:
    """Draw both tables of what is recorded."""
    drawn = {"comparison": (comparison_table, "table.md"), "tuning": (tuning_table, "tuning.md")}
    for name, (draw, page) in drawn.items():
        path = folder / f"{name}.json"
        content = (
            json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"rows": [], "seeds": []}
        )
        write_text(folder / page, draw(content))
