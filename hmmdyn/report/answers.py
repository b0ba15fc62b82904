"""The answers to what is asked first: which phases, which runs are slow, is it more than chance.

Chosen from the sentences of the report, so that the answers say nothing that it does not. Of states
that have no evidence, or that other runs' maps do not have, they do not speak.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from hmmdyn.report import words
from hmmdyn.report.lookup import (
    CRITERIA,
    confirmed_detours,
    founded_states,
    full_run_names,
    rows,
    state_name,
    told_boundaries,
)
from hmmdyn.report.report import Report
from hmmdyn.report.statements.boundaries import WHOSE_TIME, unseen
from hmmdyn.report.statements.statement import Statement
from hmmdyn.results.findings import Findings, OutcomeFindings
from hmmdyn.results.verdicts import CANNOT_TELL, DIFFERENT, FASTER, SLOWER

_BOUNDARIES_NAMED = 3
_SLOW_NAMED = 5
_SLOW_IN_SHORT = 3
_CENSORED_NAMED = 2
_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@dataclass(frozen=True)
class Answer:
    """An answer to a question that a reader has first.

    Attributes
    ----------
    topic : str
        What it is about, in a word.
    question : str
        What is asked; empty where it only says what the runs are.
    short : str
        The answer in a few words.
    sentences : tuple of str
        The answer with its numbers, the more important sentences first.
    marks : tuple of str
        How sure that is, in a few words each.
    """

    topic: str
    question: str
    short: str
    sentences: tuple[str, ...]
    marks: tuple[str, ...] = ()

    @property
    def more(self) -> tuple[str, ...]:
        """The sentences that say more than the answer in a few words does."""
        return tuple(sentence for sentence in self.sentences if sentence != f"{self.short}.")


@dataclass(frozen=True)
class SlowRun:
    """A run of the slowest quarter.

    Attributes
    ----------
    name : str
    step : int
        At which it was first seen to have converged; the last one known where it had not.
    converged : bool
    times : float
        ``step`` over that of the first run seen to converge; NaN where that is 0.
    state : int
        In which it stayed longest compared with the others.
    is_founded : bool
        Evidence supports a boundary of that state.
    """

    name: str
    step: int
    converged: bool
    times: float
    state: int
    is_founded: bool


def runs_analysed(report: Report) -> str:
    """Return which runs were analysed, in a sentence."""
    return report.said["data"][0].brief


def answers(report: Report) -> tuple[Answer, ...]:
    """Return the answers that these findings allow, in the order in which they are asked."""
    findings = report.findings
    if not isinstance(findings, Findings):
        return (_slow(report), *_outcomes(report))
    return (_phases(findings), _slow(report), _chance(findings, report))


def headline(report: Report) -> str:
    """Return what was found, in a sentence without a full stop."""
    findings = report.findings
    if not isinstance(findings, Findings):
        return _of_convergence(findings)
    evidence, n_states = findings.selection.evidence, findings.parameters.n_states
    if evidence is None:
        return f"{_of_convergence(findings)}; their map has {words.plural(n_states, 'state')}"
    if not evidence.is_supported:
        return (
            f"Training told in {words.plural(n_states, 'state')}, where evidence supports "
            f"{evidence.n_supported}"
        )
    told = list(rows(told_boundaries(evidence)))
    if not told and len(evidence.supported):
        return "No change of state is found again in other runs"
    if not told:
        n_runs = len(findings.occupancy)
        return f"No phases are shown in {f'these {n_runs:,} runs' if n_runs > 1 else 'this run'}"
    if len(told) > 1:
        return f"Training goes through {_counted(told)}"
    (change,) = told
    unit = findings.step_unit
    lasts = words.count(words.rounded(change.duration))
    ends = (_phase(findings, change.from_state), _phase(findings, change.to_state))
    who = _who_change(change.n_runs, len(findings.occupancy))
    how = "sharply" if change.kind == "sharp" else "gradually"
    return f"{who} {how} from {ends[0]} to {ends[1]}, within about {words.in_steps(lasts, unit)}"


def slow_runs(findings: Findings) -> tuple[SlowRun, ...]:
    """Return the slowest runs, the slowest first; none where seeds cannot be told from recipes."""
    slowness, convergence = findings.slowness, findings.convergence
    if slowness is None or convergence is None or slowness.slowest_quarter is None:
        return ()
    converged = findings.runs[findings.runs["status"] == "converged"]
    fastest = float(converged["step"].min()) if len(converged) else 0.0
    names, founded = full_run_names(findings), founded_states(findings)
    return tuple(
        SlowRun(
            names[run.group, run.run],
            int(run.step),
            bool(run.converged),
            run.step / fastest if fastest > 0 else float("nan"),
            int(run.state),
            int(run.state) in founded,
        )
        for run in rows(slowness.slowest_quarter.runs.head(_SLOW_NAMED))
    )


def _phase(findings: Findings, state: int) -> str:
    """Return the phase that outcomes give a state, else its number."""
    return words.name(findings.state_summary["phase"].iloc[state] or f"state {state}")


def _who_change(n_runs: int, total: int) -> str:
    if n_runs < total:
        return f"{words.of_runs(n_runs, total)} change"
    return "Every run changes" if total > 1 else "The run changes"


def _counted(boundaries: list[Any]) -> str:
    """Return ``one sharp change``, ``two changes: one sharp, one gradual``."""
    kinds = Counter(boundary.kind for boundary in boundaries)
    if len(kinds) == 1:
        ((kind, n),) = kinds.items()
        return f"{_number(n)} {kind} {'change' if n == 1 else 'changes'}"
    each = ", ".join(f"{_number(n)} {kind}" for kind, n in kinds.items())
    return f"{_number(len(boundaries))} changes: {each}"


def _number(n: int) -> str:
    return _NUMBERS[n] if n < len(_NUMBERS) else f"{n:,}"


def _of_convergence(findings: OutcomeFindings) -> str:
    """Return how many runs converged, and when."""
    known = findings.runs[findings.runs["status"] != "unknown"]
    if findings.convergence is None or known.empty:
        return words.capital(words.plural(len(findings.runs), "run"))
    steps = known.loc[known["converged"], "step"]
    who = words.capital(f"{words.of_runs(len(steps), len(known))} converged")
    if steps.empty:
        return who
    first, last = words.count(steps.min()), words.count(steps.max())
    at = f"at {findings.step_unit} {first}"
    if last != first:
        at = f"between {findings.step_unit}s {first} and {last}"
    return f"{who}, {at}"


def _briefs(statements: tuple[Statement, ...]) -> tuple[str, ...]:
    return tuple(statement.brief for statement in statements if statement.brief)


def _phases(findings: Findings) -> Answer:
    """Say which changes have evidence, when they are, and that nothing else has."""
    evidence, n_states = findings.selection.evidence, findings.parameters.n_states
    states = words.plural(n_states, "state")
    marks: tuple[str, ...] = ()
    if evidence is None:
        short = f"{states} by {CRITERIA.get(findings.selection.criterion, 'runs held out')}"
        sentences = [f"{short}; whether there are boundaries between them was not asked."]
    elif not evidence.is_supported:
        short = f"{states}, not the supported {evidence.n_supported}"
        sentences = [
            f"{states}: another level than the supported one, which has {evidence.n_supported}."
        ]
    elif evidence.supported.empty:
        short = "None that has evidence"
        sentences = [unseen(findings)]
    elif (told := told_boundaries(evidence)).empty:
        short = "None that is found again"
        sentences = [
            f"None that maps of half of the runs have, too "
            f"({words.plural(len(evidence.supported), 'change')} of state by the map of all runs)."
        ]
    else:
        changes = list(rows(told))
        short = words.capital(_counted(changes))
        sentences = [_change(findings, change) for change in changes[:_BOUNDARIES_NAMED]]
        if (further := len(changes) - _BOUNDARIES_NAMED) > 0:
            sentences.append(f"{words.plural(further, 'further change')} after it.")
        marks = _found_again(changes)
    return Answer("Phases", "Which phases?", short, tuple(sentences), marks)


def _change(findings: Findings, boundary: Any) -> str:
    low, date, high, lasts = (
        words.count(words.rounded(value))
        for value in (
            boundary.date_low,
            boundary.date,
            boundary.date_high,
            boundary.duration,
        )
    )
    return (
        f"{words.capital(boundary.kind)} change from "
        f"{state_name(findings, boundary.from_state)} to "
        f"{state_name(findings, boundary.to_state)}, {findings.step_unit} {date} ({low} to "
        f"{high}), within about {lasts}; {boundary.n_runs} of {len(findings.occupancy)} runs."
    )


def _found_again(changes: list[Any]) -> tuple[str, ...]:
    """Say in how many cases maps of other runs have the changes, too."""
    n_found = sum(change.found == "yes" for change in changes)
    if n_found == len(changes):
        return ("found again in other runs",)
    untold = len(changes) - n_found
    return (f"too few runs to find {'it' if len(changes) == 1 else f'{untold} of them'} again",)


def _slow(report: Report) -> Answer:
    """Say when runs converged, and what sets the slow ones, or groups, apart."""
    findings, said = report.findings, report.said
    sentences = _briefs(said["convergence"][:1])
    if findings.runs["group"].nunique() > 1 and findings.speed is not None:
        sentences += _briefs(said["speed"][1:])
        return Answer("Slow", "Which groups were slow?", _groups_in_short(findings), sentences)
    if isinstance(findings, Findings):
        sentences += _briefs(said["slowness"][:1])
    short, marks = _seeds_in_short(findings), tuple(_how_long(findings))
    return Answer("Slow", "Which seeds were slow?", short, sentences, marks)


def _how_long(findings: OutcomeFindings) -> Iterator[str]:
    """Say what the median run took, and how many runs may have taken longer than was seen."""
    if findings.speed is not None:
        for group in rows(findings.speed.groups):
            if group.n_runs > 1 and group.n_converged:
                median = _range(group.median_earliest, group.median_latest)
                interval = _range(group.median_low, group.median_high)
                yield f"median {findings.step_unit} {median} (95 %: {interval})"
    censored = findings.runs[findings.runs["status"] == "censored"]
    if 0 < len(censored) <= _CENSORED_NAMED:
        names = full_run_names(findings)
        who = words.listing(names[run.group, run.run] for run in rows(censored))
    else:
        who = f"{len(censored):,}"
    if len(censored):
        yield f"{who} not converged when {'it' if len(censored) == 1 else 'they'} ended"


def _range(low: float, high: float) -> str:
    """Return ``5,601–5,920``; with one end where the other is not known."""
    if not np.isfinite(high):
        return f"{words.count(low)} or more" if low > 0 else "cannot be bounded"
    return words.count(low) if low == high else f"{words.count(low)}–{words.count(high)}"


def _seeds_in_short(findings: OutcomeFindings) -> str:
    known = findings.runs[findings.runs["status"] != "unknown"]
    if findings.convergence is None or known.empty:
        return "Not known: there is no outcome"
    if len(known) == 1:
        return "One run, so none to compare it with"
    slow = list(islice(_slowest_converged(findings), _SLOW_IN_SHORT))
    if not slow:
        n_converged = int(known["converged"].sum())
        return words.capital(f"{words.of_runs(n_converged, len(known))} converged")
    named = words.listing(name for name, _ in slow)
    most, least = (f"{words.number(times, 2)}" for times in (slow[0][1], slow[-1][1]))
    by = most if most == least else f"{least} to {most}"
    return f"{named}: {by} × the fastest"


def _slowest_converged(findings: OutcomeFindings) -> Iterator[tuple[str, float]]:
    """Return the names of runs that converged and how often the fastest one's steps they took."""
    converged = findings.runs[findings.runs["status"] == "converged"]
    if converged.empty or converged["step"].min() <= 0:
        return
    fastest, names = float(converged["step"].min()), full_run_names(findings)
    slowest = converged.sort_values("step", ascending=False, kind="stable")
    for run in rows(slowest[slowest["step"] > fastest]):
        yield names[run.group, run.run], run.step / fastest


def _groups_in_short(findings: OutcomeFindings) -> str:
    speed = findings.speed
    if speed is None:
        return "Not known: there is no outcome"
    pairs = speed.tests[speed.tests["group_a"].notna()]
    differ = list(rows(pairs[pairs["verdict"].isin((FASTER, SLOWER))]))
    slower = Counter(p.group_a if p.verdict == SLOWER else p.group_b for p in differ)
    for group, n in slower.items():
        if n == len(speed.groups) - 1:
            others = "the other" if n == 1 else "all others"
            return f"{words.name(group, 30)} is slower than {others}"
    if differ:
        return f"{len(differ)} of {words.plural(len(pairs), 'pair')} of groups differ"
    if DIFFERENT in set(speed.tests["verdict"]):
        return "They differ, but no pair by itself"
    if set(pairs["verdict"]) <= {CANNOT_TELL}:
        return "These runs cannot tell"
    return "None is shown to be slower"


def _chance(findings: Findings, report: Report) -> Answer:
    """Say what is more than chance: who sets the time, which state delays, which run is unlike."""
    topic, question = "Chance", "More than chance?"
    if len(findings.occupancy) == 1:
        return Answer(topic, question, "One run cannot tell", ("One run cannot tell.",))
    sentences, short = [], "Nothing is shown to be"
    verdicts = set() if findings.speed is None else set(findings.speed.tests["verdict"])
    if verdicts & {DIFFERENT, FASTER, SLOWER}:
        short = "That groups differ in speed is"
    evidence = findings.selection.evidence
    whose = "" if evidence is None else WHOSE_TIME.get(evidence.whose_time, "")
    if whose in _briefs(report.said["boundaries"]):
        sentences.append(whose)
        short = whose.removesuffix(".")
    confirmed = confirmed_detours(findings)
    if confirmed:
        noun = "detour" if len(confirmed) == 1 else "detours"
        sentences.append(f"Confirmed {noun}: {words.listing(confirmed)}.")
        short = f"{words.capital(words.listing(confirmed, at_most=3))}, yes"
    elif findings.convergence is not None:
        sentences.append("No state is shown to delay runs.")
    sentences += _briefs(report.said["outliers"][:1])
    sentences += _briefs(report.said["outcome_outliers"][:1])
    return Answer(topic, question, short, tuple(sentences), _power(findings))


def _power(findings: OutcomeFindings) -> tuple[str, ...]:
    """Say how large a difference so many seeds would show."""
    planning = None if findings.speed is None else findings.speed.planning
    if planning is None or len(planning) != 1 or not np.isfinite(planning["smallest"].iloc[0]):
        return ()
    (plan,) = rows(planning)
    share = f"{words.number(100 * plan.smallest, 2)}\u00a0%"
    return (
        f"two groups of {words.plural(plan.n_runs, 'seed')} could show a difference of {share}",
    )


def _outcomes(report: Report) -> Iterator[Answer]:
    """Say which transitions the outcomes pass, where there are no states to tell of."""
    said = report.said
    sentences = _briefs(said["outcome_outliers"][:1]) + _briefs(said["outcome_transitions"][:2])
    if sentences:
        short = _transitions_in_short(report.findings)
        yield Answer("Outcomes", "Which transitions?", short, sentences)


def _transitions_in_short(findings: OutcomeFindings) -> str:
    """Return in how many runs the outcomes tell of grokking, or else of a transition."""
    found, n_runs = findings.outcome_transitions, len(findings.runs)
    if found is None:
        return "Not known"
    came = found.delays[~found.delays["censored"].astype(bool)]
    if n_grokked := int(came["grokking"].sum()):
        return f"Grokking in {words.of_runs(n_grokked, n_runs)}"
    if found.improvements.empty:
        return "None that stands out"
    times = next(rows(found.improvements.sort_values("n_runs", ascending=False, kind="stable")))
    return f"{words.name(times.outcome, 30)} in {words.of_runs(times.n_runs, n_runs)}"
