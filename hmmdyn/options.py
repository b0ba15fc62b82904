"""Every option of an analysis, declared once."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from hmmdyn.choices import (
    COVARIANCE_TYPES,
    DIRECTIONS,
    EXACT,
    PARTS_BY,
    PROTOCOLS,
    SPECTRA,
    STANDARDISATIONS,
)
from hmmdyn.declare import (
    CONVERGENCE,
    EFFORT,
    MODEL,
    READING,
    STATES,
    WHAT,
    Option,
    check,
    documented,
    option,
    options_of,
)
from hmmdyn.errors import UsageError
from hmmdyn.messages import Message, Remedy
from hmmdyn.names import require_known
from hmmdyn.results.model import ModelOptions

PRESETS: Mapping[str, Mapping[str, Any]] = {
    # Hu 2023, section 2.1: BIC on one run in five held out, and each run standardised by the mean
    # and deviation of its first 1000 checkpoints.
    "paper": {"protocol": "paper", "standardise": "run", "standardise_first": 1000},
}

# What runs are read from, and the options that tell how, which mean nothing for anything else.
FOLDER, TABLE = "a folder of checkpoints", "a table of metrics"
_OUTCOMES = {
    FOLDER: Message(
        "Outcomes of a folder are found beside its checkpoints, or in a file (",
        Remedy("outcomes_file"),
        ").",
    ),
    TABLE: Message("Outcomes of a table are columns of it (", Remedy("outcome_columns"), ")."),
}


def _split_rule(word: str) -> tuple[str, int, int]:
    pattern, _, numbers = word.rpartition("=")
    axis, _, parts = numbers.partition(":")
    if not (pattern and axis.isdecimal() and parts.isdecimal()):
        raise UsageError(
            f"'--split' takes REGEX=AXIS:PARTS, such as 'c_attn.weight=1:3', got {word!r}."
        )
    return pattern, int(axis), int(parts)


def _split_word(rule: tuple[str, int, int]) -> str:
    pattern, axis, n_parts = rule
    return f"{pattern}={axis}:{n_parts}"


@documented
@dataclass(frozen=True, kw_only=True)
class Options(ModelOptions):
    """What shapes the result of an analysis.

    Every option is declared here or in :class:`hmmdyn.results.model.ModelOptions`, and nowhere
    else: the command line, its help and the checks come from the declarations.

    Raises
    ------
    UsageError
        A value is of the wrong type or out of range, or there is no such option.
    """

    layout: str | None = option(
        None,
        "How paths read, e.g. '{group}/seed{seed}/step_{step}.pt'.",
        panel=READING,
        more="Guessed where None.",
    )
    outcomes_file: Path | None = option(
        None,
        "A log of losses or accuracies (CSV, JSON, …), joined on step.",
        panel=READING,
        flag="--outcomes",
        more="It is read beside those found with the checkpoints.",
    )
    skip_bad: bool = option(
        False, "Leave unreadable checkpoints out (named) instead of stopping.", panel=READING
    )
    include: tuple[str, ...] = option(
        (), "Regular expression of tensors to count as weights.", panel=READING
    )
    exclude: tuple[str, ...] = option(
        (), "Regular expression of tensors to leave out.", panel=READING
    )
    tensors: tuple[str, ...] = option(
        (),
        "Regular expression of tensors to read; others are neither moved nor measured.",
        panel=READING,
        more="For a sample of large networks, or of runs in a store that counts what is moved. "
        "What is left out is told.",
    )
    split: tuple[tuple[str, int, int], ...] = option(
        (),
        "Cut a fused tensor: 'REGEX=AXIS:PARTS', e.g. 'c_attn=1:3'.",
        panel=READING,
        parse=_split_rule,
        write=_split_word,
        more="From Python: (regular expression, axis, number of equal parts).",
    )
    heads: int | None = option(
        None,
        "Heads of attention in a layer, for the metrics of the family 'attention'.",
        panel=READING,
        least=1,
        more="Needed where neither the tensors nor a ``config.json`` beside a checkpoint tell.",
    )
    roles: Path | None = option(
        None,
        "A file of rules (TOML) that tell what weights do, where their names do not.",
        panel=READING,
        more="For ``by`` and for the family 'attention'. Its splits and heads count where "
        "``split`` and ``heads`` say nothing else.",
    )
    cyclic: int | None = option(
        None,
        "The embedding's first P rows are the numbers modulo P, for the family 'fourier'.",
        panel=READING,
        least=3,
    )
    spectrum: str = option(
        EXACT,
        "'sketch' the singular values of large matrices, right to about 1 %, instead of 'exact'.",
        panel=READING,
        choices=SPECTRA,
        more="Large is a shorter side of 2,048 or more. A sketch takes a tenth of the time, "
        "and starts from the same vectors at every checkpoint: the error is common to all of them.",
    )
    metrics: tuple[str, ...] = option(
        (),
        "Metrics and families of metrics, with commas between: 'paper,movement'.",
        panel=WHAT,
        commas=True,
        more="Where none is named, the paper's fourteen are measured of checkpoints, and all "
        "columns of a table are taken. ``hmmdyn metrics`` lists them.",
    )
    metrics_from: Path | None = option(
        None,
        "A Python file of metrics of your own, which is executed.",
        panel=READING,
        more="Its functions carry ``@hmmdyn.metric(needs=…)``; they are a family called as the "
        "file, and have to be named in ``metrics`` as others have.",
    )
    metrics_table: Path | None = option(
        None,
        "A table of further metrics (CSV, Parquet, …), joined on run and step.",
        panel=WHAT,
        more="A local learning coefficient or measures of the loss landscape, say. Its runs are "
        "told by name or seed; its columns are used unless ``metrics`` names others.",
    )
    by: tuple[str, ...] = option(
        (),
        "Also measure the parts of the network: by 'layer', by 'role' (q, k, v, mlp in, …), or "
        "'layer,role'.",
        panel=READING,
        choices=PARTS_BY,
        commas=True,
    )
    drop_metrics: tuple[str, ...] = option(
        (), "Metrics to leave out.", panel=WHAT, flag="--drop-metric"
    )
    keep_metrics: tuple[str, ...] = option(
        (),
        "Metrics to use although they tell seeds apart before training has begun.",
        panel=WHAT,
        flag="--keep-metric",
        more="Pooled standardisation leaves such metrics out by name, unless they are named here "
        "or in ``metrics``.",
    )
    exclude_runs: tuple[str, ...] = option(
        (), "Runs to leave out: run, or group/run.", panel=WHAT, flag="--exclude-run"
    )
    step_column: str | None = option(
        None,
        "Column of a table that counts training; recognised by its name where None.",
        panel=WHAT,
        more="``step``, ``epoch``, ``tokens``, ``samples``, ``env_steps`` and others are known.",
    )
    outcome_columns: tuple[str, ...] = option(
        (),
        "Columns of a table that are outcomes, though their names do not say so.",
        panel=WHAT,
        flag="--outcome-column",
    )
    max_states: int = option(8, "Try 1 to this many states.", panel=STATES, least=1)
    n_states: int | None = option(
        None,
        "Tell this many states instead.",
        panel=STATES,
        least=1,
        flag="--states",
        more='Under ``protocol="supported"`` it is a level of the zoom around the supported map, '
        "as :meth:`hmmdyn.Analysis.at` gives it; else a model of exactly so many states is fitted.",
    )
    covariance: str = option(
        "diag", "Covariance of the metrics in a state.", panel=STATES, choices=COVARIANCE_TYPES
    )
    standardise: str = option(
        "pooled",
        "Scale all runs together (pooled), each compared with its own start first (log-start), or "
        "each by itself (run), which knows its run's future.",
        panel=STATES,
        choices=STANDARDISATIONS,
        more="Use ``log-start`` for groups of different widths or levels. It takes the logarithm "
        "of how many times a metric is what it was at the run's start, or the difference where a "
        "metric is not positive throughout; all runs must begin at one step.",
    )
    standardise_first: int | None = option(
        None, "Scale by the first N checkpoints of a run.", panel=STATES, least=2
    )
    log_metrics: tuple[str, ...] = option(
        (),
        "Positive metrics to take the logarithm of, with commas between.",
        panel=STATES,
        commas=True,
        more="Use it for metrics that span orders of magnitude within a run, as losses and "
        "curvatures do: on one scale all their small values are alike. ``log-start`` takes "
        "logarithms by itself.",
    )
    protocol: str = option(
        "supported",
        "Keep the states whose boundaries are supported by how runs cross them; or choose their "
        "number by BIC of all runs, or as the paper does, of one run in five, held out.",
        panel=STATES,
        choices=PROTOCOLS,
        more="``supported`` needs a scale without the future (not ``run``) and the plain model or "
        "``left_right``.",
    )
    restarts: int = option(10, "EM starts per number of states.", panel=STATES, least=1)
    quick: bool = option(
        False,
        "Do not weigh the number of states (held-out runs, repeats), which takes most of the time.",
        panel=EFFORT,
        more="The other covariance type and diagnostics are left out, too.",
    )
    map_per_group: bool = option(
        False, "Fit each group a map of its own, beside that of all groups together.", panel=EFFORT
    )
    seed: int = option(
        0,
        "Seed of every random choice.",
        panel=EFFORT,
        least=0,
        more="Same input, same seed, same bytes.",
    )
    outcome: str | None = option(None, "The outcome that tells convergence.", panel=CONVERGENCE)
    threshold: float | None = option(
        None, "Converged when the outcome crosses this.", panel=CONVERGENCE
    )
    direction: str | None = option(
        None,
        "The side of the threshold where a run has converged: above (accuracy) or below (loss).",
        panel=CONVERGENCE,
        choices=DIRECTIONS,
    )
    sustained: int = option(
        1,
        "… at so many checkpoints in a row.",
        panel=CONVERGENCE,
        least=1,
        more="See :func:`hmmdyn.dynamics.convergence.measure_convergence`.",
    )
    margin: float | None = option(
        None,
        "Test whether groups are slower than others by no more than this share (0.1 is 10 %).",
        panel=CONVERGENCE,
        least=0,
        more="See :func:`hmmdyn.dynamics.speed.compare_speed`.",
    )

    def __new__(cls, **given: Any) -> Options:
        """Refuse what is no option before anything else can stumble over it."""
        require_known(given, [f.name for f in fields(cls)], "option")
        return super().__new__(cls)

    def __post_init__(self) -> None:
        """Reject what can never work where it was given, before any work is done."""
        check(self)
        if self.log_metrics and self.standardise == "log-start":
            raise UsageError(
                "The logarithm is taken of every positive metric where each run is compared with "
                "its own start. Leave out ",
                Remedy("log_metrics"),
                ", or use ",
                Remedy("standardise", "pooled"),
                ".",
            )
        if self.protocol != "supported":
            return
        if self.standardise == "run":
            raise UsageError(
                "What supports a boundary is only seen where no value knows its run's future. Use ",
                Remedy("standardise", "pooled"),
                ", or ",
                Remedy("protocol", "bic"),
                ".",
            )
        if replace(self.model, left_right=False) != ModelOptions():
            raise UsageError(
                "Supported states are merged from the plain model, or from one in order of time (",
                Remedy("left_right", True),
                "). Leave out what goes beyond it, or use ",
                Remedy("protocol", "bic"),
                ".",
            )

    @classmethod
    def of(cls, given: Options | None) -> Options:
        """Return the options given to a function, the defaults for None.

        Raises
        ------
        UsageError
            Something else was given.
        """
        if given is None:
            return cls()
        if not isinstance(given, Options):
            meant = given if given and isinstance(given, dict) else {"max_states": 4}
            example = ", ".join(f"{name}={value!r}" for name, value in meant.items())
            raise UsageError(
                f"'options' must be hmmdyn.Options, got {given!r}. "
                f"Write options=hmmdyn.Options({example}), for instance."
            )
        return given

    @property
    def candidates(self) -> range:
        """The numbers of states to try."""
        if self.n_states is None:
            return range(1, self.max_states + 1)
        if self.protocol == "supported":  # a level of the zoom, which begins with the finest map
            return range(1, max(self.max_states, self.n_states) + 1)
        return range(self.n_states, self.n_states + 1)

    def changed(self, **changes: Any) -> Options:
        """Return a copy with some options changed.

        Raises
        ------
        UsageError
            There is no such option, or its value is of the wrong type or out of range.
        """
        return Options(**vars(self) | changes)

    def require_fit_for(self, kind: str, source: str) -> None:
        """Reject options that only mean something for another kind of source.

        ``kind`` is ``FOLDER`` or ``TABLE``; ``source`` is what to call it.

        Raises
        ------
        UsageError
        """
        for other, options in _READ_BY.items():
            given = [Remedy(one.name) for one in options if one.name in self.set_by_user()]
            if given and other != kind:
                raise UsageError(
                    *[part for one in given for part in (", ", one)][1:],
                    f" tells how {other} is read, and {source} is {kind}. ",
                    _OUTCOMES[kind],
                )

    def require_nothing_of_states(self) -> None:
        """Reject options of states where there are none: the runs have outcomes and no metrics.

        Raises
        ------
        UsageError
        """
        given = [one for one in _OF_STATES if one.name in self.set_by_user()]
        if given:
            raise UsageError(
                "These runs have outcomes and no metrics of their weights, so there are no states "
                "to find. Leave out ",
                *[part for one in given for part in (", ", Remedy(one.name))][1:],
                ".",
            )

    @property
    def model(self) -> ModelOptions:
        """What the model assumes beyond the plain one."""
        return ModelOptions(**{f.name: getattr(self, f.name) for f in fields(ModelOptions)})

    def command_line(self) -> list[str]:
        """Return the words that give these options to ``hmmdyn analyze``."""
        given = self.set_by_user()
        return [w for o in OPTIONS if o.name in given for w in o.words(getattr(self, o.name))]

    def set_by_user(self) -> dict[str, Any]:
        """Return the options that differ from their defaults, as plain JSON values."""
        values = {o.name: getattr(self, o.name) for o in OPTIONS}
        return {
            o.name: str(values[o.name]) if o.kind is Path else values[o.name]
            for o in OPTIONS
            if values[o.name] != o.default
        }


OPTIONS: tuple[Option, ...] = options_of(Options)
_READ_BY = {
    FOLDER: [one for one in OPTIONS if one.panel == READING],
    TABLE: [one for one in OPTIONS if one.name in ("outcome_columns", "step_column")],
}

_OF_STATES = [
    one
    for one in OPTIONS
    if one.panel in (STATES, MODEL)
    or one.name in ("metrics", "drop_metrics", "keep_metrics", "map_per_group")
]


def as_typed(text: str) -> str:
    """Return a text as it is told at the command line: its remedies are flags."""
    return text.typed(_flag) if isinstance(text, Message) else text


def _flag(remedy: Remedy) -> str:
    (one,) = (one for one in OPTIONS if one.name == remedy.option)
    return one.flag if remedy.value is None else shlex.join(one.words(remedy.value))
