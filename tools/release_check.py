"""Is what would be published right? Build it, look into it, install it in an empty environment, use it.

    make dist                     # all of it, with the Python that there is
    .venv-release/bin/python tools/release_check.py --python python3.12    # the wheel of dist/ again

Run by a Python that has constraints-release.txt. What is tried: metadata (twine), what should not be in a
wheel (check-wheel-contents), the wheel of the sdist against the files here, then, outside the sources: import
with warnings as errors, `--version` against the metadata, pruning in one's own loop with the core alone, a
command that says which extra it needs, and with `compare,data` a comparison on the digits with its report.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from email import message_from_bytes
from pathlib import Path

ROOT = Path(__file__).parents[1]
DIST, PACKAGE = ROOT / "dist", ROOT / "src" / "secateur"
DATA = (".safetensors", ".html", ".csv", ".c", ".txt", ".typed", ".css", ".js", ".svg")
"""Endings of files beside Python that the package needs."""
IN_SDIST = ("LICENSE", "LICENSE.digits", "NOTICE", "README.md", "pyproject.toml", "PKG-INFO")
COMPARE = (
    "compare --model wrn-16-1 --epochs 1 --prune-every 1 --budget params=90% --limit-train 200 "
    "--arms fisher-tuned,width --out out"
)
OWN_LOOP = """
import torch
from torch.nn import functional as F
import secateur as sc

x, y = torch.randn(32, 1, 8, 8), torch.randint(10, (32,))
model = sc.models.wide_resnet(depth=10, width=1, in_channels=1, image_size=8)
whole = sum(value.numel() for value in model.parameters())
method = sc.methods.Fisher("params=95%", every=1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
model = method.prepare(model)
while not method.finished:
    (F.cross_entropy(model(x), y) + method.penalty(model)).backward()
    optimizer.step()
    optimizer.zero_grad()
    model = method.after_step(model, optimizer)
model = method.finalize(model)
sc.save(model, "own")
assert torch.equal(sc.load("own").eval()(x), model.eval()(x))
left = sum(value.numel() for value in model.parameters())
assert left <= 0.95 * whole, (left, whole)
print(f"pruned in one's own loop: {whole:,} -> {left:,} parameters")
"""


def built() -> tuple[Path, Path]:
    """Build sdist and wheel, the wheel from the sdist, into an empty dist/; twice, to the same bytes."""
    shutil.rmtree(DIST, ignore_errors=True)
    os.environ.setdefault("SOURCE_DATE_EPOCH", _said("git", "log", "-1", "--format=%ct", cwd=ROOT).strip())
    os.umask(0o022)  # permissions are part of a wheel
    _call(sys.executable, "-m", "build", "--outdir", DIST, ROOT)
    sdist, wheel = artefacts()
    with tempfile.TemporaryDirectory(prefix="secateur-release-") as folder:
        subprocess.run(["tar", "-xzf", sdist, "-C", folder], check=True)
        source = Path(folder) / sdist.name.removesuffix(".tar.gz")
        _call(sys.executable, "-m", "build", "--wheel", "--outdir", folder, source)
        if (Path(folder) / wheel.name).read_bytes() != wheel.read_bytes():
            raise SystemExit(f"{wheel.name} built twice is not the same bytes")
    return sdist, wheel


def artefacts() -> tuple[Path, Path]:
    """The sdist and the wheel that lie in dist/."""
    (sdist,), (wheel,) = DIST.glob("*.tar.gz"), DIST.glob("*.whl")
    return sdist, wheel


def wanted_files() -> set[str]:
    """The files of the package that git knows and a user needs, from "secateur/" on."""
    said = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", PACKAGE],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    paths = (Path(line) for line in said.stdout.splitlines())
    return {
        path.relative_to("src").as_posix()
        for path in paths
        if path.suffix == ".py" or path.name.endswith(DATA)
    }


def check_contents(sdist: Path, wheel: Path) -> None:
    """Every file of the package is in both, and nothing else is in the wheel."""
    with zipfile.ZipFile(wheel) as file:
        names = {name for name in file.namelist() if not name.endswith("/")}
    about = {name for name in names if ".dist-info/" in name}
    _same("the wheel", names - about, wanted_files())
    with tarfile.open(sdist) as file:
        held = {member.name.partition("/")[2] for member in file.getmembers() if member.isfile()}
    _none_missing("the sdist", {f"src/{name}" for name in wanted_files()} | set(IN_SDIST), held)
    licences = {Path(name).name for name in about if "/licenses/" in name}
    _same("the wheel's licences", licences, {"LICENSE", "NOTICE", "LICENSE.digits"})


def version_in(wheel: Path) -> str:
    """The version that the wheel's metadata say."""
    with zipfile.ZipFile(wheel) as file:
        (name,) = (each for each in file.namelist() if each.endswith(".dist-info/METADATA"))
        return str(message_from_bytes(file.read(name))["Version"])


def try_it(wheel: Path, python: str, more: Sequence[str], torch: str) -> None:
    """Install the wheel in an empty environment outside the sources, and use it as a stranger would."""
    with tempfile.TemporaryDirectory(prefix="secateur-release-") as folder:
        _call(python, "-m", "venv", "empty", cwd=folder)
        bin_ = Path(folder) / "empty" / "bin"
        install = (bin_ / "pip", "install", "--quiet", "--disable-pip-version-check", *more)
        _call(*install, torch, wheel, cwd=folder)
        _call(bin_ / "python", "-W", "error", "-c", "import secateur; secateur.prune", cwd=folder)
        said = _said(bin_ / "secateur", "--version", cwd=folder).strip()
        if said != f"secateur {version_in(wheel)}":
            raise SystemExit(f"--version says '{said}', the metadata {version_in(wheel)}")
        print(_said(bin_ / "python", "-W", "error", "-c", OWN_LOOP, cwd=folder).strip())
        refused = subprocess.run(
            [bin_ / "secateur", "compare"], cwd=folder, capture_output=True, text=True, check=False
        )
        if refused.returncode != 2 or "pip install 'secateur[compare]'" not in refused.stderr:
            raise SystemExit(f"compare without its extra said: {refused.stdout}{refused.stderr}")
        _call(*install, f"{wheel}[compare,data]", cwd=folder)
        _call(bin_ / "secateur", *COMPARE.split(), cwd=folder)
        for name in ("results.json", "report.html", "best/model.safetensors"):
            if not (Path(folder) / "out" / name).is_file():
                raise SystemExit(f"the comparison left no {name}")
        print(f"{_said(bin_ / 'python', '--version', cwd=folder).strip()}: the wheel works")


def _same(where: str, found: set[str], wanted: set[str]) -> None:
    _none_missing(where, wanted, found)
    if more := sorted(found - wanted):
        raise SystemExit(f"{where} has what the package does not need: {', '.join(more)}")


def _none_missing(where: str, wanted: set[str], found: set[str]) -> None:
    if missing := sorted(wanted - found):
        raise SystemExit(f"{where} lacks {', '.join(missing)}: see package-data in pyproject.toml")


def _call(*command: object, cwd: str | Path = ROOT) -> None:
    print("$", *command, flush=True)
    if subprocess.run([str(word) for word in command], cwd=cwd, check=False).returncode:
        raise SystemExit(1)


def _said(*command: object, cwd: str | Path) -> str:
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command[:3]))} failed: {done.stderr}")
    return done.stdout


def main() -> None:
    """Build unless another Python only tries what lies in dist/."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", help="try the wheel of dist/ with this Python, and build nothing")
    parser.add_argument("--torch", default="torch", help="what pip installs first: torch==2.13.0, or a wheel")
    parser.add_argument("--find-links", help="a folder with wheels, of torch say")
    parser.add_argument("--contents", action="store_true", help="build and look into it, install nothing")
    asked = parser.parse_args()
    sdist, wheel = artefacts() if asked.python else built()
    _call(sys.executable, "-m", "twine", "check", "--strict", sdist, wheel)
    _call(Path(sys.executable).with_name("check-wheel-contents"), wheel)
    check_contents(sdist, wheel)
    print(f"{wheel.name}: {len(wanted_files())} files, {wheel.stat().st_size:,} bytes; sdist has them too")
    if not asked.contents:
        links = ("--find-links", asked.find_links) if asked.find_links else ()
        try_it(wheel, asked.python or sys.executable, ("-c", ROOT / "constraints.txt", *links), asked.torch)


if __name__ == "__main__":
    main()
