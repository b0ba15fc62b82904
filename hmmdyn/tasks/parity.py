"""Sparse parity: the label is the product of a few of many ±1 bits (Hu 2023).

A small network memorises the training samples first and generalises later, after a plateau whose
length differs widely between seeds.

Initialisation (Xavier-uniform, zero biases), the product of the *first* bits, and the last,
smaller batch follow the code the paper's authors published. hmmdyn departs from that code twice:
all seeds share one data set, so that runs differ by initialisation and batch order alone (there,
the run's seed draws the data too), and training outcomes are measured like evaluation outcomes, on
the whole set after each epoch (there, averaged over the batches of the epoch).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hmmdyn.errors import MissingPackageError, UsageError
from hmmdyn.tasks.runs import train_seeds, write_checkpoint, write_outcomes

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class ParityRecipe:
    """What decides a run besides its seed; the defaults are the paper's where it says.

    Attributes
    ----------
    n_bits, n_parity_bits : int
        Bits per sample; the label is the product of the first ``n_parity_bits``.
    n_train, n_eval : int
        Samples, drawn independently and uniformly.
    n_hidden : int
        Hidden units (ReLU) of the network ``n_bits``-``n_hidden``-1.
    learning_rate, weight_decay, batch_size : float, float, int
        Of plain SGD; the decay acts on weights and biases alike.
    n_epochs : int
        Passes over the training samples.
    checkpoint_every : int
        Epochs between checkpoints; the untrained and the final network are kept as well.
    data_seed : int
        Seed of the data, which all runs share.
    """

    n_bits: int = 40
    n_parity_bits: int = 3
    n_train: int = 1000
    n_eval: int = 100
    n_hidden: int = 128
    learning_rate: float = 0.1
    weight_decay: float = 0.01
    batch_size: int = 32
    n_epochs: int = 400
    checkpoint_every: int = 10
    data_seed: int = 0

    def __post_init__(self) -> None:
        for name in (
            *("n_bits", "n_parity_bits", "n_train", "n_eval", "n_hidden"),
            *("batch_size", "n_epochs", "checkpoint_every"),
        ):
            if getattr(self, name) < 1:
                raise UsageError(f"'{name}' must be at least 1, got {getattr(self, name)}.")
        if self.n_parity_bits > self.n_bits:
            raise UsageError(
                f"'n_parity_bits' must be at most 'n_bits' ({self.n_bits}), "
                f"got {self.n_parity_bits}."
            )

    @property
    def steps_per_epoch(self) -> int:
        """Batches in one pass; the last one may be smaller."""
        return -(-self.n_train // self.batch_size)


PAPER = ParityRecipe()


class Samples(NamedTuple):
    """Bits, shape (n, n_bits), and labels, shape (n,): float32, each -1 or +1."""

    bits: NDArray[np.float32]
    labels: NDArray[np.float32]


def parity_samples(recipe: ParityRecipe = PAPER) -> tuple[Samples, Samples]:
    """Draw the training and the evaluation samples; needs no PyTorch."""
    rng = np.random.default_rng(recipe.data_seed)
    n = recipe.n_train + recipe.n_eval
    bits = 2 * rng.integers(2, size=(n, recipe.n_bits)).astype(np.float32) - 1
    labels = bits[:, : recipe.n_parity_bits].prod(axis=1)
    cut = recipe.n_train
    return Samples(bits[:cut], labels[:cut]), Samples(bits[cut:], labels[cut:])


def train_parity(
    out: Path,
    seeds: Sequence[int],
    *,
    recipe: ParityRecipe = PAPER,
    n_jobs: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Train the sparse-parity recipe, one run per seed, into an ordinary folder of checkpoints.

    Each run is ``out/seed<N>/``: a float32 state dictionary ``step_<step>.safetensors`` every
    ``recipe.checkpoint_every`` epochs, and ``metrics.csv`` with one row per epoch: ``step, epoch,
    train_loss, train_accuracy, eval_loss, eval_accuracy`` (hinge loss; accuracy 0 … 1). The seed
    decides initialisation and batch order. Runs that are complete are not trained again; one that
    was interrupted starts anew.

    Parameters
    ----------
    out : Path
        Folder for the runs; made where it is missing.
    seeds : sequence of int
        Distinct, each >= 0.
    recipe : ParityRecipe
        The paper's by default.
    n_jobs : int
        Seeds trained side by side, each on one processor core; -1 means one per core. It does not
        change the result.
    progress : callable, optional
        Called with (runs complete, runs asked for) before the first run and after each.

    Raises
    ------
    MissingPackageError
        PyTorch is not installed.
    UsageError
        The seeds are none, negative or not distinct.
    OutputError
        ``out`` holds runs of another recipe, or cannot be written.

    Notes
    -----
    The same machine and version of PyTorch give the same bytes. Others may round differently, and
    training amplifies that until the curves part.

    References
    ----------
    Hu, Chen, Saphra and Cho (2023), arXiv:2308.09543.
    """
    _require_torch()
    train_seeds(out, seeds, "parity", recipe, _train_run, n_jobs=n_jobs, progress=progress)


def _require_torch() -> None:
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise MissingPackageError(
            f"Training needs PyTorch, which cannot be imported ({error}).\n"
            "Install it:  pip install 'hmmdyn[torch]'"
        ) from error


def _train_run(recipe: ParityRecipe, seed: int, folder: Path) -> None:
    """Train one seed and write its checkpoints and outcomes into ``folder``."""
    import torch

    train, evaluation = (_as_tensors(samples) for samples in parity_samples(recipe))
    rng = torch.Generator().manual_seed(seed)
    network = _network(recipe, rng)
    optimizer = torch.optim.SGD(
        network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    rows = []
    with _one_thread():
        for epoch in range(recipe.n_epochs + 1):
            if epoch > 0:
                _train_epoch(network, optimizer, *train, recipe.batch_size, rng)
            step = epoch * recipe.steps_per_epoch
            rows.append(
                {
                    "step": step,
                    "epoch": epoch,
                    **_outcomes("train", network, *train),
                    **_outcomes("eval", network, *evaluation),
                }
            )
            if epoch % recipe.checkpoint_every == 0 or epoch == recipe.n_epochs:
                weights = {name: w.numpy() for name, w in network.state_dict().items()}
                write_checkpoint(folder, step, weights)
    write_outcomes(folder, rows)


def _as_tensors(samples: Samples) -> tuple[torch.Tensor, torch.Tensor]:
    import torch

    return torch.from_numpy(samples.bits), torch.from_numpy(samples.labels)


def _network(recipe: ParityRecipe, rng: torch.Generator) -> torch.nn.Module:
    """Untrained network: Xavier-uniform weights, zero biases."""
    import torch
    from torch.nn.utils import skip_init  # PyTorch's own start would draw from its global state

    network = torch.nn.Sequential(
        OrderedDict(
            hidden=skip_init(torch.nn.Linear, recipe.n_bits, recipe.n_hidden),
            relu=torch.nn.ReLU(),
            output=skip_init(torch.nn.Linear, recipe.n_hidden, 1),
        )
    )
    with torch.no_grad():
        for layer in (network.hidden, network.output):
            # torch.nn.init.xavier_uniform_ takes no generator in the oldest PyTorch supported.
            bound = sqrt(6 / sum(layer.weight.shape))
            layer.weight.uniform_(-bound, bound, generator=rng)
            layer.bias.zero_()
    return network


def _train_epoch(
    network: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    bits: torch.Tensor,
    labels: torch.Tensor,
    batch_size: int,
    rng: torch.Generator,
) -> None:
    import torch

    for batch in torch.randperm(len(bits), generator=rng).split(batch_size):
        optimizer.zero_grad()
        _hinge_loss(network(bits[batch]).squeeze(1), labels[batch]).backward()
        optimizer.step()


def _hinge_loss(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return (1 - outputs * labels).relu().mean()


def _outcomes(
    split: str, network: torch.nn.Module, bits: torch.Tensor, labels: torch.Tensor
) -> dict[str, float]:
    """Hinge loss and accuracy; an output of exactly 0 has no sign and counts as wrong."""
    import torch

    with torch.no_grad():
        outputs = network(bits).squeeze(1)
        n_right = int((outputs * labels > 0).sum())
        return {
            f"{split}_loss": float(_hinge_loss(outputs, labels)),
            f"{split}_accuracy": n_right / len(labels),
        }


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep PyTorch on one thread: sums in one order, and no fight for cores between seeds."""
    import torch

    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)
