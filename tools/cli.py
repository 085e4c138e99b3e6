"""Write the list of commands and options in `docs/cli.md`: `python tools/cli.py`; `--check` only compares.

The list is what the command line itself says of its options; a test holds the two together.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from typer.main import get_command

from secateur.cli.main import app
from secateur.cli.mistakes import commands_of

PAGE = Path(__file__).parents[1] / "docs" / "cli.md"
BEGIN, END = "<!-- commands -->\n", "<!-- end -->\n"


def reference() -> str:
    """Every command: what it does, its arguments and its options."""
    return "\n".join(_command(name, command) for name, command in commands_of(get_command(app)))


def _command(name: str, command: Any) -> str:
    text = " ".join(command.help.split()).replace(" Example:", "\n\nExample:")
    rows = [f"| {_written(param)} | {_help(param)} | {_default(param)} |" for param in command.params]
    table = ["| option | what it says | by default |", "|---|---|---|", *rows]
    return f"### `secateur {name}`\n\n{text}\n\n" + "\n".join(table) + "\n"


def _written(param: Any) -> str:
    names = [*param.opts, *param.secondary_opts]
    if not names[0].startswith("-"):
        return f"`{param.metavar or param.name.upper()}`"
    return ", ".join(f"`{name}`" for name in sorted(names, key=len, reverse=True))


def _help(param: Any) -> str:
    return " ".join((param.help or "").split()).replace("|", "\\|")


def _default(param: Any) -> str:
    shown = param.show_default if isinstance(param.show_default, str) else None
    if param.required:
        return "required"
    if shown is None and param.default is not None and param.default is not False:
        shown = str(param.default)
    return f"`{shown}`" if shown else ""


def page(text: str) -> str:
    """The page with the list of today."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{reference()}\n{END}{after}"


def main() -> None:
    text = PAGE.read_text(encoding="utf-8")
    if "--check" in sys.argv[1:]:
        if page(text) != text:
            sys.exit("docs/cli.md is not what the command line says: run `python tools/cli.py`")
    else:
        PAGE.write_text(page(text), encoding="utf-8")


if __name__ == "__main__":
    main()
