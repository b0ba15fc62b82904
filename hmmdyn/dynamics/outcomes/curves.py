"""Curves of losses and accuracies: one outcome of one run, where it was evaluated."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from hmmdyn.dynamics.outcomes.spikes import LOST, Excursion
from hmmdyn.results.arrays import FloatArray
from hmmdyn.results.keys import RUN_KEY
from hmmdyn.roles import better_side

LAST = 5  # evaluations whose median is the level of a curve at a place


@dataclass(frozen=True, eq=False)
class Curve:
    """An outcome of a run where it was evaluated: ``steps`` and ``values`` have shape (n,).

    Values may be infinite. ``improving`` is +1 where higher is better, else -1.
    """

    group: str
    run: str
    seed: object
    outcome: str
    steps: FloatArray
    values: FloatArray
    improving: int

    @property
    def labels(self) -> dict[str, object]:
        """The columns that say whose curve it is."""
        return {"group": self.group, "run": self.run, "seed": self.seed, "outcome": self.outcome}

    def is_alike(self, other: Curve) -> bool:
        """Whether this is the same outcome of a run of the same group."""
        return (self.group, self.outcome) == (other.group, other.outcome)

    def leaves_within(self, found: Iterable[Excursion], first: float, last: float) -> bool:
        """Whether one of the excursions found in the curve begins between two steps."""
        return any(first <= self.steps[one.first] <= last for one in found)

    def worsens(self, first: float, last: float) -> bool:
        """Whether the outcome is clearly worse between two steps than it was before."""
        steps, values = self.finite()
        before, during = values[steps < first][-LAST:], values[(first <= steps) & (steps <= last)]
        if not len(before) or not len(during):
            return False
        loss = self.improving * (np.median(before) - np.median(during))
        return bool(loss > LOST * abs(values[0] - np.median(before)))

    def finite(self, until: float = np.inf) -> tuple[FloatArray, FloatArray]:
        """Steps and values where the value is finite, up to a step."""
        kept = np.isfinite(self.values) & (self.steps <= until)
        return self.steps[kept], self.values[kept]


def curves_of(table: pd.DataFrame, outcomes: Sequence[str]) -> Iterator[Curve]:
    """Go through the curves of a table: run by run, in each the outcomes in their order."""
    for key, own in table.groupby(RUN_KEY, sort=False):
        group, run = map(str, key)
        steps = own["step"].to_numpy(dtype=np.float64)
        for outcome in outcomes:
            improving = 1 if better_side(outcome) == "above" else -1
            values = own[outcome].to_numpy(dtype=np.float64)
            # Infinity the good way is no value; the bad way, it is a divergence.
            evaluated = ~np.isnan(values) & (improving * values < np.inf)
            yield Curve(
                group,
                run,
                own["seed"].iloc[0],
                outcome,
                steps[evaluated],
                values[evaluated],
                improving,
            )


def of_outcome(curves: Iterable[Curve], outcome: str) -> dict[tuple[str, str], Curve]:
    """Return the curves of one outcome, by (group, run)."""
    return {(c.group, c.run): c for c in curves if c.outcome == outcome}
