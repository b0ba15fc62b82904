"""How many bytes measuring runs in a store moves, told before it begins."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hmmdyn.checkpoints.formats.strided import STORED_TYPES
from hmmdyn.checkpoints.parameters import ParameterRules, select_parameters
from hmmdyn.checkpoints.read import open_checkpoint
from hmmdyn.errors import CheckpointError
from hmmdyn.results.checkpoints import CheckpointFile, CheckpointIndex


@dataclass(frozen=True)
class Traffic:
    """What is to be read from a store.

    ``n_bytes`` of the ``size`` bytes of ``n_checkpoints`` checkpoints, if nothing was measured
    before; headers and logs, which are small, are not counted.
    """

    n_bytes: int
    size: int
    n_checkpoints: int


def expected_traffic(index: CheckpointIndex, rules: ParameterRules, n_readings: int = 1) -> Traffic:
    """Tell how much measuring the checkpoints of an index moves.

    The header of the last checkpoint of each group is read: the others are taken to be like it.
    One that cannot be opened counts whole.

    Parameters
    ----------
    index : CheckpointIndex
        The checkpoints.
    rules : ParameterRules
        Which tensors are weights and biases: these alone are read.
    n_readings : int
        How often a checkpoint is read: once, and again for each other one compared with it.
    """
    groups: dict[str, list[CheckpointFile]] = {}
    for file in index.checkpoints:
        groups.setdefault(file.group, []).append(file)
    n_bytes = sum(_of_group(files, rules) for files in groups.values())
    size = sum(file.size for file in index.checkpoints)
    return Traffic(n_readings * n_bytes, size, len(index.checkpoints))


def _of_group(files: Sequence[CheckpointFile], rules: ParameterRules) -> int:
    try:
        with open_checkpoint(files[-1].path) as checkpoint:
            parameters = select_parameters(checkpoint, rules)
            each = sum(
                math.prod(checkpoint[name].shape) * STORED_TYPES[checkpoint[name].dtype].itemsize
                for name in (*parameters.weights, *parameters.biases)
            )
    except CheckpointError:
        return sum(file.size for file in files)
    return len(files) * each
