"""All tasks by name, and the one way to train any of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from hmmdyn.errors import UsageError
from hmmdyn.names import did_you_mean
from hmmdyn.tasks.digits import DEEP_DIGITS, DESTABILISED_DIGITS, DIGITS
from hmmdyn.tasks.images import CIFAR100, DESTABILISED_CIFAR100, MNIST
from hmmdyn.tasks.induction import INDUCTION
from hmmdyn.tasks.modular_addition import MODULAR_ADDITION, STABILISED_MODULAR_ADDITION
from hmmdyn.tasks.parity import PARITY
from hmmdyn.tasks.recipe import Recipe
from hmmdyn.tasks.runs import NO_CHECKPOINTS, Keep, train_seeds
from hmmdyn.tasks.task import Task, require_device, require_torch

TASKS = {
    task.name: task
    for task in (
        PARITY,
        MODULAR_ADDITION,
        STABILISED_MODULAR_ADDITION,
        INDUCTION,
        DIGITS,
        DEEP_DIGITS,
        DESTABILISED_DIGITS,
        MNIST,
        CIFAR100,
        DESTABILISED_CIFAR100,
    )
}


def train(
    task: str,
    out: Path,
    seeds: Sequence[int],
    *,
    recipe: Recipe | None = None,
    keep: Keep = NO_CHECKPOINTS,
    device: str = "cpu",
    at_once: int | None = None,
    n_jobs: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Train a task with several seeds, one run each, into an ordinary folder of runs.

    Each run is ``out/seed<N>/``: outcomes in ``metrics.csv`` (``step, epoch, train_loss,
    train_accuracy, eval_loss, eval_accuracy``; accuracy 0 … 1), and the metrics of its weights,
    recorded while it was trained (``hmmdyn-metrics.jsonl``), or its checkpoints, or both. The seed
    decides first weights and batch order. Runs that are complete are not trained again; one that
    was interrupted goes on from its last saved state (at the first checkpoint after each minute),
    unless the seeds stacked with it, the device, hmmdyn or PyTorch are others now.

    Parameters
    ----------
    task : str
        A name in `TASKS`.
    out : Path
        Folder for the runs; made where it is missing.
    seeds : sequence of int
        Distinct, each >= 0.
    recipe : Recipe, optional
        Of the task's own kind; its defaults otherwise.
    keep : Keep
        Which checkpoints to write; metrics are recorded unless all are.
    device : str
        ``cpu``, ``cuda`` or another that PyTorch knows.
    at_once : int, optional
        Seeds trained as one stack of networks; by default 1 on a CPU and for networks that cannot
        be stacked, else all. Rounding depends on it; nothing else does.
    n_jobs : int
        Stacks trained side by side, each on one processor core; -1 means one per core. It does not
        change the result.
    progress : callable, optional
        Called with (epochs done, epochs in all), about once a second.

    Raises
    ------
    MissingPackageError
        PyTorch is not installed, or torchvision where a task's data need it.
    UsageError
        There is no such task or device, the task's data are not there, the recipe is that of
        another task, the seeds are none, negative or not distinct, or a network cannot be stacked.
    OutputError
        ``out`` holds runs of another recipe, or cannot be written.

    Notes
    -----
    The same machine and version of PyTorch give the same bytes, with the same ``at_once``. Others
    may round differently, and training amplifies that until the curves part.

    References
    ----------
    Hu, Chen, Saphra and Cho (2023), arXiv:2308.09543.
    """
    chosen = _with_recipe(task, recipe)
    require_torch()
    require_device(device)
    from hmmdyn.tasks.training import train_networks

    chosen.data(chosen.recipe)  # fails, where data are missing, before a folder is made
    train_seeds(
        out,
        seeds,
        {"task": task, **chosen.recipe.decisive(), "keep_checkpoints": str(keep)},
        partial(train_networks, chosen, keep=keep, device=device),
        chosen.recipe.n_epochs,
        at_once=fitting_stack(chosen, device, len(seeds)) if at_once is None else at_once,
        n_jobs=n_jobs,
        progress=progress,
    )


def fitting_stack(task: Task, device: str, n_seeds: int) -> int:
    """Return how many of n seeds are best trained at once: one on a CPU, or with buffers."""
    import torch

    if torch.device(device).type == "cpu":
        return 1
    network = task.network(task.recipe, torch.Generator())
    return 1 if any(True for _ in network.buffers()) else max(1, n_seeds)


def _with_recipe(name: str, recipe: Recipe | None) -> Task:
    if name not in TASKS:
        raise UsageError(
            f"There is no task {name!r}.{did_you_mean(name, TASKS)} There is: {', '.join(TASKS)}."
        )
    task = TASKS[name]
    if recipe is None:
        return task
    if type(recipe) is not type(task.recipe):
        raise UsageError(
            f"The recipe of {name!r} must be a {type(task.recipe).__name__}, "
            f"got a {type(recipe).__name__}."
        )
    return replace(task, recipe=recipe)
