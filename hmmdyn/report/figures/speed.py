"""How fast runs converge, group by group, as curves over time and over time ratios."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from hmmdyn.errors import NotEnoughDataError
from hmmdyn.report import words
from hmmdyn.report.figures import theme
from hmmdyn.report.figures.links import STEP_AXIS, group_numbers
from hmmdyn.report.lookup import drawn_groups, rows
from hmmdyn.results.convergence import ConvergenceSpeed
from hmmdyn.results.findings import OutcomeFindings

_HEIGHT = 400
_OPACITY = 0.16  # of one band; of several, which lie over each other, less
# Ticks of a ratio axis in each power of ten: the first choice that leaves them room enough, as a
# share of the axis.
_TICKS = ((1, 1.1, 1.2, 1.3, 1.5, 2, 3, 5), (1, 1.2, 1.5, 2, 3, 5, 7), (1, 2, 5), (1,))
_ROOM = 0.12


def waiting_curves(findings: OutcomeFindings) -> go.Figure:
    """Draw the share of runs still to converge over steps: a Kaplan–Meier curve per group.

    Between two evaluations a curve slopes, as nobody knows where runs converged. Bands are 95 %
    intervals of the share, wherever that was. A tick on a curve is a run that ended before it
    converged (censored); a diamond is the median, half way where it is known to lie between steps.

    Raises
    ------
    NotEnoughDataError
        It is not known of two runs when they converged.
    """
    speed = _require_speed(findings)
    last_step = int(speed.curves["step"].max())
    groups = [
        (group, _to_the_end(speed.curves[speed.curves["group"] == group.group], last_step))
        for group in _drawn(findings, speed)
    ]
    numbers = group_numbers(findings)
    figure = go.Figure([_band(group, curve, numbers, len(groups)) for group, curve in groups])
    for group, curve in groups:
        figure.add_trace(_waiting(findings, group, curve, numbers))
    for group, curve in groups:
        figure.add_traces(list(_marks(findings, group, curve, numbers)))
    figure.update_layout(
        **_frame("runs still to converge"),
        meta={**STEP_AXIS, "waiting": True, "n_groups": len(drawn_groups(findings))},
        xaxis={
            "title": {"text": findings.step_unit},
            "rangemode": "tozero",
            "exponentformat": "none",
        },
    )
    return figure


def performance_profile(findings: OutcomeFindings) -> go.Figure:
    """Draw the share of each group's runs that converge within so many times the fastest's steps.

    A curve further up and to the left is a faster group; one that levels off below 100 % has runs
    that never converged.

    Raises
    ------
    NotEnoughDataError
        It is not known of two runs when they converged, none has converged, or the first has done
        so at step 0.
    """
    speed = _require_speed(findings)
    if speed.profile.empty:
        raise NotEnoughDataError(
            f"A run had converged at {findings.step_unit} 0: no other takes a multiple of its time."
            if speed.ranking["converged"].any()
            else "No run has converged, so there is no fastest one to compare the others with."
        )
    numbers = group_numbers(findings)
    end = max(float(speed.profile["ratio"].max()) * 1.05, 1.1)
    figure = go.Figure([_profile(speed, group, numbers, end) for group in _drawn(findings, speed)])
    fastest = words.count(speed.ranking["step"].iloc[0])
    figure.update_layout(
        **_frame("runs converged"),
        meta={"n_groups": len(drawn_groups(findings))},
        xaxis={
            **_ratio_ticks(end),
            "type": "log",
            "range": [np.log10(0.99), np.log10(end)],
            "title": {"text": f"times the {findings.step_unit} of the first run ({fastest})"},
        },
    )
    return figure


def _require_speed(findings: OutcomeFindings) -> ConvergenceSpeed:
    speed = findings.speed
    if speed is None:
        raise NotEnoughDataError("It is not known when runs converged.")
    if len(speed.ranking) < 2:
        raise NotEnoughDataError(
            "It is known of one run only when it converged: there is none to compare it with."
        )
    return speed


def _drawn(findings: OutcomeFindings, speed: ConvergenceSpeed) -> list[Any]:
    """Return the rows of the groups whose curves are drawn: of very many, none could be told."""
    return list(rows(speed.groups[speed.groups["group"].isin(drawn_groups(findings))]))


def _frame(y_title: str) -> dict[str, Any]:
    return {
        "height": _HEIGHT,
        "showlegend": True,
        "yaxis": {"title": {"text": y_title}, "tickformat": ".0%", "range": [-0.02, 1.03]},
        # Wide enough for the legend to show which lines are dashed.
        "legend": {"itemwidth": 48},
    }


def _to_the_end(curve: pd.DataFrame, last_step: int) -> pd.DataFrame:
    """Return the curve drawn on to the last step where all its runs have converged."""
    last = curve.iloc[[-1]]
    if last["waiting"].item() > 0 or last["step"].item() == last_step:
        return curve
    return pd.concat([curve, last.assign(step=last_step, n_at_risk=0, n_converged=0, n_censored=0)])


def _band(group: Any, curve: pd.DataFrame, numbers: dict[str, int], n_bands: int) -> go.Scatter:
    number = numbers[group.group]
    # The upper limit holds until the next step, the lower one since the step before.
    twice = {name: np.repeat(curve[name].to_numpy(), 2) for name in ("step", "low", "high")}
    return go.Scatter(
        x=np.concatenate([twice["step"][1:], twice["step"][:-1][::-1]]),
        y=np.concatenate([twice["high"][:-1], twice["low"][1:][::-1]]),
        fill="toself",
        fillcolor=theme.see_through(theme.group_line(number)["color"], _OPACITY / n_bands**0.5),
        mode="none",
        legendgroup=str(number),
        name=words.label(group.group),
        meta={"group": number},
        showlegend=False,
        hoverinfo="skip",
    )


def _waiting(
    findings: OutcomeFindings, group: Any, curve: pd.DataFrame, numbers: dict[str, int]
) -> go.Scatter:
    unit = findings.step_unit
    return _line(
        group,
        numbers,
        curve["step"],
        curve["waiting"],
        [
            f"<b>{words.label(group.group)}</b><br>after {unit} {words.count(row.step)}: "
            f"{words.percent(row.waiting)} of runs still to converge<br>95 % interval "
            f"{words.percent(row.low)} to {words.percent(row.high)}<br>"
            f"{row.n_at_risk - row.n_converged - row.n_censored} still watched"
            for row in rows(curve)
        ],
        shape="linear",
    )


def _line(
    group: Any,
    numbers: dict[str, int],
    x: pd.Series,
    y: pd.Series,
    cards: list[str],
    shape: str,
) -> go.Scatter:
    number = numbers[group.group]
    return go.Scatter(
        x=x,
        y=y,
        mode="lines",
        line={"shape": shape, "width": 2.5, **theme.group_line(number)},
        name=f"{words.label(group.group)}: {group.n_converged} of {group.n_runs} converged",
        legendgroup=str(number),
        meta={"group": number},
        hovertext=cards,
        hoverinfo="text",
    )


def _marks(
    findings: OutcomeFindings, group: Any, curve: pd.DataFrame, numbers: dict[str, int]
) -> Iterator[go.Scatter]:
    """Return a mark where runs are censored, and one at the median, where there are any."""
    number, name, unit = numbers[group.group], words.label(group.group), findings.step_unit
    look = {
        "mode": "markers",
        "legendgroup": str(number),
        "meta": {"group": number},
        "name": name,
        "showlegend": False,
        "hoverinfo": "text",
        "cliponaxis": False,
    }
    colour = theme.group_line(number)["color"]
    censored = curve[curve["n_censored"] > 0]
    if len(censored):
        yield go.Scatter(
            x=censored["step"],
            y=censored["waiting"],
            marker={
                "symbol": "line-ns-open", "size": 13, "color": colour, "line": {"width": 2},
            },
            hovertext=[
                f"<b>{name}</b><br>{words.plural(row.n_censored, 'run')} not converged when "
                f"ended at {unit} {words.count(row.step)} (censored)"
                for row in rows(censored)
            ],
            **look,
        )  # fmt: skip
    if np.isfinite(group.median_latest):
        low, high = (
            words.count(s) if np.isfinite(s) and s > 0 else "?"
            for s in (group.median_low, group.median_high)
        )
        yield go.Scatter(
            x=[(group.median_earliest + group.median_latest) / 2],
            y=[0.5],
            marker={
                "symbol": "diamond", "size": 11, "color": colour,
                "line": {"width": 1.5, "color": "#ffffff"},
            },
            hovertext=[
                f"<b>{name}</b><br>median: {unit} {_median(group)}<br>95 % interval {low} to {high}"
            ],
            **look,
        )  # fmt: skip


def _median(group: Any) -> str:
    earliest, latest = words.count(group.median_earliest), words.count(group.median_latest)
    return latest if earliest == latest else f"{earliest} to {latest}"


def _profile(
    speed: ConvergenceSpeed, group: Any, numbers: dict[str, int], end: float
) -> go.Scatter:
    own = speed.profile[speed.profile["group"] == group.group]
    own = pd.concat([own, own.iloc[[-1]].assign(ratio=end)])
    return _line(
        group,
        numbers,
        own["ratio"],
        own["share"],
        [
            f"<b>{words.label(group.group)}</b><br>within {words.number(row.ratio, 3)} × the "
            f"first run's time: {round(row.share * group.n_runs)} of "
            f"{words.plural(group.n_runs, 'run')} ({words.percent(row.share)})"
            for row in rows(own)
        ],
        shape="hv",
    )


def _ratio_ticks(end: float) -> dict[str, object]:
    """Return the ticks of a logarithmic axis from 1 to ``end``."""
    powers = 10.0 ** np.arange(np.ceil(np.log10(end)) + 1)
    for choice in _TICKS:
        ticks = np.outer(powers, choice).ravel()
        ticks = ticks[ticks <= end]
        if np.diff(np.log(ticks)).min(initial=np.inf) >= _ROOM * np.log(end):
            break
    return theme.named_ticks(ticks.tolist(), [f"{words.number(tick)}×" for tick in ticks])
