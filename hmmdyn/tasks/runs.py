"""Writing runs: the same ordinary folder for every task, whatever stops the training.

::

    OUT/recipe.json                      what was trained, so that two recipes never mix
    OUT/seed0/step_000320.safetensors    the weights at a step
    OUT/seed0/metrics.csv                the outcomes
    OUT/.seed1.partial/                  a run being trained; it gets its name once it is complete

A run folder that bears its name is therefore complete, and is not trained again.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pandas as pd
from joblib import Parallel, delayed
from numpy.typing import NDArray
from safetensors.numpy import save

from hmmdyn.errors import OutputError, UsageError
from hmmdyn.files import replacing

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Recipe = TypeVar("Recipe", bound="DataclassInstance")


def train_seeds(
    out: Path,
    seeds: Sequence[int],
    task: str,
    recipe: Recipe,
    train: Callable[[Recipe, int, Path], None],
    *,
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
    task : str
        The task's name, kept in ``recipe.json`` with the recipe.
    recipe : dataclass
        Everything but the seed that decides what the weights become.
    train : callable
        ``train(recipe, seed, folder)`` trains one seed and writes its checkpoints and outcomes
        into an existing, empty folder. A function of a module, so that processes can be given it.
    n_jobs : int
        Processes, as in joblib: -1 means one per core.
    progress : callable, optional
        Called with (runs complete, runs asked for) before the first run and after each.

    Raises
    ------
    UsageError
        The seeds are none, negative or not distinct.
    OutputError
        ``out`` holds runs of another recipe, or cannot be written.
    """
    _check_seeds(seeds)
    report = progress or (lambda done, total: None)
    try:
        _claim(out, task, recipe)
        missing = [seed for seed in seeds if not _run_folder(out, seed).exists()]
        n_complete = len(seeds) - len(missing)
        report(n_complete, len(seeds))
        work = (delayed(_train_run)(out, seed, recipe, train) for seed in missing)
        for _ in Parallel(n_jobs=n_jobs, return_as="generator_unordered")(work):
            n_complete += 1
            report(n_complete, len(seeds))
    except OSError as error:
        raise OutputError(
            f"Cannot write the runs into {out}: {error.strerror or error}.\n"
            "Runs that are complete are kept: the same command goes on from there."
        ) from error


def write_checkpoint(folder: Path, step: int, weights: Mapping[str, NDArray]) -> None:
    """Write weights (name -> array) as ``step_000320.safetensors``."""
    (folder / f"step_{step:06d}.safetensors").write_bytes(save(dict(weights)))


def write_outcomes(folder: Path, rows: Sequence[Mapping[str, float]]) -> None:
    """Write one row per logged step as ``metrics.csv``, in the 7 digits that float32 carries."""
    pd.DataFrame(rows).to_csv(
        folder / "metrics.csv", index=False, float_format="%.7g", lineterminator="\n"
    )


def _check_seeds(seeds: Sequence[int]) -> None:
    if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise UsageError(
            f"'seeds' must be distinct whole numbers from 0 on, at least one, got {list(seeds)}."
        )


def _claim(out: Path, task: str, recipe: Recipe) -> None:
    """Write down what ``out`` is for, or check that it was made for the same."""
    described = json.dumps({"task": task, **asdict(recipe)}, indent=1) + "\n"
    path = out / "recipe.json"
    if path.exists():
        found = path.read_text(encoding="utf-8", errors="replace")
        if found == described:
            return
        raise OutputError(
            f"{out} holds runs of another recipe, and two recipes must not mix in one folder.\n"
            f"Asked for: {_on_one_line(described)}\n"
            f"{path}: {_on_one_line(found)}\n"
            "Choose another folder, or delete this one."
        )
    if any(out.glob("seed*")):
        raise OutputError(
            f"{out} holds runs that hmmdyn did not train (there is no {path.name}).\n"
            "Choose another folder."
        )
    with replacing(path) as temporary:
        temporary.write_text(described, encoding="utf-8")


def _on_one_line(text: str) -> str:
    return " ".join(text.split())


def _run_folder(out: Path, seed: int) -> Path:
    return out / f"seed{seed}"


def _train_run(
    out: Path, seed: int, recipe: Recipe, train: Callable[[Recipe, int, Path], None]
) -> None:
    """Train one seed in a temporary folder, which gets the run's name once it is complete."""
    complete = _run_folder(out, seed)
    partial = out / f".{complete.name}.partial"
    if partial.exists():  # left by an interrupted training
        shutil.rmtree(partial)
    partial.mkdir()
    train(recipe, seed, partial)
    partial.rename(complete)
