"""A page in a real browser: what it drew and what it complained about. Headless Chromium, no network."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",  # a fetch is an error
    "--enable-logging=stderr",
    "--virtual-time-budget=10000",
]
_ASKED = re.compile(r'"url":"(https?://([^"/:]+)[^"]*)"')
_ITS_OWN = ("accounts.google.com", "clients2.google.com", "update.googleapis.com")  # whatever the page is
_HERE = ("localhost", "127.0.0.1")
_CONSOLE = re.compile(r":CONSOLE[:(]\d+\)?\] (.*)")


@dataclass(frozen=True)
class Page:
    """What the browser made of a page: its DOM after all scripts ran, every line on its console, and the
    addresses on other machines that it asked for, in vain.

    Chromium gives all console lines one level in its log, and our pages have nothing to say there:
    each line counts as an error.
    """

    dom: str
    console_errors: list[str]
    fetched: list[str]


def find_browser() -> str | None:
    """The path of a Chromium, or None."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def open_page(path: Path, width: int = 1200, height: int = 900, query: str = "") -> Page:
    """Load the file and let its scripts finish. Skips the calling test where there is no browser."""
    address = path.resolve().as_uri() + (f"?{query}" if query else "")
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "network.json"
        run = _browse(f"--window-size={width},{height}", f"--log-net-log={log}", "--dump-dom", address)
        asked = dict(_ASKED.findall(log.read_text("utf-8", "replace")))
    fetched = sorted(url for url, host in asked.items() if host not in (*_ITS_OWN, *_HERE))
    return Page(run.stdout, _CONSOLE.findall(run.stderr), fetched)


def screenshot(path: Path, png: Path, width: int, height: int) -> Path:
    """Save a picture of the page at that window size."""
    _browse(f"--window-size={width},{height}", f"--screenshot={png}", path.resolve().as_uri())
    assert png.stat().st_size > 0
    return png


def _browse(*arguments: str) -> subprocess.CompletedProcess[str]:
    browser = find_browser()
    if browser is None:
        pytest.skip("no Chromium found: apt-get install chromium")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [browser, *FLAGS, f"--user-data-dir={profile}", *arguments]
        run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, f"the browser failed ({run.returncode}):\n{run.stderr[-2000:]}"
    return run
