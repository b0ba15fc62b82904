"""A web server of a folder, on this machine: with ranges, and with whatever goes wrong on the way.

Every answer is noted, so that tests can say how much was moved.
"""

from __future__ import annotations

import hashlib
import re
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import pytest


@dataclass(frozen=True)
class Asked:
    """One request, and how many bytes of content went out for it."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    status: int = 0
    sent: int = 0
    body: bytes = b""


@dataclass(frozen=True)
class Answer:
    """What is sent instead of the file; a body ends after ``cut`` bytes, the connection with it."""

    status: int = 0  # 0: as it should be
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut: int | None = None
    whole: bool = False  # not the range that was asked for
    heeds: bool = True  # which version was asked for


Trouble = Callable[[Asked], Answer | None]

# Answers after which the same thing may come at the next try.
WHAT_MAY_PASS = pytest.mark.parametrize(
    "answer",
    [
        Answer(status=429, headers={"Retry-After": "3"}),
        Answer(status=500),
        Answer(status=503),
        Answer(cut=0),
        Answer(cut=1000),
    ],
    ids=["throttled", "broken", "overloaded", "dropped", "truncated"],
)


@dataclass
class Web:
    """A running server."""

    url: str
    asked: list[Asked]
    trouble: Trouble
    root: Path

    def weights_moved(self) -> int:
        """Bytes of checkpoints that went out."""
        return sum(one.sent for one in self.asked if one.path.endswith(".safetensors"))


@contextmanager
def web_server(root: Path, trouble: Trouble = lambda asked: None) -> Iterator[Web]:
    """Serve a folder for as long as this lasts."""
    web = Web("", [], trouble, root)

    class Handler(_Handler):
        of = web

    with serving(Handler, web):
        yield web


class _Server(ThreadingHTTPServer):
    """Says nothing of clients that go before their answer has come, which is theirs to do."""

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler], web: Web) -> Iterator[None]:
    """Let a handler answer for as long as this lasts."""
    server = _Server(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    web.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    of: Web

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self) -> None:
        parts = urlsplit(self.path)
        path = unquote(parts.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        asked = Asked(self.command, path, parts.query, dict(self.headers), body=body)
        instead = self.of.trouble(asked) or Answer()
        if instead.status:
            self._send(asked, instead.status, instead.body, dict(instead.headers), instead.cut)
            return
        self._give(asked, instead)

    def _give(self, asked: Asked, instead: Answer) -> None:
        place = self.of.root / asked.path.replace("/resolve/", "/").strip("/")
        if place.is_dir():
            self._send(asked, 200, _page(place), {"Content-Type": "text/html"}, None)
        elif place.is_file():
            self._send_file(asked, place, instead)
        else:
            self._send(asked, 404, b"", {}, None)

    def _send_file(self, asked: Asked, place: Path, instead: Answer) -> None:
        data = place.read_bytes()
        etag = f'"{hashlib.md5(data).hexdigest()}"'
        headers = {
            "ETag": etag,
            "Last-Modified": formatdate(place.stat().st_mtime, usegmt=True),
            **instead.headers,
        }
        if instead.heeds and self.headers.get("If-Match", etag) != etag:
            self._send(asked, 412, b"", {}, None)
            return
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if wanted and not instead.whole:
            start, end = int(wanted[1]), min(int(wanted[2]) + 1, len(data))
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(data)}"
            self._send(asked, 206, data[start:end], headers, instead.cut)
        else:
            self._send(asked, 200, data, headers, instead.cut)

    def _send(
        self, asked: Asked, status: int, body: bytes, headers: dict[str, str], cut: int | None
    ) -> None:
        sent = b"" if self.command == "HEAD" else body if cut is None else body[:cut]
        self.of.asked.append(
            Asked(asked.method, asked.path, asked.query, asked.headers, status, len(sent))
        )
        try:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(sent)
        except OSError:  # nobody listens any more
            self.close_connection = True
        if cut is not None:
            self.close_connection = True


def _page(folder: Path) -> bytes:
    names = sorted(f"{one.name}/" if one.is_dir() else one.name for one in folder.iterdir())
    links = "".join(f'<li><a href="{quote(name)}">{escape(name)}</a></li>' for name in names)
    return f'<!doctype html><ul><li><a href="../">..</a></li>{links}</ul>'.encode()
