"""The command line's manners: help, version, JSON, quiet, mistakes, narrow and plain terminals, pipes."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from typer.main import get_command

from secateur.cli.generated import assembled
from secateur.cli.main import app, main
from secateur.cli.mistakes import commands_of
from secateur.cli.options import PruneOptions
from secateur.cli.terminal import Table, folded
from secateur.models import NAMES

SMALL = "--data digits --limit-train 300 --epochs 1 --batch-size 64 --device cpu --model wrn-10-1"
MADE = f"compare {SMALL} --budget params=50% --arms width --out out"
COMMANDS = [name for name, _ in commands_of(get_command(app))]


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Run a command line in this process, in an empty folder: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("secateur.cli.main.keep_freed_memory", lambda: None)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    return lambda line: called(line, monkeypatch, capsys)


def called(line, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["secateur", *shlex.split(line)])
    with pytest.raises(SystemExit) as stop:
        main()
    output = capsys.readouterr()
    return stop.value.code, output.out, output.err


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with what the commands that look at something look at."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("secateur.cli.main.keep_freed_memory", lambda: None)
        patch.setattr("signal.signal", lambda *_: None)
        line = f"{MADE} --json"
        patch.setattr(sys, "argv", ["secateur", *line.split()])
        with pytest.raises(SystemExit) as stop:
            main()
        assert stop.value.code == 0
        run_id = next((folder / "out/runs").glob("train-*")).name
        (folder / "run_id").write_text(run_id)
        Image.new("L", (20, 20), 128).save(folder / "photo.png")
    return folder


def separately(words, **environment):
    """In a process of its own: what a shell would see."""
    return subprocess.run(
        [sys.executable, "-m", "secateur", *words],
        capture_output=True,
        env={**os.environ, **environment},
        timeout=120,
        check=False,
    )


# What there is


def test_the_version(run):
    import secateur

    for asked in ("--version", "-V"):
        assert run(asked) == (0, f"secateur {secateur.__version__}\n", "")


def test_python_dash_m_and_nothing_loads_torch():
    program = (
        "import runpy, sys; sys.argv[0] = 'secateur'\n"
        "try: runpy.run_module('secateur', run_name='__main__')\n"
        "except SystemExit as stop: assert not stop.code, stop.code\n"
        "assert 'torch' not in sys.modules"
    )
    completing = {
        "_SECATEUR_COMPLETE": "complete_bash",
        "COMP_WORDS": "secateur train --model ",
        "COMP_CWORD": "3",
    }
    for words, environment, part in (
        (["--version"], {}, "secateur 0."),
        (["prune", "-h"], {}, "Usage: secateur prune"),
        ([], completing, "wrn-16-1"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", program, *words],
            capture_output=True,
            text=True,
            env={**os.environ, **environment},
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert part in done.stdout


@pytest.mark.parametrize("command", ["", "runs", *COMMANDS])
@pytest.mark.parametrize("columns", [80, 60])
def test_help_fits_and_has_an_example(run, command, columns, monkeypatch):
    monkeypatch.setattr("typer.rich_utils.MAX_WIDTH", columns)
    code, out, _ = run(f"{command} -h")
    assert code == 0
    assert max(len(line.rstrip()) for line in out.splitlines()) <= columns
    assert command == "runs" or "Example: secateur" in " ".join(out.split())
    if command == "train":
        assert (code, out, "") == run(f"{command} --help")


def test_without_a_command_there_is_help(run):
    code, out, err = run("")
    assert (code, err) == (2, "")
    assert "compare" in out


def test_examples_of_help_are_command_lines():
    """Every example in a help text can be parsed by the command that it names."""
    seen = 0
    for name, command in commands_of(get_command(app)):
        text = " ".join((command.help or "").split())
        for example in re.findall(r"`secateur ([^`]*)`", text):
            words = shlex.split(example)[len(name.split()) :]
            if not example.startswith(name):
                continue  # what to do next, with another command
            command.make_context(name, words)
            seen += 1
    assert seen >= len(COMMANDS)


# What shells complete


def completions(command, option, begun):
    found = next(
        p for n, c in commands_of(get_command(app)) if n == command for p in c.params if p.name == option
    )
    return [item.value for item in found.shell_complete(None, begun)]


def test_completion_of_values():
    from secateur.compare.arms import ARMS
    from secateur.compare.one_network import METHODS

    assert completions("compare", "arms", "") == list(ARMS)
    assert completions("compare", "arms", "width,fisher-s") == ["width,fisher-scratch"]
    assert sorted(completions("prune", "method", "")) == sorted(METHODS)
    assert completions("train", "schedule", "c") == ["cosine"]
    assert completions("train", "precision", "") == ["fp32", "bf16"]
    assert completions("compare", "log_with", "wandb,t") == ["wandb,tensorboard"]
    assert completions("train", "model", "") == [*NAMES, "hf:", "timm:"]
    assert completions("train", "data", "") == ["digits", "cifar10", "tiny-imagenet", "hf:"]
    assert completions("export", "to", "op") == ["openvino"]


# JSON and quiet


JSON = {
    "compare": (MADE, {"verdict", "points", "directory"}),
    "train": (f"train {SMALL} --out trained", {"accuracy", "params", "directory"}),
    "prune": (
        f"prune fisher {SMALL} --budget params=90% --prune-every 1 --at-once 8 --out pruned",
        {"accuracy", "params", "directory"},
    ),
    "inspect": ("inspect --model wrn-10-1 --input 1x8x8 --classes 10", {"groups", "now"}),
    "diff": ("diff out/best out/best", {"same", "differences"}),
    "export": ("export out/best --to onnx --out best.onnx", {"path", "size", "difference"}),
    "reproduce": ("reproduce dupont2021 figure2 --out figure", {"directory", "figures"}),
    "scale": ("scale out/best --budget params=50% --out small.json", {"scaled", "source", "written"}),
    "report": ("report out", {"reports"}),
    "forecast": (
        "forecast --model wrn-10-1 --input 1x8x8 --budget params=50% --runtime torch --seconds 0.05",
        {"model", "rows"},
    ),
    "measure": ("measure out/best --runtime torch --seconds 0.05", {"now", "timings"}),
    "predict": ("predict out/best PHOTO", {"network", "predictions"}),
    "evaluate": ("evaluate out/best --data digits --limit-train 300", {"accuracy", "confusion"}),
    "push": ("push out/best ann/small --dry-run", {"repo", "files", "card"}),
    "runs list": ("runs list out", {"directory", "runs"}),
    "runs show": ("runs show RUN out", {"run_id", "accuracy"}),
    "runs check": ("runs check out", {"directory", "runs", "faults"}),
    "runs delete": ("runs delete RUN out --yes", {"deleted"}),
}


def test_every_command_has_a_case_here():
    assert set(JSON) == set(COMMANDS)


@pytest.mark.parametrize(
    "command", [pytest.param(name, marks=pytest.mark.slow if name == "export" else ()) for name in JSON]
)
def test_json_is_one_document_and_quiet_is_quiet(run, command, made, tmp_path):
    subprocess.run(["cp", "-r", made / "out", tmp_path / "out"], check=True)
    line, keys = JSON[command]
    if command == "export":
        pytest.importorskip("onnxruntime")
    line = line.replace("RUN", (made / "run_id").read_text()).replace("PHOTO", str(made / "photo.png"))
    code, out, _ = run(f"{line} --json")
    assert code == 0
    found = json.loads(out)  # the whole of it
    assert keys <= set(found)
    if command not in ("diff", "runs list", "inspect", "scale", "train", "prune", "predict"):
        return  # where it takes long, or cannot be done again
    code, quiet, err = run(f"--quiet {line}")
    assert (code, err) == (0, "")
    if command in ("diff", "predict", "train", "prune"):
        assert quiet.count("\n") == 1
    if command in ("diff", "runs list", "inspect", "scale", "train"):
        assert (code, quiet, "") == run(f"{line} -q")
        assert run(line)[1].endswith(quiet)


def test_a_plan_as_json(run):
    code, out, _ = run(f"compare {SMALL} --budget params=50% --arms width,fisher-tuned --plan --json")
    plan = json.loads(out)
    assert code == 0
    assert [(row["arm"], row["budget"]) for row in plan["rows"]] == [
        *(("dense", None), ("width", "params=50%"), ("fisher-tuned", "params=50%"))
    ]
    width = plan["rows"][1]
    assert width["exact"]
    assert width["params"] <= width["limit"] == 38781
    assert len(width["widths"]) == 3
    assert not plan["rows"][2]["exact"]
    assert plan["seconds"] > 0


def test_an_error_leaves_stdout_empty(run):
    for line in ("train --epochs 0 --json", "train --epochs 0 --quiet", "prun --json", "diff a b --json"):
        code, out, err = run(line)
        assert (code, out) == (2, "")
        assert err.count("\n") == 1


def test_the_command_that_is_recorded_is_the_one_without(made):
    command = json.loads((made / "out/results.json").read_text())["command"]
    assert command == f"secateur {MADE}"


# Mistakes


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("prun", "No such command 'prun': did you mean 'secateur prune'? See 'secateur --help'."),
        ("help", "No such command 'help': did you mean 'secateur --help'? See 'secateur --help'."),
        ("runs lst", "No such command 'lst': did you mean 'secateur runs list'? See 'secateur runs --help'."),
        ("list", "No such command 'list': did you mean 'secateur runs'? See 'secateur --help'."),
        (
            "prune fisher --budgets 3",
            "No such option: --budgets: did you mean --budget? See 'secateur prune --help'.",
        ),
        (
            "train --batchsize 3",
            "No such option: --batchsize: did you mean --batch-size? See 'secateur train --help'.",
        ),
        (
            "train --prune_every 3",
            "No such option: --prune_every. See 'secateur train --help'.",
        ),
        (
            "train --prune-every 3",
            "No such option: --prune-every: it is an option of compare, prune. See 'secateur train --help'.",
        ),
        (
            "prune fisher --budget params=9% --log-with wanb",
            "unknown service of --log-with 'wanb': did you mean",
        ),
        (
            "compare --plan --open",
            "--open shows the report of runs that are made, and --plan makes none: leave",
        ),
        ("compare --seeds 1,2", "--seeds takes one whole number, got '1,2': Replicates, for intervals. See"),
        (
            "train --epochs=many",
            "--epochs takes a whole number, got 'many': Passes over the training split. See",
        ),
        (
            "train --gamma fast",
            "--gamma takes a number, got 'fast': Factor of each drop. See 'secateur train --help'.",
        ),
        ("prune fisher", "Missing option '--budget': params=500k, macs=25%"),
        ("prune", "Missing argument 'method': "),
        ("prune fisher --budget", "Option '--budget' requires an argument. See 'secateur prune --help'."),
        ("train extra", "Got unexpected extra argument(s) (extra). See 'secateur train --help'."),
        ("runs show", "See 'secateur runs show --help'."),
    ],
)
def test_a_mistake_points_to_the_help_of_its_command(run, line, said):
    code, out, err = run(line)
    assert (code, out) == (2, "")
    assert err.startswith("secateur: ")
    assert said in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("given", "arms", "budgets"),
    [
        ("--budget params=50%,params=25% --arms width,copycat", "width, copycat", "params=50%, params=25%"),
        (
            "--budget params=50% --budget params=25% --arms width --arms copycat",
            "width, copycat",
            "params=50%, params=25%",
        ),
    ],
)
def test_several_values_with_commas_or_repeated(run, given, arms, budgets):
    code, out, _ = run(f"compare {SMALL} {given} --plan --json")
    assert code == 0
    rows = json.loads(out)["rows"]
    assert [row["arm"] for row in rows if row["budget"] == "params=25%"] == arms.split(", ")
    assert list(dict.fromkeys(row["budget"] for row in rows if row["budget"])) == budgets.split(", ")


def test_every_budget_of_prune_holds(run, tmp_path):
    """None is dropped in silence because another followed."""
    line = f"prune fisher {SMALL} --prune-every 1 --at-once 8 --out cut --budget macs=60% --budget params=90%"
    code, out, _ = run(f"{line} --json")
    assert code == 0
    assert json.loads(out)["macs"] <= 0.6 * 763520
    code, _, err = run("scale . --budget params=50% --budget macs=50%")
    assert (code, "one budget is taken here" in err) == (2, True)


def test_every_milestone_counts():
    for line in ("--milestones 0.5,0.75", "--milestones 0.5 --milestones 0.75"):
        words = ["fisher", "--budget", "params=50%", *line.split()]
        values = get_command(app).commands["prune"].make_context("prune", words).params
        for name in ("as_json", "quiet"):
            values.pop(name)
        assert assembled(PruneOptions, values).recipe().milestones == (0.5, 0.75)


def test_commas_that_compare_refuses(run):
    for budget, part in (
        ("params=50%,macs=50%", "one resource at a time"),
        ("params=1,000", "not within a number"),
    ):
        code, _, err = run(f"compare {SMALL} --budget {budget} --plan")
        assert code == 2
        assert part in err


# Terminals


def test_a_table_that_does_not_fit_tells_each_row_in_lines():
    table = Table("arm", "budget", "params", "training MACs")
    table.add_row("channel-reparametrization", "params=50% (38,781)", "38,698", "6.69e+08")
    table.add_row("width", "", "7", "")
    assert list(table.lines(None)) == [
        "arm                        budget               params  training MACs",
        "channel-reparametrization  params=50% (38,781)  38,698       6.69e+08",
        "width                                                7",
    ]
    assert list(table.lines(69)) == list(table.lines(None))
    assert list(table.lines(60)) == [
        "channel-reparametrization  params=50% (38,781)",
        "  params 38,698, training MACs 6.69e+08",
        "width",
        "  params 7",
    ]
    assert all(len(line) <= 20 for line in table.lines(20))
    assert folded("a" * 50, 20) == ["a" * 20, "a" * 20, "a" * 10]


@pytest.mark.parametrize("columns", [80, 60])
def test_nothing_is_wider_than_the_terminal(run, made, columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = [
        "inspect --model wrn-16-1 --input 3x32x32",
        f"runs list {made / 'out'}",
        f"scale {made / 'out/best'} --budget params=50%",
    ]
    lines.append(f"compare {SMALL} --budget params=50% --plan")
    for line in lines:
        code, out, _ = run(line)
        assert code == 0
        assert max(map(len, out.splitlines())) <= columns, out


def test_plain_encodings(run, monkeypatch):
    """± and ≤ are written in letters that the terminal has."""
    said = io.BytesIO()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", io.TextIOWrapper(said, encoding="latin-1", write_through=True))
        code, _, err = run(f"compare {SMALL} --budget params=50% --plan")
        text = said.getvalue().decode("latin-1")
    assert (code, err) == (0, "")
    assert "~ and <=: pruning decides" in text
    assert "?" not in text
    done = separately(["prune", "--help"], PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    assert b"+- Arguments -" in done.stdout


def test_what_an_encoding_lacks_is_spelt_out(monkeypatch, capsys):
    from secateur.cli import terminal

    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    terminal.prepare_streams()
    terminal.say("1.5 ± 0.2 × 3 – µs … 猫 \udcff")
    stream.flush()
    assert stream.buffer.getvalue() == b"1.5 +/- 0.2 x 3 - us ... ? ?\n"


# Readers that leave


class Leaving(io.RawIOBase):
    """What a stream writes to, that takes so many lines, and then refuses."""

    def __init__(self, lines, error):
        self.left, self.error, self.refused = lines, error, 0

    def stream(self):
        return io.TextIOWrapper(io.BufferedWriter(self), encoding="utf-8", line_buffering=True)

    def writable(self):
        return True

    def write(self, content):
        if self.left <= 0:
            self.refused += 1
            raise self.error
        self.left -= bytes(content).count(b"\n")
        return len(content)


def test_a_comparison_goes_on_when_head_has_read_enough(run, monkeypatch, tmp_path):
    line = f"compare {SMALL} --budget params=50% --arms width,bottleneck --workers 1 --out out"
    reader = Leaving(1, BrokenPipeError(errno.EPIPE, "Broken pipe"))
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", reader.stream())
        code, _, err = run(line)
    assert (code, err) == (141, "")
    assert reader.refused > 2
    assert (tmp_path / "out/results.json").is_file()
    assert (tmp_path / "out/report.html").is_file()
    code, out, _ = run(line)
    assert code == 0
    assert not any(" with " in row for row in out.splitlines() if row.startswith("width"))


def test_head_ends_help_without_a_word():
    process = subprocess.Popen(
        [sys.executable, "-m", "secateur", "compare", "--help"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(timeout=120) == 141


def test_a_stdout_that_is_closed_or_full():
    secateur = shlex.join([sys.executable, "-m", "secateur"])
    done = subprocess.run(f"{secateur} prun >&-", shell=True, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "did you mean" in done.stderr
    if Path("/dev/full").exists():
        words = f"{secateur} --version >/dev/full"
        done = subprocess.run(words, shell=True, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert done.stderr.startswith("secateur: stdout could not be written (No space left on device)")
        assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("stream", "expected"), [("stdout", 1), ("stderr", 0)], ids=["stdout is full", "stderr is full"]
)
def test_a_full_disk_for_what_is_said_loses_no_run(stream, expected, run, monkeypatch, tmp_path):
    full = Leaving(0, OSError(errno.ENOSPC, "No space left on device"))
    with monkeypatch.context() as patch:
        patch.setattr(sys, stream, full.stream())
        code, out, err = run(f"train {SMALL} --out out --json")
    assert code == expected
    assert full.refused > 0
    assert len(list((tmp_path / "out/runs").glob("*/record.json"))) == 1
    if stream == "stdout":
        last = err.splitlines()[-1]
        assert last.startswith("secateur: stdout could not be written (No space left on device)")
    else:
        assert json.loads(out)["params"] > 0


def test_a_signal_during_an_import_ends_quietly_whatever_the_import_makes_of_it(tmp_path):
    (tmp_path / "swallows.py").write_text(
        "import os, signal\n"
        "try:\n    os.kill(os.getpid(), signal.SIGTERM)\n    for _ in range(1000): pass\n"
        "except BaseException:\n    raise RecursionError\n"
    )
    begun = "from secateur.cli.main import _listen_to_signals as listen; listen(); import swallows"
    done = subprocess.run(
        [sys.executable, "-c", begun], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 130
    assert (
        done.stderr
        == "secateur: interrupted: finished epochs and runs are kept; the same command continues\n"
    )


# What a new user tried


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("runs show '' out", "a run is named by its id, or how it begins, got ''"),
        ("runs delete '' out --yes", "a run is named by its id, or how it begins, got ''"),
        ("train --model wrn-10-1 --factory os:system", "leave it out, or name the factory as the model"),
        ("inspect --model wrn-10-1 --input 3x99999x99999", "at most 16,777,216 numbers, got '3x99999x99999'"),
        (
            "inspect --model wrn-10-1 --input 3x32x32 --classes 99999999999",
            "at least 2, at most 1,000,000, got",
        ),
        ("train --model ''", "got ''"),
        ("train --out file", "file"),
        ("prune width --budget params=50%", "unknown method 'width'"),
        ("prune fisher --budget ,", "RESOURCE=AMOUNT"),
        ("prune fisher --budget params=50%,", "RESOURCE=AMOUNT"),
        ("train --model 🦆", "unknown model '🦆'"),
    ],
)
def test_odd_input_is_one_line_and_touches_nothing(run, made, tmp_path, line, said):
    subprocess.run(["cp", "-r", made / "out", tmp_path / "out"], check=True)
    (tmp_path / "file").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    code, out, err = run(line)
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "file").read_text() == "mine"


def test_memory_that_runs_out_is_one_line(run, monkeypatch):
    def hungry(*_args, **_kwargs):
        raise RuntimeError(
            "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 9 bytes.\nmore"
        )

    monkeypatch.setattr("secateur.budget.Budget.parse", hungry)
    code, _, err = run("compare")
    assert code == 1
    assert err.startswith("secateur: there is not enough memory: take a smaller --batch-size")
    assert err.count("\n") == 1
