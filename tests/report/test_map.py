import itertools
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from hmmdyn.errors import UsageError
from hmmdyn.report.figures import theme
from hmmdyn.report.figures.figures import training_map
from hmmdyn.report.figures.map_layout import (
    BAR,
    Box,
    MapLayout,
    TimeAxis,
    along_edges,
    first_free,
    main_path,
)
from hmmdyn.report.figures.training_map import Canvas, draw, drawn
from hmmdyn.report.map_facts import FactsOfLevel
from hmmdyn.results.keys import RUN_KEY
from tests.report.synthetic import changed, make_findings, without_outcomes

AXIS = TimeAxis(0.0, 1000.0, 10.0, log=False)


def edges(*rows):
    return pd.DataFrame(rows, columns=["from_state", "to_state", "n_runs"])


def laid(spans, changes):
    """A layout of 500 pixels of states with these spans, and changes (j, k, runs, step)."""
    states = pd.DataFrame(spans, columns=["entered", "left"]).rename_axis("state").reset_index()
    table = pd.DataFrame(changes, columns=["from_state", "to_state", "n_runs", "crossed"])
    return MapLayout(states, table, 0, AXIS, 500.0)


FORK = edges((0, 1, 10), (1, 2, 3), (1, 3, 7), (2, 3, 3))


# --- the layout ---


def test_the_main_path_follows_most_runs_and_ends_where_nothing_is_new():
    assert main_path(FORK, 0) == (0, 1, 3)
    assert main_path(edges((0, 1, 5), (1, 0, 9)), 0) == (0, 1)
    assert main_path(edges((0, 2, 5), (0, 1, 5)), 0) == (0, 1)  # a tie goes to the earlier state


def test_a_state_is_as_long_as_it_lasts():
    layout = laid([(0, 200), (200, 1000)], [(0, 1, 5, 200)])
    assert [(b.begin, b.end, b.lane) for b in layout.bars] == [(0, 100, 0), (100, 500, 0)]


def test_on_a_logarithmic_axis_zero_is_one_unit_below_the_first_step():
    axis = TimeAxis.of(np.array([0, 1, 2, 4, 8, 16, 32, 64]))
    assert axis.log
    np.testing.assert_allclose(axis.place(np.array([0, 1, 9, 99])), [0, np.log10(2), 1, 2])
    assert not TimeAxis.of(np.arange(0, 1000, 10)).log
    assert axis.ticks[:3] == [0.0, 1.0, 3.0]


def test_states_beside_the_main_path_take_the_nearest_lane_that_is_free():
    layout = laid(
        [(0, 100), (100, 300), (250, 500), (300, 1000), (600, 700)],
        [(0, 1, 9, 100), (0, 2, 1, 250), (1, 3, 9, 300), (2, 3, 1, 500), (3, 4, 1, 600)],
    )  # fmt: skip
    assert [bar.lane for bar in layout.bars] == [0, 0, 1, 0, 0]
    both = laid([(0, 1000), (100, 300), (250, 500)], [(0, 1, 2, 100), (0, 2, 2, 250)])
    assert sorted(bar.lane for bar in both.bars) == [0, 0, 1]


def random_layouts():
    rng = np.random.default_rng(0)
    for _ in range(60):
        n = int(rng.integers(1, 13))
        entered = np.sort(rng.integers(0, 900, n))
        spans = [(e, e + rng.integers(0, 300)) for e in entered]
        pairs = {tuple(rng.integers(0, n, 2)) for _ in range(2 * n)}
        yield laid(
            spans, [(j, k, rng.integers(1, 9), rng.integers(0, 1000)) for j, k in pairs if j != k]
        )


def test_no_two_states_lie_on_each_other_and_edges_begin_and_end_at_theirs():
    for layout in random_layouts():
        for a, b in itertools.combinations(layout.bars, 2):
            assert a.lane != b.lane or a.end <= b.begin or b.end <= a.begin
        for edge in layout.edges:
            ends = (
                (edge.points[0], layout.bars[edge.from_state]),
                (edge.points[-1], layout.bars[edge.to_state]),
            )
            for (along, across), bar in ends:
                assert bar.begin - 1e-9 <= along <= bar.end + 1e-9
                assert abs(across - layout.lanes[bar.lane]) <= BAR + 1e-9


def test_arcs_within_a_lane_do_not_run_along_each_other():
    for layout in random_layouts():
        arcs = [
            (e.points[:, 1].max(), e.points[:, 0].min(), e.points[:, 0].max())
            for e in layout.edges
            if not e.is_boundary and layout.bars[e.from_state].lane == layout.bars[e.to_state].lane
        ]
        for (depth, low, high), (other, from_, to) in itertools.combinations(arcs, 2):
            assert depth != other or high < from_ or to < low


def test_the_first_place_without_another_box_or_line_is_taken():
    places = [Box(x, 0, 10, 5) for x in (0, 50, 100)]
    line = np.array([[50.0, 0.0]])
    assert first_free(places, [Box(15, 0, 10, 5)], line) == places[2]
    assert first_free(places[:2], [Box(15, 0, 10, 5)], line) is None


@pytest.mark.parametrize("orientation", ["horizontal", "vertical"])
@pytest.mark.parametrize("n_states", [1, 2, 4, 8, 12])
def test_labels_lie_on_no_edge_no_other_label_and_no_other_state(n_states, orientation):
    facts = FactsOfLevel(make_findings(20, 100, n_states, wandering=0.2), n_states)
    canvas = Canvas(facts, theme.state_colours(n_states), orientation)
    lines, bars = along_edges(canvas.layout.edges), canvas.layout.bar_boxes
    boxes = [text.box for text in canvas.texts]
    inside = [
        any(abs(b.along - s.along) < 1e-9 and b.across == s.across for s in bars) for b in boxes
    ]
    for a, b in itertools.combinations(boxes, 2):
        assert not a.meets(b, gap=0)
    for box, within in zip(boxes, inside, strict=True):
        assert not box.holds(lines, gap=0)
        assert within or not any(box.meets(bar, gap=0) for bar in bars)


# --- the figure ---


@pytest.mark.parametrize("orientation", ["horizontal", "vertical"])
@pytest.mark.parametrize("n_states", [1, 4, 8])
def test_the_page_has_the_map_as_plotly_would_write_it(n_states, orientation):
    facts = FactsOfLevel(make_findings(20, 100, n_states, wandering=0.2), n_states)
    canvas = Canvas(facts, theme.state_colours(n_states), orientation)
    written = json.loads(draw(canvas).to_json(engine="json"))
    del written["layout"]["template"]
    assert json.loads(json.dumps(drawn(canvas))) == written


def bars(figure):
    return next(trace for trace in figure.data if trace.name == "states")


def scatters(figure):
    return [trace for trace in figure.data if trace.type == "scatter"]


def arrows(figure):
    return {t.name: t for t in scatters(figure) if t.mode == "lines+markers"}


def cards(figure):
    return {t.name: t.hovertext for t in scatters(figure) if t.hoverinfo == "text"}


def texts(figure):
    return [a.text for a in figure.layout.annotations]


def test_every_state_is_a_bar_from_where_runs_enter_it_to_where_they_leave_it(findings):
    states = bars(training_map(findings))
    found = findings.map_in_time.states
    assert list(states.customdata) == [0, 1, 2, 3]
    base = np.array(states.base, dtype=float)
    np.testing.assert_allclose(base, found["entered"])
    # Those of the main path last no longer than until the next one begins.
    np.testing.assert_allclose(base + states.x, found["left"], atol=60)
    assert states.base[2] + states.x[2] == pytest.approx(found["left"][2])


def test_every_change_can_be_pointed_at_and_has_one_arrow_or_boundary(findings):
    figure = training_map(findings)
    names = {f"{e.from_state} → {e.to_state}" for e in findings.transitions.itertuples()}
    assert set(cards(figure)) == names
    arrow = arrows(figure)
    drawn = set(arrow) | {t.name for t in scatters(figure) if t.mode == "lines" and "→" in t.name}
    assert drawn == names
    for line in arrow.values():  # one arrowhead each, at the end
        assert (np.asarray(line.marker.size) > 0).tolist() == [False] * (len(line.x) - 1) + [True]


def test_the_width_of_an_arrow_grows_with_its_share_of_runs():
    figure = training_map(make_findings(20, 100, 12, wandering=0.2))
    found = make_findings(20, 100, 12, wandering=0.2).map_in_time.transitions
    n_runs = {f"{e.from_state} → {e.to_state}": e.n_runs for e in found.itertuples()}
    by_runs = sorted((n_runs[name], t.line.width) for name, t in arrows(figure).items())
    assert [w for _, w in by_runs] == sorted(w for _, w in by_runs)
    assert len({n for n, _ in by_runs}) > 1


def test_detours_and_forks_differ_by_rim_and_word(findings):
    figure = training_map(findings)
    rims = bars(figure).marker.line
    assert list(rims.width) == [0, 2.5, 3.5, 0]
    assert (rims.color[1], rims.color[2]) == (theme.MARK, theme.DETOUR)
    assert "<b>2</b> detour" in texts(figure)
    assert "<b>1</b> fork" in texts(figure)
    dashed = {name for name, t in arrows(figure).items() if t.line.dash == "7px,3px"}
    assert dashed == {"1 → 2"}
    assert {"2 of 10", "7 of 10"} <= set(texts(figure))


@pytest.mark.parametrize(
    ("verdict", "rim", "word"),
    [
        ("paper's flag only", theme.MARK, "slows?"),
        ("slows", "rgba(0,0,0,0)", "slows"),
        ("on everyone's way", "rgba(0,0,0,0)", ""),
    ],
)
def test_only_a_confirmed_detour_is_painted_as_one(findings, verdict, rim, word):
    verdicts = findings.detours["verdict"].where(findings.detours["state"] != 2, verdict)
    figure = training_map(replace(findings, detours=findings.detours.assign(verdict=verdicts)))
    assert bars(figure).marker.line.color[2] == rim
    assert f"<b>2</b> {word}".strip() in texts(figure)
    assert "<b>2</b> detour" not in texts(figure)


def test_a_dead_end_is_named(findings):
    stuck = findings.states.copy()
    stuck.loc[(stuck["run"] == "seed9") & (stuck["step"] >= 3000), "state"] = 2
    only_9 = findings.transitions[findings.transitions["from_state"] != 2]
    made = changed(findings, states=stuck, transitions=only_9)
    figure = training_map(replace(made, detours=findings.detours.assign(verdict="cannot tell")))
    assert bars(figure).marker.line.color[2] == theme.DEAD_END
    assert sum("dead end" in text for text in texts(figure)) == 1
    assert "dead end: no run that enters it leaves it" in bars(figure).hovertext[2]


def test_cards_say_everything_known(findings):
    figure = training_map(findings)
    place = findings.map_in_time.states.iloc[2]
    card = bars(figure).hovertext[2]
    assert f"step {place['entered']:,.0f} to {place['left']:,.0f}" in card
    assert f"{place['n_runs']:.0f} of 10 runs" in card
    assert "confirmed detour: Entered, it delays." in card
    assert "mean val_accuracy: 0.699" in card
    assert "fork: of 9 runs that go on, 7 to state 3 and 2 to state 2" in bars(figure).hovertext[1]
    card = cards(figure)["0 → 1"]
    assert "made by 10 of 10 runs" in card
    assert "11 times; probability" in card
    assert "converged at" not in card  # all runs go this way, so there is nothing to compare
    edge = findings.transitions.iloc[2]
    told = f"{edge['convergence_mean']:,.0f} ± {edge['convergence_se']:,.0f}"
    assert any(told in card.replace("<br>", " ") for card in cards(figure).values())
    first = findings.influences.iloc[0]
    assert f"▇</span> ↑ {first['movement']:.1f} sd {first['feature']}" in card


def test_bars_on_cards_are_as_long_as_the_movement_and_coloured_by_its_sign():
    two = make_findings(4, n_states=2, n_features=4)
    means = np.array([[0.0, 0.0, 0.0, 0.0], [2.0, -1.0, 0.01, 0.0]])
    found = replace(two.map_in_time, means={2: means})
    figure = training_map(replace(two, map_in_time=found, influences=two.influences.iloc[:0]))
    bars_of_text = [line for line in cards(figure)["0 → 1"].split("<br>") if "</span>" in line]
    assert [line.count("▇") for line in bars_of_text] == [12, 6, 1, 0]
    assert [theme.UP in line for line in bars_of_text] == [True, False, True, True]
    assert [line.split("</span> ")[1].split()[:2] for line in bars_of_text] == [
        ["↑", "2.0"], ["↓", "1.0"], ["↑", "0.0"], ["↑", "0.0"],
    ]  # fmt: skip


def test_parts_of_the_map_say_which_runs_and_states_they_show(findings):
    figure = training_map(findings)
    changes = findings.change_points
    for trace in figure.data:
        if " → " not in trace.name:
            continue
        j, k = map(int, trace.name.split(" → "))
        taken = changes[(changes["from_state"] == j) & (changes["to_state"] == k)]
        runs = sorted({int(run.removeprefix("seed")) for run in taken["run"]})
        assert trace.meta == {"states": [j, k], "runs": runs}
    assert bars(figure).meta == {"each": "state"}
    said = [json.loads(a.name) for a in figure.layout.annotations]
    assert {"state": 2} in said
    assert {"states": [1, 2], "runs": [3, 7]} in said


def test_a_mark_below_a_state_is_where_a_run_first_enters_it(findings):
    entered = {}
    for trace in training_map(findings).data:
        if trace.name.startswith("runs that enter"):
            for x, run in zip(trace.x, trace.customdata, strict=True):
                entered[trace.meta["state"], run] = x
    stays = findings.ways.stays
    first = stays.drop_duplicates([*RUN_KEY, "state"])
    expected = {
        (row.state, int(row.run.removeprefix("seed"))): row.start
        for row in first[first.duplicated(RUN_KEY)].itertuples()
    }
    assert entered == pytest.approx(expected)


def test_an_edge_nobody_converged_on_says_nothing_of_convergence(bare):
    assert not any("converge" in card for card in cards(training_map(bare)).values())


@pytest.mark.parametrize("n_states", [1, 2, 3, 12, 15])
@pytest.mark.parametrize("orientation", ["horizontal", "vertical"])
def test_a_map_of_any_number_of_states_is_drawn(n_states, orientation):
    found = make_findings(20, 100, n_states, wandering=0.2)
    states = bars(training_map(found, orientation=orientation))
    assert list(states.customdata) == list(range(n_states))
    assert len(set(states.marker.color)) == n_states


def test_time_runs_to_the_right_or_downwards(findings):
    assert np.diff(training_map(findings).layout.xaxis.range)[0] > 0
    assert np.diff(training_map(findings, orientation="vertical").layout.yaxis.range)[0] < 0
    with pytest.raises(UsageError, match="'sideways'"):
        training_map(findings, orientation="sideways")


def test_another_level_than_there_is_is_refused(findings):
    with pytest.raises(UsageError, match="no level with 9 states; there are levels with 4"):
        training_map(findings, level=9)


def test_one_run_with_one_state_is_a_single_bar():
    figure = training_map(without_outcomes(make_findings(1, n_states=1)))
    assert len(figure.data) == 1


def test_a_state_that_no_checkpoint_is_in_is_still_there(findings):
    found = findings.map_in_time
    empty = found.states.iloc[[0]].assign(state=4, n_runs=0, share=0.0, entered=np.nan, left=np.nan)
    states = pd.concat([found.states, empty], ignore_index=True)
    means = np.vstack([findings.parameters.means, findings.parameters.means[:1]])
    k4 = findings.state_summary
    row = pd.DataFrame([{"state": 4, "n_checkpoints": 0, "share": 0.0, "n_runs": 0, "phase": ""}])
    figure = training_map(
        replace(
            findings,
            state_summary=pd.concat([k4, row], ignore_index=True),
            detours=pd.concat([findings.detours, findings.detours.iloc[:1].assign(state=4)]),
            map_in_time=replace(
                found,
                states=states.assign(level=5),
                transitions=found.transitions.assign(level=5),
                stays={5: found.stays[4]},
                means={5: means},
            ),
            parameters=replace(
                findings.parameters, startprob=np.eye(5)[0], transmat=np.eye(5), means=means
            ),
        )
    )
    assert "no checkpoint was decoded into it" in bars(figure).hovertext[4]
    assert np.isfinite(np.array(bars(figure).base, dtype=float)).all()


def test_the_same_map_always_looks_the_same(findings):
    assert training_map(findings).to_json() == training_map(make_findings()).to_json()


def test_a_feature_named_like_markup_is_shown_as_text(hostile):
    card = next(iter(cards(training_map(hostile)).values()))
    assert "sd &lt;img src=x o…r=alert(3)&gt;" in card
    assert "<img" not in card
