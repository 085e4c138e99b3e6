"""What a worker does: take up one run from its description, make it, and say how far it is."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from secateur.architecture.architecture import Architecture
from secateur.architecture.elsewhere import Described, whole_again
from secateur.data import Data
from secateur.device import Runtime
from secateur.runs.executors.events import EventWriter
from secateur.runs.portable import read_data, run_from_json
from secateur.runs.session import Session
from secateur.runs.store import RunStore

MAKE = "secateur.runs.executors.worker:make"


def order(
    run: dict[str, Any], store: RunStore, data: Path, events: Path, device: str, limit: float | None = None
) -> str:
    """Write down what `make` is to do."""
    content = {
        "run": run,
        "store": str(store.directory.absolute()),
        "data": str(data.absolute()),
        "events": str(events.absolute()),
        "device": device,
        "limit": limit,
    }
    return json.dumps(content, allow_nan=False)


def make(text: str) -> str:
    """Make the run of an order; its id."""
    content = json.loads(text)

    def architecture(described: Described, data: Data) -> Architecture:
        whole = _whole(json.dumps(described["whole"]), content["data"])
        return whole.left_as(described)

    reporter = EventWriter(Path(content["events"]))
    try:
        reporter.taken_up()
        run = run_from_json(content["run"], _data(content["data"]), architecture)
        reporter.taken_up()  # once more: to build and trace a network may take a while, and is not the run
        session = Session(_store(content["store"]), Runtime(content["device"]), reporter)
        session.run_limit = content["limit"]
        session.make(run)
    finally:
        reporter.close()
    return run.run_id


# A worker makes many runs on the same images, and of the same network, which may take a minute to trace.


@lru_cache(maxsize=2)
def _data(path: str) -> Data:
    return read_data(Path(path))


@lru_cache(maxsize=8)
def _whole(whole: str, data: str) -> Architecture:
    return whole_again(json.loads(whole), _data(data))


@lru_cache(maxsize=8)
def _store(directory: str) -> RunStore:
    return RunStore(directory)
