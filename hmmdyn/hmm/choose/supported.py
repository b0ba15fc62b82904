"""The map that opens with evidence: the supported states as a model, and what supports them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from hmmdyn.errors import UsageError
from hmmdyn.hmm.choose.boundaries import SupportedMap, dated, supported_map
from hmmdyn.hmm.choose.clock_or_seed import clock_or_seed
from hmmdyn.hmm.choose.found_again import found_again
from hmmdyn.hmm.choose.passages import interpolated, needed_runs
from hmmdyn.hmm.fit.em import EM, Model
from hmmdyn.hmm.fit.starts import from_labels
from hmmdyn.hmm.fit.sweep import Sweep
from hmmdyn.hmm.model.inference import decode
from hmmdyn.messages import Message, Remedy
from hmmdyn.names import some
from hmmdyn.results.arrays import IntArray
from hmmdyn.results.boundaries import (
    BOUNDARIES,
    LEVEL_BOUNDARIES,
    LEVELS,
    MERGES,
    NOT_ASKED,
    STATES_FOUND_AGAIN,
    Evidence,
    Level,
)
from hmmdyn.results.model import PLAIN_MODEL, HMMParameters, ModelOptions
from hmmdyn.results.notice import Notice
from hmmdyn.results.observations import Observations, Sequences
from hmmdyn.results.selection import Selection

# EM goes on so long from the supported labels: the model shall be theirs, not another.
_ITERATIONS = 5
# What attractors are guessed from, to ask whether seeds or the clock set the time.
_STATES_OF_ATTRACTORS = 4


def with_supported_states(
    selection: Selection,
    observations: Observations,
    swept: Sweep,
    random_state: int,
    options: ModelOptions = PLAIN_MODEL,
) -> Selection:
    """Choose the states whose boundaries are supported, from the finest map of a sweep.

    Parameters
    ----------
    selection : Selection
        What BIC chose of the same sweep; its criteria and attempts stay.
    observations : Observations
        What was swept over: pooled, so that no value knows its run's future.
    swept : Sweep
        The fits for all numbers of states; the finest one is merged.
    random_state : int
        Seeds bootstrap, halves of the runs and folds.
    options : ModelOptions
        What was swept with: plain, or ``left_right``.

    References
    ----------
    :mod:`hmmdyn.hmm.choose.boundaries`; studied in ``benchmarks/supported_map.md``.
    """
    covariance_type = selection.covariance_type
    finest = swept.winners[max(swept.winners)]
    if finest.states is None:
        raise AssertionError("only valid fits win")
    found = supported_map(
        observations,
        finest.states,
        covariance_type=covariance_type,
        options=options,
        random_state=random_state,
    )
    one_state = selection.models.get(1)
    zoom = {
        n_states: _level_of(
            one_state
            if n_states == 1 and one_state is not None
            else model_of_labels(observations, level.labels, covariance_type, options),
            observations,
        )
        for n_states, level in found.zoom.items()
    }
    return replace(
        selection,
        protocol="supported",
        criterion="supported",
        n_states=found.n_states,
        models={**selection.models, found.n_states: zoom[found.n_states].parameters},
        evidence=_evidence(observations, found, zoom, covariance_type, options, random_state),
        notices=(
            *selection.notices,
            *_about_returns(zoom[found.n_states].states, observations),
        ),
    )


def at_level(selection: Selection, n_states: int) -> Selection:
    """Choose another level of the zoom around the supported map.

    Its boundaries are as they were judged on the way; whether other runs have them was asked of the
    supported map only.

    Raises
    ------
    UsageError
        There is no zoom, or no such level in it.
    """
    if n_states == selection.n_states:
        return selection
    exactly = Message(
        "To fit exactly so many states, use ",
        Remedy("protocol", "bic"),
        " and ",
        Remedy("n_states", n_states),
        ".",
    )
    if selection.evidence is None:
        raise UsageError(
            f"There is no zoom to {n_states} states: it leads from the finest map through the "
            "supported one, and this map was chosen otherwise, or from a single number of states. "
            "Use ",
            Remedy("protocol", "supported"),
            " with more states (",
            Remedy("max_states"),
            "). ",
            exactly,
        )
    levels = selection.evidence.zoom
    if n_states not in levels:
        raise UsageError(
            f"There is no level with {n_states} states: the zoom of these runs has levels with "
            f"{', '.join(map(str, levels))}. Take one of these, or begin with a finer map (",
            Remedy("max_states"),
            "). ",
            exactly,
        )
    evidence = selection.evidence.at(n_states)
    return replace(
        selection,
        criterion="supported" if evidence.is_supported else "level",
        n_states=n_states,
        models={**selection.models, n_states: levels[n_states].parameters},
        evidence=evidence,
    )


def _about_returns(states: IntArray, observations: Observations) -> tuple[Notice, ...]:
    """Say that runs come back to a state, and how stages that look alike are told apart."""
    changes = np.flatnonzero(np.diff(states) != 0) + 1
    begins = np.union1d(observations.first_rows, changes)  # of visits
    visits = pd.DataFrame({"run": observations.run_of_row[begins], "state": states[begins]})
    back = visits.loc[visits.duplicated(), "run"].unique()
    if len(back) < needed_runs(len(observations.lengths)):
        return ()
    names = observations.runs["run"].astype(str).to_numpy()[back]
    message = Message(
        f"{len(back)} of {len(observations.lengths)} runs come back to a state that they had left "
        f"({some(names, 4)}). Metrics may pass the same level twice; where no run can fall back, ",
        Remedy("left_right", True),
        " tells such stages apart by their order in time. Where losses spike, leave it: it would "
        "hide that.",
    )
    return (Notice("model", "odd", "runs that come back", message),)


def _level_of(parameters: HMMParameters, observations: Observations) -> Level:
    return Level(parameters, np.asarray(decode(parameters, observations), dtype=np.int64))


def model_of_labels(
    observations: Sequences, labels: IntArray, covariance_type: str, options: ModelOptions
) -> HMMParameters:
    """Fit a model to labels by a few iterations of EM, states in the order they have.

    Parameters
    ----------
    observations : Sequences
        Standardised metrics, shape (n, D).
    labels : ndarray, shape (n,)
        States 0 … K-1 to begin with, each of them at some checkpoint.
    covariance_type, options
        Of the model.
    """
    n_states = int(labels.max()) + 1
    # A state of which no metric is known at its few checkpoints has the values around them.
    known = interpolated(observations.values, observations.lengths)
    data = Sequences(known, observations.lengths)
    start = from_labels(data, labels, n_states, covariance_type, options=options)
    model = Model(start)
    em = EM(observations, covariance_type, options=options)
    em.advance([model], _ITERATIONS)
    fitted = em.judge(model).parameters
    return start if fitted is None or np.isnan(fitted.means).any() else fitted


def _evidence(
    observations: Observations,
    found: SupportedMap,
    zoom: Mapping[int, Level],
    covariance_type: str,
    options: ModelOptions,
    random_state: int,
) -> Evidence:
    again = found_again(
        observations,
        found,
        covariance_type=covariance_type,
        options=options,
        random_state=random_state,
    )
    timing = clock_or_seed(
        observations, found.at(_STATES_OF_ATTRACTORS).labels, random_state=random_state
    )
    answers = again.boundaries.rename(columns={"share": "found_share", "apart": "found_apart"})
    boundaries: pd.DataFrame = found.boundaries.merge(
        answers, on=["from_state", "to_state"], how="left"
    )
    boundaries["found"] = boundaries["found"].fillna("")
    states = _states_of_levels(zoom).assign(supported=False, found=NOT_ASKED, strength=np.nan)
    ours = states["level"] == found.n_states
    states.loc[ours, "supported"] = True
    for name in STATES_FOUND_AGAIN.names[1:]:
        states.loc[ours, name] = again.states[name].to_numpy()
    of_levels = [boundaries.assign(level=found.n_states)]
    for n_states, level in found.zoom.items():
        if n_states != found.n_states:
            judged = dated(observations, level, random_state=random_state).boundaries
            asked = np.where(judged["date"].notna(), NOT_ASKED, "")
            of_levels.append(judged.assign(level=n_states, found=asked))
    # One state has no boundaries, and an empty table no kinds of columns.
    table = pd.concat([b for b in of_levels if len(b)] or of_levels[:1])
    table = table.sort_values("level", ascending=False, kind="stable")
    return Evidence(
        boundaries=BOUNDARIES.frame(boundaries),
        states=STATES_FOUND_AGAIN.frame(again.states),
        merges=MERGES.frame(found.log),
        levels=LEVELS.frame(states),
        level_boundaries=LEVEL_BOUNDARIES.frame(table.reset_index(drop=True)),
        zoom=zoom,
        n_states=found.n_states,
        n_supported=found.n_states,
        timing=timing.verdict,
        timing_reason=timing.reason,
    )


def _states_of_levels(zoom: Mapping[int, Level]) -> pd.DataFrame:
    """States of all levels, a row each, and what becomes of them at the next coarser level."""
    rows = []
    for level, coarser in zip(zoom.values(), [*list(zoom.values())[1:], None], strict=True):
        for k in range(level.parameters.n_states):
            inside = level.states == k
            row: dict[str, object] = {
                "level": level.parameters.n_states,
                "state": k,
                "n_checkpoints": int(inside.sum()),
            }
            if coarser is not None and inside.any():
                shared = np.bincount(coarser.states[inside])
                row |= {"into": int(shared.argmax()), "into_share": shared.max() / inside.sum()}
            rows.append(row)
    return pd.DataFrame(rows)
