"""In which layers, or roles of weights, a change of state begins."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hmmdyn.messages import Message, Remedy
from hmmdyn.report import words
from hmmdyn.report.lookup import rows, state_name
from hmmdyn.report.statements.statement import Statement, told
from hmmdyn.results.findings import Findings
from hmmdyn.results.verdicts import CANNOT_TELL
from hmmdyn.results.where import AFTER, BEFORE

_TOPIC = "Where in the network"
_CHANGE = ["from_state", "to_state"]
_SAID = 5
_HOW = (
    "In every run, a part of the network is dated by when its metric crosses the middle between "
    "its levels in the two states. What is told is how much earlier or later that is than in the "
    "middle of the other parts, median over runs, with a 95 % interval that holds for all parts of "
    "one metric together and knows how far apart checkpoints are. A part is named where a sign "
    "test over runs, corrected over all metrics and parts, agrees."
)

_ROLES = Message(
    "Roles are told by the names of weights, as published architectures have them: q, k, v, o, mlp "
    "in, …; what no name tells is 'other'. A file of rules tells more: ",
    Remedy("roles"),
    ".",
)


def say(findings: Findings) -> Iterator[Statement]:
    """Say which parts move before or after the others; nothing where none were measured."""
    yield from _alone(findings)
    table = findings.where_it_moves
    if table.empty:
        if max(findings.part_courses.n_parts.values(), default=0) > 1:
            text = "No change of state has evidence, so none is dated in layers or roles."
            yield Statement(_TOPIC, text)
        return
    n_parts = table.groupby([*_CHANGE, "by", "metric"])["part"].transform("size")
    # Of two parts, one is after the other because that is before it.
    is_mirrored = (n_parts == 2) & (table["when"] == AFTER)
    shown = table.assign(n_parts=n_parts)[(table["when"] != CANNOT_TELL) & ~is_mirrored]
    if shown.empty:
        text = "No layer or role is shown to change before or after the others."
        yield Statement(_TOPIC, text, _HOW, brief=text)
        return
    farthest = shown.loc[shown["lead"].abs().sort_values(ascending=False, kind="stable").index]
    for i, part in enumerate(rows(farthest.head(_SAID))):
        text = _moves(findings, part)
        yield Statement(_TOPIC, text, _HOW if i == 0 else "", brief=text if i == 0 else "")
    if (further := len(shown) - _SAID) > 0:
        yield Statement(_TOPIC, f"The table has {further:,} further of this kind.")


def _alone(findings: Findings) -> Iterator[Statement]:
    """Say of which kind there is one part only, with which there is nothing to compare."""
    courses = findings.part_courses.courses
    for by, n_parts in findings.part_courses.n_parts.items():
        if n_parts == 1:
            name = words.name(courses.loc[courses["by"] == by, "part"].iloc[0])
            text = f"All weights are of one {by}, {name}: no {by} can move before another."
            yield Statement(_TOPIC, text, told(findings, _ROLES) if by == "role" else "")


def _moves(findings: Findings, part: Any) -> str:
    is_first = part.when == BEFORE
    ends = (part.lead_low, part.lead_high) if is_first else (-part.lead_high, -part.lead_low)
    low, high, lead = (words.count(words.rounded(v)) for v in (*ends, abs(part.lead)))
    others = ("layer" if part.by == "layer" else "role") + "s" * (part.n_parts != 2)
    change = (
        f"from {state_name(findings, part.from_state)} to {state_name(findings, part.to_state)}"
    )
    return (
        f"In the change {change}, {part.metric} of {words.name(part.part)} moves {lead} "
        f"{findings.step_unit}s {'before' if is_first else 'after'} the other {others} ({low} to "
        f"{high})."
    )
