"""The settings that every sweep of an analysis shares, handed on as one thing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hmmdyn.hmm.fit.progress import Progress
from hmmdyn.hmm.fit.sweep import Sweep, sweep
from hmmdyn.results.model import ModelOptions
from hmmdyn.results.observations import Sequences


@dataclass(frozen=True)
class SweepSettings:
    """How sweeps are run: see :func:`hmmdyn.hmm.fit.sweep.sweep`."""

    n_restarts: int
    random_state: int
    n_jobs: int
    options: ModelOptions

    def sweep(
        self,
        data: Sequences,
        candidates: Sequence[int],
        covariance_type: str,
        progress: Progress | None = None,
    ) -> Sweep:
        """Find the best model of each number of states.

        Parameters
        ----------
        data : Sequences
            The runs to fit to.
        candidates : sequence of int
            Numbers of states.
        covariance_type : str
            ``diag`` or ``full``.
        progress : callable, optional
            Called with (rounds done, rounds in all).
        """
        return sweep(
            data,
            candidates,
            options=self.options,
            covariance_type=covariance_type,
            n_restarts=self.n_restarts,
            random_state=self.random_state,
            n_jobs=self.n_jobs,
            progress=progress,
        )
