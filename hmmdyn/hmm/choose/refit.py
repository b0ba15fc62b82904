"""Fitting a map again without one of its runs, which then did not shape what describes it."""

from __future__ import annotations

import numpy as np

from hmmdyn.hmm.fit.em import EM, Model
from hmmdyn.hmm.model.chain import PROBABILITY_FLOOR
from hmmdyn.hmm.model.parts import assembled, emissions_of, transitions_of
from hmmdyn.results.arrays import IntArray
from hmmdyn.results.model import PLAIN_MODEL, HMMParameters, ModelOptions
from hmmdyn.results.observations import Sequences

# EM starts from the map, so that it has not far to go.
_ITERATIONS = 10


def refit_without(
    parameters: HMMParameters,
    data: Sequences,
    states: IntArray,
    run: int,
    *,
    options: ModelOptions = PLAIN_MODEL,
) -> HMMParameters | None:
    """Fit a map to all its runs but one, without the states that none of the others visits.

    A state that only the run left out visits would keep its parameters, and describe it well.

    Parameters
    ----------
    parameters : HMMParameters
        The map, from which EM goes on.
    data : Sequences
        The runs that it was fitted to.
    states : ndarray, shape (n,)
        Their decoded states.
    run : int
        Position of the run to leave out.
    options : ModelOptions
        With which the map was fitted.

    Returns
    -------
    HMMParameters or None
        None where no other run is left, or the fit turns non-finite.
    """
    left_out = np.arange(len(data.lengths)) == run
    if left_out.all():
        return None
    visited = np.unique(states[data.run_of_row != run])
    em = EM(
        data.of(~left_out),
        parameters.covariance_type,
        options=options,
        unit=parameters.unit,
    )
    model = Model(_only(parameters, visited))
    em.advance([model], _ITERATIONS)
    return em.judge(model).parameters


def _only(parameters: HMMParameters, kept: IntArray) -> HMMParameters:
    """Return the map with only some of its states."""
    startprob = parameters.startprob[kept] + PROBABILITY_FLOOR
    return assembled(
        startprob / startprob.sum(),
        transitions_of(parameters).among(kept).closed(),
        emissions_of(parameters).among(kept),
    )
