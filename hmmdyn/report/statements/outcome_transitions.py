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
from hmmdyn.results.outcomes import OutcomeTransitions
from hmmdyn.roles import better_side

_TOPIC = "Outcome transitions"
_SIGNIFICANT = 0.05
_WANDERING = 0.1  # of random walks that look as if they had a transition, at most, by the study
_OUTCOMES_SAID = 3  # where none is known to be on training or held-out data
_MATCHES_SAID = 2  # changes of state named for one outcome
_GROKKING = (
    "Memorisation is the transition of the training outcome, generalisation that of the held-out "
    "one; the delay runs from the steepest step of the one to that of the other. A training "
    "outcome that improves from the first checkpoint on counts from where half of its way is done, "
    "if it has levelled off before generalisation begins. It is grokking where memorisation was "
    "over (90 % of its change) before generalisation began (10 %), and the held-out outcome had "
    "done no more than a fifth of its way by then. No delay is known better than evaluations allow."
)
_TOGETHER = (
    "A change of state goes with a transition where it lies within a tenth of the run from it. "
    "Leads are medians over these runs with a 95 % interval; with fewer than six runs, with all "
    "that evaluations leave open. Runs that keep one schedule, in steps or in shares of the run, "
    "go together without one thing having to do with the other. So it is asked whether the change "
    "of state is as close to the outcome's transition when it is taken from another run of the "
    "group (permutation test, p corrected over all changes and outcomes). Neither shows a cause, "
    "and states, decoded from whole runs, know a little of each run's future."
)
_EXCURSION = (
    "A loss leaves its level where it rises, from one evaluation to the next, by far more than "
    "those before it scatter. A spike is back within a tenth of the run. A divergence is not back "
    "when the run ends, and has lost a tenth of its way down or more. A held-out loss that is not "
    "back so soon, while training outcomes are not worse, is overfitting. Any other loss that is "
    "not back so soon is said to rise; of those that training may not be meant to lower, such as "
    "progress measures, only spikes are told."
)
_BOUNDED = 6  # runs that bound their median
_AT_ONCE = 3  # runs whose losses rise together, from which on that is worth a word
_KINDS = {
    "spike": "{outcome} spikes {times}",
    "rise": "{outcome} rises for longer than a spike {times}",
    "divergence": "{outcome} diverges {times}",
    "overfitting": "{outcome} rises while training outcomes are not worse, which is overfitting, "
    "{times}",
}


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
    n_runs = len(findings.runs)
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
    low, middle, high, lasts = (
        words.count(words.rounded(value))
        for value in (times.first_step, times.median_step, times.last_step, times.duration)
    )
    steps = middle if low == high else f"{middle} (median; {low} to {high})"
    text = (
        f"{name} has a transition in {words.of_runs(times.n_runs, n_runs)}, at {unit} {steps}; it "
        f"takes {words.in_steps(lasts, unit)} (10 % to 90 % of its change"
        f"{', median' if times.n_runs > 1 else ''})."
    )
    if times.n_runs < _WANDERING * n_runs:
        text += " So few may be curves that only wander, of which up to one in ten looks like that."
    return text


def _grokking(findings: OutcomeFindings, found: OutcomeTransitions) -> Iterator[Statement]:
    """Say whether runs memorise first and generalise later, and how long they take to."""
    delays = found.delays
    if delays.empty:
        return
    came = delays[~delays["censored"]]
    text = ""
    if came["grokking"].any():
        text = _grokked(findings, found, came)
    elif came["dated"].any():
        text = _no_grokking(found, came[came["dated"]])
    if text:
        yield Statement(_TOPIC, text, _GROKKING, brief=text)
    yield from _not_dated(findings, delays)


def _grokked(findings: OutcomeFindings, found: OutcomeTransitions, came: pd.DataFrame) -> str:
    """Say how many runs grok, and with which delay."""
    late = came[came["grokking"]].sort_values("delay", kind="stable")
    training, held_out = words.name(found.training, 30), words.name(found.held_out, 30)
    how_many = "all" if len(late) == len(came) else f"{len(late)}"
    which = f"In {how_many} of the {words.plural(len(came), 'run')} that generalised"
    if len(came) == 1:
        which = "In the one run that generalised"
    unit = findings.step_unit
    delay = words.in_steps(words.count(found.grokking_delay), unit)
    low, high = words.count(found.grokking_delay_low), words.count(found.grokking_delay_high)
    if len(late) > 1:
        names = full_run_names(findings)
        fastest, slowest = (
            f"{words.count(run.delay)} ({names[run.group, run.run]})"
            for run in rows(late.iloc[[0, -1]])
        )
        bounds = "95 % interval" if len(late) >= _BOUNDED else "evaluations leave open"
        delay += f" in median ({bounds} {low} to {high}), from {fastest} to {slowest}"
    else:
        delay += f" ({low} to {high})"
    return (
        f"{which}, {training} had levelled off while {held_out} was about where it started: "
        f"grokking. The delay between the two is {delay}."
    )


def _no_grokking(found: OutcomeTransitions, came: pd.DataFrame) -> str:
    """Say that no run groks, and why."""
    training, held_out = words.name(found.training, 30), words.name(found.held_out, 30)
    levelled = came[came["progress"].notna()]
    if levelled.empty:
        both = f"In none of the {words.plural(len(came), 'run')} in which both can be dated had"
        if len(came) == 1:
            both = "In the one run in which both can be dated, not before"
            return f"{both} {held_out} began to improve had {training} levelled off: no grokking."
        return f"{both} {training} levelled off before {held_out} began to improve: no grokking."
    least, most = (
        words.percent(share) for share in (levelled["progress"].min(), levelled["progress"].max())
    )
    done = least if least == most else f"{least} to {most}"
    return (
        f"When {training} had levelled off, {held_out} had done {done} of its way already, in "
        f"{words.of_runs(len(levelled), len(came))}: no grokking."
    )


def _not_dated(findings: OutcomeFindings, delays: pd.DataFrame) -> Iterator[Statement]:
    """Name the runs that generalise without a transition, and those that have not done so."""
    names, unit = full_run_names(findings), findings.step_unit
    slow = delays[~delays["dated"] & ~delays["censored"]]
    if len(slow):
        which = words.listing(
            f"{names[run.group, run.run]} (delay {words.count(run.delay_low)} to "
            f"{words.in_steps(words.count(run.delay_high), unit)})"
            for run in rows(slow)
        )
        yield Statement(
            _TOPIC,
            f"{words.plural(len(slow), 'run')} generalised too slowly or too late for a transition "
            f"to be dated: {which}.",
        )
    waiting = delays[delays["censored"]]
    if len(waiting):
        which = words.listing(
            f"{names[run.group, run.run]} (after {words.in_steps(words.count(run.delay), unit)})"
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
        f"{words.name(match.outcome, 30)} in {runs}, {_lead(match, unit)}. {than_chance}"
    )


def _lead(match: Any, unit: str) -> str:
    """Say which comes first and by how much, as far as evaluations tell."""
    low, high = match.lead_low, match.lead_high
    if low <= 0 <= high:
        return (
            f"as far as evaluations tell at the same time (lead {words.signed(low)} to "
            f"{words.in_steps(words.signed(high), unit)})"
        )
    side = "leading" if match.lead >= 0 else "following"
    # Seen from the change that follows, the interval is mirrored.
    nearer, further = sorted([abs(low), abs(high)])
    return (
        f"{side} it by {words.in_steps(words.count(abs(match.lead)), unit)} "
        f"({words.count(nearer)} to {words.count(further)})"
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
    explanation = _EXCURSION
    for (outcome, kind), own in found.spikes.groupby(["outcome", "kind"], sort=False):
        text = _excursions(findings, words.name(outcome, 30), str(kind), own)
        highest = next(rows(own.sort_values("height", ascending=False, kind="stable")))
        yield Statement(
            _TOPIC,
            f"{text} The highest is {words.number(highest.height, 3)} above its level, in "
            f"{full_run_names(findings)[highest.group, highest.run]} at {findings.step_unit} "
            f"{words.count(highest.step)}.",
            explanation,
            brief=text,
        )
        explanation = ""


def _excursions(findings: OutcomeFindings, outcome: str, kind: str, own: pd.DataFrame) -> str:
    """Say how often a loss left its level in one way, in which runs, and whether in all at once."""
    names = full_run_names(findings)
    times = Counter((run.group, run.run) for run in rows(own))
    which = words.listing(
        names[key] + (f" ({n} times)" if n > 1 else "") for key, n in times.items()
    )
    text = f"{_KINDS[kind].format(outcome=outcome, times=_times(len(own)))}: {which}."
    at_once = own[(own["n_together"] >= _AT_ONCE) & (2 * own["n_together"] >= own["n_total"])]
    if at_once.empty:
        return text
    how_many = "All" if len(at_once) == len(own) else f"{len(at_once)} of them"
    return (
        f"{text} {how_many} come at the same time in half of the runs of a group or more: rather "
        "the schedule's doing than that of single runs."
    )


def _times(n: int) -> str:
    return "once" if n == 1 else f"{n:,} times"
