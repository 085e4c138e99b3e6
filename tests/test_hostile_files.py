"""Files from strangers: whatever they hold, one line of refusal; no path outside their folder, no memory."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import struct
import sys
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow
import pytest
import torch
from PIL import EpsImagePlugin, Image, UnidentifiedImageError

from hostile import GROWTH_KB, SECONDS, Counts, Kind, damage, memory_kb
from secateur.architecture.architecture import Architecture
from secateur.architecture.artefact import read_artefact
from secateur.architecture.saved import load_model, save_model
from secateur.cli.main import _run
from secateur.cli.runs import list_runs
from secateur.cli.terminal import Table, say, show
from secateur.cli.using import _show_csv
from secateur.compare.results import agreeing, load_results, rewrite_report
from secateur.data import load_data
from secateur.data.class_names import names_of
from secateur.data.jpeg import describe_codec
from secateur.data.pixels import PixelFormat
from secateur.data.store import InFile
from secateur.data.store import read as read_store
from secateur.errors import InputError
from secateur.models import conv4
from secateur.names import harmless
from secateur.progress import BarReporter, LineReporter
from secateur.records.plan import Plan, read_plan
from secateur.records.reading import MOST_BYTES, MOST_DEPTH, MOST_DIGITS, MOST_VALUES, is_file_name, read_json
from secateur.records.record import Record
from secateur.records.results import Results
from secateur.records.written import field
from secateur.runs.predict import Prediction
from secateur.runs.store import RunStore
from secateur.training.checkpoint import Checkpoint

REPOSITORY = Path(__file__).parents[1]
RESULTS = REPOSITORY / "results" / "digits-channels" / "results.json"
NETWORK = REPOSITORY / "results" / "shipped" / "conv4-1"
RECORDED = Path(__file__).parent / "left_by_e086a27" / "in-pruning" / "runs" / "train-bb51b42ebeb2-s0"

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


def test_a_csv_holds_no_formula_and_no_command(capsys):
    """Numbers stay numbers, also where they are the names of classes."""
    names = ("=1+1", "-5", "-5 C", "+x", "@a", "\t=1", "\uff1d1", "-1e-3", "a=1", COMMANDS, 'say "a",b')
    fields = ("'=1+1", "-5", "'-5 C", "'+x", "'@a", "'?=1", "'\uff1d1", "-1e-3", "a=1", SHOWN, 'say "a",b')
    assert tuple(map(field, names)) == fields
    assert (field(1 / 3), field(-2), field(None), field("")) == (0.333333333333, -2, None, "")
    one = Prediction("=x.png\x1b.png", ("=cmd()", "-5"), (0.75, 0.25), "classification")
    _show_csv([one], 2)
    assert capsys.readouterr().out == (
        "file,class,probability,class_2,probability_2\n'=x.png?.png,'=cmd(),0.75,-5,0.25\n"
    )
    _show_csv([replace(one, task="regression")], 2)
    assert capsys.readouterr().out == "file,'=cmd(),-5\n'=x.png?.png,0.75,0.25\n"


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
    monkeypatch.setattr(sys, "argv", ["secateur", "runs", "show", RECORDED.name, str(tmp_path)])
    with pytest.raises(SystemExit, match="2"):
        _run()
    said = capsys.readouterr().err
    assert "'seed' must be a whole number" in said
    assert not set(said) & set("\x1b\u202e")


# --- weights and images ---------------------------------------------------------------------------------


def test_weights_that_call_floats_whole_numbers_are_refused(tmp_path):
    model = conv4(0.1, image_size=8)
    save_model(model, tmp_path)
    path = tmp_path / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b'"F32"', b'"I32"', 1))
    with pytest.raises(InputError, match=r"is torch\.int32 instead of torch\.float32"):
        load_model(tmp_path)
    save_model(conv4(0.1, image_size=8).half(), tmp_path)
    assert next(load_model(tmp_path).parameters()).dtype == torch.float16


def read_pixels(path: Path) -> object:
    return PixelFormat(3, 8, 8).read(path)


def describe(path: Path) -> object:
    return describe_codec([path])


@pytest.mark.parametrize("read", [read_pixels, describe], ids=["pixels", "codec"])
def test_an_eps_that_is_called_png_starts_no_other_program(read, tmp_path, monkeypatch):
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("started"))
    path = tmp_path / "a.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n")
    with Image.open(path) as image:  # Pillow knows what it is
        assert image.format == "EPS"
    with pytest.raises(UnidentifiedImageError):
        read(path)


def test_a_bomb_of_pixels_is_refused_by_its_header(tmp_path):
    """169 million pixels in 20 kB."""
    row = zlib.compress(bytes(13_001) * 13_000, 9)
    header = struct.pack(">IIBBBBB", 13_000, 13_000, 8, 0, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + b"".join(map(chunk, (b"IHDR", b"IDAT", b"IEND"), (header, row, b"")))
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        for index in range(4):
            (tmp_path / label / f"{index}.png").write_bytes(content)
    before = memory_kb()
    with pytest.raises(InputError, match="more than 89 million pixels"):
        load_data(str(tmp_path), image_size=8)
    assert memory_kb() - before < GROWTH_KB


def chunk(kind: bytes, content: bytes) -> bytes:
    body = kind + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


def test_a_poisoned_cache_is_not_believed(tmp_path, monkeypatch, caplog):
    """Whatever is changed in images, behind them, or in the header, has them decoded again."""
    monkeypatch.setenv("SECATEUR_CACHE", str(tmp_path / "cache"))
    for label in ("a", "b"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for index in range(6):
            Image.new("L", (8, 8), index).save(tmp_path / "photos" / label / f"{index}.png")
    before = load_data(str(tmp_path / "photos")).train
    (path,) = (tmp_path / "cache").glob("data-*.safetensors")
    whole = path.read_bytes()
    images = 1024 + 12 * 64
    draw = random.Random(0)
    read_store(path)  # as it is it is taken
    places = ((images, len(whole)), (8, 200), (1024, images))
    for place in (place for part in places for place in draw.sample(range(*part), 20)):
        poisoned = bytearray(whole)
        poisoned[place] ^= 1 << draw.randrange(8)
        path.write_bytes(poisoned)
        caplog.clear()
        found = load_data(str(tmp_path / "photos"))
        if place >= 1024:  # much of the header says nothing
            assert "was damaged" in caplog.text
            assert path.read_bytes() == whole
        assert found.classes == ("a", "b")
        assert torch.equal(found.train.labels, before.labels)
        assert torch.equal(found.train.images, before.images)


# --- mutations ------------------------------------------------------------------------------------------


def read_record(folder: Path) -> None:
    record = Record.load(folder / "record.json")
    assert len(record.widths) == len(record.architecture["widths"])
    json.dumps(record.to_json(), allow_nan=False)
    list_runs(folder.parent.parent)


def read_results(folder: Path) -> None:
    results = load_results(folder)
    results.shown().text()
    json.dumps(results.to_json(), allow_nan=False)


def read_cache(folder: Path) -> None:
    with suppress(OSError, KeyError, TypeError, ValueError):  # which have it decoded again
        images, labels, _ = read_store(folder / "data.safetensors")
        assert len(images) == len(labels)


def read_parquet(folder: Path) -> None:
    schema = pyarrow.schema([("image", pyarrow.binary()), ("label", pyarrow.int64())])
    names_of(schema.with_metadata({"huggingface": (folder / "metadata.json").read_bytes()}), "label")


READERS: dict[str, Callable[[Path], object]] = {
    "results.json": read_results,
    "record.json": read_record,
    "plan.json": lambda folder: read_plan(folder),
    "architecture.json": Architecture.load,
    "artefact.json": read_artefact,
    "model.safetensors": load_model,
    "data.safetensors": read_cache,
    "metadata.json": read_parquet,
    "checkpoint.safetensors": lambda folder: RunStore(folder.parent.parent).checkpoint(folder.name),
}
"""A file -> what reads it, as commands do."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A folder with one of each, as a run's folder."""
    folder = tmp_path_factory.mktemp("theirs") / "runs" / RECORDED.name
    folder.mkdir(parents=True)
    save_model(conv4(0.05, image_size=8), folder)
    shutil.copy(NETWORK / "artefact.json", folder / "artefact.json")
    shutil.copy(RECORDED / "record.json", folder / "record.json")
    shutil.copy(RESULTS, folder / "results.json")
    runs = [{"name": name, "after": [], "compute": 1.5, "run_id": "train-ab-s0"} for name in "abc"]
    (folder / "plan.json").write_text(json.dumps({"schema": 1, "runs": runs}))
    features = {"label": {"names": ["a", "b"], "_type": "ClassLabel"}}
    (folder / "metadata.json").write_text(json.dumps({"info": {"features": features}}))
    RunStore(folder.parent.parent).save_checkpoint(
        folder.name, Checkpoint({"progress": {"epoch": 1, "best": float("nan")}}, {"model.w": torch.ones(3)})
    )
    file = InFile(folder / "data.safetensors", (4, 1, 2, 2))
    for index in range(4):
        file.write(index, np.full((1, 2, 2), index, np.uint8))
    file.finished(range(4))
    file.complete(torch.tensor([0, 1, 0, 1]), {"classes": ["a", "b"], "named": {}})
    return folder


def campaign(folder: Path, count: int, seed: int) -> dict[str, Counts]:
    kinds = {name: Kind(folder / name, lambda _, read=read: read(folder)) for name, read in READERS.items()}
    return damage(kinds, count, seed, folder.parent.parent)


def test_damaged_files_are_refused_in_a_line_or_harmless(whole):
    counts = campaign(whole, 270, 0).values()
    assert sum(each.refused for each in counts) > 50, counts
    assert sum(each.harmless for each in counts) > 50, counts


@pytest.mark.slow
def test_ten_thousand_damaged_files(whole):
    campaign(whole, 10_000, 1)
