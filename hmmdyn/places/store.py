"""Stores of files elsewhere, as fsspec knows them: asked patiently, and for no more than is needed.

A store is asked again, after longer and longer waits, where asking may help; the errors are
`OSError` whose ``strerror`` says in words what is wrong, without addresses, passwords and tokens.
Nothing is kept on disk.
"""

from __future__ import annotations

import errno
import random
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property, partial
from time import sleep
from typing import Any, NamedTuple, TypeVar

from hmmdyn.places.clients import client_of
from hmmdyn.places.trouble import AGAIN, StoreError, TooShortError, trouble_of

_T = TypeVar("_T")

_OF_AMAZON = ("s3", "s3a")
# Of a file sent at once, the MD5 of it; of one sent in parts, that of the parts' and their number.
_MADE_OF_CONTENT = re.compile(r"[0-9a-f]{32}(-[0-9]+)?")

WAITS = (0.5, 1.0, 2.0, 4.0)  # seconds before a store is asked again
_LONGEST_WAIT = 60.0  # seconds; a store that asks for more is not waited for
_AT_ONCE = 8 << 20  # bytes of one answer: what is lost with a connection
_FILE, FOLDER = stat.S_IFREG | 0o444, stat.S_IFDIR | 0o555


class Status(NamedTuple):
    """What a store says of a file or folder, by the names of `os.stat_result`.

    ``st_mtime_ns`` is 0 where it does not tell. ``version`` changes with the content (an ETag, a
    generation, a hash), and ``digest`` is a hash of all the content alone, so that equal ones are
    of equal files. Both are empty where the store has no such thing.
    """

    st_size: int
    st_mtime_ns: int
    st_mode: int
    version: str = ""
    digest: str = ""


class Store:
    """One store, through fsspec. What it has told is remembered: each file is asked for once.

    Parameters
    ----------
    protocol : str
        Of its URLs, as fsspec calls it.
    options : mapping
        What fsspec's file system is made with: where, and as whom.
    """

    def __init__(self, protocol: str, options: Mapping[str, Any]) -> None:
        self.protocol = protocol
        self.options = options
        self._known: dict[str, Status] = {}
        self._listed: dict[str, list[str]] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.protocol, self.options)

    @cached_property
    def system(self) -> Any:
        """Fsspec's file system."""
        # Listings are remembered here, and what is asked anew is to be answered anew.
        return client_of(self.protocol, use_listings_cache=False, **self.options)

    def know_folder(self, key: str) -> None:
        """Take it that a key is a folder, as its URL says."""
        self._known[key] = Status(0, 0, FOLDER)

    def spelled(self, name: str) -> str:
        """Write a name as it stands in a key."""
        return name

    def name_in(self, part: str) -> str:
        """Return the name that a part of a key stands for."""
        return part

    def status(self, key: str) -> Status:
        """Return what is known of a file or folder, from the store where nothing is known yet.

        Raises
        ------
        OSError
        """
        if key not in self._known:
            beside = self._listed.get(key.rpartition("/")[0])
            if beside is not None and key not in beside:
                raise FileNotFoundError(errno.ENOENT, "it is not there")
            self._known[key] = self.ask(key)
        return self._known[key]

    def ask(self, key: str) -> Status:
        """Ask the store for what it knows of a file or folder now.

        Raises
        ------
        OSError
        """
        return self._status_of(self._patiently(lambda: self.system.info(key)))

    def is_still(self, key: str, status: Status) -> bool:
        """Whether a file is the one it was.

        Raises
        ------
        OSError
        """
        now = self.ask(key)
        both_tell = now.version and status.version
        return now.st_size == status.st_size and (not both_tell or now.version == status.version)

    def listed(self, key: str) -> list[str]:
        """Return the keys of what is in a folder.

        Raises
        ------
        OSError
        """
        if key not in self._listed:
            self._listed[key] = self._list(key)
        return self._listed[key]

    def folders(
        self, key: str, unreadable: dict[str, str], wanted: Callable[[str], bool]
    ) -> Iterator[tuple[tuple[str, ...], list[str]]]:
        """Go through a folder and those below: their names from it down, the keys of their files.

        Folders are met in the order of their names, each before those below it.

        Parameters
        ----------
        key : str
            The folder.
        unreadable : dict
            Filled with the path of each folder that could not be listed, and the reason.
        wanted : callable
            Whether a folder or file of a name is to be met.
        """
        try:
            below = self._everything(key)
        except OSError as error:
            unreadable[""] = f"the folder cannot be read ({error.strerror or error})"
            return
        for parts, files in self._as_folders(key, below):
            if all(map(wanted, parts)):
                yield parts, [one for one in files if wanted(self._name(one))]

    def read(self, key: str, start: int, end: int) -> bytes:
        """Return the bytes of a file from ``start`` up to ``end``.

        Raises
        ------
        OSError
            They are not all there, or do not come.
        """
        pieces = []
        for at in range(start, end, _AT_ONCE):
            until = min(at + _AT_ONCE, end)
            pieces.append(self._patiently(partial(self._all, key, at, until)))
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _all(self, key: str, start: int, end: int) -> bytes:
        data = self._fetch(key, start, end)
        if len(data) != end - start:
            raise TooShortError
        return data

    def _fetch(self, key: str, start: int, end: int) -> bytes:
        data: bytes = self.system.cat_file(key, start=start, end=end)
        return data

    def _everything(self, key: str) -> list[str]:
        """List all files below a folder, in as few requests as the store allows."""
        found = self._patiently(lambda: self.system.find(key, detail=True))
        below = self._remember(self._by_keys(key, found.values()))
        return [one for one in below if one.startswith(f"{key}/")]

    def _list(self, key: str) -> list[str]:
        found = self._patiently(lambda: self.system.ls(key, detail=True))
        inside = self._by_keys(key, found)
        return sorted(self._remember(one for one in inside if one["name"] != key))

    def _by_keys(self, key: str, found: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
        """Call what fsspec found below a key by keys, too."""
        called = self.system._strip_protocol(key).rstrip("/")
        for info in found:
            yield {**info, "name": key + info["name"].removeprefix(called)}

    def _remember(self, found: Iterable[Mapping[str, Any]]) -> list[str]:
        keys = []
        for info in found:
            if not info["name"].endswith("/"):  # a folder that is kept as an empty object
                keys.append(info["name"])
                self._known[keys[-1]] = self._status_of(info)
        return keys

    def _as_folders(
        self, root: str, files: Sequence[str]
    ) -> Iterator[tuple[tuple[str, ...], list[str]]]:
        """Put files into their folders, and remember that there are no others."""
        folders: dict[tuple[str, ...], list[str]] = {(): []}
        inside: dict[str, set[str]] = {root: set()}
        for key in files:
            *names, _ = key.removeprefix(f"{root}/").split("/")
            for depth in range(len(names)):
                folder = "/".join((root, *names[: depth + 1]))
                self._known[folder] = Status(0, 0, FOLDER)
                inside.setdefault("/".join((root, *names[:depth])), set()).add(folder)
                inside.setdefault(folder, set())
            inside["/".join((root, *names))].add(key)
            folders.setdefault(tuple(self.name_in(name) for name in names), []).append(key)
        self._known[root] = Status(0, 0, FOLDER)
        self._listed.update({folder: sorted(keys) for folder, keys in inside.items()})
        for parts in sorted(folders):
            yield parts, sorted(folders[parts])

    def _name(self, key: str) -> str:
        return self.name_in(key.rpartition("/")[2])

    def _status_of(self, info: Mapping[str, Any]) -> Status:
        if info.get("type") == "directory":
            return Status(0, 0, FOLDER)
        size = info.get("size")
        if not isinstance(size, int) or size < 0:
            raise StoreError(errno.EIO, "the store does not say how long the file is")
        digest = _digest_in(info) or self._digest_beside_version(info)
        return Status(size, _time_in(info), _FILE, _version_in(info), digest)

    def _digest_beside_version(self, info: Mapping[str, Any]) -> str:
        """Return a hash of stores whose files have a version of another kind: S3, Azure."""
        etag = str(info.get("ETag", "")).strip('"') if self.protocol in _OF_AMAZON else ""
        if _MADE_OF_CONTENT.fullmatch(etag):
            return f"etag:{etag}"
        md5 = getattr(info.get("content_settings"), "content_md5", None)
        return f"md5:{bytes(md5).hex()}" if md5 else ""

    def _patiently(self, ask: Callable[[], _T]) -> _T:
        """Ask, and ask again as long as that may help."""
        waited = 0.0
        for n, wait in enumerate((*WAITS, None), start=1):
            try:
                return ask()
            except MemoryError:
                raise
            except Exception as error:
                trouble = trouble_of(error)
                if not trouble.passes:
                    raise trouble.error from None
                reason = trouble.error.strerror
                asked = trouble.wait or 0.0
                if wait is None or asked > _LONGEST_WAIT:
                    often = f", {n} times within {waited:,.0f} seconds"
                    if asked > _LONGEST_WAIT:
                        often = f", and asks to wait {asked:,.0f} seconds"
                    raise StoreError(errno.EIO, f"{reason}{often}. Later, {AGAIN}") from None
                # Not all processes that were sent away are to come back at once.
                wait = max(wait, asked) * random.uniform(1.0, 1.25)
            sleep(wait)
            waited += wait
        raise AssertionError("the last try returns or raises")


def _version_in(info: Mapping[str, Any]) -> str:
    digest = _digest_in(info)
    if digest:
        return digest
    for name in ("ETag", "etag", "generation", "VersionId"):
        if info.get(name):
            return str(info[name])
    return ""


def _digest_in(info: Mapping[str, Any]) -> str:
    """Return a hash of a file's content that a store tells; only those of one kind compare."""
    of_lfs = info.get("lfs") or {}
    sha256 = of_lfs.get("sha256") if isinstance(of_lfs, Mapping) else None
    for kind, value in (
        ("sha256", sha256),
        ("git", info.get("blob_id")),
        ("md5", info.get("md5Hash")),
    ):
        if value:
            return f"{kind}:{value}"
    return ""


def _time_in(info: Mapping[str, Any]) -> int:
    """Return when a file was last modified, in nanoseconds since 1970; 0 where it is not told."""
    for name in ("LastModified", "last_modified", "Last-Modified", "updated", "mtime"):
        told = info.get(name)
        try:
            if isinstance(told, str):
                told = (
                    parsedate_to_datetime(told)
                    if name == "Last-Modified"
                    else datetime.fromisoformat(told)
                )
        except ValueError:
            continue
        if isinstance(told, datetime):
            aware = told if told.tzinfo else told.replace(tzinfo=UTC)
            return round(aware.timestamp() * 1e6) * 1000
    return 0
