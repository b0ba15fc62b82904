"""What a task is: data, a network, and how it is trained."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from hmmdyn.errors import MissingPackageError, UsageError
from hmmdyn.tasks.recipe import Recipe

if TYPE_CHECKING:
    import torch


class Samples(NamedTuple):
    """Inputs, shape (n, …), and their targets, shape (n,) or (n, …)."""

    inputs: torch.Tensor
    targets: torch.Tensor

    def __len__(self) -> int:
        return len(self.targets)


class Data(NamedTuple):
    """What a network is trained on, and what it is evaluated on besides."""

    train: Samples
    evaluation: Samples


Augment = Callable[["torch.Tensor", "Sequence[torch.Generator]"], "torch.Tensor"]


@dataclass(frozen=True)
class Task:
    """A task of the paper, or beside it: everything but the seed that decides a run.

    Attributes
    ----------
    name : str
        As `hmmdyn reproduce` knows it.
    summary : str
        One line for its help.
    recipe : Recipe
        Its options, with their defaults.
    data : callable
        ``data(recipe)`` gives the samples, the same for every run.
    network : callable
        ``network(recipe, rng)`` gives an untrained network, all of whose random numbers come from
        ``rng``.
    loss : callable
        ``loss(outputs, targets)``: the mean over the samples.
    is_right : callable
        ``is_right(outputs, targets)``: shape (n,), true where a sample counts for the accuracy, or
        which share of it does.
    optimizer : callable
        ``optimizer(parameters, recipe)``; it must treat every number of a tensor by itself, so that
        networks can be stacked.
    augment : callable, optional
        ``augment(inputs, rngs)``: the batches of several networks, shape (networks, batch, …),
        changed at random before a step, each by its own generator.
    """

    name: str
    summary: str
    recipe: Recipe
    data: Callable[[Any], Data]
    network: Callable[[Any, torch.Generator], torch.nn.Module]
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    is_right: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    optimizer: Callable[[Iterable[torch.Tensor], Any], torch.optim.Optimizer]
    augment: Augment | None = None


def require_torch() -> None:
    """Raise MissingPackageError where PyTorch is not installed."""
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise MissingPackageError(
            f"Training needs PyTorch, which cannot be imported ({error}).\n"
            "Install it:  pip install 'hmmdyn[torch]'"
        ) from error


def require_device(device: str) -> None:
    """Raise UsageError where PyTorch cannot compute on a device, or not in double precision."""
    import torch

    try:
        torch.ones(1, dtype=torch.float64, device=device).item()
    except (RuntimeError, AssertionError, TypeError) as error:  # AssertionError: built without CUDA
        reason = str(error).partition("\n")[0]
        raise UsageError(
            f"Training cannot run on the device {device!r}: {reason}.\n"
            "Name one that this PyTorch can use, such as 'cpu'."
        ) from error


def cross_entropy(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean cross entropy in nats of logits, shape (n, classes)."""
    import torch

    return torch.nn.functional.cross_entropy(outputs, targets)


def is_most_likely(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Whether the largest logit is that of the target class."""
    return outputs.argmax(dim=-1) == targets


def adamw(parameters: Iterable[torch.Tensor], recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW with PyTorch's own moments (0.9, 0.999)."""
    import torch

    return torch.optim.AdamW(parameters, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
