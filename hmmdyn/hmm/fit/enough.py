"""How many runs are enough: of very many checkpoints, those of some runs tell as much.

A state that matters is visited by a tenth of the runs (:mod:`hmmdyn.hmm.choose.boundaries`), so
that fifty of them hardly miss it, and what a hundred thousand checkpoints say of a model is known
to more digits than it is right to.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hmmdyn.results.arrays import IntArray

_CHECKPOINTS = 100_000
_RUNS = 50


def enough_runs(lengths: IntArray, random_state: int) -> NDArray[np.bool_]:
    """Draw runs of 100,000 checkpoints in all, but at least 50 runs: a mask of shape (R,).

    Parameters
    ----------
    lengths : ndarray, shape (R,)
        Checkpoints per run.
    random_state : int
        Same runs and seed, same draw. Where there are no more runs than these, it does not matter.
    """
    drawn = np.random.default_rng([_CHECKPOINTS, random_state]).permutation(len(lengths))
    n_enough = max(1 + int(np.searchsorted(lengths[drawn].cumsum(), _CHECKPOINTS)), _RUNS)
    return np.isin(np.arange(len(lengths)), drawn[:n_enough])
