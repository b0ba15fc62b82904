"""Runs as rows of a figure, the fastest of each group on top: what such figures share."""

from __future__ import annotations

import html
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from hmmdyn.report import theme, words
from hmmdyn.report.facts import full_run_names, rows, run_names, runs_by_convergence
from hmmdyn.results import Findings

_MARKS: dict[str, dict[str, Any]] = {
    "converged": {
        "symbol": "circle",
        "color": "#3d4552",
        "line": {"width": 1.5, "color": "#ffffff"},
    },
    "censored": {
        "symbol": "triangle-right-open",
        "color": theme.DETOUR,
        "line": {"width": 2.5},
    },
}


class RunRows:
    """Every run's place in the figure, and the traces and axes that go with it.

    ``runs`` is :func:`~hmmdyn.report.facts.runs_by_convergence` with ``y`` (the row, downwards)
    and ``label`` (the full name). Where there are several groups, each has a row as its heading.
    """

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        runs = runs_by_convergence(findings)
        group = runs.groupby("group", sort=False).ngroup()
        self._has_headings = bool(group.max() > 0)
        self.runs = runs.assign(
            y=np.arange(len(runs)) + (group + 1 if self._has_headings else 0),
            label=plot_labels(full_run_names(findings), runs),
        )

    def marks(self) -> list[go.Scatter]:
        """Return a trace of the converged runs and one of the censored, where there are any."""
        return [
            go.Scatter(
                x=own["step"],
                y=own["y"],
                mode="markers",
                name=status,
                marker={"size": 11, **_MARKS[status]},
                hovertext=[self._card(run) for run in rows(own)],
                hoverinfo="text",
                cliponaxis=False,
            )
            for status in _MARKS
            if len(own := self.runs[self.runs["status"] == status])
        ]

    def frame(self, row_pixels: int) -> dict[str, Any]:
        """Return the layout: a tick per run, headings, and a height that fits."""
        n_rows = int(self.runs["y"].max()) + 1
        names = plot_labels(run_names(self._findings), self.runs)
        return {
            "template": theme.LIGHT,
            "xaxis": {
                "title": {"text": self._findings.step_unit},
                "rangemode": "tozero",
                "exponentformat": "none",
            },
            "yaxis": {
                **theme.named_ticks(self.runs["y"], names),
                "range": [n_rows - 0.4, -0.6],
                "showgrid": False,
                "ticks": "",
            },
            "annotations": self._headings(),
            "height": 140 + row_pixels * n_rows,
        }

    def _headings(self) -> list[dict[str, Any]]:
        if not self._has_headings:
            return []
        return [
            {
                "text": f"<b>{words.label(group)}</b> {_tally(own)}",
                "x": 0,
                "xref": "paper",
                "xanchor": "left",
                "y": own["y"].min() - 1,
                "showarrow": False,
            }
            for group, own in self.runs.groupby("group", sort=False)
        ]

    def _card(self, run: Any) -> str:
        verdict = "converged at" if run.converged else "not converged when it ended at"
        return f"<b>{run.label}</b><br>{verdict} {self._findings.step_unit} {words.count(run.step)}"


def plot_labels(names: dict[tuple[str, str], str], runs: pd.DataFrame) -> list[str]:
    """Return the name of the run of each row, as Plotly may read it."""
    safe = {key: html.escape(name) for key, name in names.items()}
    return [safe[key] for key in zip(runs["group"], runs["run"], strict=True)]


def _tally(runs: pd.DataFrame) -> str:
    known = int((runs["status"] != "unknown").sum())
    if not known:
        return words.plural(len(runs), "run")
    return f"{int(runs['converged'].sum())} of {known} converged"
