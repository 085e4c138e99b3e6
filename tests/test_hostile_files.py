"""Files from strangers: whatever they hold, one line of refusal; no path outside their folder, no memory."""

from __future__ import annotations

import io
import json
import os
import resource
import shutil
import sys
import time
from pathlib import Path

import pytest

from secateur.architecture.architecture import Architecture
from secateur.cli.main import _run
from secateur.cli.runs import list_runs
from secateur.cli.terminal import Table, say, show
from secateur.compare.results import agreeing, load_results, rewrite_report
from secateur.errors import InputError
from secateur.names import harmless
from secateur.progress import BarReporter, LineReporter
from secateur.records.plan import Plan
from secateur.records.reading import MOST_BYTES, MOST_DEPTH, MOST_DIGITS, MOST_VALUES, is_file_name, read_json
from secateur.records.results import Results
from secateur.runs.store import RunStore

REPOSITORY = Path(__file__).parents[1]
RESULTS = REPOSITORY / "results" / "digits-channels" / "results.json"
NETWORK = REPOSITORY / "results" / "shipped" / "conv4-1"
RECORDED = Path(__file__).parent / "left_by_e086a27" / "in-pruning" / "runs" / "train-bb51b42ebeb2-s0"

GROWTH_KB = 400_000
"""What reading hostile files may add to the memory of this process at most, in KiB."""
SECONDS = 20.0
"""What one of them may take at most."""

# --- one way of reading ---------------------------------------------------------------------------------

REFUSED = {
    "a mark": (b'\xef\xbb\xbf{"a": 1}', "byte order mark"),
    "UTF-16": ('{"a": 1}'.encode("utf-16"), "not UTF-8"),
    "Latin-1": (b'{"a": "\xe9"}', "not UTF-8"),
    "NaN": (b'{"a": NaN}', "NaN is no number"),
    "infinity": (b'{"a": [-Infinity]}', "-Infinity is no number"),
    "a float that is too large": (b'{"a": 1e999}', "too large"),
    "many digits": (b'{"a": ' + b"9" * 311 + b"}", "more than 310 digits"),
    "very many digits": (b'{"a": ' + b"9" * 100_000 + b"}", "more than 310 digits"),
    "a key twice": (b'{"a": 1, "b": {"c": 1, "c": 2}}', "a key twice"),
    "deep lists": (b"[" * 65 + b"]" * 65, "nested more than 64 deep"),
    "very deep lists": (b"[" * 1_000_000, "nested more than 64 deep"),
    "deep objects": (b'{"a":' * 70 + b"1" + b"}" * 70, "nested more than 64 deep"),
    "half a letter": (b'{"a": "\\ud800"}', "half a letter"),
    "half a letter for a key": (b'{"\\uDFFF": 1}', "half a letter"),
    "many values": (b"[" + b"1," * MOST_VALUES + b"1]", "more than 4,000,000 values"),
    "nothing": (b"", "not valid JSON"),
    "a part": (b'{"a": [1', "not valid JSON"),
    "two": (b"{}{}", "not valid JSON"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_we_cannot_have_written_is_refused_in_a_line(name, tmp_path):
    content, said = REFUSED[name]
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(InputError, match=said) as error:
        read_json(tmp_path / "x.json", "make it again")
    assert str(error.value).endswith(": make it again")
    assert "\n" not in str(error.value)


def test_what_we_write_is_read(tmp_path):
    deep = 1
    for _ in range(MOST_DEPTH - 2):
        deep = [deep]
    content = {"a": [deep, 1.5e308, 10 ** (MOST_DIGITS - 2), -0.0, None, True], "é\U0001f333\\u": '"]}[{"'}
    (tmp_path / "x.json").write_text(json.dumps(content), encoding="utf-8")
    assert read_json(tmp_path / "x.json") == content
    assert read_json(RESULTS) == json.loads(RESULTS.read_text(encoding="utf-8"))


def test_what_is_no_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="must be a file"):
        read_json(tmp_path / "pipe")
    with pytest.raises(InputError, match="must be a file"):
        read_json(tmp_path)
    with pytest.raises(InputError, match="cannot be read"):
        read_json(tmp_path / "none.json")
    with (tmp_path / "large.json").open("wb") as file:
        file.truncate(MOST_BYTES + 1)
    with pytest.raises(InputError, match="must have at most 67,108,864 bytes"):
        read_json(tmp_path / "large.json")


# --- names that become paths ----------------------------------------------------------------------------

LEADING_ELSEWHERE = [
    "../x",
    "..",
    ".",
    "",
    "/etc",
    "a/b",
    "a\\b",
    "a\0b",
    "~",
    ".hidden",
    "a b",
    "x" * 201,
    "é",
]


@pytest.mark.parametrize("name", LEADING_ELSEWHERE)
def test_a_name_from_a_file_leads_nowhere_else(name, tmp_path):
    assert not is_file_name(name)
    with pytest.raises(InputError, match="a run's id is one name"):
        RunStore(tmp_path).path(name)
    content = json.loads(RESULTS.read_text(encoding="utf-8"))
    content["points"][0]["run_id"] = name
    with pytest.raises(InputError, match=r"points\[0\]\.run_id' must be the id of a run"):
        Results.from_json(content)
    with pytest.raises(InputError, match=r"run_id' must be the id"):
        Plan.from_json(
            {"schema": 1, "runs": [{"name": "a", "after": [], "compute": 1, "run_id": name or "/"}]}
        )


def test_a_report_on_somebodys_results_stays_in_its_folder(tmp_path):
    """Whatever becomes part of a figure's name, or of a run's folder."""
    folder = tmp_path / "in" / "theirs"
    folder.mkdir(parents=True)
    content = json.loads(RESULTS.read_text(encoding="utf-8"))
    content["settings"]["resource"] = "../../../params"
    (folder / "results.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"settings\.resource' must be one of params"):
        load_results(folder)
    content["settings"]["resource"] = "params"
    content["question"] = content["model"] = content["data"]["label"] = "../../../x"
    for row in (*content["points"], *content["summary"]):
        row["arm"] = f"../../{row['arm']}"
    (folder / "results.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="its parts must go together"), agreeing(folder):
        rewrite_report(folder, load_results(folder))  # these arms are not those of the verdict
    assert [each.name for each in tmp_path.rglob("*")][:2] == ["in", "theirs"]
    assert all(each.is_relative_to(folder) for each in tmp_path.rglob("*.*"))


# --- small files that ask for much ----------------------------------------------------------------------

LARGE = {
    "images of 4096x4096": ({"image_size": [4096, 4096]}, "at most 33,554,432 entries"),
    "images of many channels": ({"in_channels": 4096, "image_size": 4096}, "at most 33,554,432 entries"),
    "images of 3000x3000": ({"image_size": [3000, 3000]}, "MACs, but the file says"),
    "thousands of layers": ({"stages": [4096] * 4}, "at most 1,300 layers"),
}


@pytest.mark.parametrize("name", LARGE)
def test_a_small_architecture_takes_neither_memory_nor_time(name, tmp_path):
    """Such a file of 2 KB took 16.5 GB and 110 s before it was refused."""
    changes, said = LARGE[name]
    content = json.loads((NETWORK.parent / "resnet18-1" / "architecture.json").read_text())
    content["arguments"] |= changes
    (tmp_path / "architecture.json").write_text(json.dumps(content))
    before, begin = memory_kb(), time.process_time()
    with pytest.raises(InputError, match=said):
        Architecture.load(tmp_path)
    assert memory_kb() - before < GROWTH_KB
    assert time.process_time() - begin < SECONDS


def memory_kb() -> int:
    """The most memory that this process has had, in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


# --- terminals ------------------------------------------------------------------------------------------

COMMANDS = "a\x1b[2Jb\u202ec\u2066d\x07e\r\x9bf\u200eg\u2028h"
SHOWN = "a?[2Jb?c?d?e??f?g?h"


def test_what_commands_a_terminal_is_not_shown(capsys):
    assert harmless(COMMANDS) == SHOWN
    assert harmless("é 猫 \u05d0 👩\u200d🚀\n\ta\xa0b") == "é 猫 \u05d0 👩\u200d🚀\n\ta\xa0b"
    say(COMMANDS)
    show(COMMANDS)
    table = Table("run", COMMANDS)
    table.add_row(f"{COMMANDS}\n", "1")
    table.show()
    LineReporter(sys.stdout).note(COMMANDS)
    printed = capsys.readouterr().out
    assert printed.count(SHOWN) == 5
    assert all(letter.isprintable() or letter == "\n" for letter in printed)


def test_bars_show_no_commands_and_read_no_markup():
    from rich.console import Console

    console = Console(file=io.StringIO(), force_terminal=True, width=80, color_system=None)
    with BarReporter(console) as reporter:
        reporter.begin(f"{COMMANDS}[/x]", 1.0)
        reporter.run_started(f"{COMMANDS}[/y]", 1.0)
        reporter.note(f"{COMMANDS} [red]z[/w]")
    printed = console.file.getvalue()
    assert f"{SHOWN} [red]z[/w]" in printed
    assert not set(printed) & set("\u202e\u2066\x07\x9b\u200e\u2028")
    assert "\x1b[2J" not in printed


def test_labels_in_records_do_not_reach_the_terminal(tmp_path, capsys, monkeypatch):
    folder = tmp_path / "runs" / RECORDED.name
    shutil.copytree(RECORDED, folder)
    content = json.loads((folder / "record.json").read_text())
    content["label"] = COMMANDS
    (folder / "record.json").write_text(json.dumps(content))
    list_runs(tmp_path).show()
    assert SHOWN in (printed := capsys.readouterr().out)
    assert "\x1b" not in printed
    content["seed"] = "\x1b[2J\u202e"
    (folder / "record.json").write_text(json.dumps(content))
    monkeypatch.setattr(sys, "argv", ["secateur", "runs", "list", str(tmp_path)])
    with pytest.raises(SystemExit, match="2"):
        _run()
    said = capsys.readouterr().err
    assert "'seed' must be a whole number" in said
    assert not set(said) & set("\x1b\u202e")
