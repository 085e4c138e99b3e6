"""Known weaknesses of the pinned versions, as PyPI's JSON service has them of OSV.

    .venv-release/bin/python tools/audit.py          # `make audit`: 1 for weaknesses, 2 for pins unasked
    .venv-release/bin/python tools/audit.py --ci     # what cannot be asked for is said, and is no failure

Where the service answers for any version, `pip-audit` asks it. Some mirrors have the page of a project alone,
which tells the weaknesses of its newest version: then those pins are looked at that are the newest, and the
others are named.
"""

from __future__ import annotations

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import requests

ROOT = Path(__file__).parents[1]
PINNED = ROOT / "constraints.txt"
SERVICE = "https://pypi.org/pypi"
PATIENCE_S = 20
AT_ONCE = 4
IGNORED: dict[str, str] = {}
"""Id of a weakness, as the service says it -> why it does not concern us."""


def pins(path: Path = PINNED) -> dict[str, str]:
    """Name -> version, without the build (torch's +cpu) that PyPI does not know."""
    rows = (line.split("==") for line in path.read_text(encoding="utf-8").splitlines() if "==" in line)
    return {name.strip(): version.partition(";")[0].partition("+")[0].strip() for name, version in rows}


def asked(page: str) -> dict[str, Any] | None:
    """What the service says of a project or a version; None where it has no such page."""
    answer = requests.get(f"{SERVICE}/{page}/json", timeout=PATIENCE_S)
    if answer.status_code == requests.codes.not_found:
        return None
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found


def weaknesses(page: dict[str, Any] | None, version: str) -> list[str] | None:
    """The ids that a page tells of a version, without those withdrawn; None where it is of another."""
    if page is None or _release(page["info"]["version"]) != _release(version):
        return None
    told = [each for each in page["vulnerabilities"] if not each.get("withdrawn")]
    return [each["id"] for each in told if not {each["id"], *each["aliases"]} & set(IGNORED)]


def newest(wanted: dict[str, str]) -> tuple[dict[str, list[str]], list[str]]:
    """Of the pins that are a project's newest version: "name version" -> ids; and the pins that are not."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        pages = pool.map(asked, wanted)
        found = {
            f"{name} {version}": weaknesses(page, version)
            for (name, version), page in zip(wanted.items(), pages, strict=True)
        }
    return {pin: ids for pin, ids in found.items() if ids is not None}, [
        p for p, ids in found.items() if ids is None
    ]


def _release(version: str) -> str:
    return re.sub(r"(\.0)+$", "", version)


def by_pip_audit() -> int:
    """Have pip-audit ask for every pin; its exit code."""
    ignored = [word for each in IGNORED for word in ("--ignore-vuln", each)]
    program = Path(sys.executable).with_name("pip-audit")
    command = [
        program,
        "--strict",
        "--requirement",
        PINNED,
        "--no-deps",
        "--disable-pip",
        "--desc",
        "off",
        *ignored,
    ]
    return subprocess.run(command, check=False).returncode


def main(arguments: list[str]) -> int:
    """Ask, and say what was found and what could not be asked; the exit code."""
    if arguments not in ([], ["--ci"]):
        print(f"nothing or --ci is taken, got {' '.join(arguments)}")
        return 2
    unasked = 0 if arguments else 2
    wanted = pins()
    try:
        name, version = next(iter(wanted.items()))
        if asked(f"{name}/{version}") is not None:
            return by_pip_audit()
        found, others = newest(wanted)
    except (requests.RequestException, ValueError, KeyError) as error:
        print(f"not audited: {SERVICE} cannot be asked ({type(error).__name__})")
        return unasked
    bad = {pin: ids for pin, ids in found.items() if ids}
    for pin, ids in bad.items():
        print(f"{pin}: {', '.join(ids)}")
    print(f"audited: {len(found)} of {len(wanted)} pins, {len(bad)} with known weaknesses")
    if others:
        print(f"not audited, as {SERVICE} tells of newest versions alone here: {', '.join(others)}")
    return 1 if bad else unasked if others else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
