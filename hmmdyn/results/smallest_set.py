"""Which metrics suffice for a map."""

from __future__ import annotations

from dataclasses import dataclass, field

import pandas as pd

from hmmdyn.results.columns import BOOLEAN, INTEGER, NUMBER, TEXT, Column, Table, holds
from hmmdyn.results.shown import Shown

METRIC_SETS = Table(
    name="metric_sets",
    title="Sets of metrics, and how much of the map they keep",
    rows="set of metrics that was tried",
    columns=(
        Column("n_metrics", INTEGER, "metrics in the set"),
        Column("metrics", TEXT, "their names, with commas between"),
        Column("agreement", NUMBER, "share of the checkpoints that keep their state", "fraction"),
        Column(
            "least_overlap",
            NUMBER,
            "of the checkpoints in a state by either map, the share in it by both; the least over "
            "states",
            "fraction",
        ),
        Column("suffices", BOOLEAN, "the least overlap is what was asked for, or more"),
    ),
)


@dataclass(frozen=True, repr=False)
class SmallestSet(Shown):
    """The smallest set of metrics whose map equals that of all of them.

    Attributes
    ----------
    metrics : tuple of str
        The set, all metrics where no smaller one suffices.
    least_overlap : float
        How far the maps agree: see :data:`METRIC_SETS`.
    tried : DataFrame
        Every set that was tried, smaller ones first, the best of a size first: see
        :data:`METRIC_SETS`.
    """

    metrics: tuple[str, ...]
    least_overlap: float
    tried: pd.DataFrame = field(metadata=holds(METRIC_SETS))
