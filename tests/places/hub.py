"""A small hub on this machine: the part of its interface that listing and reading use.

Repositories are folders ``owner/name/revision/…`` of files; every file counts as kept by LFS.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs

from .web import Answer, Asked


def hub_of(root: Path) -> Callable[[Asked], Answer | None]:
    """Return how a web server of the folder answers as a hub does."""

    def answer(asked: Asked) -> Answer | None:
        query = {name: values[0] for name, values in parse_qs(asked.query).items()}
        if asked.path == "/api/models":
            return _json(_models(root, query))
        told = re.fullmatch(r"/api/models/([^/]+/[^/]+)/refs", asked.path)
        if told:
            return _json(_refs(root / told[1]))
        told = re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/([^/]+)(?:/(.*))?", asked.path)
        if told:
            folder = root / told[1] / told[2]
            return _json(_tree(folder, told[3] or "", "recursive=" in asked.query.lower()))
        told = re.fullmatch(r"/api/models/([^/]+/[^/]+)/paths-info/([^/]+)", asked.path)
        if told:
            return _json(_there(root / told[1] / told[2], _wanted(asked)))
        return None if "/resolve/" in asked.path else Answer(status=404)

    return answer


def _json(value: object) -> Answer:
    if value is None:
        return Answer(status=404, headers={"X-Error-Code": "RevisionNotFound"})
    body = json.dumps(value).encode()
    return Answer(status=200, headers={"Content-Type": "application/json"}, body=body)


def _models(root: Path, query: dict[str, str]) -> list[dict[str, str]]:
    names = sorted(one.name for one in (root / query["author"]).iterdir())
    return [
        {"id": f"{query['author']}/{name}", "modelId": f"{query['author']}/{name}"}
        for name in names
        if query.get("search", "") in name
    ]


def _refs(folder: Path) -> dict[str, list[dict[str, str]]]:
    names = sorted(one.name for one in folder.iterdir())
    tags = names[::2]
    told = {
        "branches": [n for n in names if n not in tags],
        "tags": tags,
        "converts": [],
    }
    return {
        kind: [{"name": n, "ref": f"refs/{kind}/{n}", "targetCommit": "0" * 40} for n in of]
        for kind, of in told.items()
    }


def _tree(folder: Path, below: str, recursive: bool) -> list[dict[str, object]] | None:
    if not folder.is_dir():
        return None
    found = (folder / below).rglob("*") if recursive else (folder / below).iterdir()
    return [_one(folder, one.relative_to(folder).as_posix()) for one in sorted(found)]


def _one(folder: Path, path: str) -> dict[str, object]:
    file = folder / path
    if file.is_dir():
        return {"type": "directory", "path": path, "oid": "1" * 40}
    data = file.read_bytes()
    oid = hashlib.sha256(data).hexdigest()
    lfs = {"oid": oid, "size": len(data), "pointerSize": 100}
    return {"type": "file", "path": path, "size": len(data), "oid": oid[:40], "lfs": lfs}


def _wanted(asked: Asked) -> list[str]:
    return parse_qs(asked.body.decode())["paths"]


def _there(folder: Path, paths: list[str]) -> list[dict[str, object]]:
    return [_one(folder, path) for path in paths if (folder / path).exists()]
