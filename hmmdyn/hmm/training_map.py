"""The training map: a fitted model that decodes runs, and lasts as plain JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hmmdyn import __version__
from hmmdyn.errors import TrainingMapError
from hmmdyn.files import replacing
from hmmdyn.hmm.inference import Beliefs, beliefs, decode
from hmmdyn.hmm.select import select_n_states
from hmmdyn.hmm.sweep import Progress
from hmmdyn.results import (
    FloatArray,
    HMMParameters,
    Observations,
    Selection,
    Standardisation,
)
from hmmdyn.trajectories import Trajectories

_FORMAT = "hmmdyn training map"
_FORMAT_VERSION = 1


@dataclass(frozen=True)
class Decoding:
    """A training map applied to runs.

    ``states`` has one row per checkpoint: ``group, run, seed, step, state, probability``
    (Viterbi path; smoothed posterior of that state). ``beliefs`` holds the posteriors of the same
    rows, and ``observations`` what was decoded.
    """

    states: pd.DataFrame
    beliefs: Beliefs
    observations: Observations


@dataclass(frozen=True)
class TrainingMap:
    """A Gaussian hidden Markov model of training, its states in order of time.

    Attributes
    ----------
    parameters : HMMParameters
        In standardised units.
    features : tuple of str
        The metrics it reads, shape (D,).
    standardisation : Standardisation
        How raw metrics become its observations.
    step_unit : str
        ``step`` or ``epoch`` of the runs it was fitted to.
    options : Mapping
        How it was fitted: protocol, criterion, restarts, seed, …
    hmmdyn_version : str
        The version that fitted it.
    """

    parameters: HMMParameters
    features: tuple[str, ...]
    standardisation: Standardisation
    step_unit: str = "step"
    options: Mapping[str, Any] = field(default_factory=dict)
    hmmdyn_version: str = __version__

    def apply(self, trajectories: Trajectories) -> Decoding:
        """Decode runs: the most likely state of every checkpoint, and the posteriors.

        Raises
        ------
        TrainingMapError
            The table lacks a metric the map reads.
        MetricNotFiniteError
            A metric is NaN or infinite somewhere.
        """
        missing = [f for f in self.features if f not in trajectories.metrics]
        if missing:
            raise TrainingMapError(
                f"The map reads the metrics {', '.join(self.features)}, but the table lacks "
                f"{', '.join(missing)}. Extract them, or fit a map to the metrics there are."
            )
        return self.decode(trajectories.observations_as(self.features, self.standardisation))

    def decode(self, observations: Observations) -> Decoding:
        """As :meth:`apply`, for observations already standardised as the map's own are."""
        values, lengths = observations.values, observations.lengths
        path = decode(self.parameters, values, lengths)
        seen = beliefs(self.parameters, values, lengths)
        states = observations.runs.loc[np.repeat(np.arange(len(lengths)), lengths)]
        states = states.reset_index(drop=True).assign(
            step=observations.steps,
            state=path,
            probability=seen.smoothed[np.arange(len(path)), path],
        )
        return Decoding(states, seen, observations)

    def save(self, path: Path | str) -> None:
        """Write the map as JSON, atomically.

        Raises
        ------
        OutputError
            The file cannot be written.
        """
        document = {
            "format": _FORMAT,
            "format_version": _FORMAT_VERSION,
            "hmmdyn_version": self.hmmdyn_version,
            "features": list(self.features),
            "step_unit": self.step_unit,
            "covariance_type": self.parameters.covariance_type,
            "startprob": self.parameters.startprob.tolist(),
            "transmat": self.parameters.transmat.tolist(),
            "means": self.parameters.means.tolist(),
            "covariances": self.parameters.covariances.tolist(),
            "standardisation": {
                "kind": self.standardisation.kind,
                "first": self.standardisation.first,
                "mean": self.standardisation.mean.tolist(),
                "deviation": self.standardisation.deviation.tolist(),
            },
            "options": dict(self.options),
        }
        with replacing(Path(path)) as temporary:
            temporary.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", "utf-8")

    @classmethod
    def load(cls, path: Path | str) -> TrainingMap:
        """Read a map written by :meth:`save`; nothing in the file is executed.

        Raises
        ------
        TrainingMapError
            The file is missing, is not a training map, or its numbers do not make a model.
        """
        try:
            document = json.loads(Path(path).read_text("utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise TrainingMapError(f"{path} cannot be read as a training map: {error}") from error
        if not isinstance(document, dict) or document.get("format") != _FORMAT:
            raise TrainingMapError(
                f"{path} is not a training map: write one with `hmmdyn fit TABLE -o MAP`."
            )
        if document.get("format_version") != _FORMAT_VERSION:
            raise TrainingMapError(
                f"{path} has format version {document.get('format_version')!r}; this hmmdyn "
                f"({__version__}) reads version {_FORMAT_VERSION}. Fit the map again."
            )
        try:
            return cls._from_document(document)
        except (KeyError, TypeError, ValueError) as error:
            raise TrainingMapError(f"{path} is a malformed training map: {error!r}") from error

    @classmethod
    def _from_document(cls, document: dict[str, Any]) -> TrainingMap:
        features = tuple(str(f) for f in document["features"])
        parameters = HMMParameters(
            startprob=_array(document, "startprob"),
            transmat=_array(document, "transmat"),
            means=_array(document, "means"),
            covariances=_array(document, "covariances"),
            covariance_type=document["covariance_type"],
        )
        _check_model(parameters, len(features))
        saved = document["standardisation"]
        kind, first = saved["kind"], saved["first"]
        if kind not in ("run", "pooled") or not (first is None or isinstance(first, int)):
            raise ValueError(f"unknown standardisation {saved!r}")
        scale = {name: _array(saved, name) for name in ("mean", "deviation")}
        for name, array in scale.items():
            expected = (len(features),) if kind == "pooled" else (0,)
            _require(array.shape == expected, f"{name} has shape {array.shape}")
        _require(bool((scale["deviation"] > 0).all()), "a deviation is not positive")
        return cls(
            parameters=parameters,
            features=features,
            standardisation=Standardisation(kind, first, **scale),
            step_unit=str(document["step_unit"]),
            options=dict(document["options"]),
            hmmdyn_version=str(document["hmmdyn_version"]),
        )


@dataclass(frozen=True)
class FittedMap:
    """A training map, how its K was chosen, and the runs it was fitted to, decoded.

    ``recommended`` is the map that runs held out recommend, where it is another.
    """

    training_map: TrainingMap
    trajectories: Trajectories
    selection: Selection
    decoding: Decoding
    recommended: FittedMap | None = None


def fit_training_map(
    trajectories: Trajectories,
    candidates: Sequence[int] = range(1, 9),
    *,
    standardise: str = "run",
    standardise_first: int | None = None,
    covariance_type: str = "diag",
    protocol: str = "bic",
    n_restarts: int = 10,
    random_state: int = 0,
    quick: bool = False,
    n_jobs: int = 1,
    progress: Progress | None = None,
) -> FittedMap:
    """Standardise, choose K, fit: see :func:`hmmdyn.hmm.select.select_n_states`.

    Raises
    ------
    MetricNotFiniteError, NotEnoughDataError, NoValidFitError, UsageError
    """
    observations = trajectories.observations(standardise, standardise_first)
    selection = select_n_states(
        observations,
        candidates,
        covariance_type=covariance_type,
        protocol=protocol,
        n_restarts=n_restarts,
        random_state=random_state,
        quick=quick,
        n_jobs=n_jobs,
        progress=progress,
    )

    def fitted(selection: Selection) -> FittedMap:
        training_map = TrainingMap(
            parameters=selection.models[selection.n_states],
            features=observations.features,
            standardisation=observations.standardisation,
            step_unit=trajectories.step_unit,
            options={
                "protocol": protocol,
                "criterion": selection.criterion,
                "candidates": sorted(set(candidates)),
                "covariance": selection.covariance_type,
                "restarts": n_restarts,
                "seed": random_state,
            },
        )
        return FittedMap(training_map, trajectories, selection, training_map.decode(observations))

    chosen = fitted(selection)
    if selection.recommended is None:
        return chosen
    return replace(chosen, recommended=fitted(selection.recommended))


def _check_model(parameters: HMMParameters, n_features: int) -> None:
    k = parameters.n_states
    _require(parameters.covariance_type in ("diag", "full"), "unknown covariance type")
    square = (n_features,) if parameters.covariance_type == "diag" else (n_features, n_features)
    expected = {
        "startprob": (k,),
        "transmat": (k, k),
        "means": (k, n_features),
        "covariances": (k, *square),
    }
    for name, shape in expected.items():
        array = getattr(parameters, name)
        _require(array.shape == shape, f"{name} has shape {array.shape}, expected {shape}")
        _require(bool(np.isfinite(array).all()), f"{name} holds NaN or infinity")
    for name in ("startprob", "transmat"):
        array = getattr(parameters, name)
        _require(bool((array >= 0).all()), f"{name} holds a negative probability")
        _require(np.allclose(array.sum(axis=-1), 1), f"{name} does not sum to one")
    for k_state, covariance in enumerate(parameters.covariances):
        matrix = np.diag(covariance) if covariance.ndim == 1 else covariance
        _require(
            np.allclose(matrix, matrix.T) and bool((np.linalg.eigvalsh(matrix) > 0).all()),
            f"the covariance of state {k_state} is not positive definite",
        )


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _array(document: Mapping[str, Any], name: str) -> FloatArray:
    return np.array(document[name], dtype=np.float64)
