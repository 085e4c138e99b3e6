"""A hundred SIGKILLs: of a command, its group or a worker; the same command ends as if nothing had been.

A command dies at a random moment, or exactly before it changes its folder for the n-th time. Then none of its
processes is left; its next run ends with 0; nothing lies outside its folder; and in the end the folder has
the files of one that was left alone, byte by byte, but for times (`killing.TIMES`). Counts are printed.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from killing import Command, Place, Template, differences, start_alone

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are counted by /proc"),
]
SEED = 20181010
BASE = "--model wrn-10-1 --data digits --limit-train 200 --batch-size 64 --device cpu --quiet --out out"
COMPARE = f"compare {BASE} --epochs 2 --prune-every 1 --at-once 8 --budget params=60%"
COMMANDS = {
    "compare, 2 workers": f"{COMPARE} --arms fisher-tuned,copycat,fisher-scratch,width --workers 2",
    "sweep": f"{COMPARE} --budget params=40% --budget params=20% --arms width,bottleneck --workers 1",
    "train": f"train {BASE} --epochs 4",
    "prune": f"prune fisher {BASE} --epochs 2 --prune-every 1 --at-once 8 --budget params=50%",
    "weights": f"prune gradual-magnitude {BASE} --epochs 4 --budget nonzeros=30%",
    "quantize": "export out --to onnx --int8 --data digits --limit-train 200 --quiet",
}
AFTER = {"quantize": f"train {BASE} --epochs 1"}
"""What must have been done in the folder before."""


@dataclass
class Row:
    """What became of some kills."""

    killed: int = 0
    early: int = 0  # ended before it could be killed
    went_on: int = 0  # of a worker's death: the command ended by itself, with 0
    resumed: int = 0
    identical: int = 0

    HEAD = ("killed", "ended before", "ended by itself", "resumed to the end", "identical")

    def cells(self) -> tuple[int, ...]:
        return (self.killed, self.early, self.went_on, self.resumed, self.identical)


@dataclass
class Campaign:
    """Kills commands one after the other and compares; finds nothing, or says what."""

    folder: Path
    template: Template
    moments: random.Random = field(default_factory=lambda: random.Random(SEED))
    rows: dict[tuple[str, str], Row] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    steps: Counter[str] = field(default_factory=Counter)
    places: int = 0

    def place(self, name: str) -> Place:
        """An empty one, but for what must have been done there before."""
        self.places += 1
        found = Place(self.folder / str(self.places))
        if name in AFTER:
            before = self.folder / f"before {name}"
            if not before.exists():
                first = Place(before)
                assert self.template.start(AFTER[name], first).wait() == 0
            shutil.copytree(before / "work" / "out", found.work / "out")
        return found

    def leave_alone(self, name: str) -> None:
        """Run a command to its end."""
        self.whole = self.place(name)
        begun = time.monotonic()
        command = self.template.start(COMMANDS[name], self.whole)
        assert command.wait() == 0, command.said
        self.seconds[name] = time.monotonic() - begun
        self.steps[name] = int((self.whole.folder / "steps").read_text())

    def at_random(self, name: str, whom: str, kills: int, alone: int = 0) -> None:
        """Kill so often at random moments: the command, its group, or one of its workers.

        Args:
            alone: how many of them in an interpreter of its own, which imports everything first.
        """
        row = self.rows.setdefault((name, whom), Row())
        place, share = self.place(name), 1.0
        while row.killed < kills:
            own = row.killed < alone
            command = (start_alone if own else self.template.start)(COMMANDS[name], place)
            wait_s = self.moments.uniform(0.0, share * (self.seconds[name] + (3.0 if own else 0.0)))
            killed = self._worker(command, wait_s) if whom == "worker" else self._whole(command, wait_s, whom)
            row.killed += killed
            row.early += not killed
            if whom == "worker" or not killed:
                self._ended(command, f"{name}, {whom}", row if killed else None)
            self._look_for_orphans(command, f"{name}, {whom}")
            share *= 0.8  # less is left to do
            if not killed or whom == "worker" or self.moments.random() < 0.25:
                self._finish(name, whom, place, row)
                place, share = self.place(name), 1.0
        self._finish(name, whom, place, row)

    def at_steps(self, name: str, kills: int) -> None:
        """Kill before some of its changes, evenly spread; every second kill hits the command that resumes."""
        row = self.rows.setdefault((name, "at a step"), Row())
        firsts = [(2 * kill + 1) * self.steps[name] // (kills + 1) for kill in range((kills + 1) // 2)]
        for first in firsts:
            place = self.place(name)
            second = self.moments.randrange(max(1, (self.steps[name] - first) // 2))
            for step in (first, second)[: kills - row.killed]:
                command = self.template.start(COMMANDS[name], place, die_at=step)
                died = command.wait() == -signal.SIGKILL
                row.killed += died
                row.early += not died
                self._look_for_orphans(command, f"{name}, step {step}")
            self._finish(name, "at a step", place, row)
        while row.killed < kills:  # where a resuming had no such step any more
            place = self.place(name)
            step = self.moments.randrange(self.steps[name])
            command = self.template.start(COMMANDS[name], place, die_at=step)
            row.killed += command.wait() == -signal.SIGKILL
            self._look_for_orphans(command, f"{name}, step {step}")
            self._finish(name, "at a step", place, row)

    def _whole(self, command: Command, wait_s: float, whom: str) -> bool:
        last = time.monotonic() + wait_s
        while command.poll() is None and time.monotonic() < last:
            time.sleep(0.005)
        command.processes()  # which there were
        if command.poll() is not None:
            return False
        (os.killpg if whom == "group" else os.kill)(command.pid, signal.SIGKILL)
        return command.wait() == -signal.SIGKILL

    def _worker(self, command: Command, wait_s: float) -> bool:
        last = time.monotonic() + wait_s
        while command.poll() is None:
            workers = command.workers()
            if workers and time.monotonic() >= last:
                try:
                    os.kill(self.moments.choice(workers), signal.SIGKILL)
                    return True
                except ProcessLookupError:
                    continue
            time.sleep(0.01)
        return False

    def _ended(self, command: Command, what: str, row: Row | None) -> None:
        """A command was not killed itself, and must end well."""
        code = command.wait()
        if code:
            self.wrong.append(f"{what}: exit code {code}: {command.said[-500:]}")
        elif row is not None:
            row.went_on += 1

    def _look_for_orphans(self, command: Command, what: str) -> None:
        if left := command.orphans():
            self.wrong.append(f"{what}: still there: {left}")
        if left := command.shared_memory():
            self.wrong.append(f"{what}: in /dev/shm: {left}")

    def _finish(self, name: str, whom: str, place: Place, row: Row) -> None:
        """The same command ends with 0, and the folder is what it would be."""
        command = self.template.start(COMMANDS[name], place)
        what = f"{name}, {whom}, {place.folder.name}"
        if code := command.wait():
            self.wrong.append(f"{what}: exit code {code}: {command.said[-500:]}")
            return
        row.resumed += 1
        self._look_for_orphans(command, what)
        found = differences(place.work / "out", self.whole.work / "out")
        found += [f"outside: {each}" for each in place.outside()]
        self.wrong += [f"{what}: {each}" for each in found]
        row.identical += not found
        if not found:
            shutil.rmtree(place.folder)

    def table(self) -> str:
        lines = [("command", "killed what", *Row.HEAD)]
        lines += [(*key, *map(str, row.cells())) for key, row in self.rows.items()]
        total = Row(*map(sum, zip(*(row.cells() for row in self.rows.values()), strict=True)))
        lines.append(("all", "", *map(str, total.cells())))
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) for line in lines)


@pytest.fixture(scope="module")
def template() -> Iterator[Template]:
    with Template() as found:
        yield found


PLAN = {
    "compare, 2 workers": {"command": 8, "group": 6, "worker": 6, "at a step": 4},
    "sweep": {"command": 6, "at a step": 8},
    "train": {"command": 8, "group": 2, "at a step": 12},
    "prune": {"command": 6, "at a step": 8},
    "weights": {"command": 6, "at a step": 8},
    "quantize": {"command": 4, "at a step": 8},
}
"""Command -> what is killed -> how often; a hundred in all."""
ALONE = 2
"""Of the kills of a command, how many in an interpreter of its own."""


def test_the_campaign_is_of_a_hundred_kills():
    assert sum(sum(kinds.values()) for kinds in PLAN.values()) == 100


@pytest.mark.parametrize("name", PLAN)
def test_killed_at_any_moment_it_ends_byte_identical(tmp_path, template, capsys, name):
    campaign = Campaign(tmp_path, template)
    campaign.leave_alone(name)
    for whom, kills in PLAN[name].items():
        if whom == "at a step":
            campaign.at_steps(name, kills)
        else:
            campaign.at_random(name, whom, kills, alone=ALONE if whom == "command" else 0)
    with capsys.disabled():
        print(f"\n{campaign.table()}")
    assert not campaign.wrong, "\n".join(campaign.wrong)
    assert {whom: row.killed for (_, whom), row in campaign.rows.items()} == PLAN[name]
    assert all(row.identical == row.resumed > 0 for row in campaign.rows.values())
