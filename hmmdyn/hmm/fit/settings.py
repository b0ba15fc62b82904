"""How a search for models is run, handed on as one thing, and how far it has come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

import pandas as pd

from hmmdyn.hmm.fit.sweep import Progress, Sweep, attempts_table, sweep
from hmmdyn.results.arrays import RunData
from hmmdyn.results.model import ModelOptions


@dataclass(frozen=True)
class Search:
    """Settings that every sweep of an analysis shares: see :func:`hmmdyn.hmm.fit.sweep.sweep`."""

    n_restarts: int
    random_state: int
    n_jobs: int
    options: ModelOptions

    def sweep(
        self,
        data: RunData,
        candidates: Sequence[int],
        covariance_type: str,
        progress: Progress | None = None,
    ) -> Sweep:
        """Find the best model of each number of states."""
        return sweep(
            *data[:2],
            candidates,
            steps=data[2],
            options=self.options,
            covariance_type=covariance_type,
            n_restarts=self.n_restarts,
            random_state=self.random_state,
            n_jobs=self.n_jobs,
            progress=progress,
        )


@dataclass(frozen=True)
class Judged:
    """The data by which a number of states is chosen.

    ``fitted`` are the runs that models are fitted to, and ``unseen`` those held out from them: None
    where all runs are fitted to. ``left_out`` are the positions of metrics that neither has.
    """

    fitted: RunData
    unseen: RunData | None = None
    left_out: tuple[int, ...] = ()


def record(swept: Sweep, covariance_type: str, data: RunData) -> pd.DataFrame:
    """Every attempt of a sweep over these runs: see :class:`hmmdyn.results.selection.Selection`."""
    return attempts_table(swept, covariance_type).assign(n_runs=len(data[1]))


class Stages:
    """Progress through stages that count equally."""

    def __init__(self, progress: Progress | None, n_stages: int) -> None:
        self._progress = progress
        self._stages = count()
        self._n_stages = n_stages

    def of_next_stage(self) -> Progress:
        """Return what the next stage is to call with (done, in all)."""
        stage = next(self._stages)

        def tell(done: int, total: int) -> None:
            if self._progress:
                self._progress(round(100 * (stage + done / total)), 100 * self._n_stages)

        return tell
