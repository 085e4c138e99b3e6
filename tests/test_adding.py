"""docs/add-a-method.md, add-an-arm.md and add-a-model.md: their code is run as if it had been added."""

from __future__ import annotations

import importlib
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch
from torch import nn

import secateur as sc
from secateur import models
from secateur.compare.arms import ARMS, Arm
from secateur.errors import InputError
from secateur.methods import CHANNEL_METHODS, METHODS, ChannelPruning, Method
from secateur.methods.registry import named_classes, offered
from secateur.network.masks import prunable_weights
from secateur.network.weights import count_params
from secateur.runs import method_settings
from secateur.surgery.anatomy import anatomy_of
from secateur.training.recipe import Recipe
from test_method_contract import (  # noqa: F401  # the contract, of the case below
    Case,
    ended,
    finished,
    test_finalize_keeps_the_logits_but_for_the_cut,
    test_finalize_leaves_nothing_behind,
    test_interrupted_and_resumed_it_ends_the_same,
    test_save_and_load_round_trip,
    test_the_budget_is_met_and_never_exceeded,
    test_the_hooks_are_at_rest_after_finalize,
    test_the_optimizer_is_given_every_parameter_once,
    test_the_penalty_is_a_scalar,
    test_the_same_seed_gives_the_same_weights,
    test_what_was_pruned_is_gone,
)

DOCS = Path(__file__).parents[1] / "docs"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = {
    name: (DOCS / f"add-{name}.md").read_text(encoding="utf-8") for name in ("a-method", "an-arm", "a-model")
}
CODE = [code for text in PAGES.values() for _, code in BLOCK.findall(text)]
PACKAGE = "my_pruning"


def file_of(name):
    """The block that begins with the name of its file."""
    (found,) = (code for code in CODE if code.startswith(f"# {name}\n"))
    return found.split("\n", 1)[1]


def block_with(text):
    """The block without a file of its own that has these words."""
    (found,) = (code for code in CODE if text in code)
    return found


def installed(folder, entries=None, package=PACKAGE, files=("lamp", "fpgm", "lamp_arm", "capped_width")):
    """Lay the pages' package into a folder, as pip would install it there."""
    about = tomllib.loads(file_of("pyproject.toml"))["project"]
    home = folder / package
    home.mkdir()
    (home / "__init__.py").write_text("")
    for name in files:
        (home / f"{name}.py").write_text(file_of(f"{name}.py"))
    info = folder / f"{package}-{about['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {about['version']}\n")
    groups = about["entry-points"] if entries is None else entries
    lines = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in offers.items())
        for group, offers in groups.items()
    ]
    (info / "entry_points.txt").write_text("\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def added(tmp_path_factory):
    """Secateur with the pages' package beside it: what it offers is in the registries."""
    folder = installed(tmp_path_factory.mktemp("site"))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        methods = list(offered("secateur.methods", Method, METHODS))
        for kind in methods:
            patch.setitem(METHODS, kind.name, kind)
            if issubclass(kind, ChannelPruning):
                patch.setitem(CHANNEL_METHODS, kind.name, kind)
        patch.setattr(method_settings, "SETTABLE", (*method_settings.SETTABLE, "lamp"))
        for kind in offered("secateur.arms", Arm, ARMS, needs=("meaning", "place")):
            patch.setitem(ARMS, kind.name, kind())
        yield folder
    forget()


def forget():
    """Have the package imported anew, from wherever it lies next."""
    for name in [each for each in sys.modules if each.split(".")[0] == PACKAGE]:
        del sys.modules[name]


def test_the_package_of_the_pages(added):
    """Every block is used: a file of the package, what makes it known, the case, or a program below."""
    named = {code.split("\n", 1)[0] for code in CODE if code.startswith("# ")}
    assert named == {
        *(f"# {name}.py" for name in ("lamp", "fpgm", "lamp_arm", "capped_width", "mlp", "test_models")),
        *("# pyproject.toml", "# the case", "# src/secateur/models/__init__.py"),
    }
    assert {"lamp", "geometric-median"} <= set(METHODS)
    assert METHODS["lamp"].package == "my_pruning 0.1"
    assert ARMS["lamp-tuned"].method(None, 0).name == "lamp"


@pytest.mark.parametrize(
    ("base", "name"), [(Method, "lamp"), (Method, "geometric-median"), (Arm, "capped-width")]
)
def test_in_a_folder_they_are_found_by_lying_there(added, base, name):
    """As in methods/ and compare/arms/."""
    found = named_classes(PACKAGE, [str(added / PACKAGE)], base)
    assert name in {kind.name for kind in found}


# The method, under the contract of ours


@pytest.fixture(scope="module")
def case(added):
    names: dict = {"METHODS": METHODS, "Case": Case, "CASES": {}}
    exec(file_of("the case"), names)  # our own text
    return names["CASES"]["lamp"]


def test_lamp_is_the_papers_equation(added):
    """In plain loops, and the masks by numpy's order of them all."""
    lamp = importlib.import_module(f"{PACKAGE}.lamp")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 3))
    scores = {}
    for name, weight in prunable_weights(model).items():
        flat = weight.detach().flatten().tolist()
        for index, value in enumerate(flat):
            scores[name, index] = value**2 / sum(w**2 for w in flat if abs(w) >= abs(value))
        found = lamp.lamp_score(weight).flatten().tolist()
        assert found == pytest.approx([scores[name, index] for index in range(len(flat))])
    kept = sorted(scores, key=scores.get)[-10:]
    masks = lamp.Lamp("nonzeros=10").choose(model, 10)
    assert {(name, i) for name in masks for i in masks[name].flatten().nonzero().flatten().tolist()} == set(
        kept
    )


def test_its_settings_are_checked_as_ours(added):
    assert method_settings.parse(["lamp.power=1"]) == {"lamp": {"power": 1.0}}
    with pytest.raises(InputError, match="lamp: power must be above 0, got -1"):
        method_settings.checked({"lamp": {"power": -1.0}})


# Channels


@pytest.fixture
def subject():
    """What the pages call `model` and `loader`."""
    torch.manual_seed(0)
    loader = [(torch.randn(8, 1, 8, 8), torch.randint(10, (8,))) for _ in range(3)]
    return {
        "model": sc.models.wide_resnet(depth=10, width=0.25, in_channels=1, image_size=8),
        "loader": loader,
    }


def test_a_function_is_a_criterion(subject):
    before = sc.Architecture.of(subject["model"]).macs
    exec(block_with("def size_of_what_is_read"), subject)  # our own text
    assert sc.Architecture.of(subject["model"]).macs <= before / 2


def test_a_criterion_is_a_method_of_prune(added, subject):
    before = count_params(subject["model"])
    exec(block_with('method="geometric-median"'), subject)  # our own text
    assert 0.4 * before < count_params(subject["model"]) <= before / 2


def test_what_is_nearest_to_the_others_goes_first(added):
    fpgm = importlib.import_module(f"{PACKAGE}.fpgm")
    filters = torch.tensor([[0.0, 0.0], [3.0, 4.0], [1.0, 1.0], [-6.0, 8.0]])
    by_hand = [sum(float((a - b).norm()) for b in filters) for a in filters]
    assert fpgm.distances([filters]).tolist() == pytest.approx(by_hand)
    model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2))
    with torch.no_grad():
        model[0].weight.copy_(filters)
    sc.prune(
        model, method=METHODS["geometric-median"](removals=1), example_inputs=torch.randn(3, 2), train=False
    )
    assert model[0].weight.tolist() == filters[[0, 1, 3]].tolist()


# Arms


def test_the_arms_are_compared_beside_ours(added, tmp_path, monkeypatch):
    """A real comparison; its points, its page, and whose method it says it was."""
    monkeypatch.chdir(tmp_path)
    assert 'arms=["lamp-tuned", "magnitude-tuned"]' in block_with("print(result.verdict)")
    data, arms = sc.load_data("digits", limit_train=64), ("lamp-tuned", "capped-width", "magnitude-tuned")
    recipe = Recipe(epochs=2, batch_size=32, lr=0.05)
    result = sc.compare(
        "wrn-10-0.25",
        data,
        ["nonzeros=20%"],
        arms=arms,
        recipe=recipe,
        device="cpu",
        workers=1,
        out="compared",
    )
    assert {point.arm for point in result.points} == set(arms)
    page = (tmp_path / "compared" / "report.html").read_text()
    assert ARMS["lamp-tuned"].meaning in page
    assert ARMS["capped-width"].meaning in page
    records = [json.loads(path.read_text()) for path in tmp_path.glob("compared/runs/*/record.json")]
    methods = [record["identity"]["method"] for record in records if "method" in record["identity"]]
    (ours,) = (method for method in methods if method["method"] == "lamp")
    assert ours == {"method": "lamp", "scope": "global", "power": 2.0, "package": "my_pruning 0.1"}


def test_a_cap_is_the_highest_that_fits(added):
    capped = importlib.import_module(f"{PACKAGE}.capped_width").capped
    whole = sc.Architecture.of(sc.models.wide_resnet(depth=10, width=0.5, in_channels=1, image_size=8))
    for limit in (whole.params // 2, whole.params - 1):
        found = capped(whole, sc.Limits.at({"params": limit}))
        assert found.params <= limit
        cap = max(found.widths)
        assert found.widths == tuple(min(cap, width) for width in whole.widths)
        assert whole.with_widths([min(cap + 1, width) for width in whole.widths]).params > limit
    with pytest.raises(InputError, match="capped-width: one channel a group"):
        capped(whole, sc.Limits.at({"params": 10}))


# Models


@pytest.fixture
def mlp(monkeypatch):
    """The family of the page, in the registry."""
    names = {"__name__": "mlp"}
    exec(file_of("mlp.py"), names)  # our own text
    assert file_of("src/secateur/models/__init__.py").strip() == 'FACTORIES["mlp"] = mlp'
    monkeypatch.setitem(models.FACTORIES, "mlp", names["mlp"])
    return names["mlp"]


def test_a_family_is_known_cut_and_saved(mlp, tmp_path):
    names = {"mlp": mlp, "count_params": count_params}
    exec(file_of("test_models.py"), names)  # our own text
    names["test_mlp_size"]()
    model = mlp(in_channels=1, image_size=8)
    x = torch.randn(16, 1, 8, 8)
    model = sc.prune(model, method="filter-norm", budget="params=40%", example_inputs=x, train=False)
    assert count_params(model) <= 0.4 * (4_160 + 128 + 2_080 + 330)
    sc.save(model, tmp_path)
    assert torch.equal(sc.load(tmp_path)(x), model(x))
    assert json.loads((tmp_path / "architecture.json").read_text())["factory"] == "mlp"
    assert sc.Architecture.of(mlp(in_channels=1, image_size=8)).scaled_to("params=2000").params <= 2000


def test_cutting_the_family_is_masking_it(mlp):
    model = mlp(in_channels=1, image_size=8).eval()
    masked = mlp(in_channels=1, image_size=8).eval()
    masked.load_state_dict(model.state_dict())
    with torch.no_grad():
        masked.fc2.weight[:, 5] = 0
        masked.classifier.weight[:, 7] = 0
    graph = anatomy_of(model).graph
    for name, channel in (("fc1", 5), ("fc2", 7)):
        graph.remove(model, name, [channel])
    x = torch.randn(4, 1, 8, 8)
    torch.testing.assert_close(model(x), masked(x))


def test_a_network_of_ones_own_needs_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(block_with("def network():"), names)  # our own text
    # macs of the whole: 64 * 9 * 16 + 64 * 9 * 16 * 32 + 32 * 10
    assert sc.Architecture.of(names["model"]).macs <= (9_216 + 294_912 + 320) / 2


@pytest.mark.slow
def test_installed_it_is_found_by_the_command_line(tmp_path):
    """As the page says, in processes of their own; with fewer epochs."""
    installed(tmp_path)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    for line in block_with("--arms lamp-tuned").splitlines():
        done = subprocess.run(
            [sys.executable, "-m", *shlex.split(line), "--epochs", "2", "--limit-train", "64"],
            cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    table = (tmp_path / "lamp" / "results.json").read_text()
    assert '"lamp-tuned"' in table
    assert json.loads((tmp_path / "small" / "record.json").read_text())["identity"]["method"]["power"] == 1.0
