"""Which metrics entered the model, and how many different things they say."""

from __future__ import annotations

from dataclasses import dataclass, field

import pandas as pd

from hmmdyn.results.columns import BOOLEAN, NUMBER, TEXT, Column, Table, holds
from hmmdyn.results.shown import Shown

MODEL_METRICS = Table(
    name="model_metrics",
    title="Metrics that entered the model",
    rows="metric that was chosen for the model",
    note="Metrics that follow each other in every run count as one thing said several times.",
    columns=(
        Column("metric", TEXT, "name of the metric"),
        Column("used", BOOLEAN, "it entered the model"),
        Column("constant", BOOLEAN, "it does not change in any run"),
        Column(
            "alike",
            TEXT,
            "metrics of the model that it follows in every run (correlation above 0.999, or below "
            "-0.999), with commas between; empty without",
        ),
        Column(
            "orders",
            NUMBER,
            "orders of magnitude from its least to its greatest value within a run, the most of "
            "all runs",
            "powers of ten",
            missing="where it is not positive throughout",
        ),
    ),
)


@dataclass(frozen=True, repr=False)
class ModelMetrics(Shown):
    """The metrics that were chosen for the model.

    Attributes
    ----------
    table : DataFrame
        See :data:`MODEL_METRICS`.
    effective_dimensions : float
        Participation ratio (Σλ)²/Σλ² of the eigenvalues of the correlations between the metrics
        that entered the model, over all checkpoints: 1 if all say the same, their number if each
        says something of its own.
    """

    table: pd.DataFrame = field(metadata=holds(MODEL_METRICS))
    effective_dimensions: float
