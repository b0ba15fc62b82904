"""Writing runs: the same ordinary folder for every task, whatever stops the training.

::

    OUT/recipe.json                      what was trained, so that two recipes never mix
    OUT/seed0/metrics.csv                the outcomes
    OUT/seed0/hmmdyn-metrics.jsonl       the metrics, recorded while the run was trained
    OUT/seed0/step_000320.safetensors    the weights at a step, where they are kept
    OUT/.seed1.<token>.partial/          runs being trained together, named by the first of them
        seed1/ seed2/ …                  moved to OUT once all are complete
        state.safetensors                what the training goes on from, see ``resume.py``
        complete                         only the moving is left to be done

A run folder in OUT is therefore complete, and is not trained again. The token is new in every
training. The next one takes over what an interrupted one left by renaming its folder: processes
that outlive a killed training no longer find their files, and stop.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from hmmdyn.errors import HmmdynError, OutputError, UsageError
from hmmdyn.files import replacing
from hmmdyn.messages import Either

if TYPE_CHECKING:
    import torch

OUTCOMES = "metrics.csv"
# In the folder of runs that are trained together.
SAVED, COMPLETE = "state.safetensors", "complete"
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
        self._file.write(",".join(_written(row[column]) for column in self._columns) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def _written(number: float) -> str:
    return str(number) if isinstance(number, int) else f"{number:.7g}"


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
        ``train(seeds, folders)`` trains some seeds into existing folders, one each, side by side,
        which are empty or hold what it left there when it was interrupted. Processes must be able
        to be given it.
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
        ``out`` holds runs of another recipe, cannot be written, or another training took it over.
    HmmdynError
        A process was killed.
    """
    from joblib import Parallel, delayed

    _check_seeds(seeds)
    if at_once < 1:
        raise UsageError(f"'at_once' must be at least 1, got {at_once}.")
    with _failing_clearly(out):
        _claim(out, described)
        for folder in out.glob(f".*.partial/{COMPLETE}"):
            _move_runs(out, folder.parent)
        missing = [seed for seed in seeds if not _run_folder(out, seed).exists()]
        blocks = _blocks(out, missing, at_once)
        with _watched(out, seeds, blocks, n_epochs, progress):
            Parallel(n_jobs=n_jobs)(
                delayed(_train_block)(out, block, train, os.getpid()) for block in blocks
            )


def write_checkpoint(folder: Path, step: int, weights: Mapping[str, torch.Tensor]) -> None:
    """Write weights (name -> tensor) as ``step_000320.safetensors``."""
    from safetensors.numpy import save

    arrays = {name: tensor.cpu().numpy() for name, tensor in weights.items()}
    (folder / f"step_{step:06d}.safetensors").write_bytes(save(arrays))


@dataclass(frozen=True)
class _Block:
    """Runs that are trained together, in a hidden folder of their own."""

    folder: Path
    seeds: tuple[int, ...]

    def run(self, seed: int) -> Path:
        return self.folder / f"seed{seed}"


def _blocks(out: Path, seeds: Sequence[int], at_once: int) -> list[_Block]:
    token = uuid4().hex[:8]
    return [
        _Block(out / f".seed{seeds[i]}.{token}.partial", tuple(seeds[i : i + at_once]))
        for i in range(0, len(seeds), at_once)
    ]


@contextmanager
def _failing_clearly(out: Path) -> Iterator[None]:
    """Turn what can go wrong with files and processes into messages."""
    goes_on = "What was trained is kept: the same command goes on from there."
    try:
        yield
    except BrokenProcessPool as error:
        raise HmmdynError(
            "A worker process was killed, most likely because memory ran out. "
            f"{goes_on} Fewer processes take less: ",
            Either(typed="--jobs 1", called="n_jobs=1"),
        ) from error
    except FileNotFoundError as error:
        raise OutputError(
            f"{error.filename or error} has gone. Another command may have taken over what this "
            f"one was training.\n{goes_on}"
        ) from error
    except OSError as error:
        raise OutputError(
            f"Cannot write the runs into {out}: {error.strerror or error}.\n{goes_on}"
        ) from error


@contextmanager
def _watched(
    out: Path,
    seeds: Sequence[int],
    blocks: Sequence[_Block],
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
    logs = {seed: block.run(seed) / OUTCOMES for block in blocks for seed in block.seeds}

    def look() -> None:
        done = 0
        while True:
            is_last = ended.wait(_LOOK_EVERY)
            # A run that is renamed during this look is found under neither name: keep the larger
            # number.
            found = sum(_epochs_done(out, seed, logs, n_epochs) for seed in seeds)
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


def _epochs_done(out: Path, seed: int, logs: Mapping[int, Path], n_epochs: int) -> int:
    if seed not in logs or _run_folder(out, seed).exists():
        return n_epochs
    import pandas as pd

    try:
        return int(pd.read_csv(logs[seed], usecols=["epoch"])["epoch"].max())
    except (OSError, ValueError):  # not begun, nothing logged yet, or moved a moment ago
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


def _train_block(out: Path, block: _Block, train: Train, command: int) -> None:
    """Train runs together, and move them to ``out`` once all are complete.

    ``command`` is the process that asked for it.
    """
    if command not in (os.getpid(), os.getppid()):
        return  # it was killed; started again, it trains these runs itself
    _take_over(out, block.folder)
    # Another command may have trained some since.
    seeds = [seed for seed in block.seeds if not _run_folder(out, seed).exists()]
    runs = [block.run(seed) for seed in seeds]
    for stacked_before in set(block.folder.glob("seed*")) - set(runs):
        shutil.rmtree(stacked_before)
    for run in runs:
        run.mkdir(parents=True, exist_ok=True)
    if runs:
        train(seeds, runs)
        (block.folder / COMPLETE).touch()
    _move_runs(out, block.folder)


def _take_over(out: Path, folder: Path) -> None:
    """Let ``folder`` be what the last training of the same seeds left; remove other leftovers.

    All are renamed first, at once, so that whoever still writes there fails and moves no run.
    """
    seed = folder.name.split(".")[1]
    left = [path for path in out.glob(f".{seed}.*.partial") if path != folder]
    saved = [path / SAVED for path in left if (path / SAVED).exists()]
    if saved:
        latest = max(saved, key=lambda path: path.stat().st_mtime_ns).parent
        latest.rename(folder)
        left.remove(latest)
    for path in left:
        path.rename(path.with_suffix(".left"))
    for path in out.glob(f".{seed}.*.left"):
        shutil.rmtree(path, ignore_errors=True)


def _move_runs(out: Path, folder: Path) -> None:
    """Move complete runs to ``out``; what was moved before a stop is there already."""
    for run in sorted(folder.glob("seed*")):
        if not (out / run.name).exists():
            with suppress(FileNotFoundError):  # another command has just moved it
                run.rename(out / run.name)
    shutil.rmtree(folder, ignore_errors=True)
