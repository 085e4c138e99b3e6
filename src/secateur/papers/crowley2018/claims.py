"""The claims of Crowley et al. 2018, each held against the runs of a folder: `claims.md`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from secateur.atomic import write_bytes
from secateur.papers.cells import CrowleyCells, CrowleyRun, FamilyCells, FamilyRun, Pruned
from secateur.papers.crowley2018.families import BOTTLENECK, COPYCAT, SCRATCH, TUNED, WIDTH
from secateur.papers.crowley2018.judging import (
    HELD,
    MARGIN,
    MISSING,
    NOT_HELD,
    OPEN,
    Verdict,
    better,
    gap,
    gap_of,
    similar,
    smaller_is_clearer,
    together,
)
from secateur.papers.crowley2018.profiles import later, profile_after, reached, spearman
from secateur.papers.text import markdown

TENDS = 0.5
"""The rank correlation from which something is called a tendency."""
CONSISTENT = 0.8
"""The rank correlation from which profiles are called consistent."""


@dataclass(frozen=True)
class Claim:
    """What the paper says, where, and what our runs say of it."""

    text: str
    place: str
    verdict: Verdict


def consistent(trajectories: Sequence[Pruned]) -> Verdict:
    """Judge the footnote's claim: the profiles after further pruning are consistent."""
    found = [
        (
            removals,
            spearman(profile_after(each, each.profile_after).percent, profile_after(each, removals).percent),
        )
        for each in trajectories
        if reached(each) and not each.beta
        for removals in later(each)
    ]
    known = [value for _, value in found if value is not None]
    if not known:
        return Verdict(MISSING)
    listed = ", ".join(f"{value:.2f} after {removals:,}" for removals, value in found if value is not None)
    word = HELD if min(known) >= CONSISTENT else NOT_HELD
    return Verdict(word, f"Spearman's rank correlation of the percent left by block: {listed}")


def strided_stay(trajectories: Sequence[Pruned]) -> Verdict:
    """Judge the claim that channels of strided blocks are rarely pruned: they keep more than the others."""
    found = [each for each in trajectories if reached(each) and each.strided and not each.beta]
    if not found:
        return Verdict(MISSING)
    said, kept = [], []
    for each in found:
        percent = profile_after(each, each.profile_after).percent
        for index in each.strided:
            rest = _mean([percent[other] for other in _beside(each, index)])
            kept.append(percent[index] > rest)
            said.append(f"block {index + 1} keeps {percent[index]:.0f}%, others as wide {rest:.0f}%")
    return Verdict(together([HELD if each else NOT_HELD for each in kept]), "; ".join(said))


def _beside(pruned: Pruned, index: int) -> list[int]:
    """The other blocks that were as wide; all others where there are none, or no others."""
    others = [other for other in range(len(pruned.widths)) if other not in pruned.strided]
    return [other for other in others if pruned.widths[other] == pruned.widths[index]] or others or [index]


def later_go(trajectories: Sequence[Pruned]) -> Verdict:
    """Judge the claim that channels of later blocks tend to be pruned, the strided ones aside."""
    found = []
    for each in trajectories:
        if reached(each) and not each.beta:
            percent = profile_after(each, each.profile_after).percent
            places = [index for index in range(len(percent)) if index not in each.strided]
            found.append(spearman(places, [percent[index] for index in places]))
    known = [value for value in found if value is not None]
    if not known:
        return Verdict(MISSING)
    word = HELD if max(known) <= -TENDS else NOT_HELD if min(known) >= 0 else OPEN
    listed = ", ".join(f"{value:.2f}" for value in known)
    return Verdict(word, f"rank correlation of a block's place and its percent left: {listed}")


def beats_snip(cells: Sequence[CrowleyRun]) -> Verdict:
    """Judge the claim that copycat's networks are competitive with SNIP's at about as many parameters."""
    errors: dict[str, list[float]] = {}
    for run in cells:
        errors.setdefault(run.size, []).append(100 * (1 - run.accuracy))
    said, words = [], []
    for ours, theirs in (("800K", "858K"), ("500K", "548K")):
        if {ours, theirs} <= set(errors):
            lower = _mean(errors[ours]) < _mean(errors[theirs])
            found = gap_of(errors[ours], errors[theirs], int(lower), 1)
            words.append(better(found).word)
            said.append(f"{ours} against {theirs}: {found}")
    return Verdict(together(words), "; ".join(said)) if words else Verdict(MISSING)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def figure1_claims(content: FamilyCells | None) -> list[Claim]:
    """What the paper says of Fig. 1."""
    runs: dict[tuple[str, str | None], list[FamilyRun]] = {}
    cells = content.cells if content else ()
    for run in cells:
        runs.setdefault((run.arm, run.distill), []).append(run)

    def found(arm: str, distill: str | None = None) -> list[FamilyRun]:
        return runs.get((arm, distill), [])

    def below(one: str, other: str) -> Verdict:
        return better(gap(found(one), found(other)))

    tuned, fewer = found(TUNED), "a simple, smaller network from scratch beats pruning and tuning"
    claims = [
        Claim(f"{fewer}: narrower networks", "section 3.1", below(WIDTH, TUNED)),
        Claim(f"{fewer}: bottlenecked networks", "section 3.1", below(BOTTLENECK, TUNED)),
        Claim(
            "that is more pronounced the smaller the networks get (narrower ones)",
            "section 3.1",
            smaller_is_clearer(found(WIDTH), tuned),
        ),
        Claim(
            "pruned architectures from scratch beat their tuned selves", "section 3.2", below(SCRATCH, TUNED)
        ),
        Claim("they beat narrower networks for most sizes", "section 3.2", below(SCRATCH, WIDTH)),
        Claim("they beat bottlenecked networks for most sizes", "section 3.2", below(SCRATCH, BOTTLENECK)),
        Claim(
            "copycat's networks perform similarly to the pruned architectures from scratch",
            "section 3.2",
            similar(gap(found(COPYCAT), found(SCRATCH))),
        ),
    ]
    for distill in sorted({run.distill for run in cells if run.distill is not None}):
        for arm in (SCRATCH, COPYCAT):
            verdict = better(gap(found(arm, distill), found(arm)))
            text = f"distillation ({distill}) further boosts what is trained from scratch: {arm}"
            claims.append(Claim(text, "section 4, future work", verdict))
    return claims


def figure2_claims(content: FamilyCells | None) -> list[Claim]:
    """What the paper says of Fig. 2(c)."""
    found = content.trajectories if content else ()
    return [
        Claim("the profile is consistent with those after further pruning", "footnote 2", consistent(found)),
        Claim("channels are rarely pruned in strided blocks", "section 3.2", strided_stay(found)),
        Claim("channels in later layers tend to be pruned", "section 3.2", later_go(found)),
    ]


def penalty_claims(content: FamilyCells | None) -> list[Claim]:
    """What the paper says of the FLOP penalty."""
    runs: dict[tuple[str, float], list[FamilyRun]] = {}
    for run in content.cells if content else ():
        runs.setdefault((run.arm, run.beta), []).append(run)
    found = {
        beta: similar(gap(runs[SCRATCH, beta], runs.get((SCRATCH, 0.0), [])))
        for arm, beta in runs
        if arm == SCRATCH and beta
    }
    said = "; ".join(f"beta {beta:g}: {each.numbers}" for beta, each in found.items() if each.numbers)
    verdict = Verdict(together([each.word for each in found.values()]), said)
    return [Claim("several values of the FLOP penalty made little difference", "section 3.2", verdict)]


def snip_claims(content: CrowleyCells | None) -> list[Claim]:
    """What the paper says of SNIP's networks."""
    text = "copycat's networks have a lower error than SNIP's of about as many parameters"
    return [Claim(text, "section 3.2", beats_snip(content.cells if content else ()))]


def write_claims(out: Path) -> None:
    """Judge every claim by what lies in the folder, and leave `claims.md`."""
    parts: list[str] = []
    figures = {"figure1": figure1_claims, "figure2": figure2_claims, "penalties": penalty_claims}
    for place, judge in figures.items():
        path = out / f"{place}.json"
        content = FamilyCells.load(path) if path.is_file() else None
        parts += paragraphs(judge(content), conditions_of(content) if content else _to_make(place))
    path = out / "cells.json"
    cells = CrowleyCells.load(path) if path.is_file() else None
    parts += paragraphs(snip_claims(cells), conditions_of(cells) if cells else _to_make("snip"))
    write_bytes(out / "claims.md", "\n".join([*_HEAD, *parts]).encode())


def _to_make(place: str) -> str:
    """What makes the runs of a place that the folder has none of."""
    return f"secateur reproduce crowley2018 {place}"


_HEAD = (
    "**The claims of Crowley et al. 2018 in our hands**",
    "",
    "Differences are in points of test error over all sizes, positive where the claim's side is better, with "
    "their 95% interval over seeds; of one run (n = 1), as of one trajectory, no spread is known. Similar is "
    f"within {MARGIN:g} point; consistent is a rank correlation of at least {CONSISTENT:g}; a tendency one "
    f"of at least {TENDS:g}, either way.",
    "",
)


def conditions_of(content: FamilyCells | CrowleyCells) -> str:
    """At which scale, of which network, on what: in a few words."""
    made_of = ", ".join(sorted({run.made_of for run in content.cells}))
    epochs = sorted({run.epochs for run in content.cells if getattr(run, "arm", "") != TUNED})
    trained = f", {' and '.join(map(str, epochs))} epochs" if epochs else ""
    return f"scale {content.about.scale}, {made_of}, {content.about.data}{trained}"


def paragraphs(claims: Sequence[Claim], where: str) -> list[str]:
    """A paragraph for each claim."""
    found = []
    for claim in claims:
        numbers = f": {claim.verdict.numbers}" if claim.verdict.numbers else ""
        text = f"{claim.text[0].upper()}{claim.text[1:]}"
        found += [
            f"**{text}** ({claim.place}). *{claim.verdict.word}*{markdown(numbers)} ({markdown(where)}).",
            "",
        ]
    return found
