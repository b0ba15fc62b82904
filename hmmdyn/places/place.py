"""What a path and a URL have in common, and how one is made of a text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from os import PathLike, fspath
from pathlib import Path, PurePath
from typing import Protocol, Self
from urllib.parse import unquote

from hmmdyn.errors import UsageError
from hmmdyn.messages import Remedy
from hmmdyn.names import printable
from hmmdyn.places.opening import open_store
from hmmdyn.places.remote import RemotePath

_URL = re.compile(r"(?P<protocol>[a-z][a-z0-9+.:-]+)://(?P<rest>.*)", re.IGNORECASE | re.DOTALL)
_PLACEHOLDER = re.compile(r"[{*]")


class Status(Protocol):
    """What is known of a file without opening it, as `os.stat_result` has it."""

    @property
    def st_size(self) -> int: ...  # noqa: D102

    @property
    def st_mtime_ns(self) -> int: ...  # noqa: D102

    @property
    def st_mode(self) -> int: ...  # noqa: D102


class Place(Protocol):
    """A file or folder, here or elsewhere: the part of `pathlib.Path` that readers use.

    Whatever of it asks a store raises `OSError`, whose ``strerror`` is the reason in words.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def stem(self) -> str: ...  # noqa: D102

    @property
    def suffix(self) -> str: ...  # noqa: D102

    @property
    def suffixes(self) -> list[str]: ...  # noqa: D102

    @property
    def parent(self) -> Self: ...  # noqa: D102

    def __truediv__(self, name: str, /) -> Self: ...

    def relative_to(self, root: Self, /) -> PurePath: ...  # noqa: D102

    def resolve(self) -> Self: ...  # noqa: D102

    def absolute(self) -> Self: ...  # noqa: D102

    def exists(self) -> bool: ...  # noqa: D102

    def is_dir(self) -> bool: ...  # noqa: D102

    def is_file(self) -> bool: ...  # noqa: D102

    def iterdir(self) -> Iterator[Self]: ...  # noqa: D102

    def stat(self) -> Status: ...  # noqa: D102

    def read_bytes(self) -> bytes: ...  # noqa: D102


def is_url(where: object) -> bool:
    """Whether a text names a place by a URL (``s3://bucket/runs``)."""
    return isinstance(where, str) and _URL.fullmatch(where) is not None


def place(where: str | PathLike[str] | Place) -> Place:
    """Return the place that a path or a URL names.

    Raises
    ------
    MissingPackageError
        The package for such URLs is not installed.
    UsageError
        The URL names no store, or one that is not known.
    """
    if isinstance(where, (str, PathLike)):
        return _at(fspath(where), "")
    return where


def _at(text: str, pattern: str) -> Place:
    """Return the place that a text names; of one with a layout below it, the layout too."""
    match = _URL.fullmatch(text)
    if match is None:
        return Path(text)
    protocol = match["protocol"].lower()
    if protocol == "file":
        return Path(unquote(match["rest"]))
    if "::" in text or not match["rest"].strip("/"):
        raise UsageError(
            f"{printable(shown(text))} names no place with files. Write a store and what is in it, "
            "such as s3://bucket/runs, https://host/runs or hf://owner/model."
        )
    if _hides_a_password(match["rest"]):
        raise UsageError(
            f"A {protocol}:// URL holds a password with a sign that ends it. Write / as %2F, ? as "
            "%3F and # as %23 there, or leave it to the store's own client to find."
        )
    store, key = open_store(protocol, text, pattern)
    return RemotePath(store, key)


def with_layout(where: str | PathLike[str] | Place, layout: str | None) -> tuple[Place, str | None]:
    """Return a place and the layout below it; a URL may hold both.

    ``hf://owner/model-seed{seed}@step{step}`` is the place ``hf://owner`` with the layout
    ``model-seed{seed}@step{step}``.

    Raises
    ------
    MissingPackageError, UsageError
        As of :func:`place`; or there are two layouts.
    """
    if not isinstance(where, str) or not is_url(where) or "{" not in where:
        return place(where), layout
    if layout is not None:
        raise UsageError(
            f"{printable(shown(where))} says how its paths read, and ",
            Remedy("layout", layout),
            " does so as well. Leave one of them out.",
        )
    path, mark, query = where.partition("?")
    first = _PLACEHOLDER.search(path)
    cut = path.rfind("/", 0, first.start() if first else None) + 1
    return _at(path[:cut] + mark + query, path[cut:]), path[cut:].rstrip("/")


def shown(where: object) -> str:
    """Return what a source is called, without what a URL holds of passwords and tokens."""
    text = str(where)
    match = _URL.fullmatch(text) if isinstance(where, str) else None
    if match is None:
        return text
    if _hides_a_password(match["rest"]):
        return f"{match['protocol']}://…"
    host, slash, path = re.split(r"[?#]", match["rest"])[0].partition("/")
    return f"{match['protocol']}://{host.rpartition('@')[2]}{slash}{path}"


def _hides_a_password(rest: str) -> bool:
    """Whether what follows ``://`` has a name and a password in which a sign ends the host."""
    host = re.split(r"[/?#]", rest)[0]
    name, colon, port = host.rpartition(":")
    is_port = port.isdecimal() or not port
    return bool(name and colon) and not is_port and "@" not in host and "@" in rest


def digest_of(where: Place) -> str:
    """Return a hash of all of a file that its store knows; empty where it knows none.

    Equal ones are of equal files; others may be of equal files too.

    Raises
    ------
    OSError
        The store does not answer.
    """
    return where.stat().digest if isinstance(where, RemotePath) else ""


def version_of(where: Place) -> str:
    """Return what a store says changes with a file's content; empty where nothing does.

    Raises
    ------
    OSError
        The store does not answer.
    """
    return where.stat().version if isinstance(where, RemotePath) else ""
