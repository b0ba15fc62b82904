"""The size of a Gaussian hidden Markov model: how many free parameters it has."""

from __future__ import annotations

from hmmdyn.results.model import PLAIN_MODEL, ModelOptions


def n_parameters(
    n_states: int, n_features: int, covariance_type: str, options: ModelOptions = PLAIN_MODEL
) -> int:
    """Count the free parameters of the model: (K-1) + K(K-1) + KD + covariances.

    A left-to-right chain has half the transitions, whether probabilities or rates; autoregressive
    emissions have KD more.

    Parameters
    ----------
    n_states, n_features : int
        K and D.
    covariance_type : str
        ``diag`` or ``full``.
    options : ModelOptions
        What the model assumes.
    """
    per_covariance = n_features if covariance_type == "diag" else n_features * (n_features + 1) // 2
    transitions = n_states * (n_states - 1) // (2 if options.left_right else 1)
    per_state = n_features * (2 if options.autoregressive else 1) + per_covariance
    return (n_states - 1) + transitions + n_states * per_state
