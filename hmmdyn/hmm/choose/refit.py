"""Fitting a map again without some of its runs, which then did not shape what describes them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hmmdyn.hmm.fit.em import EM, Model
from hmmdyn.hmm.fit.enough import enough_runs
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
    runs: NDArray[np.bool_],
    *,
    options: ModelOptions = PLAIN_MODEL,
) -> HMMParameters | None:
    """Fit a map to all its runs but some, without the states that none of the others visits.

    Of very many checkpoints, enough of the other runs are fitted to (:mod:`hmmdyn.hmm.fit.enough`).
    A state that only the runs left out visit would keep its parameters, and describe them well.

    Parameters
    ----------
    parameters : HMMParameters
        The map, from which EM goes on.
    data : Sequences
        The runs that it was fitted to.
    states : ndarray, shape (n,)
        Their decoded states.
    runs : ndarray, shape (R,)
        Mask of the runs to leave out.
    options : ModelOptions
        With which the map was fitted.

    Returns
    -------
    HMMParameters or None
        None where no other run is left, or the fit turns non-finite.
    """
    if runs.all():
        return None
    visited = np.unique(states[~runs[data.run_of_row]])
    others = ~runs
    others[others] = enough_runs(data.lengths[others], random_state=0)
    em = EM(
        data.of(others),
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
