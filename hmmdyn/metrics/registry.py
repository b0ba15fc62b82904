"""The metrics there are. A family is one module whose functions carry ``@metric``."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

from hmmdyn.errors import UsageError
from hmmdyn.names import did_you_mean

# Part of every cached row: raise it when a metric of the same name changes its value, by its
# formula or by what counts as a weight.
VERSION = 2

# Modules that register metrics, in the order of their columns. A new family is one more.
_FAMILIES = ("hmmdyn.metrics.weights",)

Needs = Literal["matrices", "weights", "biases"]
_registered: dict[str, Metric] = {}


@dataclass(frozen=True)
class Metric:
    """A number computed from the weights of one checkpoint.

    Attributes
    ----------
    name : str
        Its column in the metric table.
    description : str
        What it is, in a few words, for people.
    needs : str
        ``matrices``: ``function`` takes a `summary.Matrix`, and the metric is the mean over the
        weight matrices. ``weights``, ``biases``: it takes the `summary.Entries` of all of them.
    function : callable
        Returns a float; NaN where the metric is not defined.
    """

    name: str
    description: str
    needs: Needs
    function: Callable[[Any], float]


def metric(*, needs: Needs) -> Callable[[Callable[[Any], float]], Callable[[Any], float]]:
    """Register the decorated function as a metric: its name, and its docstring's first line."""

    def register(function: Callable[[Any], float]) -> Callable[[Any], float]:
        name, documentation = function.__name__, function.__doc__ or ""
        if name in _registered:
            raise ValueError(f"There is a metric {name!r} already.")
        description = documentation.partition("\n")[0].rstrip(".")
        _registered[name] = Metric(name, description, needs, function)
        return function

    return register


def all_metrics() -> tuple[Metric, ...]:
    """Every metric there is, in the order of their columns."""
    for family in _FAMILIES:
        importlib.import_module(family)
    return tuple(_registered.values())


def select_metrics(names: Iterable[str] | None = None) -> tuple[Metric, ...]:
    """Return the named metrics in the order of their columns, all of them for None.

    Raises
    ------
    UsageError
        A name is not a metric's, or there is none.
    """
    known = all_metrics()
    if names is None:
        return known
    wanted = set(names)
    called = [m.name for m in known]
    unknown = sorted(wanted.difference(called))
    if unknown or not wanted:
        raise UsageError(
            f"No metric is called {', '.join(map(repr, unknown)) or 'so'}."
            f"{''.join(did_you_mean(name, called) for name in unknown[:1])} "
            f"The metrics are: {', '.join(called)}."
        )
    return tuple(m for m in known if m.name in wanted)
