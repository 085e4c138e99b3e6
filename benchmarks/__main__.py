"""`python -m benchmarks NAME [NAME ...]`: measure, print a table, and write
benchmarks/results/NAME_HARDWARE_DATE.json. `all` runs them all, each in a process of its own."""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

BENCHMARKS = (
    "cost_of_a_channel",
    "reparametrization",
    "fisher_bookkeeping",
    "exact_solve",
    "fisher_run",
    "uneven_widths",
    "compact_latency",
    "batches",
    "startup",
    "allocator",
    "layouts",
    "compare_overhead",
    "side_by_side",
    "training_rate",
    "decoding",
    "inspecting",
    "sparse_latency",
    "growth",
)
QUICK_ROUNDS = 2


class _Parser(argparse.ArgumentParser):
    """Whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        print(f"benchmarks: {message} (see python -m benchmarks --help)", file=sys.stderr)
        sys.exit(2)


def main(arguments: list[str] | None = None) -> int:
    """Exit codes: 0 measured (whether or not the bars are met), 1 a benchmark broke, 2 bad input."""
    given = _parse(arguments)
    if len(given.names) > 1:
        return max(_apart(name, given) for name in given.names)
    return _one(given.names[0], given)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    from benchmarks.records import SHORTEST

    parser = _Parser(
        prog="python -m benchmarks", description=f"{__doc__} The names: {', '.join(BENCHMARKS)}."
    )
    parser.add_argument("names", metavar="NAME", nargs="+", help="a benchmark, or all")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--rounds", type=int, help=f"at least, and by default, {SHORTEST}")
    parser.add_argument("--quick", action="store_true", help="tiny shapes and 2 rounds: does it work at all?")
    parser.add_argument("--only", metavar="PART", default="", help="parts of a benchmark, with commas")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="in place of benchmarks/results")
    given = parser.parse_args(arguments)
    if "all" in given.names:
        given.names = list(BENCHMARKS)
    for name in given.names:
        if name not in BENCHMARKS:
            parser.error(f"there is no benchmark '{name}': choose from {', '.join(BENCHMARKS)}, or all")
    if given.rounds is None:
        given.rounds = QUICK_ROUNDS if given.quick else SHORTEST
    if given.rounds < (1 if given.quick else SHORTEST):
        parser.error(f"--rounds must be at least {SHORTEST}, got {given.rounds}; --quick takes fewer")
    given.only = tuple(part for part in given.only.split(",") if part)
    if given.only and len(given.names) > 1:
        parser.error("--only is for one benchmark at a time")
    if given.only:
        parts = getattr(importlib.import_module(f"benchmarks.{given.names[0]}"), "PARTS", ())
        if unknown := [part for part in given.only if part not in parts]:
            known = ", ".join(parts) or "it has none"
            parser.error(f"{given.names[0]} has no part '{unknown[0]}': {known}")
    return given


def _apart(name: str, given: argparse.Namespace) -> int:
    """In a fresh process: what one benchmark leaves in memory must not change the next."""
    command = [sys.executable, "-m", "benchmarks", name, "--device", given.device]
    command += ["--rounds", str(given.rounds), *(["--quick"] if given.quick else [])]
    return subprocess.run([*command, *(["--out", str(given.out)] if given.out else [])]).returncode


def _one(name: str, given: argparse.Namespace) -> int:
    from benchmarks import machine, records
    from secateur.errors import InputError

    settings = records.Settings(given.device, given.rounds, given.quick, given.only)
    try:
        environment = machine.environment(given.device)
    except InputError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    machine.keep_freed_memory()
    idle = machine.idleness(0.1 if given.quick else 1.0)
    found = importlib.import_module(f"benchmarks.{name}").run(settings)
    content = records.record(name, settings, found, idle, environment)
    print(records.table(content), flush=True)
    if given.out or not given.quick:
        print(records.write(content, given.out or records.RESULTS), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
