"""How groups (recipes) differ on the joint map."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from hmmdyn.report import words
from hmmdyn.report.lookup import rows, state_name
from hmmdyn.report.statements.statement import Statement
from hmmdyn.results.findings import Findings
from hmmdyn.results.groups import GroupComparison
from hmmdyn.results.verdicts import CONFIRMED

_TOPIC = "Groups compared"
_EXPLANATION = (
    "All groups are decoded with one map. Dissimilarity is the mean distance between the shares of "
    "time that two runs spend in each state, where moving a share from one state to another "
    "costs the distance between the states (in standard deviations of the metrics). Groups are "
    "held against each other over the steps that their runs have in common. Labels of groups are "
    "dealt to the runs anew to see what chance would give."
)
_SIGNIFICANT = 0.05
_NAMED = 4  # groups, pairs, forks; the tables have the rest


def say(findings: Findings) -> Iterator[Statement]:
    """Say which groups walk the map differently, where they part, and what holds in which."""
    compared = findings.group_comparison
    if compared is None:
        return
    yield Statement(_TOPIC, _forking(compared.groups), _EXPLANATION)
    text = _pairs(compared.dissimilarities)
    uneven = _cut(findings, compared.dissimilarities)
    yield Statement(_TOPIC, text, brief=text)
    if uneven:
        yield Statement(_TOPIC, uneven)
    yield from _forks(findings, compared)
    yield from _detours(findings, compared)
    yield from _regressions(compared.regressions)


def _name(group: object) -> str:
    return words.name(group, 30)


def _forking(groups: pd.DataFrame) -> str:
    parts = words.listing(
        (
            f"{_name(group.group)} {'forks or returns' if group.forking else 'is a line'} "
            f"({words.plural(group.n_runs, 'run')}{_converged(group)}, dissimilarity "
            f"{words.number(group.emission, 3)})"
            for group in rows(groups)
        ),
        at_most=_NAMED,
    )
    return f"The part of the map that each group walks: {parts}."


def _converged(group: Any) -> str:
    if pd.isna(group.n_converged):
        return ""
    return f", {group.n_converged} converged, {group.n_censored} censored"


def _pairs(pairs: pd.DataFrame) -> str:
    tested = pairs[pairs["p"].notna()]
    if tested.empty:
        return (
            "Whether the groups walk the map differently cannot be told: they have too few runs "
            "for any outcome to be significant, or no steps in common."
        )
    apart = tested[tested["p_corrected"] < _SIGNIFICANT].sort_values("p_corrected", kind="stable")
    untold = len(pairs) - len(tested)
    cannot = (
        f" {words.plural(untold, 'pair')} of groups cannot tell: too few runs, or no steps in "
        "common."
        if untold
        else ""
    )
    if apart.empty:
        return (
            "No two groups are shown to walk the map differently: runs of different groups are "
            f"not clearly further apart than runs of one.{cannot}"
        )
    which = words.listing(
        (
            f"{_name(pair.group_a)} and {_name(pair.group_b)} "
            f"({words.number(pair.between, 3)} between, {words.number(pair.within_a, 3)} and "
            f"{words.number(pair.within_b, 3)} within, {words.p_value(pair.p_corrected)})"
            for pair in rows(apart)
        ),
        at_most=_NAMED,
    )
    return f"These walk the map differently: {which}.{cannot}"


def _cut(findings: Findings, pairs: pd.DataFrame) -> str:
    """Say over which steps groups were compared, where their runs end at different ones."""
    uneven = pairs[pairs["last_step"].notna() & (pairs["cut"] | (pairs["n_left_out"] > 0))]
    if uneven.empty:
        return ""
    which = words.listing(
        (
            f"{_name(pair.group_a)} and {_name(pair.group_b)} from {findings.step_unit} "
            f"{words.count(pair.first_step)} to {words.count(pair.last_step)}"
            + (
                f", without {words.plural(pair.n_left_out, 'run')} that ended before"
                if pair.n_left_out
                else ""
            )
            for pair in rows(uneven)
        ),
        at_most=_NAMED,
    )
    return f"Runs end at different {findings.step_unit}s. Walks were compared of {which}."


def _forks(findings: Findings, compared: GroupComparison) -> Iterator[Statement]:
    forks = compared.forks
    apart = forks[(forks["p_corrected"] < _SIGNIFICANT).to_numpy(dtype=bool)]
    for state in apart["from_state"].unique()[:_NAMED]:
        ways = apart[apart["from_state"] == state]
        p = words.p_value(ways["p_corrected"].iloc[0])
        parts = []
        for group, taken in ways[ways["n_runs"] > 0].groupby("group", sort=False):
            to_each = words.listing(f"{way.n_runs} to state {way.to_state}" for way in rows(taken))
            parts.append(f"{_name(group)}: {to_each}")
        yield Statement(
            _TOPIC,
            f"After {state_name(findings, state)} the groups go different ways ({p}): "
            f"{'; '.join(parts[:_NAMED])}.",
        )


def _detours(findings: Findings, compared: GroupComparison) -> Iterator[Statement]:
    confirmed = compared.detours[compared.detours["verdict"] == CONFIRMED]
    if len(confirmed):
        which = words.listing(
            f"{state_name(findings, row.state)} in {_name(row.group)}" for row in rows(confirmed)
        )
        text = f"Confirmed detours, each group for itself and corrected for all: {which}."
        yield Statement(_TOPIC, text, brief=text)


def _regressions(regressions: pd.DataFrame) -> Iterator[Statement]:
    known = regressions[regressions["why_not"] == ""]
    if len(known):
        which = words.listing(
            (
                f"{_name(row.group)} {words.fraction(row.r_squared)} "
                f"({words.p_value(row.p_corrected)}; each run predicted from the others "
                f"{words.number(row.r_squared_loo, 3)})"
                for row in rows(known)
            ),
            at_most=_NAMED,
        )
        yield Statement(
            _TOPIC,
            f"R² of convergence time on the time spent in each state, group by group: {which}. It "
            "can be high by construction; see the regression of all runs.",
        )
