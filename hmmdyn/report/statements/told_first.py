"""Which metrics change before an outcome does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from hmmdyn.report import words
from hmmdyn.report.lookup import rows
from hmmdyn.report.statements.statement import Statement
from hmmdyn.results.findings import Findings
from hmmdyn.results.told_first import AFTER, BEFORE

_TOPIC = "What told first"
_SAID = 3  # metrics named before an outcome, and after it
_SIGNIFICANT = 0.05
_OUTCOMES_SAID = 3  # where none is known to be on held-out data
_HOW = (
    "Around the transition of the outcome in every run, metric and outcome are dated alike, from "
    "their raw values: by when they cross the middle between their levels in the first and in the "
    "last quarter of one window. Leads are medians over runs, with a 95 % interval that holds for "
    "all metrics together and knows how far apart checkpoints are. A metric is only said to change "
    "before or after the outcome if the two also go together run by run, more closely than what "
    "drifts or keeps a common schedule does (permutation test, corrected over metrics and "
    "outcomes). It shows no cause."
)


def say(findings: Findings) -> Iterator[Statement]:
    """Say which metrics change first; nothing where no outcome has a transition."""
    table = findings.told_first
    found = findings.outcome_transitions
    if table.empty or found is None:
        return
    known = list(dict.fromkeys(table["outcome"]))
    said = [found.held_out] if found.held_out in known else known[:_OUTCOMES_SAID]
    explanation = _HOW
    for outcome in said:
        of_outcome = table[table["outcome"] == outcome]
        for group, own in of_outcome.groupby("group", sort=False):
            where = f"in {words.name(group, 30)}, " if table["group"].nunique() > 1 else ""
            for i, text in enumerate(_of_outcome(outcome, own, findings.step_unit)):
                text = words.capital(where + text)
                yield Statement(_TOPIC, text, explanation, brief=text if i == 0 else "")
                explanation = ""


def _of_outcome(outcome: str, table: pd.DataFrame, unit: str) -> Iterator[str]:
    """Say of one outcome in one group what came before it, and what after."""
    name = words.name(outcome, 30)
    together = table[table["p_corrected"] < _SIGNIFICANT].sort_values(
        ["lead", "lead_low"], ascending=False, kind="stable"
    )
    first = together[together["when"] == BEFORE]
    last = together[together["when"] == AFTER].iloc[::-1]
    if len(first):
        yield f"what told first: {_listed(first, unit, f'before {name}')}."
    else:
        yield f"no metric is shown to change before {name}. {_closest(table, together, unit)}"
    if len(last):
        yield f"what changes later: {_listed(last, unit, f'after {name}')}."
    begun = together.dropna(subset="done_low").sort_values("done", ascending=False, kind="stable")
    for most in rows(begun.head(1)):
        yield (
            f"when {name} has gone a fifth of its way, {words.name(most.metric)} has gone "
            f"{words.percent(most.done)} of its own ({words.percent(most.done_low)} to "
            f"{words.percent(most.done_high)}), the most of all metrics that go with it."
        )


def _listed(table: pd.DataFrame, unit: str, side: str) -> str:
    """Name the first metrics of a table with their leads, and say how many more there are."""
    named = [
        f"{words.name(m.metric)} {words.in_steps(words.count(abs(m.lead)), unit)} {side} "
        f"({_interval(m)}; {words.of_runs(m.n_runs, m.n_total)})"
        for m in rows(table.head(_SAID))
    ]
    further = len(table) - len(named)
    return words.listing(named + [f"{further:,} more"] * (further > 0))


def _interval(metric: Any) -> str:
    """Return the interval of a lead, seen from whichever comes later."""
    ends = sorted((abs(metric.lead_low), abs(metric.lead_high)))
    return " to ".join(words.count(end) for end in ends)


def _closest(table: pd.DataFrame, together: pd.DataFrame, unit: str) -> str:
    """Say which metric comes closest to changing before, or why none can be told."""
    if table["lead_low"].isna().all():
        n = int(table["n_total"].max())
        return f"{words.capital(words.plural(n, 'run'))} cannot tell of so many metrics at once."
    for one in rows(together.dropna(subset="lead_low").head(1)):
        return (
            f"The first of those that go with it is {words.name(one.metric)}, with a lead of "
            f"{words.in_steps(words.signed(one.lead), unit)} ({words.signed(one.lead_low)} to "
            f"{words.signed(one.lead_high)}; {words.of_runs(one.n_runs, one.n_total)})."
        )
    return "None is seen to go with it run by run."
