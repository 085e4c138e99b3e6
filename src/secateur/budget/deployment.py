"""Where and how a network is to run: what a latency is measured on, or foretold for."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import get_args

from secateur.budget import tables
from secateur.budget.hints import own_value
from secateur.budget.resources import MEASURED
from secateur.errors import InputError, unknown
from secateur.names import RuntimeName
from secateur.records.device_table import DeviceTable

RUNTIMES = get_args(RuntimeName)


_OPTIONS = {"batch": "batch_size", "threads": "threads"}


_WHOLE = re.compile(r"[1-9][0-9]{0,5}")


@dataclass(frozen=True)
class Deployment:
    """Where and how a network is to run.

    Attributes:
        runtime: one of `RUNTIMES`.
        batch_size: examples at a time, at least 1.
        threads: CPU threads of the runtime, at least 1.
        table: costs on another device, by which a latency is foretold; None: it is measured here.
        path: the table's file, as it was named.

    Example:
        >>> str(Deployment.parse("onnxruntime:batch=8"))
        'onnxruntime:batch=8:threads=1'
    """

    runtime: str
    batch_size: int = 1
    threads: int = 1
    table: DeviceTable | None = field(default=None, repr=False)
    path: str = ""

    def __post_init__(self) -> None:
        if self.table is None and self.runtime not in RUNTIMES:
            raise unknown("runtime", self.runtime, RUNTIMES)
        for name, attribute in _OPTIONS.items():
            value = getattr(self, attribute)
            if not isinstance(value, int) or value < 1:
                raise InputError(f"{name} must be a whole number of at least 1, got {value}: write {name}=1")

    @classmethod
    def parse(cls, text: str) -> Deployment:
        """Read 'torch', 'onnxruntime:batch=8', 'openvino:batch=8:threads=2', 'file:device.json'.

        Raises:
            InputError: naming what is wrong, and the runtimes or options that exist; of a file, that there is
                none, or that it is no table.
        """
        if tables.is_file(text):
            return cls.foretold(*tables.read(text))
        runtime, *options = (part.strip() for part in text.split(":"))
        if runtime not in RUNTIMES:
            raise unknown("runtime", runtime, RUNTIMES)
        found: dict[str, int] = {}
        for option in options:
            name, _, value = (part.strip() for part in option.partition("="))
            if name not in _OPTIONS:
                raise unknown("option of a runtime", name, _OPTIONS)
            if _OPTIONS[name] in found:
                raise InputError(f"every option of a runtime is given once, got '{text}': keep one {name}")
            if not _WHOLE.fullmatch(value):
                raise InputError(
                    f"{name} must be a whole number from 1 to 999999, got '{option}': write {name}=1"
                )
            found[_OPTIONS[name]] = int(value)
        return cls(runtime, found.get("batch_size", 1), found.get("threads", 1))

    @classmethod
    def foretold(cls, path: str, table: DeviceTable) -> Deployment:
        """The device that a table is of."""
        return cls(table.runtime, table.batch, table.threads, table, path)

    def __str__(self) -> str:
        if self.table is not None:
            return f"{tables.FILE}:{self.path}"
        return f"{self.runtime}:batch={self.batch_size}:threads={self.threads}"


def deployment_of(where: str, number: str, text: str) -> Deployment:
    """Where a latency is measured; InputError where that is not said."""
    if not where:
        raise InputError(
            f"a latency budget names the runtime it is measured with, got '{text}': write for example "
            f"{own_value(MEASURED, number) or f'{MEASURED}=2ms@torch'} (one of: {', '.join(RUNTIMES)}, or "
            "file:device.json of another device)"
        )
    try:
        return Deployment.parse(where)
    except InputError as error:
        raise InputError(f"{error}, in '{text}'") from None
