"""Outcome transitions: memorisation, generalisation, the delay between them, spikes.

Curves of losses and accuracies are read one by one (:mod:`hmmdyn.dynamics.outcomes.inflections`,
:mod:`hmmdyn.dynamics.outcomes.spikes`); here they become statements about runs, and are matched to
changes of state (:mod:`hmmdyn.dynamics.outcomes.matching`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from hmmdyn.dynamics.convergence import choose_outcome, run_name
from hmmdyn.dynamics.outcomes import inflections as rules
from hmmdyn.dynamics.outcomes.inflections import (
    Inflection,
    inflections,
    is_logarithmic,
    rise_from_start,
)
from hmmdyn.dynamics.outcomes.matching import match_transitions
from hmmdyn.dynamics.outcomes.spikes import NOTABLE, PRECEDING, UNUSUAL, excursions
from hmmdyn.names import some
from hmmdyn.results.arrays import FloatArray
from hmmdyn.results.columns import RUN_COLUMNS, Table
from hmmdyn.results.keys import RUN_KEY
from hmmdyn.results.notice import Notice
from hmmdyn.results.outcomes import (
    DELAYS,
    IMPROVEMENTS,
    MATCHES,
    OUTCOME_TRANSITIONS,
    SPIKES,
    OutcomeTransitions,
)
from hmmdyn.roles import better_side, data_split

MEMORISATION, GENERALISATION = "memorisation", "generalisation"
_ROLES = {"train": MEMORISATION, "eval": GENERALISATION, "": ""}
_LAST = 5  # evaluations whose median is the level a run ends at

# What is matched to changes of state.
_EVENTS = Table(
    name="events",
    title="Main transition of every run and outcome",
    rows="run and outcome",
    columns=(
        *RUN_COLUMNS,
        *(c for c in OUTCOME_TRANSITIONS.columns if c.name in ("outcome", "role", "step")),
    ),
)


@dataclass(frozen=True, eq=False)
class _Curve:
    """An outcome of a run where it was evaluated: ``steps`` and ``values`` have shape (n,).

    Values may be infinite. ``improving`` is +1 where higher is better, else -1.
    """

    group: str
    run: str
    seed: object
    outcome: str
    steps: FloatArray
    values: FloatArray
    improving: int

    @property
    def labels(self) -> dict[str, object]:
        """The columns that say whose curve it is."""
        return {"group": self.group, "run": self.run, "seed": self.seed, "outcome": self.outcome}

    def finite(self, until: float = np.inf) -> tuple[FloatArray, FloatArray]:
        """Steps and values where the value is finite, up to a step."""
        kept = np.isfinite(self.values) & (self.steps <= until)
        return self.steps[kept], self.values[kept]


def find_outcome_transitions(
    table: pd.DataFrame,
    outcomes: Sequence[str],
    change_points: pd.DataFrame | None,
    *,
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
    random_state : int
        Of the pairings that matches are tested by.

    Notes
    -----
    Outcomes are taken as they are, losses too: on a logarithmic scale, noise about a loss of
    nearly zero would be what moves most.

    A run has *generalised* where its held-out outcome has an improving transition; of several the
    largest counts. It has not (its delay is censored) where it ends nearer to the level from which
    runs of the table generalise than to that which they reach. It has *memorised* where its
    training outcome has an improving transition, or improves from the first checkpoint on and
    levels off before generalisation begins: then no calm was seen before it.
    """
    logarithmic = _has_logarithmic_clock(table)
    curves = list(_curves(table, outcomes))
    found = {c: inflections(*c.finite(), logarithmic) for c in curves}
    largest = {c: best for c in curves if (best := _largest(c, found[c])) is not None}
    training, held_out = _pair(table, outcomes)
    memorised = _memorised(curves, largest, training, held_out)
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
    delays = _delays(curves, main, training, held_out)
    grokking = delays[delays["grokking"] & ~delays["censored"]]
    return OutcomeTransitions(
        training=training,
        held_out=held_out,
        transitions=transitions,
        improvements=_improvements(transitions),
        delays=delays,
        grokking_delay=float(grokking["delay"].median()),
        spikes=_spikes(curves),
        matches=MATCHES.frame()
        if change_points is None
        else match_transitions(
            _events(table, main), change_points, logarithmic=logarithmic, random_state=random_state
        ),
        how=_in_words(logarithmic),
        notices=_notices(table, curves, outcomes),
    )


def _has_logarithmic_clock(table: pd.DataFrame) -> bool:
    """Whether most runs were saved at widening intervals."""
    kinds = [is_logarithmic(steps.to_numpy()) for _, steps in table.groupby(RUN_KEY)["step"]]
    return bool(np.median(kinds) > 0.5)


def _curves(table: pd.DataFrame, outcomes: Sequence[str]) -> Iterator[_Curve]:
    for key, own in table.groupby(RUN_KEY, sort=False):
        group, run = map(str, key)
        steps = own["step"].to_numpy(dtype=np.float64)
        for outcome in outcomes:
            improving = 1 if better_side(outcome) == "above" else -1
            values = own[outcome].to_numpy(dtype=np.float64)
            # Infinity the good way is no value; the bad way, it is a divergence.
            evaluated = ~np.isnan(values) & (improving * values < np.inf)
            yield _Curve(
                group,
                run,
                own["seed"].iloc[0],
                outcome,
                steps[evaluated],
                values[evaluated],
                improving,
            )


def _largest(curve: _Curve, found: Iterable[Inflection]) -> Inflection | None:
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


def _of(curves: Iterable[_Curve], outcome: str) -> dict[tuple[str, str], _Curve]:
    return {(c.group, c.run): c for c in curves if c.outcome == outcome}


def _memorised(
    curves: list[_Curve], largest: dict[_Curve, Inflection], training: str, held_out: str
) -> dict[_Curve, Inflection]:
    """Find training outcomes that rise from the start and level off before generalisation."""
    begins = _generalisation_begins(_of(curves, held_out), largest)
    found = {}
    for key, curve in _of(curves, training).items():
        if key in begins and curve not in largest:
            steps, values = curve.finite(until=begins[key])
            rise = rise_from_start(steps, values, falling=curve.improving < 0)
            if rise is not None:
                found[curve] = rise
    return found


def _generalisation_begins(
    held_out: dict[tuple[str, str], _Curve], largest: dict[_Curve, Inflection]
) -> dict[tuple[str, str], float]:
    """Return the step at which each run begins to generalise, infinite where it has not done so.

    Runs of which that cannot be said are left out: those that improve without a transition, and
    all of them where none has one.
    """
    seen = [largest[c] for c in held_out.values() if c in largest]
    if not seen:
        return {}
    halfway = np.median([(one.from_value + one.to_value) / 2 for one in seen])
    begins = {}
    for key, curve in held_out.items():
        _, values = curve.finite()
        if curve in largest:
            begins[key] = largest[curve].start
        elif (
            len(values) >= rules.MIN_EVALUATIONS
            and curve.improving * (np.median(values[-_LAST:]) - halfway) < 0
        ):
            begins[key] = np.inf
    return begins


def _delays(
    curves: list[_Curve], main: dict[_Curve, Inflection], training: str, held_out: str
) -> pd.DataFrame:
    held_out_curves = _of(curves, held_out)
    begins = _generalisation_begins(held_out_curves, main)
    rows = []
    for key, curve in _of(curves, training).items():
        if curve not in main or key not in begins:
            continue
        memorised, later = main[curve], held_out_curves[key]
        censored = later not in main
        until = later.steps[-1] if censored else main[later].step
        rows.append(
            {
                **curve.labels,
                "memorisation": memorised.step,
                "generalisation": np.nan if censored else until,
                "delay": until - memorised.step,
                "censored": censored,
                "grokking": not censored and memorised.end < begins[key],
            }
        )
    return DELAYS.frame(rows)


def _improvements(transitions: pd.DataFrame) -> pd.DataFrame:
    """Summarise over runs when each outcome makes its largest improvement."""
    rows: list[dict[str, object]] = []
    for outcome, own in transitions.groupby("outcome", sort=False):
        sign = 1 if better_side(str(outcome)) == "above" else -1
        better = own.assign(better=sign * own["change"]).query("better > 0")
        largest = better.sort_values("better", ascending=False, kind="stable")
        main = largest.drop_duplicates(RUN_KEY)
        if len(main):
            rows.append(
                {
                    "outcome": outcome,
                    "n_runs": len(main),
                    "first_step": main["step"].min(),
                    "median_step": main["step"].median(),
                    "last_step": main["step"].max(),
                    "duration": (main["end"] - main["start"]).median(),
                }
            )
    return IMPROVEMENTS.frame(rows)


def _spikes(curves: Iterable[_Curve]) -> pd.DataFrame:
    rows = []
    for curve in curves:
        if curve.improving > 0:
            continue
        for one in excursions(curve.values):
            rows.append(
                {
                    **curve.labels,
                    "kind": one.kind,
                    "step": curve.steps[one.first],
                    "end_step": curve.steps[one.after] if one.returned else np.nan,
                    "n_checkpoints": one.after - one.first,
                    "level": one.level,
                    "height": one.height,
                }
            )
    return SPIKES.frame(rows)


def _events(table: pd.DataFrame, main: dict[_Curve, Inflection]) -> pd.DataFrame:
    """Return the main transition of every run and outcome, with the run's first and last step."""
    rows = [{**c.labels, "role": _role(c), "step": one.step} for c, one in main.items()]
    ends = table.groupby(RUN_KEY, sort=False)["step"].agg(first_step="first", last_step="last")
    return _EVENTS.frame(rows).merge(ends.reset_index(), on=RUN_KEY)


def _role(curve: _Curve) -> str:
    """Return what the largest improvement of the outcome is called."""
    return _ROLES[data_split(curve.outcome)]


def _notices(
    table: pd.DataFrame, curves: Iterable[_Curve], outcomes: Sequence[str]
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
                f"It is known, and finite, at fewer than {rules.MIN_EVALUATIONS} checkpoints of "
                f"{some(few)}: nothing can be said of its transitions there."
            )
            notices.append(Notice("statements", "limit", f"outcome {outcome}", message))
        too_good = np.inf if better_side(outcome) == "above" else -np.inf
        n_too_good = int((table[outcome] == too_good).sum())
        if n_too_good:
            message = (
                f"Checkpoints at which it is {too_good:g}: {n_too_good:,}. They count as not "
                "evaluated where transitions and spikes are looked for."
            )
            notices.append(Notice("statements", "odd", f"outcome {outcome}", message))
    return tuple(notices)


def _in_words(logarithmic: bool) -> str:
    clock = (
        "the logarithm of 1 + step, because checkpoints lie further and further apart, and then in "
        "steps, for what is fast late in training"
        if logarithmic
        else "steps"
    )
    return (
        f"Time is counted in {clock}. A curve is freed from spikes by a running median of "
        f"{rules.MEDIAN_OF} checkpoints and smoothed by straight lines through windows of "
        f"{rules.BANDWIDTH:.0%} of its evaluations to each side. A transition is a peak of the "
        f"slope that covers at least {rules.SHARE:.0%} of the curve's whole way, does 10 % to 90 % "
        f"of its change in {rules.FAST:.0%} of the run or less, and has calm in the "
        f"{rules.STRETCH:.0%} of the run before and after it: there the curve moves by no more "
        f"than {rules.CALM:.0%} of its change. A loss spikes or diverges where it exceeds "
        f"the median of the {PRECEDING} evaluations before by more than {UNUSUAL:g} robust "
        f"standard deviations and {NOTABLE:.0%} of its way down, or is infinite."
    )
