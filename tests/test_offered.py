"""What other packages offer, as entry points: taken where it is right, else left out with a line."""

from __future__ import annotations

import re
import sys
from importlib import metadata

import pytest

from secateur.compare.arms import ARMS, Arm
from secateur.methods import METHODS, Method
from secateur.methods.registry import offered, package_of
from test_adding import PACKAGE, forget, installed

FREE = frozenset(METHODS) - {"lamp"}


@pytest.fixture(autouse=True)
def _imported_anew():
    kept = {name: module for name, module in sys.modules.items() if name.split(".")[0] == PACKAGE}
    forget()
    yield
    forget()
    sys.modules.update(kept)


LEFT_OUT = {
    "taken": ("rigl", "lamp:Lamp", "'rigl' of my_pruning 0.1 is left out: Secateur has one of that name"),
    "other-name": ("other", "lamp:Lamp", "left out: my_pruning.lamp:Lamp calls itself 'lamp'"),
    "not-there": ("lamp", "lamp:Nothing", "cannot be imported (AttributeError:"),
    "broken": ("lamp", "broken:Lamp", "cannot be imported (RuntimeError: no such luck)"),
    "no-class": ("lamp", "lamp:lamp_score", "is no class on secateur.methods.base.Method"),
    "no-name": ("La mp", "lamp:Lamp", "a name is of lower-case letters, digits and hyphens"),
}


@pytest.mark.parametrize(("name", "value", "said"), LEFT_OUT.values(), ids=LEFT_OUT)
def test_what_cannot_be_taken_is_left_out_and_said(name, value, said, tmp_path, monkeypatch):
    installed(tmp_path, {"secateur.methods": {name: f"{PACKAGE}.{value}"}}, files=("lamp",))
    (tmp_path / PACKAGE / "broken.py").write_text("raise RuntimeError('no such luck')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.warns(UserWarning, match=re.escape(said)) as warned:
        assert list(offered("secateur.methods", Method, FREE)) == []
    assert len(warned) == 1
    assert "\n" not in str(warned[0].message)


def test_what_has_a_name_of_ours_is_not_even_imported(tmp_path, monkeypatch):
    installed(tmp_path, {"secateur.methods": {"rigl": f"{PACKAGE}.lamp:Lamp"}}, files=("lamp",))
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.warns(UserWarning, match="'rigl'"):
        assert list(offered("secateur.methods", Method, METHODS)) == []
    assert f"{PACKAGE}.lamp" not in sys.modules


def test_of_two_packages_with_one_name_the_first_is_taken(tmp_path, monkeypatch):
    for package in ("b_pruning", "a_pruning"):
        offers = {"secateur.methods": {"lamp": f"{package}.lamp:Lamp"}}
        installed(tmp_path, offers, package=package, files=("lamp",))
    monkeypatch.syspath_prepend(tmp_path)
    said = "'lamp' of b_pruning 0.1 is left out: a_pruning 0.1 has one of that name"
    with pytest.warns(UserWarning, match=re.escape(said)):
        (kind,) = offered("secateur.methods", Method, FREE)
    assert package_of(kind) == {"package": "a_pruning 0.1"}


def test_an_arm_that_does_not_say_what_it_is(tmp_path, monkeypatch):
    installed(tmp_path, {"secateur.arms": {"mute": f"{PACKAGE}.mute:Mute"}}, files=())
    lines = [
        "from secateur.compare.arms.base import Arm",
        "class Mute(Arm):",
        "    name = 'mute'",
        "    place = 3",
    ]
    (tmp_path / PACKAGE / "mute.py").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.warns(UserWarning, match="left out: my_pruning.mute:Mute does not say its meaning"):
        assert list(offered("secateur.arms", Arm, ARMS, needs=("meaning", "place"))) == []


def test_nothing_is_offered_here():
    """The suite runs with what is ours, whose runs keep their hashes."""
    assert not metadata.entry_points(group="secateur.methods")
    assert not metadata.entry_points(group="secateur.arms")
    assert {str(package_of(kind)) for kind in (*METHODS.values(), *map(type, ARMS.values()))} == {"{}"}
