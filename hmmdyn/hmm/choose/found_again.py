"""Is the map found again? Maps of two disjoint halves of the runs, decoded on all runs.

What does not come again from other runs of the same recipe is no finding about the recipe. The
reverse does not hold: slices of a drift that all runs share come again, too. It is necessary, not
sufficient; :mod:`hmmdyn.hmm.choose.boundaries` asks for the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from hmmdyn.hmm.choose.boundaries import (
    SupportedMap,
    clock_of,
    supported_states,
)
from hmmdyn.hmm.choose.passages import SHORTEST_VISIT, find_visits, interpolated
from hmmdyn.hmm.fit.em import EM, Model
from hmmdyn.hmm.fit.enough import enough_runs
from hmmdyn.hmm.fit.starts import from_labels, start
from hmmdyn.hmm.model.inference import decode
from hmmdyn.results.arrays import FloatArray, IntArray
from hmmdyn.results.boundaries import FOUND
from hmmdyn.results.model import PLAIN_MODEL, ModelOptions
from hmmdyn.results.observations import Sequences

# Fewer runs in a half give no supported boundary at all.
_RUNS_IN_HALF = 3
# A half's own finest map has so many states, or as many as that of all runs.
_FINEST = 8
_SEARCH_ITERATIONS = 30
YES, NO, CANNOT_TELL = "yes", "no", "cannot tell"


@dataclass(frozen=True)
class FoundAgain:
    """What maps of other runs say about a map.

    Attributes
    ----------
    states : DataFrame
        One row per state: ``state``; ``strength`` (prediction strength: of the pairs of checkpoints
        that share the state, the share that a map of *other* runs keeps together; the least over
        halves, NaN where it was not asked); ``found`` (``yes``: at least 0.8, and every supported
        boundary of the state is found; ``no``; ``cannot tell`` with fewer than six runs);
        ``overlap`` (of the checkpoints in the state by either map, the share in it by both, the
        median over halves of which at least three runs are in the state; NaN without any).
    boundaries : DataFrame
        One row per supported boundary: ``from_state, to_state``; ``share`` (of the runs that cross
        it, those that cross it by the map of other runs, too, the least over halves); ``apart``
        (median distance of the two dates, steps); ``found`` (as above).
    n_halves : int
        Maps of half of the runs that were made.
    """

    states: pd.DataFrame
    boundaries: pd.DataFrame
    n_halves: int


def found_again(
    data: Sequences,
    found: SupportedMap,
    *,
    covariance_type: str = "diag",
    options: ModelOptions = PLAIN_MODEL,
    n_splits: int = 2,
    random_state: int = 0,
) -> FoundAgain:
    """Make maps of halves of the runs, and hold a map against those of the other half.

    Parameters
    ----------
    data : Sequences
        As for :func:`hmmdyn.hmm.choose.boundaries.supported_map`, which made ``found`` of it.
    found : SupportedMap
        The map that is asked about.
    covariance_type, options
        As it was made with.
    n_splits : int
        Times that the runs are dealt to two halves.
    random_state : int
        Seeds the halves, and each half's search.

    Notes
    -----
    Each half searches for itself, without a look at the map, and its supported map is decoded on
    the runs that it has not seen. Its states are named by the map's states with which they share
    most checkpoints there. Of very many checkpoints, a half's map is that of enough of its runs
    (:mod:`hmmdyn.hmm.fit.enough`).

    The least strength over halves asks for much of a state that a minority of the runs visit: one
    half that got few of these runs cannot have it, and one that cuts the state in two counts as if
    it did not know it. ``overlap`` allows for both, and is what a detour is asked for.

    References
    ----------
    Tibshirani and Walther (2005), Cluster validation by prediction strength, Journal of
    Computational and Graphical Statistics 14:511-528.
    """
    clock, lengths = clock_of(data), data.lengths
    finest = max(_FINEST, found.levels[0].n_states)
    whole = interpolated(data.values, lengths)
    rng = np.random.default_rng(random_state)
    strengths: list[FloatArray] = []
    overlaps: list[FloatArray] = []
    crossings: list[pd.DataFrame] = []
    if len(lengths) >= 2 * _RUNS_IN_HALF:
        for _ in range(n_splits):
            order = rng.permutation(len(lengths))
            for half in (order[: len(order) // 2], order[len(order) // 2 :]):
                asked = ~np.isin(np.arange(len(lengths)), half)
                seen = ~asked
                seen[seen] = enough_runs(lengths[seen], random_state)
                rows, new = np.repeat(seen, lengths), np.repeat(asked, lengths)
                labels = _map_of(
                    whole[rows], lengths[seen], covariance_type, options, finest, random_state
                )
                others = _decoded(
                    whole[rows],
                    lengths[seen],
                    labels,
                    whole[new],
                    lengths[asked],
                    covariance_type,
                    options,
                )
                mine = found.labels[new]
                strengths.append(_strengths(mine, others, found.n_states))
                named = _named(others, mine)
                has_it = _runs_staying(found.labels[rows], lengths[seen], found.n_states)
                overlap = _overlaps(mine, named, found.n_states)
                overlaps.append(np.where(has_it >= _RUNS_IN_HALF, overlap, np.nan))
                crossings.append(
                    _crossings(mine, named, lengths[asked], clock[new], found.boundaries)
                )
    return _summed_up(found, strengths, overlaps, crossings)


def _map_of(
    values: FloatArray,
    lengths: IntArray,
    covariance_type: str,
    options: ModelOptions,
    finest: int,
    random_state: int,
) -> IntArray:
    """Labels of the supported map of some runs, from a short search of its own."""
    n_states = min(finest, max(2, len(values) // 10))
    data = Sequences(values, lengths)
    em = EM(data, covariance_type, options=options)
    models = [
        Model(start(data, n_states, covariance_type, random_state, kind, options=options))
        for kind in ("time segments", "k-means")
    ]
    em.advance(models, _SEARCH_ITERATIONS)
    best = max(models, key=lambda model: model.reached)
    labels = np.asarray(em.decode(best), dtype=np.int64)
    return supported_states(
        data,
        labels,
        covariance_type=covariance_type,
        options=options,
        random_state=random_state,
    )


def _decoded(
    values: FloatArray,
    lengths: IntArray,
    labels: IntArray,
    new_values: FloatArray,
    new_lengths: IntArray,
    covariance_type: str,
    options: ModelOptions,
) -> IntArray:
    """Decode a map of some runs on others."""
    n_states = int(labels.max()) + 1
    if n_states == 1:
        return np.zeros(len(new_values), dtype=np.int64)
    parameters = from_labels(
        Sequences(values, lengths), labels, n_states, covariance_type, options=options
    )
    return np.asarray(decode(parameters, Sequences(new_values, new_lengths)), dtype=np.int64)


def _strengths(mine: IntArray, others: IntArray, n_states: int) -> FloatArray:
    """Share of the pairs within each state that the other map keeps together, shape (K,)."""
    table = np.zeros((n_states, int(others.max()) + 1))
    np.add.at(table, (mine, others), 1)
    n = table.sum(axis=1)
    pairs = n * (n - 1)
    kept = (table * (table - 1)).sum(axis=1)
    return np.where(pairs > 0, kept / np.where(pairs > 0, pairs, 1), np.nan)


def _runs_staying(labels: IntArray, lengths: IntArray, n_states: int) -> IntArray:
    """How many runs stay in each state for long enough to be judged, shape (K,)."""
    visits = find_visits(labels, lengths)
    long = visits.length >= SHORTEST_VISIT
    return np.array([len(set(visits.run[long & (visits.state == k)])) for k in range(n_states)])


def _overlaps(mine: IntArray, named: IntArray, n_states: int) -> FloatArray:
    """Of the checkpoints in each state by either map, the share in it by both, shape (K,)."""
    both = np.array([((mine == k) & (named == k)).sum() for k in range(n_states)])
    either = np.array([((mine == k) | (named == k)).sum() for k in range(n_states)])
    return np.where(either > 0, both / np.maximum(either, 1), np.nan)


def _median(overlaps: list[FloatArray], n_states: int) -> FloatArray:
    """Median over the halves that could have each state, shape (K,); NaN where none could."""
    columns = np.array(overlaps).reshape(-1, n_states).T
    known = [column[~np.isnan(column)] for column in columns]
    return np.array([np.median(k) if len(k) else np.nan for k in known])


def _named(others: IntArray, mine: IntArray) -> IntArray:
    """Call the other map's states by the map's states that hold most of them."""
    table = np.zeros((int(others.max()) + 1, int(mine.max()) + 1))
    np.add.at(table, (others, mine), 1)
    return np.asarray(table.argmax(axis=1)[others])


def _crossings(
    mine: IntArray, named: IntArray, lengths: IntArray, clock: IntArray, boundaries: pd.DataFrame
) -> pd.DataFrame:
    """When each run first crosses each supported boundary, by both maps."""
    dates = [_first_changes(labels, lengths, clock) for labels in (mine, named)]
    rows = [
        (*edge, date, dates[1].get(key, np.nan))
        for edge in _supported(boundaries)
        for key, date in dates[0].items()
        if key[1:] == edge
    ]
    return pd.DataFrame(rows, columns=["from_state", "to_state", "mine", "others"])


def _supported(boundaries: pd.DataFrame) -> list[tuple[int, int]]:
    """Pairs of states, from and to, of the supported boundaries: those that have a date."""
    b = boundaries[boundaries["date"].notna()]
    return [(int(j), int(k)) for j, k in zip(b["from_state"], b["to_state"], strict=True)]


def _first_changes(
    labels: IntArray, lengths: IntArray, clock: IntArray
) -> dict[tuple[int, int, int], float]:
    """Step halfway into each first change, by run, from_state and to_state."""
    visits = find_visits(labels, lengths)
    dates: dict[tuple[int, int, int], float] = {}
    for v in range(1, len(visits.run)):
        if visits.run[v] == visits.run[v - 1]:
            key = int(visits.run[v]), int(visits.state[v - 1]), int(visits.state[v])
            begin = int(visits.begin[v])
            dates.setdefault(key, (float(clock[begin]) + float(clock[begin - 1])) / 2)
    return dates


def _summed_up(
    found: SupportedMap,
    strengths: list[FloatArray],
    overlaps: list[FloatArray],
    crossings: list[pd.DataFrame],
) -> FoundAgain:
    rows = []
    for j, k in _supported(found.boundaries):
        mine = [c[(c["from_state"] == j) & (c["to_state"] == k)] for c in crossings]
        shares = [c["others"].notna().mean() for c in mine if len(c)]
        apart = [(c["others"] - c["mine"]).abs() for c in mine]
        share = min(shares, default=np.nan)
        rows.append(
            {
                "from_state": j,
                "to_state": k,
                "share": share,
                "apart": float(pd.concat(apart).median()) if shares else np.nan,
                "found": _verdict(share),
            }
        )
    columns = ["from_state", "to_state", "share", "apart", "found"]
    boundaries = pd.DataFrame(rows, columns=columns)
    strength = np.fmin.reduce(strengths) if strengths else np.full(found.n_states, np.nan)
    lost = boundaries[boundaries["found"] == NO]
    of_lost = {*lost["from_state"], *lost["to_state"]}
    states = pd.DataFrame(
        {
            "state": range(found.n_states),
            "strength": strength,
            "found": [NO if k in of_lost else _verdict(s) for k, s in enumerate(strength)],
            "overlap": _median(overlaps, found.n_states),
        }
    )
    return FoundAgain(states, boundaries, len(strengths))


def _verdict(share: float) -> str:
    if np.isnan(share):
        return CANNOT_TELL
    return YES if share >= FOUND else NO
