"""The clock of a chain: what lies between two checkpoints, and in which unit it is counted.

The clock is ``checkpoint`` (every gap alike), ``step``, or ``log-step``: the logarithm of 1 + step.
"""

from __future__ import annotations

import numpy as np

from hmmdyn.errors import UsageError
from hmmdyn.results.arrays import FloatArray, IntArray

# A longer gap counts as so many units. What happens within it is not seen, and EM needs iterations
# in proportion to that: for a single gap of 100, 1,000 and 10,000 units 29, 273 and more than 500,
# to much the same rates.
LONGEST_GAP = 100.0


def median_gap(clock: str, steps: IntArray | None, lengths: IntArray) -> float:
    """Median gap between successive checkpoints of a run, in a clock; 1 where there is none."""
    if clock == "checkpoint":
        return 1.0
    apart = _apart(clock, steps, lengths)
    return 1.0 if np.isnan(apart).all() else float(np.nanmedian(apart))


def gaps(clock: str, unit: float, steps: IntArray | None, lengths: IntArray) -> FloatArray:
    """Gap before every checkpoint, in units of the clock, shape (n,); 1 before a run's first.

    One of more than ``LONGEST_GAP`` units counts as that many.

    Parameters
    ----------
    clock : str
        ``checkpoint``, ``step`` or ``log-step``.
    unit : float
        In steps, or in units of log(1 + step).
    steps : ndarray, shape (n,), optional
        Of the checkpoints, runs contiguous; needed for any clock but ``checkpoint``.
    lengths : ndarray, shape (R,)
        Checkpoints per run.

    Raises
    ------
    UsageError
        The clock needs steps and there are none, or they do not increase, or the logarithm of
        negative ones is asked for.
    """
    if clock == "checkpoint":
        return np.ones(int(lengths.sum()))
    apart = _apart(clock, steps, lengths) / unit
    return np.where(np.isnan(apart), 1.0, np.minimum(apart, LONGEST_GAP))


def capped(clock: str, steps: IntArray, lengths: IntArray) -> IntArray:
    """Rows of the checkpoints before which :func:`gaps` takes a longer gap for ``LONGEST_GAP``."""
    if clock == "checkpoint":
        return np.empty(0, dtype=np.int64)
    apart = _apart(clock, steps, lengths)
    return np.flatnonzero(apart > LONGEST_GAP * median_gap(clock, steps, lengths))


def _apart(clock: str, steps: IntArray | None, lengths: IntArray) -> FloatArray:
    """Time since the checkpoint before, as the clock counts it, shape (n,); NaN at a run's first.

    Raises
    ------
    UsageError
        As :func:`gaps`.
    """
    if steps is None:
        raise UsageError(f"A model with clock {clock!r} needs the steps of the checkpoints.")
    if clock == "log-step" and steps.min() < 0:
        raise UsageError(
            f"Clock 'log-step' needs steps of 0 or more, got {steps.min()}. Use clock 'step'."
        )
    times = np.log1p(steps) if clock == "log-step" else steps.astype(np.float64)
    out = np.diff(times, prepend=np.nan)
    out[np.cumsum(lengths) - lengths] = np.nan
    if (out <= 0).any():
        raise UsageError(f"Clock {clock!r} needs steps that increase within every run.")
    return out
