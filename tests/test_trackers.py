"""Runs shown elsewhere: each under its own id, every epoch once, and nothing that stops the work."""

from __future__ import annotations

import json
import re
import shutil
from collections import defaultdict
from typing import ClassVar

import pytest
import torch
from accelerate.tracking import GeneralTracker

import secateur as sc
from secateur.errors import InputError
from secateur.progress import Reporter
from secateur.runs.store import RunStore
from secateur.runs.tracking import tracking
from secateur.tracking import pruning, services
from secateur.tracking.services import SERVICES, Service, check_services
from secateur.tracking.told import Told, flat, numbers

SMALL = {
    "model": "wrn-10-1",
    "budgets": ["params=50%"],
    "arms": ["width"],
    "epochs": 3,
    "device": "cpu",
    "workers": 1,
}


class Heard(Reporter):
    """Keeps notes; interrupts behind so many epochs."""

    def __init__(self, most=None):
        self.notes, self.most, self.epochs = [], most, 0

    def note(self, text):
        self.notes.append(text)

    def epoch(self, row):
        self.epochs += 1
        if self.epochs == self.most:
            raise KeyboardInterrupt


class Kept(GeneralTracker):
    """A tracker that keeps what it is told."""

    name, requires_logging_directory = "kept", False
    runs: ClassVar = defaultdict(list)

    def __init__(self, run_id):
        super().__init__()
        self.run_id = run_id

    @property
    def tracker(self):
        return self.runs[self.run_id]

    def log(self, values, step=None):
        self.runs[self.run_id].append((step, values))

    def finish(self):
        self.runs[self.run_id].append("finished")


class Stand(Service):
    """A service that can be out of reach."""

    name = "tensorboard"
    reach = True

    @classmethod
    def check(cls):
        """It is always there."""

    def _place(self, told):
        return "http://ann:password@stand.example"

    def open(self, told, settings, first):
        if not self.reach:
            raise ConnectionError("no answer from http://ann:password@stand.example/api")
        Kept.runs[told.run_id].append((first, settings))
        return Kept(told.run_id)


@pytest.fixture
def stand(monkeypatch):
    monkeypatch.setitem(SERVICES, "tensorboard", Stand)
    monkeypatch.setattr(Stand, "reach", True)
    monkeypatch.setattr(Kept, "runs", defaultdict(list))
    return Kept.runs


@pytest.fixture(scope="module")
def digits():
    return sc.data.load_data("digits", limit_train=200)


@pytest.mark.parametrize("stays_open", [True, False])
def test_every_epoch_once_however_often_it_is_interrupted(digits, tmp_path, stand, monkeypatch, stays_open):
    monkeypatch.setattr(Stand, "stays_open", stays_open)
    monkeypatch.setattr(tracking, "EVERY_S", 0.0)
    with pytest.raises(KeyboardInterrupt):
        sc.compare(**SMALL, data=digits, out=tmp_path, log_with="tensorboard", reporter=Heard(most=2))
    (run_id,) = stand
    assert [entry[0] for entry in stand[run_id] if entry != "finished"] == [True, 1]  # the second, not yet
    result = sc.compare(**SMALL, data=digits, out=tmp_path, log_with=["tensorboard"])
    record = RunStore(tmp_path).record(run_id)
    told = [entry for entry in stand[run_id] if entry != "finished"]
    losses = [(step, values["loss"]) for step, values in told if "loss" in values]
    assert losses == [(row.epoch, row.loss) for row in record.history]
    assert [first for first, values in told if "run_id" in values][:2] == [True, False]
    step, found = told[-1]
    assert step == 3
    assert found["final/test_accuracy"] == record.accuracy == result.points[0].accuracy
    assert found["final/params"] == 38698
    assert stand[run_id][-1] == "finished"
    settings = told[0][1]
    assert (settings["run_id"], settings["arm"], settings["seed"]) == (run_id, "width", 0)
    assert settings["budget"].startswith("params=50%")
    assert settings["recipe.epochs"] == 3
    before = [*stand[run_id]]
    sc.compare(**SMALL, data=digits, out=tmp_path, log_with="tensorboard")  # it knows all of it
    assert stand[run_id] == before


def test_a_service_out_of_reach_is_a_note_and_is_told_later(digits, tmp_path, stand, monkeypatch):
    monkeypatch.setattr(Stand, "reach", False)
    heard = Heard()
    sc.compare(**SMALL, data=digits, out=tmp_path, log_with="tensorboard", reporter=heard)
    (note,) = [note for note in heard.notes if "told nothing more" in note]
    assert note == (
        "tensorboard is told nothing more (ConnectionError: no answer from http://stand.example/api); "
        "the runs go on, and the same command tells it the rest later"
    )
    assert not stand
    assert (tmp_path / "results.json").is_file()
    monkeypatch.setattr(Stand, "reach", True)
    sc.compare(**SMALL, data=digits, out=tmp_path, log_with="tensorboard")
    ((run_id, told),) = stand.items()
    assert [step for step, _ in told[1:-1]] == [1, 2, 3, 3]
    marks = json.loads((tmp_path / "runs" / run_id / "tracked.json").read_text())
    assert marks["services"]["tensorboard"]["epoch"] == 3
    assert not any("password" in each.read_text() for each in tmp_path.rglob("*.json"))
    RunStore(tmp_path).delete(run_id)  # what we left there is known as ours


def test_tensorboard_reads_what_was_told(digits, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def read(run_id):
        found = EventAccumulator(str(tmp_path / "tensorboard" / run_id))
        found.Reload()
        return {
            name: [(each.step, each.value) for each in found.Scalars(name)]
            for name in found.Tags()["scalars"]
        }

    sc.compare(**SMALL, data=digits, out=tmp_path)  # before anybody asked for it
    sc.compare(**SMALL, data=digits, out=tmp_path, log_with="tensorboard")
    # one run: who is told is no part of what it is
    ((run_id,), store) = [each.name for each in (tmp_path / "runs").iterdir()], RunStore(tmp_path)
    record, found = store.record(run_id), read(run_id)
    assert found["loss"] == [(row.epoch, pytest.approx(row.loss)) for row in record.history]
    assert found["lr"] == [(row.epoch, pytest.approx(row.lr)) for row in record.history]
    assert found["final/test_accuracy"] == [(3, pytest.approx(record.accuracy))]
    folders = [each for each in (tmp_path / "tensorboard").rglob("*") if each.is_dir()]
    assert [each.name for each in folders] == [run_id]  # one run is one there
    events = b"".join(each.read_bytes() for each in folders[0].iterdir())
    assert b"| recipe.epochs | 3 |" in events
    assert b"_hparams_/session_start_info" in events
    shutil.rmtree(tmp_path / "tensorboard")
    sc.compare(**SMALL, data=digits, out=tmp_path, log_with="tensorboard")
    assert read(run_id) == found


def batches():
    generator = torch.Generator().manual_seed(0)
    return [(torch.rand(8, 1, 8, 8, generator=generator), torch.arange(8) % 10) for _ in range(3)]


def pruned(**settings):
    model = sc.models.wide_resnet(depth=10, width=0.25, in_channels=1)
    return sc.prune(model, data=batches(), every=1, at_once=4, progress=False, **settings)


def test_prune_tells_its_steps_and_what_it_came_to(tmp_path, stand, monkeypatch):
    monkeypatch.setattr(pruning, "EVERY_S", 0.0)
    model = pruned(budget="params=60%", val=batches(), log_with="tensorboard", log_to=tmp_path)
    ((name, told),) = stand.items()
    assert re.fullmatch("prune-[0-9a-f]{12}", name)
    (first, settings), *steps, (last, found), end = told
    assert first
    assert end == "finished"
    assert settings["label"] == "fisher to params=60%"
    assert (settings["method"], settings["goal"], settings["every"]) == ("fisher", "params=60%", 1)
    assert "seed" not in settings
    assert [step for step, _ in steps] == list(range(1, last + 1))
    removed = [values["removed"] for _, values in steps]
    assert removed == sorted(removed)
    assert found["final/removed"] == removed[-1] > 0
    assert found["final/params"] == sum(each.numel() for each in model.parameters())
    assert found["final/val_accuracy"] * 24 == pytest.approx(
        sum((model(x).argmax(1) == y).sum().item() for x, y in batches())
    )


def test_prune_tells_seldom_and_always_the_last_step(tmp_path, stand):
    pruned(budget="params=60%", log_with=["tensorboard"], log_to=tmp_path)
    ((_, told),) = stand.items()
    steps = [step for step, values in told[1:-1] if "loss" in values]
    assert steps[0] == 1
    assert 1 < len(steps) < steps[-1] == told[-2][0]


def test_a_pruning_without_training_and_one_that_is_broken_off_are_told(tmp_path, stand):
    given = {"log_with": "tensorboard", "log_to": tmp_path}
    pruned(method="filter-norm", budget="params=60%", train=False, recalibrate=False, **given)
    ((_, told),) = stand.items()
    assert told[1][1]["final/removed"] > 0
    stand.clear()

    def broken():
        yield from batches()
        raise KeyboardInterrupt

    class Broken:
        __iter__ = staticmethod(broken)

    model = sc.models.wide_resnet(depth=10, width=0.25, in_channels=1)
    with pytest.raises(KeyboardInterrupt):
        sc.prune(model, data=Broken(), budget="params=60%", every=1, progress=False, **given)
    ((_, told),) = stand.items()
    assert [step for step, _ in told[1:-1]] == [1, 3]
    assert told[-1] == "finished"  # as the stand's tracker says when it is left


def test_prune_goes_on_without_a_service(tmp_path, stand, monkeypatch, capsys):
    monkeypatch.setattr(Stand, "reach", False)
    model = sc.models.wide_resnet(depth=10, width=0.25, in_channels=1)
    limit = int(0.6 * sum(each.numel() for each in model.parameters()))
    sc.prune(model, data=batches(), budget="params=60%", every=1, at_once=4, log_with="tensorboard")
    assert not stand
    assert (
        "tensorboard is told nothing more (ConnectionError: no answer from http://stand.example/api); "
        "the pruning goes on"
    ) in capsys.readouterr().err
    assert sum(each.numel() for each in model.parameters()) <= limit


def test_tensorboard_reads_a_pruning(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    model = pruned(budget="params=60%", log_with="tensorboard", log_to=tmp_path)
    (folder,) = (tmp_path / "tensorboard").iterdir()
    found = EventAccumulator(str(folder))
    found.Reload()
    (final,) = found.Scalars("final/params")
    assert final.value == sum(each.numel() for each in model.parameters())
    assert found.Scalars("removed")[-1].step == final.step
    assert b"fisher to params=60%" in b"".join(each.read_bytes() for each in folder.iterdir())


def test_prune_refuses_an_unknown_service_before_anything(tmp_path):
    model = sc.models.wide_resnet(depth=10, width=0.25, in_channels=1)
    before = sum(each.numel() for each in model.parameters())
    with pytest.raises(InputError, match="unknown service of --log-with 'wanb': did you mean 'wandb'"):
        sc.prune(model, data=batches(), budget="params=60%", log_with="wanb", log_to=tmp_path)
    assert sum(each.numel() for each in model.parameters()) == before
    assert not [*tmp_path.iterdir()]


def test_what_is_told_is_flat_finite_and_named():
    told = Told(
        "prune-1a-s2", "fisher-tuned params=5% seed 2", 2, {"recipe": {"lr": 0.1}}, {"arm": "fisher-tuned"}
    )
    assert told.tags() == ["secateur", "prune", "fisher-tuned"]
    assert told.settings("abc") | {"secateur": "x"} == {
        "recipe.lr": 0.1,
        "run_id": "prune-1a-s2",
        "label": "fisher-tuned params=5% seed 2",
        "kind": "prune",
        "seed": 2,
        "secateur": "x",
        "commit": "abc",
        "arm": "fisher-tuned",
    }
    assert flat({"a": {"b": {"c": None, "d": (1, 2)}}, "e": "x" * 600}) == {"a.b.d": "1, 2", "e": "x" * 500}
    row = {"epoch": 2, "loss": 0.5, "more": float("nan"), "flag": True, "removed": 7, "val_accuracy": None}
    assert numbers(row) == {"loss": 0.5, "removed": 7}


@pytest.mark.parametrize("name", ["wandb", "tensorboard", "mlflow"])
def test_a_package_that_is_not_there_is_one_early_line(name, monkeypatch, tmp_path):
    monkeypatch.setattr(services, "find_spec", lambda package: None)
    with pytest.raises(InputError) as refused:
        sc.compare(**SMALL, data="digits", out=tmp_path / "out", log_with=name)
    assert str(refused.value) == (
        f"--log-with {name} needs the package {name}, which is not installed: pip install 'secateur[{name}]'"
    )
    assert not (tmp_path / "out").exists()


def test_names_of_services(monkeypatch):
    monkeypatch.setattr(services, "find_spec", lambda package: True)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    assert check_services(["mlflow, wandb", "mlflow"]) == ("mlflow", "wandb")
    assert check_services(None) == check_services(()) == ()
    with pytest.raises(InputError, match="unknown service of --log-with 'wanb': did you mean 'wandb'"):
        check_services("wanb")
    monkeypatch.setenv("MLFLOW_RUN_ID", "abc")
    with pytest.raises(InputError, match="MLFLOW_RUN_ID names one for all: unset it"):
        check_services("mlflow")
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_API_KEY", "a key")
    assert check_services("wandb") == ("wandb",)  # whether it is taken is seen later
    monkeypatch.setattr(services, "_has_key", lambda: False)
    with pytest.raises(InputError, match="needs a key, and there is none here: `wandb login`"):
        check_services("wandb")


@pytest.mark.slow
def test_mlflow_itself(digits, tmp_path, monkeypatch):
    """In an environment that has it (mlflow 3.17 at the last try)."""
    mlflow = pytest.importorskip("mlflow")
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    with pytest.raises(KeyboardInterrupt):
        sc.compare(**SMALL, data=digits, out=tmp_path, log_with="mlflow", reporter=Heard(most=2))
    sc.compare(**SMALL, data=digits, out=tmp_path, log_with="mlflow")
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("secateur")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert [each.step for each in client.get_metric_history(run.info.run_id, "loss")] == [1, 2, 3]
    assert run.data.params["arm"] == "width"
    assert run.data.metrics["final/params"] == 38698


@pytest.mark.slow
def test_weights_and_biases_itself(digits, tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    sc.compare(**SMALL, data=digits, out=tmp_path, log_with="wandb")
    ((run_id),) = [each.name for each in (tmp_path / "runs").iterdir()]
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    assert folder.name.endswith(run_id)
    assert b"final/test_accuracy" in (folder / f"run-{run_id}.wandb").read_bytes()
