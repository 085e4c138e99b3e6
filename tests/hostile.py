"""Damages files of every kind at random; whoever reads them must say one line, stay there, and be modest."""

from __future__ import annotations

import json
import random
import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from secateur.errors import InputError

GROWTH_KB = 400_000
"""What reading hostile files may add to the memory of this process at most, in KiB."""
SECONDS = 20.0
"""What one of them may take at most."""


@dataclass
class Kind:
    """A file, what reads it as commands do, and how often it is damaged for each time that others are."""

    path: Path
    read: Callable[[Path], object]
    damaged: Callable[[bytes, random.Random], bytes] = field(
        default=lambda content, draw: damaged(content, draw)
    )


@dataclass
class Counts:
    """How reading ended, of one kind of file."""

    refused: int = 0
    harmless: int = 0
    slowest: float = 0.0
    grown_kb: int = 0


def memory_kb() -> int:
    """The most memory that this process has had, in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def damage(
    kinds: Mapping[str, Kind], count: int, seed: int, root: Path, growth_kb: int = GROWTH_KB
) -> dict[str, Counts]:
    """Damage one file after the other, and read it; print how that ended.

    Args:
        root: the folder that all lie in: nothing in it may be changed or added but by us.
        growth_kb: what all may add to the memory of this process.
    """
    draw = random.Random(seed)
    counts = {name: Counts() for name in kinds}
    around = {each: each.read_bytes() for each in root.rglob("*") if each.is_file()}
    first = memory_kb()
    for index in range(count):
        name = list(kinds)[index % len(kinds)]
        kind, found = kinds[name], counts[name]
        content = kind.damaged(around[kind.path], draw)
        kind.path.write_bytes(content)
        begin, before, said = time.process_time(), memory_kb(), ""
        try:
            kind.read(kind.path)
        except InputError as error:
            said, found.refused = str(error), found.refused + 1
        except Exception as error:
            raise AssertionError(f"{name}, mutation {index} of seed {seed}: {content[:3000]!r}") from error
        else:
            found.harmless += 1
        assert "\n" not in said, (name, said)
        found.slowest = max(found.slowest, time.process_time() - begin)
        found.grown_kb = max(found.grown_kb, memory_kb() - before)
        assert found.slowest < SECONDS, (name, index, seed)
        assert memory_kb() - first < growth_kb, (name, index, seed, content[:3000])
        kind.path.write_bytes(around[kind.path])
    assert {each: each.read_bytes() for each in around} == around
    assert {each for each in root.rglob("*") if each.is_file()} == set(around)
    _tell(counts, count, seed, memory_kb() - first)
    return counts


def _tell(counts: Mapping[str, Counts], count: int, seed: int, grown_kb: int) -> None:
    """Printed where pytest shows it: -s, or -rP."""
    print(f"\n{count:,} mutations of seed {seed}; tracebacks 0; outside 0; grown {grown_kb / 1024:.0f} MiB")
    print(f"{'kind':24}{'refused':>9}{'harmless':>10}{'slowest s':>11}{'grown MiB':>11}")
    for name, each in counts.items():
        print(f"{name:24}{each.refused:9}{each.harmless:10}{each.slowest:11.2f}{each.grown_kb / 1024:11.0f}")


BAD = [
    *(None, True, -1, 0, 10**30, 1.5, -0.0, 1e308, "", "x", "../../x", "\x1b[2J", "\u202e", "a" * 5000),
    *([], {}, [[]], [None], {"": {}}, [1] * 300, {"schema": 1}),
]
TOKENS = [b"NaN", b"1e999", b"9" * 400, b"[" * 300, b'{"a":1,"a":2}', b"\xff", b"\xef\xbb\xbf", b"\\ud800"]


def damaged(content: bytes, draw: random.Random) -> bytes:
    """Somewhere another value, another byte, a cut, or a piece of it twice."""
    kind = draw.randrange(5)
    if kind < 2:
        try:
            found = json.loads(content)
        except ValueError:
            kind = 3
        else:
            replace_a_value(found, draw)
            return json.dumps(found).encode()
    place = draw.randrange(len(content))
    if kind == 2:
        return content[:place] + draw.choice(TOKENS) + content[place + draw.choice([0, 1, 7]) :]
    if kind == 3:
        flipped = bytearray(content)
        for _ in range(draw.choice([1, 3, 20])):
            flipped[draw.randrange(len(content))] = draw.randrange(256)
        return bytes(flipped)
    return content[:place] + content[draw.randrange(len(content)) :]


def replace_a_value(found: object, draw: random.Random) -> None:
    """Walk down to a random place; there another value, or none."""
    here = found
    while True:
        keys = list(here) if isinstance(here, dict) else list(range(len(here)))  # type: ignore[arg-type, call-overload]
        if not keys:
            return
        key = draw.choice(keys)
        below = here[key]  # type: ignore[index]
        if isinstance(below, (dict, list)) and below and draw.random() < 0.8:
            here = below
        elif draw.random() < 0.2:
            del here[key]  # type: ignore[attr-defined]
            return
        else:
            here[key] = draw.choice(BAD)  # type: ignore[index]
            return
