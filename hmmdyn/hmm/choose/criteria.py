"""Criteria of a model's fit to the runs it was fitted to."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
from scipy.special import xlogy

from hmmdyn.hmm.choose.folds import Split
from hmmdyn.hmm.fit.em import Fit
from hmmdyn.hmm.fit.sweep import Sweep
from hmmdyn.hmm.model.inference import beliefs, log_emission
from hmmdyn.hmm.model.kernels import TimeMajor, forward_backward
from hmmdyn.hmm.model.parts import transitions_of
from hmmdyn.hmm.model.sizes import n_parameters
from hmmdyn.results.model import PLAIN_MODEL, HMMParameters, ModelOptions
from hmmdyn.results.observations import Sequences


def criteria_table(
    swept: Sweep,
    candidates: Iterable[int],
    covariance_type: str,
    options: ModelOptions,
    split: Split,
) -> pd.DataFrame:
    """Criteria of the best model of every K, a row each: see :class:`.results.selection.Selection`.

    Parameters
    ----------
    swept : Sweep
        Over the runs fitted to.
    candidates : iterable of int
        Numbers of states.
    covariance_type : str
        ``diag`` or ``full``, of the models swept over.
    options : ModelOptions
        Of the models swept over.
    split : Split
        The runs that were fitted to, and those held out from it.
    """
    return pd.DataFrame(
        _row(k, swept.winners.get(k), covariance_type, options, split) for k in candidates
    )


def _row(
    n_states: int,
    best: Fit | None,
    covariance_type: str,
    options: ModelOptions,
    split: Split,
) -> dict[str, object]:
    data, unseen = split.fitted, split.unseen
    p = n_parameters(n_states, data.n_features, covariance_type, options)
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
    row["bic"] = bic(best.log_likelihood, p, len(data.values))
    row["aic"] = -2 * best.log_likelihood + 2 * p
    if transitions_of(best.parameters).is_plain:
        row["icl"] = icl(best.parameters, data, options)
    if split.holds_out:
        log_likelihood = float(beliefs(best.parameters, unseen).log_likelihood.sum())
        row["held_out_bic"] = bic(log_likelihood, p, len(unseen.values))
    return row


def bic(log_likelihood: float, n_free: int, n: int) -> float:
    """Bayesian information criterion, -2 log L + p log n: lower is better."""
    return -2 * log_likelihood + n_free * float(np.log(n))


def icl(parameters: HMMParameters, data: Sequences, options: ModelOptions = PLAIN_MODEL) -> float:
    """Integrated completed likelihood, BIC + 2 H: lower is better, nats.

    H is the entropy of the hidden path given the runs [1]_: states that the runs do not tell apart
    cost as much as they confuse. Where every checkpoint's state is certain, it is BIC. The chain
    must be the plain one, with a transition matrix for every gap alike and no minimum dwell.

    References
    ----------
    .. [1] Celeux & Durand (2008), Computational Statistics 23, 541-564.
    """
    log_likelihood, entropy = _likelihood_and_entropy(parameters, data)
    p = n_parameters(parameters.n_states, data.n_features, parameters.covariance_type, options)
    return bic(log_likelihood, p, len(data.values)) + 2 * entropy


def path_entropy(parameters: HMMParameters, data: Sequences) -> float:
    """Entropy of the hidden path given the runs, H = log p(z) - E[log p(z, s)], nats.

    Of the path as a whole: less than the sum over checkpoints, as neighbours tell of each other.
    """
    return _likelihood_and_entropy(parameters, data)[1]


def _likelihood_and_entropy(parameters: HMMParameters, data: Sequences) -> tuple[float, float]:
    """Log-likelihood of all runs, and the entropy of their path, by the compiled recursions."""
    order = TimeMajor(data.lengths)
    log_emitted = log_emission(parameters, data).T[:, order.rows]
    smoothed = np.array(log_emitted, order="C")  # and overwritten
    log_likelihood, taken, first = forward_backward(
        smoothed, parameters.startprob, parameters.transmat, order.begins
    )
    expected = (
        xlogy(first, parameters.startprob).sum()
        + xlogy(taken, parameters.transmat).sum()
        + (smoothed * log_emitted).sum()
    )
    return log_likelihood, max(0.0, float(log_likelihood - expected))
