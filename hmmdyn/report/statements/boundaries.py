"""Which boundaries between states have evidence, when they lie, and who sets their time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hmmdyn.messages import Message, Remedy
from hmmdyn.report import words
from hmmdyn.report.lookup import rows, state_name, told_boundaries
from hmmdyn.report.statements.statement import Statement, told
from hmmdyn.results.boundaries import (
    CANNOT_TELL,
    EITHER_TIME,
    NOT_ASKED,
    OWN_TIME,
    SCHEDULE,
    Evidence,
)
from hmmdyn.results.findings import Findings

_TOPIC = "Boundaries"
_KINDS = (
    "δ is the time runs spend around the middle of the way from one state to the other, over the "
    "time around the emptier end: a jump has 0, a half cosine 0.68, drift at constant speed 1. A "
    "boundary is sharp where its 95 % bound lies below 0.30, gradual where runs rest on both sides "
    "and cross faster than they rest; a smooth S-shaped drift cannot be told from a gradual "
    "change. Cuts without evidence were merged, from the finest map on: the table of merges has "
    "each. What a map of half of the runs does not have, too, is no finding about the recipe; what "
    "it has may still be a drift that all runs share."
)
_FOUND = {
    "yes": "maps of other runs have it, too",
    "no": "maps of half of the runs do not have it",
    "cannot tell": "the runs are too few to see whether others have it",
    NOT_ASKED: "whether maps of other runs have it was asked of the supported map only",
}
_TIMING = (
    "A boundary is each seed's own where the dates of the runs spread over longer than the change "
    "and two checkpoints last, and shared by schedule where they do not, each with its 90 % "
    "interval. Where no boundary tells, the whole course does: held-out runs are predicted by "
    "states, and by what the other runs do at the same step."
)
WHOSE_TIME = {
    OWN_TIME: "Each seed changes in its own time.",
    SCHEDULE: "What runs do is shared by schedule.",
    EITHER_TIME: "Some changes come by schedule, others in each seed's own time.",
    CANNOT_TELL: "Seeds or schedule: these runs cannot tell.",
}
_OF_BOUNDARY = {
    OWN_TIME: "each seed makes it in its own time",
    SCHEDULE: "seeds make it by a schedule that they share",
    CANNOT_TELL: "the runs are too few, or the change too long, to say whether a schedule sets its "
    "time",
}


def say(findings: Findings) -> Iterator[Statement]:
    """Say which boundaries are supported; nothing where evidence was not asked for."""
    evidence = findings.selection.evidence
    if evidence is None:
        return
    supported = evidence.supported
    if not evidence.is_supported:
        yield from _of_level(findings, evidence)
    if supported.empty and evidence.is_supported:
        text = unseen(findings)
        yield Statement(_TOPIC, text, _KINDS, brief=text)
        if evidence.timing == OWN_TIME:
            yield _of_finer_maps(findings, evidence)
    told = told_boundaries(evidence)
    for i, boundary in enumerate(rows(supported)):
        brief = _in_brief(findings, boundary)
        text = (
            f"{brief} δ = {words.number(boundary.delta, 2)} "
            f"({words.number(boundary.delta_low, 2)} to {words.number(boundary.delta_high, 2)}, "
            f"90 % interval); {_FOUND[boundary.found]}. {_spread(findings, boundary)}"
        )
        # What is not found again is not told in brief; what could not be, not without saying so.
        if boundary.found == "no":
            brief = ""
        elif boundary.found not in ("yes", NOT_ASKED):
            brief = f"{brief[:-1]}, but {_FOUND[boundary.found]}."
        yield Statement(_TOPIC, text, _KINDS if i == 0 else "", brief=brief)
    if len(supported) > len(told):
        n = len(supported) - len(told)
        what = words.plural(n, "further change" if len(told) else "change")
        have, they = ("has", "it") if n == 1 else ("have", "them")
        text = (
            f"{words.capital(what)} of state {have} evidence in these runs, but maps of half of "
            f"the runs do not have {they}."
        )
        yield Statement(_TOPIC, text, brief=text)
    for k in evidence.settling:
        yield Statement(
            _TOPIC,
            f"From {state_name(findings, k)}, where runs start, they only settle into what "
            "follows: there is no boundary.",
        )
    if len(supported):
        brief = WHOSE_TIME[evidence.whose_time] if len(told) else ""
        text = f"{WHOSE_TIME[evidence.whose_time]} Of the whole course: {evidence.timing_reason}"
        yield Statement(_TOPIC, text, _TIMING, brief=brief)


def unseen(findings: Findings) -> str:
    """Say that no boundary has evidence, which may be there all the same.

    How often that is says benchmarks/supported_map.md.
    """
    several = len(findings.occupancy) > 1
    these, they, s = ("these runs", "they", "") if several else ("this run", "it", "s")
    return (
        f"No boundary has evidence. Whether {these} only drift{s}, or change{s} too slowly or too "
        f"briefly to be told from drift, {they} cannot tell."
    )


def _of_finer_maps(findings: Findings, evidence: Evidence) -> Statement:
    """Say that runs differ in when they do what, so that a finer map may have boundaries."""
    finer = Message("A finer map may have boundaries; ", Remedy("max_states", 10), " makes one.")
    text = told(
        findings,
        Message(f"Runs do not keep one clock, all the same. {evidence.timing_reason} ", finer),
    )
    return Statement(_TOPIC, text)


def _of_level(findings: Findings, evidence: Evidence) -> Iterator[Statement]:
    """Say that a level is not the supported map, and which of its changes have no evidence."""
    supported = {(b.from_state, b.to_state) for b in rows(evidence.supported)}
    without = [
        f"{edge.from_state} to {edge.to_state}"
        for edge in rows(findings.transitions)
        if (edge.from_state, edge.to_state) not in supported
    ]
    text = (
        f"This is the level with {words.plural(evidence.n_states, 'state')} of the zoom, not the "
        f"supported map, which has {evidence.n_supported}."
    )
    cut = f" No evidence supports the changes from {words.listing(without, at_most=12)}."
    yield Statement(_TOPIC, text + (cut if without else ""), brief=text)


def _spread(findings: Findings, boundary: Any) -> str:
    """Say how far the runs' dates lie apart, and what follows."""
    spread, low, high = (
        words.count(words.rounded(d))
        for d in (boundary.spread, boundary.spread_low, boundary.spread_high)
    )
    return (
        f"The dates of the runs spread over {words.in_steps(spread, findings.step_unit)} "
        f"({low} to {high}): {_OF_BOUNDARY[boundary.timing]}."
    )


def _in_brief(findings: Findings, boundary: Any) -> str:
    unit = findings.step_unit
    date, low, high, lasts, shortest, longest = (
        words.count(words.rounded(value))
        for value in (
            boundary.date,
            boundary.date_low,
            boundary.date_high,
            boundary.duration,
            boundary.duration_low,
            boundary.duration_high,
        )
    )
    return (
        f"The change from {state_name(findings, boundary.from_state)} to "
        f"{state_name(findings, boundary.to_state)} is {boundary.kind}: "
        f"{words.plural(boundary.n_runs, 'run')} of {len(findings.occupancy)} make it, at {unit} "
        f"{date} ({low} to {high}), within about {words.in_steps(lasts, unit)} "
        f"({shortest} to {longest})."
    )
