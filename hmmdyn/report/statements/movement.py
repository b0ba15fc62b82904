"""By which law of time weights move away from where they began."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hmmdyn.report import words
from hmmdyn.report.lookup import rows
from hmmdyn.report.statements.statement import Statement
from hmmdyn.results.findings import Findings
from hmmdyn.results.movement import LOGARITHM, NO_LAW, POWER, SATURATING

_TOPIC = "How far weights move"
_HOW = (
    "To the distance of a run's weights from its first checkpoint a + b (tᵞ − 1)/γ is fitted, with "
    "time t: at γ = 0 that is a + b log t, which Hoffer 2017 found early in training at a high "
    "learning rate, and at ½ a random walk's. The interval is of the mean over runs."
)
_SAID = {
    POWER: "grows as a power of time",
    LOGARITHM: "grows as the logarithm of time",
    SATURATING: "grows ever less, and more slowly than the logarithm of time",
    NO_LAW: "follows neither a logarithm nor a power of time",
}


def say(findings: Findings) -> Iterator[Statement]:
    """Say the law of each group; nothing where the distance was not measured."""
    told = findings.movement_laws[findings.movement_laws["n_runs"] > 0]
    for i, law in enumerate(rows(told)):
        of = f" in group {words.name(law.group)}" if len(told) > 1 else ""
        yield Statement(_TOPIC, _law(law, of), _HOW if i == 0 else "")


def _law(law: Any, of: str) -> str:
    how = _SAID.get(law.law)
    if law.law == NO_LAW:
        left = words.percent(law.misfit)
        return (
            f"The distance of weights from where they began {how}{of}: the fit leaves {left} of "
            "the deviation."
        )
    exponent = f"γ = {_signed(law.exponent)}"
    if law.exponent_low == law.exponent_low:  # known
        exponent += f" ({_signed(law.exponent_low)} to {_signed(law.exponent_high)})"
    n = words.plural(law.n_runs, "run")
    if how is None:
        return (
            f"Whether the distance of weights from where they began grows as a power or as the "
            f"logarithm of time{of} cannot be told from {n}: {exponent}."
        )
    return f"The distance of weights from where they began {how}{of}: {exponent}, {n}."


def _signed(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")
