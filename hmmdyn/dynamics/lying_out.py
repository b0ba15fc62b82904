"""How far a run lies out among the runs of its group, and the chance of that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from hmmdyn.results.arrays import FloatArray

# Fewer runs of a group cannot show what is usual in it.
MIN_RUNS = 4
FALSE_ALARMS = 0.05
# So many of the runs, and at most a quarter of them, may be outliers without hiding each other.
# Where more are alike, they are no outliers but another way to go.
_HIDDEN = 2
_DRAWS = 9_999


@dataclass(frozen=True)
class Way:
    """A way to lie out: a column of numbers, the large of which are unlike.

    ``law`` has the tail of the numbers; differences below ``resolution`` do not count: where runs
    hardly differ, the least would be many deviations. With ``alike`` it is the logarithm that is
    compared, of the numbers and this amount.
    """

    column: str
    law: Callable[[np.random.Generator, tuple[int, int]], FloatArray]
    resolution: float
    alike: float | None = None

    def compared(self, table: pd.DataFrame) -> FloatArray:
        """Return what is compared between the runs of a table."""
        values = table[self.column].to_numpy(dtype=np.float64)
        return values if self.alike is None else np.log(values + self.alike)


def logistic(rng: np.random.Generator, shape: tuple[int, int]) -> FloatArray:
    """Draw from a logistic law: exponential tails on both sides."""
    return rng.logistic(size=shape)


def exponential(rng: np.random.Generator, shape: tuple[int, int]) -> FloatArray:
    """Draw from an exponential law: the heavier tail."""
    return rng.exponential(size=shape)


def tail_probabilities(
    table: pd.DataFrame, ways: Sequence[Way], random_state: int
) -> tuple[FloatArray, FloatArray]:
    """Chance that one run, and that any run, lies out as far; for each way to, shape (R, W).

    How far is measured in standard deviations of the others, towards the large side only. The two
    most extreme of eight or more runs (one of four to seven) do not enter mean and deviation.
    """
    each = np.full((len(table), len(ways)), np.nan)
    any_run = each.copy()
    for w, way in enumerate(ways):
        null = _deviations(way.law(np.random.default_rng(random_state), (_DRAWS, len(table))))
        seen = _deviations(way.compared(table), way.resolution)
        each[:, w] = _share_at_least(null.ravel(), seen)
        any_run[:, w] = _share_at_least(null.max(axis=1), seen)
    return each, any_run


def _deviations(values: FloatArray, resolution: float = 0.0) -> FloatArray:
    """How far each lies above the mean, in deviations, without the most extreme; (…, N)."""
    n = values.shape[-1]
    usual = np.sort(values, axis=-1)[..., : n - min(n // 4, _HIDDEN)]
    spread = np.hypot(usual.std(axis=-1, ddof=1, keepdims=True), resolution)
    return np.asarray((values - usual.mean(axis=-1, keepdims=True)) / spread)


def _share_at_least(null: FloatArray, seen: FloatArray) -> FloatArray:
    """Share of draws that reach each value, the value itself counted as one of them."""
    n_below = np.searchsorted(np.sort(null), seen, side="left")
    return np.asarray((1 + len(null) - n_below) / (1 + len(null)))
