"""Induction: a two-layer transformer learns to continue random sequences that repeat themselves.

Every sequence is a row of distinct random tokens, over and over again. How many tokens it takes to
come round differs between sequences, so nothing but the context says what follows: find the token
at hand where it stood before, and copy the one after it. Heads that do so arise abruptly in
training (Olsson et al. 2022), as in-context learning does elsewhere (Reddy 2023; Singh et al.
2024), and when they do differs between seeds.

Only tokens of the second half are asked for. All of these can be told with certainty, so losses
can go to 0 and accuracies to 1; to guess among the tokens that the sequence is made of gives an
accuracy of about a twelfth. Data, network and recipe are hmmdyn's own. The published works draw
new sequences all the time; here all seeds share one set, and evaluation sequences are others.

References
----------
Olsson, Elhage, Nanda et al. (2022), In-context learning and induction heads, arXiv:2209.11895.
Reddy (2023), The mechanistic basis of data dependence and abrupt learning in an in-context
classification task, arXiv:2312.03002.
Singh, Moskovitz, Hill, Chan and Saxe (2024), What needs to go right for an induction head?,
arXiv:2404.07129.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hmmdyn.errors import UsageError
from hmmdyn.tasks.recipe import DATA_SEED, Recipe, option
from hmmdyn.tasks.task import Data, Samples, Task, adamw

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class InductionRecipe(Recipe):
    """The defaults are chosen so that a seed takes some two minutes of one processor core."""

    data_seed: int = option(0, DATA_SEED, least=0)
    n_tokens: int = option(64, "Tokens that sequences are made of.", least=2)
    n_half: int = option(
        16, "Tokens of half a sequence; it repeats itself after n_half/2 to n_half.", least=2
    )
    n_train: int = option(2048, "Training sequences, drawn independently.", least=1)
    n_eval: int = option(512, "Evaluation sequences, likewise.", least=1)
    n_layers: int = option(2, "Layers, each of attention and an MLP.", least=1)
    d_model: int = option(64, "Width of the residual stream.", least=1)
    n_heads: int = option(4, "Attention heads of a layer.", least=1)
    d_head: int = option(16, "Width of a head.", least=1)
    d_mlp: int = option(64, "Hidden units of each MLP (ReLU).", least=1)
    learning_rate: float = Recipe.but("learning_rate", 3e-4)
    weight_decay: float = Recipe.but("weight_decay", 0.1)
    batch_size: int = Recipe.but("batch_size", 64)
    n_epochs: int = Recipe.but("n_epochs", 100)
    checkpoint_every: int = Recipe.but("checkpoint_every", 16)
    evaluate_every: int = Recipe.but("evaluate_every", 16)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_half > self.n_tokens:
            raise UsageError(
                f"'n_half' must be at most 'n_tokens' ({self.n_tokens}), got {self.n_half}."
            )


def _data(recipe: InductionRecipe) -> Data:
    """Inputs: all tokens but the last; targets: those of the second half but its first."""
    import numpy as np
    import torch

    rng = np.random.default_rng(recipe.data_seed)
    n, n_half = recipe.n_train + recipe.n_eval, recipe.n_half
    periods = rng.integers(n_half // 2, n_half, size=(n, 1), endpoint=True)
    shuffled = rng.permuted(np.tile(np.arange(recipe.n_tokens), (n, 1)), axis=1)
    places = np.arange(2 * n_half) % periods
    sequences = torch.from_numpy(np.take_along_axis(shuffled, places, axis=1))
    inputs, targets = sequences[:, :-1], sequences[:, n_half + 1 :]
    cut = recipe.n_train
    return Data(Samples(inputs[:cut], targets[:cut]), Samples(inputs[cut:], targets[cut:]))


def _network(recipe: InductionRecipe, rng: torch.Generator) -> torch.nn.Module:
    from hmmdyn.tasks.networks import SequenceTransformer

    return SequenceTransformer(
        recipe.n_tokens,
        2 * recipe.n_half - 1,
        recipe.n_half - 1,
        n_layers=recipe.n_layers,
        d_model=recipe.d_model,
        n_heads=recipe.n_heads,
        d_head=recipe.d_head,
        d_mlp=recipe.d_mlp,
        rng=rng,
    )


def _cross_entropy(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean over all tokens asked for, in nats."""
    import torch

    return torch.nn.functional.cross_entropy(outputs.flatten(0, 1), targets.flatten())


def _share_most_likely(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Share of a sequence's tokens, of those asked for, that have the largest logit."""
    return (outputs.argmax(dim=-1) == targets).double().mean(dim=1)


INDUCTION = Task(
    "induction",
    "Induction: a two-layer transformer learns to continue sequences that repeat themselves.",
    InductionRecipe(),
    data=_data,
    network=_network,
    loss=_cross_entropy,
    is_right=_share_most_likely,
    optimizer=adamw,
)
