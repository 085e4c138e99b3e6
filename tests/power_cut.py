"""What a disk may hold after the power was cut, of the changes that a command made (`disk_log.c` logs them).

A simulation of what POSIX leaves open. The data of a file are on disk from its fsync on; before, they may be
lost, cut off, or zeros of the right number. A name that is new, gone or changed is on disk from the fsync of
its folder on; before, each may have come about or not, whatever became of those made earlier. A rename comes
about whole or not at all, also from one folder to another.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

DATA = ("whole", "lost", "cut off", "zeros")
"""What may have become of data that no fsync followed."""
Tree = Mapping[str, bytes | None]
"""Path -> content; None: a folder."""


def compiled(folder: Path) -> Path:
    """The library that logs; skips the test where it cannot be built."""
    compiler = next(filter(shutil.which, ("cc", "gcc", "clang")), None)
    if compiler is None:
        pytest.skip("needs a C compiler, to log what is written")
    source, target = Path(__file__).with_name("disk_log.c"), folder / "disk_log.so"
    done = subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-w", "-o", target, source, "-ldl"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"this system's C library is another one: {done.stderr.splitlines()[0]}")
    return target


@dataclass(frozen=True)
class Change:
    """One call that changed something."""

    kind: str
    offset: int
    data: bytes
    path: str
    other: str

    def __str__(self) -> str:
        names = " -> ".join(filter(None, (self.path, self.other)))
        return f"{self.kind} {names}" + (f" ({len(self.data)} bytes)" if self.data else "")


def changes_in(log: Path, beneath: Path) -> list[Change]:
    """Read a log; paths are within `beneath`."""
    found, content, at = [], log.read_bytes(), 0
    while at < len(content):
        end = content.index(b"\n", at)
        kind, offset, size, *paths = content[at:end].decode().split("\t")
        at = end + 1 + int(size)
        inside = [os.path.relpath(path, beneath) if path else "" for path in paths]
        found.append(Change(kind, int(offset), content[end + 1 : at], *inside))
    return found


@dataclass
class Inode:
    """A file, or a folder with its names."""

    is_folder: bool = False
    data: bytes = b""
    safe: bytes | None = None  # as of the last fsync

    def content(self, what: str) -> bytes:
        """What may be on disk of it."""
        if self.safe == self.data or what == "whole":
            return self.data
        kept = self.safe or b""
        if what == "lost":
            return kept
        if what == "cut off":
            return self.data[: (len(kept) + len(self.data)) // 2]
        return kept[: len(self.data)].ljust(len(self.data), b"\0")


@dataclass
class Naming:
    """A change of names that may be on disk or not: (folder, name) -> what it names now; None: nothing."""

    names: dict[tuple[int, str], int | None]


@dataclass
class Disk:
    """Files and names as programs see them, and what of them is sure to be on disk."""

    nodes: list[Inode] = field(default_factory=lambda: [Inode(is_folder=True)])
    live: dict[tuple[int, str], int] = field(default_factory=dict)
    safe: dict[tuple[int, str], int] = field(default_factory=dict)
    pending: list[Naming] = field(default_factory=list)

    @classmethod
    def of(cls, folder: Path) -> Disk:
        """All that lies in a folder, long since on disk."""
        found = cls()
        for path in sorted(folder.rglob("*")):
            content = None if path.is_dir() else path.read_bytes()
            node = found._new(Inode(content is None, content or b"", content))
            found.live[found._place(str(path.relative_to(folder)))] = node
        found.safe = dict(found.live)
        return found

    def _new(self, node: Inode) -> int:
        self.nodes.append(node)
        return len(self.nodes) - 1

    def _place(self, path: str) -> tuple[int, str]:
        """The folder of a path, and its name there."""
        folder, parts = 0, Path(path).parts
        for name in parts[:-1]:
            folder = self.live[folder, name]
        return folder, parts[-1]

    def _node(self, path: str) -> int | None:
        if path == ".":
            return 0
        try:
            return self.live.get(self._place(path))
        except (KeyError, IndexError):
            return None

    def _name(self, names: dict[tuple[int, str], int | None]) -> None:
        for place, node in names.items():
            if node is None:
                self.live.pop(place, None)
            else:
                self.live[place] = node
        self.pending.append(Naming(names))

    def apply(self, change: Change) -> None:
        """Do what a program did; what happens to files without a name, or elsewhere, is of no interest."""
        node = self._node(change.path)
        if change.kind in ("create", "mkdir"):
            if not change.path.startswith(".."):
                self._name({self._place(change.path): self._new(Inode(change.kind == "mkdir"))})
        elif change.kind == "rename":
            self._name({self._place(change.other): node, self._place(change.path): None})
        elif node is None:
            return
        elif change.kind == "remove":
            self._name({self._place(change.path): None})
        elif change.kind == "write":
            data = self.nodes[node].data.ljust(change.offset, b"\0")
            self.nodes[node].data = (
                data[: change.offset] + change.data + data[change.offset + len(change.data) :]
            )
        elif change.kind == "truncate":
            self.nodes[node].data = self.nodes[node].data[: change.offset].ljust(change.offset, b"\0")
        elif self.nodes[node].is_folder:
            self._sync_folder(node)
        else:
            self.nodes[node].safe = self.nodes[node].data

    def _sync_folder(self, folder: int) -> None:
        """What happened in it is on disk, and the other half of what was moved into it or out of it."""
        left = []
        for naming in self.pending:
            if any(place[0] == folder for place in naming.names):
                self._to_disk(self.safe, naming)
            else:
                left.append(naming)
        self.pending = left

    @staticmethod
    def _to_disk(names: dict[tuple[int, str], int], naming: Naming) -> None:
        for place, node in naming.names.items():
            if node is None:
                names.pop(place, None)
            else:
                names[place] = node

    def states(self) -> Iterator[tuple[str, Tree]]:
        """What may be there after a cut, in words and as files: none, all, one, all but one of the names."""
        count = len(self.pending)
        chosen = {(), tuple(range(count))}
        chosen |= {(i,) for i in range(count)}
        chosen |= {tuple(j for j in range(count) if j != i) for i in range(count)}
        for which in sorted(chosen):
            names = dict(self.safe)
            for i in which:
                self._to_disk(names, self.pending[i])
            for what in DATA:
                yield f"names {list(which)} of {count}, data {what}", self._tree(names, what)

    def worst(self) -> Tree:
        """What is sure to be there."""
        return self._tree(self.safe, "lost")

    def seen(self) -> Tree:
        """What programs see."""
        return self._tree(self.live, "whole")

    def _tree(self, names: Mapping[tuple[int, str], int], what: str) -> Tree:
        below: dict[int, list[tuple[str, int]]] = {}
        for (folder, name), node in names.items():
            below.setdefault(folder, []).append((name, node))
        found: dict[str, bytes | None] = {}

        def walk(folder: int, path: str) -> None:
            for name, node in sorted(below.get(folder, [])):
                here = f"{path}{name}"
                found[here] = None if self.nodes[node].is_folder else self.nodes[node].content(what)
                if self.nodes[node].is_folder:
                    walk(node, f"{here}/")

        walk(0, "")
        return found


def cuts(disk: Disk, changes: list[Change]) -> Iterator[tuple[str, Tree]]:
    """Every state that differs, after each of the changes: when it was, and what is there."""
    known = set()
    for number, change in enumerate(changes, 1):
        disk.apply(change)
        for how, tree in disk.states():
            if (key := tuple(tree.items())) not in known:
                known.add(key)
                yield f"after {number} of {len(changes)}, {change}: {how}", tree


def laid_out(tree: Tree, folder: Path) -> None:
    """Make a state's files."""
    for name, content in tree.items():
        if content is None:
            (folder / name).mkdir(parents=True)
        else:
            (folder / name).write_bytes(content)
