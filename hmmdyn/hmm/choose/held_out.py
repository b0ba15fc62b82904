"""How well maps predict runs they have not seen.

Two scores for every held-out run. Its *log-likelihood* under the map asks whether states repeat
from run to run; on smooth, autocorrelated metrics it keeps rising with K, because a finer staircase
follows a drift that all runs share more closely. The *path score*
(:mod:`hmmdyn.hmm.choose.path_score`) asks whether states are phases.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from hmmdyn.choices import COVARIANCE_TYPES
from hmmdyn.errors import UsageError
from hmmdyn.hmm.choose.folds import MIN_RUNS, Split, folds, split_runs
from hmmdyn.hmm.choose.path_score import LOOKS, Residuals, path_scores, residuals_of
from hmmdyn.hmm.fit.em import Fit
from hmmdyn.hmm.fit.progress import Progress
from hmmdyn.hmm.fit.sweep import sweep
from hmmdyn.hmm.model.inference import beliefs
from hmmdyn.results.arrays import FloatArray, IntArray
from hmmdyn.results.model import PLAIN_MODEL, ModelOptions
from hmmdyn.results.observations import Sequences

# So many of the runs are left out of the mean score at either end: one run that went its own way is
# predicted so badly that it would decide alone.
TRIMMED = 0.2


@dataclass(frozen=True)
class HeldOut:
    """How well every map predicts runs it was not fitted to.

    Attributes
    ----------
    criteria : DataFrame
        One row per covariance type and K: ``covariance_type, n_states, held_out, held_out_se,
        path, path_se`` (the two scores, nats per checkpoint and nats per look: mean over runs
        without the highest and lowest fifth, and its standard error), ``n_scored`` (runs). NaN
        where a fold has no valid fit or a score is not finite: such a K cannot be compared.
    runs : DataFrame
        One row per covariance type, K and run: ``covariance_type, n_states, run`` (its position),
        ``fold, held_out, path``. Runs without a score are not in it.
    n_runs : int
        Runs there are; with fewer than ``MIN_RUNS`` none is held out.
    left_out : tuple of int
        Positions of metrics that some runs were scored without: no run they were held out from
        knows them.
    """

    criteria: pd.DataFrame
    runs: pd.DataFrame
    n_runs: int
    left_out: tuple[int, ...] = ()


def hold_out(
    data: Sequences,
    candidates: Sequence[int],
    *,
    covariance_types: Sequence[str] = COVARIANCE_TYPES,
    options: ModelOptions = PLAIN_MODEL,
    n_restarts: int = 2,
    random_state: int = 0,
    n_jobs: int = 1,
    progress: Progress | None = None,
) -> HeldOut:
    """Fit to all runs but some, score those, and so on until every run was held out once.

    Parameters
    ----------
    data : Sequences
        The runs.
    candidates : sequence of int
        Numbers of states; one state, the trajectory without phases, is always scored too.
    covariance_types : sequence of str
        Some of ``diag`` and ``full``.
    options : ModelOptions
        As in :func:`hmmdyn.hmm.fit.sweep.sweep`.
    n_restarts : int
        Starts per K and fold. Two are enough: splits and merges of the neighbours' winners do the
        rest.
    random_state : int
        Seeds the folds and the starts.
    n_jobs : int
        Threads to work with.
    progress : callable, optional
        Called with (sweeps' steps done, steps in all).

    Raises
    ------
    UsageError
        A covariance type is not known, or none is asked for.

    Notes
    -----
    The path score counts phases that are entered in less than about 1/40 of a run. Where
    transitions take longer it sees drift, and K = 1 comes out: see
    :func:`hmmdyn.hmm.choose.recommend.recommend`.
    """
    if not covariance_types or not set(covariance_types) <= set(COVARIANCE_TYPES):
        raise UsageError(
            f"'covariance_types' must be some of {COVARIANCE_TYPES}, got {tuple(covariance_types)}."
        )
    tried = sorted({1, *candidates})
    n_runs = len(data.lengths)
    parts = folds(n_runs, random_state) if n_runs >= MIN_RUNS else []
    work = [(c, f) for c in covariance_types for f in range(len(parts))]
    stride = max(1, round(float(np.median(data.lengths)) / LOOKS))
    rows: list[dict[str, object]] = []
    left_out: set[int] = set()
    for done, (covariance_type, f) in enumerate(work):
        held = np.isin(np.arange(n_runs), parts[f])
        split = split_runs(data, held)
        training = split.fitted
        left_out |= set(split.left_out)
        distinct = len(np.unique(np.nan_to_num(training.values, nan=np.inf), axis=0))
        winners = sweep(
            training,
            [k for k in tried if k <= distinct],
            covariance_type=covariance_type,
            options=options,
            n_restarts=n_restarts,
            random_state=random_state,
            n_jobs=n_jobs,
            progress=_part_of(progress, done, len(work)),
        ).winners
        rows += _scored(winners, split, stride, covariance_type, f, np.flatnonzero(held))
    columns = ["covariance_type", "n_states", "run", "fold", "held_out", "path"]
    runs = pd.DataFrame(rows, columns=columns)
    criteria = pd.DataFrame(
        _mean_scores(runs, covariance_type, k, n_runs)
        for covariance_type in covariance_types
        for k in tried
    )
    return HeldOut(criteria, runs, n_runs, tuple(sorted(left_out)))


def _part_of(progress: Progress | None, done: int, n_parts: int) -> Progress | None:
    """Report one sweep's progress as part of all sweeps'."""
    if progress is None:
        return None
    return lambda step, steps: progress(done * steps + step, n_parts * steps)


def _scored(
    winners: Mapping[int, Fit],
    split: Split,
    stride: int,
    covariance_type: str,
    fold: int,
    runs: IntArray,
) -> list[dict[str, object]]:
    """Score the unseen runs under the best fit of every K."""
    training, unseen = split.fitted, split.unseen
    rows: list[dict[str, object]] = []
    for k, fitted in winners.items():
        if fitted.parameters is None or fitted.states is None:
            raise AssertionError("only valid fits win")
        residuals = Residuals.fit(
            residuals_of(fitted.parameters, training.values, fitted.states),
            training.lengths,
            stride,
        )
        likelihood = beliefs(fitted.parameters, unseen).log_likelihood / unseen.lengths
        path = path_scores(fitted.parameters, residuals, unseen)
        rows += [
            {
                "covariance_type": covariance_type,
                "n_states": k,
                "run": int(run),
                "fold": fold,
                "held_out": float(likelihood[r]),
                "path": float(path[r]),
            }
            for r, run in enumerate(runs)
        ]
    return rows


def _mean_scores(
    runs: pd.DataFrame, covariance_type: str, n_states: int, n_runs: int
) -> dict[str, object]:
    """Average the scores of one covariance type and K over the runs, if all have one."""
    mine = runs[(runs["covariance_type"] == covariance_type) & (runs["n_states"] == n_states)]
    complete = len(mine) == n_runs and bool(np.isfinite(mine[["held_out", "path"]]).all(axis=None))
    row: dict[str, object] = {"covariance_type": covariance_type, "n_states": n_states}
    for score in ("held_out", "path"):
        of_runs = mine[score].to_numpy(dtype=np.float64)
        mean, error = trimmed_mean(of_runs) if complete else (np.nan, np.nan)
        row |= {score: mean, f"{score}_se": error}
    return row | {"n_scored": len(mine)}


def trimmed_mean(scores: FloatArray) -> tuple[float, float]:
    """Mean without the highest and lowest fifth, and its standard error from the winsorised ones.

    References
    ----------
    .. [1] Tukey & McLaughlin (1963), Sankhyā A 25, 331-352.
    """
    n, cut = len(scores), int(TRIMMED * len(scores))
    ordered = np.sort(scores)
    kept = ordered[cut : n - cut]
    winsorised = np.clip(ordered, kept[0], kept[-1])
    return float(kept.mean()), float(winsorised.std(ddof=1) * np.sqrt(n) / len(kept))
