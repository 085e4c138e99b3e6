"""A Python in which packages are as if they were not installed: for tests/test_packaging.py.

python tests/bare.py cli MODULE,... < COMMANDS.json > ANSWERS.json
python tests/bare.py run MODULE,... < PROGRAM.py
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from typing import Any


class Without:
    """A finder that does not find some packages, as if they were not there."""

    def __init__(self, finder: Any, away: set[str]):
        self.finder, self.away = finder, away

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name.partition(".")[0] in self.away:
            return None
        return self.finder.find_spec(name, path, target)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.finder, name)


def answer(command: list[str]) -> dict[str, Any]:
    """Exit code, stdout and stderr of a command line in this process, or of a program after `-c`."""
    from secateur.cli.main import main

    sys.argv = ["secateur", *command]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            if command[0] == "-c":
                exec(command[1], {})  # the test's own text
                raise SystemExit(0)
            main()
        except SystemExit as stop:
            code = stop.code
    return {"code": code, "out": out.getvalue(), "err": err.getvalue()}


if __name__ == "__main__":
    _, what, modules = sys.argv
    away = set(modules.split(","))
    sys.meta_path[:] = [Without(finder, away) for finder in sys.meta_path]
    if what == "run":
        exec(sys.stdin.read(), {"__name__": "__main__"})  # the test's own text
    else:
        json.dump([answer(command) for command in json.load(sys.stdin)], sys.stdout)
    assert not away & {name.partition(".")[0] for name in sys.modules}
