"""The metrics there are. A family is one module whose functions carry ``@metric``."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Literal, get_args

from hmmdyn.errors import UsageError
from hmmdyn.names import did_you_mean, printable

# Part of every cached row: raise it when a metric of the same name changes its value, by its
# formula or by what counts as a weight.
VERSION = 3

PAPER = "paper"
ALL = "all"
# Modules of `families` that register metrics, in the order of their columns. A new family is one
# more.
FAMILIES = (PAPER, "movement", "spectrum", "shape", "attention", "fourier", "optimizer")
# Installed packages name a module of metrics under this group of entry points.
PLUGINS = "hmmdyn.metrics"

Needs = Literal[
    "matrix",
    "weights",
    "biases",
    "network",
    "attention",
    "embedding",
    "optimizer",
    "initial",
    "previous",
    "run",
]
_registered: dict[str, Metric] = {}
_family = ""  # whose module is being imported


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
        What ``function`` takes.

        - ``matrix``: a `summary.Matrix`; the metric is the mean over the weight matrices.
        - ``weights``, ``biases``: the `entries.Entries` of all of them.
        - ``network``: a `summary.Network`, whose tensors are read when they are asked for.
        - ``attention``: the `summary.Attention` of all heads.
        - ``embedding``: the `summary.Embedding` of numbers modulo the rules' ``cyclic``.
        - ``optimizer``: the `summary.Moments` that the checkpoint holds of Adam.
        - ``initial``, ``previous``: the `summary.Change` of all weights since the run's first
          checkpoint, since the one before.
        - ``run``: the columns ``of`` of a run's checkpoints, in order of steps, as a DataFrame; it
          returns a column.
    function : callable
        Returns a float; NaN where the metric is not defined.
    family : str
        The module that it is from.
    unit : str
        What it is measured in; empty for a number without unit, ``w`` for that of the weights.
    source : str
        Where it is from: a paper, an equation.
    of : tuple of str
        Names of the metrics whose columns it needs; of ``run`` only.
    """

    name: str
    description: str
    needs: Needs
    function: Callable[[Any], Any]
    family: str = ""
    unit: str = ""
    source: str = ""
    of: tuple[str, ...] = ()


def metric(
    *, needs: Needs, unit: str = "", source: str = "", of: tuple[str, ...] = ()
) -> Callable[[Callable[[Any], Any]], Callable[[Any], Any]]:
    """Register the decorated function as a metric: its name, and its docstring's first line.

    Parameters
    ----------
    needs, unit, source, of
        As of :class:`Metric`.

    Raises
    ------
    ValueError
        There is a metric of this name already, or nothing that is called so can be needed.
    """
    if needs not in get_args(Needs):
        raise ValueError(f"A metric needs one of {', '.join(get_args(Needs))}, got {needs!r}.")

    def register(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        name, documentation = function.__name__, function.__doc__ or ""
        if name in _registered:
            raise ValueError(f"There is a metric {name!r} already.")
        description = documentation.strip().partition("\n")[0].rstrip(".")
        _registered[name] = Metric(name, description, needs, function, _family, unit, source, of)
        return function

    return register


def all_metrics() -> tuple[Metric, ...]:
    """Every metric there is, in the order of their columns."""
    for family in FAMILIES:
        _import(f"hmmdyn.metrics.families.{family}", family)
    for name, module in _plugins():
        _import(module, name)
    return tuple(_registered.values())


@cache
def _plugins() -> tuple[tuple[str, str], ...]:
    """Name and module of every installed family; to look for them opens a file per package."""
    return tuple(sorted((plugin.name, plugin.value) for plugin in entry_points(group=PLUGINS)))


def select_metrics(names: Iterable[str] | None = None) -> tuple[Metric, ...]:
    """Return metrics in the order of their columns; the paper's for None.

    Parameters
    ----------
    names : iterable of str, optional
        Names of metrics and of families, or ``all``.

    Raises
    ------
    UsageError
        A name is neither a metric's nor a family's, or there is none.
    """
    known = all_metrics()
    wanted = {PAPER} if names is None else set(names)
    groups, called = families(), [m.name for m in known]
    unknown = sorted(wanted.difference(called, groups, {ALL}))
    if unknown or not wanted:
        named = ", ".join(map(repr, unknown))
        hint = "".join(did_you_mean(name, [*called, *groups]) for name in unknown[:1])
        raise UsageError(
            f"There is no metric {named}.{hint} " * bool(unknown)
            + f"There are: {', '.join(called)}; and the families {', '.join(groups)}, {ALL}."
        )
    return tuple(m for m in known if not wanted.isdisjoint((m.name, m.family, ALL)))


def families() -> tuple[str, ...]:
    """Names of the families there are, in the order of their columns."""
    return tuple(dict.fromkeys(m.family for m in all_metrics()))


def expanded(names: Iterable[str], columns: Sequence[str]) -> tuple[str, ...]:
    """Put in the place of families their metrics among the columns; other names stay."""
    known = all_metrics()
    found: dict[str, None] = {}
    for name in names:
        members = [m.name for m in known if name in (m.family, ALL)]
        of_family = bool(members) and name not in columns
        found |= dict.fromkeys((c for c in columns if c in members) if of_family else (name,))
    return tuple(found)


def without_families(names: Iterable[str]) -> tuple[str, ...]:
    """Return the names that are no family's."""
    known = {*families(), ALL}
    return tuple(name for name in names if name not in known)


def with_needed(metrics: Iterable[Metric]) -> tuple[Metric, ...]:
    """Return metrics, and before them those whose columns they are made of."""
    wanted = {name for m in metrics for name in (m.name, *m.of)}
    return tuple(m for m in all_metrics() if m.name in wanted)


def load_metrics(path: Path) -> str:
    """Run a file of metrics that the user names; they are a family that is called as the file.

    Returns
    -------
    str
        A digest of the file's content, by which measurements of another version are told.

    Raises
    ------
    UsageError
        The file cannot be read, fails, registers nothing, or takes a name that is taken.
    """
    all_metrics()  # a name of theirs is taken
    try:
        return _run(path.resolve(), path.read_bytes())
    except OSError as error:
        reason = error.strerror or error
        raise UsageError(f"{printable(str(path))} cannot be read: {reason}.") from None


@cache
def _run(path: Path, content: bytes) -> str:
    """Execute a file of metrics, once for each content."""
    before, digest = dict(_registered), hashlib.blake2b(content, digest_size=16).hexdigest()
    for name in [name for name, m in before.items() if m.family == path.stem]:
        del _registered[name]  # the file has changed since
    try:
        _as_family(path.stem, lambda: _execute(path, digest))
    except Exception as error:
        _registered.clear()
        _registered.update(before)
        raise UsageError(
            f"{printable(str(path))} failed while its metrics were read: "
            f"{type(error).__name__}: {printable(str(error))}"
        ) from error
    if not any(m.family == path.stem for m in _registered.values()):
        raise UsageError(
            f"{printable(str(path))} registers no metric. A metric is a function with "
            '@hmmdyn.metric(needs="matrix") before it.'
        )
    return digest


def _execute(path: Path, digest: str) -> None:
    name = f"hmmdyn_metrics_{digest}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)


def _import(module: str, family: str) -> None:
    _as_family(family, lambda: importlib.import_module(module))


def _as_family(family: str, register: Callable[[], object]) -> None:
    """Let what is registered meanwhile be of this family."""
    global _family
    outer, _family = _family, family
    try:
        register()
    finally:
        _family = outer
