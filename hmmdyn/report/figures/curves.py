"""Columns of the table over steps, every run coloured by its state, where there are states."""

from __future__ import annotations

import base64
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from hmmdyn.report import words
from hmmdyn.report.figures import theme
from hmmdyn.report.figures.links import STEP_AXIS, numbers_of, run_numbers
from hmmdyn.report.figures.run_rows import plot_labels
from hmmdyn.report.figures.thinning import thin
from hmmdyn.report.lookup import (
    drawn_groups,
    drawn_runs,
    full_run_names,
    runs_of_drawn_groups,
)
from hmmdyn.results.arrays import IntArray
from hmmdyn.results.findings import Findings, OutcomeFindings
from hmmdyn.results.keys import CHECKPOINT_KEY, RUN_KEY

# Runs with more checkpoints than this are drawn as lines without a marker at each of them.
_MARKED_CHECKPOINTS = 60
_MARKER = 4  # pixels
_ROW_PIXELS = 290

_Numbers = NDArray[np.integer[Any]] | NDArray[np.floating[Any]]


@dataclass(frozen=True)
class _Piece:
    """What one trace draws: the stays of a run in a state, with a gap (NaN) between them.

    ``size`` is that of the markers, 0 where there is none; ``n_points`` counts the points of the
    run, without gaps and without those of another state that a piece starts from.
    """

    x: _Numbers
    y: _Numbers
    size: IntArray
    n_points: int

    @property
    def mode(self) -> str:
        return "lines+markers" if self.size.any() else "lines"


_NOTHING = _Piece(np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.int32), 0)
_Pieces = dict[tuple[int, int], _Piece]  # by (run number, state)


def thin_curves(
    findings: OutcomeFindings, column: str, runs: Collection[int], yaxis: str
) -> list[go.Scatter]:
    """Return a trace per run and state of one column, of some runs alone.

    Parameters
    ----------
    findings : OutcomeFindings
        What was found.
    column : str
        A metric or an outcome.
    runs : collection of int
        The numbers of the runs.
    yaxis : str
        The axis it is drawn on: ``y``, ``y2``, ….
    """
    checkpoints = _checkpoints(findings).assign(y=findings.table[column].to_numpy())
    pieces = _pieces(checkpoints[checkpoints["number"].isin(runs)])
    traces = _traces(findings, pieces)
    for trace in traces:
        trace.update(mode="lines", marker=None, showlegend=False, yaxis=yaxis)
        trace.update(line={"width": 1.2}, opacity=0.75, legendgroup=None)
    return traces


def draw_curves(findings: OutcomeFindings, columns: Sequence[str]) -> go.Figure:
    """Draw the columns, one at a time and the others in a menu, on axes of their own per group.

    There is one trace per run and state: pieces of line, each the way from a checkpoint to the next
    in the colour of the state it leads to; without states one per run. Long runs are thinned
    (:func:`.thinning.thin`); ``layout.meta`` says how many ``points`` are drawn, of how many
    ``values``, how many runs are drawn (``n_drawn``) of how many (``n_runs``) of the first
    ``n_groups`` groups, which alone are drawn of very many. A value that is missing where its
    neighbours in time are known is a gap.
    """
    groups = drawn_groups(findings)
    drawn = drawn_runs(findings)
    checkpoints = _checkpoints(findings)
    shown = checkpoints["number"].isin(numbers_of(findings, drawn)).to_numpy()
    checkpoints = checkpoints[shown]
    values = findings.table.loc[shown, list(columns)]
    by_key = {
        column: _pieces(checkpoints.assign(y=values[column].to_numpy()), len(columns))
        for column in columns
    }
    keys = sorted({key for pieces in by_key.values() for key in pieces})
    pieces = {column: [by_key[column].get(key, _NOTHING) for key in keys] for column in columns}
    titles = [words.label(group, 40) for group in groups] if len(groups) > 1 else None
    figure = make_subplots(
        rows=len(groups),
        cols=1,
        shared_xaxes=True,
        shared_yaxes="all",
        vertical_spacing=0.3 / (2 + len(groups)) if len(groups) > 1 else 0,
        subplot_titles=titles,
    )
    figure.update_annotations(x=0, xanchor="left", font={"size": 13})
    runs = list(run_numbers(findings))
    traces = _traces(findings, dict(zip(keys, pieces[columns[0]], strict=True)))
    rows = [groups.index(runs[run][0]) + 1 for run, _ in keys]
    figure.add_traces(traces, rows=rows, cols=[1] * len(rows))
    figure.update_xaxes(exponentformat="none")
    figure.update_xaxes(title_text=findings.step_unit, row=len(groups), col=1)
    figure.update_yaxes(exponentformat="power")
    figure.update_layout(
        height=130 + _ROW_PIXELS * len(groups),
        # At the bottom, because the menu is at the top.
        legend={"yref": "container", "y": 0.0, "yanchor": "bottom", "traceorder": "normal"},
        meta={
            **STEP_AXIS,
            "points": sum(piece.n_points for drawn in pieces.values() for piece in drawn),
            "values": int(np.isfinite(values.to_numpy(np.float64)).sum()),
            "n_drawn": len(drawn),
            "n_runs": len(runs_of_drawn_groups(findings)),
            "n_groups": len(groups),
        },
        **_layout_of(findings, columns[0]),
    )
    if len(columns) > 1:
        figure.update_layout(updatemenus=[_menu(findings, pieces)])
    return figure


def _traces(findings: OutcomeFindings, pieces: _Pieces) -> list[go.Scatter]:
    """Return a trace per run and state."""
    runs = list(run_numbers(findings))
    names = plot_labels(full_run_names(findings), pd.DataFrame(runs, columns=RUN_KEY))
    looks = _looks(findings)
    in_legend = {state: (run, state) for run, state in reversed(pieces)}
    return [
        go.Scatter(
            x=piece.x,
            y=piece.y,
            meta={"run": run, "state": state, "name": names[run]},
            **{"showlegend": (run, state) == in_legend[state], **looks[state]},
            mode=piece.mode,
            marker={
                "size": piece.size if piece.size.any() else 0,
                "opacity": 1,
                "line": {"width": 0},
            },
            hovertemplate="%{meta.name}<br>%{x:,}: %{y:.4~g}",
        )
        for (run, state), piece in pieces.items()
    ]


def _looks(findings: OutcomeFindings) -> list[dict[str, Any]]:
    """Return what the traces of each state look like; without states there is one look for all."""
    if not isinstance(findings, Findings):
        return [{"opacity": 0.6, "line": {"color": theme.MARK, "width": 1.2}, "showlegend": False}]
    return [
        {
            "name": f"state {state}",
            "legendgroup": f"state {state}",
            "legendrank": 1000 + state,
            "line": {"color": colour, "width": 1.6},
        }
        for state, colour in enumerate(theme.state_colours(findings.parameters.n_states))
    ]


def _pieces(checkpoints: pd.DataFrame, n_curves: int = 1) -> _Pieces:
    """Cut the curves of all runs into pieces by state.

    A piece starts at the checkpoint before, where the run was still in another state (and where
    it gets no marker); stays follow one another with a gap in between.
    """
    points = _points(checkpoints)
    y, stretch, length = (points[c].to_numpy() for c in ("y", "stretch", "length"))
    kept = thin(y, stretch, length, n_curves)
    columns = ("x", "y", "state", "number", "stretch", "broken")
    x, y, state, number, stretch, broken = (points[c].to_numpy()[kept] for c in columns)
    starts = np.flatnonzero(np.diff(stretch, prepend=-1))
    joined = starts[~broken[starts]]
    alone = (np.bincount(stretch)[stretch] == 1) & broken if len(x) else broken
    marked = alone | (checkpoints["place"].max() < _MARKED_CHECKPOINTS)
    # Before the first row of each stretch come a gap and, unless it is broken off, the row before.
    rows = np.arange(len(x))
    row = np.concatenate([starts, joined - 1, rows])
    of_state = np.concatenate([state[starts], state[joined], state])
    of_run = number[row]
    place = np.concatenate([starts - 0.75, joined - 0.5, rows])
    n_gaps, own = len(starts), np.arange(len(row)) >= len(starts) + len(joined)
    y = np.concatenate([np.full(n_gaps, np.nan), y[row[n_gaps:]]])
    size = np.where(own & marked[row], _MARKER, 0).astype(np.int32)
    order = np.lexsort((place, of_state, of_run))
    borders = np.flatnonzero(np.diff(of_run[order]) | np.diff(of_state[order])) + 1
    return {
        # Without the gap before the first.
        (int(of_run[here[0]]), int(of_state[here[0]])): _Piece(
            _compact(x[row[here[1:]]]), _compact(y[here[1:]]), size[here[1:]], int(own[here].sum())
        )
        for here in np.split(order, borders)
        if len(here)
    }


def _checkpoints(findings: OutcomeFindings) -> pd.DataFrame:
    """Return every checkpoint: step ``x``, ``state``, ``number`` of the run, ``place`` in it.

    Without states all are in one.
    """
    joined = findings.table[CHECKPOINT_KEY].assign(state=0)
    if isinstance(findings, Findings):
        states = findings.states[[*CHECKPOINT_KEY, "state"]]
        joined = joined.drop(columns="state").merge(states, on=CHECKPOINT_KEY, how="left")
    joined["number"] = numbers_of(findings, joined)
    joined["place"] = joined.groupby("number").cumcount()
    return joined.rename(columns={"step": "x"})


def _points(checkpoints: pd.DataFrame) -> pd.DataFrame:
    """Return the checkpoints whose value ``y`` is known, runs contiguous.

    Further columns ``length`` (known values of the run), ``stretch`` (number of the unbroken stay),
    ``broken`` (no line leads here from the value before).
    """
    points: pd.DataFrame = checkpoints[np.isfinite(checkpoints["y"])].copy()
    by_run = points.groupby("number")
    points["length"] = by_run["y"].transform("size")
    # An outcome may be logged at every tenth checkpoint: more than its usual distance is a gap.
    distance = by_run["place"].diff()
    usual = distance.groupby(points["number"]).transform("median")
    points["broken"] = ~(distance <= usual)
    changed = points["broken"] | (points["state"] != points["state"].shift())
    points["stretch"] = changed.cumsum() - 1
    return points


def _compact(values: _Numbers) -> _Numbers:
    """Return numbers in 32 bits, half the size on the page, where nothing is lost to the eye."""
    if values.dtype.kind == "f":
        with np.errstate(over="ignore"):
            short = values.astype(np.float32)
        is_known = np.isfinite(values)
        known = values[is_known]
        span = np.ptp(known) if len(known) else 0.0
        lost = np.abs(short[is_known] - known).max(initial=0.0)
        return short if lost <= 1e-4 * span else values.astype(np.float64, copy=False)
    limits = np.iinfo(np.int32)
    fits = not len(values) or (values.min() >= limits.min and values.max() <= limits.max)
    return values.astype(np.int32) if fits else values.astype(np.float64)


def _menu(findings: OutcomeFindings, pieces: dict[str, list[_Piece]]) -> dict[str, object]:
    """Return a menu that puts another column into the same traces."""
    data = {column: _data(drawn) for column, drawn in pieces.items()}
    first, *others = data.values()
    # Where every column has a value at every checkpoint and none is thinned, only y changes.
    changing = [key for key in first if any(first[key] != other[key] for other in others)]
    buttons = [
        {
            "label": words.label(column, 30),
            "method": "update",
            "args": [{key: data[column][key] for key in changing}, _layout_of(findings, column)],
        }
        for column in pieces
    ]
    above_title = 30 if findings.table["group"].nunique() > 1 else 12
    return {
        "buttons": buttons,
        "direction": "down",
        "x": 0,
        "xanchor": "left",
        "y": 1,
        "yanchor": "bottom",
        "pad": {"b": above_title},
    }


def _data(pieces: list[_Piece]) -> dict[str, list[Any]]:
    return {
        "x": [_encoded(piece.x) for piece in pieces],
        "y": [_encoded(piece.y) for piece in pieces],
        "mode": [piece.mode for piece in pieces],
        "marker.size": [_encoded(piece.size) if piece.size.any() else 0 for piece in pieces],
    }


def _layout_of(findings: OutcomeFindings, column: str) -> dict[str, object]:
    """Return what of the layout goes with a column: the title of its axes and its threshold."""
    measure = findings.convergence
    numbers = ["", *map(str, range(2, len(drawn_groups(findings)) + 1))]
    shapes = []
    if measure is not None and measure.outcome == column:
        level = {"x0": 0, "x1": 1, "y0": measure.threshold, "y1": measure.threshold}
        look = {"color": theme.DETOUR, "width": 1.5, "dash": "dot"}
        shapes = [
            {
                "name": "threshold",
                "type": "line",
                "xref": f"x{n} domain",
                "yref": f"y{n}",
                **level,
                "line": look,
            }
            for n in numbers
        ]
    titles = {f"yaxis{n}.title.text": words.label(column, 30) for n in numbers}
    return {"shapes": shapes, **titles}


def _encoded(values: _Numbers) -> dict[str, str]:
    """Encode an array as plotly.js reads it; Plotly does so by itself, but not inside a menu."""
    kinds = {"float32": "f4", "float64": "f8", "int32": "i4"}
    data = values.astype(values.dtype.newbyteorder("<")).tobytes()
    return {"dtype": kinds[values.dtype.name], "bdata": base64.b64encode(data).decode("ascii")}
