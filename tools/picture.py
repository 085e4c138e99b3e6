"""Draw README's picture, a forest plot of a recorded comparison, for light pages and for dark ones.

python tools/picture.py                 draws results/cifar10-wrn-16-1 into docs/pictures/
python tools/picture.py --check         only says whether the pictures are what the file says
python tools/picture.py results/NAME    draws another comparison

The comparison is chosen for its data and for its answer: real images, five ways to a smaller network and two
budgets, which is what fits a README; and one of the five is told apart from the rest. All others in results/
are of the digits, where most arms reach what the unpruned network reaches.
"""

from __future__ import annotations

import sys
from pathlib import Path

from secateur.atomic import write_text
from secateur.records.results import Results
from secateur.report import svg
from secateur.report.drawing import house_style
from secateur.report.forest_drawing import wide_figure
from secateur.report.forest_rows import forest_of
from secateur.report.series import NAMES

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "results" / "cifar10-wrn-16-1"
PICTURES = ROOT / "docs" / "pictures"
WORDS = {
    "fisher-tuned": "pruned and tuned",
    "fisher-scratch": "the pruned architecture trained from scratch",
}
"""What arms are called in the claim, where their names say little."""
WIDTH = 880
"""Pixels: as wide as GitHub shows a README."""


def claim(results: Results) -> str:
    """What the verdict found, in a sentence: the arm that is furthest behind the one that leads."""
    found = [
        (gap, entry)
        for entry in results.verdict.per_budget
        for gap in entry.gaps
        if gap.arm in entry.behind and results.measure.fraction
    ]
    if not found:
        return f"{results.model} on {results.data.label}: no way to a smaller network is told apart"
    gap, entry = max(found, key=lambda pair: pair[0].gap)
    resource, _, size = entry.budget.partition("=")
    where = f"{size} of the {NAMES[resource]}" if size.endswith("%") else entry.budget
    return (
        f"At {where}, {WORDS.get(gap.arm, gap.arm)} is {100 * gap.gap:.1f} points behind "
        f"{WORDS.get(entry.leader, entry.leader)}"
    )


def title(results: Results) -> tuple[str, str]:
    """What was found, and of how much work: of what, how many, where."""
    data, settings = results.data, results.settings
    seeds = settings["seeds"]
    return (
        claim(results),
        f"{results.model} on {data.label} · {seeds} seed{'' if seeds == 1 else 's'} each · "
        f"{data.train:,} training images, {settings['epochs']} epochs · {data.test:,} test images · "
        f"{results.environment['device']}, {results.environment['date']}",
    )


def drawn(directory: Path) -> dict[Path, str]:
    """The pictures of a comparison: path -> content."""
    results = Results.load(directory / "results.json")
    heading = title(results)
    alt = f"{heading[0]}. {heading[1]}. {results.verdict.text}"
    found = {}
    with house_style():
        for name, night in (("light", False), ("dark", True)):
            forest = forest_of(results)
            figure = wide_figure(forest, WIDTH, heading)
            content = svg.picture(figure, alt, night=night, tips=forest.tips)
            found[PICTURES / f"forest-{name}.svg"] = content
    return found


def main() -> int:
    """Draw, or check."""
    arguments = sys.argv[1:]
    check = "--check" in arguments
    named = [Path(argument) for argument in arguments if argument != "--check"]
    pictures = drawn(named[0] if named else SOURCE)
    stale = [
        path for path, content in pictures.items() if not path.is_file() or path.read_text("utf-8") != content
    ]
    if check:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is not what the results say: run python tools/picture.py")
        return 1 if stale else 0
    PICTURES.mkdir(parents=True, exist_ok=True)
    for path, content in pictures.items():
        write_text(path, content)
        print(path.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
