"""One checkpoint to its metrics, in one pass: each tensor is read once and let go."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from hmmdyn.checkpoints.parameters import ParameterRules, Parameters, select_parameters
from hmmdyn.checkpoints.read import Checkpoint, open_checkpoint
from hmmdyn.errors import NoWeightsError
from hmmdyn.messages import Message, Remedy
from hmmdyn.metrics.machine import ANY_MACHINE, Machine
from hmmdyn.metrics.registry import select_metrics
from hmmdyn.metrics.tally import Changes, Part, References, Tally
from hmmdyn.names import counted, printable, some
from hmmdyn.places import Place

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
    compared_with : Mapping of str to str
        The ``initial`` and ``previous`` checkpoints that metrics compare it with, and what tells
        these files from others.
    problems : Mapping of str to str
        Metric -> how it failed, and on which tensor first; it is NaN.
    by : tuple of str
        Which parts of the network were measured, too: ``layer``, ``role``.
    parts : Mapping of Part to mapping of str to float
        Part -> metric -> value.
    fingerprints : Mapping of str to str
        Weight or bias -> hash of its numbers; empty unless asked for.
    """

    architecture: Architecture
    frozen: tuple[str, ...]
    metrics: Mapping[str, float]
    outcomes: Mapping[str, float]
    not_finite: tuple[str, ...] = ()
    compared_with: Mapping[str, str] = field(default_factory=dict)
    problems: Mapping[str, str] = field(default_factory=dict)
    by: tuple[str, ...] = ()
    parts: Mapping[Part, Mapping[str, float]] = field(default_factory=dict)
    fingerprints: Mapping[str, str] = field(default_factory=dict)

    def covers(self, metrics: Collection[str], by: Collection[str]) -> bool:
        """Whether it has these metrics, of these parts of the network."""
        return set(metrics) <= self.metrics.keys() and set(by) <= set(self.by)


def measure(
    path: Place,
    metrics: Collection[str] | None,
    rules: ParameterRules,
    *,
    frozen: Collection[str] = (),
    fingerprint: bool = False,
    references: References | None = None,
    by: Collection[str] = (),
    machine: Machine = ANY_MACHINE,
) -> Measurement:
    """Compute metrics of one checkpoint.

    Linear algebra runs on one thread, so that the numbers do not depend on how many there are.

    Parameters
    ----------
    path : Place
        The checkpoint.
    metrics : collection of str, or None
        Names of metrics and families, None for those of the paper. Where there are none, the
        checkpoint is only looked into: its architecture, and the hashes of its tensors.
    rules : ParameterRules
        Which tensors are weights and biases.
    frozen : collection of str
        Weights and biases to leave out.
    fingerprint : bool
        Also hash every weight and bias, the frozen ones too.
    references : mapping of str to Place or Checkpoint, optional
        The run's ``initial`` checkpoint and the ``previous`` one, or where they are. Metrics that
        compare with one that is not there, or cannot be read, are NaN.
    by : collection of {"layer", "role"}
        Also measure the parts of the network.
    machine : Machine
        What this may use.

    Raises
    ------
    CheckpointError
        The checkpoint cannot be read.
    NoWeightsError
        It holds no weight matrix.
    UsageError
        A metric does not exist, a rule does not fit, there is no room for the largest tensor, or no
        such device.
    """
    with open_checkpoint(path) as checkpoint:
        return measure_opened(
            checkpoint,
            metrics,
            rules,
            frozen=frozen,
            fingerprint=fingerprint,
            references=references,
            by=by,
            machine=machine,
        )


def measure_opened(
    checkpoint: Checkpoint,
    metrics: Collection[str] | None,
    rules: ParameterRules,
    *,
    frozen: Collection[str] = (),
    fingerprint: bool = False,
    references: References | None = None,
    by: Collection[str] = (),
    machine: Machine = ANY_MACHINE,
) -> Measurement:
    """As `measure`, of a checkpoint that is open.

    Parameters
    ----------
    checkpoint : Checkpoint
        What to measure; it stays open.
    metrics, rules, frozen, fingerprint, references, by, machine
        As of :func:`measure`, whose errors it raises too.
    """
    chosen = () if metrics is not None and not metrics else select_metrics(metrics)
    with _threads().limit(limits=1), Changes(chosen, references or {}) as changes:
        parameters = select_parameters(checkpoint, rules)
        tally = Tally(chosen, checkpoint, parameters, rules, frozen, changes, by, machine)
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
                tally.add(name, values)
        changes.let_go()
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
            problems={**changes.problems, **tally.problems},
            by=tuple(by),
            parts=tally.parts(),
            fingerprints=fingerprints,
        )


def fingerprint_of(values: NDArray[Any]) -> str:
    """Hash the numbers of a tensor: equal for the same numbers, bit for bit."""
    data = np.ascontiguousarray(values).reshape(-1).view(np.uint8).data
    return hashlib.blake2b(data, digest_size=16).hexdigest()


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


def _no_weights(path: Place, parameters: Parameters, frozen: Collection[str]) -> Message:
    left_out = {**parameters.left_out, **dict.fromkeys(sorted(frozen), FROZEN)}
    return Message(
        f"{printable(str(path))} holds no weight matrix that could be measured. "
        f"It holds {counted(len(parameters.biases), 'bias', 'biases')}; "
        f"left out: {by_reason(left_out) or 'nothing'}.\n"
        "If something that counts was left out, bring it back with ",
        Remedy("include", ("REGEX",)),
        ".",
    )
