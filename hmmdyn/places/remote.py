"""A file or folder of a store, with the part of `pathlib.Path` that readers use."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from functools import total_ordering
from pathlib import PurePosixPath
from typing import Self

from hmmdyn.places.store import Status, Store


@total_ordering
class RemotePath:
    """A path within a store. It asks for nothing until it has to, and is no path of this machine.

    As text it is a URL without passwords and tokens, which the store knows.

    Attributes
    ----------
    store : Store
        Who answers for the files.
    key : str
        What the store calls it: a URL without a query.
    """

    def __init__(self, store: Store, key: str) -> None:
        self.store = store
        self.key = key

    def __str__(self) -> str:
        return self.key

    def __repr__(self) -> str:
        return f"RemotePath({self.key!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemotePath) and self.key == other.key

    def __lt__(self, other: RemotePath) -> bool:
        return self.key < other.key

    def __hash__(self) -> int:
        return hash(self.key)

    @property
    def name(self) -> str:
        """Its last name."""
        return self.store.name_in(self.key.rpartition("/")[2])

    @property
    def stem(self) -> str:
        """Its last name without the suffix."""
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        """The suffix of its last name."""
        return PurePosixPath(self.name).suffix

    @property
    def suffixes(self) -> list[str]:
        """All suffixes of its last name."""
        return PurePosixPath(self.name).suffixes

    @property
    def parent(self) -> Self:
        """The folder it is in; the root of a store is its own."""
        above = self.key.rpartition("/")[0]
        return self if above.endswith(":/") else type(self)(self.store, above)

    def __truediv__(self, name: str) -> Self:
        key = self.key
        for part in name.split("/"):
            key = key if part in ("", ".") else f"{key}/{self.store.spelled(part)}"
        return type(self)(self.store, key)

    def relative_to(self, root: Self) -> PurePosixPath:
        """Return the names from a folder above down to this.

        Raises
        ------
        ValueError
            It is not below that folder.
        """
        if self.key != root.key and not self.key.startswith(f"{root.key}/"):
            raise ValueError(f"{self} is not below {root}")
        below = self.key[len(root.key) :].split("/")
        return PurePosixPath(*(self.store.name_in(part) for part in below))

    def resolve(self) -> Self:
        """Return itself: there are no links."""
        return self

    def absolute(self) -> Self:
        """Return itself: it means the same everywhere."""
        return self

    def stat(self) -> Status:
        """Ask the store, once, what it knows of the file or folder."""
        return self.store.status(self.key)

    def is_still(self, status: Status) -> bool:
        """Whether the file is the one of which this was said; the store is asked anew."""
        return self.store.is_still(self.key, status)

    def exists(self) -> bool:
        """Whether there is anything."""
        try:
            self.stat()
        except FileNotFoundError:
            return False
        return True

    def is_dir(self) -> bool:
        """Whether it is a folder."""
        return self.exists() and stat.S_ISDIR(self.stat().st_mode)

    def is_file(self) -> bool:
        """Whether it is a file."""
        return self.exists() and stat.S_ISREG(self.stat().st_mode)

    def iterdir(self) -> Iterator[Self]:
        """Go through what is in a folder."""
        for key in self.store.listed(self.key):
            yield type(self)(self.store, key)

    def read_bytes(self) -> bytes:
        """Return all of a file: how long it may be is for the caller to check."""
        return self.read_range(0, self.stat().st_size)

    def read_range(self, start: int, end: int) -> bytes:
        """Return the bytes of a file from ``start`` up to ``end``, all of which must be there."""
        return self.store.read(self.key, start, end)

    def folders(
        self, unreadable: dict[str, str], wanted: Callable[[str], bool]
    ) -> Iterator[tuple[tuple[str, ...], list[Self]]]:
        """Go through this folder and all below it: their names from here down, and their files.

        Parameters
        ----------
        unreadable : dict
            Filled with the names of each folder that could not be listed, and the reason.
        wanted : callable
            Whether a folder or file of a name is to be met.
        """
        for parts, keys in self.store.folders(self.key, unreadable, wanted):
            yield parts, [type(self)(self.store, key) for key in keys]
