"""A disk that fails at any call: what was finished is kept, a line says why, the same command mends it."""

from __future__ import annotations

import errno
import io
import json
import os
import queue
import random
import re
import resource
import shlex
import shutil
import stat
import subprocess
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import secateur as sc
from digit_photos import write_photos
from faulty_disk import FROM, HALF, KINDS, ONCE, SHORT, Commands, Disk, Fault, compiled, compiler
from secateur.atomic import part_folder, write_all, write_bytes
from secateur.data import load_data
from secateur.errors import InputError, UnreadableError, refused
from secateur.network import sparse_file, weight_file
from secateur.records.manifest import check_whole
from secateur.runs.store import RunStore

SMALL = "--model wrn-10-1 --data digits --limit-train 100 --epochs 1 --device cpu"
ASKED = f"{SMALL} --at-once 400 --budget params=60% --prune-every 1"
PHOTOS, FEW = "--data photos --model wrn-10-1", "--data digits --limit-train 100 --calibrate 16"
ERRORS = {
    "make": ("ENOSPC", "EIO", "EDQUOT", "EROFS", "EACCES", "EMFILE", "ENAMETOOLONG"),
    "write": ("ENOSPC", "EIO", "EDQUOT"),
    "sync": ("EIO", "ENOSPC", "EDQUOT"),
    "rename": ("ENOSPC", "EIO", "EROFS", "EACCES"),
    "mkdir": ("ENOSPC", "EDQUOT", "EROFS", "EACCES"),
    "link": ("ENOSPC",),
    "length": ("ENOSPC", "EIO"),
    "remove": ("EIO", "EROFS", "EACCES"),
    "open": ("EMFILE", "EACCES", "EIO"),
    "read": ("EIO",),
}
WRITING = ("make", "write", "sync", "rename", "mkdir", "link", "length")
VOLATILE = {"wall_s", "date", "commit", "environment", "command", "host", "forecast", "sha256"}
"""What two undisturbed runs of a command differ in, by key."""
OTHERS_WORDS = (
    *("no permission to read it", "does not say why", "cannot be converted by OpenVINO: RuntimeError"),
    "cannot be quantised by ONNX Runtime: FileNotFoundError",
)
"""For a reason, and a path: ours for images, and others', who do not say why they cannot write."""
ASIDE = ("decoded images ", "writing the network and ", "secateur: work in the background ended")
"""How lines begin that may stand before the one."""
TIMED = (
    *("measured.json", "plan.json", "report.html", ".lock", "tracked.json", "measured.html"),
    *("i.onnx", "i.onnx.json"),
)
"""What holds times, or how it was made: it must be there, and be whole, no more."""


@dataclass(frozen=True)
class Command:
    """A command, where its disk fails, and how often.

    Attributes:
        line: its words.
        needs: what it finds, of what was prepared.
        faults: how many.
        where: the folder whose calls fail: of all that it has, or of its cache or temporary files alone.
        kinds: the calls that fail.
        each: whether there is a line for each image that cannot be read, not one.
    """

    line: str
    needs: tuple[str, ...] = ()
    faults: int = 10
    where: str = ""
    kinds: tuple[str, ...] = KINDS
    each: bool = False


COMMANDS = {
    "train": Command(f"train {SMALL} --seed 1 --out out", ("out",), 54),
    "prune": Command(f"prune fisher {ASKED} --out pruned", (), 30),
    "compare": Command(f"compare {ASKED} --arms fisher-tuned,width --out cmp", ("cmp",), 30),
    "two workers": Command(f"compare {ASKED} --arms width,copycat --workers 2 --out two", (), 6),
    "tensorboard": Command(f"compare {ASKED} --arms width --out log --log-with tensorboard", (), 20),
    "report": Command("report cmp", ("cmp",), 30),
    "evaluate": Command("evaluate out --data digits --limit-train 100 --out seen", ("out",), 16),
    "scale": Command("scale out --budget params=50% --out scaled", ("out",), 12),
    "predict": Command("predict out photos/test --csv", ("out", "photos"), 8, each=True),
    "push": Command("push out ann/small --dry-run --out card.md", ("out",), 8),
    "runs list": Command("runs list cmp", ("cmp",), 6),
    "cache": Command(f"train {PHOTOS} --epochs 1 --device cpu --out ph", ("photos",), 24, "cache"),
    "onnx": Command("export out --to onnx --pad-widths off --out x/net.onnx", ("out",), 8),
    "openvino": Command("export out --to openvino --pad-widths off --out x/net.xml", ("out",), 8),
    "c": Command("export out --to c --out x/net.c", ("out",), 8),
    "int8": Command(f"export out --to onnx --int8 {FEW} --out x/i.onnx", ("out",), 4),
    "int8, its temporary files": Command(
        f"export out --to onnx --int8 {FEW} --out x/i.onnx", ("out",), 4, "tmp"
    ),
    "openvino, its temporary files": Command(
        "export out --to openvino --pad-widths off --out x/net.xml", ("out",), 6, "tmp"
    ),
    "measure": Command("measure out --runtime torch --seconds 0.01", ("out",), 3),
    "emit": Command("measure out --emit there --runtime c", ("out",), 3),
    "sc.save": Command("python save", ("new", "saved"), 30),
    "sc.load": Command("python load", ("new",), 6, kinds=("open", "read")),
    "sc.compare": Command("python compare", (), 12),
}  # fmt: skip


class Place:
    """Where commands are run: a process that is ready, its disk, and a folder for each case."""

    def __init__(self, folder: Path, library: Path, prepared: Path):
        folder.mkdir()
        self.folder, self.prepared = folder, prepared
        self.disk = Disk(folder)
        self.commands = Commands(folder, library, self.disk.path, {"HOME": str(folder)})
        self._numbers = count()

    def case(self, needs: tuple[str, ...]) -> Path:
        """A new folder with what a command needs."""
        case = self.folder / f"case{next(self._numbers)}"
        for name in ("tmp", "cache"):
            (case / name).mkdir(parents=True)
        for name in needs:
            shutil.copytree(self.prepared / name, case / name)
        return case

    def run(self, line: str, case: Path, limits: dict[str, int] | None = None):
        environment = {
            "TMPDIR": str(case / "tmp"),
            "SECATEUR_CACHE": str(case / "cache"),
            "PYTHONHASHSEED": "0",
        }
        return self.commands.run(shlex.split(line), case, environment, limits)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """What commands find."""
    return tmp_path_factory.mktemp("prepared")


@pytest.fixture(scope="module")
def place(tmp_path_factory, prepared):
    if compiler() is None:
        pytest.skip("a disk that fails is written in C, and there is no compiler here")
    folder = tmp_path_factory.mktemp("faults")
    found = Place(folder / "0", compiled(folder), prepared)
    first = found.case(())
    for line in (
        f"train {SMALL} --out out",
        f"train {SMALL} --seed 2 --out new",
        f"train {SMALL} --seed 3 --out other",
        f"compare {ASKED} --arms width --out cmp",
    ):
        ended = found.run(line, first)
        assert ended.code == 0, ended
    (first / "saved").mkdir()
    for name in ("artefact.json", "architecture.json", "model.safetensors", "manifest.json"):
        shutil.copy(first / "other" / name, first / "saved")
    for name in ("out", "new", "cmp", "saved"):
        shutil.copytree(first / name, prepared / name)
    write_photos(prepared / "photos", 60, 30)
    yield found
    found.commands.close()


def without_times(value):
    if isinstance(value, dict):
        return {key: without_times(each) for key, each in value.items() if key not in VOLATILE}
    return [without_times(each) for each in value] if isinstance(value, list) else value


def seen(path: Path):
    """What must be the same of a file."""
    content = path.read_bytes()
    if path.name in TIMED or path.suffix == ".html":
        return "there"
    if path.name.startswith("events.out.tfevents"):
        return "there"
    if path.name == "checkpoint.safetensors":  # it holds the seconds that it took
        return {name: value.numpy().tobytes() for name, value in load_file(path).items()}
    return without_times(json.loads(content)) if path.suffix == ".json" else content


def tree(case: Path) -> dict:
    """What lies in a folder, but for temporary files: path -> what must be the same of it."""
    files = [each for each in sorted(case.rglob("*")) if each.is_file() or each.is_symlink()]
    paths = {str(each.relative_to(case)): each for each in files}
    return {
        re.sub(r"(tfevents|cache/data-).*", r"\1", name): seen(path)
        for name, path in paths.items()
        if not name.startswith("tmp/")
    }


def litter(case: Path) -> list[str]:
    """What should not stay."""
    found = [str(each.relative_to(case)) for each in case.rglob("*") if "torchinductor" not in str(each)]
    return [name for name in found if name.startswith("tmp/") or name.endswith(".part") or "/.work" in name]


def chosen(command: Command, counts: dict[str, int], seed: str) -> list[Fault]:
    """Faults of every kind that there is, at calls drawn at random."""
    drawn, faults = random.Random(seed), []
    kinds = [kind for kind in command.kinds if counts[kind]]
    weighted = [kind for kind in kinds for _ in range(1 if kind in ("remove", "open", "read", "sync") else 2)]
    full = [kind for kind in kinds if kind in WRITING]
    for number in range(command.faults):
        if number % 4 == 3 and full:  # the disk is full from here on, or takes half of a write first
            nth = drawn.randint(1, sum(counts[kind] for kind in full))
            faults.append(Fault(tuple(full), errno.ENOSPC, nth, drawn.choice((FROM, HALF))))
            continue
        kind = weighted[number % len(weighted)]
        error = getattr(errno, drawn.choice(ERRORS[kind]))
        modes = (ONCE, ONCE, FROM, SHORT) if kind == "write" else (ONCE, ONCE, FROM)
        faults.append(Fault((kind,), error, drawn.randint(1, counts[kind]), drawn.choice(modes)))
    return faults


def said_wrongly(ended, fault: Fault, hit: str, where: set[str], each: bool = False) -> str:
    """What is wrong with the line of a command that ended with an error; "" if nothing is."""
    lines = [line for line in ended.err.splitlines() if line.startswith("secateur: ")]
    if "Traceback" in ended.err or "internal error" in ended.err or "Exception ignored" in ended.err:
        return "a traceback"
    others = [line for line in ended.err.splitlines() if not line.startswith(ASIDE)]
    lines = [line for line in lines if line in others]
    if not lines or len(lines) != (len(others) if each else 1) or lines != others:
        return "not one line"
    if not any(reason in lines[0] for reason in (os.strerror(fault.error), *OTHERS_WORDS)):
        return "without the reason"
    hit = re.sub(r"^\.(.+?)\.[^/]*\.part", r"\1", hit)
    if not any(words in lines[0] for words in OTHERS_WORDS) and not any(
        part in lines[0] for part in (hit.split("/")[0], *where)
    ):
        return "without the path"
    return ""


def undisturbed(place: Place, command: Command) -> tuple[dict, dict[str, int]]:
    """What a command leaves, and how many calls of each kind there are."""
    case = place.case(command.needs)
    place.disk.watch(case / command.where)
    ended = place.run(command.line, case)
    counts = place.disk.counts
    place.disk.leave()
    assert ended.code == 0, ended
    assert litter(case) == [], litter(case)
    found = tree(case)
    shutil.rmtree(case)
    return found, counts


def endure(place: Place, command: Command, fault: Fault, whole: dict) -> tuple[str, str]:
    """Run a command with a fault, and again without: how it ended, and what is wrong ("": nothing)."""
    case = place.case(command.needs)
    before = tree(case)
    place.disk.watch(case / command.where, fault)
    ended = place.run(command.line, case)
    hits, hit = place.disk.hits, place.disk.hit
    place.disk.leave()
    after, wrong = tree(case), []
    named = {name.split("/")[0] for name in whole} if fault.mode != ONCE else set()
    if not hits:
        how = "not met"
    elif ended.code == 0:
        how = "0, whole" if after == whole else "0, whole but for the cache"
        lost = [n for n in differing(after, whole) if not n.startswith("cache/") and "track" not in n]
        lost = [n for n in lost if "tensorboard" not in n]  # the same command tells it the rest
        if lost:
            wrong.append(f"exit code 0, but {lost} differ")
    else:
        new = [name for name in differing(before, after) if not name.endswith((".lock", "plan.json"))]
        how = f"{ended.code}, {'something written' if new else 'nothing written'}"
        if ended.code not in (1, 2, 3):
            wrong.append(f"exit code {ended.code}")
        if said := said_wrongly(ended, fault, str(Path(hit).relative_to(case)), named, command.each):
            wrong.append(said)
        if ended.code == 2 and any("runs/" in name for name in new):
            wrong.append("exit code 2 after runs were begun")
    lost = [n for n, content in before.items() if after.get(n) not in (content, whole.get(n))]
    if lost:
        wrong.append(f"lost {lost}")
    for folder in ("out", "saved"):
        if (case / folder).is_dir() and differing(after, whole):
            torn = {n: c for n, c in after.items() if n.startswith(f"{folder}/m")}
            old = all(before.get(n) == c for n, c in torn.items())
            new = all(whole.get(n) == c for n, c in torn.items())
            try:
                check_whole(case / folder)
            except InputError:
                continue
            if not old and not new:
                wrong.append(f"{folder} is torn, and nobody sees it")
    if fault.mode == ONCE and (stays := [name for name in litter(case) if not is_left(name, fault)]):
        wrong.append(f"left {stays}")
    if differing(after, whole):
        again = place.run(command.line, case)
        if again.code != 0:
            wrong.append(f"again: {again.code} {again.err[-300:]}")
        elif left := [name for name in differing(tree(case), whole) if not is_left(name, fault)]:
            wrong.append(f"again: {left} differ")
    if stays := [name for name in litter(case) if not is_left(name, fault)]:
        wrong.append(f"left in the end {stays}")
    if wrong:
        wrong.append(f"[hit {hit}] code {ended.code} said: {ended.err[-500:]}")
    shutil.rmtree(case)
    return how, "; ".join(wrong)


def is_left(name: str, fault: Fault) -> bool:
    """Whether a file may stay: what was to go where nothing can be removed, or opened."""
    may = ("checkpoint.safetensors", "alive.json") if "remove" in fault.kinds else ()
    return name.endswith(may) or (".part" in name and bool({"remove", "open"} & {*fault.kinds}))


def differing(found: dict, whole: dict) -> list[str]:
    """The files that are not the same."""
    return sorted(name for name in found.keys() | whole.keys() if found.get(name) != whole.get(name))


@pytest.fixture(scope="module")
def places(place, tmp_path_factory):
    """As many as there are cores to run commands at once, at most two."""
    folder = tmp_path_factory.mktemp("more")
    more = [] if (os.cpu_count() or 1) < 2 else [Place(folder / "1", compiled(folder), place.prepared)]
    yield [place, *more]
    for each in more:
        each.commands.close()


@pytest.mark.slow
def test_whatever_call_fails_nothing_is_lost(places, capsys):
    """The campaign: every command, every kind of call, at moments drawn at random with a fixed seed."""
    free, work = queue.SimpleQueue(), []
    for each in places:
        free.put(each)

    def in_a_place(function, *given):
        there = free.get()
        try:
            return function(there, *given)
        finally:
            free.put(there)

    with ThreadPoolExecutor(len(places)) as pool:
        known = list(pool.map(lambda command: in_a_place(undisturbed, command), COMMANDS.values()))
        for (name, command), (whole, counts) in zip(COMMANDS.items(), known, strict=True):
            work += [(name, command, fault, whole) for fault in chosen(command, counts, name)]
        found = list(pool.map(lambda each: in_a_place(endure, *each[1:]), work))
    counted = Counter(
        (name, told(fault), how) for (name, _, fault, _), (how, _) in zip(work, found, strict=True)
    )
    wrong = [
        f"{name}, {fault}: {what}" for (name, _, fault, _), (_, what) in zip(work, found, strict=True) if what
    ]
    with capsys.disabled():
        print_table(counted)
        print("\n".join(wrong))
    assert wrong == []
    assert sum(number for (_, _, how), number in counted.items() if how != "not met") >= 300


def told(fault: Fault) -> str:
    """A fault in words, without the moment."""
    which = fault.kinds[0] if len(fault.kinds) == 1 else "a full disk"
    return f"{which} {errno.errorcode[fault.error]}"


def print_table(counted: Counter) -> None:
    """Each command, what failed, how it ended: how often; then the sums."""
    print()
    for (name, fault, how), number in sorted(counted.items()):
        print(f"{name:32} {fault:24} {how:28} {number:4}")
    for place in (0, 1, 2):
        sums = Counter()
        for key, number in counted.items():
            sums[key[place]] += number
        print("; ".join(f"{key}: {number}" for key, number in sorted(sums.items())))
    print(f"{sum(counted.values())} faults")


WRITERS = {
    "train": (f"train {SMALL} --out %s", ()),
    "prune": (f"prune fisher {ASKED} --out %s", ()),
    "compare": (f"compare {ASKED} --arms width --out %s", ()),
    "evaluate": ("evaluate out --data digits --limit-train 100 --out %s", ("out",)),
    "scale": ("scale out --budget params=50% --out %s", ("out",)),
    "push": ("push out ann/small --dry-run --out %s/README.md", ("out",)),
    "onnx": ("export out --to onnx --out %s/net.onnx", ("out",)),
    "openvino": ("export out --to openvino --out %s/net.xml", ("out",)),
    "c": ("export out --to c --out %s/net.c", ("out",)),
    "int8": ("export out --to onnx --int8 --data digits --limit-train 100 --out %s/i.onnx", ("out",)),
    "int8 in c": ("export out --to c --int8 --data digits --limit-train 100 --out %s/i.c", ("out",)),
    "measure": ("measure out --runtime torch --out %s", ("out",)),
    "emit": ("measure out --emit %s --runtime c", ("out",)),
    "reproduce": ("reproduce dupont2021 table1 --scale smoke --out %s", ()),
}


@pytest.mark.slow
def test_where_nothing_can_be_written_is_refused_before_anything_is_done(place, capsys):
    """Read-only, full, a file in its place or above it, a name too long, another user's runs/."""
    ended = Counter()
    for name, (line, needs) in WRITERS.items():
        for how in ("read-only", "full", "a file", "below a file", "too long", "another user's"):
            case = place.case(needs)
            where = {"below a file": "file/place", "too long": "x" * 300}.get(how, "place")
            held = "place"
            if how == "another user's":
                held = {"compare": "place/runs", "train": "place/runs", "prune": "place/runs"}.get(
                    name, "place"
                )
            if how in ("a file", "below a file"):
                (case / where.split("/")[0]).write_text("mine")
            elif how != "too long":
                (case / held).mkdir(parents=True)
                error = {"read-only": errno.EROFS, "full": errno.ENOSPC, "another user's": errno.EACCES}[how]
                place.disk.watch(case / held, Fault((*WRITING, "remove"), error, 1, FROM))
            before = {path: path.stat().st_mtime_ns for path in case.rglob("*")}
            found = place.run(line.replace("%s", where), case)
            place.disk.leave()
            assert (found.code, found.err.count("\n")) == (2, 1), (name, how, found)
            after = {
                path: path.stat().st_mtime_ns for path in case.rglob("*") if "torchinductor" not in str(path)
            }
            assert after == before, (name, how)
            assert found.seconds < 2, (name, how, found)
            ended[how, found.code] += 1
            shutil.rmtree(case)
    with capsys.disabled():
        print(f"\n{sum(ended.values())} refused early: {dict(ended)}")


def mount(folder: Path, options: str) -> None:
    """Mount a disk in memory there, or change its options; skip where that is not allowed."""
    folder.mkdir(exist_ok=True)
    again = ["-o", f"remount,{options}"] if folder.is_mount() else ["-t", "tmpfs", "-o", options, "tmpfs"]
    done = subprocess.run(["mount", *again, str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"disks can be mounted by root alone: {done.stderr.strip()[:80]}")


@pytest.fixture
def unmounted():
    """Folders that are unmounted at the end."""
    folders = []
    yield folders
    for each in folders:
        subprocess.run(["umount", str(each)], check=False, capture_output=True)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="disks can be mounted by root alone")
@pytest.mark.parametrize(
    ("options", "code", "said", "then"),
    [
        ("size=300k", 2, "runs need at least 930.7 kB for networks and checkpoints, but 307.2 kB", "size=8m"),
        ("size=932k", 1, "No space left on device: make room there", "size=8m"),
        ("size=8m,nr_inodes=8", 1, "No space left on device: make room there", "nr_inodes=500"),
        ("size=8m,nr_inodes=1", 2, "--out must be a folder that can be written to", "nr_inodes=500"),
        ("size=8m,ro", 2, "--out must be a folder that can be written to", "rw"),
    ],
)
def test_real_disks_that_are_full_or_read_only(place, unmounted, options, code, said, then):
    line, whole = f"train {SMALL} --out out", place.case(())
    assert place.run(line, whole).code == 0
    case = place.case(())
    mount(case / "out", options)
    unmounted.append(case / "out")
    ended = place.run(line, case)
    assert (ended.code, ended.err.count("\n")) == (code, 1), ended
    assert said in ended.err
    assert litter(case) == []
    mount(case / "out", then)
    assert place.run(line, case).code == 0
    assert tree(case / "out") == tree(whole / "out")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("limits", "code", "said"),
    [
        (
            {"RLIMIT_FSIZE": 100_000},
            2,
            "a checkpoint takes at least 620.5 kB, but files may have 100.0 kB",
        ),
        ({"RLIMIT_FSIZE": 623_000}, 1, "checkpoint.safetensors': File too large: allow larger files"),
        ({"RLIMIT_NOFILE": 8}, 1, "Too many open files: allow more open files (`ulimit -n`)"),
        ({"RLIMIT_AS": 2_000_000}, 1, "there is not enough memory"),
        ({"RLIMIT_AS": 30_000_000}, 1, "there is not enough memory"),
    ],
)
def test_limits_of_a_process(place, limits, code, said):
    line, case = f"train {SMALL} --out out", place.case(())
    ended = place.run(line, case, limits)
    assert (ended.code, ended.err.count("\n")) == (code, 1), ended
    assert said in ended.err
    assert litter(case) == []
    assert place.run(line, case).code == 0


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="disks can be mounted by root alone")
@pytest.mark.parametrize("options", ["size=4k,nr_inodes=50", "size=8m,ro", None])
def test_a_temporary_folder_that_is_full_read_only_or_gone(place, unmounted, options):
    """Python takes another one then; only the C compiler insists on it."""
    for name in ("train", "report", "openvino", "int8", "c"):
        case = place.case(("out", "cmp"))
        if options is None:
            (case / "tmp").rmdir()
        else:
            mount(case / "tmp", options)
            unmounted.append(case / "tmp")
            with suppress(OSError):
                (case / "tmp/filler").write_bytes(bytes(10_000))
        ended = place.run(COMMANDS[name].line, case)
        refused_by_compiler = name == "c" and options is not None and "4k" in options
        assert ended.code == (2 if refused_by_compiler else 0), (name, ended)
        assert ended.err.count("\n") == refused_by_compiler
        assert [each for each in litter(case) if each != "tmp/filler"] == []


# One way after the other, for everybody: without a compiler, in seconds.


@pytest.fixture
def fails():
    """Have the n-th file from now on (from 0) not reach the disk."""

    patch = pytest.MonkeyPatch()

    def install(name: str, error: int, nth: int = 0):
        calls, real = count(), getattr(os, name)

        def failing(*given, **more):
            if name == "fsync" and stat.S_ISDIR(os.fstat(given[0]).st_mode):
                return real(*given)  # what a folder's disk cannot is no matter
            if next(calls) == nth:
                raise OSError(error, os.strerror(error))
            return real(*given, **more)

        patch.setattr(f"os.{name}", failing)
        return patch

    yield install
    patch.undo()


@pytest.mark.parametrize("name", ["fsync", "replace", "chmod"])
def test_a_file_that_cannot_be_written_is_the_old_one_and_is_named(tmp_path, fails, name):
    path = tmp_path / "record.json"
    write_bytes(path, b"old")
    fails(name, errno.ENOSPC)
    with pytest.raises(OSError, match="No space left on device") as error:
        write_bytes(path, b"new")
    assert (error.value.errno, error.value.filename) == (errno.ENOSPC, str(path))
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == {"record.json": b"old"}


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            OSError(errno.EDQUOT, "x", "out/a"),
            "'out/a': Disk quota exceeded: make room there (`df -h`, and `df -i` for files)",
        ),
        (
            OSError(errno.EROFS, "x", b"out/a"),
            "'out/a': Read-only file system: look at its permissions, and whether its disk may be written to",
        ),
        (
            OSError(errno.EMFILE, "x"),
            "the system refused: Too many open files: allow more open files (`ulimit -n`)",
        ),
        (
            OSError(errno.EXDEV, "x", "a", None, "b"),
            "'a' -> 'b': Invalid cross-device link: check the path, the permissions and the space left",
        ),
        (OSError("odd"), "the system refused: odd: check the path, the permissions and the space left"),
    ],
)  # fmt: skip
def test_what_the_system_refuses_is_said_with_a_way_out(error, line):
    assert refused(error) == line


@pytest.mark.parametrize(("name", "nth"), [("fsync", 0), ("fsync", 2), ("replace", 3)])
def test_a_full_disk_ends_training_in_a_line_and_the_same_command_goes_on(run, tmp_path, fails, name, nth):
    line = f"train {SMALL.replace('--epochs 1', '--epochs 2')} --out"
    patch = fails(name, errno.ENOSPC, nth)
    code, _, said = run(f"{line} out")
    patch.undo()
    assert (code, said.count("\n")) == (1, 1)
    assert re.fullmatch(
        r"secateur: 'out/\S+': No space left on device: make room there .*; what was finished is kept, and "
        r"the same command goes on\n",
        said,
    )
    assert litter(tmp_path / "out") == []
    assert run(f"{line} out")[0] == 0
    assert run(f"{line} whole")[0] == 0
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


def test_runs_that_cannot_fit_on_the_disk_are_refused_before_training(run, tmp_path, monkeypatch):
    line = f"compare {ASKED.replace('--epochs 1', '--epochs 2')} --arms width --out out"
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage._replace(free=900_000))
    code, _, said = run(line)
    assert code == 2
    # The narrower network has 46,294 parameters of 4 bytes: two checkpoints with their momentum, and itself.
    assert re.fullmatch(
        r"secateur: runs need at least 925\.9 kB for networks and checkpoints, but 900\.0 kB are free in "
        r"'out': make room there, or choose an --out on another disk\n",
        said,
    )
    assert not (tmp_path / "out/runs").exists()


def test_files_that_may_not_be_as_long_are_refused_before_training(run, tmp_path, monkeypatch):
    asked = resource.getrlimit
    limits = {resource.RLIMIT_FSIZE: (300_000, 300_000)}
    monkeypatch.setattr("resource.getrlimit", lambda which: limits.get(which) or asked(which))
    code, _, said = run(f"train {SMALL.replace('--epochs 1', '--epochs 2')} --out out")
    assert code == 2
    assert "a checkpoint takes at least 620.5 kB, but files may have 300.0 kB here" in said
    assert not (tmp_path / "out/runs").exists()


@pytest.fixture
def saved(tmp_path):
    network = sc.models.wide_resnet(depth=10, width=1, num_classes=10, in_channels=1, image_size=8)
    sc.save(network, tmp_path / "net")
    return tmp_path / "net"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("unable to open file <x> in read-only mode: Too many open files (24)"), "Too many"),
        (FileNotFoundError("No such file or directory: x"), "the library that opens it does not say why"),
    ],
)
def test_a_network_that_cannot_be_read_now_is_not_said_to_be_damaged(saved, monkeypatch, error, said):
    def refused_once(path, framework):
        raise error

    for module in (sparse_file, weight_file):
        with monkeypatch.context() as patch:
            patch.setattr(module, "safe_open", refused_once)
            with pytest.raises(UnreadableError, match=rf"model.safetensors: cannot be read \({said}"):
                sc.load(saved)
    assert sc.load(saved) is not None


def test_a_record_and_a_checkpoint_that_cannot_be_read_now_are_not_set_aside(tmp_path, monkeypatch):
    """They were taken for damaged: a sound record was renamed, a training begun anew."""
    store, run = RunStore(tmp_path), tmp_path / "runs/train-0-s0"
    store.mends = True
    run.mkdir(parents=True)
    for name in ("record.json", "checkpoint.safetensors", "scores.safetensors"):
        (run / name).write_bytes(b"whole")

    def refuse(*given, **more):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.open", refuse)
        patch.setattr("builtins.open", refuse)
        with pytest.raises(UnreadableError, match="Input/output error"):
            store.record("train-0-s0")
        for read in (store.checkpoint, store.scores):
            with pytest.raises(OSError, match="Input/output error"):
                read("train-0-s0")
    assert len(list(run.iterdir())) == 3
    with store.locked():
        assert store.record("train-0-s0") is None  # it is damaged indeed
    assert (run / "record.json.1.damaged").is_file()


def test_a_disk_that_fills_up_while_images_are_decoded_costs_the_cache_alone(tmp_path, monkeypatch, caplog):
    """To write the rest when the file is closed fails as well."""
    write_photos(tmp_path / "photos", 60, 30)
    whole = load_data(str(tmp_path / "photos"), limit_train=40)
    shutil.rmtree(tmp_path / "cache")

    class Full(io.BytesIO):
        def write(self, *content):
            raise OSError(errno.ENOSPC, "No space left on device")

        close = write

    real = open
    monkeypatch.setattr(
        "secateur.data.store.open", lambda path, how: Full() if "+" in how else real(path, how), raising=False
    )
    found = load_data(str(tmp_path / "photos"), limit_train=40)
    assert torch.equal(found.train.images, whole.train.images)
    assert "No space left on device" in caplog.text


def test_where_nothing_can_be_removed_a_folder_of_parts_ends_in_no_recursion(tmp_path, monkeypatch):
    """tempfile.TemporaryDirectory did, in a RecursionError after the network had been saved."""

    def refuse(*given, **more):
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patch:
        for name in ("unlink", "rmdir"):
            patch.setattr(f"os.{name}", refuse)
        with part_folder(tmp_path, "saving") as made:
            (made / "file").write_bytes(b"")
    assert [each.suffix for each in tmp_path.iterdir()] == [".part"]


def test_of_a_pair_that_cannot_be_written_whole_the_new_half_goes_again(tmp_path, fails):
    """A .bin alone was not known as ours: the same export was refused from then on."""
    pair = {tmp_path / "net.bin": b"new", tmp_path / "net.xml": b"new"}
    fails("replace", errno.ENOSPC, 1)
    with pytest.raises(OSError, match="No space left on device"):
        write_all(pair)
    assert list(tmp_path.iterdir()) == []
    write_all(pair)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["net.bin", "net.xml"]
