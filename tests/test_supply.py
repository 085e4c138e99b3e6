"""What is said of known weaknesses, and of a torch that cannot be had: the tools of CI, without a network."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tools"))
import audit  # noqa: E402
import torch_next  # noqa: E402

WEAK = {"id": "PYSEC-1", "aliases": ["CVE-1"], "withdrawn": None}
WITHDRAWN = {"id": "PYSEC-2", "aliases": [], "withdrawn": "2026-01-01"}


def page(version: str, *told: dict) -> dict:
    return {"info": {"version": version}, "vulnerabilities": [*told]}


PAGES = {"safe": page("1.0"), "weak": page("2.1", WEAK, WITHDRAWN), "old": page("9.9", WEAK), "gone": None}
PINS = {"safe": "1.0.0", "weak": "2.1", "old": "9.8", "gone": "1"}


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> None:
    """It tells of newest versions alone."""
    monkeypatch.setattr(audit, "asked", PAGES.get)
    monkeypatch.setattr(audit, "pins", lambda: PINS)


def test_a_weakness_fails_and_what_was_not_asked_for_is_named(service, capsys) -> None:
    assert audit.main([]) == audit.main(["--ci"]) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[:2] == ["weak 2.1: PYSEC-1", "audited: 2 of 4 pins, 1 with known weaknesses"]
    assert said[2].endswith("alone here: old 9.8, gone 1")


def test_a_weakness_that_does_not_concern_us_is_left_out_and_unasked_pins_fail_outside_ci(
    service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "IGNORED", {"CVE-1": "not called"})
    assert (audit.main([]), audit.main(["--ci"])) == (2, 0)


def test_a_service_that_cannot_be_reached_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise audit.requests.ConnectionError("no network")

    monkeypatch.setattr(audit.requests, "get", refuse)
    assert (audit.main(["--ci"]), audit.main([])) == (0, 2)
    line = "not audited: https://pypi.org/pypi cannot be asked (ConnectionError)"
    assert capsys.readouterr().out.splitlines() == [line, line]


def test_where_any_version_can_be_asked_for_pip_audit_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "asked", lambda wanted: page("1") if "/" in wanted else None)
    monkeypatch.setattr(audit, "by_pip_audit", lambda: 7)
    assert audit.main(["--ci"]) == 7


def test_the_pins_are_those_of_the_constraints() -> None:
    found = audit.pins()
    assert found["torch"] == "2.13.0"
    assert len(found) > 100


@pytest.mark.parametrize(
    ("said", "code", "line"),
    [
        (
            "ERROR: Could not find a version\nERROR: No matching distribution found for torch==2.14.1\n",
            0,
            "left out",
        ),
        ("ERROR: ResolutionImpossible: for help visit\n", 1, "ResolutionImpossible"),
        ("", 0, "nothing was said"),
    ],
)
def test_a_torch_that_cannot_be_had_is_left_out_in_one_line_and_pins_at_fault_are_not(
    said: str, code: int, line: str, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setattr(torch_next, "made", lambda: (False, said))
    assert torch_next.main() == code
    assert line in capsys.readouterr().out


def test_a_torch_without_room_on_the_disk_is_left_out_in_one_line(monkeypatch, capsys) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=6e9))
    monkeypatch.setattr(torch_next, "made", lambda: pytest.fail("nothing is to be installed"))
    assert torch_next.main() == 0
    assert "takes 20 GB of disk to install, and 6 are free" in capsys.readouterr().out


def test_the_quick_part_is_of_tests_that_there_are() -> None:
    assert [name for name in torch_next.QUICK if not (ROOT / "tests" / f"{name}.py").is_file()] == []
    assert torch_next.version() == "2.14.1"
