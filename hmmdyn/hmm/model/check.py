"""Whether numbers make a model: what is read from a file, or handed over from elsewhere."""

from __future__ import annotations

import numpy as np

from hmmdyn.choices import CLOCKS, COVARIANCE_TYPES
from hmmdyn.hmm.model.chain import MAX_DWELL, MAX_RATE, propagators
from hmmdyn.hmm.model.parts import emissions_of, transitions_of
from hmmdyn.results.arrays import FloatArray
from hmmdyn.results.model import HMMParameters
from hmmdyn.results.observations import Standardisation


def require_valid(parameters: HMMParameters, n_features: int) -> None:
    """Refuse parameters that do not make a model of so many metrics.

    Raises
    ------
    ValueError
        A shape is wrong, a number is not finite, or probabilities, rates or covariances are none.
    """
    _require(parameters.covariance_type in COVARIANCE_TYPES, "unknown covariance type")
    arrays = _arrays(parameters)
    for name, shape in _shapes(parameters, n_features).items():
        if name in arrays:
            got = arrays[name].shape
            _require(got == shape, f"{name} has shape {got}, expected {shape}")
            _require(bool(np.isfinite(arrays[name]).all()), f"{name} holds NaN or infinity")
    for name in ("startprob", "transmat"):
        _require(bool((arrays[name] >= 0).all()), f"{name} holds a negative probability")
        _require(np.allclose(arrays[name].sum(axis=-1), 1), f"{name} does not sum to one")
    if "autoregression" in arrays:
        below = bool((np.abs(arrays["autoregression"]) < 1).all())
        _require(below, "autoregression is not below 1")
    dwell = parameters.minimum_dwell
    _require(isinstance(dwell, int) and 1 <= dwell <= MAX_DWELL, f"minimum_dwell is {dwell!r}")
    if "generator" in arrays:
        _check_generator(parameters, arrays["generator"])
    else:
        _require(parameters.clock == "checkpoint", f"clock {parameters.clock!r} needs a generator")
    for k, covariance in enumerate(parameters.covariances):
        matrix = np.diag(covariance) if covariance.ndim == 1 else covariance
        _require(
            np.allclose(matrix, matrix.T) and bool((np.linalg.eigvalsh(matrix) > 0).all()),
            f"the covariance of state {k} is not positive definite",
        )


def require_standardises(standardisation: Standardisation, n_features: int) -> None:
    """Refuse a standardisation that is not one of so many metrics.

    Raises
    ------
    ValueError
        A shape is wrong, or a deviation is not positive.
    """
    expected = (0,) if standardisation.kind == "run" else (n_features,)
    for name in ("mean", "deviation"):
        shape = getattr(standardisation, name).shape
        _require(shape == expected, f"{name} has shape {shape}, expected {expected}")
    n_told = len(standardisation.logarithmic)
    needs_them = standardisation.kind == "log-start" or standardisation.logarithmic
    n_expected = n_features if needs_them else 0
    _require(n_told == n_expected, f"logarithmic tells {n_told} metrics, expected {n_expected}")
    _require(bool((standardisation.deviation > 0).all()), "a deviation is not positive")


def _arrays(parameters: HMMParameters) -> dict[str, FloatArray]:
    """Return the arrays that this variant of the model has, by name."""
    parts = vars(transitions_of(parameters)) | vars(emissions_of(parameters))
    arrays = {name: value for name, value in parts.items() if isinstance(value, np.ndarray)}
    return {"startprob": parameters.startprob, **arrays}


def _shapes(parameters: HMMParameters, n_features: int) -> dict[str, tuple[int, ...]]:
    """Shapes of the arrays that a model of any variant may have."""
    k = parameters.n_states
    square = (n_features,) if parameters.covariance_type == "diag" else (n_features, n_features)
    return {
        "startprob": (k,),
        "transmat": (k, k),
        "means": (k, n_features),
        "covariances": (k, *square),
        "generator": (k, k),
        "autoregression": (k, n_features),
    }


def _check_generator(parameters: HMMParameters, generator: FloatArray) -> None:
    _require(parameters.minimum_dwell == 1, "minimum_dwell does not go with a generator")
    known = parameters.clock in CLOCKS and parameters.clock != "checkpoint"
    _require(known, f"clock {parameters.clock!r} does not go with a generator")
    _require(0 < parameters.unit < np.inf, f"the unit of the clock is {parameters.unit}")
    rates = generator[~np.eye(len(generator), dtype=bool)]
    _require(bool((rates >= 0).all()), "generator holds a negative rate")
    largest = max(float(np.abs(generator).max()), 1e-300)
    _require(largest <= MAX_RATE * 1.001, f"generator holds a rate above {MAX_RATE}")
    balanced = np.allclose(generator.sum(axis=1) / largest, 0)
    _require(balanced, "a row of generator does not sum to zero")
    same = np.allclose(propagators(generator, np.ones(1))[0], parameters.transmat)
    _require(same, "generator and transmat do not agree")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)
