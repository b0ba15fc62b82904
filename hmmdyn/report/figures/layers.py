"""Where in the network metrics move, and when: a heat map of layers, or roles, over steps."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import starmap
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from hmmdyn.errors import NotEnoughDataError
from hmmdyn.names import require_known, runs_named
from hmmdyn.report import words
from hmmdyn.report.figures import theme
from hmmdyn.report.figures.links import STEP_AXIS
from hmmdyn.report.figures.run_rows import margin_for
from hmmdyn.report.lookup import rows, state_name
from hmmdyn.results.arrays import FloatArray, IntArray
from hmmdyn.results.findings import Findings
from hmmdyn.results.keys import RUN_KEY
from hmmdyn.results.map_in_time import GROUP_TRANSITIONS
from hmmdyn.results.parts import USUAL_STATES
from hmmdyn.results.verdicts import CANNOT_TELL

_LIMIT = 2.5  # standard deviations at which the colours end
_ROWS_PIXELS = 210  # of the rows of a group, as far as one is neither thicker nor thinner than …
_ROW_PIXELS = (13, 60)
_STRIP_PIXELS, _GAP_PIXELS, _HEADING_PIXELS, _APART_PIXELS = 14, 4, 24, 20
# Of the figures of single runs that a page holds: checkpoints of each, and fields of all of them.
_STEPS_OF_RUN = 80
_FIELDS_OF_RUNS = 40_000
_MARGIN = {"t": 38, "b": 50}
_NAME = 20  # characters of a layer
# Light under dark: seen on every colour of the map.
_LINES: tuple[dict[str, Any], ...] = (
    {"color": "#ffffff", "width": 4},
    {"color": "#1f2530", "width": 1.6, "dash": "dash"},
)


class _Choice(NamedTuple):
    """What the reader chooses: which kind of parts, and which of their metrics."""

    by: str
    metric: str

    @property
    def label(self) -> str:
        return words.label(f"{self.metric} by {self.by}", 40)


def layers(
    findings: Findings, metric: str | None = None, by: str | None = None, run: str | None = None
) -> go.Figure:
    """Show a metric of every layer, or role, over steps: a row each, in the order of the network.

    Colour is how far the metric is from the part's own mean over all checkpoints of all runs, in
    its standard deviations, median over the runs of a group. Above is the state that most of them
    are in; a line stands where they make a change of state that has evidence, in median.

    Parameters
    ----------
    findings : Findings
        Of runs whose parts were measured.
    metric : str, optional
        Of the parts; without it all are in the figure, chosen from a menu, in which the feature in
        which a part is farthest ahead of the others, or behind them, comes first.
    by : str, optional
        The kind of parts, ``layer`` or ``role``; likewise.
    run : str, optional
        Name of a run, or ``group/run``: values, states and changes are its own.

    Raises
    ------
    NotEnoughDataError
        Parts of the networks were not measured, or there are no two of a kind.
    UsageError
        There is no such metric, kind of parts or run.
    """
    choices = _choices(findings, metric, by)
    if run is None:
        return _of_groups(findings, choices)
    places = _places_of_runs(findings)
    (key,) = runs_named([run], places)
    return _of_run(findings, key, places[key], choices)


def layers_of_runs(findings: Findings) -> dict[tuple[str, str], go.Figure]:
    """Return the same figure of every run by itself, as far as a page has room for it.

    Of the choices of the menu, the first so many; of the checkpoints, some, evenly spaced.
    """
    choices, measured = _choices(findings, None, None), findings.part_courses.values
    places = {key: _thinned(rows) for key, rows in _places_of_runs(findings).items()}
    n_rows = sum(map(len, places.values()))
    n_parts = [len(_columns_of(measured, choice)) for choice in choices]
    n_shown = int(np.searchsorted(n_rows * np.cumsum(n_parts), _FIELDS_OF_RUNS, side="right"))
    if not n_shown:
        return {}
    return {key: _of_run(findings, key, own, choices[:n_shown]) for key, own in places.items()}


def _places_of_runs(findings: Findings) -> dict[tuple[str, str], IntArray]:
    """Return which rows of the values are of which run."""
    keys = findings.part_courses.values.index.to_frame(index=False)[RUN_KEY]
    places: dict[tuple[str, str], list[int]] = {}
    for row, key in enumerate(keys.itertuples(index=False, name=None)):
        places.setdefault(key, []).append(row)
    return {key: np.array(rows) for key, rows in places.items()}


def _thinned(rows: IntArray) -> IntArray:
    n = min(len(rows), _STEPS_OF_RUN)
    return rows[np.linspace(0, len(rows) - 1, n).round().astype(np.int64)]


def _choices(findings: Findings, metric: str | None, by: str | None) -> list[_Choice]:
    """Return what there is to choose, of a metric and of a kind of parts where they are given."""
    courses = findings.part_courses.courses
    if courses.empty:
        raise NotEnoughDataError("Metrics of layers and roles were not measured.")
    n_parts = courses.groupby("by", sort=False)["part"].nunique()
    several = n_parts.index[n_parts > 1].tolist()
    if not several:
        raise NotEnoughDataError("There are no two layers, and no two roles, to compare.")
    require_known([] if metric is None else [metric], courses["metric"].unique(), "metric")
    require_known([] if by is None else [by], several, "kind of parts")
    choices = [
        choice
        for choice in _in_order(findings)
        if choice.by in (several if by is None else [by]) and metric in (None, choice.metric)
    ]
    if not choices:
        raise NotEnoughDataError(f"{metric} is not known of any two parts of one kind.")
    return choices


def _in_order(findings: Findings) -> list[_Choice]:
    """Return all choices, first those of which something is told: the farthest ahead, or behind.

    Of metrics that are no features of the map, as those that tell seeds apart, none comes before
    one that is.
    """
    measured = findings.part_courses.courses[["by", "metric"]].drop_duplicates()
    told = findings.where_it_moves
    told = told[told["when"] != CANNOT_TELL]
    told = told.loc[told["lead"].abs().sort_values(ascending=False, kind="stable").index]
    pairs = pd.concat([told[["by", "metric"]], measured]).drop_duplicates().merge(measured)
    pairs = pairs.sort_values("metric", key=lambda m: ~m.isin(findings.features), kind="stable")
    return list(starmap(_Choice, pairs.itertuples(index=False, name=None)))


def _of_groups(findings: Findings, choices: Sequence[_Choice]) -> go.Figure:
    courses = findings.part_courses.courses
    groups = courses["group"].unique().tolist()
    fields = {choice: [_Field.of(courses, group, choice) for group in groups] for choice in choices}
    return _drawn(findings, groups, fields)


def _of_run(
    findings: Findings, key: tuple[str, str], places: IntArray, choices: Sequence[_Choice]
) -> go.Figure:
    """Draw one run as if it were a group, by these rows of the values."""
    found = findings.part_courses
    own = found.values.iloc[places]
    stays = findings.map_in_time.stays[findings.parameters.n_states]
    stays = stays[(stays["group"] == key[0]) & (stays["run"] == key[1])]
    states, begin = stays["state"].to_numpy(), stays["start"].to_numpy()
    changes = pd.DataFrame(
        {"from_state": states[:-1], "to_state": states[1:], "crossed": begin[1:]}
    ).drop_duplicates(["from_state", "to_state"])
    alone = replace(
        findings,
        part_courses=replace(found, usual_states=USUAL_STATES.frame(stays.assign(share=1.0))),
        map_in_time=replace(
            findings.map_in_time,
            group_transitions=GROUP_TRANSITIONS.frame(
                changes.assign(group=key[0], n_runs=1, n_total=1)
            ),
        ),
    )
    fields = {choice: [_Field.of_run(own, found.scales, choice)] for choice in choices}
    return _drawn(alone, [key[0]], fields, named=f"<b>{words.label(key[1], 40)}</b>: ")


def _drawn(
    findings: Findings,
    groups: Sequence[str],
    fields: Mapping[_Choice, Sequence[_Field]],
    named: str = "",
) -> go.Figure:
    choices = list(fields)
    maps = [_heat_map(findings, group, field) for group, field in enumerate(fields[choices[0]])]
    figure = go.Figure([*maps, *_strips(findings, groups), *_marks(findings, groups)])
    figure.update_layout(_frame(findings, len(groups)))
    figure.update_layout(_layout_of(findings, groups, choices[0], named))
    if len(choices) > 1:
        buttons = [
            {
                "label": choice.label,
                "method": "update",
                "args": [
                    {
                        "z": [_encoded(field.deviations) for field in own],
                        "customdata": [_encoded(field.told) for field in own],
                    },
                    _layout_of(findings, groups, choice, named),
                    list(range(len(groups))),
                ],
            }
            for choice, own in fields.items()
        ]
        menu = {"buttons": buttons, "direction": "down", "x": 1, "xanchor": "right"}
        figure.update_layout(updatemenus=[{**menu, "y": 1, "yanchor": "middle"}])
    return figure


class _Field(NamedTuple):
    """A heat map: P parts at T steps; ``told`` has value and step of each field, (P, T, 2)."""

    steps: FloatArray
    deviations: NDArray[np.float32]
    told: NDArray[np.floating]

    @classmethod
    def of(cls, courses: pd.DataFrame, group: str, choice: _Choice) -> _Field:
        of_group = courses[courses["group"] == group]
        steps = np.unique(of_group["step"])
        own = of_group[(of_group["by"] == choice.by) & (of_group["metric"] == choice.metric)]
        names = _parts(courses, choice.by)
        deviations, value = (
            own.pivot(index="part", columns="step", values=column)
            .reindex(index=names, columns=steps)
            .to_numpy(np.float64)
            for column in ("deviations", "value")
        )
        told = np.stack([value, np.broadcast_to(steps, value.shape)], axis=2)
        return cls(steps.astype(np.float64), deviations.astype(np.float32), _compact(told))

    @classmethod
    def of_run(cls, own: pd.DataFrame, scales: pd.DataFrame, choice: _Choice) -> _Field:
        """Take a run: ``own`` has a row per checkpoint, ``scales`` one per column of it."""
        steps = own.index.get_level_values("step").to_numpy(np.float64)
        columns = _columns_of(own, choice)
        value = own.to_numpy(np.float64)[:, columns].T
        mean, deviation = scales[["mean", "deviation"]].to_numpy()[columns].T
        deviations = (value - mean[:, None]) / deviation[:, None]
        told = np.stack([value, np.broadcast_to(steps, value.shape)], axis=2)
        return cls(steps, deviations.astype(np.float32), _compact(told))


def _columns_of(values: pd.DataFrame, choice: _Choice) -> IntArray:
    """Return the places of the columns ``by, metric, part`` that a choice has."""
    by, metric = (values.columns.get_level_values(level) for level in ("by", "metric"))
    return np.flatnonzero((by == choice.by) & (metric == choice.metric))


def _compact(told: FloatArray) -> NDArray[np.floating]:
    """Return what is told to four digits in half the space, where steps are whole numbers there."""
    within = np.finfo(np.float32)
    known = np.abs(told[np.isfinite(told)])
    fits = ((known == 0) | ((known > within.tiny) & (known < within.max))).all()
    return told.astype(np.float32) if fits and told[..., 1].max() < 1 << 24 else told


def _parts(courses: pd.DataFrame, by: str) -> list[str]:
    names: list[str] = courses.loc[courses["by"] == by, "part"].unique().tolist()
    return names


def _heat_map(findings: Findings, group: int, field: _Field) -> go.Heatmap:
    unit = findings.step_unit
    return go.Heatmap(
        x=_edges(field.steps),
        z=field.deviations,
        customdata=field.told,
        coloraxis="coloraxis",
        yaxis=_axis(group, 0),
        hovertemplate=f"<b>%{{y}}</b><br>{unit} %{{customdata[1]:,}}: %{{customdata[0]:.4~g}}<br>"
        "%{z:+.2f} sd<extra></extra>",
        hoverongaps=False,
    )


def _edges(steps: FloatArray) -> FloatArray:
    """Return where the columns begin and end: halfway between two steps, at the ends themselves."""
    if len(steps) == 1:
        return np.array([steps[0] - 0.5, steps[0] + 0.5])
    return np.concatenate([steps[:1], (steps[1:] + steps[:-1]) / 2, steps[-1:]])


def _strips(findings: Findings, groups: Sequence[str]) -> Iterator[go.Bar]:
    """Yield the states that most runs of a group are in, a trace per group and state."""
    colours = theme.state_colours(findings.parameters.n_states)
    usual = findings.part_courses.usual_states
    usual = usual[usual["group"].isin(groups)]  # one whose parts have no values has no rows
    in_legend: set[int] = set()
    pairs = usual[["group", "state"]].drop_duplicates()
    for group, state in pairs.itertuples(index=False, name=None):
        own = usual[(usual["group"] == group) & (usual["state"] == state)]
        name = state_name(findings, state)
        yield go.Bar(
            x=own["end"] - own["start"],
            base=own["start"],
            y=np.zeros(len(own)),
            orientation="h",
            width=1,
            yaxis=_axis(groups.index(group), 1),
            name=f"state {state}",
            showlegend=state not in in_legend,
            legendgroup=f"state {state}",
            legendrank=1000 + state,
            meta={"state": state},
            marker={"color": colours[state], "line": {"width": 0}},
            hovertext=[
                f"<b>{words.label(name, 60)}</b><br>{words.count(stay.start)} to "
                f"{words.count(stay.end)}<br>{words.percent(stay.share)} of the runs there are"
                for stay in rows(own)
            ],
            hoverinfo="text",
        )
        in_legend.add(state)


def _marks(findings: Findings, groups: Sequence[str]) -> Iterator[go.Scatter]:
    """Yield a line at each boundary: where the runs of a group first cross it, in median."""
    crossed = findings.map_in_time.group_transitions
    evidence = findings.selection.evidence
    edge = ["from_state", "to_state"]
    if evidence is not None:
        crossed = crossed.merge(evidence.supported[edge], on=edge)
    else:
        crossed = crossed[2 * crossed["n_runs"] >= crossed["n_total"]]
    heights = np.linspace(0, 1, 9)  # each a place to point at
    for mark in rows(crossed[crossed["group"].isin(groups)]):
        for line in _LINES:
            yield go.Scatter(
                x=np.full(len(heights), mark.crossed),
                y=heights,
                yaxis=_axis(groups.index(mark.group), 2),
                mode="lines",
                line=line,
                meta={"states": [mark.from_state, mark.to_state]},
                showlegend=False,
                hovertemplate=f"{mark.from_state} → {mark.to_state}: {findings.step_unit} "
                f"{words.count(mark.crossed)}"
                + (f", median of {words.plural(mark.n_runs, 'run')}" if mark.n_total > 1 else "")
                + "<extra></extra>",
            )


def _frame(findings: Findings, n_groups: int) -> dict[str, Any]:
    """Return what of the layout is the same whatever is chosen: axes, colours, legend."""
    frame: dict[str, Any] = {
        "meta": STEP_AXIS,
        "xaxis": {
            "title": {"text": findings.step_unit},
            "exponentformat": "none",
            "showgrid": False,
            "anchor": _axis(n_groups - 1, 0),
        },
        "coloraxis": {
            "colorscale": theme.DIVERGING,
            "cmin": -_LIMIT,
            "cmax": _LIMIT,
            "colorbar": {
                "title": {"text": "sd"},
                "tickvals": [-2, 0, 2],
                "thickness": 12,
                "lenmode": "pixels",
                "len": 160,
                "y": 1,
                "yanchor": "top",
                "outlinewidth": 0,
            },
        },
        "legend": {"yref": "container", "y": 1, "yanchor": "top"},
        "barmode": "overlay",
        "margin": _MARGIN,
    }
    for group in range(n_groups):
        heat, strip, lines = (_axis(group, which) for which in range(3))
        frame |= {
            _long(heat): {"showgrid": False, "ticks": "", "ticklabelstandoff": 4},
            _long(strip): {"range": [-0.5, 0.5], "visible": False},
            _long(lines): {"range": [0, 1], "visible": False, "overlaying": heat},
        }
    return frame


def _layout_of(
    findings: Findings, groups: Sequence[str], choice: _Choice, named: str
) -> dict[str, Any]:
    """Return what of the layout goes with a choice: rows, their names, and so the height."""
    names = _parts(findings.part_courses.courses, choice.by)
    thick = float(np.clip(_ROWS_PIXELS / len(names), *_ROW_PIXELS))
    heat = thick * len(names)
    block = _HEADING_PIXELS + _STRIP_PIXELS + _GAP_PIXELS + heat
    whole = block * len(groups) + _APART_PIXELS * (len(groups) - 1)
    labels = [words.label(name, _NAME) for name in names]
    layout: dict[str, Any] = {
        "height": round(whole) + _MARGIN["t"] + _MARGIN["b"],
        "margin.l": margin_for(labels),
        "annotations": [],
    }
    for number, group in enumerate(groups):
        top = number * (block + _APART_PIXELS)
        strip = top + _HEADING_PIXELS
        first = strip + _STRIP_PIXELS + _GAP_PIXELS
        heat_axis, strip_axis = (_long(_axis(number, which)) for which in (0, 1))
        layout |= {
            f"{strip_axis}.domain": _domain(strip, _STRIP_PIXELS, whole),
            f"{heat_axis}.domain": _domain(first, heat, whole),
            f"{heat_axis}.range": [len(names) - 0.5, -0.5],
            f"{heat_axis}.tickmode": "array",
            f"{heat_axis}.tickvals": list(range(len(names))),
            f"{heat_axis}.ticktext": labels,
        }
        of_group = f"<b>{words.label(group, 40)}</b>: " if len(groups) > 1 else named
        layout["annotations"].append(_heading(of_group + choice.label, 1 - strip / whole))
    return layout


def _heading(text: str, y: float) -> dict[str, Any]:
    at_left = {"x": 0, "xref": "paper", "xanchor": "left", "showarrow": False}
    return {"text": text, **at_left, "y": y, "yref": "paper", "yanchor": "bottom"}


def _domain(start: float, length: float, whole: float) -> list[float]:
    """Return the place of so many pixels, counted from the top, on the paper's axis upwards."""
    return [max(1 - (start + length) / whole, 0.0), 1 - start / whole]


def _axis(group: int, which: int) -> str:
    """Name an axis of a group: of its heat map (0), its strip (1), its lines (2)."""
    number = 3 * group + which + 1
    return "y" if number == 1 else f"y{number}"


def _long(axis: str) -> str:
    return axis.replace("y", "yaxis")


def _encoded(values: NDArray[Any]) -> dict[str, str]:
    """Encode a matrix as plotly.js reads it; Plotly does so by itself, but not inside a menu."""
    kind = {"float32": "f4", "float64": "f8"}[values.dtype.name]
    data = values.astype(values.dtype.newbyteorder("<")).tobytes()
    return {
        "dtype": kind,
        "bdata": base64.b64encode(data).decode("ascii"),
        "shape": ", ".join(map(str, values.shape)),
    }
