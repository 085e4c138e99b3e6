"""C files built by the system's compiler, and called with numpy arrays."""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from secateur.atomic import scratch
from secateur.deploy.c.program import ALIGNMENT
from secateur.errors import InputError

WARNINGS = ("-Wall", "-Wextra", "-Wpedantic")
FLAGS = ("-std=c11", "-O3", "-march=native", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math")
"""How a file is built here: for this very machine, with fused multiplications and additions; nothing that
changes more of what is computed (no -ffast-math)."""

_NAMES = ("cc", "gcc", "clang")
_LIMIT_S = 1800


@dataclass(frozen=True)
class Compiler:
    """A C compiler of this machine.

    Attributes:
        command: how it is started.
        version: its name and version: "gcc 12.2.0".
    """

    command: tuple[str, ...]
    version: str


def find_compiler(named: str | None = None) -> Compiler:
    """Find a C compiler: the one named, else that of $CC, else what the system has.

    Args:
        named: a command, with options if need be: "gcc", "zig cc".

    Returns:
        How it is started, and its version.

    Raises:
        InputError: where there is none.
    """
    for source, text in (("compiler", named), ("$CC", os.environ.get("CC"))):
        if text and text.strip():
            command = shlex.split(text)
            if shutil.which(command[0]) is None:
                raise InputError(
                    f"{source} must name a C compiler that can be run, got '{text}': write for example gcc, "
                    "or install one"
                )
            return Compiler(tuple(command), _version(tuple(command)))
    found = next((name for name in _NAMES if shutil.which(name)), None)
    if found is None:
        raise InputError(
            f"building C needs a compiler, got none of {', '.join(_NAMES)} on this machine: install one, or "
            "name one in the environment variable CC"
        )
    return Compiler((found,), _version((found,)))


@cache
def _version(command: tuple[str, ...]) -> str:
    """What the compiler says that it is."""
    try:
        done = subprocess.run(
            [*command, "--version"], capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InputError(f"the C compiler '{command[0]}' cannot be run: {str(error)[:200]}") from None
    said = done.stdout.partition("\n")[0]
    name = next((name for name in ("clang", "gcc") if name in said.lower()), None)
    if name is None and "Free Software Foundation" in done.stdout:
        name = "gcc"
    number = re.findall(r"\d+(?:\.\d+)+", re.sub(r"\(.*?\)", "", said))
    return " ".join([name or Path(command[0]).name, *number[-1:]])


def has_compiler() -> bool:
    """Whether a compiler is found without a name; InputError where $CC names one that there is not."""
    return bool((os.environ.get("CC") or "").strip()) or any(map(shutil.which, _NAMES))


@dataclass(frozen=True)
class Port:
    """An input or output of a compiled network: its name, dtype and shape for one example.

    Attributes:
        dim: along which of its dimensions examples lie; None where all share it.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    dim: int | None = 0


class Compiled:
    """A network in C, built and loaded: arrays in, arrays out. It may be called from several threads at once.

    Args:
        source, header, name: the text of the `.c` and of the `.h`, and what the network is called in them.
        inputs, outputs: what it takes and gives, in order.
        arena_bytes: the memory that a call needs.
        compiler: what builds it, a command; None: $CC, else cc, gcc or clang. Then: what built it.
        flags: of the compiler; None: ours.
    """

    def __init__(
        self,
        source: str,
        header: str,
        name: str,
        inputs: Sequence[Port],
        outputs: Sequence[Port],
        arena_bytes: int,
        compiler: str | None = None,
        flags: Sequence[str] | None = None,
    ):
        self.inputs, self.outputs, self.arena_bytes = tuple(inputs), tuple(outputs), arena_bytes
        self.compiler = find_compiler(compiler)
        library = built(source, header, name, self.compiler, FLAGS if flags is None else flags)
        self._run = getattr(library, f"{name}_run_in")
        self._run.restype = None
        self._run.argtypes = [ctypes.c_void_p] * (1 + len(self.inputs) + len(self.outputs))
        self._local = threading.local()

    def __repr__(self) -> str:
        ins, outs = (
            ", ".join(f"{port.name}: {port.dtype} {list(port.shape)}" for port in ports)
            for ports in (self.inputs, self.outputs)
        )
        return f"Compiled({ins} -> {outs}; {self.arena_bytes:,} bytes of memory)"

    def __call__(self, *arrays: Any, **named: Any) -> Any:
        """Run a batch of any size, example by example.

        Args:
            arrays, named: the inputs, by position or by name; numpy arrays or what becomes one.

        Returns:
            The output; where there are several, a dictionary of them.
        """
        given = list(arrays)
        if named:
            left = [port.name for port in self.inputs[len(given) :]]
            if set(named) != set(left):
                raise InputError(
                    f"the inputs are {', '.join(p.name for p in self.inputs)}, got {', '.join(named)}"
                )
            given += [named[name] for name in left]
        found = self.run(given)
        return found[0] if len(found) == 1 else dict(zip((p.name for p in self.outputs), found, strict=True))

    def run(self, arrays: Sequence[Any]) -> list[np.ndarray]:
        """Run a batch: arrays in by position, arrays out, as the other runtimes do it."""
        ready, count = self._checked(arrays)
        outputs = [[np.empty(port.shape, port.dtype) for port in self.outputs] for _ in range(count)]
        arena = self._arena()
        for index, results in enumerate(outputs):
            examples = [
                array if port.dim is None else _example(array, port, index, count)
                for array, port in zip(ready, self.inputs, strict=True)
            ]
            self._run(arena, *(each.ctypes.data for each in (*examples, *results)))
        return [
            outputs[0][n]
            if port.dim is None
            else np.concatenate([each[n] for each in outputs], axis=port.dim)
            for n, port in enumerate(self.outputs)
        ]

    def bound(self, arrays: Sequence[Any]) -> Callable[[], list[np.ndarray]]:
        """Make a call on one example for timing: the C itself alone, into the same outputs each time."""
        ready, count = self._checked(arrays)
        if count != 1:
            return lambda: self.run(ready)
        results = [np.empty(port.shape, port.dtype) for port in self.outputs]
        memory = self._memory()
        run, given = self._run, [_aligned(memory), *(each.ctypes.data for each in (*ready, *results))]

        def call() -> list[np.ndarray]:
            assert memory is not None  # what addresses point to is kept for as long as this
            assert ready
            run(*given)
            return results

        return call

    def _checked(self, arrays: Sequence[Any]) -> tuple[list[np.ndarray], int]:
        """Arrays of the right types and shapes, and how many examples there are."""
        if len(arrays) != len(self.inputs):
            raise InputError(
                f"the network takes {len(self.inputs)} inputs "
                f"({', '.join(p.name for p in self.inputs)}), got {len(arrays)} arrays"
            )
        ready, counts = [], set()
        for value, port in zip(arrays, self.inputs, strict=True):
            array = np.asarray(value.numpy() if hasattr(value, "detach") else value)
            if array.dtype != port.dtype and not np.can_cast(array.dtype, port.dtype, "same_kind"):
                raise InputError(f"input {port.name} is {port.dtype}, got {array.dtype}: convert it")
            array = np.ascontiguousarray(array, dtype=port.dtype)
            wanted, got = list(port.shape), list(array.shape)
            if port.dim is not None and len(got) == len(wanted):
                each = wanted[port.dim]
                if got[port.dim] % each == 0 and got[port.dim]:
                    counts.add(got[port.dim] // each)
                    got[port.dim] = each
            if got != wanted:
                raise InputError(
                    f"input {port.name} has shape {list(port.shape)} for one example, any number along "
                    f"dimension {port.dim}, got {list(array.shape)}"
                    if port.dim is not None
                    else f"input {port.name} has shape {list(port.shape)}, got {list(array.shape)}"
                )
            ready.append(array)
        if len(counts) > 1:
            raise InputError(f"all inputs have as many examples, got {', '.join(map(str, sorted(counts)))}")
        return ready, counts.pop() if counts else 1

    def _arena(self) -> int:
        """The address of this thread's arena."""
        if not hasattr(self._local, "memory"):
            self._local.memory = self._memory()
        return _aligned(self._local.memory)

    def _memory(self) -> ctypes.Array[ctypes.c_char]:
        """Room for an arena."""
        return ctypes.create_string_buffer(self.arena_bytes + ALIGNMENT)


def _aligned(memory: ctypes.Array[ctypes.c_char]) -> int:
    """Where an arena begins in such a room."""
    return -(-ctypes.addressof(memory) // ALIGNMENT) * ALIGNMENT


def _example(array: np.ndarray, port: Port, index: int, count: int) -> np.ndarray:
    """One example of a batch, side by side."""
    assert port.dim is not None
    each = array.shape[port.dim] // count
    chosen = tuple(
        slice(index * each, (index + 1) * each) if axis == port.dim else slice(None)
        for axis in range(array.ndim)
    )
    return np.ascontiguousarray(array[chosen])


_loaded: dict[str, ctypes.CDLL] = {}


def built(source: str, header: str, name: str, compiler: Compiler, flags: Sequence[str]) -> ctypes.CDLL:
    """Build a shared library of the two texts, and load it; the files on the way are gone afterwards.

    What was built in this process already is taken again: a library stays loaded in any case.

    Raises:
        InputError: where the compiler fails; with its first error.
    """
    told = json.dumps([source, header, name, compiler.command, list(flags)]).encode()
    key = hashlib.sha256(told).hexdigest()
    if key not in _loaded:
        _loaded[key] = _built(source, header, name, compiler, flags)
    return _loaded[key]


def _built(source: str, header: str, name: str, compiler: Compiler, flags: Sequence[str]) -> ctypes.CDLL:
    command = compiler.command
    with scratch() as path:
        (path / f"{name}.c").write_text(source, encoding="ascii")
        (path / f"{name}.h").write_text(header, encoding="ascii")
        target = path / "network.so"
        run_compiler(
            [*command, *flags, "-shared", "-fPIC", "-o", str(target), str(path / f"{name}.c"), "-lm"]
        )
        try:
            return ctypes.CDLL(str(target))
        except OSError as error:
            raise InputError(f"what '{command[0]}' built cannot be loaded: {str(error)[:200]}") from None


def run_compiler(command: Sequence[str]) -> None:
    """Run a compiler; InputError with its first error where it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InputError(f"the C compiler '{command[0]}' cannot be run: {str(error)[:200]}") from None
    if done.returncode:
        lines = done.stderr.splitlines() or [f"exit code {done.returncode}"]
        first = next((line for line in lines if "error" in line.lower()), lines[0])
        raise InputError(f"the C compiler '{command[0]}' fails: {first[:300]}")
