"""What an installation takes on disk, of the core and of each extra: `python tools/install_size.py`.

    make .venv-whole/.ready && .venv-whole/bin/pip install plotly==7.1.0
    .venv-whole/bin/python tools/install_size.py    # writes results/install/sizes.json and docs/install.md
    python tools/install_size.py --check            # only says whether the page is what that file says

A package's size is that of the files which its installation recorded, as they lie there, without what Python
compiles later; an installation is a set of packages with all that they require on this machine. plotly is for
the first row only, what was required before there were extras.
"""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
FILE, PAGE = ROOT / "results" / "install" / "sizes.json", ROOT / "docs" / "install.md"
BLOCK = re.compile(r"(<!-- sizes -->\n).*?(<!-- end -->)", re.DOTALL)
BEFORE = (
    *(
        "torch",
        "numpy",
        "safetensors",
        "accelerate",
        "typer",
        "rich",
        "pillow",
        "pyarrow",
        "plotly",
        "matplotlib",
    ),
    *("jinja2", "scipy", "loky", "psutil", "zstandard"),
)
"""What `pip install secateur` required at commit dda3991."""
ROWS = {
    "`secateur`": "core",
    "`secateur[compare]`": "compare",
    "`secateur[data]`": "data",
    "`secateur[compare,data]`": "compare,data",
    "`secateur[onnx]`": "onnx",
    "`secateur[openvino]`": "openvino",
    "`secateur[hub]`": "hub",
    "`secateur[hf]`": "hf",
    "`secateur[ray]`": "ray",
}
MB = 10**6


def required() -> dict[str, list[str]]:
    """What the project requires: "core", and each extra by its name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return {"core": project["dependencies"], **project["optional-dependencies"]}


def asked_for() -> dict[str, list[str]]:
    """What each row of the table installs."""
    groups, wanted = required(), {"before": list(BEFORE)}
    for key in ROWS.values():
        extras = [each for part in key.split(",") if part != "core" for each in groups[part]]
        wanted[key] = [*groups["core"], *extras]
    return wanted


def closure(requirements: Iterable[str]) -> dict[str, Distribution]:
    """Everything that is installed with these: canonical name -> its distribution."""
    from packaging.requirements import Requirement

    found: dict[str, Distribution] = {}
    todo = [Requirement(each) for each in requirements]
    done: set[tuple[str, str]] = set()
    while todo:
        wanted = todo.pop()
        name = re.sub(r"[-_.]+", "-", wanted.name).lower()
        for extra in ("", *wanted.extras):
            if (name, extra) in done:
                continue
            done.add((name, extra))
            found[name] = distribution(name)
            for text in found[name].requires or []:
                each = Requirement(text)
                if each.marker is None or each.marker.evaluate({"extra": extra}):
                    todo.append(each)
    return found


def size(package: Distribution) -> int:
    """Bytes of the files that its installation recorded."""
    files = (
        Path(str(package.locate_file(each))) for each in package.files or [] if "__pycache__" not in str(each)
    )
    return sum(path.stat().st_size for path in files if path.is_file())


def measured() -> dict[str, Any]:
    """The rows of the table, and what they were measured on."""
    wanted = asked_for()
    sizes: dict[str, int] = {}
    rows = {}
    for key, requirements in wanted.items():
        packages = closure(requirements)
        sizes |= {name: size(each) for name, each in packages.items() if name not in sizes}
        own = {name: sizes[name] for name in packages}
        rows[key] = {"packages": len(own), "bytes": sum(own.values())}
    versions = {name: distribution(name).version for name in sizes}
    return {
        "schema": 1,
        "command": "python tools/install_size.py",
        "commit": _commit(),
        "environment": {
            "python": platform.python_version(),
            "machine": f"{platform.system()} {platform.machine()}",
        },
        "required": {key: sorted(wanted[key]) for key in rows},
        "rows": rows,
        "packages": {name: {"version": versions[name], "bytes": sizes[name]} for name in sorted(sizes)},
    }


def _named(required: dict[str, list[str]]) -> dict[str, list[str]]:
    """The packages alone: their bounds change nothing, as what is installed are the pinned versions."""
    return {key: sorted(re.split("[<>=]", each)[0] for each in rows) for key, rows in required.items()}


def _commit() -> str:
    said = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return said.stdout.strip()


def table(content: dict[str, Any]) -> str:
    """The rows in MB, with and without torch and what it brings."""
    rows, packages = content["rows"], content["packages"]
    torch = packages["torch"]["bytes"]
    lines = ["| installed | packages | MB | without torch itself |", "|---|---|---|---|"]
    for said, key in {"before there were extras": "before", **ROWS}.items():
        row = rows[key]
        whole, rest = (f"{value / MB:,.0f}" for value in (row["bytes"], row["bytes"] - torch))
        lines.append(f"| {said} | {row['packages']} | {whole} | {rest} |")
    largest = sorted(packages, key=lambda name: -packages[name]["bytes"])
    optional = [name for name in largest if name in ("pyarrow", "scipy", "plotly", "matplotlib", "pillow")]
    each = ", ".join(f"{name} {packages[name]['bytes'] / MB:,.0f} MB" for name in optional)
    where = content["environment"]
    said = (
        f"torch {packages['torch']['version']} takes {torch / MB:,.0f} MB of each row. Of the others: {each}."
    )
    source = (
        f"Python {where['python']}, {where['machine']}, the versions of constraints.txt; commit "
        f"{content['commit']}; `results/install/sizes.json`, by `python tools/install_size.py`."
    )
    return "\n".join([*lines, "", said, source, ""])


def page(text: str, content: dict[str, Any]) -> str:
    """The page with the table in its place."""
    return BLOCK.sub(lambda found: f"{found[1]}\n{table(content)}\n{found[2]}", text)


def main() -> int:
    """Measure and write, or with --check compare; the exit code."""
    text = PAGE.read_text(encoding="utf-8")
    if "--check" in sys.argv[1:]:
        content = json.loads(FILE.read_text(encoding="utf-8"))
        if page(text, content) == text and _named(content["required"]) == _named(asked_for()):
            return 0
        print("docs/install.md or what it was made of is stale: python tools/install_size.py")
        return 1
    try:
        content = measured()
    except PackageNotFoundError as error:
        print(f"what is measured must be installed, but {error} is not: see the first lines of this file")
        return 2
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(page(text, content), encoding="utf-8")
    print(table(content))
    return 0


if __name__ == "__main__":
    sys.exit(main())
