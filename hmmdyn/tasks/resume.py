"""Going on inside a run: what a training saves of itself now and then, and takes up again.

Everything that decides its further course is saved: weights, the optimiser's moments, the random
numbers to come, and how long each file of the runs was. So a training that was stopped ends with
the same bytes as one that was not.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import torch

from hmmdyn.tasks.runs import SAVED
from hmmdyn.tasks.stack import Stack

# Seconds between savings: as much is lost at most.
_SAVE_EVERY = 60.0


class Batches:
    """Indices of samples to train on: every epoch all of them in a new order, network by network.

    ``rngs`` holds a generator per network, which draws these orders and maybe more.
    """

    def __init__(self, n_samples: int, batch_size: int, rngs: Sequence[torch.Generator]) -> None:
        self.steps_per_epoch = -(-n_samples // batch_size)
        self._n_samples, self._batch_size, self._rngs = n_samples, batch_size, rngs
        self._orders = torch.empty(0)

    def of_step(self, step: int) -> torch.Tensor:
        """Shape (networks, batch); to be asked for steps 1, 2, … in turn."""
        i = (step - 1) % self.steps_per_epoch
        if i == 0:
            self._orders = torch.stack(
                [torch.randperm(self._n_samples, generator=rng) for rng in self._rngs]
            )
        return self._orders[:, i * self._batch_size : (i + 1) * self._batch_size]

    def state(self) -> dict[str, Any]:
        """All that decides the batches to come."""
        return {"orders": self._orders, "rngs": [rng.get_state() for rng in self._rngs]}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from such a state."""
        self._orders = state["orders"]
        for rng, of_one in zip(self._rngs, state["rngs"], strict=True):
            rng.set_state(of_one)


class Savings:
    """The saved state of networks that are trained together, in the folder of the first of them.

    Parameters
    ----------
    folders : sequence of Path
        Of the runs, maybe with what an interrupted training left there.
    made_for : mapping
        What must be the same for a training to go on from it, in plain numbers and text.
    stack, optimizer, batches
        What is saved, and restored in place.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        made_for: Mapping[str, Any],
        stack: Stack,
        optimizer: torch.optim.Optimizer,
        batches: Batches,
    ) -> None:
        self._folders, self._made_for = folders, dict(made_for)
        self._stack, self._optimizer, self._batches = stack, optimizer, batches
        self._path = folders[0] / SAVED
        self._saved_at = time.monotonic()

    def restore(self) -> int:
        """Go on from what was saved, if anything was; return the steps done, or -1.

        Files become what they were when it was saved; with nothing to go on from, they go.
        """
        state = self._load()
        known = state["files"] if state else [{}] * len(self._folders)
        for folder, sizes in zip(self._folders, known, strict=True):
            _cut_back(folder, sizes)
        if state is None:
            return -1
        self._stack.load(state["tensors"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._batches.restore(state["batches"])
        return int(state["step"])

    def save(self, step: int) -> None:
        """Save the state after a step, if that is due; all rows up to it must be in the files."""
        if time.monotonic() - self._saved_at < _SAVE_EVERY:
            return
        state = {
            "made_for": self._made_for,
            "step": step,
            "files": [_sizes(folder) for folder in self._folders],
            "tensors": self._stack.tensors(),
            "optimizer": self._optimizer.state_dict(),
            "batches": self._batches.state(),
        }
        content = BytesIO()
        torch.save(state, content)
        # The folder must not be made where it has gone: then another training has taken over.
        temporary = self._path.with_suffix(".tmp")
        temporary.write_bytes(content.getbuffer())
        temporary.replace(self._path)
        self._saved_at = time.monotonic()

    def forget(self) -> None:
        """Remove what was saved: the runs are complete."""
        self._path.unlink(missing_ok=True)

    def _load(self) -> dict[str, Any] | None:
        """Read what was saved: None where nothing was, for other networks, or it is damaged."""
        try:
            state: dict[str, Any] = torch.load(self._path, weights_only=True, map_location="cpu")
        except Exception:  # damage raises all kinds; without it the runs are trained anew
            return None
        fits = state["made_for"] == self._made_for and all(
            sizes.get(name, 0) >= size
            for folder, wanted in zip(self._folders, state["files"], strict=True)
            for sizes in (_sizes(folder),)
            for name, size in wanted.items()
        )
        return state if fits else None


def _sizes(folder: Path) -> dict[str, int]:
    """File -> bytes, without what was saved."""
    return {p.name: p.stat().st_size for p in folder.iterdir() if p.name != SAVED}


def _cut_back(folder: Path, sizes: Mapping[str, int]) -> None:
    """Make files as long as they were, and remove those that were not there."""
    for path in folder.iterdir():
        if path.name in sizes:
            with path.open("r+b") as file:
                file.truncate(sizes[path.name])
        elif path.name != SAVED or not sizes:
            path.unlink()
