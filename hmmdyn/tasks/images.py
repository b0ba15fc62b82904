"""The paper's images, MNIST and CIFAR-100, where torchvision finds them on disk.

Networks and recipes follow the code the paper's authors published: an MLP for MNIST, for CIFAR-100
a ResNet18 whose first layer suits small images, on shifted and mirrored ones; destabilised, the
same without batch normalisation and residuals. Checkpoints come every 20 steps there as here. The
weight decay is the 1.0 of the paper's text; that code leaves it at AdamW's default of 0.01.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from hmmdyn.errors import MissingPackageError, UsageError
from hmmdyn.tasks.digits import DIGITS, PerceptronRecipe, ten_classes
from hmmdyn.tasks.recipe import Recipe, option
from hmmdyn.tasks.task import Data, Samples

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import ArrayLike, NDArray

_ROOT = "Folder in which torchvision finds the images; nothing is downloaded."
# Mean and standard deviation of CIFAR-100's red, green and blue.
_CIFAR_MEAN, _CIFAR_STD = (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)
_SHIFT = 4  # pixels


@dataclass(frozen=True)
class MnistRecipe(PerceptronRecipe):
    """That of a perceptron, on images from disk."""

    root: str = option("data", _ROOT, decides=False)
    checkpoint_every: int = Recipe.but("checkpoint_every", 20)
    evaluate_every: int = Recipe.but("evaluate_every", 100)


@dataclass(frozen=True)
class CifarRecipe(Recipe):
    """That of a ResNet18, on images from disk."""

    root: str = option("data", _ROOT, decides=False)
    batch_norm: bool = option(True, "Normalise each layer by batch.")
    residual: bool = option(True, "Add its input to the output of each block.")
    checkpoint_every: int = Recipe.but("checkpoint_every", 20)
    evaluate_every: int = Recipe.but("evaluate_every", 200)


def _mnist(recipe: MnistRecipe) -> Data:
    import numpy as np

    train, evaluation = (
        _samples(np.asarray(part.data).reshape(len(part.data), -1) / 255, part.targets)
        for part in _on_disk("MNIST", recipe.root)
    )
    return Data(train, evaluation)


def _cifar100(recipe: CifarRecipe) -> Data:
    import numpy as np

    train, evaluation = (
        _samples(
            np.moveaxis((np.asarray(part.data) / 255 - _CIFAR_MEAN) / _CIFAR_STD, 3, 1),
            part.targets,
        )
        for part in _on_disk("CIFAR100", recipe.root)
    )
    return Data(train, evaluation)


def _on_disk(name: str, root: str) -> list[Any]:
    """Training and evaluation part of a data set of torchvision's."""
    try:
        from torchvision import datasets
    except (ImportError, RuntimeError) as error:  # RuntimeError: it is made for another PyTorch
        raise MissingPackageError(
            f"{name} is read by torchvision, which cannot be imported ({error}).\n"
            "Install the release that belongs to your PyTorch:  pip install torchvision"
        ) from error
    try:
        return [getattr(datasets, name)(root, train=train) for train in (True, False)]
    except RuntimeError as error:
        raise UsageError(
            f"{name} is not in {root} ({error}).\n"
            f"Put it there:  python -c \"import torchvision.datasets as d; d.{name}('{root}', "
            'download=True)"'
        ) from error


def _samples(images: NDArray[np.float64], labels: ArrayLike) -> Samples:
    import numpy as np
    import torch

    return Samples(
        torch.from_numpy(np.ascontiguousarray(images, np.float32)),
        torch.from_numpy(np.asarray(labels, np.int64)),
    )


def _resnet(recipe: CifarRecipe, rng: torch.Generator) -> torch.nn.Module:
    from hmmdyn.tasks.resnet import resnet18

    return resnet18(100, recipe.batch_norm, recipe.residual, rng)


def shifted_and_mirrored(images: torch.Tensor, rngs: Sequence[torch.Generator]) -> torch.Tensor:
    """Shift each image by up to 4 pixels, its edges mirrored, and mirror every second one.

    ``images``: shape (networks, n, channels, height, width).
    """
    import torch

    _, n, channels, height, width = images.shape
    moved = []
    for of_one, rng in zip(images, rngs, strict=True):
        framed = torch.nn.functional.pad(of_one, (_SHIFT,) * 4, mode="reflect")
        down, right = torch.randint(2 * _SHIFT + 1, (2, n, 1), generator=rng)
        columns = right + torch.arange(width)
        mirrored = torch.rand(n, 1, generator=rng) < 0.5
        columns = torch.where(mirrored, columns.flip(1), columns).to(images.device)
        rows = (down + torch.arange(height)).to(images.device)
        image, channel = torch.arange(n), torch.arange(channels)
        moved.append(
            framed[
                image[:, None, None, None],
                channel[None, :, None, None],
                rows[:, None, :, None],
                columns[:, None, None, :],
            ]
        )
    return torch.stack(moved)


MNIST = replace(
    DIGITS,
    name="mnist",
    summary="MNIST from disk: an MLP.",
    recipe=MnistRecipe(),
    data=_mnist,
    network=partial(ten_classes, n_pixels=28 * 28),
)
CIFAR100 = replace(
    DIGITS,
    name="cifar100",
    summary="CIFAR-100 from disk: a ResNet18.",
    recipe=CifarRecipe(),
    data=_cifar100,
    network=_resnet,
    augment=shifted_and_mirrored,
)
DESTABILISED_CIFAR100 = replace(
    CIFAR100,
    name="cifar100-destabilised",
    summary="CIFAR-100 from disk: a ResNet18 without batch normalisation and residuals.",
    recipe=CifarRecipe(batch_norm=False, residual=False),
)
