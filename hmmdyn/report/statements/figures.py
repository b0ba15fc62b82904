"""What each figure shows in words, for readers who cannot see it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from hmmdyn.report import words
from hmmdyn.report.lookup import (
    extreme_runs,
    full_run_names,
    movement,
    own_levels,
    rows,
    state_name,
    top_movements,
)
from hmmdyn.report.statements.statement import Statement
from hmmdyn.results.findings import Findings, OutcomeFindings

_QUARTERS = {"a quarter": 0.75, "half": 0.5, "three quarters": 0.25}  # shares still to converge
_RATIOS = (1.2, 1.5, 2, 5)


def figure_summaries(
    findings: OutcomeFindings, said: Mapping[str, Sequence[Statement]]
) -> dict[str, str]:
    """Return, by figure, what it shows in words, for readers who cannot see it.

    ``said`` are the sentences of the report (:func:`.statements.said`): some figures show what
    they say.
    """
    of_outcomes = {
        "convergence": " ".join(s.text for s in said["convergence"]),
        "waiting_curves": _waiting_in_words(findings),
        "performance_profile": _profile_in_words(findings),
        "timeline": _when_in_words(findings, said),
    }
    if not isinstance(findings, Findings):
        return of_outcomes
    return {
        **of_outcomes,
        "training_map": _map_in_words(findings),
        "timeline": f"{' '.join(s.text for s in said['ways'])} {_when_in_words(findings, said)}",
        "why_slow": " ".join(s.text for s in said["slowness"]),
        "slowest_and_fastest": _extremes_in_words(findings),
        "state_means": _means_in_words(findings),
        "layers": " ".join(s.text for s in said["where"]),
    }


def _when_in_words(findings: OutcomeFindings, said: Mapping[str, Sequence[Statement]]) -> str:
    """Say when runs converged, where that is known."""
    if findings.convergence is None:
        return ""
    return " ".join(statement.text for statement in said["convergence"])


def _map_in_words(findings: Findings) -> str:
    edges = []
    for edge in rows(findings.transitions):
        moves = words.listing(
            f"{words.name(f, 30)} {movement(m)}"
            for f, m in top_movements(findings, edge.from_state, edge.to_state)
        )
        edges.append(
            f"{edge.from_state} → {edge.to_state}: {words.of_runs(edge.n_runs, edge.n_total)} "
            f"({moves})"
        )
    if not edges:
        return "One state and no transitions."
    return f"Transitions and what moves most in them: {'; '.join(edges)}."


def _means_in_words(findings: Findings) -> str:
    means, own = findings.parameters.means, own_levels(findings)
    lines = []
    for state, row in enumerate(means):
        strongest = np.argsort(-np.abs(row), kind="stable")[:3]
        parts = words.listing(
            f"{words.name(findings.features[i], 30)} {row[i]:+.1f}"
            + (f" ({own[state, findings.features[i]]})" if own else "")
            for i in strongest
        )
        lines.append(f"state {state}: {parts}")
    beside = " (in brackets in its own unit)" if own else ""
    return f"Furthest from the average, in standard deviations{beside}: {'; '.join(lines)}."


def _waiting_in_words(findings: OutcomeFindings) -> str:
    speed = findings.speed
    if speed is None:
        return ""
    lines = []
    for group in rows(speed.groups):
        curve = speed.curves[speed.curves["group"] == group.group]
        reached = words.listing(
            f"{share} by {_first_step(curve, waiting, findings.step_unit)}"
            for share, waiting in _QUARTERS.items()
        )
        lines.append(f"{words.name(group.group, 30)} ({group.n_runs}): {reached}")
    return f"How many of the runs of each group had converged: {'; '.join(lines)}."


def _first_step(curve: pd.DataFrame, waiting: float, unit: str) -> str:
    reached = curve.loc[curve["waiting"] <= waiting + 1e-12, "step"]
    return f"{unit} {words.count(reached.iloc[0])}" if len(reached) else "no step seen"


def _profile_in_words(findings: OutcomeFindings) -> str:
    speed = findings.speed
    if speed is None or speed.profile.empty:
        return ""
    lines = []
    for group in rows(speed.groups):
        own = speed.profile[speed.profile["group"] == group.group]
        shares = (own.loc[own["ratio"] <= ratio, "share"].max() for ratio in _RATIOS)
        lines.append(f"{words.name(group.group, 30)} {words.listing(map(words.percent, shares))}")
    ratios = words.listing(words.number(ratio) for ratio in _RATIOS)
    return (
        f"Share of runs seen to converge within {ratios} times the first run's time: "
        f"{'; '.join(lines)}."
    )


def _extremes_in_words(findings: Findings) -> str:
    if findings.slowness is None:
        return ""
    pairs = findings.slowness.extremes.groupby("group", sort=False)
    return " ".join(_pair_in_words(findings, states) for _, states in pairs)


def _pair_in_words(findings: Findings, states: pd.DataFrame) -> str:
    """Say of a group's rows in the table of extremes what the figure shows of them."""
    names = full_run_names(findings)
    unit = findings.step_unit
    fastest, slowest = rows(extreme_runs(findings, states))
    until = "converged at" if slowest.converged else "had not converged at"
    text = (
        f"{words.capital(names[fastest.group, fastest.run])} converged at {unit} "
        f"{words.count(fastest.step)}, {names[slowest.group, slowest.run]} {until} {unit} "
        f"{words.count(slowest.step)}."
    )
    decisive = states[states["decisive"]]
    if decisive.empty:
        return text
    longer = decisive["slowest"] - decisive["fastest"]
    most_first = decisive.loc[longer.sort_values(ascending=False, kind="stable").index]
    which = words.listing(
        f"{state_name(findings, row.state)} "
        f"({words.in_steps(words.number(row.slowest, 3), unit)} against "
        f"{words.number(row.fastest, 3)})"
        for row in rows(most_first)
    )
    return f"{text} The latter stayed longer above all in {which}."
