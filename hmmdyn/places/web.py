"""Folders of a web server, as its pages link to them, and files that are read by ranges."""

from __future__ import annotations

import errno
import re
import stat
from collections.abc import Callable, Coroutine, Iterator, Mapping
from functools import cached_property
from html.parser import HTMLParser
from typing import Any
from urllib.parse import quote, unquote, urljoin

from hmmdyn.places.store import FOLDER, Status, Store
from hmmdyn.places.trouble import CHANGED, StoreError

_MOST_FOLDERS = 1_000_000  # below one place
_DEEPEST = 32  # folders within folders: a server may link a page to itself
_LARGEST_PAGE = 32 << 20  # bytes
_SUFFIX = re.compile(r"\.[A-Za-z][A-Za-z0-9]*$")


class WebStore(Store):
    """Files of a web server, whose pages link to what is in a folder.

    Of files, it has to know ranges. ``options`` are headers, and the query (``?token=…``) goes with
    every request.
    """

    def __init__(self, protocol: str, options: Mapping[str, Any], query: str = "") -> None:
        super().__init__(protocol, options)
        self.query = query
        self._unsure: set[str] = set()  # files of which an answer told no version

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.protocol, self.options, self.query)

    @cached_property
    def system(self) -> Any:
        """Fsspec's file system."""
        import aiohttp
        import fsspec

        timeout = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=60)
        return fsspec.filesystem(
            self.protocol,
            use_listings_cache=False,
            encoded=True,
            client_kwargs={"timeout": timeout, "headers": self.headers},
        )

    @property
    def headers(self) -> Mapping[str, str]:
        """What goes with every request."""
        return self.options

    def spelled(self, name: str) -> str:
        """Write a name as it stands in a URL."""
        return quote(name)

    def name_in(self, part: str) -> str:
        """Return the name that a part of a URL stands for."""
        return unquote(part)

    def ask(self, key: str) -> Status:
        """Ask the server; what has no suffix and was found in no page counts as a folder."""
        folder, _, name = key.rpartition("/")
        is_host = folder.endswith(":/")
        if is_host or (key not in self._listed.get(folder, ()) and not _SUFFIX.search(name)):
            return Status(0, 0, FOLDER)
        return self._status_of(self._patiently(lambda: self.system.info(self._url(key))))

    def is_still(self, key: str, status: Status) -> bool:
        """As of any store; with an ETag, every answer has said that it is of the file meant."""
        is_sure = _is_strong(status.version) and key not in self._unsure
        return is_sure or super().is_still(key, status)

    def folders(
        self, key: str, unreadable: dict[str, str], wanted: Callable[[str], bool]
    ) -> Iterator[tuple[tuple[str, ...], list[str]]]:
        """As of any store; every folder is a page of its own."""
        waiting, met = [key], 0
        while waiting:
            folder = waiting.pop()
            parts = tuple(map(unquote, folder.removeprefix(key).split("/")[1:]))
            met += 1
            try:
                if len(parts) > _DEEPEST or met > _MOST_FOLDERS:
                    raise StoreError(errno.ELOOP, "its folders do not end")
                inside = self.listed(folder)
            except OSError as error:
                reason = f"the folder cannot be read ({error.strerror or error})"
                unreadable["/".join(parts)] = reason
                continue
            inside = [one for one in inside if wanted(self._name(one))]
            below = [one for one in inside if self._is_folder(one)]
            waiting += reversed(below)
            yield parts, [one for one in inside if one not in below]

    def _list(self, key: str) -> list[str]:
        page = self._patiently(lambda: self._wait_for(self._page, key))
        links = _Links()
        links.feed(page.decode(errors="replace"))
        keys = set()
        for link in links.found:
            try:
                below = urljoin(f"{key}/", link).partition("#")[0]
            except ValueError:  # no address at all
                continue
            name = below.removeprefix(f"{key}/").rstrip("/")
            if below.startswith(f"{key}/") and name and not re.search(r"[/?]", name):
                keys.add(f"{key}/{name}")
                if below.endswith("/"):
                    self._known[f"{key}/{name}"] = Status(0, 0, FOLDER)
        return sorted(keys)

    def _is_folder(self, key: str) -> bool:
        return key in self._known and stat.S_ISDIR(self._known[key].st_mode)

    def _fetch(self, key: str, start: int, end: int) -> bytes:
        return self._wait_for(self._range, key, start, end)

    def _wait_for(self, ask: Callable[..., Coroutine[Any, Any, bytes]], *arguments: Any) -> bytes:
        from fsspec.asyn import sync

        data: bytes = sync(self.system.loop, ask, *arguments)
        return data

    async def _page(self, key: str) -> bytes:
        session = await self.system.set_session()
        async with session.get(self.system.encode_url(self._url(f"{key}/"))) as answer:
            answer.raise_for_status()
            return await _at_most(answer, _LARGEST_PAGE)

    async def _range(self, key: str, start: int, end: int) -> bytes:
        """Take the bytes asked for, and no more, whatever the server sends."""
        headers = {"Range": f"bytes={start}-{end - 1}", "Accept-Encoding": "identity"}
        version = self._known[key].version if key in self._known else ""
        if _is_strong(version):
            headers["If-Match"] = version
        session = await self.system.set_session()
        async with session.get(self.system.encode_url(self._url(key)), headers=headers) as answer:
            answer.raise_for_status()
            self._require_same(key, version, answer.headers.get("ETag", ""))
            whole = start == 0 and answer.headers.get("Content-Length") == str(end)
            if answer.status != 206 and not whole:
                raise StoreError(
                    errno.EIO,
                    "its server sends whole files only, not parts of them. Copy the files to a "
                    "disk or a store that sends parts",
                )
            return await _at_most(answer, end - start)

    def _require_same(self, key: str, version: str, told: str) -> None:
        """Hold an answer against the version meant: not all servers heed If-Match."""
        if not _is_strong(told):
            self._unsure.add(key)
        elif _is_strong(version) and told != version:
            raise StoreError(errno.EIO, CHANGED)

    def _url(self, key: str) -> str:
        return f"{key}?{self.query}" if self.query else key


class _Links(HTMLParser):
    """The addresses that a page links to, as they stand there."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take the address of a link."""
        if tag == "a":
            self.found += [value for name, value in attrs if name == "href" and value]


async def _at_most(answer: Any, most: int) -> bytes:
    """Take what a server sends, unless it is more than there may be."""
    data = bytearray()
    async for piece in answer.content.iter_any():
        data += piece
        if len(data) > most:
            raise StoreError(errno.EIO, "its server sends more than it was asked for")
    return bytes(data)


def _is_strong(etag: str) -> bool:
    """Whether an ETag is of these very bytes."""
    return etag.startswith('"')
