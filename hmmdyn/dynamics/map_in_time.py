"""When runs are in which state of a map: at every level of its zoom, and group by group."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from hmmdyn.dynamics.occupancy import spans
from hmmdyn.results.arrays import IntArray
from hmmdyn.results.boundaries import Level
from hmmdyn.results.keys import RUN_KEY
from hmmdyn.results.map_in_time import (
    GROUP_STATES,
    GROUP_TRANSITIONS,
    LEVEL_STATES,
    LEVEL_TRANSITIONS,
    MapInTime,
)
from hmmdyn.results.model import HMMParameters


def find_map_in_time(
    states: pd.DataFrame, parameters: HMMParameters, zoom: Mapping[int, Level]
) -> MapInTime:
    """Find when runs are in the states of the map, and in those of the other levels of its zoom.

    Parameters
    ----------
    states : DataFrame
        ``group, run, step, state`` of every checkpoint, runs contiguous, steps increasing within a
        run.
    parameters : HMMParameters
        The map that they were decoded by.
    zoom : Mapping
        The levels of the zoom, the states of each in the order of the rows of ``states``; empty
        where there is none.
    """
    told = parameters.n_states
    levels = {k: level.states for k, level in zoom.items()} or {told: np.empty(0, np.int64)}
    levels[told] = states["state"].to_numpy()
    means = {k: level.parameters.means for k, level in zoom.items()} | {told: parameters.means}
    bounds = states[RUN_KEY].join(spans(states))
    stays = {k: _stays(bounds, path) for k, path in levels.items()}
    of_groups = stays[told].groupby("group", sort=False)
    return MapInTime(
        states=LEVEL_STATES.frame(
            pd.concat(
                [_places(own, k).assign(level=k) for k, own in stays.items()], ignore_index=True
            )
        ),
        transitions=LEVEL_TRANSITIONS.frame(
            pd.concat(
                [_crossings(own).assign(level=k) for k, own in stays.items()], ignore_index=True
            )
        ),
        group_states=GROUP_STATES.frame(
            pd.concat(
                [_places(own, told).assign(group=group) for group, own in of_groups],
                ignore_index=True,
            )
        ),
        group_transitions=GROUP_TRANSITIONS.frame(
            pd.concat(
                [_crossings(own).assign(group=group) for group, own in of_groups], ignore_index=True
            )
        ),
        stays=stays,
        means={k: means[k] for k in stays},
    )


def _stays(bounds: pd.DataFrame, path: IntArray) -> pd.DataFrame:
    """Return the unbroken stays of runs in states: ``group, run, state, start, end``."""
    run = bounds.groupby(RUN_KEY, sort=False).ngroup().to_numpy()
    begins = np.flatnonzero((np.diff(run, prepend=-1) != 0) | (np.diff(path, prepend=-1) != 0))
    ends = np.append(begins[1:], len(path)) - 1
    return pd.DataFrame(
        {
            "group": bounds["group"].to_numpy()[begins],
            "run": bounds["run"].to_numpy()[begins],
            "state": path[begins],
            "start": bounds["since"].to_numpy()[begins],
            "end": bounds["until"].to_numpy()[ends],
        }
    )


def _places(stays: pd.DataFrame, n_states: int) -> pd.DataFrame:
    """Return a row per state: how many runs are in it, for which share of the time, and when."""
    lasted = (stays["end"] - stays["start"]).groupby(stays["state"]).sum()
    in_state = stays.groupby([*RUN_KEY, "state"], sort=False).agg(
        entered=("start", "min"), left=("end", "max")
    )
    by_state = in_state.groupby("state")
    places = by_state.median().assign(n_runs=by_state.size(), share=lasted / lasted.sum())
    places = places.reindex(range(n_states)).fillna({"n_runs": 0, "share": 0.0})
    n_total = len(stays[RUN_KEY].drop_duplicates())
    return places.rename_axis("state").reset_index().assign(n_total=n_total)


def _crossings(stays: pd.DataFrame) -> pd.DataFrame:
    """Return a row per change of state: how many runs make it, and when."""
    before = stays.groupby(RUN_KEY, sort=False)["state"].shift()
    changes = stays.assign(from_state=before, to_state=stays["state"])[before.notna()]
    edge = ["from_state", "to_state"]
    first = changes.drop_duplicates([*RUN_KEY, *edge])
    n_total = len(stays[RUN_KEY].drop_duplicates())
    return (
        first.groupby(edge, as_index=False)
        .agg(n_runs=("start", "size"), crossed=("start", "median"))
        .assign(n_total=n_total)
    )
