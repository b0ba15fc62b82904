"""Handwritten digits of scikit-learn, with the paper's recipe for MNIST, and in deep networks.

The deep networks stand beside each other as the paper's two ResNet18 do: eight blocks of two
layers, with normalisation and residuals, or, destabilised, with neither. (There the layers are
convolutions, the normalisation is by batch, and the images are CIFAR-100.)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from hmmdyn.tasks.recipe import DATA_SEED, Recipe, option, require_two_parts
from hmmdyn.tasks.task import Data, Samples, Task, adamw, cross_entropy, is_most_likely

if TYPE_CHECKING:
    import torch

_N_IMAGES = 1797  # of scikit-learn


@dataclass(frozen=True)
class PerceptronRecipe(Recipe):
    """The defaults are those of the paper for MNIST: the network n-800-10, AdamW."""

    width: int = option(800, "Hidden units of every layer (ReLU).", least=1)
    n_blocks: int = option(0, "Blocks of two layers after the first one.", least=0)
    layer_norm: bool = option(False, "Normalise after each layer of a block.")
    residual: bool = option(False, "Add its input to the output of each block.")


@dataclass(frozen=True)
class DigitsRecipe(PerceptronRecipe):
    """That of a perceptron, with checkpoints after every epoch of 6 steps."""

    checkpoint_every: int = Recipe.but("checkpoint_every", 6)
    evaluate_every: int = Recipe.but("evaluate_every", 6)
    data_seed: int = option(0, DATA_SEED, least=0)
    eval_share: float = option(0.2, "Share of the images that is only evaluated on.", least=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_two_parts("eval_share", self.eval_share, _N_IMAGES, self.n_eval)

    @property
    def n_eval(self) -> int:
        """Images that are only evaluated on."""
        return round(_N_IMAGES * self.eval_share)


def _data(recipe: DigitsRecipe) -> Data:
    import numpy as np
    import torch
    from sklearn.datasets import load_digits

    pixels, digits = load_digits(return_X_y=True)
    images = torch.from_numpy((pixels / 16).astype(np.float32))
    labels = torch.from_numpy(digits.astype(np.int64))
    order = torch.from_numpy(np.random.default_rng(recipe.data_seed).permutation(len(labels)))
    evaluation, train = order[: recipe.n_eval], order[recipe.n_eval :]
    return Data(
        Samples(images[train], labels[train]), Samples(images[evaluation], labels[evaluation])
    )


def ten_classes(recipe: PerceptronRecipe, rng: torch.Generator, n_pixels: int) -> torch.nn.Module:
    """The network for images of so many pixels."""
    from hmmdyn.tasks.networks import perceptron

    return perceptron(
        n_pixels,
        recipe.width,
        10,
        rng,
        n_blocks=recipe.n_blocks,
        layer_norm=recipe.layer_norm,
        residual=recipe.residual,
    )


DIGITS = Task(
    "digits",
    "Handwritten digits: an MLP, by the paper's recipe for MNIST.",
    DigitsRecipe(),
    data=_data,
    network=partial(ten_classes, n_pixels=64),
    loss=cross_entropy,
    is_right=is_most_likely,
    optimizer=adamw,
)
_DEEP = DigitsRecipe(width=128, n_blocks=8)
DEEP_DIGITS = replace(
    DIGITS,
    name="digits-deep",
    summary="Handwritten digits: a deep network with normalisation and residuals.",
    recipe=replace(_DEEP, layer_norm=True, residual=True),
)
DESTABILISED_DIGITS = replace(
    DIGITS,
    name="digits-destabilised",
    summary="Handwritten digits: a deep network without normalisation and residuals.",
    recipe=_DEEP,
)
