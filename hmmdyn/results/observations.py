"""What the model sees: standardised metrics of all runs."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from hmmdyn.results.arrays import FloatArray, IntArray
from hmmdyn.results.notice import Notice
from hmmdyn.results.shown import Shown


@dataclass(frozen=True)
class Standardisation:
    """How raw metrics become dimensionless observations (Hu 2023, section 2.1).

    ``kind`` is ``run`` (each run's own mean and deviation, taken from its first ``first``
    checkpoints, all where None) or ``pooled`` (``mean`` and ``deviation``, shape (D,), over all
    runs; empty for ``run``). Deviations are population deviations (ddof 0).
    """

    kind: str
    first: int | None = None
    mean: FloatArray = field(default_factory=lambda: np.empty(0))
    deviation: FloatArray = field(default_factory=lambda: np.empty(0))


@dataclass(frozen=True, repr=False)
class Observations(Shown):
    """Standardised metrics of all runs, pooled: runs contiguous, steps increasing within a run.

    ``values`` has shape (n, D), dimensionless. ``lengths`` has shape (R,): checkpoints per run,
    in the order of ``runs`` (columns ``group, run, seed``). ``steps`` has shape (n,).
    """

    values: FloatArray
    lengths: IntArray
    runs: pd.DataFrame
    steps: IntArray
    features: tuple[str, ...]
    standardisation: Standardisation
    notices: tuple[Notice, ...] = ()
