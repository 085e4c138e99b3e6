"""What grows: many runs listed, many points drawn. Counts are asserted, never seconds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import made
from secateur.errors import InputError
from secateur.records.reading import parse_json


def test_runs_are_listed_without_torch_and_without_their_histories(tmp_path: Path) -> None:
    kept = made.record()
    folder = tmp_path / "runs" / kept.run_id
    folder.mkdir(parents=True)
    (folder / "record.json").write_text(json.dumps(kept.to_json()))
    script = (
        "import sys; from pathlib import Path; from secateur.cli.runs import list_runs; "
        "print(list_runs(Path('.')).content['runs']); "
        "print(sorted({'torch', 'numpy', 'scipy', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    listed, imported = done.stdout.splitlines()
    assert kept.label in listed
    assert f"'params': {kept.params}" in listed
    assert imported == "[]"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e308", 1e308),
        ("1E99", 1e99),
        ("1" + "0" * 198 + ".5e99", 1e297),
        ("0.5e-400", 0.0),
        (r'"a\\" ', "a\\"),
        (r'"[[[\"]]]"', '[[["]]]'),
        ('["[", "{"]', ["[", "{"]),
    ],
)
def test_numbers_and_texts_at_the_edge_are_read(text: str, value: object) -> None:
    assert parse_json(text, "here") == value


@pytest.mark.parametrize(
    "text",
    [
        *("1e309", "1E+309", "1e0000309", "-1e999", "9" * 309 + ".0", "1" + "0" * 250 + ".0e99", "NaN"),
        *('"' + r"\"" * 100_000, '"' + "[" * 100_000, "[" * 65 + "]" * 65, r'["\\", ' + "[" * 65 + "]" * 66),
        *("9" * 311, r'{"a": "\ud800"}', r'{"a": 1, "a": 2}', r'"' + "\\"),
    ],
)
def test_what_no_file_of_ours_holds_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="not valid JSON"):
        parse_json(text, "here")
