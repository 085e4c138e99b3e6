"""A folder shown to a browser of this machine: one address on 127.0.0.1, read only, that folder alone."""

from __future__ import annotations

import io
import os
import sys
import threading
import time
import webbrowser
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

from .progress import RELOAD_EVERY_S

HOST = "127.0.0.1"
_WAITING = (
    b'<!DOCTYPE html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="1">'
    b"<title>Secateur</title><p>Nothing is drawn yet; this page loads itself again.</p></html>"
)


class Served:
    """Serves a folder from a thread as long as it is entered.

    Args:
        folder: what is served, with its subfolders; nothing outside, whatever links say, and no hidden file.
        page: the file that `/` leads to.

    Attributes:
        address: of the page: "http://127.0.0.1:43211/report.html".

    Raises:
        OSError: where no port is to be had.
    """

    def __init__(self, folder: Path, page: str):
        self.last_asked = -float("inf")  # when the page was last fetched, on the clock `time.monotonic`
        handler = partial(_Handler, self, folder.resolve(), page)
        self._server = ThreadingHTTPServer((HOST, 0), handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self.address = f"http://{HOST}:{self.port}/{page}"

    def __enter__(self) -> Served:
        threading.Thread(target=self._server.serve_forever, name="secateur-page", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Serve nothing any more."""
        self._server.shutdown()
        self._server.server_close()

    def wait(self, forever: bool, since: float, opened: bool) -> None:
        """Go on serving when the work is done: until Ctrl-C, or until whoever watches has the last page.

        Args:
            forever: until Ctrl-C (or SIGTERM), which ends this without an error.
            since: when the last page was there, on the clock `time.monotonic`.
            opened: a browser was told to fetch it.
        """
        patience = 2.5 * RELOAD_EVERY_S
        try:
            while forever:
                time.sleep(3600)
            if opened or self.last_asked > since - patience:
                while self.last_asked < since and time.monotonic() < since + patience:
                    time.sleep(0.05)
        except KeyboardInterrupt:
            return


def open_browser(address: str) -> bool:
    """Open a window of the user's browser; False where there is none to be opened.

    Without a display Python would open a browser of text in the terminal that the command writes to.
    """
    windows = sys.platform in ("darwin", "win32", "cygwin")
    if not windows and not any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))):
        return False
    try:
        return webbrowser.open(address)
    except webbrowser.Error:
        return False


class _Handler(SimpleHTTPRequestHandler):
    """GET and HEAD of files; asked for by this machine's names, which keeps other sites' scripts out."""

    server_version, sys_version = "secateur", ""

    def __init__(self, served: Served, root: Path, page: str, *args: Any):
        self.served, self.root, self.page = served, root, page
        super().__init__(*args, directory=str(root))

    def do_GET(self) -> None:
        """Answer, and say when the page was handed out."""
        super().do_GET()
        if self.path.partition("?")[0] == f"/{self.page}":
            self.served.last_asked = time.monotonic()

    def send_head(self) -> Any:
        """Answer for a file, as the library does, where it may be had."""
        if self.headers.get("Host") not in (f"{HOST}:{self.served.port}", f"localhost:{self.served.port}"):
            self.send_error(HTTPStatus.FORBIDDEN, "This is served to this machine alone")
            return None
        path = self.path.partition("?")[0].partition("#")[0]
        if path == "/":
            self.send_response(HTTPStatus.FOUND)
            self.send_header("Location", f"/{self.page}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return None
        if path == f"/{self.page}" and not (self.root / self.page).exists():
            return self._send_waiting()
        if not self._may_be_had(Path(self.translate_path(path))):
            self.send_error(HTTPStatus.NOT_FOUND, "There is no such file here")
            return None
        return super().send_head()

    def _send_waiting(self) -> io.BytesIO:
        """Answer for the page before it is written for the first time."""
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(_WAITING)))
        self.end_headers()
        return io.BytesIO(_WAITING)

    def _may_be_had(self, asked: Path) -> bool:
        """Whether it is a file of the folder, links followed, and none that is hidden."""
        found = asked.resolve()
        if not found.is_file() or not found.is_relative_to(self.root):
            return False
        names = (*asked.relative_to(self.root).parts, *found.relative_to(self.root).parts)
        return not any(name.startswith(".") for name in names)

    def end_headers(self) -> None:
        """Have nothing kept: the page is written again and again; and nothing taken for what it is not."""
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the terminal shows how far the work is."""
