"""The services, through accelerate's trackers, and what each needs to have one run under one id."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from secateur.errors import InputError, kind_and_line, missing, unknown
from secateur.process import silent
from secateur.records.out import check_stays
from secateur.tracking.told import Outcome, Told, Value

if TYPE_CHECKING:
    from accelerate.tracking import GeneralTracker

PROJECT = "secateur"
"""What runs are gathered under, where the environment names nothing else."""

_PASSWORD = re.compile(r"://[^/@\s]*@")


class Service:
    """Where runs are shown.

    Args:
        out: the command's folder; InputError where its part for the service is a link out of it.

    Attributes:
        name: as `--log-with` has it.
        stays_open: several runs can be open at a time, so each is opened once.
    """

    name: ClassVar[str]
    stays_open: ClassVar[bool] = True

    def __init__(self, out: Path):
        check_stays(out / self.name, out)
        self.out = out

    @classmethod
    def check(cls) -> None:
        """Raise InputError where it cannot be used here."""
        if find_spec(cls.name) is None:
            raise missing(cls.name, f"--log-with {cls.name}")

    def place(self, told: Told) -> str:
        """Where the run is shown, by 12 hex digits: no address, which may hold a password, is kept."""
        return hashlib.sha256(self._place(told).encode()).hexdigest()[:12]

    def _place(self, told: Told) -> str:
        raise NotImplementedError

    def still_has(self, told: Told) -> bool:
        """Whether what was told before is there yet."""
        return True

    def open(self, told: Told, settings: Mapping[str, Value], first: bool) -> GeneralTracker:
        """The tracker of a run, which goes on where there is one of its id.

        Args:
            first: nothing was told of it before.
        """
        raise NotImplementedError

    def tell_outcome(self, tracker: GeneralTracker, outcome: Outcome) -> None:
        """Tell what a run came to."""
        tracker.log(dict(outcome.found), step=outcome.epochs)

    def close(self, tracker: GeneralTracker, finished: bool) -> None:
        """Leave a run, which may be gone on with later where it is not finished."""
        tracker.finish()


class TensorBoard(Service):
    """Event files in OUT/tensorboard/RUN: `tensorboard --logdir OUT/tensorboard`."""

    name = "tensorboard"

    def _place(self, told: Told) -> str:
        return "beside the runs"

    def still_has(self, told: Told) -> bool:
        return (self.out / self.name / told.run_id).is_dir()

    def open(self, told: Told, settings: Mapping[str, Value], first: bool) -> GeneralTracker:
        from accelerate.tracking import TensorBoardTracker

        check_stays(self.out / self.name / told.run_id, self.out)
        tracker = _started(TensorBoardTracker(told.run_id, self.out / self.name))
        if first:
            rows = "\n".join(
                f"| {name} | {str(value).replace('|', ' ')} |" for name, value in settings.items()
            )
            tracker.log({"settings": f"| setting | value |\n|---|---|\n{rows}"}, step=0)
        return tracker

    def tell_outcome(self, tracker: GeneralTracker, outcome: Outcome) -> None:
        """As its table of hyperparameters wants it: of the run itself, where accelerate makes one more."""
        tracker.tracker.add_hparams(
            dict(outcome.settings), dict(outcome.found), run_name=".", global_step=outcome.epochs
        )


class WeightsAndBiases(Service):
    """A run of the project WANDB_PROJECT, else "secateur"; offline where WANDB_MODE says so."""

    name = "wandb"

    @classmethod
    def check(cls) -> None:
        super().check()
        if os.environ.get("WANDB_MODE", "online") == "online" and not _has_key():
            raise InputError(
                "--log-with wandb needs a key, and there is none here: `wandb login`, or set "
                "WANDB_MODE=offline and `wandb sync` later"
            )

    def _place(self, told: Told) -> str:
        names = ("WANDB_BASE_URL", "WANDB_ENTITY", "WANDB_PROJECT")
        offline = os.environ.get("WANDB_MODE", "online") != "online"
        return " ".join([str(offline), *(os.environ.get(name, "") for name in names)])

    def open(self, told: Told, settings: Mapping[str, Value], first: bool) -> GeneralTracker:
        wandb = silent("wandb")
        from accelerate.tracking import WandBTracker

        tracker = WandBTracker(
            os.environ.get("WANDB_PROJECT", PROJECT),
            id=told.run_id,
            name=told.label,
            group=self.out.name,
            job_type=told.kind,
            tags=told.tags(),
            config=dict(settings),  # at once: later accelerate writes it to the process's latest run
            resume="allow",
            reinit="create_new",  # several at a time, each by itself
            dir=str(self.out),
            settings=wandb.Settings(console="off", silent=True, init_timeout=30),
        )
        return _started(tracker)

    def tell_outcome(self, tracker: GeneralTracker, outcome: Outcome) -> None:
        tracker.tracker.summary.update(dict(outcome.found))


class MLflow(Service):
    """A run of the experiment MLFLOW_EXPERIMENT_NAME, else "secateur", where MLFLOW_TRACKING_URI says."""

    name = "mlflow"
    stays_open = False  # it has one active run
    MARK: ClassVar[str] = "secateur.run_id"

    @classmethod
    def check(cls) -> None:
        super().check()
        if os.environ.get("MLFLOW_RUN_ID"):
            raise InputError(
                "--log-with mlflow gives each run an id of its own, and MLFLOW_RUN_ID names one for all: "
                "unset it"
            )

    def __init__(self, out: Path):
        super().__init__(out)
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # work waits meanwhile
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
        self.experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)

    def _place(self, told: Told) -> str:
        mlflow = silent("mlflow")
        return f"{mlflow.get_tracking_uri()} {self.experiment}"

    def open(self, told: Told, settings: Mapping[str, Value], first: bool) -> GeneralTracker:
        mlflow = silent("mlflow")
        from accelerate.tracking import MLflowTracker

        found = self._id_of(told)
        tracker = _started(MLflowTracker(self.experiment, run_id=found, run_name=told.label, nested_run=True))
        if found is None:
            mlflow.set_tags({self.MARK: told.run_id, "tags": ", ".join(told.tags()), **told.about})
            tracker.store_init_configuration(dict(settings))
        return tracker

    def _id_of(self, told: Told) -> str | None:
        """MLflow's own id of the run, which it chose; None where it has none."""
        mlflow = silent("mlflow")
        client = mlflow.MlflowClient()
        experiment = client.get_experiment_by_name(self.experiment)
        if experiment is None:
            return None
        query = f"tags.`{self.MARK}` = '{told.run_id}'"
        runs = client.search_runs([experiment.experiment_id], query, max_results=1)
        return runs[0].info.run_id if runs else None

    def close(self, tracker: GeneralTracker, finished: bool) -> None:
        mlflow = silent("mlflow")
        mlflow.end_run("FINISHED" if finished else "RUNNING")


def _has_key() -> bool:
    """Whether Weights & Biases knows who is there; nobody is asked, and nothing waits for a network."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    wandb = silent("wandb")
    try:
        return bool(wandb.login(prompt=False))
    except TypeError:  # of before it could be told not to ask
        return bool(wandb.api.api_key)
    except Exception:  # there is one, and whether it is taken is seen when the first run begins
        return True


SERVICES: dict[str, type[Service]] = {each.name: each for each in (WeightsAndBiases, TensorBoard, MLflow)}


def check_services(log_with: str | Sequence[str] | None) -> tuple[str, ...]:
    """Read the names of services: one, several, or a text with commas.

    Raises:
        InputError: where one is unknown, not installed, or cannot be used here.
    """
    texts = [log_with] if isinstance(log_with, str) else log_with or []
    names = dict.fromkeys(part.strip() for text in texts for part in str(text).split(","))
    for name in names:
        if name not in SERVICES:
            raise unknown("service of --log-with", name, SERVICES)
    for name in names:
        SERVICES[name].check()
    return tuple(names)


def without_passwords(error: Exception) -> str:
    """Say what an error is in one line; who is let in where an address says so is not repeated."""
    return _PASSWORD.sub("://", kind_and_line(error))


def _started(tracker: Any) -> GeneralTracker:
    """A tracker that is at work; accelerate's older ones are so from the beginning."""
    if hasattr(tracker, "start"):
        tracker.start()
    return tracker
