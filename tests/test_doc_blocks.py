"""Every code block of README, CONTRIBUTING and docs is run, or checked, or says why not: `doc_blocks.py`."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from doc_blocks import PAGES, ROOT, Block, Mark, Page, read_page, session, words_of
from doc_checks import check, check_command, wrong_with
from doc_files import Files

READ = {path: read_page(path) for path in PAGES}
WITH_CODE = [path for path, page in READ.items() if page.blocks]
LONGER = [
    path for path in WITH_CODE if any(block.mark.kind in ("slow", "needs") for block in READ[path].blocks)
]
NAMES = {path: str(path.relative_to(ROOT)) for path in PAGES}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        made = tmp_path_factory.mktemp("files")
        patch.setenv("SECATEUR_CACHE", str(made / "cache"))
        yield Files(made)


@pytest.fixture
def runner(run, files, tmp_path, monkeypatch, capsys):
    """Runs a page's blocks in an empty folder with the files that it asks for."""
    monkeypatch.syspath_prepend(tmp_path)
    yield Runner(run, files, tmp_path, capsys)
    for name in [name for name in sys.modules if name.split(".")[0] == "mypackage"]:
        del sys.modules[name]


class Runner:
    """One page from top to bottom: one namespace, one folder."""

    def __init__(self, run, files: Files, folder: Path, capsys) -> None:
        self.command, self.files, self.folder, self.capsys = run, files, folder, capsys
        self.names: dict = {"__name__": "page"}
        self.printed = ""

    def page(self, page: Page, slow: bool) -> None:
        """Run it; what is of the slow tier alone is looked at otherwise."""
        for name in page.files:
            self.files.put(name, self.folder)
        for block in page.blocks:
            kind = block.mark.kind
            if slow and kind == "run":
                block = block.as_it_stands()
            if kind == "output":
                self.compare(block)
            elif kind == "run" or (slow and (kind == "slow" or _has_all(block.mark))):
                self.run(block)
                if kind == "run" and block.mark.changes:
                    self.printed = None  # of something else
            else:
                check(block)
                self.printed = None

    def run(self, block: Block) -> None:
        """Run one block; commands that are not ours are checked."""
        if block.language == "python":
            code = (
                "\n" * (block.line - 1) + block.changed()
            )  # lines as on the page, where `inspect` finds them
            self.capsys.readouterr()
            exec(compile(code, str(block.page), "exec"), self.names)  # our own text
            self.printed = self.capsys.readouterr().out
        elif block.language == "console":
            said = [self._say(block, command, shown) for command, shown in session(block.changed())]
            self.printed = "".join(said)
        elif block.language == "c":
            (self.folder / "main.c").write_text(block.code)
        else:
            check(block)

    def _say(self, block: Block, command: str, shown: list[str]) -> str:
        """Run a command of ours: what it printed, where what the page shows is found."""
        if command.startswith("cc ") and shutil.which("cc"):
            subprocess.run(words_of(command), cwd=self.folder, check=True)
        if not command.startswith("secateur "):
            check_command(block, command)
            return ""
        code, out, err = self.command(shlex.join(words_of(command)[1:]))
        expected = 2 if "refused" in block.mark.argument else 0
        assert code == expected, f"{block.where}: {command}\nends with {code}: {err}"
        find(block, shown, err + out)
        return err + out

    def compare(self, block: Block) -> None:
        """What the block before it printed has the lines of this one, in their order."""
        if self.printed is not None:
            find(block, block.code.splitlines(), self.printed)


def find(block: Block, shown: list[str], printed: str) -> None:
    """The lines shown are among those printed, in their order; `...` is anything, `loose` numbers are any."""
    loose = "loose" in block.mark.argument.split()
    rest = [" ".join(line.split()) for line in printed.splitlines()]
    for line in (" ".join(line.split()) for line in shown):
        if not line or line == "...":
            continue
        pattern = re.escape(line).replace(r"\.\.\.", ".*")
        if loose:
            pattern = re.sub(r"\d(?:[\d,]|\\\.(?=\d))*", r"[\\d,.]+", pattern)
        at = next((i for i, said in enumerate(rest) if re.fullmatch(pattern, said)), None)
        assert at is not None, f"{block.where}: {line!r} was not printed there, but:\n" + "\n".join(rest)
        rest = rest[at + 1 :]


def _has_all(mark: Mark) -> bool:
    """Whether what a block needs, if it says so, can be imported."""
    return mark.kind == "needs" and all(importlib.util.find_spec(name) for name in mark.argument.split())


@pytest.mark.parametrize("path", WITH_CODE, ids=NAMES.get)
def test_a_page_runs(path, runner):
    runner.page(READ[path], slow=False)


@pytest.mark.slow
@pytest.mark.parametrize("path", LONGER, ids=NAMES.get)
def test_all_of_a_page_runs(path, runner):
    runner.page(READ[path], slow=True)


def test_every_block_says_what_it_is():
    """No block is passed over: what is neither Python nor commands says what it is, or is nothing known."""
    blocks = [block for page in READ.values() for block in page.blocks]
    wrong = {block.where: block.mark.wrong() for block in blocks if block.mark.wrong()}
    assert not wrong, "\n".join(f"{where}: {why}" for where, why in wrong.items())
    assert len(blocks) > 60


@pytest.mark.parametrize("path", [path for path, page in READ.items() if page.inline], ids=NAMES.get)
def test_commands_in_sentences_are_commands(path):
    """What they have is right; a sentence may leave out what a command needs."""
    for line, command in READ[path].inline:
        wrong = wrong_with(words_of(command.replace("COMMAND", ""))) or ""
        assert not wrong or "Missing" in wrong or "no arguments" in wrong, (
            f"{NAMES[path]}:{line}: {command}: {wrong}"
        )
