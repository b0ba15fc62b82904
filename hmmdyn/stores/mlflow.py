"""MLflow's store of files: a folder per run, with a file of lines per metric."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from hmmdyn.checkpoints.find.walking import Tree, place_of
from hmmdyn.errors import LogError
from hmmdyn.logs import Log
from hmmdyn.logs.content import LARGEST_FILE
from hmmdyn.names import printable
from hmmdyn.places import Place

_META = "meta.yaml"
_RUN_NAME = re.compile(r"^run_name:\s*['\"]?(?P<name>[^'\"\n]{1,200})['\"]?\s*$", re.MULTILINE)
_SEEDS = ("seed", "random_seed", "random_state")


@dataclass(frozen=True)
class MlflowRun:
    """A run of the store: its folder, and the files of its metrics by name."""

    parts: tuple[str, ...]
    folder: Place
    metrics: dict[str, Place]

    @property
    def shown(self) -> str:
        """What messages call it."""
        return printable("/".join(self.parts) or self.folder.name)

    def read(self) -> Log:
        """Read its metrics: a line is a time, a value and a step.

        Raises
        ------
        LogError
        """
        rows: dict[int, dict[str, Any]] = {}
        n_damaged = 0
        for name, path in self.metrics.items():
            for line in _text(path).splitlines():
                fields = line.split()
                try:
                    value, step = float(fields[1]), int(fields[2])
                except (ValueError, IndexError):
                    n_damaged += bool(line.strip())
                    continue
                rows.setdefault(step, {})[name] = value
        if not rows:
            raise LogError("it has no metrics")
        frame = pd.DataFrame([{"step": step, **row} for step, row in rows.items()])
        frame.insert(0, "run", self._name())
        seed = self._seed()
        if seed is not None:
            frame.insert(0, "seed", seed)
        left_out = {"Lines of MLflow's that are not three numbers": n_damaged} if n_damaged else {}
        return Log(frame, "MLflow", left_out)

    def _name(self) -> str:
        tag = self.folder / "tags" / "mlflow.runName"
        name = _text(tag).strip() if tag.is_file() else ""
        if not name:
            match = _RUN_NAME.search(_text(self.folder / _META))
            name = match["name"].strip() if match else ""
        return name or self.folder.name

    def _seed(self) -> str | None:
        for name in _SEEDS:
            path = self.folder / "params" / name
            if path.is_file():
                return _text(path).strip() or None
        return None


def find_mlflow_runs(tree: Tree) -> Iterator[MlflowRun]:
    """Find runs by the file that MLflow puts beside their metrics.

    Runs of one name are told apart by their folders.
    """
    with_meta = {
        folder.parts for folder in tree.folders if any(e.name == _META for e in folder.files)
    }
    metrics: dict[tuple[str, ...], dict[str, Place]] = {}
    for folder in tree.folders:
        for depth in range(len(folder.parts) - 1, -1, -1):
            if folder.parts[depth] == "metrics" and folder.parts[:depth] in with_meta:
                names = metrics.setdefault(folder.parts[:depth], {})
                below = folder.parts[depth + 1 :]
                names |= {"/".join((*below, e.name)): place_of(e) for e in folder.files}
                break
    for parts, files in metrics.items():
        yield MlflowRun(parts, tree.root / "/".join(parts), files)


def _text(path: Place) -> str:
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise LogError(f"a file of it is larger than {LARGEST_FILE // 2**20} MiB")
        return path.read_bytes().decode(errors="replace")
    except OSError as error:
        raise LogError(f"it cannot be read ({error.strerror})") from None
