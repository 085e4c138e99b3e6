"""The house stands on floors: every import points down one literal order, wherever in a file it stands."""

from __future__ import annotations

import ast
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import secateur

HOUSE = Path(secateur.__file__).parent
FLOORS = (
    *(
        "cli",
        "papers",
        "compare",
        "runs",
        "training",
        "methods",
        "deploy",
        "architecture",
        "surgery",
        "budget",
    ),
    *(
        "network",
        "data",
        "report",
        "tracking",
        "device",
        "models",
        "records",
        "errors",
        "atomic",
        "progress",
        "process",
        "names",
    ),
)
"""From the attic down: a folder (or loose module) imports from those behind it only."""
DOOR = "secateur"
LATE = ("cli", DOOR)
"""Who may import inside functions: the command line, which answers `--help` without torch, and the door."""
MOST_LOOSE = 6


def modules() -> dict[str, Path]:
    """Dotted name -> file, of every module of the house."""
    found = {}
    for path in HOUSE.rglob("*.py"):
        parts = path.relative_to(HOUSE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def floor(module: str) -> str:
    """The folder, or loose module, that a module belongs to."""
    return module.split(".")[1] if "." in module and module != f"{DOOR}.__main__" else DOOR


def imported(node: ast.AST, module: str) -> set[str]:
    """The modules of the house that one statement imports."""
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names if alias.name.split(".")[0] == DOOR}
    if not isinstance(node, ast.ImportFrom):
        return set()
    base = node.module or ""
    if node.level:
        package = module if MODULES[module].name == "__init__.py" else module.rpartition(".")[0]
        up = package.split(".")[: len(package.split(".")) - node.level + 1]
        base = ".".join([*up, node.module] if node.module else up)
    if base.split(".")[0] != DOOR:
        return set()
    below = {f"{base}.{alias.name}" for alias in node.names}
    return {name if name in MODULES else base for name in below}


@cache
def tree_of(path: Path) -> ast.Module:
    """A file, parsed once."""
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(module: str, *, late_only: bool = False) -> set[str]:
    """What a module imports, in functions and under TYPE_CHECKING too; or only what stands in those."""
    tree = tree_of(MODULES[module])
    top = {id(node) for node in tree.body} if late_only else set()
    found = {name for node in ast.walk(tree) if id(node) not in top for name in imported(node, module)}
    return found - {module}


def test_every_folder_has_its_floor():
    assert {floor(module) for module in MODULES} - {DOOR} == set(FLOORS)


@pytest.mark.parametrize("name", FLOORS)
def test_imports_point_down(name):
    below = {name, *FLOORS[FLOORS.index(name) + 1 :]}
    wrong = {
        f"{module} -> {other}"
        for module in MODULES
        if floor(module) == name
        for other in imports(module)
        if floor(other) not in below
    }
    assert not wrong


def test_no_module_knows_itself_by_way_of_others():
    graph = {module: imports(module) for module in MODULES if module != DOOR}
    assert len(list(TopologicalSorter(graph).static_order())) >= len(graph)  # CycleError names a circle


def test_only_the_command_line_and_the_door_import_late():
    late = {
        f"{module} -> {other}"
        for module in MODULES
        if floor(module) not in LATE
        for other in imports(module, late_only=True)
    }
    assert not late


def test_few_modules_lie_loose():
    loose = {path.stem for path in HOUSE.glob("*.py")} - {"__init__", "__main__"}
    assert len(loose) <= MOST_LOOSE, loose


def test_the_guard_sees_what_it_has_to(monkeypatch, tmp_path):
    file = tmp_path / "spy.py"
    file.write_text(
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from secateur.cli import main\n"
        "def late():\n    import secateur.papers.text\n"
        "from ..runs import store\n"
    )
    monkeypatch.setitem(MODULES, "secateur.atomic.spy", file)
    assert imports("secateur.atomic.spy") == {
        *("secateur.cli.main", "secateur.papers.text", "secateur.runs.store")
    }
    assert imports("secateur.atomic.spy", late_only=True) == {"secateur.cli.main", "secateur.papers.text"}
