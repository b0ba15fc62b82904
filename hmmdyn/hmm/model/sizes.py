"""The Gaussian hidden Markov model as others know it: its size, and hmmlearn's form of it.

The one place that imports hmmlearn.
"""

from __future__ import annotations

import numpy as np
from hmmlearn.hmm import GaussianHMM

from hmmdyn.choices import COVARIANCE_TYPES
from hmmdyn.results.model import PLAIN_MODEL, HMMParameters, ModelOptions


def n_parameters(
    n_states: int, n_features: int, covariance_type: str, options: ModelOptions = PLAIN_MODEL
) -> int:
    """Count the free parameters of the model (METHOD: (K-1) + K(K-1) + KD + covariances).

    A left-to-right chain has half the transitions, whether probabilities or rates; autoregressive
    emissions have KD more.
    """
    per_covariance = n_features if covariance_type == "diag" else n_features * (n_features + 1) // 2
    transitions = n_states * (n_states - 1) // (2 if options.left_right else 1)
    per_state = n_features * (2 if options.autoregressive else 1) + per_covariance
    return (n_states - 1) + transitions + n_states * per_state


def to_hmmlearn(parameters: HMMParameters) -> GaussianHMM:
    """Return an hmmlearn model of the same parameters: it scores, decodes and samples.

    Raises
    ------
    ValueError
        The model knows gaps or remembers; hmmlearn has nothing like it.
    """
    if parameters.generator is not None or parameters.autoregression is not None:
        raise ValueError("hmmlearn has neither transition rates nor autoregressive emissions.")
    model = GaussianHMM(parameters.n_states, covariance_type=parameters.covariance_type)
    model.startprob_ = parameters.startprob.copy()
    model.transmat_ = parameters.transmat.copy()
    model.means_ = parameters.means.copy()
    model.covars_ = parameters.covariances.copy()
    return model


def from_hmmlearn(model: GaussianHMM) -> HMMParameters:
    """Return the parameters of a fitted hmmlearn model with ``diag`` or ``full`` covariance.

    Raises
    ------
    ValueError
        Another covariance type.
    """
    if model.covariance_type not in COVARIANCE_TYPES:
        raise ValueError(
            f"covariance_type must be {' or '.join(COVARIANCE_TYPES)}, "
            f"got {model.covariance_type!r}."
        )
    # hmmlearn's public covars_ shows a diagonal covariance as a full matrix.
    covariances = np.array(model.covars_, dtype=np.float64)
    if model.covariance_type == "diag":
        covariances = np.diagonal(covariances, axis1=1, axis2=2).copy()
    return HMMParameters(
        startprob=np.array(model.startprob_, dtype=np.float64),
        transmat=np.array(model.transmat_, dtype=np.float64),
        means=np.array(model.means_, dtype=np.float64),
        covariances=covariances,
        covariance_type=model.covariance_type,
    )
