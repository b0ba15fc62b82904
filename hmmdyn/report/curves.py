"""Columns of the table over steps, every run coloured by its state."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from hmmdyn.report import theme, words
from hmmdyn.report.facts import full_run_names
from hmmdyn.report.run_rows import plot_labels
from hmmdyn.results import CHECKPOINT_KEY, RUN_KEY, Findings

# Runs with more checkpoints than this are drawn as lines without a marker at each of them.
_MARKED_CHECKPOINTS = 60
_ROW_PIXELS = 290

_Pieces = dict[tuple[str, int], dict[str, Any]]


def draw_curves(findings: Findings, columns: Sequence[str]) -> go.Figure:
    """Draw the columns, one at a time and the others in a menu, on axes of their own per group.

    There is one trace per group and state, whatever the number of runs: pieces of line, each the
    way from a checkpoint to the next in the colour of the state it leads to.
    """
    groups = list(findings.table["group"].unique())
    pieces = {column: _pieces(findings, column) for column in columns}
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
    colours = theme.state_colours(findings.parameters.n_states)
    mode = "lines+markers" if _is_sparse(findings) else "lines"
    in_legend: set[int] = set()
    for (group, state), piece in pieces[columns[0]].items():
        row = groups.index(group) + 1
        drawn = any(len(pieces[column][group, state]["x"]) for column in columns)
        trace = go.Scatter(
            x=piece["x"],
            y=piece["y"],
            text=piece["text"],
            name=f"state {state}",
            legendgroup=f"state {state}",
            showlegend=drawn and state not in in_legend,
            mode=mode,
            line={"color": colours[state], "width": 1.6},
            marker={"size": piece["marker.size"], "opacity": 1, "line": {"width": 0}},
            hovertemplate="%{text}<br>%{x:,}: %{y:.4~g}",
        )
        figure.add_trace(trace, row=row, col=1)
        in_legend |= {state} if drawn else set()
    figure.update_xaxes(exponentformat="none")
    figure.update_xaxes(title_text=findings.step_unit, row=len(groups), col=1)
    figure.update_yaxes(exponentformat="power")
    figure.update_layout(
        template=theme.LIGHT,
        height=130 + _ROW_PIXELS * len(groups),
        # At the bottom, because the menu is at the top.
        legend={"yref": "container", "y": 0.0, "yanchor": "bottom"},
        **_layout_of(findings, columns[0]),
    )
    if len(columns) > 1:
        figure.update_layout(updatemenus=[_menu(findings, columns, pieces)])
    return figure


def _pieces(findings: Findings, column: str) -> _Pieces:
    """Cut the curves of all runs into pieces by state: (group, state) -> the arrays of its trace.

    A piece starts at the checkpoint before, where the run was still in another state (and where
    it gets no marker); pieces follow one another with a gap (NaN) in between. Checkpoints without
    a value are left out.
    """
    states = findings.states[[*CHECKPOINT_KEY, "state"]]
    table = findings.table[CHECKPOINT_KEY].assign(y=findings.table[column], size=4)
    table = table[table["y"].notna()].merge(states, on=CHECKPOINT_KEY)
    table["label"] = plot_labels(full_run_names(findings), table)
    key = table[[*RUN_KEY, "state"]]
    starts = table.index[(key != key.shift()).any(axis=1)]
    within_run = starts[(table[RUN_KEY] == table[RUN_KEY].shift()).all(axis=1)[starts]]
    # Before the first row of each piece come a gap and, within a run, the row before it.
    gaps = table.loc[starts].assign(y=np.nan).set_index(starts - 0.75)
    joints = table.loc[within_run - 1].set_index(within_run - 0.5)
    joints = joints.assign(state=table["state"][within_run].to_numpy(), size=0)
    drawn = pd.concat([gaps, joints, table]).sort_index()
    sparse = _is_sparse(findings)
    result: _Pieces = {}
    for group in findings.table["group"].unique():
        for state in range(findings.parameters.n_states):
            own = drawn[(drawn["group"] == group) & (drawn["state"] == state)].iloc[1:]
            result[group, state] = {
                "x": _compact(own["step"]),
                "y": _compact(own["y"]),
                "text": own["label"].tolist(),
                "marker.size": own["size"].to_numpy(dtype=np.int32) if sparse else 0,
            }
    return result


def _is_sparse(findings: Findings) -> bool:
    """Whether runs have so few checkpoints that each deserves a marker."""
    return bool(findings.table.groupby(RUN_KEY).size().max() <= _MARKED_CHECKPOINTS)


def _compact(values: pd.Series) -> np.ndarray:
    """Return numbers in 32 bits, half the size on the page, where nothing is lost to the eye."""
    if pd.api.types.is_float_dtype(values):
        exact = values.to_numpy(dtype=np.float64)
        with np.errstate(over="ignore"):
            short = exact.astype(np.float32)
        known = exact[np.isfinite(exact)]
        span = np.ptp(known) if len(known) else 0.0
        lost = np.abs(short[np.isfinite(exact)] - known).max(initial=0.0)
        return short if lost <= 1e-4 * span else exact
    limits = np.iinfo(np.int32)
    fits = values.empty or (values.min() >= limits.min and values.max() <= limits.max)
    return values.to_numpy(dtype=np.int32 if fits else np.float64)


def _menu(
    findings: Findings, columns: Sequence[str], pieces: dict[str, _Pieces]
) -> dict[str, object]:
    """Return a menu that puts another column into the same traces."""
    # Where every column has a value at every checkpoint, only y changes.
    complete = bool(findings.table[list(columns)].notna().all().all())
    changing = ["y"] if complete else ["x", "y", "text", "marker.size"]
    buttons = []
    for column in columns:
        parts = pieces[column].values()
        data = {key: [_encoded(part[key]) for part in parts] for key in changing}
        arguments = [data, _layout_of(findings, column)]
        buttons.append({"label": words.label(column, 30), "method": "update", "args": arguments})
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


def _layout_of(findings: Findings, column: str) -> dict[str, object]:
    """Return what of the layout goes with a column: the title of its axes and its threshold."""
    measure = findings.convergence
    numbers = ["", *map(str, range(2, findings.table["group"].nunique() + 1))]
    shapes = []
    if measure is not None and measure.outcome == column:
        level = {"x0": 0, "x1": 1, "y0": measure.threshold, "y1": measure.threshold}
        look = {"color": theme.DETOUR, "width": 1.5, "dash": "dot"}
        shapes = [
            {"type": "line", "xref": f"x{n} domain", "yref": f"y{n}", **level, "line": look}
            for n in numbers
        ]
    titles = {f"yaxis{n}.title.text": words.label(column, 30) for n in numbers}
    return {"shapes": shapes, **titles}


def _encoded(values: Any) -> Any:
    """Encode an array as plotly.js reads it; Plotly does so by itself, but not inside a menu."""
    if not isinstance(values, np.ndarray):
        return values
    kinds = {"float32": "f4", "float64": "f8", "int32": "i4"}
    data = values.astype(values.dtype.newbyteorder("<")).tobytes()
    return {"dtype": kinds[values.dtype.name], "bdata": base64.b64encode(data).decode("ascii")}
