"""Commands that are killed: in a process forked off a template that has imported everything, or in one of
their own; what they leave running, what they leave behind, and whether two folders hold the same bytes.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import pkgutil
import re
import secrets
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

import psutil
from safetensors import safe_open

PATIENCE_S = 300.0
ORPHANS_S = 60.0
"""How long processes may take to notice that they are alone; a second, but on a machine with much to do."""
MARK = "SECATEUR_KILLED"
TIMES = ("wall_s", "sha256")
"""The fields that may differ between a command that was killed and one that was not: how long it took, and
the digest of a record that says so; all that it is of is compared itself."""
MEASURED = ("latency", "remarks")
"""Of the record of an int8 file besides: how fast it was measured to be, also in words."""
_TIMES_IN_TEXT = re.compile(r"\d[\d.,]*\s?(ms|s|min|h|seconds?|minutes?)\b")


# The template's side


def serve() -> None:
    """Import everything, then start a command in a child for each line of standard input, and tell of it."""
    import secateur

    for module in pkgutil.walk_packages(secateur.__path__, "secateur."):
        if not module.name.endswith("__main__"):
            import_module(module.name)
    for name in ("onnx", "onnxruntime.quantization", "scipy.stats", "torch._dynamo", "torch.onnx"):
        with suppress(ImportError):
            import_module(name)
    undrawn()
    warm_up()
    print("ready", flush=True)
    for line in iter(sys.stdin.readline, ""):
        asked = json.loads(line)
        if "wait" in asked:
            pid, status = os.waitpid(asked["wait"], os.WNOHANG)
            print(json.dumps(os.waitstatus_to_exitcode(status) if pid else None), flush=True)
            continue
        pid = os.fork()
        if not pid:
            become(asked)
        print(pid, flush=True)


def become(asked: dict) -> None:
    """Be the command from here on, to the end of this process."""
    os.setsid()
    os.chdir(asked["cwd"])
    os.environ.update(asked["environment"])
    nothing, log = (
        os.open(os.devnull, os.O_RDONLY),
        os.open(asked["log"], os.O_CREAT | os.O_WRONLY | os.O_APPEND),
    )
    for descriptor, place in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(descriptor, place)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    import tempfile

    tempfile.tempdir = None
    count_steps(Path(asked["cwd"], asked["beneath"]), asked["die_at"], asked["steps"])
    sys.argv = ["secateur", *asked["argv"]]
    from secateur.cli.main import main

    code: object = 70
    try:
        main()
    except SystemExit as stop:
        code = stop.code or 0
    finally:
        threading._shutdown()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        os._exit(code)  # what libraries' threads do at an end they would wait for here: a fork has none


def warm_up() -> None:
    """Have torch choose its kernels, which forks then need not."""
    import torch

    import secateur as sc

    model = sc.models.wide_resnet(depth=10, width=1, num_classes=10, in_channels=1, image_size=8)
    for count in (64, 8):
        model(torch.rand(count, 1, 8, 8)).sum().backward()


def undrawn() -> None:
    """Have figures be composed and not drawn, as in the whole suite (conftest.py): it takes 2 s a report."""
    from secateur.report import drawing

    with drawing.house_style():
        blank = {kind: drawing.encode(drawing.new_figure(1, 1), kind) for kind in ("png", "svg")}
    drawing.encode = lambda figure, kind: blank[kind]


_CHANGES = {"os.rename": 2, "os.remove": 1, "os.mkdir": 1, "os.rmdir": 1, "os.chmod": 1, "os.utime": 1}
"""Python's audit events of what changes a folder -> how many of their arguments are paths."""


def count_steps(beneath: Path, die_at: int | None, told: str) -> None:
    """Count what is about to change something beneath a folder; SIGKILL this process before the n-th.

    Args:
        told: a file that says how many there were, once it has ended.
    """
    own, count = os.getpid(), 0
    place = str(beneath)

    def hook(event: str, arguments: tuple) -> None:
        nonlocal count
        if event == "open":
            paths, changes = arguments[:1], bool((arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
        else:
            paths, changes = arguments[: _CHANGES.get(event, 0)], event in _CHANGES
        if not changes or os.getpid() != own or not any(_is_beneath(path, place) for path in paths):
            return
        if count == die_at:
            os.kill(own, signal.SIGKILL)
        count += 1
        if die_at is None:
            descriptor = os.open(told, os.O_CREAT | os.O_WRONLY)  # elsewhere: it is not counted itself
            os.write(descriptor, str(count).encode())
            os.close(descriptor)

    sys.addaudithook(hook)


def _is_beneath(path: object, place: str) -> bool:
    with suppress(TypeError):
        return os.path.abspath(os.fsdecode(path)).startswith(place + os.sep)  # type: ignore[arg-type]
    return False


# The test's side


@dataclass
class Command:
    """A command that was started, and all processes that were ever seen to be its own."""

    pid: int
    log: Path
    mark: str
    ask: Callable[[], int | None]
    seen: set[int] = field(default_factory=set)
    code: int | None = None

    def poll(self) -> int | None:
        """Its exit code; None while it goes on. Who has ended cannot be asked again."""
        if self.code is None:
            self.code = self.ask()
        return self.code

    def wait(self) -> int:
        """Its exit code; what is less than 0 was a signal."""
        last = time.monotonic() + PATIENCE_S
        while (code := self.poll()) is None:
            assert time.monotonic() < last, f"no end: {self.said}"
            time.sleep(0.01)
        return code

    @property
    def said(self) -> str:
        return self.log.read_text() if self.log.exists() else ""

    def processes(self) -> list[psutil.Process]:
        """All that belong to it and live, by session or by the mark in the environment they began with."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                ours = os.getsid(process.pid) == self.pid or process.environ().get(MARK) == self.mark
                if ours and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        self.seen |= {process.pid for process in found}
        return found

    def workers(self) -> list[int]:
        found = []
        for process in self.processes():
            with suppress(psutil.Error):
                if any("LokyProcess" in word for word in process.cmdline()):
                    found.append(process.pid)
        return sorted(found)

    def orphans(self) -> list[str]:
        """What is left of it, a while after its end."""
        last = time.monotonic() + ORPHANS_S
        while (left := self.processes()) and time.monotonic() < last:
            time.sleep(0.02)
        return [" ".join(process.cmdline()) for process in left]

    def shared_memory(self) -> list[str]:
        """Semaphores and the like whose names tell that they are its own."""
        names = [each.name for each in Path("/dev/shm").iterdir()] if Path("/dev/shm").is_dir() else []
        own = {self.pid, *self.seen}
        return [name for name in names if own & {int(number) for number in re.findall(r"\d+", name)}]


class Place:
    """A folder with what commands need and may fill: `work`, which is theirs, `tmp`, `home` and `cache`."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.work, self.tmp, self.home = (folder / name for name in ("work", "tmp", "home"))
        for each in (self.work, self.tmp, self.home):
            each.mkdir(parents=True)
        self.started = 0

    def environment(self, mark: str) -> dict[str, str]:
        return {
            **{"OMP_NUM_THREADS": "1", "TMPDIR": str(self.tmp), "HOME": str(self.home), MARK: mark},
            "SECATEUR_CACHE": str(self.folder / "cache"),
        }

    def outside(self) -> list[str]:
        """What lies where nothing may be left, but matplotlib's list of fonts and torch's empty folder."""
        found = sorted(str(each) for place in (self.tmp, self.home) for each in place.rglob("*"))
        fonts = ("/.cache", "/.config", "/matplotlib")
        known = [
            each
            for each in found
            if "torchinductor_" in each or "/matplotlib/" in each or each.endswith(fonts)
        ]
        return [each for each in found if each not in known]

    def next_log(self) -> Path:
        self.started += 1
        return self.folder / f"{self.started}.log"


class Template:
    """Starts commands; a context manager."""

    def __enter__(self) -> Template:
        tests = Path(__file__).parent
        paths = os.pathsep.join([str(tests), *filter(None, [os.environ.get("PYTHONPATH")])])
        self._process = subprocess.Popen(
            [sys.executable, "-c", "import killing; killing.serve()"],
            env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout.readline() == "ready\n"
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def _ask(self, **asked: object):
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def start(self, line: str, place: Place, die_at: int | None = None, beneath: str = "out") -> Command:
        """Start a command line in a place's `work`; it kills itself before its n-th step there."""
        log, mark = place.next_log(), secrets.token_hex(8)
        pid = self._ask(
            argv=shlex.split(line),
            cwd=str(place.work),
            environment=place.environment(mark),
            log=str(log),
            beneath=beneath,
            die_at=die_at,
            steps=str(place.folder / "steps"),
        )
        found = Command(pid, log, mark, lambda: self._ask(wait=pid))
        while found.poll() is None and os.getsid(pid) != pid:
            time.sleep(0.001)
        return found


def start_alone(line: str, place: Place) -> Command:
    """The same in an interpreter of its own, as users start it."""
    log, mark = place.next_log(), secrets.token_hex(8)
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "secateur", *shlex.split(line)],
            cwd=place.work,
            env={**os.environ, **place.environment(mark)},
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    return Command(process.pid, log, mark, process.poll)


# Whether folders hold the same


def files_of(folder: Path) -> dict[str, object]:
    """Path -> content of every file beneath a folder, without the times (`TIMES`) that are in it."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_dir():
            found[name + "/"] = None
        else:
            found[name] = _content(path)
    return found


def _content(path: Path) -> object:
    if path.suffix == ".json":
        more = MEASURED if path.name.endswith(".onnx.json") else ()
        return _timeless(json.loads(path.read_text()), (*TIMES, *more))
    if path.name == "checkpoint.safetensors":  # it says how long the run took so far, and has a digest
        with safe_open(path, "pt") as file:
            about = {**file.metadata(), "digest": None}
            tensors = [(name, file.get_tensor(name).numpy().tobytes()) for name in sorted(file.keys())]
        return _timeless(json.loads(about.pop("state"))), about, tensors
    if path.suffix == ".onnx":  # the same record is in its metadata
        import onnx

        model = onnx.load(path)
        about = {each.key: each.value for each in model.metadata_props}
        measured = json.loads(about.pop("secateur.int8", "null"))
        model.ClearField("metadata_props")
        return model.SerializeToString(deterministic=True), about, _timeless(measured, MEASURED)
    if path.suffix == ".html":
        return _drawn_timeless(path.read_text())
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _timeless(value: object, times: tuple[str, ...] = TIMES) -> object:
    if isinstance(value, dict):
        return {key: None if key in times else _timeless(each, times) for key, each in value.items()}
    return [_timeless(each, times) for each in value] if isinstance(value, list) else value


def _drawn_timeless(page: str) -> str:
    """A page's text without times, and without drawings and tables to download, which have some too."""
    plain = re.sub(r"<svg.*?</svg>", "SVG", page, flags=re.DOTALL)
    plain = re.sub(r'data-value="[^"]*"', "VALUE", re.sub(r'href="data:[^"]*"', "DATA", plain))
    return _TIMES_IN_TEXT.sub("TIME", plain)


def differences(one: Path, other: Path) -> list[str]:
    """What is not the same in two folders, in words."""
    ours, theirs = files_of(one), files_of(other)
    lines = [f"only in {one}: {name}" for name in ours if name not in theirs]
    lines += [f"only in {other}: {name}" for name in theirs if name not in ours]
    for name in ours:
        if name in theirs and ours[name] != theirs[name]:
            lines.append(f"{name} differs {'; '.join(_where(ours[name], theirs[name]))[:300]}")
    return lines


def _where(one: object, other: object, at: str = "") -> Iterator[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted({*one, *other}):
            yield from _where(one.get(key), other.get(key), f"{at}.{key}")
    elif isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)) and len(one) == len(other):
        for number, pair in enumerate(zip(one, other, strict=True)):
            yield from _where(*pair, f"{at}[{number}]")
    elif isinstance(one, str) and isinstance(other, str) and one != other:
        first = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), 0)
        yield f"at {at or first}: {one[first - 30 : first + 60]!r} for {other[first - 30 : first + 60]!r}"
    elif one != other:
        yield f"at {at}"
