"""The training of every task: epochs of shuffled batches, with outcomes and metrics on the way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch

from hmmdyn.record import MetricRecorder
from hmmdyn.tasks.recipe import Recipe
from hmmdyn.tasks.resume import Batches, SavedState
from hmmdyn.tasks.runs import Keep, OutcomeLog, write_checkpoint
from hmmdyn.tasks.stack import Stack
from hmmdyn.tasks.task import Samples, Task

# Numbers of input evaluated at once: activations of a whole data set need not fit into memory.
_EVALUATED_AT_ONCE = 2_000_000


def train_networks(
    task: Task, seeds: Sequence[int], folders: Sequence[Path], *, keep: Keep, device: str
) -> None:
    """Train the networks of some seeds together, each into a folder of its own.

    Parameters
    ----------
    task : Task
        With the recipe to train.
    seeds : sequence of int
        A seed draws its network's first weights and the order of its batches.
    folders : sequence of Path
        Existing, one for each seed, side by side. They are empty, or hold what an interrupted
        training left, from which this one then goes on.
    keep : Keep
        Which checkpoints to write, and so whether metrics are recorded.
    device : str
        As PyTorch names it.
    """
    recipe = task.recipe
    data = task.data(recipe)
    train, evaluation = (Samples(*(t.to(device) for t in samples)) for samples in data)
    # Random numbers come from the processor, so that they do not depend on the device.
    rngs = [torch.Generator().manual_seed(seed) for seed in seeds]
    with _one_thread(), ExitStack() as files:
        stack = Stack([task.network(recipe, rng) for rng in rngs], device)
        optimizer = task.optimizer(stack.parameters(), recipe)
        batches = Batches(len(train), recipe.batch_size, rngs)
        made_for = {"seeds": list(seeds), "device": device}
        state = SavedState(folders, made_for, stack, optimizer, batches)
        done = state.restore()
        runs = [files.enter_context(_Run(folder, keep, recipe)) for folder in folders]
        n_steps = recipe.n_epochs * batches.steps_per_epoch
        for step in range(done + 1, n_steps + 1):
            is_last = step == n_steps
            if step > 0:
                batch = batches.of_step(step).to(device)
                _train_step(task, stack, optimizer, train, batch, rngs)
            if is_last or step % recipe.evaluate_every == 0:
                of_train = _outcomes("train", task, stack, train)
                of_evaluation = _outcomes("eval", task, stack, evaluation)
                for run, *outcomes in zip(runs, of_train, of_evaluation, strict=True):
                    run.log(step, step / batches.steps_per_epoch, outcomes[0] | outcomes[1])
            if is_last or step % recipe.checkpoint_every == 0:
                for i, run in enumerate(runs):
                    run.look(stack.weights(i), step, is_last)
                # Only now: every outcome is in its row. And not at step 0: a recording of one row
                # cannot be resumed.
                if step > 0:
                    state.save(step)


class _Run:
    """The files of one run: its log of outcomes, and its recorded metrics or its checkpoints."""

    def __init__(self, folder: Path, keep: Keep, recipe: Recipe) -> None:
        self._folder, self._keep = folder, keep
        self._checkpoint_every = recipe.checkpoint_every
        self._log = OutcomeLog(folder)
        # Where all checkpoints are kept, metrics can be extracted from them later.
        self._recorder = None if keep.all else MetricRecorder(folder, every_rank=True)

    def __enter__(self) -> _Run:
        return self

    def __exit__(self, *_: object) -> None:
        self._log.close()
        if self._recorder is not None:
            self._recorder.close()

    def log(self, step: int, epoch: float, outcomes: dict[str, float]) -> None:
        """Write a row of outcomes; the recorded metrics to come are given them, too."""
        self._log.add({"step": step, "epoch": epoch, **outcomes})
        if self._recorder is not None:
            self._recorder.log(step, **outcomes)

    def look(self, weights: dict[str, torch.Tensor], step: int, is_last: bool) -> None:
        """Record the metrics of the weights and write a checkpoint, as far as it is asked for."""
        if self._recorder is not None:
            self._recorder.record(weights, step)
        if self._keep.wants(step // self._checkpoint_every, is_last):
            write_checkpoint(self._folder, step, weights)


def _train_step(
    task: Task,
    stack: Stack,
    optimizer: torch.optim.Optimizer,
    samples: Samples,
    batch: torch.Tensor,
    rngs: Sequence[torch.Generator],
) -> None:
    inputs = samples.inputs[batch]
    if task.augment is not None:
        inputs = task.augment(inputs, rngs)
    stack.train(True)
    optimizer.zero_grad()
    # Losses are added up, not averaged: so each network gets the gradient of its own loss alone.
    stack.map(task.loss, inputs, samples.targets[batch]).sum().backward()
    optimizer.step()


def _outcomes(split: str, task: Task, stack: Stack, samples: Samples) -> list[dict[str, float]]:
    """Mean loss and share of right samples of every network, each over all samples."""

    def sums(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        loss = task.loss(outputs, targets).double() * len(targets)
        return torch.stack([loss, task.is_right(outputs, targets).sum().double()])

    stack.train(False)
    with torch.no_grad():
        n = stack.n_networks
        at_once = max(1, _EVALUATED_AT_ONCE // samples.inputs[0].numel())
        total = sum(
            stack.map(sums, _for_each(inputs, n), _for_each(targets, n))
            for inputs, targets in zip(
                samples.inputs.split(at_once), samples.targets.split(at_once), strict=True
            )
        )
    return [
        {f"{split}_loss": loss, f"{split}_accuracy": accuracy}
        for loss, accuracy in (total / len(samples)).tolist()
    ]


def _for_each(values: torch.Tensor, n: int) -> torch.Tensor:
    """The same values for each of n networks, without a copy."""
    return values.expand(n, *values.shape)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep PyTorch on one thread: sums in one order, and no fight for cores between seeds."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)
