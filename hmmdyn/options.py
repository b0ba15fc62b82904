"""Every knob of an analysis, in one place, with its default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from hmmdyn.errors import UsageError

PRESETS: Mapping[str, Mapping[str, Any]] = {
    # Hu 2023, section 2.1: BIC on one run in five held out, and each run standardised by the mean
    # and deviation of its first 1000 checkpoints.
    "paper": {"protocol": "paper", "standardise_first": 1000},
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
    seed: int = 0
    outcome: str | None = None
    threshold: float | None = None
    direction: str | None = None
    sustained: int = 1

    def __post_init__(self) -> None:
        """Reject numbers out of range where they were given, before any work is done."""
        minimum = {"max_states": 1, "n_states": 1, "restarts": 1, "seed": 0, "sustained": 1}
        for name, least in minimum.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise UsageError(f"{name!r} must be at least {least}, got {value}.")
        if self.standardise_first is not None and self.standardise_first < 2:
            raise UsageError(
                f"'standardise_first' must be at least 2 checkpoints, got {self.standardise_first}."
            )

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

    def set_by_user(self) -> dict[str, Any]:
        """Return the options that differ from their defaults, as plain JSON values."""
        out = {}
        for option in fields(self):
            value = getattr(self, option.name)
            if value != option.default:
                out[option.name] = str(value) if isinstance(value, Path) else value
        return out
