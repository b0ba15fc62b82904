"""One checkpoint to its metrics, in one pass: each tensor is read once and let go."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from hmmdyn.checkpoints.matrices import Axes
from hmmdyn.checkpoints.parameters import (
    ParameterRules,
    Parameters,
    matrices_of,
    select_parameters,
)
from hmmdyn.checkpoints.read import Checkpoint, open_checkpoint
from hmmdyn.checkpoints.tensor import WIDENED, LazyTensor
from hmmdyn.errors import NoWeightsError
from hmmdyn.messages import Message, Remedy
from hmmdyn.metrics.registry import Metric, select_metrics
from hmmdyn.metrics.summary import Entries, Matrix
from hmmdyn.names import printable, some

FROZEN = "never changes"


@dataclass(frozen=True)
class Architecture:
    """The weights and biases the rules select, name -> shape, and what they leave out and why."""

    weights: Mapping[str, tuple[int, ...]]
    biases: Mapping[str, tuple[int, ...]]
    left_out: Mapping[str, str]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of weights and biases."""
        return {**self.weights, **self.biases}


@dataclass(frozen=True)
class Measurement:
    """What is computed from one checkpoint.

    Attributes
    ----------
    architecture : Architecture
    frozen : tuple of str
        Weights and biases that were not measured because they never change; sorted.
    metrics : Mapping of str to float
        Name -> value; NaN where it is not finite, or there are no biases.
    outcomes : Mapping of str to float
        Outcomes stored in the checkpoint.
    not_finite : tuple of str
        Tensors measured that hold NaN or infinity.
    fingerprints : Mapping of str to str
        Weight or bias -> hash of its numbers; empty unless asked for.
    """

    architecture: Architecture
    frozen: tuple[str, ...]
    metrics: Mapping[str, float]
    outcomes: Mapping[str, float]
    not_finite: tuple[str, ...] = ()
    fingerprints: Mapping[str, str] = field(default_factory=dict)


def measure(
    path: Path,
    metrics: Iterable[str] | None,
    rules: ParameterRules,
    *,
    frozen: Collection[str] = (),
    fingerprint: bool = False,
) -> Measurement:
    """Compute metrics of one checkpoint.

    Linear algebra runs on one thread, so that the numbers do not depend on how many there are.

    Parameters
    ----------
    path : Path
        The checkpoint.
    metrics : iterable of str, or None
        Names of metrics, None for all.
    rules : ParameterRules
        Which tensors are weights and biases.
    frozen : collection of str
        Weights and biases to leave out.
    fingerprint : bool
        Also hash every weight and bias, the frozen ones too.

    Raises
    ------
    CheckpointError
        The checkpoint cannot be read.
    NoWeightsError
        It holds no weight matrix.
    UsageError
        A metric does not exist, or a rule does not fit.
    """
    with open_checkpoint(path) as checkpoint:
        return measure_opened(checkpoint, metrics, rules, frozen=frozen, fingerprint=fingerprint)


def measure_opened(
    checkpoint: Checkpoint,
    metrics: Iterable[str] | None,
    rules: ParameterRules,
    *,
    frozen: Collection[str] = (),
    fingerprint: bool = False,
) -> Measurement:
    """As `measure`, of a checkpoint that is open.

    Parameters
    ----------
    checkpoint : Checkpoint
        What to measure; it stays open.
    metrics, rules, frozen, fingerprint
        As of :func:`measure`, whose errors it raises too.
    """
    with _threads().limit(limits=1):
        parameters = select_parameters(checkpoint, rules)
        tally = _Tally(select_metrics(metrics), checkpoint, parameters, frozen)
        if not tally.weights:
            raise NoWeightsError(_no_weights(checkpoint.path, parameters, frozen))
        fingerprints: dict[str, str] = {}
        for name in (*parameters.weights, *parameters.biases):
            if name in frozen and not fingerprint:
                continue
            values = checkpoint[name].read()
            if fingerprint:
                fingerprints[name] = fingerprint_of(values)
            if name not in frozen:
                tally.add(name, values, rules, parameters.axes.get(name))
        return Measurement(
            architecture=Architecture(
                weights={name: checkpoint[name].shape for name in parameters.weights},
                biases={name: checkpoint[name].shape for name in parameters.biases},
                left_out=parameters.left_out,
            ),
            frozen=tuple(sorted(frozen)),
            metrics=tally.metrics(),
            outcomes=checkpoint.scalars,
            not_finite=tuple(tally.not_finite),
            fingerprints=fingerprints,
        )


def fingerprint_of(values: NDArray[Any]) -> str:
    """Hash the numbers of a tensor: equal for the same numbers, bit for bit."""
    data = np.ascontiguousarray(values).reshape(-1).view(np.uint8).data
    return hashlib.blake2b(data, digest_size=16).hexdigest()


class _Tally:
    """Gathers what the metrics need while the tensors pass by."""

    def __init__(
        self,
        metrics: tuple[Metric, ...],
        checkpoint: Checkpoint,
        parameters: Parameters,
        frozen: Collection[str],
    ) -> None:
        self.weights = [name for name in parameters.weights if name not in frozen]
        self.not_finite: list[str] = []
        biases = [name for name in parameters.biases if name not in frozen]
        self._metrics = metrics
        self._per_matrix: dict[str, list[float]] = {
            metric.name: [] for metric in metrics if metric.needs == "matrices"
        }
        self._pools = {
            "weights": _Pool([checkpoint[name] for name in self.weights]),
            "biases": _Pool([checkpoint[name] for name in biases]),
        }

    def add(
        self, name: str, values: NDArray[Any], rules: ParameterRules, axes: Axes | None
    ) -> None:
        """Take the numbers of one weight, which has axes, or bias."""
        if not np.isfinite(values).all():
            self.not_finite.append(name)
        if axes is None:
            self._pools["biases"].add(values)
            return
        self._pools["weights"].add(values)
        for matrix in map(Matrix, matrices_of(name, values, rules, axes)):
            for metric in self._metrics:
                if metric.needs == "matrices":
                    self._per_matrix[metric.name].append(_value(metric, matrix))

    def metrics(self) -> dict[str, float]:
        """Name -> value, once every tensor has passed."""
        entries = {kind: pool.summary() for kind, pool in self._pools.items()}
        return {
            metric.name: (
                float(np.mean(self._per_matrix[metric.name]))
                if metric.needs == "matrices"
                else _value(metric, entries[metric.needs])
            )
            for metric in self._metrics
        }


class _Pool:
    """The entries of several tensors in one array, made once in its final size."""

    def __init__(self, tensors: list[LazyTensor]) -> None:
        # Narrower types arrive widened to float32, which is half the memory of float64.
        narrow = all(tensor.dtype in {"float32", *WIDENED} for tensor in tensors)
        size = sum(math.prod(tensor.shape) for tensor in tensors)
        self._values = np.empty(size, np.float32 if narrow else np.float64)
        self._filled = 0

    def add(self, values: NDArray[Any]) -> None:
        end = self._filled + values.size
        self._values[self._filled : end] = values.ravel()
        self._filled = end

    def summary(self) -> Entries:
        with np.errstate(invalid="ignore", over="ignore"):
            return Entries.of(self._values)


def _value(metric: Metric, argument: Matrix | Entries) -> float:
    """Value of a metric, NaN where it is infinite."""
    with np.errstate(invalid="ignore", over="ignore"):
        value = metric.function(argument)
    return value if math.isfinite(value) else math.nan


@cache
def _threads() -> ThreadpoolController:
    """Find the thread pools of the linear algebra libraries, which takes milliseconds."""
    return ThreadpoolController()


def by_reason(left_out: Mapping[str, str]) -> str:
    """Count and name tensors left out: ``2 embedding (wte.weight, wpe.weight), 1 buffer (…)``."""
    reasons: dict[str, list[str]] = {}
    for name, reason in left_out.items():
        reasons.setdefault(reason, []).append(name)
    return "; ".join(
        f"{len(names)} {reason} ({some(names, 3)})" for reason, names in reasons.items()
    )


def counted(n: int, one: str, many: str) -> str:
    """Return a number with its noun: ``1 bias``, ``2 biases``."""
    return f"{n:,} {one if n == 1 else many}"


def _no_weights(path: Path, parameters: Parameters, frozen: Collection[str]) -> Message:
    left_out = {**parameters.left_out, **dict.fromkeys(sorted(frozen), FROZEN)}
    return Message(
        f"{printable(str(path))} holds no weight matrix that could be measured. "
        f"It holds {counted(len(parameters.biases), 'bias', 'biases')}; "
        f"left out: {by_reason(left_out) or 'nothing'}.\n"
        "If something that counts was left out, bring it back with ",
        Remedy("include", ("REGEX",)),
        ".",
    )
