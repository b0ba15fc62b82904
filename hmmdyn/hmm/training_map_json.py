"""A training map as plain JSON: written atomically, read without executing anything."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from hmmdyn.choices import STANDARDISATIONS
from hmmdyn.errors import TrainingMapError
from hmmdyn.files import replacing
from hmmdyn.hmm.model.check import require_standardises, require_valid
from hmmdyn.hmm.model.parts import emissions_of, transitions_of
from hmmdyn.messages import Either
from hmmdyn.results.arrays import FloatArray
from hmmdyn.results.model import HMMParameters
from hmmdyn.results.observations import Standardisation
from hmmdyn.version import __version__

_FORMAT = "hmmdyn training map"
# A map without anything beyond the plain model is written as version 1, which every hmmdyn reads,
# and one that reads logarithms of metrics as version 3: older ones would take them for metrics.
_FORMAT_VERSIONS = (1, 2, 3)
# What every map has; the rest of a model's parts is written where a map has it.
_LEAST_FIRST = 2  # checkpoints that a deviation can be taken from
_PLAIN = ("covariance_type", "startprob", "transmat", "means", "covariances")


class Saved(Protocol):
    """What is written of a map: see :class:`hmmdyn.hmm.training_map.TrainingMap`."""

    @property
    def parameters(self) -> HMMParameters:
        """The model."""
        ...

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the metrics it reads."""
        ...

    @property
    def standardisation(self) -> Standardisation:
        """How raw metrics become its observations."""
        ...

    @property
    def step_unit(self) -> str:
        """``step`` or ``epoch``."""
        ...

    @property
    def options(self) -> Mapping[str, Any]:
        """How it was fitted."""
        ...

    @property
    def hmmdyn_version(self) -> str:
        """The version that fitted it."""
        ...

    @property
    def last_steps(self) -> Mapping[tuple[str, str], int] | None:
        """Step at which each run ended that it was fitted to, by (group, run)."""
        ...


_Map = TypeVar("_Map")


def save(training_map: Saved, path: Path | str) -> None:
    """Write a map as JSON, atomically.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    parameters, standardisation = training_map.parameters, training_map.standardisation
    beyond = _beyond_the_plain_model(parameters)
    document = {
        "format": _FORMAT,
        "format_version": 3 if _reads_logarithms(standardisation) else 2 if beyond else 1,
        "hmmdyn_version": training_map.hmmdyn_version,
        "features": list(training_map.features),
        "step_unit": training_map.step_unit,
        **{name: _plain(getattr(parameters, name)) for name in _PLAIN},
        **beyond,
        "standardisation": _saved(standardisation),
        "options": dict(training_map.options),
    }
    if training_map.last_steps is not None:
        document["runs"] = [
            {"group": group, "run": run, "last_step": step}
            for (group, run), step in training_map.last_steps.items()
        ]
    with replacing(Path(path)) as temporary:
        temporary.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", "utf-8")


def load(path: Path | str, make: Callable[..., _Map]) -> _Map:
    """Read a map written by :func:`save`; nothing in the file is executed.

    ``make`` is called with what was written, by the names of :class:`Saved`.

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
            f"({__version__}) reads versions {', '.join(map(str, _FORMAT_VERSIONS))}. Fit "
            "the map again."
        )
    try:
        return make(**_from_document(document))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise TrainingMapError(
            f"{path} is a malformed training map: {reason}. Fit the map again, or copy it anew."
        ) from error


def _beyond_the_plain_model(parameters: HMMParameters) -> dict[str, Any]:
    """Return what a map has beyond the plain model: rates, a minimum dwell, a memory."""
    parts = vars(transitions_of(parameters)) | vars(emissions_of(parameters))
    if parameters.minimum_dwell == 1:
        parts.pop("minimum_dwell", None)
    return {name: _plain(value) for name, value in parts.items() if name not in _PLAIN}


def _saved(standardisation: Standardisation) -> dict[str, Any]:
    saved = {
        "kind": standardisation.kind,
        "first": standardisation.first,
        "mean": standardisation.mean.tolist(),
        "deviation": standardisation.deviation.tolist(),
    }
    if standardisation.kind == "log-start":
        saved["start"] = standardisation.start
    if standardisation.logarithmic:
        saved["logarithmic"] = list(standardisation.logarithmic)
    return saved


def _reads_logarithms(standardisation: Standardisation) -> bool:
    return standardisation.kind != "log-start" and any(standardisation.logarithmic)


def _plain(value: object) -> object:
    return value.tolist() if isinstance(value, np.ndarray) else value


def _from_document(document: dict[str, Any]) -> dict[str, Any]:
    features = _features(document["features"])
    parameters = HMMParameters(
        startprob=_array(document, "startprob"),
        transmat=_array(document, "transmat"),
        means=_array(document, "means"),
        covariances=_array(document, "covariances"),
        covariance_type=document["covariance_type"],
        generator=_array_if_any(document, "generator"),
        clock=document.get("clock", "checkpoint"),
        unit=float(document.get("unit", 1.0)),
        minimum_dwell=document.get("minimum_dwell", 1),
        autoregression=_array_if_any(document, "autoregression"),
    )
    require_valid(parameters, len(features))
    return {
        "parameters": parameters,
        "features": features,
        "standardisation": _standardisation(document["standardisation"], len(features)),
        "step_unit": str(document["step_unit"]),
        "options": dict(document["options"]),
        "hmmdyn_version": str(document["hmmdyn_version"]),
        "last_steps": _last_steps(document["runs"]) if "runs" in document else None,
    }


def _last_steps(saved: list[Mapping[str, Any]]) -> dict[tuple[str, str], int]:
    return {(str(run["group"]), str(run["run"])): int(run["last_step"]) for run in saved}


def _features(saved: Any) -> tuple[str, ...]:
    if not isinstance(saved, list) or not all(isinstance(name, str) and name for name in saved):
        raise ValueError("its features are not a list of names")
    if len(set(saved)) < len(saved):
        raise ValueError("its features hold a name twice")
    return tuple(saved)


def _standardisation(saved: Mapping[str, Any], n_features: int) -> Standardisation:
    kind, first = saved["kind"], saved["first"]
    if kind not in STANDARDISATIONS:
        raise ValueError(f"unknown standardisation {kind!r}")
    if first is not None and (type(first) is not int or first < _LEAST_FIRST):
        raise ValueError(f"the first checkpoints to standardise by cannot be {first!r}")
    since_start = kind == "log-start"
    standardisation = Standardisation(
        kind,
        first,
        mean=_array(saved, "mean"),
        deviation=_array(saved, "deviation"),
        start=int(saved["start"]) if since_start else None,
        logarithmic=tuple(map(bool, saved.get("logarithmic", ()))),
    )
    require_standardises(standardisation, n_features)
    for name in ("mean", "deviation"):
        if not np.isfinite(getattr(standardisation, name)).all():
            raise ValueError(f"the {name} of a metric is not finite")
    return standardisation


def _array(document: Mapping[str, Any], name: str) -> FloatArray:
    return np.array(document[name], dtype=np.float64)


def _array_if_any(document: Mapping[str, Any], name: str) -> FloatArray | None:
    return _array(document, name) if name in document else None
