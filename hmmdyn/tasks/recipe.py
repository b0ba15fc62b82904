"""What decides a run besides its seed: the options that every task has."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any

from hmmdyn.declare import RECIPE, Option
from hmmdyn.errors import UsageError


def option(default: Any, meaning: str, *, least: float | None = None, decides: bool = True) -> Any:
    """Declare a field of a recipe: its default, what it means, and the least it may be.

    One that does not decide what the weights become, such as where data lie, is not written down
    with the runs.

    Parameters
    ----------
    default : object
        The value where none is given.
    meaning : str
        Its help text.
    least : float, optional
        No smaller value is accepted.
    decides : bool
        What the weights become depends on it.
    """
    declared = Option(help=meaning, panel=RECIPE, least=least)
    return field(default=default, metadata={"option": declared, "decides": decides})


def require_two_parts(name: str, share: float, n: int, n_taken: int) -> None:
    """Raise UsageError where a share takes none or all of n samples, which leaves a set empty.

    Parameters
    ----------
    name : str
        The option, for the message.
    share : float
        What it was set to.
    n : int
        Samples there are.
    n_taken : int
        Samples that the share comes to.
    """
    if not 0 < n_taken < n:
        raise UsageError(
            f"'{name}' must leave samples to train on and samples to evaluate on: {share} takes "
            f"{n_taken:,} of {n:,}."
        )


DATA_SEED = "Seed of the data, which all runs share."


@dataclass(frozen=True)
class Recipe:
    """The options of every task; a task's own recipe adds its data and network.

    What each field means stands beside it, and `hmmdyn reproduce TASK --help` says the same.

    Raises
    ------
    UsageError
        A number is below the least it may be, is infinite or NaN, or should be whole and is not.
    """

    learning_rate: float = option(1e-3, "Step size of the optimiser.", least=0)
    weight_decay: float = option(1.0, "Weight decay of the optimiser.", least=0)
    batch_size: int = option(
        256, "Samples per step; the last batch of a pass may be smaller.", least=1
    )
    n_epochs: int = option(100, "Passes over the training samples.", least=1)
    checkpoint_every: int = option(
        10, "Steps between checkpoints; the untrained and the last network count too.", least=1
    )
    evaluate_every: int = option(10, "Steps between evaluations, likewise.", least=1)

    @classmethod
    def but(cls, name: str, default: float) -> Any:
        """Declare an option of every task anew, with another default."""
        return field(default=default, metadata=cls.__dataclass_fields__[name].metadata)

    def __post_init__(self) -> None:
        for declared in fields(self):
            value, least = getattr(self, declared.name), declared.metadata["option"].least
            if least is None:
                continue
            if isinstance(declared.default, int) and not isinstance(value, int):
                raise UsageError(f"'{declared.name}' must be a whole number, got {value!r}.")
            if not value >= least:
                raise UsageError(f"'{declared.name}' must be at least {least}, got {value}.")
            if math.isinf(value):
                raise UsageError(f"'{declared.name}' must be finite, got {value}.")

    def decisive(self) -> dict[str, Any]:
        """The fields that decide what the weights become, by name."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.metadata["decides"]}
