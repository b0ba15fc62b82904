"""Outcome transitions: memorisation, generalisation, the delay between them, spikes.

Curves of losses and accuracies are read one by one (:mod:`hmmdyn.dynamics.outcomes.inflections`,
:mod:`hmmdyn.dynamics.outcomes.spikes`); here they become statements about runs, and are matched to
changes of state (:mod:`hmmdyn.dynamics.outcomes.matching`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict

import numpy as np
import pandas as pd

from hmmdyn.dynamics.convergence import choose_outcome, run_name
from hmmdyn.dynamics.outcomes import inflections as rules
from hmmdyn.dynamics.outcomes.curves import Curve, curves_of, of_outcome
from hmmdyn.dynamics.outcomes.delays import find_delays, generalisations, memorisations
from hmmdyn.dynamics.outcomes.inflections import Inflection, inflections, is_logarithmic
from hmmdyn.dynamics.outcomes.matching import match_transitions
from hmmdyn.dynamics.outcomes.medians import median_interval
from hmmdyn.dynamics.outcomes.spikes import (
    COMMON,
    NOTABLE,
    OVERFITTING,
    PRECEDING,
    RISE,
    SPIKE,
    UNUSUAL,
    Excursion,
    excursions,
)
from hmmdyn.names import some
from hmmdyn.results.columns import RUN_COLUMNS, Table
from hmmdyn.results.keys import RUN_KEY
from hmmdyn.results.notice import Notice
from hmmdyn.results.outcomes import (
    IMPROVEMENTS,
    MATCHES,
    OUTCOME_TRANSITIONS,
    SPIKES,
    OutcomeTransitions,
)
from hmmdyn.roles import better_side, data_split, is_plain_loss

MEMORISATION, GENERALISATION = "memorisation", "generalisation"
_ROLES = {"train": MEMORISATION, "eval": GENERALISATION, "": ""}

# What is matched to changes of state.
_EVENTS = Table(
    name="events",
    title="Main transition of every run and outcome",
    rows="run and outcome",
    columns=(
        *RUN_COLUMNS,
        *(
            c
            for c in OUTCOME_TRANSITIONS.columns
            if c.name in ("outcome", "role", "step", "step_low", "step_high")
        ),
    ),
)


def find_outcome_transitions(
    table: pd.DataFrame,
    outcomes: Sequence[str],
    change_points: pd.DataFrame | None,
    *,
    step_unit: str = "step",
    random_state: int = 0,
) -> OutcomeTransitions:
    """Find the transitions and spikes of outcomes, and the changes of state that go with them.

    Parameters
    ----------
    table : DataFrame
        ``group, run, seed, step`` and the outcome columns, sorted by run and step. NaN: not
        evaluated at that checkpoint.
    outcomes : sequence of str
        The outcome columns; there may be none.
    change_points : DataFrame or None
        See :data:`.results.transitions.CHANGE_POINTS`; None where there are no states.
    step_unit : str
        What training is counted in.
    random_state : int
        Of the pairings that matches are tested by.

    Notes
    -----
    Outcomes are taken as they are, losses too: on a logarithmic scale, noise about a loss of
    nearly zero would be what moves most.

    What memorisation and generalisation are is said in :mod:`hmmdyn.dynamics.outcomes.delays`.
    """
    logarithmic = has_logarithmic_clock(table)
    curves = list(curves_of(table, outcomes))
    found = {c: inflections(*c.finite(), logarithmic) for c in curves}
    largest = {c: best for c in curves if (best := _largest(c, found[c])) is not None}
    training, held_out = _pair(table, outcomes)
    trained, tested = of_outcome(curves, training), of_outcome(curves, held_out)
    generalised = generalisations(tested, largest)
    memorised = memorisations(trained, largest, generalised)
    main = largest | memorised
    for curve, rise in memorised.items():
        found[curve] = [rise, *found[curve]]
    rows = [
        {
            **curve.labels,
            "role": _role(curve) if one is main.get(curve) else "",
            "from_start": one is memorised.get(curve),
            **asdict(one),
            "change": one.change,
        }
        for curve in curves
        for one in found[curve]
    ]
    transitions = OUTCOME_TRANSITIONS.frame(rows)
    delays = find_delays(trained, tested, main, generalised)
    grokking = delays[delays["grokking"]]
    low, high = median_interval(grokking["delay_low"].to_numpy(), grokking["delay_high"].to_numpy())
    return OutcomeTransitions(
        training=training,
        held_out=held_out,
        transitions=transitions,
        improvements=_improvements(transitions),
        delays=delays,
        grokking_delay=float(grokking["delay"].median()),
        grokking_delay_low=low,
        grokking_delay_high=high,
        spikes=_spikes(curves),
        matches=MATCHES.frame()
        if change_points is None
        else match_transitions(
            _events(table, main), change_points, logarithmic=logarithmic, random_state=random_state
        ),
        how=_in_words(logarithmic, step_unit),
        notices=(
            *_notices(table, curves, outcomes),
            *_undated(
                [
                    trained[key]
                    for key in generalised
                    if key in trained and trained[key] not in main
                ],
                several_groups=table["group"].nunique() > 1,
            ),
        ),
    )


def has_logarithmic_clock(table: pd.DataFrame) -> bool:
    """Whether most runs were saved at widening intervals."""
    kinds = [is_logarithmic(steps.to_numpy()) for _, steps in table.groupby(RUN_KEY)["step"]]
    return bool(np.median(kinds) > 0.5)


def _largest(curve: Curve, found: Iterable[Inflection]) -> Inflection | None:
    """Return the transition that improves the outcome most."""
    better = [one for one in found if one.change * curve.improving > 0]
    return max(better, key=lambda one: abs(one.change), default=None)


def _pair(table: pd.DataFrame, outcomes: Sequence[str]) -> tuple[str, str]:
    """Choose the outcomes that stand for training and for held-out data; empty without both."""
    known = [o for o in outcomes if np.isfinite(table[o]).any()]
    train = [o for o in known if data_split(o) == "train"]
    held_out = [o for o in known if data_split(o) == "eval"]
    if not train or not held_out:
        return "", ""
    return choose_outcome(table, train), choose_outcome(table, held_out)


def main_improvements(transitions: pd.DataFrame) -> pd.DataFrame:
    """Return the largest improvement of every run and outcome that has one, in their order."""
    is_rise = [better_side(str(outcome)) == "above" for outcome in transitions["outcome"]]
    better = transitions["change"] * np.where(is_rise, 1, -1)
    largest = transitions.assign(better=better)[better > 0].sort_values(
        "better", ascending=False, kind="stable"
    )
    main = largest.drop_duplicates([*RUN_KEY, "outcome"])
    return main.drop(columns="better").sort_index()


def _improvements(transitions: pd.DataFrame) -> pd.DataFrame:
    """Summarise over runs when each outcome makes its largest improvement."""
    rows = [
        {
            "outcome": outcome,
            "n_runs": len(main),
            "first_step": main["step"].min(),
            "median_step": main["step"].median(),
            "last_step": main["step"].max(),
            "duration": (main["end"] - main["start"]).median(),
        }
        for outcome, main in main_improvements(transitions).groupby("outcome", sort=False)
    ]
    return IMPROVEMENTS.frame(rows)


def _spikes(curves: Sequence[Curve]) -> pd.DataFrame:
    found = {c: excursions(c.values) for c in curves if c.improving < 0}
    training: dict[tuple[str, str], list[Curve]] = {}
    for curve in curves:
        if data_split(curve.outcome) == "train":
            training.setdefault((curve.group, curve.run), []).append(curve)
    rows = []
    for curve, own in found.items():
        alike = [(c, ones) for c, ones in found.items() if c.is_alike(curve)]
        for one in own:
            kind = _kind(curve, one, training.get((curve.group, curve.run), []))
            # What is not known to be lowered by training may be meant to rise.
            if kind != SPIKE and np.isfinite(one.height) and not is_plain_loss(curve.outcome):
                continue
            around = curve.steps[[max(0, one.first - 1), min(one.first + 1, len(curve.steps) - 1)]]
            rows.append(
                {
                    **curve.labels,
                    "kind": kind,
                    "step": curve.steps[one.first],
                    "end_step": curve.steps[one.after] if one.returned else np.nan,
                    "n_checkpoints": one.after - one.first,
                    "level": one.level,
                    "height": one.height,
                    "n_together": sum(c.leaves_within(ones, *around) for c, ones in alike),
                    "n_total": len(alike),
                }
            )
    return SPIKES.frame(rows)


def _kind(curve: Curve, one: Excursion, training: Sequence[Curve]) -> str:
    """Return what an excursion is, by what the run's training outcomes do meanwhile.

    A held-out loss that rises while they do not is overfitting; where there are none, that cannot
    be told from a divergence, and it is said to rise.
    """
    if one.kind == SPIKE or np.isinf(one.height) or data_split(curve.outcome) != "eval":
        return one.kind
    if not training:
        return RISE
    last = curve.steps[min(one.after, len(curve.steps)) - 1]
    worse = any(c.worsens(curve.steps[one.first], last) for c in training)
    return one.kind if worse else OVERFITTING


def _events(table: pd.DataFrame, main: dict[Curve, Inflection]) -> pd.DataFrame:
    """Return the main transition of every run and outcome, with the run's first and last step."""
    rows = [{**c.labels, "role": _role(c), **asdict(one)} for c, one in main.items()]
    ends = table.groupby(RUN_KEY, sort=False)["step"].agg(first_step="first", last_step="last")
    return _EVENTS.frame(rows).merge(ends.reset_index(), on=RUN_KEY)


def _role(curve: Curve) -> str:
    """Return what the largest improvement of the outcome is called."""
    return _ROLES[data_split(curve.outcome)]


def _notices(
    table: pd.DataFrame, curves: Iterable[Curve], outcomes: Sequence[str]
) -> tuple[Notice, ...]:
    several_groups = table["group"].nunique() > 1
    notices = []
    for outcome in outcomes:
        few = [
            run_name(c.group, c.run, several_groups=several_groups)
            for c in curves
            if c.outcome == outcome and np.isfinite(c.values).sum() < rules.MIN_EVALUATIONS
        ]
        if few:
            message = (
                f"It has fewer than {rules.MIN_EVALUATIONS} finite values in the curves of "
                f"{some(few)}: nothing can be said of its transitions there."
            )
            notices.append(Notice("statements", "limit", f"outcome {outcome}", message))
        too_good = np.inf if better_side(outcome) == "above" else -np.inf
        n_too_good = int((table[outcome] == too_good).sum())
        if n_too_good:
            message = (
                f"Evaluations at which it is {too_good:g}: {n_too_good:,}. They count as not "
                "evaluated where transitions and spikes are looked for."
            )
            notices.append(Notice("statements", "odd", f"outcome {outcome}", message))
    return tuple(notices)


def _undated(curves: Sequence[Curve], *, several_groups: bool) -> Iterator[Notice]:
    """Name runs that generalise, or have not, but of which it is not known when they memorised."""
    if curves:
        runs = [run_name(c.group, c.run, several_groups=several_groups) for c in curves]
        message = f"When it levelled off cannot be dated in {some(runs)}: they are in no delay."
        yield Notice("statements", "limit", f"outcome {curves[0].outcome}", message)


def _in_words(logarithmic: bool, unit: str) -> str:
    clock = (
        f"the logarithm of 1 + {unit}, because evaluations lie further and further apart, and then "
        f"in {unit}s, for what is fast late in training"
        if logarithmic
        else f"{unit}s"
    )
    return (
        f"Time is counted in {clock}. A curve is freed from spikes by a running median of "
        f"{rules.MEDIAN_OF} evaluations and smoothed by straight lines through windows of "
        f"{rules.BANDWIDTH:.0%} of its evaluations to each side. A transition is a peak of the "
        f"slope that covers at least {rules.SHARE:.0%} of the curve's whole way, does 10 % to 90 % "
        f"of its change in {rules.FAST:.0%} of the run or less, and has calm in the "
        f"{rules.STRETCH:.0%} of the run before and after it: there the curve moves by no more "
        f"than {rules.CALM:.0%} of its change. A loss leaves its level where it exceeds "
        f"the median of the {PRECEDING} evaluations before by more than {UNUSUAL:g} robust "
        f"standard deviations, also of its logarithm, and {NOTABLE:.0%} of its way down, or is "
        f"infinite; not where more than {COMMON:.0%} of its evaluations do so."
    )
