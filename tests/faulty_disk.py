"""Commands on a disk that fails where it is told to: libc's calls are intercepted by tests/faulty_disk.c.

`Disk` is the disk: which calls below a folder fail, with what. `Commands` is a process that has imported
everything once and forks a child for each command, in which a command takes a fraction of a second.
"""

from __future__ import annotations

import atexit
import json
import mmap
import os
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

KINDS = ("make", "write", "sync", "rename", "mkdir", "link", "length", "remove", "open", "read")
"""What faulty_disk.c tells apart: "make" opens a file to be made, "open" one that is there."""
ONCE, FROM, SHORT, HALF = range(4)
"""The n-th call fails; all from it on; writes from it on are cut short; it is cut short, then all fail."""
MODES = ("once", "from", "short", "half")
_HEAD = struct.Struct("4i3q16q")
_PATH = 4096


def compiler() -> str | None:
    """A C compiler, by its path."""
    return next((found for name in ("cc", "clang", "gcc") if (found := shutil.which(name))), None)


def compiled(folder: Path) -> Path:
    """The library that is preloaded."""
    path = folder / "faulty_disk.so"
    source = Path(__file__).with_suffix(".c")
    command = [compiler() or "cc", "-shared", "-fPIC", "-O1", "-w", "-o", str(path), str(source), "-ldl"]
    subprocess.run(command, check=True)
    return path


@dataclass(frozen=True)
class Fault:
    """What is to fail: the n-th call (from 1) of these kinds, with an errno."""

    kinds: tuple[str, ...]
    error: int
    nth: int
    mode: int = ONCE


class Disk:
    """The page that tells faulty_disk.c what is to fail, and hears how often that was asked for."""

    def __init__(self, folder: Path):
        self.path = folder / "page"
        self.path.write_bytes(bytes(_HEAD.size + 2 * _PATH))
        with self.path.open("r+b") as file:
            self._page = mmap.mmap(file.fileno(), 0)

    def watch(self, folder: Path, fault: Fault | None = None) -> None:
        """Count the calls below a folder from now on, and have some fail."""
        bits = sum(1 << KINDS.index(kind) for kind in fault.kinds) if fault else 0
        told = (bits, fault.error, fault.mode, 0, fault.nth) if fault else (0, 0, 0, 0, 0)
        self._page[:] = _HEAD.pack(*told, *[0] * 18) + os.fsencode(folder).ljust(_PATH, b"\0") + bytes(_PATH)

    def leave(self) -> None:
        """Nothing fails any more, and nothing is counted."""
        self._page[_HEAD.size : _HEAD.size + _PATH] = bytes(_PATH)

    @property
    def hits(self) -> int:
        """How many calls failed, or were cut short."""
        return _HEAD.unpack_from(self._page)[6]

    @property
    def hit(self) -> str:
        """The path of the first of them."""
        return os.fsdecode(self._page[_HEAD.size + _PATH :].rstrip(b"\0"))

    @property
    def counts(self) -> dict[str, int]:
        """How many calls of each kind there were."""
        return dict(zip(KINDS, _HEAD.unpack_from(self._page)[7:], strict=False))


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code, what it printed, the seconds of CPU it took."""

    code: int
    out: str
    err: str
    seconds: float


class Commands:
    """A process that has everything imported, and forks a child for each command.

    Args:
        folder: for what it needs itself.
        library: faulty_disk.so.
        page: of the `Disk`.
    """

    def __init__(self, folder: Path, library: Path, page: Path, environment: dict[str, str]):
        self._folder = folder
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            env={**os.environ, "LD_PRELOAD": str(library), "FAULTY_DISK": str(page), "OMP_NUM_THREADS": "1",
                 "PYTHONDONTWRITEBYTECODE": "1", **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def run(
        self,
        words: list[str],
        cwd: Path,
        environment: dict[str, str],
        limits: dict[str, int] | None = None,
        limit_s: int = 300,
    ) -> Ended:
        """Run a command line, or "python NAME", a function below; code 124 where it does not end.

        Args:
            limits: of the process, by name: {"RLIMIT_FSIZE": 100_000}; of RLIMIT_AS beyond what it has.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        streams = [self._folder / name for name in ("out", "err")]
        order = {
            "words": words,
            "cwd": str(cwd),
            "environment": environment,
            "limit_s": limit_s,
            "limits": limits or {},
        }
        print(json.dumps(order | {"streams": list(map(str, streams))}), file=self._process.stdin, flush=True)
        code, seconds = json.loads(self._process.stdout.readline())
        return Ended(code, *(each.read_text(errors="replace") for each in streams), seconds)

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()


def _serve() -> None:
    """Fork a child for every line of stdin; in the child, return what it is to do."""
    _import_everything()
    print("ready", flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            _become(order)
            return
        print(json.dumps(_waited(child, time.monotonic() + order["limit_s"])), flush=True)
    os._exit(0)


def _waited(child: int, last: float) -> tuple[int, float]:
    """The exit code of a child, and the seconds of CPU that it and its own took."""
    while time.monotonic() < last:
        found, status, used = os.wait4(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return 124, 0.0


def _become(order: dict) -> None:
    os.chdir(order["cwd"])
    os.environ.update(order["environment"])
    tempfile.tempdir = None
    for number, path in zip((0, 1, 2), ("/dev/null", *order["streams"]), strict=True):
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666)
        os.dup2(file, number)
        os.close(file)
    for name, value in order["limits"].items():
        used = int(Path("/proc/self/statm").read_text().split()[0]) * 4096 if name == "RLIMIT_AS" else 0
        resource.setrlimit(getattr(resource, name), (used + value, used + value))
    sys.stdin = open(0)  # noqa: SIM115
    sys.argv = ["secateur", *order["words"]]


def _import_everything() -> None:
    from importlib import import_module
    from pkgutil import walk_packages

    import secateur

    for name in ("scipy.stats", "pyarrow.parquet", "onnx", "onnxruntime", "onnxruntime.quantization",
                 "openvino", "huggingface_hub", "tensorboard", "torch.utils.tensorboard", "PIL.Image",
                 "matplotlib.figure", "matplotlib.backends.backend_agg", "onnxscript"):  # fmt: skip
        try:
            import_module(name)
        except ImportError:
            continue
    for module in walk_packages(secateur.__path__, "secateur."):
        if not module.name.endswith("__main__"):
            import_module(module.name)
    from secateur.report import drawing

    with drawing.house_style():
        blank = {kind: drawing.encode(drawing.new_figure(1, 1), kind) for kind in ("png", "svg")}
    drawing.encode = lambda figure, kind: blank[kind]  # 2 s a report otherwise


def _python(name: str) -> None:
    """Call one of the functions below as a program would; its errors are said as the command line does."""
    from secateur.errors import InputError, TrainingError

    try:
        globals()[name]()
    except (InputError, TrainingError, OSError) as error:
        print(f"secateur: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, InputError) else 1)


def save() -> None:
    """A network that was loaded is saved over another."""
    import secateur as sc

    sc.save(sc.load("new"), "saved")


def save_to_place() -> None:
    """A network that was loaded is saved where PLACE says."""
    import secateur as sc

    sc.save(sc.load("new"), os.environ.get("PLACE", "place"))


def load() -> None:
    """A network is loaded."""
    import secateur as sc

    print(sum(each.double().sum().item() for each in sc.load("new").state_dict().values()))


def compare() -> None:
    """A comparison from Python."""
    import secateur as sc

    data = sc.load_data("digits", limit_train=100)
    sc.compare("wrn-10-1", data=data, epochs=1, budgets="params=60%", seeds=1, arms=["width"], device="cpu",
               out="py")  # fmt: skip


def _work() -> int:
    """Do what was ordered; the exit code."""
    from secateur.cli.main import main

    try:
        _python(sys.argv[2]) if sys.argv[1] == "python" else main()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    _serve()
    code = _work()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)  # what libraries tear down at the end waits for threads that were not forked
