"""What each figure shows in words, for readers who cannot see it."""

from __future__ import annotations

import numpy as np

from hmmdyn.report import words
from hmmdyn.report.facts import (
    movement,
    rows,
    top_movements,
)
from hmmdyn.report.statements import convergence, ways
from hmmdyn.results import (
    Findings,
)


def figure_summaries(findings: Findings) -> dict[str, str]:
    """Return, by figure, what it shows in words, for readers who cannot see it."""
    return {
        "training_map": _map_in_words(findings),
        "convergence": " ".join(s.text for s in convergence.when(findings)),
        "timeline": " ".join(s.text for s in ways.say(findings)) or "There is one state.",
        "state_means": _means_in_words(findings),
    }


def _map_in_words(findings: Findings) -> str:
    edges = []
    for edge in rows(findings.transitions):
        moves = words.listing(
            f"{words.name(f, 30)} {movement(m)}"
            for f, m in top_movements(findings, edge.from_state, edge.to_state)
        )
        edges.append(
            f"{edge.from_state} → {edge.to_state}: {edge.n_runs} of {edge.n_total} runs ({moves})"
        )
    if not edges:
        return "One state and no transitions."
    return f"Transitions and what moves most in them: {'; '.join(edges)}."


def _means_in_words(findings: Findings) -> str:
    means = findings.parameters.means
    lines = []
    for state, row in enumerate(means):
        strongest = np.argsort(-np.abs(row), kind="stable")[:3]
        parts = words.listing(
            f"{words.name(findings.features[i], 30)} {row[i]:+.1f}" for i in strongest
        )
        lines.append(f"state {state}: {parts}")
    return f"Furthest from the average, in standard deviations: {'; '.join(lines)}."
