"""Which runs walk the map unlike the others of their group.

Two things can set a run apart: its metrics go where those of no other run do, and it goes back to
states that the others leave for good. How long it stays anywhere does not: that is slow or fast,
which :mod:`hmmdyn.dynamics.slowness` tells.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from hmmdyn.dynamics.apart import distances_from_others, worst_stretch
from hmmdyn.dynamics.lying_out import (
    FALSE_ALARMS,
    MIN_RUNS,
    Way,
    exponential,
    logistic,
    tail_probabilities,
)
from hmmdyn.dynamics.occupancy import time_of_checkpoints
from hmmdyn.hmm import refit_without
from hmmdyn.hmm.model.inference import beliefs
from hmmdyn.hmm.model.residuals import squared_distances
from hmmdyn.results.arrays import FloatArray, IntArray
from hmmdyn.results.model import PLAIN_MODEL, HMMParameters, ModelOptions
from hmmdyn.results.observations import Observations, Sequences
from hmmdyn.results.outliers import OUTLIERS

# Of more runs, those of a fold are held out together: one run in twenty hardly shapes the map.
_FOLDS = 20
# How far a run goes from all others is that of this share of its checkpoints, where it is farthest.
_FARTHEST = 0.1
# Squared deviations within states are compared by their logarithm: what is nearer than 0.3 is
# alike. A run either goes back or does not, and one that does may stay for long: the heavier tail.
_WAYS = (
    Way("apart", logistic, resolution=0.2, alike=0.3),
    Way("returned", exponential, resolution=0.05),
)


def find_outliers(
    observations: Observations,
    parameters: HMMParameters,
    states: pd.DataFrame,
    *,
    options: ModelOptions = PLAIN_MODEL,
    step_unit: str = "step",
    random_state: int = 0,
) -> pd.DataFrame:
    """Find the runs that walk the map unlike the other runs of their group.

    Where all runs of an analysis are drawn from one recipe, the chance that *any* of them is
    called an outlier is meant to be at most 0.05, and so is at most that for each. A run that is
    only slow or fast is not unlike the others, nor is one saved at other steps. Runs are judged up
    to where half of their group have ended.

    Parameters
    ----------
    observations : Observations
        What the map was fitted to.
    parameters : HMMParameters
        The map.
    states : DataFrame
        Decoded states of the same checkpoints in the same order.
    options : ModelOptions
        With which the map was fitted.
    step_unit : str
        How steps are called in the reasons.
    random_state : int
        Seeds the draws behind p, and deals the runs of large groups.

    Returns
    -------
    DataFrame
        See :data:`.results.outliers.OUTLIERS`.

    Notes
    -----
    How far a run lies out is measured in standard deviations of the others, for ln(``apart`` + 0.3)
    and ``returned`` each, towards the large side only; the two most extreme of eight or more runs
    (one of four to seven) do not enter mean and deviation, so that outliers do not hide each other.
    p is the chance that one of as many runs lies out as far that scatter by a logistic law (for
    ``returned``, an exponential one), ``p_corrected`` that any does; both are multiplied by two,
    for the two ways to lie out, and ``p_corrected`` by the number of groups tested (Bonferroni).
    Ranks alone could not go below 1/N; these laws have tails as heavy as were seen in simulated
    runs of one recipe, and ``benchmarks/outliers.md`` has the error rates.

    ``apart`` is how far the run is from the way of any other run
    (:func:`hmmdyn.dynamics.apart.distances_from_others`), the mean over the tenth of its
    checkpoints where it is farthest.

    ``returned`` adds up, over a run's time, the share of the other runs that are in this
    state and in one the run has been in before, too, but never in this order; the largest over the
    states it has been in before.
    """
    runs = observations.runs.reset_index(drop=True)
    path = states["state"].to_numpy()
    groups = []
    with threadpool_limits(1):
        table = runs.assign(**_held_out(observations, path, parameters, options))
        for name in runs["group"].unique():
            mine = (runs["group"] == name).to_numpy(dtype=bool)
            data, own = observations.of(mine), path[mine[observations.run_of_row]]
            groups.append(_Group.of(table[mine], data, own, parameters.n_states, random_state))
    n_tested = sum(len(group.table) >= MIN_RUNS for group in groups)
    judged = [group.judged(n_tested, step_unit, random_state) for group in groups]
    return OUTLIERS.frame(pd.concat(judged).sort_index())


def _held_out(
    data: Sequences, path: IntArray, parameters: HMMParameters, options: ModelOptions
) -> dict[str, FloatArray]:
    """Score every run under the map fitted without it: ``score`` and ``misfit``, each (R,)."""
    n_runs = len(data.lengths)
    fold_of = np.arange(n_runs) % min(n_runs, _FOLDS)
    score, misfit = np.full((2, n_runs), np.nan)
    for fold in range(fold_of.max() + 1):
        held = fold_of == fold
        fitted = refit_without(parameters, data, path, held, options=options)
        if fitted is None:
            continue
        mine = data.of(held)
        seen = beliefs(fitted, mine)
        score[held] = seen.log_likelihood / mine.lengths
        known = np.add.reduceat((~np.isnan(mine.values)).sum(axis=1), mine.first_rows)
        squares = squared_distances(fitted, mine, seen)
        misfit[held] = np.add.reduceat(squares, mine.first_rows) / known
    return {"score": score, "misfit": misfit}


def _ways_back(paths: list[IntArray], n_states: int) -> list[FloatArray]:
    """Return of each checkpoint of each run the share of the others that it goes back unlike."""
    visits = np.stack([np.bincount(path, minlength=n_states) > 0 for path in paths])
    follows = np.stack([_follows(path, n_states) for path in paths])
    other = ~np.eye(n_states, dtype=bool)
    never = visits[:, :, None] & visits[:, None, :] & other & ~follows
    return [
        _unlike_others(path, (never.sum(axis=0) - own) / max(len(paths) - 1, 1))
        for path, own in zip(paths, never, strict=True)
    ]


def _follows(path: IntArray, n_states: int) -> np.ndarray:
    """Whether state k is ever visited after state j, shape (K, K), bool."""
    times = np.arange(len(path))
    first = np.array([times[path == k].min(initial=len(path)) for k in range(n_states)])
    last = np.array([times[path == k].max(initial=-1) for k in range(n_states)])
    return first[:, None] < last[None, :]


def _unlike_others(path: IntArray, never: FloatArray) -> FloatArray:
    """Of each checkpoint, the largest ``never`` [j, k], j a state before and k the present one."""
    before = np.maximum.accumulate(np.eye(len(never), dtype=bool)[path], axis=0)
    return np.asarray(np.where(before, never[:, path].T, 0.0).max(axis=1))


@dataclass(frozen=True)
class _Group:
    """The runs of a group, up to where they are judged.

    ``table`` has a row for each. Of the checkpoints of each run: ``steps``, ``shares`` of its time,
    ``paths`` (states), ``far`` (squared distances from the others), and ``back`` (the share of the
    others that it goes back unlike).
    """

    table: pd.DataFrame
    steps: list[IntArray]
    shares: list[FloatArray]
    paths: list[IntArray]
    far: list[FloatArray]
    back: list[FloatArray]

    @classmethod
    def of(
        cls,
        table: pd.DataFrame,
        data: Sequences,
        states: IntArray,
        n_states: int,
        random_state: int,
    ) -> _Group:
        """Take the runs of a group, their observations and decoded states."""
        if data.steps is None:
            raise AssertionError("observations know their steps")
        steps = data.split(data.steps)
        # What a run does after the others have ended is like nothing that they do.
        end = np.quantile([own[-1] for own in steps], 0.5, method="lower")
        n_judged = [max(int((own <= end).sum()), 1) for own in steps]

        def judged(rows: list[np.ndarray]) -> list[np.ndarray]:
            return [own[:n] for own, n in zip(rows, n_judged, strict=True)]

        checkpoints = pd.DataFrame({"group": 0, "run": data.run_of_row, "step": data.steps})
        time = judged(data.split(time_of_checkpoints(checkpoints).to_numpy()))
        paths = judged(data.split(states))
        alone = len(table) == 1
        far = (
            [np.zeros(len(states))]
            if alone
            else distances_from_others(data, states, random_state=random_state)
        )
        return cls(
            table,
            judged(steps),
            [own / own.sum() for own in time],
            paths,
            judged(far),
            _ways_back(paths, n_states),
        )

    def judged(self, n_tested: int, step_unit: str, random_state: int) -> pd.DataFrame:
        """Return the rows of :func:`find_outliers` for this group.

        Parameters
        ----------
        n_tested : int
            Groups that are large enough to be tested.
        step_unit, random_state
            As in :func:`find_outliers`.
        """
        score = self.table["score"].to_numpy()
        table = self.table.assign(
            typical=[_median(np.delete(score, i)) for i in range(len(score))],
            apart=[_farthest(far) for far in self.far],
            returned=[
                float(share @ back) for share, back in zip(self.shares, self.back, strict=True)
            ],
        )
        if len(table) < MIN_RUNS:
            runs = "1 run" if len(table) == 1 else f"{len(table)} runs"
            why = f"A group of {runs} cannot tell: it takes {MIN_RUNS} to see what is usual."
            return table.assign(p=np.nan, p_corrected=np.nan, outlier=False, reason=why)
        each, any_run = tail_probabilities(table, _WAYS, random_state)
        corrected = np.minimum(np.fmin.reduce(any_run, axis=1) * len(_WAYS) * n_tested, 1.0)
        telling = any_run * len(_WAYS) * n_tested < FALSE_ALARMS
        reasons = [
            " ".join(self._reasons(i, telling[i], table["apart"].to_numpy(), step_unit))
            for i in range(len(table))
        ]
        return table.assign(
            p=np.minimum(np.fmin.reduce(each, axis=1) * len(_WAYS), 1.0),
            p_corrected=corrected,
            outlier=corrected < FALSE_ALARMS,
            reason=reasons,
        )

    def _reasons(
        self, i: int, telling: np.ndarray, apart: FloatArray, step_unit: str
    ) -> Iterator[str]:
        """Say in words what sets a run apart."""
        is_apart, returned = telling
        if is_apart:
            yield self._where_it_is_apart(i, apart, step_unit)
        if returned:
            yield self._where_it_goes_back(i, step_unit)

    def _where_it_is_apart(self, i: int, apart: FloatArray, step_unit: str) -> str:
        far = self.far[i]
        first, last = worst_stretch(far - far.mean())
        state = np.bincount(self.paths[i][first : last + 1]).argmax()
        usual = _median(np.delete(apart, i))
        return (
            f"It goes where no other run does: there its metrics are {np.sqrt(apart[i]):.2g} "
            f"deviations from all others (usual are up to {np.sqrt(usual):.2g}), above all from "
            f"{step_unit} {self.steps[i][first]:,} to {self.steps[i][last]:,}, mostly in state "
            f"{state}."
        )

    def _where_it_goes_back(self, i: int, step_unit: str) -> str:
        path, back = self.paths[i], self.back[i]
        stay = np.cumsum(np.diff(path, prepend=path[0]) != 0)
        longest = np.bincount(stay, weights=back * self.shares[i]).argmax()
        first = int(np.flatnonzero(stay == longest)[0])
        share = self.shares[i][(path == path[first]) & (back > 0)].sum()
        n_others = len(self.paths) - 1
        unlike = round(back[first] * n_others)
        whom = (
            "no other run does" if unlike == n_others else f"{unlike} of {n_others} others do not"
        )
        return (
            f"It goes back from state {path[first - 1]} to state {path[first]} at {step_unit} "
            f"{self.steps[i][first]:,}, which {whom}, and is there for {share:.0%} of its time."
        )


def _farthest(far: FloatArray) -> float:
    """Mean of the squared distances of the tenth of a run that is farthest from the others."""
    return float(np.sort(far)[-math.ceil(_FARTHEST * len(far)) :].mean())


def _median(values: FloatArray) -> float:
    known = np.asarray(values)[~np.isnan(values)]
    return float(np.median(known)) if len(known) else float("nan")
