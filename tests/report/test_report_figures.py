import base64
import inspect
import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import plotly.graph_objects as go
import pytest

from hmmdyn.dynamics.states import metric_levels
from hmmdyn.errors import NotEnoughDataError, UsageError
from hmmdyn.report.figures import figures, theme
from hmmdyn.report.page import render
from hmmdyn.report.report import Report
from hmmdyn.report.statements import said
from hmmdyn.report.statements.figures import figure_summaries
from hmmdyn.results.observations import Standardisation
from tests.report.synthetic import THRESHOLD, changed, make_findings

PUBLIC = [name for name in figures.__all__ if name != "Figures"]


def decoded(array):
    kinds = {"f4": "<f4", "f8": "<f8", "i4": "<i4"}
    return np.frombuffer(base64.b64decode(array["bdata"]), kinds[array["dtype"]])


def drawn_points(figure):
    """All (x, y) that are not gaps, over the traces of a figure of curves."""
    return {
        (float(x), float(y))
        for trace in figure.data
        for x, y in zip(trace.x, trace.y, strict=True)
        if not np.isnan(y)
    }


def test_the_facade_offers_every_figure_and_only_those(findings):
    facade = figures.Figures(findings)
    assert sorted(vars(facade)) == sorted(PUBLIC)
    grouped = figures.Figures(make_findings(3, groups=("a", "b")))
    for name in PUBLIC:
        drawn = grouped if name == "group_maps" else facade
        assert isinstance(getattr(drawn, name)(), go.Figure)
        first = next(iter(inspect.signature(getattr(figures, name)).parameters))
        assert first == "findings"


@pytest.mark.parametrize("name", sorted(set(PUBLIC) - {"group_maps"}))
def test_every_state_has_its_colour_in_every_figure(findings, name):
    colours = theme.state_colours(4)
    for trace in getattr(figures, name)(findings).data:
        if (trace.name or "").startswith("state ") and trace.name[-1].isdigit():
            colour = trace.marker.color if isinstance(trace, go.Bar) else trace.line.color
            assert colour == colours[int(trace.name.removeprefix("state "))]


def test_figures_that_need_an_outcome_say_why_they_are_not_there(bare):
    for name in ("convergence", "outcome_curves"):
        with pytest.raises(NotEnoughDataError, match="No outcome"):
            getattr(figures, name)(bare)
    comparisons = ("waiting_curves", "performance_profile", "slowest_and_fastest", "why_slow")
    for name in comparisons:
        with pytest.raises(NotEnoughDataError, match=r"converge"):
            getattr(figures, name)(bare)
    for name in set(PUBLIC) - {"convergence", "outcome_curves", "group_maps", *comparisons}:
        assert getattr(figures, name)(bare).data


# --- timeline ---


def test_the_strips_of_a_run_cover_it_without_gap_or_overlap(findings):
    bars = [t for t in figures.timeline(findings).data if isinstance(t, go.Bar)]
    pieces = sorted(
        (float(y), float(b), float(b + w))
        for t in bars
        for y, b, w in zip(t.y, t.base, t.x, strict=True)
    )
    for row in range(1, 11):  # below the heading
        own = [(begin, end) for y, begin, end in pieces if y == row]
        assert own[0][0] == 0
        assert own[-1][1] == 4100
        assert all(a[1] == b[0] for a, b in pairwise(own))


def test_the_strip_shows_the_decoded_state_at_every_checkpoint(findings):
    bars = [t for t in figures.timeline(findings).data if isinstance(t, go.Bar)]
    rows = list(findings.runs["run"])
    for _, checkpoint in findings.states.iloc[::7].iterrows():
        bar = bars[checkpoint["state"]]
        on_it = (
            (np.asarray(bar.y) == rows.index(checkpoint["run"]) + 1)
            & (np.asarray(bar.base) <= checkpoint["step"])
            & (checkpoint["step"] <= np.asarray(bar.base) + np.asarray(bar.x))
        )
        assert on_it.any()


def test_the_fastest_run_is_on_top_and_marked_where_it_converged(findings):
    figure = figures.timeline(findings)
    low, high = figure.layout.yaxis.range
    assert low > high  # rows count downwards
    assert figure.layout.yaxis.ticktext[0] == "seed2"
    assert figure.layout.yaxis.ticktext[-1] == "seed9"
    marks = {t.name: t for t in figure.data if isinstance(t, go.Scatter)}
    table = findings.convergence.table
    assert list(marks["converged"].x) == sorted(table.loc[table["converged"], "step"])
    assert list(marks["censored"].x) == [4100]
    assert marks["censored"].marker.symbol != marks["converged"].marker.symbol


def test_without_outcomes_the_timeline_has_no_marks(bare):
    marks = [t.name for t in figures.timeline(bare).data if isinstance(t, go.Scatter)]
    assert marks == ["outlier (unlike the others)"]


# --- convergence ---


def test_a_dot_per_converged_run_and_a_triangle_per_censored_one(findings):
    marks = {t.name: t for t in figures.convergence(findings).data if isinstance(t, go.Scatter)}
    assert len(marks["converged"].x) == 9
    assert len(marks["censored"].x) == 1
    assert "not converged when it ended at step 4,100" in marks["censored"].hovertext[0]


def test_groups_stand_apart_each_with_its_tally():
    figure = figures.convergence(make_findings(groups=("sgd", "adamw")))
    headings = [a.text for a in figure.layout.annotations]
    assert [h.split(",")[0] for h in headings] == [
        "<b>sgd</b><br>9 of 10 converged",
        "<b>adamw</b><br>9 of 10 converged",
    ]
    # By this the page finds them, whatever is written there.
    assert [json.loads(a.name) for a in figure.layout.annotations] == [{"group": 0}, {"group": 1}]
    rows = np.asarray(figure.layout.yaxis.tickvals)
    gaps = np.diff(rows)
    np.testing.assert_allclose(np.delete(gaps, 9), 1)
    assert gaps[9] > 2
    for heading, first in zip(figure.layout.annotations, rows[[0, 10]], strict=True):
        assert first - 2 < heading.y < first - 1


def test_one_group_needs_no_heading_and_one_state_no_comparison():
    alone = figures.why_slow(make_findings(4))
    assert not alone.layout.annotations
    assert alone.layout.showlegend
    both = figures.why_slow(make_findings(4, groups=("sgd", "adamw")))
    assert [a.text for a in both.layout.annotations] == ["<b>sgd</b>", "<b>adamw</b>"]
    with pytest.raises(NotEnoughDataError, match="one state"):
        figures.state_means(make_findings(3, n_states=1))


def test_of_very_many_groups_the_first_are_drawn_and_the_rest_counted():
    findings = make_findings(2, 8, 2, 2, groups=[f"recipe {i}" for i in range(14)], n_censored=0)
    figure = figures.outcome_curves(findings)
    assert [a.text for a in figure.layout.annotations] == [f"recipe {i}" for i in range(12)]
    assert {trace.meta["run"] for trace in figure.data} == set(range(24))
    meta = figure.layout.meta
    assert (meta["n_groups"], meta["n_drawn"], meta["n_runs"]) == (12, 24, 24)
    headings = [
        a.text for a in figures.group_maps(findings).layout.annotations if a.xref == "paper"
    ]
    assert len(headings) == 12 + 11
    assert figures.group_maps(findings).layout.meta["n_groups"] == 12
    for name in ("waiting_curves", "performance_profile"):
        curves = getattr(figures, name)(findings)
        assert {trace.meta["group"] for trace in curves.data} == set(range(12))
    caption = "Drawn are the first 12 of 14 groups; tables and files have all of them."
    assert render(Report(findings)).count(caption) == 5  # outcomes, metrics, maps, speed twice
    assert "Drawn are the first" not in render(Report(make_findings(3, groups=("a", "b"))))


def test_a_run_whose_outcome_is_unknown_has_a_row_without_a_mark(findings):
    measure = findings.convergence
    known = replace(measure, table=measure.table[measure.table["run"] != "seed2"])
    figure = figures.convergence(changed(findings, convergence=known))
    assert len(figure.layout.yaxis.tickvals) == 10
    marks = [t for t in figure.data if t.name in ("converged", "censored")]
    assert sum(len(t.x) for t in marks) == 9


# --- curves ---


def test_curves_hold_every_checkpoint_in_the_colour_of_its_state(findings):
    figure = figures.outcome_curves(findings, "val_accuracy")
    expected = {
        (float(x), float(np.float32(y)))
        for x, y in zip(findings.table["step"], findings.table["val_accuracy"], strict=True)
    }
    assert drawn_points(figure) == expected
    joined = findings.table.assign(state=findings.states["state"])
    for trace in figure.data:
        own = joined[
            (joined["run"] == trace.meta["name"]) & (joined["state"] == trace.meta["state"])
        ]
        marked = np.asarray(trace.marker.size) > 0
        seen = {
            (float(x), float(y))
            for x, y, mark in zip(trace.x, trace.y, marked, strict=True)
            if mark and not np.isnan(y)
        }
        assert seen == {
            (float(row.step), float(np.float32(row.val_accuracy))) for row in own.itertuples()
        }


def test_there_is_a_trace_per_run_and_state_that_says_so(findings):
    traces = figures.metric_trajectories(findings).data
    visited = findings.states[["run", "state"]].drop_duplicates().itertuples(index=False, name=None)
    said = [(f"seed{t.meta['run']}", t.meta["state"]) for t in traces]
    assert sorted(said) == sorted(visited)
    assert sorted(t.name for t in traces if t.showlegend) == [f"state {k}" for k in range(4)]


def test_a_run_that_falls_back_has_a_gap_between_its_stays(findings):
    stays = (findings.states.query("run == 'seed7'")["state"].diff() != 0).sum()
    traces = [t for t in figures.metric_trajectories(findings).data if t.meta["run"] == 7]
    pieces = sum(1 + int(np.isnan(t.y).sum()) for t in traces)
    assert len(traces) < pieces == stays


def test_a_piece_reaches_back_to_the_checkpoint_before_it():
    found = make_findings(1, 12, 2, n_censored=0)
    change = int((found.states["state"] == 1).idxmax())
    late = figures.metric_trajectories(found, "l1").data[1]
    assert list(late.x) == list(found.table["step"][change - 1 :])
    assert list(late.marker.size)[:2] == [0, 4]  # its marker belongs to the state before


def test_the_threshold_goes_with_its_outcome_only(findings):
    figure = figures.outcome_curves(findings)
    assert [s.y0 for s in figure.layout.shapes] == [THRESHOLD]
    (menu,) = figure.layout.updatemenus
    assert [b.label for b in menu.buttons] == ["val_accuracy", "train_loss"]
    assert len(menu.buttons[0].args[1]["shapes"]) == 1
    assert menu.buttons[1].args[1]["shapes"] == []
    assert not figures.outcome_curves(findings, "train_loss").layout.shapes


def test_the_menu_holds_the_other_columns_data(findings):
    figure = figures.metric_trajectories(findings)
    (menu,) = figure.layout.updatemenus
    assert sorted(b.label for b in menu.buttons) == sorted(findings.features)
    button = next(b for b in menu.buttons if b.label == "l1")
    alone = figures.metric_trajectories(findings, "l1")
    for trace, y in zip(alone.data, button.args[0]["y"], strict=True):
        np.testing.assert_array_equal(decoded(y), trace.y)
    assert button.args[1]["yaxis.title.text"] == "l1"


def test_the_most_influential_metric_comes_first(findings):
    top = findings.influences.query("rank == 1")["feature"].mode()
    menu = figures.metric_trajectories(findings).layout.updatemenus[0]
    assert menu.buttons[0].label in set(top)


def with_unknown(findings, column, unknown):
    table = findings.table.copy()
    table.loc[unknown(table), column] = np.nan
    return replace(findings, table=table)


def pieces_of_run(figure, run):
    """Steps of the unbroken pieces of a run, as they are drawn."""
    pieces = []
    for trace in figure.data:
        if trace.meta["run"] != run or not len(trace.x):
            continue
        breaks = np.flatnonzero(np.isnan(trace.y))
        pieces += [
            p[~np.isnan(y)].tolist()
            for p, y in zip(
                np.split(np.asarray(trace.x), breaks),
                np.split(np.asarray(trace.y), breaks),
                strict=True,
            )
        ]
    return pieces


def test_an_outcome_logged_at_some_checkpoints_only_is_drawn_through_those(findings):
    sparse = with_unknown(findings, "train_loss", lambda table: table["step"] % 200 == 100)
    figure = figures.outcome_curves(sparse, "train_loss")
    assert {x for x, _ in drawn_points(figure)} == set(range(0, 4200, 200))
    assert {b - a for piece in pieces_of_run(figure, 0) for a, b in pairwise(piece)} == {200}
    button = figures.outcome_curves(sparse).layout.updatemenus[0].buttons[1]
    assert {"x", "y"} <= set(button.args[0])
    assert len(decoded(button.args[0]["x"][0])) == len(decoded(button.args[0]["y"][0]))


def test_a_missing_value_is_a_gap_that_no_line_bridges(findings):
    holed = with_unknown(findings, "l1", lambda table: table["step"].isin([300, 400, 2000]))
    pieces = pieces_of_run(figures.metric_trajectories(holed, "l1"), 0)
    assert all(b - a == 100 for piece in pieces for a, b in pairwise(piece))
    ends = {piece[-1] for piece in pieces}
    assert {200, 1900} <= ends


def test_a_value_alone_between_gaps_has_a_marker(findings):
    many = make_findings(2, 200)
    lonely = with_unknown(many, "l1", lambda t: t["step"].isin([300, 500]) & (t["run"] == "seed0"))
    figure = figures.metric_trajectories(lonely, "l1")
    marked = {
        (t.meta["run"], int(x))
        for t in figure.data
        if t.mode == "lines+markers"
        for x, size in zip(t.x, t.marker.size, strict=True)
        if size
    }
    assert marked == {(0, 400)}


def test_long_runs_are_thinned_and_say_how_many_points_are_drawn():
    long = make_findings(40, 600, 4, 2)
    figure = figures.metric_trajectories(long)
    assert figure.layout.meta["values"] == 2 * 40 * 600
    assert figure.layout.meta["points"] < 0.8 * figure.layout.meta["values"]
    drawn = drawn_points(figures.metric_trajectories(long, "l1"))
    table = long.table.assign(y=long.table["l1"].astype(np.float32))
    points = set(zip(table["step"].astype(float), table["y"].astype(float), strict=True))
    assert drawn < points
    extremes = table.loc[[table["y"].idxmax(), table["y"].idxmin()]]
    changes = table[long.states.groupby("run")["state"].diff().fillna(0) != 0]
    for kept in (extremes, changes):
        assert set(zip(kept["step"].astype(float), kept["y"].astype(float), strict=True)) <= drawn


def test_short_runs_are_drawn_whole(findings):
    meta = figures.metric_trajectories(findings).layout.meta
    assert meta["points"] == meta["values"] == 8 * 420


@pytest.mark.parametrize("odd", ["state", "number", "place", "x", "y"])
def test_a_metric_may_have_any_name(findings, odd):
    renamed = replace(
        findings,
        table=findings.table.rename(columns={"l1": odd}),
        metrics=tuple(odd if m == "l1" else m for m in findings.metrics),
    )
    expected = drawn_points(figures.metric_trajectories(findings, "l1"))
    assert drawn_points(figures.metric_trajectories(renamed, odd)) == expected


def test_steps_too_large_for_32_bits_stay_exact(findings):
    table = findings.table.assign(step=findings.table["step"] + 300_000_000_001)
    states = findings.states.assign(step=table["step"])
    figure = figures.metric_trajectories(replace(findings, table=table, states=states), "l1")
    assert figure.data[0].x[0] == 300_000_000_001


def test_every_group_has_axes_of_its_own():
    figure = figures.outcome_curves(make_findings(groups=("a", "b", "c")))
    axes = {(t.meta["run"] // 10, t.yaxis) for t in figure.data}
    assert axes == {(0, "y"), (1, "y2"), (2, "y3")}
    assert [a.text for a in figure.layout.annotations] == ["a", "b", "c"]
    assert len(figure.layout.shapes) == 3
    assert sum(t.showlegend for t in figure.data) == 4


def test_many_checkpoints_are_lines_without_markers():
    assert {t.mode for t in figures.metric_trajectories(make_findings(2, 100)).data} == {"lines"}
    assert {t.mode for t in figures.metric_trajectories(make_findings(2, 40)).data} == {
        "lines+markers"
    }


@pytest.mark.parametrize("name", ["outcome_curves", "metric_trajectories"])
def test_an_unknown_column_is_named_with_the_known_ones(findings, name):
    with pytest.raises(UsageError, match=r"'nope'\. There are: "):
        getattr(figures, name)(findings, "nope")


# --- states and selection ---


def test_state_means_are_the_models(findings):
    (heat,) = figures.state_means(findings).data
    np.testing.assert_array_equal(heat.z, findings.parameters.means)
    assert heat.zmin == -heat.zmax  # no deviation is white
    assert "−0.0" not in {cell for row in heat.text for cell in row}


def test_the_deciding_criterion_is_heavy_and_the_choice_is_ringed(findings):
    figure = figures.model_selection(findings)
    traces = {t.name: t for t in figure.data}
    assert set(traces) == {"BIC (decides)", "AIC", "ICL", "chosen: K = 4"}
    assert traces["BIC (decides)"].line.width > traces["AIC"].line.width
    assert list(traces["chosen: K = 4"].x) == [4]
    np.testing.assert_array_equal(traces["BIC (decides)"].y, findings.selection.criteria["bic"])


def test_the_papers_criterion_is_shown_where_runs_were_held_out(findings):
    criteria = findings.selection.criteria
    criteria = criteria.assign(held_out_bic=criteria["bic"] + 1)
    selection = replace(findings.selection, criterion="held_out_bic", criteria=criteria)
    figure = figures.model_selection(replace(findings, selection=selection))
    assert "BIC on held-out runs (decides)" in {t.name for t in figure.data}
    assert "BIC" in {t.name for t in figure.data}


@pytest.mark.parametrize("name", PUBLIC)
def test_names_from_files_are_never_markup_in_a_figure(hostile, name):
    written = getattr(figures, name)(hostile).to_json(engine="json")
    for harmful in ("img", "script", "/script", "a href"):
        assert f"\\u003c{harmful}" not in written


def test_state_means_are_told_in_own_units_where_there_are_some(findings):
    (heat,) = figures.state_means(findings).data
    assert not any("(" in text for row in heat.hovertext for text in row)  # each run has its own
    n = len(findings.features)
    scale = Standardisation("pooled", None, np.full(n, 100.0), np.full(n, 10.0))
    own = metric_levels(findings.parameters, findings.features, scale)
    pooled = replace(findings, standardisation="pooled", state_metrics=own)
    (heat,) = figures.state_means(pooled).data
    mean = findings.parameters.means[0, 0]
    assert heat.hovertext[0][0].endswith(f"{mean:+.2f} sd ({100 + 10 * mean:.3g})")
    assert "in its own unit" in figure_summaries(pooled, said(pooled))["state_means"]
    furthest = np.abs(findings.parameters.means[0]).argmax()
    card = f"({100 + 10 * findings.parameters.means[0, furthest]:.3g})"
    assert card in figures.training_map(pooled).to_json()
    assert card not in figures.training_map(findings).to_json()
