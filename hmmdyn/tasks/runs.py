"""Writing runs: the same ordinary folder for every task, whatever stops the training.

::

    OUT/recipe.json                      what was trained, so that two recipes never mix
    OUT/seed0/metrics.csv                the outcomes
    OUT/seed0/hmmdyn-metrics.jsonl       the metrics, recorded while the run was trained
    OUT/seed0/step_000320.safetensors    the weights at a step, where they are kept
    OUT/.seed1.<token>.partial/          a run being trained; it gets its name once it is complete

A run folder that bears its name is therefore complete, and is not trained again. The token is new
in every training: processes that outlive a killed one write into no folder but their own. What an
interrupted training left is taken over by the next one, see ``resume.py``.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pandas as pd
from joblib import Parallel, delayed
from safetensors.numpy import save

from hmmdyn.errors import OutputError, UsageError
from hmmdyn.files import replacing

if TYPE_CHECKING:
    import torch

OUTCOMES = "metrics.csv"
SAVED = "resume.pt"  # in the folder of the first run of those that are trained together
# Seconds between looks at how far the runs being trained have come.
_LOOK_EVERY = 1.0


@dataclass(frozen=True)
class Keep:
    """Which checkpoints of a run are written: every ``every``-th and the last; 0 is none.

    With all of them (1), no metrics are recorded: they can be extracted from the checkpoints.
    """

    every: int = 0

    @classmethod
    def parse(cls, text: str) -> Keep:
        """Read ``all``, ``none`` or ``every:N``; UsageError where it is none of them."""
        match = re.fullmatch(r"all|none|every:([1-9]\d*)", text)
        if match is None:
            raise UsageError(
                f"Checkpoints to keep must be 'all', 'none' or 'every:N', got {text!r}."
            )
        return cls(int(match[1]) if match[1] else int(text == "all"))

    def __str__(self) -> str:
        return {0: "none", 1: "all"}.get(self.every, f"every:{self.every}")

    @property
    def all(self) -> bool:
        """Whether every checkpoint is written."""
        return self.every == 1

    def wants(self, n: int, is_last: bool) -> bool:
        """Whether checkpoint number ``n``, from 0 on, is written."""
        return self.every > 0 and (n % self.every == 0 or is_last)


NO_CHECKPOINTS = Keep()


class OutcomeLog:
    """One row per evaluation in ``metrics.csv``, in the 7 digits that float32 carries.

    Rows that are there already stay.
    """

    def __init__(self, folder: Path) -> None:
        self._file = (folder / OUTCOMES).open("a+", encoding="utf-8", newline="")
        self._file.seek(0)
        header = self._file.readline().strip()
        self._columns = tuple(header.split(",")) if header else ()

    def add(self, row: Mapping[str, float]) -> None:
        """Write a row; it is in the file when this returns."""
        if not self._columns:
            self._columns = tuple(row)
            self._file.write(",".join(self._columns) + "\n")
        self._file.write(",".join(f"{row[column]:.7g}" for column in self._columns) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


Train = Callable[[Sequence[int], Sequence[Path]], None]


def train_seeds(
    out: Path,
    seeds: Sequence[int],
    described: Mapping[str, Any],
    train: Train,
    n_epochs: int,
    *,
    at_once: int = 1,
    n_jobs: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Train the seeds that ``out`` does not hold yet, side by side on processes.

    Parameters
    ----------
    out : Path
        Folder for the runs; made where it is missing.
    seeds : sequence of int
        Distinct, each >= 0.
    described : mapping
        The task and everything but the seed that decides what the weights become; kept in
        ``recipe.json``.
    train : callable
        ``train(seeds, folders)`` trains some seeds into existing folders, one each, which are empty
        or hold what it left there when it was interrupted. Processes must be able to be given it.
    n_epochs : int
        Of a complete run, by which progress is counted.
    at_once : int
        Seeds that ``train`` is given.
    n_jobs : int
        Processes, as in joblib: -1 means one per core.
    progress : callable, optional
        Called with (epochs done, in all) of the seeds asked for, about once a second.

    Raises
    ------
    UsageError
        The seeds are none, negative or not distinct, or ``at_once`` is below 1.
    OutputError
        ``out`` holds runs of another recipe, or cannot be written.
    """
    _check_seeds(seeds)
    if at_once < 1:
        raise UsageError(f"'at_once' must be at least 1, got {at_once}.")
    try:
        _claim(out, described)
        missing = [seed for seed in seeds if not _run_folder(out, seed).exists()]
        blocks = [missing[i : i + at_once] for i in range(0, len(missing), at_once)]
        token = uuid4().hex[:8]
        with _watched(out, seeds, token, n_epochs, progress):
            Parallel(n_jobs=n_jobs)(
                delayed(_train_block)(out, block, token, train) for block in blocks
            )
    except OSError as error:
        raise OutputError(
            f"Cannot write the runs into {out}: {error.strerror or error}.\n"
            "Runs that are complete are kept: the same command goes on from there."
        ) from error


def write_checkpoint(folder: Path, step: int, weights: Mapping[str, torch.Tensor]) -> None:
    """Write weights (name -> tensor) as ``step_000320.safetensors``."""
    arrays = {name: tensor.cpu().numpy() for name, tensor in weights.items()}
    (folder / f"step_{step:06d}.safetensors").write_bytes(save(arrays))


@contextmanager
def _watched(
    out: Path,
    seeds: Sequence[int],
    token: str,
    n_epochs: int,
    progress: Callable[[int, int], None] | None,
) -> Iterator[None]:
    """Tell ``progress`` how many epochs the runs have, while they are being trained.

    It is read from their logs, so that it does not matter which process trains them.
    """
    if progress is None:
        yield
        return
    ended = Event()

    def look() -> None:
        done = 0
        while True:
            is_last = ended.wait(_LOOK_EVERY)
            # A run that gets its name while it is looked for is not found: what was done counts.
            found = sum(_epochs_done(out, seed, token, n_epochs) for seed in seeds)
            done = max(done, found)
            progress(done, total)
            if is_last:
                return

    total = len(seeds) * n_epochs
    watcher = Thread(target=look)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def _epochs_done(out: Path, seed: int, token: str, n_epochs: int) -> int:
    if _run_folder(out, seed).exists():
        return n_epochs
    try:
        log = pd.read_csv(_partial_folder(out, seed, token) / OUTCOMES, usecols=["epoch"])
        return int(log["epoch"].max())
    except (OSError, ValueError):  # not begun, complete just now, or nothing logged
        return 0


def _check_seeds(seeds: Sequence[int]) -> None:
    if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise UsageError(
            f"'seeds' must be distinct whole numbers from 0 on, at least one, got {list(seeds)}."
        )
    if max(seeds) >= 2**63:  # what PyTorch can be given
        raise UsageError(f"'seeds' must be below 2^63, got {max(seeds)}.")


def _claim(out: Path, described: Mapping[str, Any]) -> None:
    """Write down what ``out`` is for, or check that it was made for the same."""
    text = json.dumps(described, indent=1) + "\n"
    path = out / "recipe.json"
    if path.exists():
        found = path.read_text(encoding="utf-8", errors="replace")
        if found == text:
            return
        raise OutputError(
            f"{out} holds runs of another recipe, and two recipes must not mix in one folder.\n"
            f"Asked for: {_on_one_line(text)}\n"
            f"{path}: {_on_one_line(found)}\n"
            "Choose another folder, or delete this one."
        )
    if any(out.glob("seed*")):
        raise OutputError(
            f"{out} holds runs that hmmdyn did not train (there is no {path.name}).\n"
            "Choose another folder."
        )
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _on_one_line(text: str) -> str:
    return " ".join(text.split())


def _run_folder(out: Path, seed: int) -> Path:
    return out / f"seed{seed}"


def _partial_folder(out: Path, seed: int, token: str) -> Path:
    return out / f".seed{seed}.{token}.partial"


def _token(partial_folder: Path) -> str:
    return partial_folder.name.split(".")[2]


def _train_block(out: Path, seeds: Sequence[int], token: str, train: Train) -> None:
    """Train seeds in temporary folders, which get the runs' names once they are complete."""
    left = [sorted(out.glob(_partial_folder(out, seed, "*").name)) for seed in seeds]
    folders = [_partial_folder(out, seed, token) for seed in seeds]
    for folder in folders:
        folder.mkdir()
    _take_over(left, folders)
    train(seeds, folders)
    for seed, folder in zip(seeds, folders, strict=True):
        folder.rename(_run_folder(out, seed))


def _take_over(left: Sequence[Sequence[Path]], folders: Sequence[Path]) -> None:
    """Move the latest state that was saved, and the files beside it; remove what else was left.

    ``left`` holds, run by run, the folders of interrupted trainings. A process that still writes
    into one fails, and names no run: it has the old files open, so these are copied.
    """
    states = [folder / SAVED for folder in left[0] if (folder / SAVED).exists()]
    if states:
        latest = max(states, key=lambda path: path.stat().st_mtime_ns)
        token = _token(latest.parent)
        # First the state: files may be longer than it says, but not shorter.
        shutil.copy(latest, folders[0])
        for of_run, folder in zip(left, folders, strict=True):
            for path in (p for old in of_run if _token(old) == token for p in old.iterdir()):
                if path.suffix == ".safetensors":
                    path.rename(folder / path.name)
                elif path.name != SAVED:
                    shutil.copy(path, folder)
    for of_run in left:
        for old in of_run:
            shutil.rmtree(old, ignore_errors=True)
