"""The table of metrics of parts of a network: its layers, and the roles of its weights."""

from __future__ import annotations

from hmmdyn.results.columns import GROUP, NUMBER, RUN, STEP, TEXT, Column, Table

PARTS = Table(
    name="parts",
    title="Metrics of layers and roles",
    rows="checkpoint, part of the network and metric",
    columns=(
        GROUP,
        RUN,
        STEP,
        Column(
            "by",
            TEXT,
            "layer: the part is a layer or block; role: all weights of a role (q, k, v, o, …)",
        ),
        Column("part", TEXT, "name of the layer, or the role"),
        Column("metric", TEXT, "name of the metric"),
        Column(
            "value",
            NUMBER,
            "its value of the weights of that part alone",
            "of the metric",
            missing="where it is not defined",
        ),
    ),
)
