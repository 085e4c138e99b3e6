"""`architecture.json` as a file: read, checked against its schema, compared. Nothing is built here.

docs/architecture.md describes every key.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

from secateur.architecture.numbers import problem_with_numbers
from secateur.architecture.origin import OFFERED
from secateur.architecture.sites import problem_with_sites
from secateur.errors import InputError
from secateur.models import FACTORIES
from secateur.network.described import without_values
from secateur.records.out import expanded
from secateur.records.reading import read_json

FORMAT = "secateur-architecture"
SCHEMA = 3
READABLE = (1, 2, 3)
WITH_SITES = 3  # from here on groups of foreign networks say where they lie
ARCHITECTURE_FILE = "architecture.json"
WEIGHTS_FILE = "model.safetensors"
TRANSFORMERS_FILE = "transformers.json"
ARTEFACT_FILE = "artefact.json"
_MAX_FILE_BYTES = 16_000_000
_MAX_WIDTH = 1_000_000
_MAX_ENTRIES = 2**25  # as of inputs that a file describes
_MAX_LAYERS = 1300  # the deepest known network has 1202
_MAX_COUNT = {"params": 10**10, "macs": 10**16}
_MAX_NAME, _MAX_REASON = 300, 1000
_MAX_DEPTH = 8


def read_architecture(path: str | Path) -> tuple[Any, Path]:
    """Read the JSON of an architecture file, unchecked, and find its path; InputError where it is none."""
    path = expanded(path, "an architecture")
    path = path / ARCHITECTURE_FILE if path.is_dir() else path
    if not path.is_file():
        raise InputError(
            f"no architecture at '{path}': name an {ARCHITECTURE_FILE} or a folder that holds one"
        )
    return read_json(path, most=_MAX_FILE_BYTES), path


def diff_files(first: str | Path, second: str | Path) -> list[tuple[str, Any, Any]]:
    """List where two architecture files differ: (what, in the first, in the second). Nothing is built.

    Raises:
        InputError: where one of them is not an architecture file.
    """
    one, other = _described(first), _described(second)
    keys = [*one, *(key for key in other if key not in one)]
    differ = [key for key in keys if one.get(key) != other.get(key)]
    return [(key[1], one.get(key), other.get(key)) for key in differ]


def _described(path: str | Path) -> dict[tuple[str, str], Any]:
    """Map (kind, name) to value, so that a group called "params" hides nothing."""
    content, found = read_architecture(path)
    if problem := problem_with(content):
        raise InputError(f"{found}: {problem}")
    plain = {("", key): content[key] for key in ("factory", "params", "macs")}
    later = {  # what schema 1 did not say follows from its family's arguments, and differs where these do
        ("", key): shown(without_values(content[key])).strip("'")
        for key in ("classes", "input", "layout")
        if content["schema"] > 1 and content["factory"] not in FACTORIES
    }
    named = {("argument", f"argument {key}"): str(value) for key, value in content["arguments"].items()}
    groups = {("group", group["name"]): group["width"] for group in content["groups"]}
    return {**plain, **later, **named, **groups}


def problem_with(content: Any) -> str | None:
    """Say what an architecture file gets wrong, in one clause; None if its form is right."""
    if _too_deep(content):
        return f"nothing in an architecture file is nested more than {_MAX_DEPTH} deep"
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        return f'not an architecture file (it must be an object with "format": "{FORMAT}")'
    schema = content.get("schema")
    if type(schema) is not int or schema not in READABLE:
        known = f"schemas {READABLE[0]} to {READABLE[-1]}"
        return f"{known} are read here, got {shown(schema)}: it was written by another version"
    problem = _problem_with_factory(content) or _problem_with_groups(content) or _problem_with_counts(content)
    if problem or schema < WITH_SITES or content["factory"] in FACTORIES:
        return problem
    found = next(filter(None, map(problem_with_sites, content["groups"])), None)
    found = found or _problem_with_frozen(content) or problem_with_numbers(content)
    return found or _problem_with_skipped(content)


def _problem_with_factory(content: dict[str, Any]) -> str | None:
    arguments = content.get("arguments")
    if not _is_name(content.get("factory")) or not isinstance(arguments, dict):
        return '"factory" must be a name and "arguments" an object'
    if any(_size_of(value) > 4096 for value in arguments.values()):
        return '"arguments" must be small numbers: nothing of that size is built'
    if content["factory"] in FACTORIES:
        return _problem_with_size(arguments)
    if not set(arguments) <= set(OFFERED):
        return f"'{content['factory']}' is not built in: its arguments can be {', '.join(OFFERED)}, no others"
    layout = content.get("layout")
    if not isinstance(layout, str) or not re.fullmatch("[0-9a-f]{12}", layout):
        return f"'{content['factory']}' is not built in: \"layout\" must be 12 hex digits"
    return None


def _problem_with_size(arguments: dict[str, Any]) -> str | None:
    """What a family would need memory and hours for, before anything is compared with its weights."""
    size, stages = arguments.get("image_size"), arguments.get("stages")
    sides = [arguments.get("in_channels", 3), *(size if isinstance(size, list) else [size or 1] * 2)]
    if math.prod(map(_size_of, sides)) > _MAX_ENTRIES:
        return f"an input has at most {_MAX_ENTRIES:,} entries, got {shown(sides)}"
    layers = [arguments.get("depth"), *(stages if isinstance(stages, list) else [])]
    if sum(_size_of(each) for each in layers if each is not None) > _MAX_LAYERS:
        return f'"depth" and "stages" make at most {_MAX_LAYERS:,} layers, got {shown(layers)}'
    return None


def _problem_with_groups(content: dict[str, Any]) -> str | None:
    groups = content.get("groups")
    if not isinstance(groups, list) or not all(isinstance(group, dict) for group in groups):
        return '"groups" must be a list of objects'
    built_in = content["factory"] in FACTORIES
    for group in groups:
        if not _is_name(group.get("name")) or not _is_count(group.get("width"), 1, _MAX_WIDTH):
            return f'every group needs a "name" and a "width" from 1 to {_MAX_WIDTH:,}, got {shown(group)}'
        whole = group.get("of", group["width"] if built_in else None)
        if not _is_count(whole, 1, _MAX_WIDTH) or not _is_name(group.get("sets", "1")):
            return f'"of" is the whole width of a group and "sets" a short text, got {shown(group)}'
        if not built_in and group["width"] > whole:
            return f"a group is no wider than in its whole network, got {shown(group)}"
    if len({group["name"] for group in groups}) < len(groups):
        return "every group has a name of its own"
    return None


def _problem_with_skipped(content: dict[str, Any]) -> str | None:
    skipped = content.get("skipped", {})
    fits = isinstance(skipped, dict) and all(
        type(length) is int and 0 <= length <= 8 for length in skipped.values()
    )
    return (
        None if fits else f'"skipped" gives a whole number from 0 to 8 for each block, got {shown(skipped)}'
    )


def _problem_with_frozen(content: dict[str, Any]) -> str | None:
    frozen = content.get("frozen", [])
    fits = isinstance(frozen, list) and all(
        isinstance(each, dict)
        and _is_name(each.get("name"))
        and _is_count(each.get("width"), 0, _MAX_WIDTH)
        and _is_name(each.get("reason"), _MAX_REASON)
        for each in frozen
    )
    return None if fits else f'"frozen" lists names, widths and reasons in a line, got {shown(frozen)}'


def _problem_with_counts(content: dict[str, Any]) -> str | None:
    for key in ("params", "macs"):
        if not _is_count(content.get(key), 0, _MAX_COUNT[key]):
            return f'"{key}" must be a number up to {_MAX_COUNT[key]:,}, got {shown(content.get(key))}'
    if content["factory"] not in FACTORIES and not {"classes", "input"} <= set(content):
        return '"classes" and "input" must be there for a network that is not built in'
    if content.get("classes") is not None and not _is_count(content["classes"], 1, _MAX_WIDTH):
        return f'"classes" must be null or a number up to {_MAX_WIDTH:,}, got {shown(content["classes"])}'
    return None


def _is_name(value: Any, most: int = _MAX_NAME) -> bool:
    """Short and printable: a line break or an escape sequence would reach the user's terminal."""
    return isinstance(value, str) and 0 < len(value) <= most and value.isprintable()


def _is_count(value: Any, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most


def shown(value: Any) -> str:
    """Show what a file says, short, and on one line whatever it is."""
    return ascii(value)[:80]


def _too_deep(content: Any) -> bool:
    """Whether lists and objects are nested deeper than any of ours; not found by recursion."""
    level = [content]
    for _ in range(_MAX_DEPTH + 1):
        level = [
            item
            for held in level
            if isinstance(held, (dict, list))
            for item in (held.values() if isinstance(held, dict) else held)
        ]
    return bool(level)


def _size_of(value: Any) -> float:
    """The largest magnitude in an argument: a number, or a list of numbers; infinite for anything else."""
    if isinstance(value, list) and len(value) <= 4:
        return max((_size_of(item) for item in value), default=0)
    return abs(value) if type(value) in (int, float) and value == value else float("inf")
