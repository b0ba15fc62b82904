"""One function per figure: findings in, a Plotly figure out.

Every figure works on its own, in a notebook as on the page. Colour means the state, and in figures
of groups that show no states, the group.
A figure that does not apply to the findings raises ``NotEnoughDataError`` with the reason.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import Parameter, signature
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from hmmdyn.errors import NotEnoughDataError
from hmmdyn.names import require_known
from hmmdyn.report import words
from hmmdyn.report.figures import theme
from hmmdyn.report.figures.curves import draw_curves
from hmmdyn.report.figures.extremes import slowest_and_fastest
from hmmdyn.report.figures.group_maps import group_maps
from hmmdyn.report.figures.layers import layers
from hmmdyn.report.figures.run_rows import RunRows
from hmmdyn.report.figures.speed import performance_profile, waiting_curves
from hmmdyn.report.figures.theme import standalone
from hmmdyn.report.figures.timeline import timeline
from hmmdyn.report.figures.training_map import training_map
from hmmdyn.report.figures.why_slow import why_slow
from hmmdyn.report.lookup import CRITERIA, HELD_OUT_SCORES, own_levels
from hmmdyn.results.findings import Findings, OutcomeFindings

__all__ = [
    "Figures",
    "convergence",
    "group_maps",
    "layers",
    "metric_trajectories",
    "model_selection",
    "outcome_curves",
    "performance_profile",
    "slowest_and_fastest",
    "state_means",
    "timeline",
    "training_map",
    "waiting_curves",
    "why_slow",
]

_DASHES = dict(zip(CRITERIA, ("solid", "dash", "dot", "longdash"), strict=True))


class Figures:
    """The figures of one set of findings: ``Figures(findings).training_map()``, and so on.

    Each takes the options of the function of its name, and a ``theme``: ``light`` or ``dark``.
    Where there are no states, figures of them are not among its attributes.
    """

    def __init__(self, findings: OutcomeFindings) -> None:
        self.timeline = _themed(timeline, findings)
        self.convergence = _themed(convergence, findings)
        self.waiting_curves = _themed(waiting_curves, findings)
        self.performance_profile = _themed(performance_profile, findings)
        self.outcome_curves = _themed(outcome_curves, findings)
        if not isinstance(findings, Findings):
            return
        self.training_map = _themed(training_map, findings)
        self.group_maps = _themed(group_maps, findings)
        self.why_slow = _themed(why_slow, findings)
        self.slowest_and_fastest = _themed(slowest_and_fastest, findings)
        self.metric_trajectories = _themed(metric_trajectories, findings)
        self.state_means = _themed(state_means, findings)
        self.layers = _themed(layers, findings)
        self.model_selection = _themed(model_selection, findings)


def _themed(draw: Callable[..., go.Figure], findings: OutcomeFindings) -> Callable[..., go.Figure]:
    """Bind a figure's function to its findings, and let the caller choose a theme."""

    @wraps(draw)
    def themed(*options: Any, theme: str = "light", **named_options: Any) -> go.Figure:
        template = standalone(theme)
        return draw(findings, *options, **named_options).update_layout(template=template)

    _, *parameters = signature(draw).parameters.values()
    choice = Parameter("theme", Parameter.KEYWORD_ONLY, default="light", annotation="str")
    themed.__signature__ = signature(draw).replace(parameters=[*parameters, choice])  # type: ignore[attr-defined]
    return themed


def convergence(findings: OutcomeFindings) -> go.Figure:
    """Compare the runs by convergence step: a dot per run, the fastest on top.

    An open triangle is a run that had not converged when it ended (right-censored): its
    convergence step lies somewhere to the right. The thick end of a line is the interval between
    two evaluations in which the run converged. A line through each group is its mean step, with
    its standard error as a band.

    Raises
    ------
    NotEnoughDataError
        There is no outcome, or none of the runs has a known one.
    """
    _require_convergence(findings)
    run_rows = RunRows(findings, row_pixels=22)
    known = run_rows.runs[run_rows.runs["status"] != "unknown"]
    converged = known[known["converged"]]
    figure = go.Figure(
        [
            *run_rows.means(),
            _bars(known, 0, width=0.06, opacity=0.5),
            _bars(converged, converged["previous_step"].fillna(0), width=0.3, opacity=0.7),
            *run_rows.marks(),
        ]
    )
    figure.update_layout(barmode="overlay", **run_rows.frame())
    return figure


def outcome_curves(findings: OutcomeFindings, outcome: str | None = None) -> go.Figure:
    """Draw an outcome of every run over its steps, coloured by state where there are states.

    Without ``outcome`` all of them are in the figure, chosen from a menu; the one that defines
    convergence comes first. The convergence threshold is a dotted line.

    Raises
    ------
    NotEnoughDataError
        No outcome is known.
    UsageError
        There is no such outcome.
    """
    if not findings.outcomes:
        raise NotEnoughDataError("No outcome (loss, accuracy) is known.")
    require_known([] if outcome is None else [outcome], findings.outcomes, "outcome")
    names = [outcome] if outcome else list(findings.outcomes)
    measure = findings.convergence
    if measure is not None and measure.outcome in names:
        names.sort(key=lambda name: name != measure.outcome)
    return draw_curves(findings, names)


def metric_trajectories(findings: Findings, metric: str | None = None) -> go.Figure:
    """Draw a metric of every run over its steps in its raw unit, coloured by state.

    Without ``metric`` all metrics of the model are in the figure, chosen from a menu; the one that
    is most often the most influential on a transition comes first.

    Raises
    ------
    UsageError
        There is no such metric.
    """
    require_known([] if metric is None else [metric], findings.metrics, "metric")
    if metric:
        return draw_curves(findings, [metric])
    leading = findings.influences.loc[findings.influences["rank"] == 1, "feature"].value_counts()
    names = sorted(findings.features, key=lambda name: -leading.get(name, 0))
    return draw_curves(findings, names)


def state_means(findings: Findings) -> go.Figure:
    """Show the mean of every feature in every state, in standard deviations, as a heat map.

    Pointed at, a field tells it in the metric's own unit, too, where there is one for all runs.

    Raises
    ------
    NotEnoughDataError
        There is one state, whose means are those of all runs.
    """
    means = findings.parameters.means
    n_states, n_features = means.shape
    if n_states == 1:
        raise NotEnoughDataError("There is one state, so there are none to tell apart.")
    features = [words.label(f, 20) for f in findings.features]
    own = own_levels(findings)
    limit = float(np.abs(means).max()) or 1.0
    figure = go.Figure(
        go.Heatmap(
            z=means,
            colorscale=theme.DIVERGING,
            zmin=-limit,
            zmax=limit,
            text=[[_signed(value) for value in row] for row in means],
            texttemplate="%{text}",
            xgap=2,
            ygap=2,
            hovertext=[
                [
                    f"state {k}<br>{label}: {means[k, i]:+.2f} sd"
                    + (f" ({own[k, name]})" if own else "")
                    for i, (name, label) in enumerate(zip(findings.features, features, strict=True))
                ]
                for k in range(n_states)
            ],
            hoverinfo="text",
            colorbar={"title": {"text": "sd"}, "thickness": 12, "outlinewidth": 0},
        )
    )
    figure.update_layout(
        meta={"states": list(range(n_states))},
        xaxis={**theme.named_ticks(range(n_features), features), "showgrid": False},
        yaxis={
            **theme.named_ticks(range(n_states), [f"state {k}" for k in range(n_states)]),
            "showgrid": False,
            "autorange": "reversed",
        },
        height=190 + 34 * max(n_states, 3),
    )
    return figure


def model_selection(findings: Findings) -> go.Figure:
    """Draw the criteria against the number of states K.

    Above: criteria, lower is better; the one that decided is drawn heavy and the chosen K is
    marked. Below, where runs were held out: how well maps predict them, higher is better, with
    standard errors, for both covariance types; the recommended K is marked.
    """
    selection = findings.selection
    held_out = "path" in selection.criteria and selection.criteria["path"].notna().any()
    figure = make_subplots(rows=2 if held_out else 1, cols=1, shared_xaxes=True)
    for name in CRITERIA:
        if selection.curve[name].notna().any():
            figure.add_trace(_criterion(findings, name), row=1, col=1)
    chosen = selection.curve[selection.curve["n_states"] == selection.n_states]
    if selection.criterion in CRITERIA:
        ring = _ring(chosen, selection.criterion, f"chosen: K = {selection.n_states}")
        figure.add_trace(ring, row=1, col=1)
    figure.update_yaxes(title_text="lower is better", exponentformat="none", row=1, col=1)
    if held_out:
        for covariance_type, scores in selection.criteria.groupby("covariance_type"):
            figure.add_trace(_score(scores, str(covariance_type)), row=2, col=1)
        advice = selection.recommendation
        if advice is not None and advice.n_states is not None:
            best = selection.criteria[
                (selection.criteria["n_states"] == advice.n_states)
                & (selection.criteria["covariance_type"] == advice.covariance_type)
            ]
            ring = _ring(best, "path", f"recommended: K = {advice.n_states}")
            figure.add_trace(ring, row=2, col=1)
        figure.update_yaxes(title_text="held out: higher is better", row=2, col=1)
    figure.update_xaxes(dtick=1)
    figure.update_xaxes(title_text="number of states, K", row=2 if held_out else 1, col=1)
    # Wide enough for the legend to show which lines are dashed.
    figure.update_layout(height=560 if held_out else 380, legend_itemwidth=60)
    return figure


def _bars(runs: pd.DataFrame, start: Any, *, width: float, opacity: float) -> go.Bar:
    """Return a bar for each run from ``start`` to its convergence step."""
    return go.Bar(
        x=runs["step"] - start,
        base=start,
        y=runs["y"],
        orientation="h",
        width=width,
        marker={"color": theme.MARK, "line": {"width": 0}},
        opacity=opacity,
        customdata=runs["number"],
        meta={"each": "run"},
        hoverinfo="skip",
        showlegend=False,
    )


def _criterion(findings: Findings, name: str) -> go.Scatter:
    selection = findings.selection
    decides = name == selection.criterion
    return go.Scatter(
        x=selection.curve["n_states"],
        y=selection.curve[name],
        name=CRITERIA[name] + (" (decides)" if decides else ""),
        mode="lines+markers",
        line={"color": theme.MARK, "width": 3 if decides else 1.5, "dash": _DASHES[name]},
        marker={"size": 9 if decides else 6},
        hovertemplate="K = %{x}: %{y:,.1f}",
    )


def _score(scores: pd.DataFrame, covariance_type: str) -> go.Scatter:
    return go.Scatter(
        x=scores["n_states"],
        y=scores["path"],
        error_y={"type": "data", "array": scores["path_se"], "thickness": 1, "width": 4},
        name=f"{HELD_OUT_SCORES['path']} of runs held out, {covariance_type}",
        mode="lines+markers",
        line={"color": theme.MARK, "dash": "solid" if covariance_type == "diag" else "dash"},
        marker={"symbol": "square", "size": 6},
        hovertemplate="K = %{x}: %{y:.2f} ± %{error_y.array:.2f}",
    )


def _ring(row: pd.DataFrame, column: str, name: str) -> go.Scatter:
    return go.Scatter(
        x=row["n_states"],
        y=row[column],
        name=name,
        mode="markers",
        marker={
            "symbol": "circle-open",
            "size": 20,
            "color": theme.DETOUR,
            "line": {"width": 3},
        },
        hoverinfo="skip",
    )


def _signed(value: float) -> str:
    return f"{round(value, 1) + 0.0:+.1f}".replace("-", "−")


def _require_convergence(findings: OutcomeFindings) -> None:
    measure = findings.convergence
    if measure is None:
        raise NotEnoughDataError(
            "No outcome (loss, accuracy) is known, so it is not known when runs converged."
        )
    if measure.table.empty:
        raise NotEnoughDataError(
            f"{words.name(measure.outcome)} is known at no checkpoint of any run."
        )
