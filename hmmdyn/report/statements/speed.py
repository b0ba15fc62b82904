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
from hmmdyn.results.verdicts import (
    A_NOT_SLOWER,
    ALIKE,
    B_NOT_SLOWER,
    CANNOT_TELL,
    DIFFERENT,
    FASTER,
    NO_EVIDENCE,
    SLOWER,
)

_TOPIC = "Which runs converged when"
_TWICE = 2.0  # the time ratio of the profile that is said
_NAMED = 4  # groups, and pairs of them, with their numbers; tables have them all
_TESTED = (
    "Tested by handing the runs to the groups in other ways (permutation test of the log-rank "
    "statistic), p corrected over the pairs. Runs count for as long as both groups were watched, "
    "in averages a run that takes longer as one that ends then. The interval of an average "
    "difference holds wherever between two evaluations runs converged. Of groups evaluated at "
    "different steps neither has an advantage by that: each is tested for being faster though seen "
    "no sooner than the other."
)
_PLANNED = (
    "Reckoned for the test that groups are compared by, one pair of groups alone, and for steps of "
    "convergence that are log-normal. A difference of 50 % means that one group takes half as long "
    "again; power 0.8 means that a difference of this size is told in four of five experiments."
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
    yield from _side_by_side(speed, findings.step_unit)
    yield from _within_twice(speed, findings.step_unit)
    yield from _ranks(findings, speed)
    yield from _groups(speed, findings.step_unit)
    yield from _margins(speed)
    yield from _planning(speed)


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
        "long as they were watched; of an even number of runs the mean of the middle two. A run "
        "converges somewhere between two evaluations, so a median may only be known to lie between "
        "two steps. The interval is for all runs that the recipe could give, not only those seen; "
        "five runs or fewer cannot bound it.",
        brief=text,
    )


def _median(group: Any) -> str:
    """Return ``between 201 and 300 (95 % interval 101 to 400)``, or what is known instead."""
    median = "not reached"
    if np.isfinite(group.median_latest):
        earliest, latest = words.count(group.median_earliest), words.count(group.median_latest)
        median = latest if earliest == latest else f"between {earliest} and {latest}"
    bounded_below, bounded_above = group.median_low > 0, np.isfinite(group.median_high)
    if not bounded_below and not bounded_above:
        return f"{median} ({words.plural(group.n_runs, 'run')} cannot bound it)"
    low = f"{words.count(group.median_low)} " if bounded_below else ""
    high = f"to {words.count(group.median_high)}" if bounded_above else "or more"
    return f"{median} (95 % interval {low}{high})"


def _side_by_side(speed: ConvergenceSpeed, unit: str) -> Iterator[Statement]:
    """Say of each of several groups how many runs it has, and how long they take on average."""
    if len(speed.groups) < 2:
        return
    groups = words.listing(
        (
            f"{words.name(group.group, 30)} {words.count(group.restricted_mean)}{_error(group)} "
            f"({words.plural(group.n_runs, 'run')}, {group.n_converged} converged, "
            f"{group.n_censored} censored)"
            for group in rows(speed.groups)
        ),
        at_most=_NAMED,
    )
    horizon = words.count(speed.groups["horizon"].iloc[0])
    yield Statement(
        _TOPIC,
        f"Mean {unit} of convergence up to {unit} {horizon}, ± its standard error: {groups}.",
        "A run that takes longer, or was not seen to converge, counts as one that converges at the "
        "last of these steps; every other as half way between the evaluation at which it was first "
        "seen to have converged and the one before.",
    )


def _error(group: Any) -> str:
    return f" ± {words.count(group.restricted_mean_se)}" if group.restricted_mean_se > 0 else ""


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
        f"Convergence was first seen at {unit} {fastest}; by twice that {unit}, "
        f"{words.listing(tallies)} had been seen to converge.",
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
        f"rank of {n_certain or 'none'} of the {len(converged)} runs that converged is certain.",
    )


def _groups(speed: ConvergenceSpeed, unit: str) -> Iterator[Statement]:
    """Say which groups converge faster than which."""
    all_groups = speed.tests["group_a"].isna()
    pairs = list(rows(speed.tests[~all_groups].sort_values("p_corrected", kind="stable")))
    differ = [_difference(pair, unit) for pair in pairs if pair.verdict in (FASTER, SLOWER)]
    for test in rows(speed.tests[all_groups]):
        text = _ALL_GROUPS[test.verdict].format(p=words.p_value(test.p))
        # Beside a pair that differs, that all groups together do not would read as a contradiction.
        is_said = test.verdict == DIFFERENT or not differ
        yield Statement(_TOPIC, text, _TESTED, brief=text if is_said else "")
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
        f"{_both(pair)} ({words.p_value(pair.p_corrected)}{_missed(pair)})"
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


def _missed(pair: Any) -> str:
    """Return how large a difference so few runs may miss."""
    if not np.isfinite(pair.smallest):
        return ""
    return f"; less than {_share(pair.smallest)} would often be missed"


def _share(difference: float) -> str:
    return f"{words.number(100 * difference, 2)}\u00a0%"


def _margins(speed: ConvergenceSpeed) -> Iterator[Statement]:
    """Say which groups are no slower than others, within the margin asked for."""
    pairs = list(rows(speed.equivalence))
    if not pairs:
        return
    within = _share(pairs[0].margin)
    shown = [
        *(f"{_both(pair)} are alike within {within}" for pair in pairs if pair.verdict == ALIKE),
        *(
            f"{words.name(group, 30)} is not slower than {words.name(other, 30)} by {within} or "
            f"more ({words.p_value(p)})"
            for pair in pairs
            for verdict, group, other, p in (
                (A_NOT_SLOWER, pair.group_a, pair.group_b, pair.p_a_not_slower),
                (B_NOT_SLOWER, pair.group_b, pair.group_a, pair.p_b_not_slower),
            )
            if pair.verdict == verdict
        ),
    ]
    explanation = (
        "Each group is tested for being faster than the other would be if it took longer by the "
        "margin (one-sided permutation test, p corrected over groups and pairs). Alike: neither is "
        "slower by the margin or more."
    )
    if shown:
        text = f"{'; '.join(shown[:_NAMED])}{'; and others' * (len(shown) > _NAMED)}."
        yield Statement(_TOPIC, text, explanation, brief=text)
    open_ = [_both(pair) for pair in pairs if pair.verdict in (NO_EVIDENCE, CANNOT_TELL)]
    if open_:
        text = (
            f"It is not shown that either is not slower than the other by {within} or more of "
            f"{words.listing(open_, at_most=_NAMED)}: that is no sign that one is."
        )
        yield Statement(_TOPIC, text, explanation)


def _planning(speed: ConvergenceSpeed) -> Iterator[Statement]:
    """Say what difference groups of as many seeds would tell, and how many seeds others need."""
    known = speed.planning[np.isfinite(speed.planning["smallest"])]
    several = len(speed.groups) > 1
    for plan in rows(known.head(_NAMED)):
        own = speed.seeds_needed[speed.seeds_needed["group"] == plan.group]
        needed = words.listing(
            f"{words.count(need.n_runs)} for {_share(need.difference)}"
            for need in rows(own[np.isfinite(own["n_runs"])])
        )
        likeness = f"like those of {words.name(plan.group, 30)}" if several else "like these"
        interval = f"95 % interval {_share(plan.smallest_low)} to {_share(plan.smallest_high)}"
        yield Statement(
            _TOPIC,
            f"Two groups of {words.plural(plan.n_runs, 'run')} {likeness} tell, with power 0.8, a "
            f"difference of {_share(plan.smallest)} or more ({interval})"
            + (f"; runs that each of the two needs: {needed}." if needed else "."),
            _PLANNED,
        )


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
        by = f"{words.in_steps(words.number(sooner, 3), unit)} sooner {until}"
        if np.isfinite(low):
            by += f", 95 % interval {words.number(low, 3)} to {words.number(high, 3)}"
    return f"{a} converges faster than {b} ({by}; {words.p_value(pair.p_corrected)})"


def _why_not(pair: Any, n_runs: Mapping[str, int]) -> str:
    if min(n_runs[pair.group_a], n_runs[pair.group_b]) == 1:
        return "one run does not show how much seeds differ"
    if np.isnan(pair.least_p):
        return "none converges while both are watched, or all do at once"
    return f"however their results had fallen to the two, p would be at least {pair.least_p:.2g}"
