"""Settings of methods from outside: read, checked, in the runs they are meant for and in no other."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

import secateur as sc
from secateur.architecture.resolve import resolve_model
from secateur.compare import results as results_files
from secateur.compare.arms import ARMS, WEIGHT_ARMS
from secateur.compare.settings import Settings, Sparsity
from secateur.compare.wanted import ask
from secateur.data import load_data
from secateur.errors import InputError
from secateur.methods import METHODS
from secateur.names import LayerShares
from secateur.papers.dupont2021 import Reproduction
from secateur.papers.dupont2021.grid import parse_cells
from secateur.runs.graph import Graph
from secateur.runs.method_settings import SETTABLE, checked, in_words, parse, settings_of
from secateur.training.recipe import Recipe

RECIPE = Recipe(epochs=2, batch_size=64, lr=0.05)
MODEL, BUDGET = "wrn-10-0.25", "nonzeros=20%"


def made(data, arms, **sparsity):
    """The runs of one seed of a comparison, by arm."""
    settings = Settings((sc.Budget.parse(BUDGET),), arms, recipe=RECIPE, sparsity=Sparsity(**sparsity))
    wanted = ask(resolve_model(MODEL, data), data, settings)
    graph = Graph()
    (replicate,) = wanted.add_to(graph)
    (budget,) = wanted.question.budgets
    return {name: ARMS[name].node(replicate, budget).run for name in arms}


def test_what_can_be_set():
    own = {"start": float, "end": float, "every": int}
    assert settings_of("gradual-magnitude") == {**own, "layer_shares": LayerShares | None}
    assert settings_of("dynamic-feedback") == settings_of("gradual-magnitude")
    assert settings_of("l1") == {"strength": float}
    assert settings_of("snip") == {"batches": int}
    assert {"n", "n_final", "mode", "compiled", "floor", "solve_every"} <= set(
        settings_of("reparametrization")
    )
    assert {ARMS[name].method(Sparsity(), 0).name for name in WEIGHT_ARMS} <= set(SETTABLE)


@pytest.mark.parametrize("name", SETTABLE)
def test_every_method_takes_the_defaults_that_it_says(name):
    """Each of its settings, handed back to it as it has it: read from text, and as values."""
    kind = METHODS[name]
    method = kind("nonzeros=1%", **({"steps": 1} if kind.takes_steps else {}))
    homes = (getattr(method, "config", None), method)
    usual = {
        setting: next(getattr(home, setting) for home in homes if hasattr(home, setting))
        for setting in settings_of(name)
        if setting not in ("compiled", "layer_shares")  # which it keeps in objects of their own
    }
    assert checked({name: usual}) == ({name: usual} if usual else {})
    assert parse(in_words({name: usual}).split(", ") if usual else []) == ({name: usual} if usual else {})
    assert kind("nonzeros=1%", **({"steps": 1} if kind.takes_steps else {}), **usual).identity() == (
        method.identity()
    )


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            "l1",
            "written METHOD.NAME=VALUE, got 'l1': write for example gradual-magnitude.end=0.6",
        ),
        ("l1.strength", "written METHOD.NAME=VALUE, got 'l1.strength'"),
        ("strength=1", "written METHOD.NAME=VALUE, got 'strength=1'"),
        ("l1.strength=", "written METHOD.NAME=VALUE, got 'l1.strength='"),
        ("l2.strength=1", "unknown method of a setting 'l2': did you mean 'l1'?"),
        ("fisher.strength=1", "unknown method of a setting 'fisher'"),
        ("l1.strenght=1", "unknown setting of l1 'strenght': did you mean 'strength'?"),
        ("l1.strength=much", "l1.strength takes a number, got 'much'"),
        ("l1.strength=nan", "l1.strength takes a number, got 'nan'"),
        ("l1.strength=-1", "the strength must be at least 0, got -1.0"),
        ("snip.batches=2.5", "snip.batches takes a whole number, got '2.5'"),
        ("reparametrization.compiled=yes", "reparametrization.compiled takes true or false, got 'yes'"),
        ("gradual-magnitude.end=1.5", "gradual pruning: end must be at most 1, got 1.5"),
    ],
)
def test_what_makes_no_sense_is_refused(text, error):
    with pytest.raises(InputError) as refused:
        Sparsity(settings=parse([text]))
    assert error in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"l1": {"strength": "1"}}, "l1.strength takes a number, got '1'"),
        ({"l1": {"strength": True}}, "l1.strength takes a number, got True"),
        ({"snip": {"batches": 2.0}}, "snip.batches takes a whole number, got 2.0"),
        ({"l1": {"keep": ["stem"]}}, "unknown setting of l1 'keep'"),
    ],
)
def test_python_is_checked_alike(given, error):
    with pytest.raises(InputError, match=error):
        Sparsity(settings=given)


def test_a_setting_has_one_value():
    with pytest.raises(InputError, match=r"got l1.strength twice: leave one out"):
        parse(["l1.strength=1", "l1.strength=2"])
    with pytest.raises(InputError, match=r"given once, got 0.002 and 0.001 for l1.strength: leave one out"):
        Sparsity(l1_strength=2e-3, settings={"l1": {"strength": 1e-3}})
    with pytest.raises(InputError, match=r"given once, got 6 and 8 for reparametrization.n"):
        Sparsity(reparametrization={"n": 6}, settings={"reparametrization": {"n": 8}})
    usual = {"n": 4, "t_init": 100.0}  # what the command line always gives
    assert Sparsity(reparametrization=usual, settings={"reparametrization": {"n": 8}}).named("l1") == {
        "strength": 3e-4
    }


def test_runs_are_others_only_where_something_is_set(digits):
    arms = ("gradual-magnitude", "dynamic-feedback", "l1", "reparametrization", "magnitude-tuned")
    plain = made(digits, arms)
    usual = made(digits, arms, settings={"gradual-magnitude": {"end": 0.7}, "l1": {"strength": 3e-4}})
    other = made(digits, arms, settings={"gradual-magnitude": {"end": 0.6}, "l1": {"strength": 1}})
    assert {name: run.run_id for name, run in usual.items()} == {n: run.run_id for n, run in plain.items()}
    assert {name for name in arms if other[name].run_id != plain[name].run_id} == {"gradual-magnitude", "l1"}
    assert other["gradual-magnitude"].identity()["method"]["end"] == 0.6
    by_field = made(digits, ("l1",), l1_strength=1.0)["l1"]
    assert by_field.run_id == other["l1"].run_id, "1 and 1.0 are one strength, by every door"


def test_what_applies_to_nothing_is_refused(digits):
    with pytest.raises(InputError) as refused:
        made(digits, ("l1", "magnitude"), settings={"snip": {"batches": 2}})
    assert str(refused.value) == (
        "l1, magnitude take settings of l1, magnitude, got snip.batches=2: leave it out, or ask for an arm "
        "of snip that takes it"
    )
    with pytest.raises(InputError, match=r"width takes no settings, got snip.batches=2"):
        made(digits, ("width",), settings={"snip": {"batches": 2}})


def test_when_the_exact_mode_cuts_is_nothing_to_the_faithful_one(digits):
    given = {"reparametrization": {"cut_at": 0.8}}
    both = ("reparametrization", "reparametrization-faithful")
    plain, other = made(digits, both), made(digits, both, settings=given)
    assert {name for name in both if plain[name].run_id != other[name].run_id} == {"reparametrization"}
    with pytest.raises(InputError, match=r"faithful takes .*, got reparametrization.cut_at="):
        made(digits, both[1:], settings=given)


def test_more_batches_than_there_are_cannot_be_scored(digits):
    """300 digits less 10% held out make 5 batches of 64."""
    assert made(digits, ("snip",), settings={"snip": {"batches": 5}})
    with pytest.raises(InputError, match=r"at most the batches that the training images make, 5, got 6"):
        made(digits, ("snip",), settings={"snip": {"batches": 6}})


@pytest.mark.parametrize(
    ("arm", "given"),
    [
        ("magnitude", {"magnitude": {"scope": "layer"}}),
        ("random-tuned", {"random": {"seed": 3}}),
        ("reparametrization", {"reparametrization": {"mode": "faithful"}}),
    ],
)
def test_what_an_arm_is_stays(digits, arm, given):
    with pytest.raises(InputError, match=f"the arm {arm} is .* with its own .*: leave it out"):
        made(digits, (arm,), settings=given)


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (
            "prune l1 --budget nonzeros=5% --setting snip.batches=2",
            "l1 takes settings of l1, got snip",
        ),
        (
            "prune fisher --budget params=50% --setting snip.batches=2",
            "fisher removes channels; got snip",
        ),
        (
            "prune channel-reparametrization --budget params=50% --setting snip.batches=2",
            "channel-reparametrization takes no settings, got snip.batches=2",
        ),
        (
            "compare --budget nonzeros=5% --setting snip.batches=2",
            "magnitude-tuned, reparam",
        ),
        ("compare --budget params=50% --setting snip.batches=2", "fisher-tuned, fisher-scratch"),
        ("compare --arms l1 --budget nonzeros=5% --setting l1.strenght=1", "did you mean 'strength'?"),
        ("reproduce dupont2021 table1 --scale smoke --setting snip.batches=2", "got snip.batches=2"),
        ("reproduce crowley2018 snip --setting snip.batches=2", "has no --setting, got 'snip.batches=2'"),
    ],
)
def test_every_command_refuses_at_once(run, tmp_path, line, error):
    code, out, said = run(line)
    assert (code, out) == (2, "")
    assert error in said
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_plans_say_what_is_set(run):
    asked = f"--model {MODEL} --budget {BUDGET}"
    set_to = "--setting l1.strength=0.01,gradual-magnitude.end=0.6"
    code, out, _ = run(f"compare {asked} --arms gradual-magnitude,l1 {set_to} --plan")
    assert code == 0
    assert "With l1.strength=0.01, gradual-magnitude.end=0.6." in out
    code, out, _ = run(f"prune l1 {asked} --setting l1.strength=0.01 --plan --json")
    assert json.loads(out)["settings"] == {"l1": {"strength": 0.01}}
    code, out, _ = run(f"prune l1 {asked} --plan --json")
    assert "settings" not in json.loads(out)


def test_results_say_what_was_set(tmp_path, monkeypatch):
    """The page shows all of the results' settings."""
    monkeypatch.setattr(results_files, "rewrite_report", lambda *_: None)  # which takes longer than all else
    few, sparsity = (
        load_data("digits", limit_train=60),
        Sparsity(settings={"gradual-magnitude": {"every": 1}}),
    )
    once, arms = replace(RECIPE, epochs=1), ["gradual-magnitude"]
    result = sc.compare(
        MODEL, few, [BUDGET], arms=arms, recipe=once, sparsity=sparsity, out=tmp_path, device="cpu", workers=1
    )
    assert result.results.settings["settings of methods"] == "gradual-magnitude.every=1"
    (point,) = result.points
    record = json.loads((tmp_path / "runs" / point.run_id / "record.json").read_text())
    assert record["identity"]["method"]["every"] == 1


def test_a_paper_made_again_takes_them(tmp_path):
    given = {"gradual-magnitude": {"end": 0.6}}
    again = Reproduction(
        tmp_path, "smoke", parse_cells("conv4/cifar10/95%"), methods=("gradual-magnitude",), settings=given
    )
    graph = Graph()
    _, node = again.nodes(again.cells[0], graph, 0)
    assert node.run.identity()["method"]["end"] == 0.6


def test_sparsity_without_settings_asks_the_same_question():
    """The hash of a comparison in a folder is that of versions without `settings`."""
    assert Sparsity().identity() == {
        "tune_share": 0.5, "tune_epochs": None, "l1_strength": 3e-4, "reparametrization": {},
    }  # fmt: skip
