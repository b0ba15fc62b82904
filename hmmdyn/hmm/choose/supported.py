"""The map that opens with evidence: the supported states as a model, and what supports them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from hmmdyn.hmm.choose.boundaries import SupportedMap, interpolated, supported_map
from hmmdyn.hmm.choose.clock_or_seed import clock_or_seed
from hmmdyn.hmm.choose.found_again import found_again
from hmmdyn.hmm.fit.em import EM, Model
from hmmdyn.hmm.fit.starts import from_labels
from hmmdyn.hmm.fit.sweep import Sweep
from hmmdyn.results.arrays import IntArray
from hmmdyn.results.boundaries import BOUNDARIES, MERGES, STATES_FOUND_AGAIN, Evidence
from hmmdyn.results.model import HMMParameters
from hmmdyn.results.observations import Observations, Sequences
from hmmdyn.results.selection import Selection

# EM goes on so long from the supported labels: the model shall be theirs, not another.
_ITERATIONS = 5
# What attractors are guessed from, to ask whether seeds or the clock set the time.
_STATES_OF_ATTRACTORS = 4


def with_supported_states(
    selection: Selection, observations: Observations, swept: Sweep, random_state: int
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

    References
    ----------
    :mod:`hmmdyn.hmm.choose.boundaries`; studied in ``benchmarks/supported_map.md``.
    """
    covariance_type = selection.covariance_type
    finest = swept.winners[max(swept.winners)]
    if finest.states is None:
        raise AssertionError("only valid fits win")
    found = supported_map(
        observations, finest.states, covariance_type=covariance_type, random_state=random_state
    )
    parameters = selection.models.get(1) if found.n_states == 1 else None
    if parameters is None:
        parameters = _model_of(observations, found.labels, covariance_type)
    return replace(
        selection,
        protocol="supported",
        criterion="supported",
        n_states=found.n_states,
        models={**selection.models, found.n_states: parameters},
        evidence=_evidence(observations, found, covariance_type, random_state),
    )


def _model_of(observations: Observations, labels: IntArray, covariance_type: str) -> HMMParameters:
    """Fit a model to labels by a few iterations of EM, states in the order they have."""
    n_states = int(labels.max()) + 1
    # A state of which no metric is known at its few checkpoints has the values around them.
    known = interpolated(observations.values, observations.lengths)
    start = from_labels(Sequences(known, observations.lengths), labels, n_states, covariance_type)
    model = Model(start)
    em = EM(observations, covariance_type)
    em.advance([model], _ITERATIONS)
    fitted = em.judge(model).parameters
    return start if fitted is None or np.isnan(fitted.means).any() else fitted


def _evidence(
    observations: Observations, found: SupportedMap, covariance_type: str, random_state: int
) -> Evidence:
    again = found_again(
        observations, found, covariance_type=covariance_type, random_state=random_state
    )
    timing = clock_or_seed(
        observations, found.at(_STATES_OF_ATTRACTORS).labels, random_state=random_state
    )
    answers = again.boundaries.rename(columns={"share": "found_share", "apart": "found_apart"})
    boundaries: pd.DataFrame = found.boundaries.merge(
        answers, on=["from_state", "to_state"], how="left"
    )
    boundaries["found"] = boundaries["found"].fillna("")
    return Evidence(
        boundaries=BOUNDARIES.frame(boundaries),
        states=STATES_FOUND_AGAIN.frame(again.states),
        merges=MERGES.frame(found.log),
        settling=found.settling,
        timing=timing.verdict,
        timing_reason=timing.reason,
    )
