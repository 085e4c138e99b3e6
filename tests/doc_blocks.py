"""The code blocks of the pages, and what is to be done with each.

Pages are parsed by markdown-it, as GitHub would. A comment that no reader sees says what a block is, where
its language does not: CONTRIBUTING.md has the words ("Code in the pages"). Run, this file counts.

Sybil and pytest-markdown-docs run Python of such pages; of commands, of changes to what they are given, and
of blocks that nobody passed over silently they know nothing, so that most of this would still be here.
"""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))
COMMANDS = (
    "secateur",
    "make",
    "pip",
    "git",
    "python",
    "python3.11",
    ".venv-next/bin/",
    "accelerate",
    "cd",
    "cc",
)
"""What the lines of a block without a language begin with where they are commands."""
KINDS = {
    "run": "run in the default tier; Python of which nothing is said",
    "slow": "run in the slow tier, checked in the default tier; commands of which nothing is said",
    "check": "not run, for the reason given: Python compiles, commands have such options, files are there",
    "needs": "run where the module can be imported, in the slow tier",
    "tested": "run by the test named",
    "output": "compared with what the block before it printed",
    "text": "not code",
}
_COMMENT = re.compile(r"<!--\s*(block|blocks|setup|files)\s*:\s*(.*?)\s*-->", re.DOTALL)
_RECORDED = re.compile(r"<!-- (?:results/\S+.*?|benchmarks|dupont-claims) -->")


@dataclass(frozen=True)
class Mark:
    """What a comment says of a block: `KIND ARGUMENT (REASON); OLD -> NEW; OLD -> NEW`."""

    kind: str
    argument: str = ""
    reason: str = ""
    changes: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Mark:
        found = re.fullmatch(r"(\w+)\s*([^(;]*?)\s*(?:\(([^)]*)\))?\s*(?:;(.*))?", text, re.DOTALL)
        assert found, f"not a mark: {text}"
        changes = tuple(change.strip().partition(" -> ")[::2] for change in (found[4] or "").split(";"))
        assert all(new for old, new in changes if old), f"a change is `OLD -> NEW`: {text}"
        return cls(found[1], found[2], found[3] or "", tuple(change for change in changes if change[0]))

    def wrong(self) -> str | None:
        """What is wrong with it, if anything is."""
        if self.kind not in KINDS:
            return f"{self.kind!r} is none of {', '.join(KINDS)}"
        if self.kind in ("needs", "tested") and not self.argument:
            return f"{self.kind} what?"
        if self.kind == "check" and not self.reason:
            return "check needs a reason in brackets"
        return None


RECORDED = Mark("check", reason="recorded: results/ has what it gave")


@dataclass(frozen=True)
class Block:
    """A block of code; `line` is where its code begins, `language` python, console or its fence's."""

    page: Path
    line: int
    language: str
    code: str
    mark: Mark

    @property
    def where(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    def as_it_stands(self) -> Block:
        """The block without the changes of its mark."""
        return replace(self, mark=replace(self.mark, changes=()))

    def changed(self) -> str:
        """The code with the changes of its mark, each of which must find something to change."""
        code = self.code
        for old, new in self.mark.changes:
            assert old in code, f"{self.where}: there is no {old!r} to change"
            code = code.replace(old, new)
        return code


@dataclass(frozen=True)
class Page:
    """A page: its blocks in order, hidden ones too, what files it needs, and commands in sentences."""

    path: Path
    blocks: tuple[Block, ...]
    files: tuple[str, ...]
    inline: tuple[tuple[int, str], ...]

    @property
    def is_longer(self) -> bool:
        """Whether the slow tier runs more of it."""
        marks = [block.mark for block in self.blocks]
        return any(mark.kind in ("slow", "needs") or (mark.kind == "run" and mark.changes) for mark in marks)


def read_page(path: Path) -> Page:
    """Parse a page."""
    blocks: list[Block] = []
    files: list[str] = []
    inline: list[tuple[int, str]] = []
    default = own = None
    recorded = False
    for token in MarkdownIt("commonmark").enable("table").parse(path.read_text(encoding="utf-8")):
        line = (token.map or [0])[0] + 1
        if token.type == "html_block":
            recorded = bool(_RECORDED.search(token.content)) or (
                recorded and "<!-- end -->" not in token.content
            )
            for word, said in _COMMENT.findall(token.content):
                if word == "setup":
                    first, _, code = said.partition("\n")
                    language, *kind = first.split()
                    blocks.append(Block(path, line + 1, language, code, Mark(*(kind or ["run"]))))
                elif word == "files":
                    files += said.split()
                elif word == "blocks":
                    default = Mark.parse(said)
                else:
                    own = Mark.parse(said)
        elif token.type == "code_block" or (token.type == "fence" and not token.info.startswith("{")):
            block = Block(path, line + (token.type == "fence"), token.info.strip(), token.content, Mark(""))
            mark = own or (
                Mark("check", reason="recorded: results/ has what it gave") if recorded else default
            )
            blocks.append(_classified(block, mark))
            own = None
        for child in token.children or ():
            if child.type == "code_inline" and child.content.startswith("secateur "):
                inline.append((line, child.content))
    assert own is None, f"{path}: a mark at the end, without a block"
    return Page(path, tuple(blocks), tuple(files), tuple(inline))


def _classified(block: Block, mark: Mark | None) -> Block:
    """The block with its language, where only its first words tell it, and its mark."""
    language = block.language.split()[0].lower() if block.language else ""
    if language in ("sh", "bash", "shell", "console") or (not language and _are_commands(block.code)):
        language = "console"
    if mark is None and language in ("python", "console", "json"):
        mark = Mark("slow" if language == "console" else "run")
    return replace(block, language=language, mark=mark or Mark("unknown"))


def _are_commands(code: str) -> bool:
    lines = [line for line in logical_lines(code) if not line.startswith("#")]
    if any(line.startswith("$ ") for line in lines):
        return True
    return bool(lines) and all(_bare(line).startswith(COMMANDS) for line in lines)


def _bare(line: str) -> str:
    """A command without the variables set before it."""
    return re.sub(r"^(?:[A-Z_]+=\S+ +)*", "", line)


def logical_lines(code: str) -> list[str]:
    """Lines that say something, those that a backslash continues joined."""
    return [line.strip() for line in code.replace("\\\n", " ").splitlines() if line.strip()]


def session(code: str) -> Iterator[tuple[str, list[str]]]:
    """Each command of a block, and what is shown beneath it: with `$ ` before commands the rest is output."""
    lines = logical_lines(code)
    prompted = any(line.startswith("$ ") for line in lines)
    found: list[tuple[str, list[str]]] = []
    for line in lines:
        if prompted and not line.startswith("$ "):
            found[-1][1].append(line)
        elif not line.startswith("#"):
            found += [(_bare(part.strip()), []) for part in line.removeprefix("$ ").split(" && ")]
    yield from found


def words_of(command: str) -> list[str]:
    """Its words, without a comment behind them."""
    return shlex.split(command, comments=True)


def counts() -> Counter[str]:
    """How many blocks of each kind all pages have."""
    return Counter(block.mark.kind for path in PAGES for block in read_page(path).blocks)


if __name__ == "__main__":
    for kind, number in counts().most_common():
        print(f"{number:4} {kind}: {KINDS.get(kind, 'UNKNOWN')}")
    for path in PAGES:
        for block in read_page(path).blocks:
            said = block.mark.argument or block.mark.reason
            print(f"{block.where}: {block.language or 'no language'}, {block.mark.kind} {said}")
