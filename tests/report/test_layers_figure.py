"""The heat map of layers and roles over steps."""

import base64
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from hmmdyn.errors import NotEnoughDataError, UsageError
from hmmdyn.report.figures import theme
from hmmdyn.report.figures.layers import layers, layers_of_runs
from hmmdyn.report.page import render
from hmmdyn.report.report import Report
from hmmdyn.report.statements import said
from hmmdyn.results.parts import PART_COURSES, PartCourses
from hmmdyn.results.where import WHERE
from tests.report.synthetic import make_findings
from tests.report.test_brief import with_evidence


def maps_of(figure):
    return [trace for trace in figure.data if isinstance(trace, go.Heatmap)]


def decoded(matrix):
    values = np.frombuffer(base64.b64decode(matrix["bdata"]), matrix["dtype"])
    return values.reshape([int(n) for n in matrix["shape"].split(",")])


def told(metric, part, lead, by="layer"):
    row = {"from_state": 0, "to_state": 1, "by": by, "metric": metric, "part": part, "lead": lead}
    ends = {"lead_low": lead - 5.0, "lead_high": lead + 5.0, "n_runs": 9}
    return {**row, **ends, "when": "before the others"}


def of_parts(findings, n, by="layer", n_steps=None):
    """The findings with so many parts of one kind."""
    courses = findings.part_courses.courses
    first = courses[courses["part"] == "embed"]
    rows = [first.assign(by=by, part=f"h.{i}") for i in range(n)]
    made = PART_COURSES.frame(pd.concat(rows))
    old = findings.part_courses
    return replace(findings, part_courses=replace(old, courses=made, n_parts={by: n}))


def test_a_row_per_layer_in_their_order_and_a_column_per_checkpoint(findings):
    figure = layers(findings, "l1", "layer")
    (heat,) = maps_of(figure)
    courses = findings.part_courses.courses
    own = courses[(courses["by"] == "layer") & (courses["metric"] == "l1")]
    assert list(figure.layout.yaxis.ticktext) == ["embed", "h.0", "h.1"]
    assert figure.layout.yaxis.range[0] > figure.layout.yaxis.range[1]  # the first on top
    for i, part in enumerate(["embed", "h.0", "h.1"]):
        row = own[own["part"] == part]
        np.testing.assert_allclose(heat.z[i], row["deviations"], rtol=1e-6)
        np.testing.assert_allclose(heat.customdata[i, :, 0], row["value"])
        np.testing.assert_array_equal(heat.customdata[i, :, 1], row["step"])
    steps = own["step"].unique()
    np.testing.assert_allclose(heat.x, [steps[0], *(steps[1:] + steps[:-1]) / 2, steps[-1]])


def test_the_strip_above_has_the_states_that_most_runs_are_in(findings):
    figure = layers(findings)
    strips = [trace for trace in figure.data if isinstance(trace, go.Bar)]
    usual = findings.part_courses.usual_states
    drawn = sorted(
        (float(base), float(base + x), trace.meta["state"])
        for trace in strips
        for base, x in zip(trace.base, trace.x, strict=True)
    )
    expected = usual[["start", "end", "state"]].itertuples(index=False, name=None)
    assert drawn == sorted(expected)
    colours = theme.state_colours(4)
    assert all(trace.marker.color == colours[trace.meta["state"]] for trace in strips)
    low, high = figure.layout.yaxis2.domain
    assert figure.layout.yaxis.domain[1] < low < high <= 1


def test_lines_stand_where_boundaries_with_evidence_are_crossed(findings):
    with_some = with_evidence(findings, ["yes", None, "yes"])
    lines = [trace for trace in layers(with_some).data if isinstance(trace, go.Scatter)]
    crossed = findings.map_in_time.group_transitions.set_index(["from_state", "to_state"])
    assert {tuple(line.meta["states"]): line.x[0] for line in lines} == {
        edge: crossed.loc[edge, "crossed"] for edge in [(0, 1), (2, 3)] if edge in crossed.index
    }
    # Without evidence that was asked for, those that half of the runs make.
    lines = [trace for trace in layers(findings).data if isinstance(trace, go.Scatter)]
    usual = crossed[2 * crossed["n_runs"] >= crossed["n_total"]]
    assert {tuple(line.meta["states"]) for line in lines} == set(usual.index)


def test_all_metrics_are_in_the_menu_those_of_which_something_is_told_first(findings):
    rows = [told("l2", "h.0", 30.0), told("l2", "h.1", -50.0)]
    figure = layers(replace(findings, where_it_moves=WHERE.frame(rows)))
    buttons = figure.layout.updatemenus[0].buttons
    assert [button.label for button in buttons] == ["l2 by layer", "l1 by layer"]
    for button in buttons:
        alone = layers(findings, button.label.split()[0], "layer")
        change, layout, traces = button.args
        assert list(traces) == list(range(len(maps_of(alone))))
        for i, heat in enumerate(maps_of(alone)):
            np.testing.assert_array_equal(decoded(change["z"][i]), heat.z)
            np.testing.assert_array_equal(decoded(change["customdata"][i]), heat.customdata)
        assert layout["height"] == alone.layout.height
    np.testing.assert_array_equal(maps_of(figure)[0].z, decoded(buttons[0].args[0]["z"][0]))


def test_metrics_that_are_no_features_come_last(findings):
    rows = [told("l1", "h.0", 900.0), told("l2", "h.0", 30.0)]
    left_out = replace(findings, where_it_moves=WHERE.frame(rows), features=findings.features[1:])
    labels = [button.label for button in layers(left_out).layout.updatemenus[0].buttons]
    assert labels == ["l2 by layer", "l1 by layer"]


def test_groups_have_maps_of_their_own_above_one_axis():
    figure = layers(make_findings(4, groups=("sgd", "adamw")))
    assert len(maps_of(figure)) == 2
    assert [a.text.split(":")[0] for a in figure.layout.annotations] == [
        "<b>sgd</b>",
        "<b>adamw</b>",
    ]
    domains = [figure.layout[f"yaxis{n}"].domain for n in ("2", "", "5", "4")]  # downwards
    assert all(upper[0] >= lower[1] for upper, lower in pairwise(domains))
    assert domains[-1][0] == pytest.approx(0, abs=1e-9)
    named = [t.name for t in figure.data if isinstance(t, go.Bar) and t.showlegend]
    assert len(named) == len(set(named))


def test_one_run_by_itself(findings):
    figure = layers(findings, "l1", "layer", run="seed1")
    (heat,) = maps_of(figure)
    found = findings.part_courses
    own = found.values.xs("seed1", level="run").T.xs(("layer", "l1"), level=("by", "metric")).T
    mean, deviation = found.scales.xs(("layer", "l1"), level=("by", "metric")).to_numpy().T
    np.testing.assert_allclose(heat.z, ((own.to_numpy() - mean) / deviation).T, rtol=1e-5)
    np.testing.assert_allclose(heat.customdata[..., 0], own.to_numpy().T, rtol=1e-6)
    assert figure.layout.annotations[0].text.startswith("<b>seed1</b>: l1 by layer")
    stays = findings.map_in_time.stays[findings.parameters.n_states]
    stays = stays[stays["run"] == "seed1"]
    drawn = sorted(
        (float(base), trace.meta["state"])
        for trace in figure.data
        if isinstance(trace, go.Bar)
        for base in trace.base
    )
    assert drawn == sorted(zip(stays["start"], stays["state"], strict=True))
    changes = set(zip(stays["state"], stays["state"][1:], stays["start"][1:], strict=False))
    lines = [trace for trace in figure.data if isinstance(trace, go.Scatter)]
    assert lines
    assert {(*line.meta["states"], line.x[0]) for line in lines} <= changes
    with pytest.raises(UsageError, match="No run is called 'seed01'"):
        layers(findings, run="seed01")


def test_a_page_holds_single_runs_as_far_as_it_has_room(findings, monkeypatch):
    alone = layers_of_runs(findings)
    assert set(alone) == set(findings.runs_of_table[["group", "run"]].itertuples(False, None))
    whole = [b.label for b in layers(findings).layout.updatemenus[0].buttons]
    for figure in alone.values():
        assert [b.label for b in figure.layout.updatemenus[0].buttons] == whole
    n = sum(maps_of(figure)[0].z.size for figure in alone.values())
    monkeypatch.setattr("hmmdyn.report.figures.layers._FIELDS_OF_RUNS", n)  # one of the metrics
    assert all(not figure.layout.updatemenus for figure in layers_of_runs(findings).values())
    monkeypatch.setattr("hmmdyn.report.figures.layers._FIELDS_OF_RUNS", n - 1)
    assert layers_of_runs(findings) == {}
    assert "With one run chosen" not in render(Report(findings))
    monkeypatch.undo()
    monkeypatch.setattr("hmmdyn.report.figures.layers._STEPS_OF_RUN", 5)
    assert all(maps_of(f)[0].z.shape == (3, 5) for f in layers_of_runs(findings).values())


def test_many_layers_make_the_figure_higher_and_keep_their_names(findings):
    few, many = (layers(of_parts(findings, n)) for n in (3, 48))
    assert len(many.layout.yaxis.ticktext) == 48
    domain = many.layout.yaxis.domain
    inner = many.layout.height - many.layout.margin.t - many.layout.margin.b
    assert (domain[1] - domain[0]) * inner >= 48 * 13 - 1
    assert many.layout.height > few.layout.height


def test_why_there_is_none(findings):
    with pytest.raises(NotEnoughDataError, match="not measured"):
        layers(replace(findings, part_courses=PartCourses()))
    with pytest.raises(NotEnoughDataError, match="no two"):
        layers(of_parts(findings, 1, "role"))
    with pytest.raises(UsageError, match="no_such"):
        layers(findings, "no_such")
    with pytest.raises(UsageError, match="role"):  # of which there is one
        layers(findings, by="role")


def test_the_page_says_what_is_not_shown_of_many(findings):
    page = render(Report(findings))
    assert 'id="layers"' in page
    assert "evenly spaced" not in page.split('id="layers-caption"')[1].split("</figcaption>")[0]
    old = findings.part_courses
    more = replace(old, n_parts={"layer": 120, "role": 1}, n_steps={"adamw": 2_000})
    page = render(Report(replace(findings, part_courses=more)))
    assert "Shown: 3 of 120 layers and 42 of 2,000 checkpoints, evenly spaced." in page
    assert 'id="layers"' not in render(Report(replace(findings, part_courses=PartCourses())))


def test_one_role_is_said_and_so_are_changes_without_evidence(findings):
    texts = [statement.text for statement in said(findings)["where"]]
    assert texts == [
        "All weights are of one role, other: no role can move before another.",
        "No change of state has evidence, so none is dated in layers or roles.",
    ]
    moves = replace(findings, where_it_moves=WHERE.frame([told("l1", "h.0", 30.0)]))
    texts = [statement.text for statement in said(moves)["where"]]
    assert texts[0].startswith("All weights are of one role")
    assert "l1 of h.0 moves 30 steps before the other layers (25 to 35)" in texts[1]
    assert list(said(replace(findings, part_courses=PartCourses()))["where"]) == []


def test_the_same_courses_give_the_same_figure(findings):
    assert layers(findings).to_json() == layers(make_findings()).to_json()
