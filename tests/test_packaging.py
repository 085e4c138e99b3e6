"""Ready to be published: what a bare installation can do, what it says of the rest, what is in it."""

from __future__ import annotations

import errno
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import secateur as sc
from secateur import errors
from secateur.errors import EXTRAS, InputError, extra_of, missing, require_packages
from secateur.runs.executors.processes import ProcessPool
from secateur.runs.store import RunStore

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OPTIONAL = sorted(module for modules in EXTRAS.values() for module in modules)
UNPINNED = ("wandb", "mlflow", "trackers", "all")
"""Extras without a pin: services that are asked for by name, of which no version is installed in any test."""
NOT_OF_THE_LIBRARY = ("typer", "rich", "jinja2", "loky", "pandas", "sklearn")
"""Of the core, but for the command line, for pages and for workers: one's own loop needs none of them."""


def bare(what: str, text: str, away: list[str], folder: Path) -> str:
    """Run something where these modules are as if not installed."""
    done = subprocess.run(
        [sys.executable, "-W", "error", ROOT / "tests" / "bare.py", what, ",".join(away)],
        input=text,
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


OWN_LOOP = """
import torch
from torch import nn
from torch.nn import functional as F
import secateur as sc

def build():
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3),
    )

def own():
    return sc.models.conv4(width=0.1, in_channels=1, image_size=8, num_classes=3)

def kept(model, folder, factory=None):
    sc.save(model, folder)
    other = sc.load(folder, factory=factory)
    assert torch.equal(model.eval()(x), other.eval()(x)), folder

x, y = torch.randn(16, 1, 8, 8), torch.randint(3, (16,))
model = sc.prune(build(), method="fisher", budget="params=50%", data=[(x, y)] * 4, every=1)
kept(model, "pruned", build)
pruned = sum(value.numel() for value in model.parameters())

def in_own_loop(method, model):
    model = method.prepare(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    for _ in range(9):
        (F.cross_entropy(model(x), y) + method.penalty(model)).backward()
        optimizer.step()
        optimizer.zero_grad()
        model = method.after_step(model, optimizer)
    return method.finalize(model)

cut = in_own_loop(sc.methods.Fisher("params=95%", every=1), own())
kept(cut, "cut")
sparse = in_own_loop(sc.methods.GradualMagnitude("nonzeros=100", steps=9), own())
kept(sparse, "sparse")
weights = [value for name, value in sparse.named_parameters() if value.ndim > 1]
zeros = sum(int((value == 0).sum()) for value in weights)
print(pruned, sum(value.numel() for value in cut.parameters()), sum(v.numel() for v in weights) - zeros)
print(sum(value.numel() for value in own().parameters()))
"""


def test_the_core_prunes_saves_and_loads_in_ones_own_loop_with_nothing_else_installed(tmp_path: Path) -> None:
    away = [*OPTIONAL, *NOT_OF_THE_LIBRARY]
    pruned, cut, nonzeros, whole = map(int, bare("run", OWN_LOOP, away, tmp_path).split())
    assert pruned <= (80 + 16 + 584 + 16 + 27) // 2  # two convolutions of 8, two normalisations, 8 x 3 + 3
    assert cut <= 0.95 * whole
    assert nonzeros == 100


TINY = "--model conv4 --data digits --limit-train 100 --epochs 1"
NEEDS = "needs the package {}, which is not installed: pip install 'secateur[{}]'"
BARE = {
    "--version": f"secateur {sc.__version__}",
    "--help": "The best neural network inside a size budget",
    "compare --help": "Prune and tune, or train something smaller from scratch?",
    f"train {TINY} --out dense": "written to dense",
    f"prune gradual-magnitude {TINY} --budget nonzeros=5% --out sparse": "of 457,792 weights",
    f"prune fisher {TINY} --budget params=90% --plan": "In all about",
    "inspect --model wrn-16-1 --data digits": "174,778 params",
    "diff dense sparse": "",
    "scale dense --budget params=50% --out scaled.json": "Written to scaled.json",
    "evaluate dense --data digits": "of 500",
    "runs list dense": "train seed 0",
    "runs show train dense": "conv4",
    "runs delete train dense --yes": "",
}
"""Command -> what it says where nothing but the core is installed."""
REFUSED = {
    f"compare {TINY} --budget params=90% --arms width --out compared": NEEDS.format("scipy", "compare"),
    "compare --plan": NEEDS.format("scipy", "compare"),
    "reproduce crowley2018 snip --scale smoke": NEEDS.format("scipy", "compare"),
    "report dense": NEEDS.format("scipy", "compare"),
    "train --data photos --out photographed": NEEDS.format("pillow", "data"),
    "train --data digits --image-size 9": NEEDS.format("pillow", "data"),
    "train --data table --out read": "pip install 'secateur[data]'",
    "predict dense photos/a/1.png": NEEDS.format("pillow", "data"),
    "evaluate dense --data digits --out page": NEEDS.format("pillow", "data"),
    "export dense --to onnx --out model.onnx": NEEDS.format("onnx", "onnx"),
    "export dense --to openvino --out model.xml": NEEDS.format("openvino", "openvino"),
    "measure dense --runtime onnxruntime": NEEDS.format("onnx", "onnx"),
    "forecast --model conv4 --data digits --budget params=50% --runtime openvino": NEEDS.format(
        "openvino", "openvino"
    ),
    "train --model hf:a/b --data digits": NEEDS.format("transformers", "hf"),
    "train --model timm:resnet18 --data digits": NEEDS.format("timm", "timm"),
    "train --model conv4 --data hf:a/b": "pip install 'secateur[hub]'",
    "push dense a/b": NEEDS.format("huggingface_hub", "hub"),
}
"""Command -> what it says before it does anything."""


DOORS = """
import importlib, pkgutil
import secateur as sc

doors = lambda: sc.compare(), lambda: sc.load_data("digits", image_size=9), lambda: sc.load_data("photos")
for what in doors:
    try:
        what()
    except sc.InputError as error:
        print(error)
names = [each.name for each in pkgutil.walk_packages(sc.__path__, "secateur.")]
for name in names:
    if not name.endswith("__main__"):
        importlib.import_module(name)
print(len(names))
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    folder = tmp_path_factory.mktemp("bare")
    for name in ("1", "2"):
        (folder / "photos" / "a").mkdir(parents=True, exist_ok=True)
        (folder / "photos" / "a" / f"{name}.png").write_bytes(b"\x89PNG\r\n")
    (folder / "table").mkdir()
    (folder / "table" / "all.parquet").write_bytes(b"PAR1")
    commands = [*BARE, *REFUSED]
    asked = json.dumps([*(command.split() for command in commands), ["-c", DOORS]])
    found = dict(zip([*commands, "doors"], json.loads(bare("cli", asked, OPTIONAL, folder)), strict=True))
    return found | {"left": sorted(path.name for path in folder.iterdir())}


@pytest.mark.parametrize("command", BARE)
def test_the_command_line_works_where_only_the_core_is_installed(answers, command: str) -> None:
    assert (answers[command]["code"], answers[command]["err"]) == (0, "")
    assert BARE[command] in answers[command]["out"]


@pytest.mark.parametrize("command", REFUSED)
def test_a_command_that_needs_an_extra_says_so_in_one_line_before_anything(answers, command: str) -> None:
    found = answers[command]
    assert found["code"] == 2, found
    assert REFUSED[command] in found["err"]
    assert len(found["err"].splitlines()) == 1
    assert "seed 0" not in found["out"]
    assert answers["left"] == ["dense", "photos", "scaled.json", "sparse", "table"]


def test_python_says_the_same_and_every_module_imports_without_extras_or_warnings(answers) -> None:
    assert answers["doors"]["code"] == 0
    *said, modules = answers["doors"]["out"].splitlines()
    assert said == [
        "a comparison " + NEEDS.format("scipy", "compare"),
        "resizing images " + NEEDS.format("pillow", "data"),
        "reading images " + NEEDS.format("pillow", "data"),
    ]
    assert int(modules) > 400


def test_the_extras_are_those_of_the_project():
    brought = packages_distributions()
    for extra, modules in EXTRAS.items():
        named = {re.split(r"[\[<>=]", each)[0] for each in PROJECT["optional-dependencies"][extra]}
        installed = {module: brought[module][0].lower() for module in modules if module in brought}
        assert set(installed.values()) <= {name.lower() for name in named}, extra
        assert not [each for each in PROJECT["dependencies"] for module in modules if each.startswith(module)]
    assert extra_of("PIL.Image") == "data"
    assert extra_of("numpy") is None


def requirements(*extras: str) -> list[Requirement]:
    """What the core and these extras need, without ourselves."""
    groups = PROJECT["optional-dependencies"]
    rows = (*PROJECT["dependencies"], *(row for extra in extras for row in groups[extra]))
    return [each for row in rows if (each := Requirement(row)).name != "secateur"]


def pins(name: str) -> dict[str, Version]:
    """Package -> version of a file of constraints."""
    lines = (line for line in (ROOT / name).read_text(encoding="utf-8").splitlines() if "==" in line)
    return {
        _canonical(package): Version(version) for package, version in (each.split("==") for each in lines)
    }


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def bound(needed: Requirement, operator: str) -> Version:
    """The one lowest (">=") or first excluded ("<") version."""
    (found,) = (each.version for each in needed.specifier if each.operator == operator)
    return Version(found)


def test_every_requirement_has_two_bounds_and_what_was_tested_lies_between_them():
    looked = 0
    for needed in requirements(*PROJECT["optional-dependencies"]):
        assert {each.operator for each in needed.specifier} == {">=", "<"}, needed
        assert bound(needed, ">=") < bound(needed, "<")
        for name in ("constraints.txt", "constraints-next.txt", "constraints-oldest.txt"):
            tested = pins(name).get(_canonical(needed.name))
            looked += tested is not None
            assert tested is None or tested in needed.specifier, (needed, name, tested)
    assert looked > 60


def test_the_files_of_constraints_pin_all_that_their_environments_are_made_of():
    of_dev = ("dev", "compare", "data", "onnx", "openvino", "hf", "ray", "tensorboard", "docs")
    for name, extras in {
        "constraints.txt": (*of_dev, "hub"),
        "constraints-next.txt": (*of_dev, "field"),
    }.items():
        assert not [each for each in requirements(*extras) if _canonical(each.name) not in pins(name)], name


def test_a_bound_is_not_far_from_what_was_tested():
    """Above the newest that was tested there is at most the rest of its major version."""
    for needed in requirements(*(each for each in PROJECT["optional-dependencies"] if each not in UNPINNED)):
        files = ("constraints.txt", "constraints-next.txt")
        tested = [found for name in files if (found := pins(name).get(_canonical(needed.name)))]
        first_excluded = bound(needed, "<").release
        assert tested, needed
        assert first_excluded[0] <= max(tested).major + 1, needed


def test_the_lowest_versions_that_are_named_are_those_that_were_tried():
    oldest = pins("constraints-oldest.txt")
    for needed in requirements("compare", "data", "hub", "heic", "onnx", "openvino", "hf", "timm", "ray"):
        assert oldest[_canonical(needed.name)] == bound(needed, ">="), needed


def test_a_package_that_is_there_and_broken_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "timm.py").write_text("raise ImportError('libtimm.so is of another torch')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "timm", raising=False)
    with pytest.raises(InputError) as error:
        require_packages("timm", what="a timm: model")
    assert str(error.value) == (
        "a timm: model needs the package timm, which cannot be imported (libtimm.so is of another torch): "
        "pip install 'secateur[timm]'"
    )
    assert str(missing("PIL.Image")).startswith("this needs the package pillow, which is not installed")


def test_windows_is_refused_at_once_and_in_one_line(
    run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(errors, "WINDOWS", True)
    said = "needs Linux or another POSIX system, and this is Windows: run it in WSL 2"
    code, out, err = run("compare")
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert f"the command line {said}" in err
    with pytest.raises(InputError, match=f"a comparison {said}"):
        sc.compare(out=tmp_path / "out")
    with pytest.raises(InputError, match=f"a folder of runs {said}"), RunStore(tmp_path / "out").locked():
        pass
    with pytest.raises(InputError, match=f"a pool of workers {said}"):
        ProcessPool(1, 1)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_cannot_lock_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", refuse)
    with (
        pytest.raises(InputError, match=r"where files can be locked, but '.*' cannot \(No locks available\)"),
        RunStore(tmp_path).locked(),
    ):
        pass


def test_the_version_is_said_at_one_place():
    assert 'VERSION = "' in (ROOT / "src/secateur/records/ours.py").read_text()
    assert PROJECT["dynamic"] == ["version"]
    assert "version" not in (ROOT / "CITATION.cff").read_text().replace("cff-version", "")
    assert version("secateur") == sc.__version__


def test_the_project_says_what_it_is():
    assert PROJECT["license"] == "MIT AND CC-BY-4.0"
    for name in PROJECT["license-files"]:
        assert (ROOT / name).is_file()
    pythons = [each.rsplit(" ", 1)[1] for each in PROJECT["classifiers"] if re.search(r"3\.\d+$", each)]
    assert pythons == ["3.11", "3.12", "3.13"]
    assert not [each for each in PROJECT["classifiers"] if "License" in each or "Windows" in each]  # PEP 639
    assert "urls" not in PROJECT  # none is known
    assert "10.24432/C50P49" in (ROOT / "LICENSE.digits").read_text()


@pytest.fixture(scope="module")
def artefacts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The sdist, and the wheel that is built of it, without a network."""
    folder = tmp_path_factory.mktemp("dist")
    program = "import sys; from setuptools import build_meta as b; getattr(b, sys.argv[1])(sys.argv[2])"
    source = folder / "source"
    source.mkdir()
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in tracked.stdout.splitlines():
        if (
            name.startswith(("src/", *PROJECT["license-files"], "README", "pyproject"))
            and (ROOT / name).is_file()
        ):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)

    def build(hook: str, where: Path) -> None:
        command = [sys.executable, "-c", program, hook, folder]
        subprocess.run(command, cwd=where, capture_output=True, check=True)

    build("build_sdist", source)
    (sdist,) = folder.glob("*.tar.gz")
    subprocess.run(["tar", "-xzf", sdist, "-C", folder], check=True)
    build("build_wheel", folder / sdist.name.removesuffix(".tar.gz"))
    (wheel,) = folder.glob("*.whl")
    return sdist, wheel


@pytest.mark.slow
def test_sdist_and_wheel_hold_the_package_and_its_licences(
    artefacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(ROOT / "tools")
    import release_check

    release_check.check_contents(*artefacts)
    assert release_check.version_in(artefacts[1]) == sc.__version__
    names = zipfile.ZipFile(artefacts[1]).namelist()
    assert {"secateur/py.typed", "secateur/data/digits.safetensors"} <= set(names)
    assert not [name for name in names if name.startswith(("tests", "tools"))]


@pytest.mark.parametrize("tool", ["install_size", "licences"])
def test_the_pages_of_sizes_and_licences_are_what_was_recorded(tool: str, monkeypatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "tools")
    monkeypatch.setattr(sys, "argv", [tool, "--check"])
    module = importlib.import_module(tool)
    assert (module.main(["--check"]) if tool == "licences" else module.main()) == 0


def test_the_recorded_sizes_are_of_the_packages_that_are_required_now():
    rows = json.loads((ROOT / "results/install/sizes.json").read_text())["rows"]
    assert rows["core"]["bytes"] < rows["compare"]["bytes"] < rows["compare,data"]["bytes"]
    assert rows["core"]["bytes"] < 0.75 * rows["before"]["bytes"]
    pinned = {line.split("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().splitlines()}
    groups = PROJECT["optional-dependencies"]
    for extra in ("compare", "data", "hub", "onnx", "openvino", "hf", "ray", "dev"):
        for each in (*PROJECT["dependencies"], *groups[extra]):
            assert re.split(r"[\[<>=]", each)[0].lower() in pinned | {"secateur"}, each
