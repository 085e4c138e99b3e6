"""The recorded lines as Markdown: what holds of how many networks, and each of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
OTHERS = ("torch-pruning", "torch-kirigami")
WORDS = {
    "right": "right",
    "wrong": "**wrong**",
    "fails": "falls in the forward pass",
    "raised": "raised",
    "declined": "declined",
    "late": "no end",
    "runs": "runs, not judged",
    "nothing cut": "cut nothing",
}


def tables(rows: Sequence[Row]) -> dict[str, str]:
    """File name -> Markdown: the summary by kind, all networks, and what falls short with its reason."""
    return {"summary": _summary(rows), "networks": _networks(rows), "short": _short(rows)}


def proved(row: Row) -> bool:
    """Whether groups were found and proved."""
    return bool(row.get("groups"))


def done(row: Row) -> bool:
    """Whether all that has to hold holds: half of the MACs, right, and loaded to the bit."""
    half = row.get("half", {}).get("reached")
    return bool(proved(row) and half and row.get("right") and row.get("loaded"))


CHECKS: dict[str, Callable[[Row], bool]] = {
    "proved": proved,
    "half of the MACs": lambda row: bool(row.get("half", {}).get("reached")),
    "right by the reference": lambda row: bool(row.get("right")),
    "loaded to the bit": lambda row: bool(row.get("loaded")),
    "MACs as torch counts": lambda row: row.get("books", {}).get("macs") == 0,
    "ONNX equal": lambda row: row.get("onnx") is not None,
}


def _summary(rows: Sequence[Row]) -> str:
    kinds = list(dict.fromkeys(_kind(row) for row in rows))
    heads = ["networks", "tried", *CHECKS, "in one: half, right, loaded"]
    heads += [f"{tool}: {said}" for said in ("right", "wrong, without a word") for tool in OTHERS]
    lines = [f"| {' | '.join(heads)} |", f"|---|{'--:|' * (len(heads) - 1)}"]
    for kind in [*kinds, ""]:
        part = [row for row in rows if not kind or _kind(row) == kind]
        cells = [kind or "**all**", str(len(part))]
        cells += [str(sum(map(check, part))) for check in CHECKS.values()]
        cells.append(f"{sum(map(done, part))} ({sum(map(done, part)) / max(1, len(part)):.0%})")
        for outcome in ("right", "wrong"):
            cells += [_count_of(part, tool, outcome) for tool in OTHERS]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", *_notes(rows), ""])


def _count_of(rows: Sequence[Row], tool: str, outcome: str) -> str:
    """How many of the networks that the other library was given; nothing where it was given none."""
    given = [row for row in rows if tool in row.get("others", {})]
    return f"{sum(_other(row, tool) == outcome for row in given)} of {len(given)}" if given else ""


def beside_others(rows: Sequence[Row]) -> dict[str, str]:
    """Who cut how many right of the networks that all three were given, and what had no end: by name."""
    shared = [row for row in rows if all(tool in row.get("others", {}) for tool in OTHERS)]
    found = {"secateur": f"{sum(bool(row.get('right')) for row in shared)} of {len(shared)}"}
    for tool in OTHERS:
        late = [row["others made"]["part_s"] for row in shared if _other(row, tool) == "late"]
        ended = f" ({len(late)} had no end in {min(late):g} s)" if late else ""
        found[tool] = _count_of(shared, tool, "right") + ended
    return found


def _networks(rows: Sequence[Row]) -> str:
    heads = ["network", "groups (frozen)", "params that can go", "MACs that can go", "half, right, loaded",
             "inspect / step", *OTHERS]  # fmt: skip
    lines = [f"| {' | '.join(heads)} |", f"|---|{'--:|' * 3}---|--:|---|---|"]
    lines += [f"| {' | '.join(_cells(row))} |" for row in rows]
    return "\n".join([*lines, ""])


def _cells(row: Row) -> list[str]:
    shares = [f"{row['can go'][key]:.1%}" if "can go" in row else "" for key in ("params", "macs")]
    groups = f"{row['groups']} ({len(row.get('frozen', ()))})" if proved(row) else "none"
    words = (
        ("half", row.get("half", {}).get("reached")),
        ("right", row.get("right")),
        ("loaded", row.get("loaded")),
    )
    held = "yes" if done(row) else ", ".join(word if holds else f"not {word}" for word, holds in words)
    return [row["network"], groups, *shares, held, _times(row), *(_other_cell(row, tool) for tool in OTHERS)]


def _times(row: Row) -> str:
    """Seconds of inspecting, and how many training steps of 32 examples that is."""
    seconds = row["seconds"]
    if "inspect" not in seconds:
        return ""
    step = seconds.get("step of 32")
    return f"{seconds['inspect']:.1f} s" + (f" / {seconds['inspect'] / step:.0f}" if step else "")


def _other(row: Row, tool: str) -> str:
    return str(row.get("others", {}).get(tool, {}).get("outcome", ""))


def _other_cell(row: Row, tool: str) -> str:
    found = row.get("others", {}).get(tool)
    if found is None:
        return ""
    left = (
        f", {found['macs']:.0%} of the MACs left" if "macs" in found and found["outcome"] != "fails" else ""
    )
    return WORDS[found["outcome"]] + left


def _short(rows: Sequence[Row]) -> str:
    """Networks of which something does not hold, and why."""
    lines = ["| network | what | why |", "|---|---|---|"]
    for row in rows:
        failed = {
            stage: why for stage, why in row["failed"].items() if stage not in ("onnx", "others", "step")
        }
        if row.get("right") is False and "right" not in failed:
            failed["right"] = row.get("falls") or f"off by {row.get('difference')}"
        if row.get("half", {}).get("reached") is False:
            failed["half"] = f"{row['half']['macs']:,} of {row['macs']:,} MACs are left"
        lines += [f"| {row['network']} | {stage} | {_plain(why)} |" for stage, why in failed.items()]
    return "\n".join([*lines, ""]) if len(lines) > 2 else "Nothing.\n"


def _plain(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")[:300]


def _kind(row: Row) -> str:
    return str(row["network"].partition("/")[0])


def _notes(rows: Sequence[Row]) -> list[str]:
    """How it was done, and where it comes from."""
    made: list[Row] = [row["made"] for row in rows if "made" in row]
    if not made:
        return []
    packages = [
        name for name in ("torch", "torchvision", "timm", "transformers", *OTHERS) if made[-1].get(name)
    ]
    versions = ", ".join(f"{name} {made[-1][name]}" for name in packages)
    commits = ", ".join(sorted({str(each["commit"]) for each in made}))
    dates = sorted({each["date"] for each in made})
    said = (
        f"{made[-1]['device']}, one thread a network; {versions}; commit {commits}; "
        f"{' to '.join(dates[:1] + dates[1:][-1:])}; seed {made[-1]['seed']}."
    )
    beside: list[Row] = [row["others made"] for row in rows if "others made" in row]
    if beside:
        said += f" The other libraries cut {beside[-1]['ratio']:.0%} of every group; {beside[-1]['date']}."
    return [said]
