"""How fast runs converge, and whether groups differ in that by more than chance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from hmmdyn.report import words
from hmmdyn.report.lookup import full_run_names, rows
from hmmdyn.report.statements.statement import Statement
from hmmdyn.results.convergence import ConvergenceSpeed
from hmmdyn.results.findings import OutcomeFindings
from hmmdyn.results.verdicts import CANNOT_TELL, DIFFERENT, FASTER, NO_EVIDENCE, SLOWER

_TOPIC = "Which runs converged when"
_TWICE = 2.0  # the time ratio of the profile that is said
_NAMED = 4  # groups, and pairs of them, with their numbers; tables have them all
_TESTED = (
    "Tested by handing the runs to the groups in other ways (permutation test of the log-rank "
    "statistic), p corrected over the pairs. Runs count for as long as both groups were watched, "
    "in averages a run that takes longer as one that ends then."
)
_ALL_GROUPS = {
    DIFFERENT: "Over all groups, the speed of convergence differs ({p}).",
    NO_EVIDENCE: "There is no evidence that the speed of convergence differs over all groups "
    "({p}).",
    CANNOT_TELL: "These runs cannot tell whether the speed of convergence differs over all groups.",
}


def say(findings: OutcomeFindings) -> Iterator[Statement]:
    """Say how fast runs converge, and whether groups differ in that."""
    speed = findings.speed
    if speed is None or not speed.groups["n_converged"].any():
        return
    yield from _medians(speed, findings.step_unit)
    yield from _within_twice(speed, findings.step_unit)
    yield from _ranks(findings, speed)
    yield from _groups(speed, findings.step_unit)


def _medians(speed: ConvergenceSpeed, unit: str) -> Iterator[Statement]:
    groups = speed.groups[speed.groups["n_runs"] > 1]
    if groups.empty:
        return
    several = len(speed.groups) > 1
    medians = (
        _median(group) + (f" in {words.name(group.group, 30)}" if several else "")
        for group in rows(groups)
    )
    text = f"The median {unit} of convergence is {words.listing(medians, at_most=_NAMED)}."
    yield Statement(
        _TOPIC,
        text,
        "The median of the Kaplan–Meier curve, in which runs that have not converged count for as "
        "long as they were watched. The interval is for all runs that the recipe could give, not "
        "only those seen; five runs or fewer cannot bound it.",
        brief=text,
    )


def _median(group: Any) -> str:
    """Return ``300 (95 % interval 200 to 400)``, or what is known instead."""
    median = "not reached" if np.isinf(group.median) else words.count(group.median)
    bounded_below, bounded_above = group.median_low > 0, np.isfinite(group.median_high)
    if not bounded_below and not bounded_above:
        return f"{median} ({words.plural(group.n_runs, 'run')} cannot bound it)"
    low = f"{words.count(group.median_low)} " if bounded_below else ""
    high = f"to {words.count(group.median_high)}" if bounded_above else "or more"
    return f"{median} (95 % interval {low}{high})"


def _within_twice(speed: ConvergenceSpeed, unit: str) -> Iterator[Statement]:
    """Say how many runs keep up with the fastest."""
    profile = speed.profile
    if profile.empty or len(speed.ranking) < 3:
        return
    kept_up = profile[profile["ratio"] <= _TWICE]
    shares = kept_up.groupby("group", sort=False)["share"].max()
    several = len(speed.groups) > 1
    tallies = (
        f"{round(shares[group.group] * group.n_runs)} of {words.plural(group.n_runs, 'run')}"
        + (f" in {words.name(group.group, 30)}" if several else "")
        for group in rows(speed.groups)
    )
    fastest = words.count(speed.ranking["step"].iloc[0])
    yield Statement(
        _TOPIC,
        f"The fastest run took {fastest} {unit}s; within twice as many, "
        f"{words.listing(tallies)} converged.",
    )


def _ranks(findings: OutcomeFindings, speed: ConvergenceSpeed) -> Iterator[Statement]:
    """Say where evaluations are too rare to tell who was first, or most of the ranks."""
    converged = speed.ranking[speed.ranking["converged"]]
    n_certain = int((converged["rank_low"] == converged["rank_high"]).sum())
    first = speed.ranking[speed.ranking["rank_low"] == 1]
    if len(converged) < 3 or (len(first) == 1 and 2 * n_certain >= len(converged)):
        return
    names = full_run_names(findings)
    named = words.listing(names[run.group, run.run] for run in rows(first))
    yield Statement(
        _TOPIC,
        "Convergence is only seen at evaluations, so ranks stay open: "
        f"{f'any of {named} may be' if len(first) > 1 else f'{named} is'} the fastest, and the "
        f"rank of {n_certain} of the {len(converged)} runs that converged is certain.",
    )


def _groups(speed: ConvergenceSpeed, unit: str) -> Iterator[Statement]:
    """Say which groups converge faster than which."""
    all_groups = speed.tests["group_a"].isna()
    for test in rows(speed.tests[all_groups]):
        text = _ALL_GROUPS[test.verdict].format(p=words.p_value(test.p))
        yield Statement(_TOPIC, text, _TESTED, brief=text)
    pairs = list(rows(speed.tests[~all_groups].sort_values("p_corrected", kind="stable")))
    differ = [_difference(pair, unit) for pair in pairs if pair.verdict in (FASTER, SLOWER)]
    if differ:
        further = len(differ) - _NAMED
        more = (
            [f"{words.plural(further, 'further pair differs', 'further pairs differ')}"]
            if further > 0
            else []
        )
        text = f"{'; '.join([*differ[:_NAMED], *more])}."
        yield Statement(_TOPIC, text, _TESTED, brief=text)
    alike = [
        f"{_both(pair)} ({words.p_value(pair.p_corrected)})"
        for pair in pairs
        if pair.verdict == NO_EVIDENCE
    ]
    if alike:
        text = (
            "There is no evidence that one converges faster than the other of "
            f"{words.listing(alike, at_most=_NAMED)}."
        )
        yield Statement(_TOPIC, text, _TESTED, brief=text)
    n_runs = dict(zip(speed.groups["group"], speed.groups["n_runs"], strict=True))
    untold = [
        f"{_both(pair)} ({_why_not(pair, n_runs)})" for pair in pairs if pair.verdict == CANNOT_TELL
    ]
    if untold:
        text = (
            "These runs cannot tell which converges faster of "
            f"{words.listing(untold, at_most=_NAMED)}."
        )
        yield Statement(_TOPIC, text, brief=text)


def _both(pair: Any) -> str:
    return f"{words.name(pair.group_a, 30)} and {words.name(pair.group_b, 30)}"


def _difference(pair: Any, unit: str) -> str:
    """Return ``a converges faster than b``, with by how much."""
    a, b = words.name(pair.group_a, 30), words.name(pair.group_b, 30)
    sooner, low, high = -pair.difference, -pair.difference_high, -pair.difference_low
    if pair.verdict == SLOWER:
        a, b = b, a
        sooner, low, high = pair.difference, pair.difference_low, pair.difference_high
    until = f"on average up to {unit} {words.count(pair.horizon)}"
    if sooner <= 0:
        by = f"though not {until}, as the curves cross"
    else:
        by = f"{words.number(sooner, 3)} {unit}s sooner {until}"
        if np.isfinite(low):
            by += f", 95 % interval {words.number(low, 3)} to {words.number(high, 3)}"
    return f"{a} converges faster than {b} ({by}; {words.p_value(pair.p_corrected)})"


def _why_not(pair: Any, n_runs: Mapping[str, int]) -> str:
    if min(n_runs[pair.group_a], n_runs[pair.group_b]) == 1:
        return "one run does not show how much seeds differ"
    if np.isnan(pair.least_p):
        return "none converges while both are watched, or all do at once"
    return f"however their results had fallen to the two, p would be at least {pair.least_p:.2g}"
