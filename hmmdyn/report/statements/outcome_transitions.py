"""When losses and accuracies pass from one level to another, and which states go with that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from hmmdyn.report import words
from hmmdyn.report.lookup import full_run_names, rows
from hmmdyn.report.statements.statement import Statement
from hmmdyn.results.findings import OutcomeFindings
from hmmdyn.results.keys import RUN_KEY
from hmmdyn.results.outcomes import OutcomeTransitions
from hmmdyn.roles import better_side

_TOPIC = "Outcome transitions"
_SIGNIFICANT = 0.05
_OUTCOMES_SAID = 3  # where none is known to be on training or held-out data
_MATCHES_SAID = 2  # changes of state named for one outcome
_GROKKING = (
    "Memorisation is the transition of the training outcome, generalisation that of the held-out "
    "one; the delay runs from the steepest step of the one to that of the other. A training "
    "outcome that improves from the first checkpoint on counts from where half of its way is done, "
    "if it has levelled off before generalisation begins. It is grokking where memorisation was "
    "over (90 % of its change) before generalisation began (10 %)."
)
_TOGETHER = (
    "A change of state goes with a transition where it lies within a tenth of the run from it. "
    "Leads are medians over these runs with a 95 % interval, which takes six runs or more. Runs "
    "that keep one schedule go together without one thing having to do with the other. So it is "
    "asked whether the change of state is as close to the outcome's transition when it is taken "
    "from another run of the group (permutation test, p corrected over all changes and outcomes). "
    "Neither shows a cause, and states, decoded from whole runs, know a little of each run's "
    "future."
)
_EXCURSION = (
    "A loss leaves its level where it rises, from one evaluation to the next, by far more than "
    "those before it scatter. A spike is back within a tenth of the run; a divergence is not."
)


def say(findings: OutcomeFindings) -> Iterator[Statement]:
    """Say when outcomes pass a transition, what goes with it, and where losses spike."""
    found = findings.outcome_transitions
    if found is None:
        return
    yield from _when(findings, found)
    yield from _grokking(findings, found)
    yield from _together(findings, found)
    yield from _spikes(findings, found)


def _when(findings: OutcomeFindings, found: OutcomeTransitions) -> Iterator[Statement]:
    """Say how many runs have a transition of which outcome, and when."""
    known = [o for o in findings.outcomes if np.isfinite(findings.table[o]).any()]
    said = [found.held_out] if found.held_out else known[:_OUTCOMES_SAID]
    n_runs = len(findings.table[RUN_KEY].drop_duplicates())
    explanation = found.how
    for outcome in said:
        main = found.improvements[found.improvements["outcome"] == outcome]
        yield Statement(
            _TOPIC, _improvement(words.name(outcome, 30), main, n_runs, findings), explanation
        )
        explanation = ""


def _improvement(name: str, main: pd.DataFrame, n_runs: int, findings: OutcomeFindings) -> str:
    """Say when an outcome makes its largest improvement, from its row of the table if any."""
    if main.empty:
        return (
            f"{name} has no transition in any run: it improves steadily or from its first "
            "checkpoint on, not clearly more than it scatters, not to a level it keeps, or is "
            "known at too few checkpoints to tell."
        )
    times, unit = next(rows(main)), findings.step_unit
    low, middle, high = map(words.count, (times.first_step, times.median_step, times.last_step))
    steps = middle if low == high else f"{middle} (median; {low} to {high})"
    return (
        f"{name} has a transition in {words.of_runs(times.n_runs, n_runs)}, at {unit} "
        f"{steps}; it takes {words.count(times.duration)} {unit}s (10 % to 90 % of its change"
        f"{', median' if times.n_runs > 1 else ''})."
    )


def _grokking(findings: OutcomeFindings, found: OutcomeTransitions) -> Iterator[Statement]:
    """Say whether runs memorise first and generalise later, and how long they take to."""
    delays, unit = found.delays, findings.step_unit
    if delays.empty:
        return
    names = full_run_names(findings)
    training, held_out = words.name(found.training, 30), words.name(found.held_out, 30)
    came = delays[~delays["censored"]]
    late = came[came["grokking"]].sort_values("delay", kind="stable")
    how_many = "all" if len(late) == len(came) else len(late) or "none"
    both = f"In {how_many} of the {words.plural(len(came), 'run')} in which both can be dated"
    if len(came) == 1:
        both = "In the one run in which both can be dated"
    if len(late):
        delay = f"{words.count(found.grokking_delay)} {unit}s"
        if len(late) > 1:
            fastest, slowest = (
                f"{words.count(run.delay)} ({names[run.group, run.run]})"
                for run in rows(late.iloc[[0, -1]])
            )
            delay += f" in median, from {fastest} to {slowest}"
        text = (
            f"{both}, {training} had levelled off before {held_out} began to improve: grokking. "
            f"The delay between the two is {delay}."
        )
    elif len(came):
        text = (
            f"{both} had {training} levelled off before {held_out} began to improve: no grokking."
        )
    else:
        text = ""
    if text:
        yield Statement(_TOPIC, text, _GROKKING, brief=text)
    waiting = delays[delays["censored"]]
    if len(waiting):
        which = words.listing(
            f"{names[run.group, run.run]} (after {words.count(run.delay)} {unit}s)"
            for run in rows(waiting)
        )
        yield Statement(
            _TOPIC,
            f"{words.plural(len(waiting), 'run')} had memorised but not generalised when "
            f"{'it' if len(waiting) == 1 else 'they'} ended: {which}.",
        )


def _together(findings: OutcomeFindings, found: OutcomeTransitions) -> Iterator[Statement]:
    """Say which changes of state accompany the transitions, in half of the runs or more."""
    outcomes = [o for o in (found.training, found.held_out) if o]
    outcomes = outcomes or list(findings.outcomes[:_OUTCOMES_SAID])
    explanation = _TOGETHER
    for outcome in outcomes:
        own = found.matches[found.matches["outcome"] == outcome]
        own = own[(own["n_total"] > 1) & (2 * own["n_runs"] >= own["n_total"])]
        order = own.assign(distance=own["lead"].abs()).sort_values(
            ["n_runs", "distance"], ascending=[False, True], kind="stable"
        )
        for match in rows(order.head(_MATCHES_SAID)):
            yield Statement(_TOPIC, _match(match, findings.step_unit), explanation)
            explanation = ""


def _match(match: Any, unit: str) -> str:
    what = f"the {match.role} transition of" if match.role else "the transition of"
    side = "leading" if match.lead >= 0 else "following"
    # Seen from the change that follows, the interval is mirrored.
    low, high = sorted(np.copysign(1, match.lead) * np.array([match.lead_low, match.lead_high]))
    interval = (
        "" if np.isnan(low) else f" [{words.number(round(low))}, {words.number(round(high))}]"
    )
    if np.isnan(match.p):
        than_chance = "So few runs cannot tell that from a common schedule."
    elif match.p_corrected < _SIGNIFICANT:
        than_chance = (
            "They go together run by run, more closely than a common schedule gives "
            f"({words.p_value(match.p_corrected)})."
        )
    else:
        than_chance = (
            "That cannot be told from a common schedule of all runs "
            f"({words.p_value(match.p_corrected)})."
        )
    runs = words.of_runs(match.n_runs, match.n_total)
    return (
        f"State transition {match.from_state} → {match.to_state} accompanies {what} "
        f"{words.name(match.outcome, 30)} in {runs}, {side} it by "
        f"{words.count(abs(match.lead))} {unit}s{interval}. {than_chance}"
    )


def _spikes(findings: OutcomeFindings, found: OutcomeTransitions) -> Iterator[Statement]:
    """Say which losses left their level, and name the runs."""
    losses = [
        o
        for o in findings.outcomes
        if better_side(o) == "below" and findings.table[o].notna().any()
    ]
    if not losses:
        return
    if found.spikes.empty:
        yield Statement(_TOPIC, "No loss is seen to spike or diverge.", _EXCURSION)
        return
    names = full_run_names(findings)
    explanation = _EXCURSION
    for (outcome, kind), own in found.spikes.groupby(["outcome", "kind"], sort=False):
        highest = next(rows(own.sort_values("height", ascending=False, kind="stable")))
        times = Counter((run.group, run.run) for run in rows(own))
        which = words.listing(
            names[key] + (f" ({n} times)" if n > 1 else "") for key, n in times.items()
        )
        text = f"{words.name(outcome, 30)} has {words.plural(len(own), str(kind))}: {which}."
        yield Statement(
            _TOPIC,
            f"{text} The highest is {words.number(highest.height, 3)} above its level, in "
            f"{names[highest.group, highest.run]} at {findings.step_unit} "
            f"{words.count(highest.step)}.",
            explanation,
            brief=text,
        )
        explanation = ""
