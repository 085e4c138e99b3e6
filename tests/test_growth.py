"""What grows: many runs listed, many points drawn. Counts are asserted, never seconds."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

import made
from secateur.architecture import family
from secateur.architecture.architecture import Architecture
from secateur.atomic import write_json
from secateur.budget import Limits
from secateur.errors import InputError
from secateur.records.measure import ACCURACY
from secateur.records.reading import parse_json
from secateur.records.record import Epoch
from secateur.records.record_head import RecordHead, skimmed
from secateur.records.results import Results
from secateur.report.accuracy import AccuracyDrawing
from secateur.report.costs import costs
from secateur.report.curves import seen
from secateur.report.forest_rows import forest_of
from secateur.report.html import write_report
from secateur.report.series import curves
from secateur.report.table import as_csv, table
from synthetic import synthetic


def left(directory: Path, run_id: str, epochs: int = 0) -> Path:
    """A finished run in a folder, as `compare` leaves it; its record."""
    history = tuple(
        Epoch(
            epoch=n,
            loss=2 / n,
            train_accuracy=1 / 3,
            val_accuracy=n / 31 if n % 2 else None,
            lr=0.1,
            params=100,
        )
        for n in range(1, epochs + 1)
    )
    path = directory / "runs" / run_id / "record.json"
    path.parent.mkdir(parents=True)
    write_json(path, made.record(run_id, history=history).to_json())
    return path


NEED_NO_TORCH = (
    *("--version", "--help", "runs list", "runs list none", "runs show train-a", "runs show interrupted"),
    *("report", "runs show nothing", "compare --help", "push --help"),
)


def test_commands_that_need_no_torch_do_not_load_it(tmp_path: Path) -> None:
    left(tmp_path / "secateur-compare", "train-aa-s0", epochs=3)
    (tmp_path / "secateur-compare" / "runs" / "interrupted").mkdir()
    script = (
        "import sys; from secateur.cli.main import main\n"
        f"for command in {NEED_NO_TORCH}:\n"
        "    sys.argv = ['secateur', *command.split()]\n"
        "    try: main()\n"
        "    except SystemExit: pass\n"
        "    found = sorted({'torch', 'numpy', 'scipy', 'matplotlib'} & set(sys.modules))\n"
        "    print('LOADED', command, found)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    told = [line for line in done.stdout.splitlines() if line.startswith("LOADED")]
    assert told == [f"LOADED {command} []" for command in NEED_NO_TORCH], done.stderr


def test_a_list_of_runs_opens_every_record_once_and_says_what_it_holds(tmp_path: Path) -> None:
    for n in range(40):
        left(tmp_path, f"train-{n:02}-s0", epochs=n)
    script = (
        "import sys; from pathlib import Path; from secateur.cli.runs import list_runs\n"
        "opened = []\n"
        "sys.addaudithook(lambda event, args: event == 'open' and opened.append(str(args[0])))\n"
        "rows = list_runs(Path('.')).content['runs']\n"
        "print([row['epochs'] for row in rows] == list(range(40)), {row['params'] for row in rows})\n"
        "names = [each for each in opened if each.startswith('runs/')]\n"
        "print(len(names), len(set(names)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "True {100}\n40 40\n"


def test_of_a_history_rows_that_are_alike_are_read_once_and_what_is_damaged_is_noticed(
    tmp_path: Path,
) -> None:
    path = left(tmp_path, "train-aa-s0", epochs=30)
    content = path.read_bytes()
    lean, unread = skimmed(content, "history")
    assert (unread, lean.count(b'"epoch"')) == (28, 2)  # those without a validation are of their own kind
    assert RecordHead.load(path) == RecordHead("a run", 100, 0.5, ACCURACY, 30)
    start, end = content.index(b'"history"') + 10, content.index(b'"environment"')
    refused = 0
    for place, letter in product(range(start, end, 41), b'x"{,]-.\n'):
        path.write_bytes(content[:place] + bytes([letter]) + content[place + 1 :])
        damaged = _refuses(lambda: parse_json(path.read_bytes(), "here"))
        assert _refuses(lambda: RecordHead.load(path)) == damaged, (place, chr(letter))
        refused += damaged
    assert refused > 300


def _refuses(read: Callable[[], object]) -> bool:
    try:
        read()
    except InputError:
        return True
    return False


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


def test_sizes_for_many_budgets_are_found_with_few_networks_built(monkeypatch: pytest.MonkeyPatch) -> None:
    built = []
    construct = family.construct
    monkeypatch.setattr(family, "construct", lambda *given: built.append(given) or construct(*given))
    for known in (family._own, family._model, family._cost, family._family_costs):
        known.cache_clear()
    whole = Architecture.of(made.network(width=1.0))
    budgets = [Limits.at({"params": share * whole.params // 100}) for share in range(20, 80)]
    narrow = [whole.narrowed_to(limits) for limits in budgets]
    scaled = [whole.scaled_to(limits) for limits in budgets]
    assert all(each.params <= limits.units for each, limits in zip(narrow, budgets, strict=True))
    assert all(each.params <= limits.units for each, limits in zip(scaled, budgets, strict=True))
    assert len(built) <= 4 * len(budgets)  # it was 14 for each
    built.clear()
    assert [whole.narrowed_to(limits) for limits in budgets] == narrow
    assert built == []


def many(budgets: int, arms: int, seeds: int) -> tuple[Results, dict[str, tuple[Epoch, ...]]]:
    """A comparison that nobody made, and the histories of its runs."""
    small = synthetic()[0]
    (row, point) = (small.summary[0], small.points[0])
    history = tuple(
        Epoch(epoch=n, loss=2 / n, train_accuracy=0.5, val_accuracy=0.5 + n / 100, lr=0.1, params=100)
        for n in range(1, 31)
    )
    rows, points = [], []
    for index, arm in product(range(budgets), range(arms)):
        here = {"arm": f"arm-{arm}", "budget": f"params={10_000 + 500 * index}"}
        size = 10_000 + 500 * index - arm
        values = tuple(0.5 + 0.004 * index + 0.01 * arm + 0.003 * seed for seed in range(seeds))
        mean = {"n": seeds, "mean": values[0], "low": values[0] - 0.02, "high": values[0] + 0.02}
        told = {**mean, "values": values, "seeds": tuple(range(seeds)), "limit": 10_000 + 500 * index}
        rows.append(replace(row, **here, **told, params=float(size)))
        points += [
            replace(
                point, **here, seed=seed, params=size, accuracy=value, run_id=f"train-{len(rows):x}-s{seed}"
            )
            for seed, value in enumerate(values)
        ]
    results = replace(
        small, summary=tuple(rows), points=tuple(points), verdict=replace(small.verdict, per_budget=())
    )
    return results, {each.run_id: history for each in points}


def test_of_many_budgets_and_runs_what_can_be_seen_is_drawn_and_the_table_is_whole() -> None:
    results, histories = many(budgets=50, arms=10, seeds=2)
    forest = forest_of(results)
    drawn = [row.mark.budget for row in forest.rows if row.mark]
    assert len(drawn) == 120
    assert (drawn[0], drawn[-1]) == ("params=34500", "params=10000")
    assert forest.shown == "12 of 50 budgets, the table has all"
    runs = seen(curves(results, histories))
    assert Counter(run.arm for run in runs) == {f"arm-{arm}": 30 for arm in range(10)}
    assert AccuracyDrawing(results, costs(results)[0]).brief
    assert len(table(results).rows) == 500 + bool(results.dense_summary)
    assert as_csv(results).count("\n") == 501 + bool(results.dense_summary)


def test_of_few_everything_is_drawn() -> None:
    results, histories = many(budgets=12, arms=10, seeds=2)
    forest = forest_of(results)
    assert (sum(row.mark is not None for row in forest.rows), forest.shown) == (120, "")
    assert len(seen(curves(results, histories))) == 240
    assert not AccuracyDrawing(results, costs(results)[0]).brief


@pytest.mark.slow
@pytest.mark.usefixtures("drawn")
def test_a_page_of_5000_points_has_less_than_2_mb(tmp_path: Path) -> None:
    results, histories = many(budgets=50, arms=10, seeds=10)
    assert len(results.points) == 5000
    page = write_report(results, histories, tmp_path)
    print(f"a page of 5,000 points: {page.stat().st_size:,} bytes")
    assert page.stat().st_size < 2_000_000
    assert "12 of 50 budgets" in page.read_text()
    assert "300 of 5,000 runs" in page.read_text()
    assert max(each.stat().st_size for each in (tmp_path / "figures").iterdir()) < 2_000_000
