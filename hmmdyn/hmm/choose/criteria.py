"""Criteria of a model's fit to the runs it was fitted to."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
from scipy.special import xlogy

from hmmdyn.hmm.fit.em import Fit
from hmmdyn.hmm.fit.sweep import Sweep
from hmmdyn.hmm.model.inference import beliefs, transition_posterior
from hmmdyn.hmm.model.sizes import n_parameters
from hmmdyn.results.arrays import FloatArray, IntArray, RunData
from hmmdyn.results.model import PLAIN_MODEL, HMMParameters, ModelOptions


def criteria_table(
    swept: Sweep,
    candidates: Iterable[int],
    covariance_type: str,
    options: ModelOptions,
    data: RunData,
    unseen: RunData | None = None,
) -> pd.DataFrame:
    """Criteria of the best model of every K, a row each: see :class:`.results.selection.Selection`.

    ``data`` is what was fitted to; ``unseen`` are runs held out from it.
    """
    return pd.DataFrame(
        _row(k, swept.winners.get(k), covariance_type, options, data, unseen) for k in candidates
    )


def _row(
    n_states: int,
    best: Fit | None,
    covariance_type: str,
    options: ModelOptions,
    data: RunData,
    unseen: RunData | None,
) -> dict[str, object]:
    values = data[0]
    p = n_parameters(n_states, values.shape[1], covariance_type, options)
    row: dict[str, object] = {
        "covariance_type": covariance_type,
        "n_states": n_states,
        "log_likelihood": np.nan,
        "n_parameters": p,
        "bic": np.nan,
        "aic": np.nan,
        "icl": np.nan,
        "held_out_bic": np.nan,
    }
    if best is None or best.parameters is None:
        return row
    row["log_likelihood"] = best.log_likelihood
    row["bic"] = bic(best.log_likelihood, p, len(values))
    row["aic"] = -2 * best.log_likelihood + 2 * p
    if best.parameters.generator is None and best.parameters.minimum_dwell == 1:
        row["icl"] = icl(best.parameters, *data[:2], options)
    if unseen is not None:
        log_likelihood = float(beliefs(best.parameters, *unseen).log_likelihood.sum())
        row["held_out_bic"] = bic(log_likelihood, p, len(unseen[0]))
    return row


def bic(log_likelihood: float, n_free: int, n: int) -> float:
    """Bayesian information criterion, -2 log L + p log n: lower is better."""
    return -2 * log_likelihood + n_free * float(np.log(n))


def icl(
    parameters: HMMParameters,
    values: FloatArray,
    lengths: IntArray,
    options: ModelOptions = PLAIN_MODEL,
) -> float:
    """Integrated completed likelihood, BIC + 2 H: lower is better, nats.

    H is the entropy of the hidden path given the runs [1]_: states that the runs do not tell apart
    cost as much as they confuse. Where every checkpoint's state is certain, it is BIC. The chain
    must be the plain one, with a transition matrix for every gap alike and no minimum dwell.

    References
    ----------
    .. [1] Celeux & Durand (2008), Computational Statistics 23, 541-564.
    """
    log_likelihood = float(beliefs(parameters, values, lengths).log_likelihood.sum())
    p = n_parameters(parameters.n_states, values.shape[1], parameters.covariance_type, options)
    return bic(log_likelihood, p, len(values)) + 2 * path_entropy(parameters, values, lengths)


def path_entropy(parameters: HMMParameters, values: FloatArray, lengths: IntArray) -> float:
    """Entropy of the hidden path given the runs, H = log p(z) - E[log p(z, s)], nats.

    Of the path as a whole: less than the sum over checkpoints, as neighbours tell of each other.
    """
    seen = beliefs(parameters, values, lengths)
    first = np.cumsum(lengths) - lengths
    later = np.setdiff1d(np.arange(len(values)), first)
    taken = np.empty_like(parameters.transmat)
    for j, k in np.ndindex(taken.shape):
        pair = np.full_like(later, j), np.full_like(later, k)
        taken[j, k] = transition_posterior(parameters, seen, later, *pair).sum()
    expected = (
        xlogy(seen.smoothed[first], parameters.startprob).sum()
        + xlogy(taken, parameters.transmat).sum()
        + (seen.smoothed * seen.log_emission).sum()
    )
    return max(0.0, float(seen.log_likelihood.sum() - expected))
