"""Latency on another device in a budget: `latency=2ms@file:device.json`, with the table read at once.

A path may hold colons, spaces and `@`; a comma too, unless another budget begins after it (`,params=`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from secateur.errors import InputError
from secateur.records.device_table import TABLE_FILE, DeviceTable, read_table
from secateur.records.out import expanded

FILE = "file"
"""What the place of a latency begins with that is foretold from a table."""

_OPTIONS = re.compile(r"(?P<path>.*?)(?P<options>(?::\s*(?:batch|threads)\s*=[^:]*)+)", re.S)
_STARTS = re.compile(r"@\s*file\s*:")


def is_file(where: str) -> bool:
    """Whether a latency's place is a table: 'file:device.json'."""
    return where.partition(":")[0].strip() == FILE


def read(where: str) -> tuple[str, DeviceTable]:
    """The path that a budget names, and the table there.

    Args:
        where: 'file:device.json', or 'file:device.json:batch=1:threads=1' to have these checked.

    Raises:
        InputError: where there is no table, or it is of another batch or number of threads than said.
    """
    path = where.partition(":")[2].strip()
    if not path:
        raise InputError(
            f"file names a table that an emitted folder wrote, got '{where}': write file:{TABLE_FILE}"
        )
    options = _OPTIONS.fullmatch(path)
    if options is None or expanded(path).exists():
        return path, read_table(expanded(path))
    path = options["path"].strip()
    table = read_table(expanded(path))
    for option in options["options"].split(":")[1:]:
        name, _, value = (part.strip() for part in option.partition("="))
        known = getattr(table, name)
        if value != str(known):
            raise InputError(
                f"'{path}' was measured with {name}={known}, got {name}={value}: leave it out, or emit a "
                f"folder for {name}={value}, and measure that"
            )
    return path, table


def parts(text: str, resources: Iterable[str]) -> list[str]:
    """Split budgets at commas, but at those of a table's path only where another budget begins."""
    found = _STARTS.search(text)
    if found is None:
        return text.split(",")
    *before, last = text[: found.end()].split(",")
    path, *rest = re.split(rf",(?=\s*(?:{'|'.join(resources)})\s*=)", text[found.end() :], maxsplit=1)
    return [*before, last + path, *(parts(rest[0], resources) if rest else [])]


def name_of(path: str) -> str:
    """The table's file without its folders, for words."""
    return Path(path).name
