"""Every knob of an analysis, in one place, with its default."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from hmmdyn.choices import CLOCKS, COVARIANCE_TYPES, DIRECTIONS, PROTOCOLS, STANDARDISATIONS
from hmmdyn.errors import UsageError
from hmmdyn.results.model import ModelOptions

PRESETS: Mapping[str, Mapping[str, Any]] = {
    # Hu 2023, section 2.1: BIC on one run in five held out, and each run standardised by the mean
    # and deviation of its first 1000 checkpoints.
    "paper": {"protocol": "paper", "standardise_first": 1000},
}


# How an option is called on the command line, where that is not simply its name.
_FLAGS = {
    "outcomes_file": "--outcomes",
    "metrics": "--metric",
    "drop_metrics": "--drop-metric",
    "exclude_runs": "--exclude-run",
    "outcome_columns": "--outcome-column",
    "n_states": "--states",
}
_LEAST = {
    "max_states": 1,
    "n_states": 1,
    "standardise_first": 2,
    "restarts": 1,
    "seed": 0,
    "minimum_dwell": 1,
    "sustained": 1,
}
_ALLOWED = {
    "covariance": COVARIANCE_TYPES,
    "standardise": STANDARDISATIONS,
    "protocol": PROTOCOLS,
    "direction": DIRECTIONS,
    "clock": CLOCKS,
}
# What runs are read from, and the options that tell how, which mean nothing for anything else.
FOLDER, TABLE = "a folder of checkpoints", "a table of metrics"
_READING = {
    FOLDER: ("layout", "outcomes_file", "skip_bad", "include", "exclude", "split"),
    TABLE: ("outcome_columns",),
}
_OUTCOMES = {
    FOLDER: "Outcomes of a folder are found beside its checkpoints, or in a file (--outcomes).",
    TABLE: "Outcomes of a table are columns of it (--outcome-column).",
}


@dataclass(frozen=True)
class Options:
    """What shapes the result of an analysis.

    Attributes
    ----------
    layout : str, optional
        How paths are to be understood, such as ``{group}/seed{seed}/step_{step}.pt``; guessed
        where None.
    outcomes_file : Path, optional
        A csv, tsv or jsonl file of outcomes beside those found with the checkpoints.
    skip_bad : bool
        Leave unreadable checkpoints out (named) instead of stopping.
    include, exclude : tuple of str
        Regular expressions searched in tensor names: count these as weights, or leave them out.
    split : tuple of (str, int, int)
        Cut fused tensors: (regular expression, axis, number of equal parts).
    metrics, drop_metrics : tuple of str
        Metrics to use (all where empty), and metrics to leave out.
    exclude_runs : tuple of str
        Runs to leave out: ``run``, or ``group/run``.
    outcome_columns : tuple of str
        Columns of a table of one's own that are outcomes though their names do not say so.
    max_states : int
        The sweep tries 1 … max_states hidden states.
    n_states : int, optional
        Fit exactly this many states instead.
    covariance : {"diag", "full"}
        Emission covariance.
    standardise : {"run", "pooled"}
        Standardise each run by itself, or all by one scale.
    standardise_first : int, optional
        Take mean and deviation from the first so many checkpoints of each run.
    protocol : {"bic", "paper"}
        BIC on all runs, or the paper's BIC on runs held out.
    restarts : int
        EM starts per number of states.
    stickiness, left_right, minimum_dwell, clock, autoregressive
        What the model assumes beyond the plain one; see :class:`hmmdyn.results.model.ModelOptions`.
    quick : bool
        Leave out what weighs the choice of a number of states (runs held out, the other covariance
        type, repeated searches, diagnostics), which takes most of the time.
    map_per_group : bool
        Beside the map of all groups together, fit each group one of its own.
    seed : int
        Seeds every random choice: same input, same seed, same bytes.
    outcome, threshold, direction, sustained
        What convergence is; see :func:`hmmdyn.dynamics.convergence.measure_convergence`.
    """

    layout: str | None = None
    outcomes_file: Path | None = None
    skip_bad: bool = False
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    split: tuple[tuple[str, int, int], ...] = ()
    metrics: tuple[str, ...] = ()
    drop_metrics: tuple[str, ...] = ()
    exclude_runs: tuple[str, ...] = ()
    outcome_columns: tuple[str, ...] = ()
    max_states: int = 8
    n_states: int | None = None
    covariance: str = "diag"
    standardise: str = "run"
    standardise_first: int | None = None
    protocol: str = "bic"
    restarts: int = 10
    stickiness: float = 0.0
    left_right: bool = False
    minimum_dwell: int = 1
    clock: str = "checkpoint"
    autoregressive: bool = False
    quick: bool = False
    map_per_group: bool = False
    seed: int = 0
    outcome: str | None = None
    threshold: float | None = None
    direction: str | None = None
    sustained: int = 1

    def __post_init__(self) -> None:
        """Reject what can never work where it was given, before any work is done."""
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value is not None and not (isinstance(value, int) and value >= least):
                raise UsageError(
                    f"{name!r} must be a whole number of at least {least}, got {value!r}."
                )
        if isinstance(self.stickiness, bool) or not isinstance(self.stickiness, (int, float)):
            raise UsageError(f"'stickiness' must be a number, got {self.stickiness!r}.")
        for name, allowed in _ALLOWED.items():
            value = getattr(self, name)
            if value not in allowed and not (name == "direction" and value is None):
                raise UsageError(f"{name!r} must be one of {allowed}, got {value!r}.")
        if self.threshold is not None and not math.isfinite(self.threshold):
            raise UsageError(f"'threshold' must be a finite number, got {self.threshold}.")

    @property
    def candidates(self) -> range:
        """The numbers of states to try."""
        if self.n_states is not None:
            return range(self.n_states, self.n_states + 1)
        return range(1, self.max_states + 1)

    def changed(self, **changes: Any) -> Options:
        """Return a copy with some options changed.

        Raises
        ------
        UsageError
            There is no such option, or its value is out of range.
        """
        known = [f.name for f in fields(self)]
        for name in changes:
            if name not in known:
                raise UsageError(f"There is no option {name!r}. There are: {', '.join(known)}.")
        return replace(self, **changes)

    def require_fit_for(self, kind: str, source: str) -> None:
        """Reject options that only mean something for another kind of source.

        ``kind`` is ``FOLDER`` or ``TABLE``; ``source`` is what to call it.

        Raises
        ------
        UsageError
        """
        for other, names in _READING.items():
            given = [_flag(name) for name in self.set_by_user() if name in names]
            if given and other != kind:
                raise UsageError(
                    f"{', '.join(given)} tells how {other} is read, and {source} is {kind}. "
                    f"{_OUTCOMES[kind]}"
                )

    @property
    def model(self) -> ModelOptions:
        """What the model assumes beyond the plain one."""
        return ModelOptions(
            self.stickiness, self.left_right, self.minimum_dwell, self.clock, self.autoregressive
        )

    def command_line(self) -> list[str]:
        """Return the words that give these options to ``hmmdyn analyze``."""
        words = []
        for name, value in self.set_by_user().items():
            if value is True:
                words.append(_flag(name))
                continue
            for item in value if isinstance(value, tuple) else (value,):
                if name == "split":
                    pattern, axis, n_parts = item
                    item = f"{pattern}={axis}:{n_parts}"
                words += [_flag(name), str(item)]
        return words

    def set_by_user(self) -> dict[str, Any]:
        """Return the options that differ from their defaults, as plain JSON values."""
        out = {}
        for option in fields(self):
            value = getattr(self, option.name)
            if value != option.default:
                out[option.name] = str(value) if isinstance(value, Path) else value
        return out


def _flag(name: str) -> str:
    return _FLAGS.get(name, "--" + name.replace("_", "-"))
