"""What is published names no place on the machine that it was made on: absolute paths lose their folders."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

_WHERE = r"(?:(?<=[\s'\"=(\[{,:;|>])|^)"
_POSIX = re.compile(_WHERE + r"(?:~[\w.-]*/|/(?!/)[^/\s'\"]+/)[^\s'\",;)\]}]*")
_WINDOWS = re.compile(_WHERE + r"(?:[A-Za-z]:[\\/]|\\\\)[^\s'\",;)\]}]+")


def scrubbed_text(text: str) -> str:
    """The text, with the last part alone of every absolute path in it.

    Example:
        >>> scrubbed_text("--data /home/ann/photos --model nets:build"), scrubbed_text("1/2 of a/b, https://x.y/z")
        ('--data photos --model nets:build', '1/2 of a/b, https://x.y/z')
    """
    if _is_path(text):  # a whole one, which may have spaces in it
        return _last(text)
    return _WINDOWS.sub(lambda found: _last(found[0]), _POSIX.sub(lambda found: _last(found[0]), text))


def scrubbed(content: Any) -> Any:
    """JSON with every text and every key scrubbed."""
    if isinstance(content, str):
        return scrubbed_text(content)
    if isinstance(content, Mapping):
        return {scrubbed_text(str(key)): scrubbed(value) for key, value in content.items()}
    return [scrubbed(each) for each in content] if isinstance(content, list | tuple) else content


def _is_path(text: str) -> bool:
    posix = text.startswith(("/", "~/")) and text.count("/") > 1 and not text.startswith("//")
    windows = re.match(r"[A-Za-z]:[\\/]\S", text) is not None and "://" not in text
    return posix or windows


def _last(path: str) -> str:
    """The last part of a path of either kind."""
    kind = PureWindowsPath if "\\" in path else PurePosixPath
    return kind(path).name or "folder"
