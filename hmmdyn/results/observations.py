"""What the model sees: observation sequences, and the standardised metrics of all runs."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hmmdyn.results.arrays import FloatArray, IntArray
from hmmdyn.results.notice import Notice
from hmmdyn.results.shown import Shown


@dataclass(frozen=True)
class Standardisation:
    """How raw metrics become dimensionless observations (Hu 2023, section 2.1).

    ``kind`` is ``run`` (each run's own mean and deviation, taken from its first ``first``
    checkpoints, all where None), ``pooled`` (``mean`` and ``deviation``, shape (D,), over all
    runs; empty for ``run``) or ``log-start``: the same of log(x/x₀) for the metrics that are
    ``logarithmic``, shape (D,), and of x − x₀ for the others, with x₀ the run's value at the step
    ``start`` at which every run begins. Of ``run`` and ``pooled``, the metrics that are
    ``logarithmic`` (none where empty) are standardised by their logarithms. Deviations are
    population deviations (ddof 0).
    """

    kind: str
    first: int | None = None
    mean: FloatArray = field(default_factory=lambda: np.empty(0))
    deviation: FloatArray = field(default_factory=lambda: np.empty(0))
    start: int | None = None
    logarithmic: tuple[bool, ...] = ()


@dataclass(frozen=True, repr=False)
class Sequences(Shown):
    """Observation sequences of several runs, pooled: all that a hidden Markov model asks of data.

    Attributes
    ----------
    values : ndarray, shape (n, D)
        Standardised observations (dimensionless), runs contiguous, steps increasing within a run;
        NaN where a metric is missing.
    lengths : ndarray, shape (R,)
        Checkpoints per run.
    steps : ndarray, shape (n,), optional
        Of the checkpoints. Only a model whose clock counts time between checkpoints needs them.
    """

    values: FloatArray
    lengths: IntArray
    steps: IntArray | None = None

    @classmethod
    def of_one_run(cls, values: FloatArray, steps: IntArray | None = None) -> Sequences:
        """Take all rows as one run."""
        return cls(values, np.array([len(values)]), steps)

    @property
    def n_features(self) -> int:
        """Number of metrics, D."""
        return int(self.values.shape[1])

    @property
    def first_rows(self) -> IntArray:
        """Row of every run's first checkpoint, shape (R,)."""
        return np.cumsum(self.lengths) - self.lengths

    @property
    def borders(self) -> IntArray:
        """Rows at which another run begins, shape (R - 1,)."""
        return np.cumsum(self.lengths)[:-1]

    @property
    def run_of_row(self) -> IntArray:
        """Position of the run that every row belongs to, shape (n,)."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)

    def split(self, rows: np.ndarray) -> list[np.ndarray]:
        """Cut an array of one row per checkpoint, shape (n, …), into one array per run."""
        return np.split(rows, self.borders)

    def of(self, runs: NDArray[np.bool_]) -> Sequences:
        """Take some of the runs, given as a mask of shape (R,)."""
        rows = np.repeat(runs, self.lengths)
        steps = None if self.steps is None else self.steps[rows]
        return Sequences(self.values[rows], self.lengths[runs], steps)

    def with_metrics(self, metrics: NDArray[np.bool_]) -> Sequences:
        """Take some of the metrics of all runs, given as a mask of shape (D,)."""
        return Sequences(self.values[:, metrics], self.lengths, self.steps)


@dataclass(frozen=True, repr=False)
class Observations(Sequences):
    """Standardised metrics of all runs of an analysis, and what they are called.

    ``runs`` has a row per run, in the order of ``lengths`` (columns ``group, run, seed``);
    ``steps`` (n,) are always known; ``features`` names the columns of ``values``.
    """

    steps: IntArray = field()
    runs: pd.DataFrame
    features: tuple[str, ...]
    standardisation: Standardisation
    notices: tuple[Notice, ...] = ()
