"""Write docs/licences.md: the licences of all that `secateur[all]` brings, as pip-licenses reads them.

    .venv-release/bin/python tools/licences.py .venv-whole/bin/python   # what `make licences` does
    python tools/licences.py --check     # only says whether the versions are those of constraints.txt

A package declares its licence itself; what it bundles may be under others, which its own files say.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE, PINNED = ROOT / "docs" / "licences.md", ROOT / "constraints.txt"
OURS = ("secateur", "pip", "setuptools", "plotly", "narwhals")
"""What is in that environment and is not a dependency: us, what installs, what `install_size.py` adds."""
ROW = re.compile(r"^\| ([\w.-]+) \| (\d[\w.+!-]*) \|", re.MULTILINE)
HEAD = """# Licences of what Secateur needs

Of every package that `secateur[all]` brings, at the versions of `constraints.txt`, as it declares them.
Written by `make licences`; nothing of them is in Secateur's own files: [install.md](install.md#licences).

Not in `all`: `pillow-heif` (`secateur[heic]`), itself BSD-3-Clause, whose wheels its own LICENSES_bundled.txt
puts under GPLv2 for the libraries in them. Other wheels bundle libraries too (numpy and scipy the runtime of
gfortran, under the GPL with its exception): their own files say so.

| package | version | licence |
|---|---|---|
"""


def listed(python: str) -> str:
    """The page, of what is installed for this Python."""
    program = Path(sys.executable).with_name("pip-licenses")
    said = subprocess.run(
        [program, f"--python={python}", "--format=json", "--from=mixed"],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = sorted(
        (row["Name"], row["Version"].partition("+")[0], " ".join(row["License"].replace("|", "/").split()))
        for row in json.loads(said.stdout)
        if row["Name"].lower() not in OURS
    )
    return HEAD + "".join(f"| {name} | {version} | {short(text)} |\n" for name, version, text in rows)


def short(licence: str) -> str:
    """Its name: some packages put the whole text in its place."""
    return licence if len(licence) <= 250 else f"{licence[:240].rstrip()} ..."


def pinned() -> dict[str, str]:
    """Canonical name -> version of constraints.txt."""
    lines = (line for line in PINNED.read_text(encoding="utf-8").splitlines() if "==" in line)
    return {_canonical(name): version for name, version in (line.split("==") for line in lines)}


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def stale() -> list[str]:
    """What is on the page and not so in constraints.txt."""
    wanted = pinned()
    found = ROW.findall(PAGE.read_text(encoding="utf-8"))
    return [f"{name} {version}" for name, version in found if wanted.get(_canonical(name)) != version]


def main(arguments: list[str]) -> int:
    """Write the page, or with --check compare it; the exit code."""
    if arguments == ["--check"]:
        if found := stale():
            print(f"docs/licences.md has {', '.join(found)}, constraints.txt has not: make licences")
        return 1 if found else 0
    if len(arguments) != 1:
        print("one argument is taken, the Python whose packages are listed, or --check")
        return 2
    PAGE.write_text(listed(arguments[0]), encoding="utf-8")
    print(f"{PAGE}: {len(ROW.findall(PAGE.read_text(encoding='utf-8')))} packages")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
