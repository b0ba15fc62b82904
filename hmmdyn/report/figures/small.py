"""Small pictures of runs, for a list: the outcome's curve, and the states, without any axis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from hmmdyn.report.figures import theme
from hmmdyn.report.lookup import rows
from hmmdyn.results.findings import Findings, OutcomeFindings
from hmmdyn.results.keys import RUN_KEY

_WIDTH, _HEIGHT = 140.0, 22.0  # pixels
_POINTS = 36


@dataclass(frozen=True)
class Strip:
    """A stay of a run in a state, in the units of the small picture."""

    x: int
    width: int
    colour: str


class SmallPictures:
    """The small pictures of runs, all on one scale."""

    def __init__(self, findings: OutcomeFindings) -> None:
        measure = findings.convergence
        self._longest = max(float(findings.table["step"].max()), 1.0)
        self._curves: Mapping[Any, pd.DataFrame] = {}
        if measure is not None and not measure.table.empty:
            known = findings.table[np.isfinite(findings.table[measure.outcome])]
            values = known[measure.outcome]
            # Whatever a few values reach: a spike must not flatten every other curve.
            self._low, self._high = map(float, np.quantile(values, [0.01, 0.99]))
            columns = known[["step"]].assign(y=values)
            self._curves = dict(list(columns.groupby([known[c] for c in RUN_KEY], sort=False)))
        self._stays: Mapping[Any, pd.DataFrame] = {}
        if isinstance(findings, Findings):
            self._stays = dict(list(findings.ways.stays.groupby(RUN_KEY, sort=False)))
            self._colours = theme.state_colours(findings.parameters.n_states)

    def place(self, step: float) -> int:
        """Return where a step is, in pixels; all pictures have one scale."""
        return round(_WIDTH * step / self._longest)

    def curve(self, run: Any) -> str:
        """Return the points of the outcome's curve as SVG has them; empty where it is not known."""
        own = self._curves.get((run.group, run.run))
        if own is None:
            return ""
        some = own.iloc[np.unique(np.linspace(0, len(own) - 1, _POINTS).round().astype(int))]
        height = (some["y"] - self._low) / ((self._high - self._low) or 1.0)
        y = _HEIGHT - 2 - (_HEIGHT - 4) * np.clip(height.to_numpy(), 0, 1)
        points = zip(some["step"], y, strict=True)
        return " ".join(f"{self.place(step)},{round(float(v))}" for step, v in points)

    def strips(self, run: Any) -> tuple[Strip, ...]:
        """Return the run's stays in states; none where there are no states."""
        own = self._stays.get((run.group, run.run))
        if own is None:
            return ()
        return tuple(
            Strip(
                self.place(stay.start),
                self.place(stay.end) - self.place(stay.start),
                self._colours[stay.state],
            )
            for stay in rows(own)
        )
