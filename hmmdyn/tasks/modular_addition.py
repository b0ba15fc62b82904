"""Modular addition: a one-layer transformer learns x + y modulo a prime (Hu 2023).

It memorises the training pairs within some hundred epochs and generalises thousands of epochs
later: grokking (Power et al. 2022; Nanda et al. 2023, whose network this is). With layer
normalisation and small batches, the stabilised form, that takes about thirty times fewer epochs.

The network follows the code the paper's authors published: no biases but the two of the MLP, first
weights normal, and, stabilised, a normalisation after each residual sum. hmmdyn departs from that
code in the data, which all seeds share, and in training outcomes, which are measured on the whole
set after an epoch. As in their metrics, the unembedding does not count as a weight. The tables of
``data/`` were recorded when it still did.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hmmdyn.tasks.recipe import DATA_SEED, Recipe, option, require_two_parts
from hmmdyn.tasks.task import Data, Samples, Task, adamw, cross_entropy, is_most_likely

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class ModularAdditionRecipe(Recipe):
    """The defaults are the paper's; its network has 4 heads of 32 and an MLP of 512."""

    data_seed: int = option(0, DATA_SEED, least=0)
    modulus: int = option(113, "Numbers are added modulo this one.", least=2)
    train_share: float = option(0.3, "Share of all pairs that are trained on.", least=0)
    d_model: int = option(128, "Width of the residual stream.", least=1)
    n_heads: int = option(4, "Attention heads.", least=1)
    d_head: int = option(32, "Width of a head.", least=1)
    d_mlp: int = option(512, "Hidden units of the MLP (ReLU).", least=1)
    layer_norm: bool = option(False, "Normalise after each residual sum.")
    batch_size: int = Recipe.but("batch_size", 2048)
    n_epochs: int = Recipe.but("n_epochs", 10_000)
    checkpoint_every: int = Recipe.but("checkpoint_every", 20)
    evaluate_every: int = Recipe.but("evaluate_every", 20)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_two_parts("train_share", self.train_share, self.modulus**2, self.n_train)

    @property
    def n_train(self) -> int:
        """Pairs that are trained on."""
        return int(self.modulus**2 * self.train_share)


def _data(recipe: ModularAdditionRecipe) -> Data:
    import numpy as np
    import torch

    numbers = torch.arange(recipe.modulus)
    pairs = torch.cartesian_prod(numbers, numbers)
    sums = pairs.sum(dim=1) % recipe.modulus
    order = torch.from_numpy(np.random.default_rng(recipe.data_seed).permutation(len(pairs)))
    train, evaluation = order[: recipe.n_train], order[recipe.n_train :]
    return Data(Samples(pairs[train], sums[train]), Samples(pairs[evaluation], sums[evaluation]))


def _network(recipe: ModularAdditionRecipe, rng: torch.Generator) -> torch.nn.Module:
    from hmmdyn.tasks.networks import AdditionTransformer

    return AdditionTransformer(
        recipe.modulus,
        d_model=recipe.d_model,
        n_heads=recipe.n_heads,
        d_head=recipe.d_head,
        d_mlp=recipe.d_mlp,
        layer_norm=recipe.layer_norm,
        rng=rng,
    )


MODULAR_ADDITION = Task(
    "modular-addition",
    "Modular addition: a one-layer transformer groks.",
    ModularAdditionRecipe(),
    data=_data,
    network=_network,
    loss=cross_entropy,
    is_right=is_most_likely,
    optimizer=adamw,
)
STABILISED_MODULAR_ADDITION = replace(
    MODULAR_ADDITION,
    name="modular-addition-stabilised",
    summary="Modular addition with layer normalisation and batches of 256: it groks much sooner.",
    recipe=ModularAdditionRecipe(
        layer_norm=True, batch_size=256, n_epochs=300, checkpoint_every=15, evaluate_every=15
    ),
)
