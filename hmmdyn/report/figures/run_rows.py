"""Runs as rows of a figure, the fastest of each group on top: what such figures share."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Callable, Sequence
from textwrap import wrap
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from hmmdyn.report import words
from hmmdyn.report.figures import theme
from hmmdyn.report.figures.links import STEP_AXIS, group_numbers, numbers_of
from hmmdyn.report.lookup import full_run_names, rows, run_names
from hmmdyn.results.findings import OutcomeFindings
from hmmdyn.results.keys import RUN_KEY

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
    "outlier": {
        "symbol": "star",
        "color": "#ffffff",
        "line": {"width": 1.5, "color": "#3d4552"},
    },
}
_TWO_LINES, _ONE_LINE = 38, 22  # pixels
_NAME_PIXELS = 13  # between two names of runs
_CHARACTER_PIXELS = 6  # at least, on average
_BAND = theme.see_through(theme.MARK, 0.16)


class RunRows:
    """Every run's place in the figure, and the traces and axes that go with it.

    ``runs`` are rows of ``Findings.runs``, all of them unless given,
    with ``rank, rank_low, rank_high, previous_step`` (missing where unknown, see
    :class:`.results.convergence.ConvergenceSpeed`), ``y`` (the row, downwards), ``label`` (the full
    name) and ``number`` (:mod:`.links`). Each group has a heading. A run takes ``row_pixels`` of
    height, and all rows and headings take ``pixels``.
    """

    def __init__(
        self, findings: OutcomeFindings, runs: pd.DataFrame | None = None, *, row_pixels: float
    ) -> None:
        self._findings = findings
        runs = findings.runs if runs is None else runs.reset_index(drop=True)
        group = runs.groupby("group", sort=False).ngroup()
        # A heading without the name of a group is one line.
        lines = _TWO_LINES if findings.table["group"].nunique() > 1 else _ONE_LINE
        self._heading = max(lines / row_pixels, 1)  # in rows
        self._row_pixels = row_pixels
        self.runs = _with_ranks(findings, runs).assign(
            y=np.arange(len(runs)) + self._heading * (group + 1),
            label=plot_labels(full_run_names(findings), runs),
            number=numbers_of(findings, runs),
        )
        self.pixels = row_pixels * (float(self.runs["y"].max()) + 1)

    @property
    def named(self) -> pd.DataFrame:
        """The runs whose names have room beside their rows: of each group its first and last, too.

        All of them where rows are thick enough.
        """
        apart = max(math.ceil(_NAME_PIXELS / self._row_pixels), 1)
        place = self.runs.groupby("group", sort=False).cumcount()
        size = self.runs.groupby("group", sort=False)["y"].transform("size")
        is_last = place == size - 1
        has_room = (place % apart == 0) & (size - 1 - place >= apart)
        return self.runs[has_room | is_last | (place == 0) & (size > apart)]

    def marks(self) -> list[go.Scatter]:
        """Return a trace of the converged runs and one of the censored, where there are any."""
        return [
            go.Scatter(
                x=own["step"],
                y=own["y"],
                mode="markers",
                name=status,
                customdata=own["number"],
                meta={"each": "run"},
                marker={"size": self._mark_pixels, **_MARKS[status]},
                hovertext=[self._card(run) for run in rows(own)],
                hoverinfo="text",
                cliponaxis=False,
            )
            for status in ("converged", "censored")
            if len(own := self.runs[self.runs["status"] == status])
        ]

    @property
    def _mark_pixels(self) -> float:
        """Marks are as large as their rows allow, and still to be seen where these are thin."""
        return float(np.clip(self._row_pixels, 5, 11))

    def outliers(self, table: pd.DataFrame) -> list[go.Scatter]:
        """Return a trace of the runs that are unlike the others of their group, if there are.

        ``table``: see :data:`.results.outliers.OUTLIERS`.
        """
        own = self.runs.merge(table.loc[table["outlier"], [*RUN_KEY, "reason"]], on=RUN_KEY)
        if own.empty:
            return []
        return [
            go.Scatter(
                x=np.zeros(len(own)),
                y=own["y"],
                mode="markers",
                name="outlier (unlike the others)",
                customdata=own["number"],
                meta={"each": "run"},
                marker={"size": self._mark_pixels + 4, **_MARKS["outlier"]},
                hovertext=[
                    f"<b>{run.label}</b><br>unlike the others of its group:<br>"
                    + "<br>".join(map(html.escape, wrap(words.name(run.reason, 600), 60)))
                    for run in rows(own)
                ],
                hoverinfo="text",
                cliponaxis=False,
            )
        ]

    def means(self) -> list[go.Scatter]:
        """Return the mean convergence step of each group as a line, its standard error as a band.

        Groups without a mean or a standard error have neither.
        """
        speed = self._findings.speed
        if speed is None:
            return []
        numbers = group_numbers(self._findings)
        known = speed.groups[speed.groups["restricted_mean_se"] > 0]
        traces = []
        for group in rows(known):
            mean, error = group.restricted_mean, group.restricted_mean_se
            own = self.runs.loc[self.runs["group"] == group.group, "y"]
            top, bottom = own.min() - 0.5, own.max() + 0.5
            look = {
                "meta": {"group": numbers[group.group]},
                "hoverinfo": "skip",
                "legendgroup": "mean",
                "name": "mean ± standard error",
            }
            traces.append(
                go.Scatter(
                    x=[mean - error, mean + error, mean + error, mean - error],
                    y=[top, top, bottom, bottom],
                    fill="toself",
                    fillcolor=_BAND,
                    mode="none",
                    showlegend=False,
                    **look,
                )
            )
            traces.append(
                go.Scatter(
                    x=[mean, mean],
                    y=[top, bottom],
                    mode="lines",
                    line={"color": theme.MARK, "width": 1.5, "dash": "dash"},
                    showlegend=len(traces) == 1,
                    **look,
                )
            )
        return traces

    def frame(self) -> dict[str, Any]:
        """Return the layout: a tick per run, headings, and a height that fits."""
        short = run_names(self._findings)
        named = self.named
        return {
            # Which run each tick names.
            "meta": {**STEP_AXIS, "runs": named["number"].tolist()},
            "xaxis": {
                "title": {"text": self._findings.step_unit},
                "rangemode": "tozero",
                "exponentformat": "none",
            },
            "yaxis": {
                **theme.named_ticks(named["y"], plot_labels(short, named)),
                "range": [self.runs["y"].max() + 0.6, -0.6],
                "showgrid": False,
                "ticks": "",
                "ticklabelstandoff": 9,  # room for the stars of outliers
            },
            "annotations": self.headings(lambda group: _heading(self._findings, group)),
            "height": 140 + round(self.pixels),
        }

    def headings(self, text: Callable[[str], str]) -> list[dict[str, Any]]:
        """Return what is said above the runs of each group, as annotations that name it.

        They are found by the number of their group (:mod:`.links`), whatever else is written there.
        """
        short, numbers = run_names(self._findings), group_numbers(self._findings)
        keys = zip(self.runs["group"], self.runs["run"], strict=True)
        shift = -_CHARACTER_PIXELS * max(len(short[key]) for key in keys)
        return [
            {
                "text": text(str(group)),
                "name": json.dumps({"group": numbers[str(group)]}),
                "x": 0,
                "xref": "paper",
                "xanchor": "left",
                "xshift": shift,  # to above the names of the runs
                "y": own["y"].min() - (1 + self._heading) / 2,
                "align": "left",
                "showarrow": False,
            }
            for group, own in self.runs.groupby("group", sort=False)
        ]

    def _card(self, run: Any) -> str:
        verdict = "converged at" if run.converged else "not converged when it ended at"
        unit = self._findings.step_unit
        card = f"<b>{run.label}</b><br>{verdict} {unit} {words.count(run.step)}"
        if run.converged and pd.notna(run.previous_step):
            card += f" (not yet at {words.count(run.previous_step)})"
        if pd.isna(run.rank_low):
            return card
        low, high = int(run.rank_low), int(run.rank_high)
        return f"{card}<br>rank {low}{f' to {high}' if high > low else ''} among all runs"


def margin_for(names: Sequence[str]) -> int:
    """Return a left margin in which names of runs have room."""
    return 16 + round(6.6 * max(map(len, names), default=0))


def plot_labels(names: dict[tuple[str, str], str], runs: pd.DataFrame) -> list[str]:
    """Return the name of the run of each row, as Plotly may read it."""
    safe = {key: html.escape(name) for key, name in names.items()}
    return [safe[key] for key in zip(runs["group"], runs["run"], strict=True)]


def _with_ranks(findings: OutcomeFindings, runs: pd.DataFrame) -> pd.DataFrame:
    columns = ["rank", "rank_low", "rank_high", "previous_step"]
    if findings.speed is None:
        return runs.reindex(columns=[*runs.columns, *columns])
    return runs.merge(findings.speed.ranking[[*RUN_KEY, *columns]], on=RUN_KEY, how="left")


def _heading(findings: OutcomeFindings, group: str) -> str:
    """Return the group, where there are several, with its runs and how soon they converge.

    The mean is the restricted one, which counts a run that takes longer than the horizon as one
    that converges there; where there is such a run, the horizon is named.
    """
    runs = findings.runs
    several = runs["group"].nunique() > 1
    own = runs[runs["group"] == group]
    text = f"<b>{words.label(group, 40)}</b><br>" if several else ""
    known = own[own["status"] != "unknown"]
    if known.empty:
        return text + words.plural(len(own), "run")
    if len(known) == 1:
        return f"{text}1 run, {'' if known['converged'].all() else 'not '}converged"
    text += f"{int(known['converged'].sum())} of {len(known)} converged"
    if n_censored := int((~known["converged"]).sum()):
        text += f", {n_censored} censored"
    speed = findings.speed
    if speed is None or group not in set(speed.groups["group"]):
        return text
    mean = speed.groups[speed.groups["group"] == group].iloc[0]
    text += f", mean {words.count(mean['restricted_mean'])}"
    if mean["restricted_mean_se"] > 0:
        text += f" ± {words.count(mean['restricted_mean_se'])}"
    cut = not known["converged"].all() or known["step"].max() > mean["horizon"]
    return f"{text} up to {words.count(mean['horizon'])}" if cut else text
