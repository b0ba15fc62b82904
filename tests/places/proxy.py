"""A door before a server of this machine: notes what goes through it, and answers in its place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

from .web import Answer, Asked, Trouble, Web, _Handler, serving

_OF_THE_CONNECTION = ("connection", "transfer-encoding", "keep-alive")


@contextmanager
def proxy(to: str, trouble: Trouble = lambda asked: None) -> Iterator[Web]:
    """Stand before the server at a URL for as long as this lasts."""
    door = Web("", [], trouble, Path(to))
    host = urlsplit(to).netloc

    class Handler(_Door):
        of = door
        server_at = host

    with serving(Handler, door):
        yield door


class _Door(_Handler):
    server_at: str

    def do_PUT(self) -> None:
        self._answer()

    def do_DELETE(self) -> None:
        self._answer()

    def _give(self, asked: Asked, instead: Answer) -> None:
        there = HTTPConnection(self.server_at, timeout=30)
        try:
            there.request(self.command, self.path, asked.body, dict(self.headers))
            answer = there.getresponse()
            body = answer.read()
            headers = {
                name.title(): value
                for name, value in answer.getheaders()
                if name.lower() not in _OF_THE_CONNECTION
            }
        finally:
            there.close()
        self._send(asked, answer.status, body, headers, instead.cut)
