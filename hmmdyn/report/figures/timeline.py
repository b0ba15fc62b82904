"""All runs at a glance: the outcome's curves, and below them a strip per run."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from hmmdyn.errors import NotEnoughDataError
from hmmdyn.report import words
from hmmdyn.report.figures import theme
from hmmdyn.report.figures.curves import thin_curves
from hmmdyn.report.figures.run_rows import RunRows, margin_for
from hmmdyn.report.figures.strips import strips, strips_of_outcomes
from hmmdyn.results.findings import Findings, OutcomeFindings

_ROWS_PIXELS = 430  # of all rows together, as far as a row is neither thicker nor thinner than …
_ROW_PIXELS = (1.5, 24.0)
_CURVES_PIXELS = 150
_GAP_PIXELS = 26
_MARGIN = {"t": 58, "b": 50, "r": 78}
_THIN = 6.0  # pixels of a row below which strips touch each other
CURVES_DRAWN = 60  # of more runs only some, evenly spaced by rank


def timeline(findings: OutcomeFindings) -> go.Figure:
    """Draw which state every run is in at every step: a strip per run, the fastest on top.

    A state begins halfway between two checkpoints. Convergence is marked on the strip; a run that
    had not converged when it ended (censored) has an open triangle at its end, and one that is
    unlike the others of its group a star at its beginning. Beside it stands how many times the
    fastest run's steps it took. Above are the curves of the outcome that defines convergence, on
    the same axis; of many runs those of some, evenly spaced by rank. Without states a strip changes
    its colour where the run converges.

    Raises
    ------
    NotEnoughDataError
        There are neither states nor a known outcome.
    """
    has_states = isinstance(findings, Findings)
    measure = findings.convergence
    if not has_states and (measure is None or measure.table.empty):
        raise NotEnoughDataError(
            "No outcome (loss, accuracy) is known, so it is not known when runs converged."
        )
    row_pixels = float(np.clip(_ROWS_PIXELS / len(findings.runs), *_ROW_PIXELS))
    run_rows = RunRows(findings, row_pixels=row_pixels)
    thick = theme.STRIP if row_pixels >= _THIN else 1.0
    figure = go.Figure(
        strips(findings, run_rows.runs, thick)
        if isinstance(findings, Findings)
        else strips_of_outcomes(run_rows.runs, thick)
    )
    figure.add_traces(run_rows.marks())
    if isinstance(findings, Findings):
        figure.add_traces(run_rows.outliers(findings.outliers))
    frame = run_rows.frame()
    figure.update_layout(barmode="overlay", **frame)
    figure.add_traces(_times(findings, run_rows))
    if measure is not None and not measure.table.empty:
        _add_curves(findings, figure, run_rows)
    # At the top whatever the height, and above the name of the outcome.
    figure.update_layout(legend={"yref": "container", "y": 1, "yanchor": "top"})
    figure.update_layout(margin={**_MARGIN, "l": margin_for(frame["yaxis"]["ticktext"])})
    return figure


def _add_curves(findings: OutcomeFindings, figure: go.Figure, run_rows: RunRows) -> None:
    """Put the curves of the outcome above the rows."""
    measure = findings.convergence
    assert measure is not None
    chosen = np.linspace(0, len(run_rows.runs) - 1, CURVES_DRAWN).round()
    some = run_rows.runs["number"].iloc[np.unique(chosen.astype(int))]
    drawn = some if len(run_rows.runs) > CURVES_DRAWN else run_rows.runs["number"]
    figure.add_traces(thin_curves(findings, measure.outcome, frozenset(drawn), yaxis="y2"))
    whole = run_rows.pixels + _GAP_PIXELS + _CURVES_PIXELS
    edge = {"xref": "paper", "showarrow": False, "borderpad": 0}
    figure.update_layout(
        height=figure.layout.height + _GAP_PIXELS + _CURVES_PIXELS,
        yaxis={"domain": [0, run_rows.pixels / whole]},
        yaxis2={
            "domain": [1 - _CURVES_PIXELS / whole, 1],
            "anchor": "x",
            "exponentformat": "power",
            "nticks": 5,
        },
        shapes=[
            {
                "name": "threshold",
                "type": "line",
                "xref": "x domain",
                "yref": "y2",
                "x0": 0,
                "x1": 1,
                "y0": measure.threshold,
                "y1": measure.threshold,
                "line": {"color": theme.DETOUR, "width": 1.2, "dash": "dot"},
            }
        ],
        annotations=[
            *figure.layout.annotations,
            {
                **edge,
                "text": f"{words.label(measure.outcome, 20)}",
                "x": 0,
                "xanchor": "left",
                "xshift": 4,
                "y": 1,
                "yref": "y2 domain",
                "yanchor": "bottom",
            },
            {
                **edge,
                "text": "converged",
                "x": 1,
                "xanchor": "left",
                "xshift": 6,
                "y": measure.threshold,
                "yref": "y2",
            },
        ],
    )


def _times(findings: OutcomeFindings, run_rows: RunRows) -> list[go.Scatter]:
    """Return beside some rows how many times the fastest run's steps they took."""
    named = run_rows.named
    converged = run_rows.runs.loc[run_rows.runs["converged"], "step"]
    if converged.empty or converged.min() <= 0 or len(run_rows.runs) == 1:
        return []
    named = named[named["status"] != "unknown"]
    return [
        go.Scatter(
            x=[int(findings.table["step"].max())] * len(named),
            y=named["y"],
            mode="text",
            text=[_times_in_words(run, float(converged.min())) for _, run in named.iterrows()],
            textposition="middle right",
            textfont={"size": 11},
            customdata=named["number"],
            meta={"each": "run"},
            hoverinfo="skip",
            showlegend=False,
            cliponaxis=False,
        )
    ]


def _times_in_words(run: pd.Series, fastest: float) -> str:
    if run["converged"]:
        return f"   {words.number(run['step'] / fastest, 2)} ×"
    return f"   > {words.number(run['step'] / fastest, 2)} ×" if run["step"] > fastest else ""
