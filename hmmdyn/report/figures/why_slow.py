"""Why runs are slow: the steps by which each stayed longer, or shorter, in every state."""

from __future__ import annotations

import html
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from hmmdyn.errors import NotEnoughDataError
from hmmdyn.report import words
from hmmdyn.report.figures import theme
from hmmdyn.report.figures.run_rows import RunRows, margin_for
from hmmdyn.report.lookup import full_run_names, rows, state_name
from hmmdyn.results.findings import Findings
from hmmdyn.results.keys import RUN_KEY

_ROWS_PIXELS = 380
_ROW_PIXELS = (1.5, 22.0)


def why_slow(findings: Findings) -> go.Figure:
    """Set every run against the median run of its group: steps before convergence, by state.

    A bar to the right is time that the run spent longer in a state than the median run, one to the
    left time that it spent less; together they are what it took longer. The median run is the one
    in the middle of the ranking. The time of a run that had not converged counts up to its end.

    Raises
    ------
    NotEnoughDataError
        It is known of fewer than three runs of every group when they converged.
    """
    slowness = findings.slowness
    known = findings.runs[findings.runs["status"] != "unknown"]
    if slowness is None or known.groupby("group").size().max() < 3:
        raise NotEnoughDataError(
            "It is known of fewer than three runs of a group when they converged, so there is no "
            "median run to set them against."
        )
    known = known[known.groupby("group")["run"].transform("size") >= 3]
    row_pixels = float(np.clip(_ROWS_PIXELS / len(known), *_ROW_PIXELS))
    run_rows = RunRows(findings, known, row_pixels=row_pixels)
    spent = _longer(findings, run_rows.runs)
    figure = go.Figure(_bars(findings, run_rows.runs, spent))
    frame = run_rows.frame()
    frame["xaxis"] = {
        "title": {"text": f"{findings.step_unit}s longer (or shorter) than the median run"},
        "exponentformat": "none",
        "zeroline": True,
        "zerolinecolor": theme.MARK,
        "zerolinewidth": 1,
    }
    frame["meta"] = {"runs": frame["meta"]["runs"]}  # its axis is no date
    several = known["group"].nunique() > 1
    frame["annotations"] = run_rows.headings(_bold) if several else []
    # One colour, too, is said to be of which state.
    figure.update_layout(barmode="relative", showlegend=True, **frame)
    figure.update_layout(margin={"l": margin_for(frame["yaxis"]["ticktext"])})
    return figure


def _bold(group: str) -> str:
    return f"<b>{words.label(group, 40)}</b>"


def median_runs(findings: Findings) -> dict[str, str]:
    """Return the run in the middle of the ranking of each group, by group."""
    known = findings.runs[findings.runs["status"] != "unknown"]
    return {
        str(group): str(own["run"].iloc[(len(own) - 1) // 2])
        for group, own in known.groupby("group", sort=False)
    }


def _longer(findings: Findings, runs: pd.DataFrame) -> pd.DataFrame:
    """Return, for each run and state, its steps before convergence and those of the median run."""
    assert findings.slowness is not None
    states = [f"state_{k}" for k in range(findings.parameters.n_states)]
    spent = runs.merge(findings.slowness.before_convergence, on=RUN_KEY, how="left")
    table = findings.slowness.before_convergence.set_index(RUN_KEY)[states]
    medians = {group: table.loc[(group, run)] for group, run in median_runs(findings).items()}
    return pd.concat(
        {
            "own": spent[states],
            "median": pd.DataFrame([medians[group] for group in spent["group"]]).reset_index(
                drop=True
            ),
        },
        axis=1,
    )


def _bars(findings: Findings, runs: pd.DataFrame, spent: pd.DataFrame) -> list[go.Bar]:
    names = full_run_names(findings)
    medians = {
        group: html.escape(names[group, run]) for group, run in median_runs(findings).items()
    }
    bars = []
    for state, colour in enumerate(theme.state_colours(findings.parameters.n_states)):
        own, median = (spent[which, f"state_{state}"] for which in ("own", "median"))
        if not (own - median).abs().sum() > 0:
            continue
        bars.append(
            go.Bar(
                x=own - median,
                y=runs["y"],
                orientation="h",
                width=0.78,
                name=f"state {state}",
                customdata=runs["number"],
                meta={"state": state, "each": "run"},
                marker={"color": colour, "line": {"width": 0}},
                hovertext=[
                    _card(findings, run, state, float(a), float(b), medians[run.group])
                    for run, a, b in zip(rows(runs), own, median, strict=True)
                ],
                hoverinfo="text",
            )
        )
    return bars


def _card(
    findings: Findings, run: Any, state: int, own: float, median: float, median_run: str
) -> str:
    unit = findings.step_unit
    return (
        f"<b>{run.label}</b><br>{html.escape(state_name(findings, state))}: "
        f"{words.in_steps(words.number(own, 4), unit)} before it converged, or ended<br>"
        f"median run ({median_run}): {words.number(median, 4)}"
    )
