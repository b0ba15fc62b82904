"""What the metrics need of a checkpoint, gathered while its tensors pass by: each is read once.

Of the whole network, and of every part of it that is asked for: its layers, the roles of weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Literal, NamedTuple, Self, get_args

import numpy as np
from numpy.typing import NDArray

from hmmdyn.checkpoints.heads import heads_of
from hmmdyn.checkpoints.matrices import Axes
from hmmdyn.checkpoints.modules import layer_of, role_of, roles_of_parts
from hmmdyn.checkpoints.parameters import ParameterRules, Parameters, matrices_of, parts_of
from hmmdyn.checkpoints.read import Checkpoint, open_checkpoint
from hmmdyn.checkpoints.tensor import LazyTensor
from hmmdyn.choices import SKETCH
from hmmdyn.errors import CheckpointError, NotToldError, UsageError
from hmmdyn.metrics.entries import Entries, Kept, ReadAgain, entries_of
from hmmdyn.metrics.linear_algebra import on_device
from hmmdyn.metrics.machine import Machine, require_room
from hmmdyn.metrics.registry import Metric, Needs
from hmmdyn.metrics.summary import Attention, Change, Matrix, Network
from hmmdyn.metrics.whole import adam_of, embedding_of, logit_norm
from hmmdyn.names import printable
from hmmdyn.places import Place

# Checkpoints of the same run that some metrics compare a checkpoint with.
Reference = Literal["initial", "previous"]
References = Mapping[Reference, Place | Checkpoint]


class Part(NamedTuple):
    """A part of a network: ``by`` is ``layer`` or ``role``; both are empty for the whole."""

    by: str
    name: str


WHOLE = Part("", "")
# Entries that are pooled in memory, half a gigabyte of float32; of more, tensors are read again.
_MOST_KEPT = 1 << 27
# Bytes that an entry of a pool takes at most, and again while they are put in order.
_OF_KEPT = 16


class Tally:
    """Gathers what the metrics need while the tensors pass by.

    Parameters
    ----------
    metrics : tuple of Metric
    checkpoint : Checkpoint
    parameters : Parameters
        Its weights and biases.
    rules : ParameterRules
    frozen : collection of str
        Those that are not counted.
    changes : Changes
        The checkpoints that it is compared with.
    by : collection of str
        The parts wanted: ``layer``, ``role``.
    machine : Machine
        What this may use.

    Attributes
    ----------
    weights : list of str
        Those counted.
    not_finite : list of str
        Tensors that hold NaN or infinity.
    problems : dict of str to str
        Metric -> how it failed, and on which tensor first.

    Raises
    ------
    UsageError
        There is no room for the largest tensor, or no such device.
    """

    def __init__(
        self,
        metrics: tuple[Metric, ...],
        checkpoint: Checkpoint,
        parameters: Parameters,
        rules: ParameterRules,
        frozen: Collection[str],
        changes: Changes,
        by: Collection[str],
        machine: Machine,
    ) -> None:
        self.weights = [name for name in parameters.weights if name not in frozen]
        self.not_finite: list[str] = []
        self.problems: dict[str, str] = {}
        self._checkpoint, self._parameters, self._rules = checkpoint, parameters, rules
        self._by_need = {
            need: [metric for metric in metrics if metric.needs == need] for need in get_args(Needs)
        }
        self._names = [metric.name for metric in metrics]
        self._changes = changes
        self._by = [kind for kind in ("layer", "role") if kind in by]
        biases = [name for name in parameters.biases if name not in frozen]
        self._sums = self._empty_sums(
            biases, self._most_kept([*self.weights, *biases], machine.room)
        )
        self._linear_algebra = on_device(machine.device)
        self._logit_norms: dict[str, list[float]] = {}  # layer -> those of its heads

    def add(self, name: str, values: NDArray[Any]) -> None:
        """Take the numbers of one weight or bias."""
        if not np.isfinite(values).all():
            self.not_finite.append(name)
        parts, axes = self._parts_of(name), self._parameters.axes.get(name)
        kind = "biases" if axes is None else "weights"
        for part in parts:
            self._sums[part].add_entries(kind, values)
        if axes is None:
            return
        for reference, change in self._changes.since(name, values):
            for part in parts:
                self._sums[part].add_change(reference, change)
        if self._by_need["matrix"]:
            self._add_matrices(name, values, axes)

    def metrics(self) -> dict[str, float]:
        """Name -> value of the whole network, once every tensor has passed."""
        found = self._values(WHOLE)
        for need, gather in self._of_the_whole().items():
            if not self._by_need[need]:
                continue
            try:
                argument = gather()
            except NotToldError as error:
                self.problems |= {m.name: str(error) for m in self._by_need[need]}
            else:
                found |= {m.name: self._value(m, argument) for m in self._by_need[need]}
        return {name: found.get(name, math.nan) for name in self._names}

    def parts(self) -> dict[Part, dict[str, float]]:
        """Part of the network -> metric -> value; of the metrics that parts have."""
        found = {part: self._values(part) for part in self._sums if part != WHOLE}
        if "layer" in self._by and self._by_need["attention"]:
            for layer, norms in self._logit_norms.items():
                argument = Attention(np.array(norms))
                values = {m.name: self._value(m, argument) for m in self._by_need["attention"]}
                found[Part("layer", layer)] = {**found.get(Part("layer", layer), {}), **values}
        return found

    def _of_the_whole(self) -> dict[Needs, Callable[[], object]]:
        """What is not summed up while the tensors pass by -> how it is gathered."""
        return {
            "network": lambda: Network(self._checkpoint, tuple(self.weights)),
            "attention": self._attention,
            "embedding": lambda: embedding_of(self._checkpoint, self._parameters, self._rules),
            "optimizer": lambda: adam_of(self._checkpoint),
        }

    def _attention(self) -> Attention:
        found: dict[str, list[float]] = {}
        for head in heads_of(self._checkpoint, self._parameters.weights, self._rules):
            found.setdefault(layer_of(head.weight), []).append(logit_norm(head))
        self._logit_norms = found
        return Attention(np.array([norm for norms in found.values() for norm in norms]))

    def _most_kept(self, names: list[str], room: int | None) -> int:
        """Entries that may be pooled, beside the largest of these tensors."""
        if room is None:
            return _MOST_KEPT
        left = require_room(
            {name: self._checkpoint[name] for name in names},
            room,
            as_matrices=bool(self._by_need["matrix"]),
            sketched=self._rules.spectrum == SKETCH,
        )
        return min(left // _OF_KEPT, _MOST_KEPT)

    def _empty_sums(self, biases: list[str], most_kept: int) -> dict[Part, _Sums]:
        of_part: dict[Part, dict[str, list[LazyTensor]]] = {WHOLE: {"weights": [], "biases": []}}
        for kind, names in (("weights", self.weights), ("biases", biases)):
            for name in names:
                for part in self._parts_of(name):
                    tensors = of_part.setdefault(part, {"weights": [], "biases": []})
                    tensors[kind].append(self._checkpoint[name])
        wanted = {
            part: {kind: ts for kind, ts in tensors.items() if self._by_need[kind]}
            for part, tensors in of_part.items()
        }
        n = sum(entries_of(ts) for tensors in wanted.values() for ts in tensors.values())
        pool = Kept.for_tensors if n <= most_kept else ReadAgain
        return {
            part: _Sums({kind: pool(ts) for kind, ts in tensors.items()})
            for part, tensors in wanted.items()
        }

    def _parts_of(self, name: str) -> list[Part]:
        of = {"layer": layer_of(name), "role": self._role_of(name)}
        return [WHOLE, *(Part(kind, of[kind]) for kind in self._by)]

    def _role_of(self, name: str) -> str:
        return role_of(name, self._checkpoint[name].shape, self._rules.roles)

    def _add_matrices(self, name: str, values: NDArray[Any], axes: Axes) -> None:
        matrices = matrices_of(name, values, self._rules, axes)
        n_parts = len(parts_of(name, values.shape, self._rules))
        roles = roles_of_parts(self._role_of(name), n_parts)
        for i, values_of_part in enumerate(matrices):
            matrix = Matrix(
                values_of_part, sketched=self._rules.spectrum == SKETCH, by=self._linear_algebra
            )
            found = {
                metric.name: self._value(metric, matrix, f" of {name}")
                for metric in self._by_need["matrix"]
            }
            for part in self._parts_of(name):
                if part.by == "role":  # a fused weight that is split has the roles of its parts
                    part = Part("role", roles[i * n_parts // len(matrices)])
                self._sums.setdefault(part, _Sums({})).add_matrix(found)

    def _values(self, part: Part) -> dict[str, float]:
        sums = self._sums[part]
        found = {name: float(np.mean(values)) for name, values in sums.of_matrices.items()}
        pooled = {kind: Entries(pool) for kind, pool in sums.pools.items()}
        comparable = {
            kind: sums.changes[kind] for kind in self._changes.kinds if kind in sums.changes
        }
        for kind, argument in (*pooled.items(), *comparable.items()):
            found |= {m.name: self._value(m, argument) for m in self._by_need[kind]}
        return found

    def _value(self, metric: Metric, argument: object, where: str = "") -> float:
        """Value of a metric; NaN where it is infinite, or fails, which is then said."""
        with np.errstate(all="ignore"):
            try:
                return _as_number(metric.function(argument))
            except (CheckpointError, UsageError):
                raise  # the file fails, or the device, not the metric
            except Exception as error:
                what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
                self.problems.setdefault(metric.name, f"{printable(what)}{where}")
                return math.nan


class _Sums:
    """What is gathered of one part of a network."""

    def __init__(self, pools: dict[str, Kept | ReadAgain]) -> None:
        self.pools = pools
        self.of_matrices: dict[str, list[float]] = {}
        self.changes: dict[str, Change] = {}

    def add_matrix(self, found: Mapping[str, float]) -> None:
        for name, value in found.items():
            self.of_matrices.setdefault(name, []).append(value)

    def add_entries(self, kind: str, values: NDArray[Any]) -> None:
        if kind in self.pools:
            self.pools[kind].add(values)

    def add_change(self, reference: str, change: Change) -> None:
        self.changes[reference] = self.changes.get(reference, Change()) + change


class Changes:
    """How the weights changed since the checkpoints that the metrics compare them with.

    Parameters
    ----------
    metrics : tuple of Metric
    references : mapping of str to Place or Checkpoint
        An open one stays open. Those that no metric needs are not opened; of one that cannot be
        read, the metrics that need it are NaN.

    Attributes
    ----------
    problems : dict of str to str
        Metric -> why it has nothing to compare with.
    """

    def __init__(self, metrics: tuple[Metric, ...], references: References) -> None:
        self.problems: dict[str, str] = {}
        self._metrics = metrics
        self._others: dict[str, Checkpoint] = {}
        self._opened: dict[Reference, Checkpoint] = {}
        for kind, other in references.items():
            if not any(metric.needs == kind for metric in metrics):
                continue
            if isinstance(other, Checkpoint):
                self._others[kind] = other
            else:
                self._open(kind, other)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.let_go()

    def let_go(self) -> None:
        """Close the others once all was read; one that changed meanwhile is given up."""
        while self._opened:
            kind, other = self._opened.popitem()
            try:
                other.close()
            except CheckpointError as error:
                self._give_up(kind, str(error))

    @property
    def kinds(self) -> tuple[str, ...]:
        """Those with which all weights so far could be compared."""
        return tuple(self._others)

    def since(self, name: str, values: NDArray[Any]) -> Iterable[tuple[str, Change]]:
        """Return how one weight has changed since each of them; (reference, change)."""
        for kind, other in tuple(self._others.items()):
            try:
                yield kind, Change.of(values, other[name].read())
            except CheckpointError as error:
                self._give_up(kind, str(error))
            except (KeyError, ValueError):
                self._give_up(kind, f"{printable(str(other.path))} holds other weights")

    def _open(self, kind: Reference, path: Place) -> None:
        try:
            self._others[kind] = self._opened[kind] = open_checkpoint(path)
        except CheckpointError as error:
            self._give_up(kind, str(error))

    def _give_up(self, kind: str, why: str) -> None:
        self._others.pop(kind, None)
        self.problems |= {metric.name: why for metric in self._metrics if metric.needs == kind}


def _as_number(value: Any) -> float:
    """Return a metric's value as a float, NaN where it is infinite.

    Raises
    ------
    TypeError
        It is no real number.
    """
    if np.ndim(value) or isinstance(value, complex | np.complexfloating):
        kind = f"an array of shape {np.shape(value)}" if np.ndim(value) else "a complex number"
        raise TypeError(f"it returned {kind} instead of a number")
    number = float(value)
    return number if math.isfinite(number) else math.nan
