"""The supported map: states of which every boundary has been earned.

A hidden Markov model cuts smooth drift into as many states as it is given. Here the finest map is
taken apart instead: states without evidence are dissolved, neighbours between which runs drift are
merged, until every boundary that is left is crossed quickly between two places where runs stay
(:mod:`hmmdyn.hmm.choose.passages`). What was merged, in this order, is the zoom from fine to
coarse. Merging the components of a mixture until modes are left is due to Hennig (2010).

What it cannot see: changes of velocity without plateaus; visits shorter than three checkpoints;
changes that take longer than the phases beside them. A smooth drift that is slow, fast and slow
again cannot be told from a gradual change.

References
----------
Hennig (2010), Methods for merging Gaussian mixture components, Advances in Data Analysis and
Classification 4:3-34. Ashman, Bird and Zepf (1994), Detecting bimodality in astronomical datasets,
The Astronomical Journal 108:2348-2361.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from hmmdyn.hmm.choose.duration import measure_change
from hmmdyn.hmm.choose.merging import Level, MapMaker, pairs
from hmmdyn.hmm.choose.passages import (
    SETTLING,
    SUPPORTED,
    Resampling,
    find_passages,
    find_visits,
    interpolated,
    within_states,
)
from hmmdyn.hmm.choose.whose_time import whose_time
from hmmdyn.results.arrays import FloatArray, IntArray
from hmmdyn.results.model import PLAIN_MODEL, ModelOptions
from hmmdyn.results.observations import Sequences


@dataclass(frozen=True)
class Dated:
    """The boundaries of a level with their dates, and the passages: see :class:`SupportedMap`."""

    boundaries: pd.DataFrame
    passages: pd.DataFrame


@dataclass(frozen=True)
class SupportedMap:
    """States with evidence, their boundaries, and the zoom around them.

    Attributes
    ----------
    labels : ndarray, shape (n,)
        State of each checkpoint, 0 … K-1 in order of time.
    boundaries : DataFrame
        One row per change of state that enough runs make: the columns of
        :func:`hmmdyn.hmm.choose.passages.judge_boundaries`, then ``date`` (median over runs, in
        steps) with its 90 % interval ``date_low, date_high``, and ``duration`` (from 10 to 90 %,
        steps) with ``duration_low, duration_high``; NaN where the boundary is not supported. Rows
        of kind ``slice`` are no boundaries: they stay where a way back is supported, or where few
        of the runs in two well founded states go.
    passages : DataFrame
        One row per passage of a supported boundary: ``run`` (position), ``from_state, to_state,
        step`` (of its middle).
    settling : tuple of int
        States in which runs start and from which they settle into the next one: no boundary lies
        there, and they do not count as phases.
    levels : tuple of Level
        The zoom, from the finest map to one state; the supported map is one of them.
    log : DataFrame
        What was done on the way, a row each: ``n_states`` (before it), ``action`` (``rare``,
        ``fleeting``, ``passed through``, ``slice``, ``same level``, ``apart``, ``split``, or
        ``coarser`` beyond the supported map), ``state``, ``into`` (-1 where it was dealt to its
        neighbours in time), ``delta`` (NaN where it did not matter).
    """

    labels: IntArray
    boundaries: pd.DataFrame
    passages: pd.DataFrame
    settling: tuple[int, ...]
    levels: tuple[Level, ...]
    log: pd.DataFrame

    @property
    def n_states(self) -> int:
        """Number of states, those in which runs only settle included."""
        return int(self.labels.max()) + 1

    @property
    def n_phases(self) -> int:
        """Number of states without those in which runs only settle."""
        return self.n_states - len(self.settling)

    @property
    def zoom(self) -> dict[int, Level]:
        """One level per number of states there is, finest first; the supported map among them."""
        # Of several, the last: a state that a look inside brought back had been merged before.
        last = {level.n_states: level for level in self.levels}
        return {n_states: last[n_states] for n_states in sorted(last, reverse=True)}

    def at(self, n_states: int) -> Level:
        """Return the level with so many states, or the next coarser one there is."""
        return next(level for k, level in self.zoom.items() if k <= n_states)


def supported_map(
    data: Sequences,
    labels: IntArray,
    *,
    covariance_type: str = "diag",
    options: ModelOptions = PLAIN_MODEL,
    n_draws: int = 400,
    random_state: int = 0,
) -> SupportedMap:
    """Merge the states of a fine map until every boundary that is left is supported.

    Parameters
    ----------
    data : Sequences
        Standardised observations, shape (n, D), pooled and not run by run; NaN where a metric is
        missing: paths are repaired without it, and passages see it interpolated in time. Without
        steps, these are counted from 0 in each run.
    labels : ndarray, shape (n,)
        Decoded states of a map that is finer than what is looked for, such as that of the largest
        number of states tried.
    covariance_type : str
        ``diag`` or ``full``, of the models that repair paths after each change.
    options : ModelOptions
        Of these models and of the fine map: the plain ones, or those of the order of time
        (``left_right``).
    n_draws : int
        Bootstrap draws of runs.
    random_state : int
        Same input and seed, same map.

    Returns
    -------
    SupportedMap
    """
    maker = MapMaker(data, covariance_type, options, Resampling(n_draws, random_state))
    maker.make(labels)
    level = maker.level("")
    found = dated(data, level, n_draws=n_draws, random_state=random_state)
    maker.go_on_to_one_state()
    return SupportedMap(
        level.labels,
        found.boundaries,
        found.passages,
        _only_settling(level.boundaries),
        tuple(maker.levels),
        maker.log,
    )


def supported_states(
    data: Sequences,
    labels: IntArray,
    *,
    covariance_type: str = "diag",
    options: ModelOptions = PLAIN_MODEL,
    n_draws: int = 400,
    random_state: int = 0,
) -> IntArray:
    """Return the labels of :func:`supported_map` alone, which costs neither dates nor a zoom.

    Parameters
    ----------
    data, labels, covariance_type, options, n_draws, random_state
        As of :func:`supported_map`.
    """
    maker = MapMaker(data, covariance_type, options, Resampling(n_draws, random_state))
    maker.make(labels)
    return maker.labels


def dated(data: Sequences, level: Level, *, n_draws: int = 400, random_state: int = 0) -> Dated:
    """Date the supported boundaries of a level, as those of a supported map are.

    Parameters
    ----------
    data : Sequences
        What the map was made of.
    level : Level
        A level of its zoom.
    n_draws, random_state : int
        As the map was made with: bootstrap draws of runs, and their seed.
    """
    return _dated(
        interpolated(data.values, data.lengths),
        data.lengths,
        clock_of(data).astype(np.float64),
        level,
        Resampling(n_draws, random_state),
    )


def _dated(
    values: FloatArray,
    lengths: IntArray,
    steps: FloatArray,
    level: Level,
    resampling: Resampling,
) -> Dated:
    found = find_passages(find_visits(level.labels, lengths))
    within = within_states(values, level.labels)
    columns = {name: np.full(len(level.boundaries), np.nan) for name in _CHANGE_COLUMNS}
    timing = np.full(len(level.boundaries), "", dtype=object)
    rows = []
    supported = level.boundaries["kind"].isin(SUPPORTED)
    for i, (j, k) in enumerate(pairs(level.boundaries)):
        if not supported.iloc[i]:
            continue
        change = measure_change(values, found.between(j, k), within, steps, lengths, resampling)
        own = whose_time(change, resampling)
        for name, column in columns.items():
            column[i] = getattr(own if name.startswith("spread") else change, name)
        timing[i] = own.verdict
        rows += [(int(r), j, k, float(d)) for r, d in zip(change.runs, change.dates, strict=True)]
    passages = pd.DataFrame(rows, columns=["run", "from_state", "to_state", "step"])
    return Dated(
        level.boundaries.assign(**columns, timing=timing),
        passages.sort_values(["run", "step"], ignore_index=True),
    )


def clock_of(data: Sequences) -> IntArray:
    """Steps of the checkpoints, shape (n,); counted from 0 in each run where they are not known."""
    if data.steps is None:
        return np.concatenate([np.arange(n) for n in data.lengths])
    return data.steps


def _only_settling(boundaries: pd.DataFrame) -> tuple[int, ...]:
    """Return the states out of which runs settle, and which have no boundary otherwise."""
    settling = set(boundaries.loc[boundaries["kind"] == SETTLING, "from_state"])
    founded = {k for pair in pairs(boundaries[boundaries["kind"].isin(SUPPORTED)]) for k in pair}
    return tuple(sorted(int(k) for k in settling - founded))


_CHANGE_COLUMNS = (
    "date",
    "date_low",
    "date_high",
    "duration",
    "duration_low",
    "duration_high",
    "spread",
    "spread_low",
    "spread_high",
)
