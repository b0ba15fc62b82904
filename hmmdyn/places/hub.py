"""Repositories of the Hugging Face Hub: revisions as folders, found by a pattern.

The hub's own client says what there is, and who asks; files are read by ranges, at the addresses
that it tells. The hub knows a hash of every file, so that equal files are known without a look.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from itertools import chain
from typing import Any
from urllib.parse import unquote

from hmmdyn.places.store import FOLDER, Status
from hmmdyn.places.trouble import StoreError
from hmmdyn.places.web import WebStore

_AT_ONCE = 8  # revisions whose files are asked for at one time
_PLACEHOLDER = re.compile(r"\{[a-z]+\}|\*+")


class HubStore(WebStore):
    """Models of a hub: ``hf://owner/name@revision/path``; without a revision, its ``main``.

    Parameters
    ----------
    pattern : str
        How the names and revisions of an owner's repositories read
        (``name-seed{seed}@step{step}``): of ``hf://owner``, these alone are listed.
    """

    def __init__(self, pattern: str = "") -> None:
        super().__init__("https", {})
        self.pattern = pattern

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.pattern,)

    @cached_property
    def hub(self) -> Any:
        """The hub's client; its address is that of HF_ENDPOINT, and who asks that of HF_TOKEN."""
        from huggingface_hub import HfApi

        return HfApi(endpoint=os.environ.get("HF_ENDPOINT"))

    @property
    def headers(self) -> Mapping[str, str]:
        """What tells the hub who asks."""
        from huggingface_hub.utils import build_hf_headers

        found: Mapping[str, str] = build_hf_headers()
        return found

    def spelled(self, name: str) -> str:
        """Write a name as it is."""
        return name

    def name_in(self, part: str) -> str:
        """Return a part as it is."""
        return part

    def ask(self, key: str) -> Status:
        """Ask the hub for a file; owners and revisions are folders."""
        repository, revision, path = _parts(key)
        if not path:
            return Status(0, 0, FOLDER)
        found = self._patiently(
            lambda: self.hub.get_paths_info(repository, [path], revision=revision)
        )
        if not found:
            raise FileNotFoundError(errno.ENOENT, "it is not there")
        return self._status_of(_info(key, found[0]))

    def is_still(self, key: str, status: Status) -> bool:
        """As of any store, by the hash that the hub knows."""
        return self.ask(key) == status

    def _everything(self, key: str) -> list[str]:
        revisions = [key] if "/" in key.removeprefix("hf://") else self._matching(key)
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return list(chain.from_iterable(pool.map(self._files, revisions)))

    def _list(self, key: str) -> list[str]:
        return sorted(self._remember(self._tree(key, recursive=False)))

    def folders(self, *arguments: Any) -> Iterator[tuple[tuple[str, ...], list[str]]]:
        """As of stores that list all at once."""
        return super(WebStore, self).folders(*arguments)

    def _files(self, key: str) -> list[str]:
        found = self._tree(key, recursive=True)
        return self._remember(one for one in found if one["type"] == "file")

    def _tree(self, key: str, *, recursive: bool) -> list[Mapping[str, Any]]:
        repository, revision, path = _parts(key)
        root = key.removesuffix(f"/{path}") if path else key
        return self._patiently(
            lambda: [
                _info(f"{root}/{one.path}", one)
                for one in self.hub.list_repo_tree(
                    repository, path or None, revision=revision, recursive=recursive
                )
            ]
        )

    def _matching(self, key: str) -> list[str]:
        """Return the revisions of an owner's repositories that fit the pattern."""
        owner = key.removeprefix("hf://")
        name, at, revision = self.pattern.partition("/")[0].partition("@")
        if not name:
            raise StoreError(
                errno.EINVAL,
                "it is an owner of repositories. Write which ones: hf://owner/name, or "
                "hf://owner/name-seed{seed}@step{step}",
            )
        told = _PLACEHOLDER.split(name)[0]
        models = self._patiently(
            lambda: [one.id for one in self.hub.list_models(author=owner, search=told or None)]
        )
        fits = _fitting(name)
        names = [one for one in models if fits.fullmatch(one.rpartition("/")[2])]
        if not at:
            return [f"hf://{one}" for one in names]
        return [
            f"hf://{one}@{found}"
            for one in names
            for found in self._revisions(one)
            if _fitting(revision).fullmatch(found)
        ]

    def _revisions(self, repository: str) -> Sequence[str]:
        """Return the names of branches and tags; one that both bear counts once."""
        refs = self._patiently(lambda: self.hub.list_repo_refs(repository))
        return list(dict.fromkeys(one.name for one in (*refs.branches, *refs.tags)))

    def _url(self, key: str) -> str:
        from huggingface_hub import hf_hub_url

        repository, revision, path = _parts(key)
        url: str = hf_hub_url(repository, path, revision=revision, endpoint=self.hub.endpoint)
        return url


def _parts(key: str) -> tuple[str, str | None, str]:
    """Return the repository, the revision and the path in it of a key."""
    owner, _, rest = key.removeprefix("hf://").partition("/")
    name, _, path = rest.partition("/")
    name, _, revision = name.partition("@")
    return f"{owner}/{name}", unquote(revision) or None, path


def _fitting(pattern: str) -> re.Pattern[str]:
    return re.compile("[^/]+".join(map(re.escape, _PLACEHOLDER.split(pattern))))


def _info(key: str, one: Any) -> dict[str, Any]:
    """Return what the hub's client says of a file or folder, as file systems say it."""
    if not hasattr(one, "blob_id"):
        return {"name": key, "type": "directory"}
    lfs = getattr(one, "lfs", None)
    return {
        "name": key,
        "type": "file",
        "size": one.size,
        "blob_id": one.blob_id,
        "lfs": {"sha256": lfs.sha256} if lfs else None,
    }
