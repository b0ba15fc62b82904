"""Going on inside a run: what a training saves of itself now and then, and takes up again.

Everything that decides its further course is saved: weights, the optimiser's moments, the random
numbers to come, and how long each file of the runs was. So a training that was stopped ends with
the same bytes as one that was not.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from hmmdyn.record.recorder import LOCK
from hmmdyn.tasks.runs import SAVED
from hmmdyn.tasks.stack import Stack
from hmmdyn.version import __version__

# A state is saved at the first checkpoint after so many seconds.
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

    def tensors(self) -> dict[str, torch.Tensor]:
        """All that decides the batches to come."""
        states = {f"rng.{i}": rng.get_state() for i, rng in enumerate(self._rngs)}
        return {"orders": self._orders, **states}

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Go on from such tensors."""
        self._orders = tensors["orders"]
        for i, rng in enumerate(self._rngs):
            rng.set_state(tensors[f"rng.{i}"])


class SavedState:
    """The saved state of networks that are trained together, beside the folders of their runs.

    Parameters
    ----------
    runs : sequence of Path
        Folders of the runs, side by side, maybe with what an interrupted training left in them.
    made_for : mapping
        What must be the same for a training to go on from it, in plain numbers and text.
    stack, optimizer, batches
        What is saved, and restored in place.
    """

    def __init__(
        self,
        runs: Sequence[Path],
        made_for: Mapping[str, Any],
        stack: Stack,
        optimizer: torch.optim.Optimizer,
        batches: Batches,
    ) -> None:
        self._runs = runs
        versions = {"hmmdyn": __version__, "torch": torch.__version__}
        self._made_for = {**made_for, **versions}
        self._stack, self._optimizer, self._batches = stack, optimizer, batches
        self._path = runs[0].parent / SAVED
        self._saved_at = time.monotonic()

    def restore(self) -> int:
        """Go on from what was saved, if anything was; return the steps done, or -1.

        Files become what they were when it was saved; with nothing to go on from, they go.
        """
        told, tensors = self._load()
        for run in self._runs:
            _cut_back(run, told["files"][run.name] if told else {})
        if not told:
            return -1
        self._stack.load(_part(tensors, "network"))
        self._batches.load(_part(tensors, "batches"))
        moments: dict[int, dict[str, torch.Tensor]] = {}
        for name, tensor in _part(tensors, "optimizer").items():
            i, _, key = name.partition(".")
            moments.setdefault(int(i), {})[key] = tensor
        settings = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": moments, "param_groups": settings})
        return int(told["step"])

    def save(self, step: int) -> None:
        """Save the state after a step, if that is due; all rows up to it must be in the files."""
        if time.monotonic() - self._saved_at < _SAVE_EVERY:
            return
        moments = self._optimizer.state_dict()["state"]
        tensors = {
            **_named("network", self._stack.tensors()),
            **_named("batches", self._batches.tensors()),
            **_named(
                "optimizer", {f"{i}.{k}": t for i, of in moments.items() for k, t in of.items()}
            ),
        }
        told = {
            "made_for": self._made_for,
            "step": step,
            "files": {run.name: _sizes(run) for run in self._runs},
        }
        # Fails where the folder is gone, and must: another training has taken over.
        temporary = self._path.with_suffix(".tmp")
        temporary.write_bytes(save(tensors, {"told": json.dumps(told)}))
        temporary.replace(self._path)
        self._saved_at = time.monotonic()

    def _load(self) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        """Read what was saved; nothing where it is missing, damaged or of another training."""
        try:
            with safe_open(self._path, "pt") as file:
                told = json.loads(file.metadata()["told"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError, TypeError, KeyError, ValueError):
            return {}, {}
        fits = told["made_for"] == self._made_for and all(
            _sizes(run).get(name, 0) >= size
            for run in self._runs
            for name, size in told["files"][run.name].items()
        )
        return (told, tensors) if fits else ({}, {})


def _named(part: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {
        f"{part}.{name}": tensor.detach().to("cpu", copy=True).contiguous()
        for name, tensor in tensors.items()
    }


def _part(tensors: Mapping[str, torch.Tensor], part: str) -> dict[str, torch.Tensor]:
    return {
        name.removeprefix(f"{part}."): tensor
        for name, tensor in tensors.items()
        if name.startswith(f"{part}.")
    }


def _sizes(run: Path) -> dict[str, int]:
    """File -> bytes; without the recorder's lock, which is there only while it records."""
    return {
        p.name: p.stat().st_size
        for p in run.iterdir()
        if p.is_file() and not p.is_symlink() and not p.name.startswith(LOCK)
    }


def _cut_back(run: Path, sizes: Mapping[str, int]) -> None:
    """Make files as long as they were, and remove what was not there.

    Logs become new files: a process that outlives a killed training may still write to the old.
    """
    there = _sizes(run)
    for path in list(run.iterdir()):
        if path.name not in there or path.name not in sizes:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    for path in list(run.iterdir()):
        if path.suffix != ".safetensors":  # those are written whole, or not at all
            temporary = path.with_suffix(".tmp")
            temporary.write_bytes(path.read_bytes()[: sizes[path.name]])
            temporary.replace(path)
