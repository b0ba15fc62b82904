"""The fastest and the slowest run of each group, and the states that make the difference."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from hmmdyn.report.facts import checkpoints_before_convergence, runs_by_convergence
from hmmdyn.results.arrays import FloatArray, IntArray
from hmmdyn.results.findings import Findings

# Quarters of fewer runs than this say no more than their one run does.
_MIN_IN_QUARTER = 2
# A state makes the difference where it holds at least this share of all that took longer.
_NOTABLE = 0.25


@dataclass(frozen=True)
class Extremes:
    """The fastest and the slowest run of a group, and what they did before converging.

    Attributes
    ----------
    group : str
    runs : DataFrame
        The fastest and the slowest, two rows of :func:`~hmmdyn.report.facts.runs_by_convergence`.
        The slowest is the run known to have taken longest, converged or censored.
    in_fastest, in_slowest : ndarray, shape (K,)
        Checkpoints in each state before convergence, or up to the end of a censored run.
    in_fast_quarter, in_slow_quarter : ndarray, shape (K,), or None
        Their means over ``n_in_quarter`` runs; None with fewer than eight runs.
    decisive : tuple of int
        States in which the slowest stayed longer, and which hold at least a quarter of all it
        stayed longer anywhere; most first.
    """

    group: str
    runs: pd.DataFrame
    in_fastest: IntArray
    in_slowest: IntArray
    in_fast_quarter: FloatArray | None
    in_slow_quarter: FloatArray | None
    n_in_quarter: int
    decisive: tuple[int, ...]


def extremes(findings: Findings) -> Iterator[Extremes]:
    """Return the extremes of every group in which a run converged and another took longer."""
    runs = runs_by_convergence(findings).query("status != 'unknown'").reset_index(drop=True)
    counts = checkpoints_before_convergence(findings).to_numpy()  # (R, K), in the order of runs
    for group, own in runs.groupby("group", sort=False):
        # By how long each is known to have taken; of runs alike, the censored one took longer.
        known = own.sort_values(["step", "converged"], ascending=[True, False], kind="stable")
        fastest, slowest = own.index[0], known.index[-1]
        if not own["converged"].any() or own["step"][slowest] <= own["step"][fastest]:
            continue
        n = len(own) // 4
        quarters = n >= _MIN_IN_QUARTER
        yield Extremes(
            group=str(group),
            runs=own.loc[[fastest, slowest]],
            in_fastest=counts[fastest],
            in_slowest=counts[slowest],
            in_fast_quarter=counts[own.index[:n]].mean(axis=0) if quarters else None,
            in_slow_quarter=counts[known.index[-n:]].mean(axis=0) if quarters else None,
            n_in_quarter=n,
            decisive=_decisive(counts[slowest] - counts[fastest]),
        )


def _decisive(longer: IntArray) -> tuple[int, ...]:
    total = np.clip(longer, 0, None).sum()
    most_first = np.argsort(-longer, kind="stable")
    return tuple(int(k) for k in most_first if longer[k] > 0 and longer[k] >= _NOTABLE * total)
