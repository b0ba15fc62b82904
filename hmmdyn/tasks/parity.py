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

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from hmmdyn.errors import UsageError
from hmmdyn.tasks.recipe import DATA_SEED, Recipe, option
from hmmdyn.tasks.task import Data, Samples, Task

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray


@dataclass(frozen=True)
class ParityRecipe(Recipe):
    """The defaults are the paper's where it says.

    Plain SGD; the decay acts on weights and biases alike.
    """

    data_seed: int = option(0, DATA_SEED, least=0)
    n_bits: int = option(40, "Bits per sample.", least=1)
    n_parity_bits: int = option(3, "Bits whose product is the label: the first ones.", least=1)
    n_train: int = option(1000, "Training samples, drawn independently and uniformly.", least=1)
    n_eval: int = option(100, "Evaluation samples, likewise.", least=1)
    n_hidden: int = option(128, "Hidden units (ReLU).", least=1)
    learning_rate: float = Recipe.but("learning_rate", 0.1)
    weight_decay: float = Recipe.but("weight_decay", 0.01)
    batch_size: int = Recipe.but("batch_size", 32)
    n_epochs: int = Recipe.but("n_epochs", 400)
    checkpoint_every: int = Recipe.but("checkpoint_every", 320)
    evaluate_every: int = Recipe.but("evaluate_every", 32)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_parity_bits > self.n_bits:
            raise UsageError(
                f"'n_parity_bits' must be at most 'n_bits' ({self.n_bits}), "
                f"got {self.n_parity_bits}."
            )


class ParitySamples(NamedTuple):
    """Bits, shape (n, n_bits), and labels, shape (n,): float32, each -1 or +1."""

    bits: NDArray[np.float32]
    labels: NDArray[np.float32]


def parity_samples(recipe: ParityRecipe) -> tuple[ParitySamples, ParitySamples]:
    """Draw the training and the evaluation samples; needs no PyTorch."""
    import numpy as np

    rng = np.random.default_rng(recipe.data_seed)
    n = recipe.n_train + recipe.n_eval
    bits = 2 * rng.integers(2, size=(n, recipe.n_bits)).astype(np.float32) - 1
    labels = bits[:, : recipe.n_parity_bits].prod(axis=1)
    cut = recipe.n_train
    return ParitySamples(bits[:cut], labels[:cut]), ParitySamples(bits[cut:], labels[cut:])


def _data(recipe: ParityRecipe) -> Data:
    import torch

    train, evaluation = (
        Samples(torch.from_numpy(s.bits), torch.from_numpy(s.labels))
        for s in parity_samples(recipe)
    )
    return Data(train, evaluation)


def _network(recipe: ParityRecipe, rng: torch.Generator) -> torch.nn.Module:
    from hmmdyn.tasks.networks import perceptron

    return perceptron(recipe.n_bits, recipe.n_hidden, 1, rng)


def _hinge(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return (1 - outputs.squeeze(-1) * labels).relu().mean()


def _has_the_sign(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """An output of exactly 0 has no sign and counts as wrong."""
    return outputs.squeeze(-1) * labels > 0


def _sgd(parameters: Iterable[torch.Tensor], recipe: ParityRecipe) -> torch.optim.Optimizer:
    import torch

    return torch.optim.SGD(parameters, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)


PARITY = Task(
    "parity",
    "Sparse parity: an MLP memorises, then generalises after a plateau.",
    ParityRecipe(),
    data=_data,
    network=_network,
    loss=_hinge,
    is_right=_has_the_sign,
    optimizer=_sgd,
)
