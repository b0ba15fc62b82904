"""A model in hmmlearn's form, and out of it. hmmlearn is loaded when it is asked for.

Nothing here computes: hmmdyn fits, scores and decodes by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from hmmdyn.choices import COVARIANCE_TYPES
from hmmdyn.errors import TrainingMapError
from hmmdyn.hmm.model.check import require_standardises, require_valid
from hmmdyn.hmm.model.parts import emissions_of, transitions_of
from hmmdyn.results.model import HMMParameters
from hmmdyn.results.observations import Standardisation

if TYPE_CHECKING:
    from hmmlearn.hmm import GaussianHMM as GaussianHMM


def to_hmmlearn(parameters: HMMParameters) -> GaussianHMM:
    """Return an hmmlearn model of the same parameters: it scores, decodes and samples.

    Raises
    ------
    TrainingMapError
        The model knows gaps, keeps states for a minimum dwell, or remembers; hmmlearn has nothing
        like it.
    """
    from hmmlearn.hmm import GaussianHMM

    if not transitions_of(parameters).is_plain or emissions_of(parameters).remembers:
        raise TrainingMapError(
            "hmmlearn has neither transition rates nor a minimum dwell nor autoregressive "
            "emissions, so this map has no counterpart there. Fit one with clock 'checkpoint', a "
            "minimum dwell of 1 and without autoregressive emissions."
        )
    model = GaussianHMM(parameters.n_states, covariance_type=parameters.covariance_type)
    model.startprob_ = parameters.startprob.copy()
    model.transmat_ = parameters.transmat.copy()
    model.means_ = parameters.means.copy()
    model.covars_ = parameters.covariances.copy()
    model.n_features = parameters.means.shape[1]
    return model


def from_hmmlearn(model: GaussianHMM) -> HMMParameters:
    """Return the parameters of a fitted hmmlearn model with ``diag`` or ``full`` covariance.

    Raises
    ------
    TrainingMapError
        It is not fitted, or has another covariance type.
    """
    if model.covariance_type not in COVARIANCE_TYPES:
        raise TrainingMapError(
            f"covariance_type must be {' or '.join(COVARIANCE_TYPES)}, "
            f"got {model.covariance_type!r}. Fit the hmmlearn model with one of these."
        )
    missing = [n for n in ("startprob_", "transmat_", "means_") if not hasattr(model, n)]
    if missing:
        raise TrainingMapError(
            f"The hmmlearn model is not fitted: it has no {', '.join(missing)}. Call its fit, or "
            "set them."
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


def require_fitting(
    parameters: HMMParameters, features: Sequence[str], standardisation: Standardisation
) -> None:
    """Refuse parameters that are no model of these metrics, or a scale that is none of them.

    Raises
    ------
    TrainingMapError
    """
    if isinstance(features, str) or len(features) != parameters.means.shape[1]:
        raise TrainingMapError(
            f"The model has {parameters.means.shape[1]} metrics; 'features' must name each of "
            f"them, in order, got {features!r}."
        )
    try:
        require_valid(parameters, len(features))
        require_standardises(standardisation, len(features))
    except ValueError as error:
        raise TrainingMapError(f"The hmmlearn model makes no training map: {error}.") from error
