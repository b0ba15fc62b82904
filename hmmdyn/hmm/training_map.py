"""The training map: a fitted model that decodes runs, and lasts as plain JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hmmdyn.choices import CLOCKS, COVARIANCE_TYPES, STANDARDISATIONS
from hmmdyn.errors import TrainingMapError
from hmmdyn.files import replacing
from hmmdyn.hmm.choose.select import select_n_states
from hmmdyn.hmm.fit.sweep import Progress
from hmmdyn.hmm.model.chain import MAX_DWELL, MAX_RATE, propagators
from hmmdyn.hmm.model.inference import Beliefs, beliefs, decode
from hmmdyn.messages import Either
from hmmdyn.results.arrays import FloatArray
from hmmdyn.results.model import PLAIN_MODEL, HMMParameters, ModelOptions
from hmmdyn.results.observations import Observations, Standardisation
from hmmdyn.results.selection import Selection
from hmmdyn.tables.trajectories import Trajectories
from hmmdyn.version import __version__

_FORMAT = "hmmdyn training map"
# A map without anything beyond the plain model is written as version 1, which every hmmdyn reads.
_FORMAT_VERSIONS = (1, 2)


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

        A missing value (NaN) is marginalised over, which a notice of the decoding's observations
        counts; a run in which no metric can be standardised is left out, and named there too.

        Raises
        ------
        TrainingMapError
            The table lacks a metric the map reads, or counts time otherwise than a map that knows
            the gaps between checkpoints.
        MetricNotFiniteError
            A metric is infinite somewhere.
        NotEnoughDataError
            No run can be standardised as the map's own were, or a value lies beyond all scale.
        """
        missing = [f for f in self.features if f not in trajectories.metrics]
        if missing:
            raise TrainingMapError(
                f"The map reads the metrics {', '.join(self.features)}, but the table lacks "
                f"{', '.join(missing)}. Extract them, or fit a map to the metrics there are."
            )
        if self.parameters.generator is not None and trajectories.step_unit != self.step_unit:
            raise TrainingMapError(
                f"The map's transitions go by the gaps between checkpoints in {self.step_unit}s, "
                f"but the table counts {trajectories.step_unit}s. Use a table in "
                f"{self.step_unit}s, or fit a map with clock 'checkpoint'."
            )
        return self.decode(trajectories.observations_as(self.features, self.standardisation))

    def decode(self, observations: Observations) -> Decoding:
        """As :meth:`apply`, for observations already standardised as the map's own are."""
        values, lengths, steps = observations.values, observations.lengths, observations.steps
        path = decode(self.parameters, values, lengths, steps)
        seen = beliefs(self.parameters, values, lengths, steps)
        states = observations.runs.loc[np.repeat(np.arange(len(lengths)), lengths)]
        states = states.reset_index(drop=True).assign(
            step=steps,
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
        beyond = _beyond_the_plain_model(self.parameters)
        document = {
            "format": _FORMAT,
            "format_version": 2 if beyond else 1,
            "hmmdyn_version": self.hmmdyn_version,
            "features": list(self.features),
            "step_unit": self.step_unit,
            "covariance_type": self.parameters.covariance_type,
            "startprob": self.parameters.startprob.tolist(),
            "transmat": self.parameters.transmat.tolist(),
            "means": self.parameters.means.tolist(),
            "covariances": self.parameters.covariances.tolist(),
            **beyond,
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
                f"{path} is not a training map: write one with ",
                Either("`hmmdyn fit TABLE -o MAP`.", "hmmdyn.fit(…).training_map.save(MAP)."),
            )
        if document.get("format_version") not in _FORMAT_VERSIONS:
            raise TrainingMapError(
                f"{path} has format version {document.get('format_version')!r}; this hmmdyn "
                f"({__version__}) reads versions {' and '.join(map(str, _FORMAT_VERSIONS))}. Fit "
                "the map again."
            )
        try:
            return cls._from_document(document)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
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
            generator=_array(document, "generator") if "generator" in document else None,
            clock=document.get("clock", "checkpoint"),
            unit=float(document.get("unit", 1.0)),
            minimum_dwell=document.get("minimum_dwell", 1),
            autoregression=(
                _array(document, "autoregression") if "autoregression" in document else None
            ),
        )
        _check_model(parameters, len(features))
        saved = document["standardisation"]
        kind, first = saved["kind"], saved["first"]
        if kind not in STANDARDISATIONS or not (first is None or isinstance(first, int)):
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
    options: ModelOptions = PLAIN_MODEL,
    n_restarts: int = 10,
    random_state: int = 0,
    quick: bool = False,
    n_jobs: int = 1,
    progress: Progress | None = None,
) -> FittedMap:
    """Standardise, choose K, fit: see :func:`hmmdyn.hmm.choose.select.select_n_states`.

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
        options=options,
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
                **_unusual(options),
                "restarts": n_restarts,
                "seed": random_state,
            },
        )
        return FittedMap(training_map, trajectories, selection, training_map.decode(observations))

    chosen = fitted(selection)
    if selection.recommended is None:
        return chosen
    return replace(chosen, recommended=fitted(selection.recommended))


def _unusual(options: ModelOptions) -> dict[str, Any]:
    """Return the options that are not at their defaults."""
    plain = asdict(PLAIN_MODEL)
    return {name: value for name, value in asdict(options).items() if value != plain[name]}


def _beyond_the_plain_model(parameters: HMMParameters) -> dict[str, Any]:
    """Return what only a map that knows gaps, or remembers, has to be saved."""
    beyond: dict[str, Any] = {}
    if parameters.generator is not None:
        beyond["generator"] = parameters.generator.tolist()
        beyond["clock"] = parameters.clock
        beyond["unit"] = parameters.unit
    if parameters.minimum_dwell > 1:
        beyond["minimum_dwell"] = parameters.minimum_dwell
    if parameters.autoregression is not None:
        beyond["autoregression"] = parameters.autoregression.tolist()
    return beyond


def _check_model(parameters: HMMParameters, n_features: int) -> None:
    k = parameters.n_states
    _require(parameters.covariance_type in COVARIANCE_TYPES, "unknown covariance type")
    square = (n_features,) if parameters.covariance_type == "diag" else (n_features, n_features)
    expected = {
        "startprob": (k,),
        "transmat": (k, k),
        "means": (k, n_features),
        "covariances": (k, *square),
    }
    if parameters.generator is not None:
        expected["generator"] = (k, k)
    if parameters.autoregression is not None:
        expected["autoregression"] = (k, n_features)
    for name, shape in expected.items():
        array = getattr(parameters, name)
        _require(array.shape == shape, f"{name} has shape {array.shape}, expected {shape}")
        _require(bool(np.isfinite(array).all()), f"{name} holds NaN or infinity")
    for name in ("startprob", "transmat"):
        array = getattr(parameters, name)
        _require(bool((array >= 0).all()), f"{name} holds a negative probability")
        _require(np.allclose(array.sum(axis=-1), 1), f"{name} does not sum to one")
    if parameters.autoregression is not None:
        _require(
            bool((np.abs(parameters.autoregression) < 1).all()), "autoregression is not below 1"
        )
    dwell = parameters.minimum_dwell
    _require(isinstance(dwell, int) and 1 <= dwell <= MAX_DWELL, f"minimum_dwell is {dwell!r}")
    if parameters.generator is None:
        _require(parameters.clock == "checkpoint", f"clock {parameters.clock!r} needs a generator")
    else:
        _check_generator(parameters, parameters.generator)
    for k_state, covariance in enumerate(parameters.covariances):
        matrix = np.diag(covariance) if covariance.ndim == 1 else covariance
        _require(
            np.allclose(matrix, matrix.T) and bool((np.linalg.eigvalsh(matrix) > 0).all()),
            f"the covariance of state {k_state} is not positive definite",
        )


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


def _array(document: Mapping[str, Any], name: str) -> FloatArray:
    return np.array(document[name], dtype=np.float64)
