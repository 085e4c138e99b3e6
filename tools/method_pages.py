"""Write what is generated in docs/methods: heads, results, commands, settings, and the index.

    python tools/method_pages.py [--check]

In a page it stands between `<!-- method NAME PART -->` and `<!-- end -->`; all else is written by hand. With
--check it is only said which pages are stale.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import method_results
from controls_table import table
from method_facts import COUNTED, PAGES, Setting, arms_of, budgets, cost, data_needed, prunes, settings, what

from secateur.compare.arms import ARMS
from secateur.methods import CHANNEL_METHODS, METHODS
from secateur.runs.method_settings import SETTABLE

ROOT = Path(__file__).parents[1]
HOME = ROOT / "docs" / "methods"
BLOCK = re.compile(r"(<!-- method ([\w-]+) (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
MANY = 10
"""Rows from which on a table of results is folded."""
KINDS = {
    "weights": "single weights",
    "channels": "whole channels",
    "smaller": "nothing: a smaller network is trained",
}
"""A table of the index: what is pruned of its pages, as `method_facts.prunes` says it."""


def head(page: str) -> str:
    """What it is, in a sentence and a small table."""
    arms = [f"`{arm}`: {ARMS[arm].meaning}" for arm in arms_of(page)]
    rows = [
        ["prunes", prunes(page)],
        ["arms of `compare`", "<br>".join(arms) or "none: `secateur prune` and `sc.prune` take it"],
        ["in Python", f"`sc.methods.{METHODS[page].__name__}`" if page in METHODS else f'`arms=["{page}"]`'],
        ["budgets in", ", ".join(f"`{each}`" for each in budgets(page))],
        ["training data", data_needed(page)],
        ["[cost](index.md#cost)", cost(page)],
    ]
    return "\n".join([what(page), "", *table(["", ""], rows)])


def results(page: str) -> str:
    """Everything recorded of its arms, beside the unpruned network and the best of the others."""
    arms = arms_of(page)
    found = [
        (arm, contest) for contest in method_results.contests() for arm in arms if arm in contest.reached
    ]
    if not found:
        return "Nothing is recorded of it: no number here says whether it is good.\n"
    files = list(dict.fromkeys(contest.file for _, contest in found))
    heads = ["compared on", "budget", "arm", "accuracy, % ± std (seeds)", "place by mean", "unpruned"]
    rows = [_result(arm, contest, files.index(contest.file) + 1) for arm, contest in found]
    cells = [[*heads, "best other arm"], *rows]
    if len(arms) == 1:
        cells = [[*row[:2], *row[3:]] for row in cells]
    lines = table(cells[0], cells[1:])
    where = "; ".join(f"[{i}] `{file}`" for i, file in enumerate(files, start=1))
    lines += [f"{where}. A place by the mean is no verdict: [how to read one](../verdict.md).", ""]
    if len(rows) > MANY:
        lines = [f"<details><summary>All {len(rows)} results</summary>", "", *lines, "</details>", ""]
    return "\n".join(lines)


def _result(arm: str, contest: method_results.Contest, number: int) -> list[str]:
    """One arm in one contest; `number` is its file's."""
    best = contest.best_other(arm)
    return [
        f"{contest.where} [{number}]",
        f"`{contest.budget}`",
        f"`{arm}`",
        str(contest.reached[arm]),
        f"{contest.place(arm)} of {len(contest.reached)}",
        "" if contest.dense is None else str(contest.dense),
        "" if best is None else f"`{best.arm}` {best}",
    ]


COMPARED = """\
<!-- block: slow; --arms -> --epochs 2{removals} --arms -->

```bash
secateur compare --model {model} --data digits --budget {budget} --arms {arm},{other}
```

<!-- block: slow; ["{budget}"] -> ["{budget}"], epochs=2{removing} -->

```python
import secateur as sc

arms = ["{arm}", "{other}"]
result = sc.compare("{model}", data="digits", budgets=["{budget}"], arms=arms)
print(result.verdict)
```
"""
ALONE = """
One network alone:

<!-- block: slow; --out -> --epochs 2 --out -->

```bash
secateur prune {arm} --model {model} --data digits --budget {budget} --out small
```

In a loop of your own: [own-loop.md](../own-loop.md), with `sc.methods.{kind}`.
"""
CRITERION = """\
<!-- block: slow; --out -> --epochs 1 --prune-every 1 --out -->

```bash
secateur prune {page} --model wrn-16-1 --data digits --budget params=50% --out small
```

<!-- setup: python slow
import torch
import secateur as sc

torch.manual_seed(0)
model = sc.models.wide_resnet(depth=10, width=0.5, in_channels=1, image_size=8)
loader = [(torch.randn(16, 1, 8, 8), torch.randint(10, (16,))) for _ in range(4)]
-->

With `model` and `loader` yours, batches of (inputs, targets):

<!-- block: slow; every=10 -> every=1 -->

```python
import secateur as sc

model = sc.prune(model, method="{page}", budget="params=50%", data=loader, every=10)
sc.save(model, "small/")
```

In a loop of your own: [own-loop.md](../own-loop.md#removing-channels), with `sc.methods.{kind}`.
"""
BESIDE = """
Beside a narrower network:

<!-- block: slow; --arms -> --epochs 1 --prune-every 1 --arms -->

```bash
secateur compare --model wrn-16-1 --data digits --budget params=25% --arms {arm},width
```
"""
OTHERS = {"magnitude": "random-tuned", "width": "bottleneck"}
"""What a method is compared with in its own example, where that is itself the usual one."""


def run(page: str) -> str:
    """How to run it: a command, and a few lines of Python."""
    kind = METHODS[page].__name__ if page in METHODS else ""
    arms = arms_of(page)
    if page in CHANNEL_METHODS:
        return CRITERION.format(page=page, kind=kind) + (BESIDE.format(arm=arms[0]) if arms else "")
    weights, removes = page in SETTABLE, ARMS[arms[0]].removes
    given = {
        "model": "conv4" if weights else "wrn-16-1",
        "budget": "nonzeros=5%" if weights else "params=25%",
        "arm": "magnitude-tuned" if page == "magnitude" else arms[0],
        "other": OTHERS.get(page, "magnitude-tuned" if weights else "width"),
        "kind": kind,
        "removals": " --prune-every 1" if removes else "",
        "removing": ", prune_every=1" if removes else "",
    }
    return COMPARED.format(**given) + (ALONE.format(**given) if page in METHODS else "")


def settings_table(page: str) -> str:
    """Every argument of the method, as the code has it."""
    if page not in METHODS:
        return "It has none: its size follows from the budget.\n"
    given = [
        f"`{page}.{each.name}`"
        for each in settings(page)
        if page in SETTABLE and each.default.startswith("`")
    ]
    example = f"`--setting {given[-1].strip('`')}=VALUE`" if given else ""
    said = f"\nFrom outside: {example}, for any of them but what the run gives.\n" if given else ""
    rows = [_row(each) for each in settings(page)]
    return "\n".join(table(["setting", "default", "may be", "is"], rows)) + said


def _row(setting: Setting) -> list[str]:
    return [f"`{setting.name}`", setting.default, *(_cell(text) for text in (setting.range, setting.meaning))]


def _cell(text: str) -> str:
    """Text of a docstring in a table: a bar would end the cell."""
    return text.replace("|", "\\|").replace("<", "&lt;")


def index(kind: str) -> str:
    """All pages of a kind; when to use each is the first sentence of its own page's section."""
    rows = [
        [
            f"[{page}]({page}.md)",
            f"{_cell(what(page))}<br>*{when(page)}*",
            cost(page),
            data_needed(page).split(":")[0],
            ", ".join(budgets(page)),
        ]
        for page in sorted(PAGES)
        if prunes(page) == kind
    ]
    return "\n".join(
        table(["", "what it does, *and when to use it*", "cost", "training data", "budgets in"], rows)
    )


def when(page: str) -> str:
    """The first sentence of "When to use it", which is written in the page."""
    text = (HOME / f"{page}.md").read_text(encoding="utf-8")
    found = re.search(r"^## When to use it\n+(.*?)(?:(?<=[.:])\s|\n\n)", text, re.MULTILINE | re.DOTALL)
    assert found, f"{page}.md says nowhere when to use it"
    return " ".join(found[1].replace("**", "").split()).rstrip(":.") + "."


def costs() -> str:
    """What the column of costs is."""
    return (
        "In units of the unpruned network's own training, as the repository counts training MACs. Of arms "
        "that zero weights it is the epochs that they take (the recipe's, so 1.00): a weight that is zero "
        "saves nothing in this count, and SNIP's scoring is not in it. Of the others it is read from "
        f"`results/{COUNTED[0]}/results.json` at `{COUNTED[1]}`, three seeds: `fisher-tuned` includes the "
        "training before it, and “to find it” is what the pruning took that found the architecture.\n"
    )


PARTS = {"head": head, "results": results, "run": run, "settings": settings_table}


def written(text: str) -> str:
    """A page with its generated parts as they should be."""

    def part(found: re.Match[str]) -> str:
        if found[2] == "index":
            made = costs() if found[3] == "cost" else index(KINDS[found[3]])
        else:
            made = PARTS[found[3]](found[2])
        return f"{found[1]}{made.rstrip()}\n{found[4]}"

    return BLOCK.sub(part, text)


def main() -> int:
    """Exit code 1 where --check finds a difference."""
    stale = 0
    for path in sorted(HOME.glob("*.md")):
        old = path.read_text(encoding="utf-8")
        new = written(old)
        if "--check" not in sys.argv:
            path.write_text(new, encoding="utf-8")
        elif new != old:
            print(f"docs/methods/{path.name} is stale: run PYTHONPATH=src python tools/method_pages.py")
            stale = 1
    return stale


if __name__ == "__main__":
    sys.exit(main())
