"""Which logged value is a checkpoint's."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hmmdyn.results.arrays import FloatArray, IntArray


def at_checkpoints(
    steps: IntArray, logged: IntArray, values: FloatArray
) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Return one outcome at a run's checkpoints, and where it was logged at that very step.

    A checkpoint takes the value logged at its own step, else the last one logged after the
    checkpoint before it. ``steps`` and ``logged`` increase; ``values`` are those logged.
    """
    told = ~np.isnan(values)
    if not told.any():
        return np.full(len(steps), np.nan), np.zeros(len(steps), dtype=bool)
    logged, values = logged[told], values[told]
    latest = np.searchsorted(logged, steps, side="right") - 1
    found = np.where(latest >= 0, logged[latest], -np.inf)
    exact = found == steps
    # Nothing else says how far before the first checkpoint a value may still be its own.
    earlier = found > np.concatenate([steps[:1] - 2, steps[:-1]])
    return np.where(exact | earlier, values[latest], np.nan), exact
