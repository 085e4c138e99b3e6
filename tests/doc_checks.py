"""What can be known of a page's code without running it: names, options, targets, extras, files are there."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import tomllib
from pathlib import Path

from typer.exceptions import TyperException
from typer.main import get_command

import secateur
from doc_blocks import ROOT, Block, session, words_of
from secateur.cli.main import app

MAKE = re.findall(r"^([\w.-]+(?: [\w.-]+)*):", (ROOT / "Makefile").read_text(), re.M)
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def check(block: Block) -> None:
    """What can be known of a block without running it."""
    kind = block.mark.kind
    if kind == "tested":
        path, _, test = block.mark.argument.partition("::")
        text = (ROOT / path).read_text()
        assert block.page.name in text, f"{block.where}: {path} says nothing of {block.page.name}"
        assert f"def {test}" in text, f"{block.where}: there is no {test} in {path}"
    if block.language == "python":
        check_python(block)
    elif block.language == "console":
        for command, _ in session(block.changed()):
            check_command(block, command)
    elif block.language == "json":
        json.loads(block.code)


def check_python(block: Block) -> None:
    """It compiles, and what it names of ours is there."""
    for node in ast.walk(ast.parse(block.changed(), str(block.page))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "secateur":
            module = importlib.import_module(node.module or "")
            for each in node.names:
                assert hasattr(module, each.name), f"{block.where}: no {each.name} in {node.module}"
        elif isinstance(node, ast.Attribute) and (dotted := _dotted(node)) and dotted[0] == "sc":
            found = secateur
            for name in dotted[1:]:
                assert hasattr(found, name), f"{block.where}: there is no {'.'.join(dotted)}"
                found = getattr(found, name)


def _dotted(node: ast.expr) -> list[str]:
    """`sc.models.conv4` as its words; nothing where it is not made of names alone."""
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.Attribute) and (before := _dotted(node.value)):
        return [*before, node.attr]
    return []


def check_command(block: Block, command: str) -> None:
    """The command is there, and so are its options, extras, targets and files."""
    words = words_of(command)
    wrong = wrong_with(words)
    assert wrong is None, f"{block.where}: {command}: {wrong}"


def wrong_with(words: list[str]) -> str | None:
    """What is wrong with a command, by its words; nothing where nothing is."""
    first, rest = words[0], words[1:]
    match Path(first).name.removesuffix("3.11").removesuffix("3"):
        case "secateur":
            return _usage(rest)
        case "make":
            return next((f"no target {word}" for word in rest if "=" not in word and word not in MAKE), None)
        case "pip":
            return _pip(rest)
        case "accelerate":
            return wrong_with(rest[1:]) if rest[1] != "-m" else wrong_with(["python", *rest[1:]])
        case "python":
            return _python(rest)
        case "git" | "cd" | "cc":
            return None
    return f"{first} is nothing that is known here"


def _usage(words: list[str]) -> str | None:
    """What the command line would say of such words; `...` stands for more. No callback is called."""
    command, context, rest = get_command(app), None, [word for word in words if word != "..."]
    try:
        while True:
            context = command.context_class(command, parent=context)
            given, rest, _ = command.make_parser(context).parse_args(rest)
            for param in command.get_params(context):
                said = given.get(param.name)
                if param.required and not said:
                    return f"Missing {param.name}"
                if said is not None and not param.callback:
                    param.process_value(context, said)
            if not hasattr(command, "commands"):
                return f"too much: {rest}" if rest else None
            if not rest:
                return None
            _, command, rest = command.resolve_command(context, rest)
    except TyperException as error:
        return error.message


def _pip(words: list[str]) -> str | None:
    for before, word in zip(["", *words], words, strict=False):
        if before in ("-c", "--constraint") and not (ROOT / word).is_file():
            return f"there is no {word}"
        extras = re.fullmatch(r"(?:secateur|\.)\[([\w,]+)\].*", word)
        for extra in extras[1].split(",") if extras else ():
            if extra not in EXTRAS:
                return f"there is no extra {extra}"
    return None


def _python(words: list[str]) -> str | None:
    if words[:2] == ["-m", "secateur"]:
        return _usage(words[2:])
    if words[0] == "-m":
        return None if importlib.util.find_spec(words[1]) else f"no module {words[1]}"
    return None if (ROOT / words[0]).is_file() else f"there is no {words[0]}"
