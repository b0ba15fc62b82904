import itertools
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.sparse.csgraph import connected_components

from hmmdyn.errors import UsageError
from hmmdyn.report.figures import theme
from hmmdyn.report.figures.figures import training_map
from hmmdyn.report.figures.map_layout import curve, lanes, main_path
from tests.report.synthetic import changed, make_findings, without_outcomes


def edges(*triples):
    return pd.DataFrame(triples, columns=["from_state", "to_state", "n_runs"])


FORK = edges((0, 1, 10), (1, 2, 3), (1, 3, 7), (2, 3, 3))


def test_the_main_path_follows_most_runs_and_ends_where_nothing_is_new():
    assert main_path(FORK, 0) == (0, 1, 3)
    assert main_path(edges((0, 1, 5), (1, 0, 9)), 0) == (0, 1)
    assert main_path(edges((0, 2, 5), (0, 1, 5)), 0) == (0, 1)  # a tie goes to the earlier state


def test_states_off_the_main_path_stand_beside_it():
    assert lanes(4, FORK, 0).tolist() == [0, 0, 1, 0]
    assert lanes(2, edges((0, 1, 5)), 0).tolist() == [0, 0]
    assert lanes(1, edges(), 0).tolist() == [0]


def test_separate_side_paths_take_turns_and_joined_ones_share_a_lane():
    graph = edges((0, 5, 9), (0, 1, 1), (1, 2, 1), (2, 5, 1), (0, 3, 2), (3, 5, 2), (0, 4, 1))
    assert lanes(6, graph, 0).tolist() == [0, 1, 1, -1, 2, 0]


def test_lanes_are_those_of_the_connected_components_of_a_random_map():
    rng = np.random.default_rng(0)
    for _ in range(50):
        pairs = rng.integers(0, 12, (9, 2))
        graph = edges(*((j, k, 1) for j, k in pairs if j != k))
        main = main_path(graph, 0)
        aside = [k for k in range(12) if k not in main]
        matrix = np.zeros((12, 12))
        matrix[graph["from_state"], graph["to_state"]] = 1
        _, component = connected_components(matrix[np.ix_(aside, aside)], directed=False)
        expected = [(1 if c % 2 == 0 else -1) * (c // 2 + 1) for c in component]
        assert lanes(12, graph, 0)[aside].tolist() == expected


@pytest.mark.parametrize(("j", "k"), [(0, 1), (1, 0), (0, 4), (4, 0), (1, 2), (2, 3)])
def test_an_edge_begins_and_ends_at_its_states(j, k):
    lane = np.array([0, 0, 1, 0, 0])
    points = curve(j, k, lane, opposed=True)
    assert points[0].tolist() == [j, lane[j]]
    assert points[-1].tolist() == [k, lane[k]]


def test_edges_in_opposite_directions_part():
    lane = np.zeros(2, dtype=int)
    forward, back = curve(0, 1, lane, opposed=True), curve(1, 0, lane, opposed=True)
    assert (forward[1:-1, 1] > 0).all()
    assert (back[1:-1, 1] < 0).all()
    assert (curve(0, 1, lane, opposed=False)[:, 1] == 0).all()


def test_an_edge_goes_round_the_states_it_passes_over():
    points = curve(0, 4, np.zeros(5, dtype=int), opposed=False)
    for between in (1, 2, 3):
        assert np.linalg.norm(points - [between, 0], axis=1).min() > 0.2


def test_there_is_an_arrow_with_a_hover_per_transition_and_one_trace_of_states(findings):
    figure = training_map(findings)
    pairs = findings.transitions[["from_state", "to_state"]].itertuples(index=False)
    names = [f"{j} → {k}" for j, k in pairs]
    lines = [t for t in figure.data if t.mode == "lines+markers"]
    hovers = [t for t in figure.data if t.mode == "markers"]
    assert [t.name for t in lines] == [t.name for t in hovers] == names
    assert figure.data[-1].name == "states"
    assert len(figure.data) == 2 * len(names) + 1
    for line in lines:  # one arrowhead each, at the end
        assert (np.asarray(line.marker.size) > 0).tolist() == [False] * (len(line.x) - 1) + [True]


def test_the_width_of_an_arrow_grows_with_its_share_of_runs(findings):
    figure = training_map(findings)
    widths = {t.name: t.line.width for t in figure.data if t.mode == "lines+markers"}
    assert widths["0 → 1"] > widths["1 → 3"] > widths["1 → 2"]


def test_detours_and_forks_differ_by_shape_word_and_colour(findings):
    figure = training_map(findings)
    states = figure.data[-1].marker
    assert list(states.symbol) == ["circle", "square", "diamond", "circle"]
    assert states.line.color[2] == theme.DETOUR
    assert theme.DETOUR not in (states.line.color[0], states.line.color[1])
    texts = [a.text for a in figure.layout.annotations]
    assert [t for t in texts if "detour" in t] == [t for t in texts if "7\u00a0%" in t]
    assert sum("fork" in t for t in texts) == 1
    dashed = {t.name for t in figure.data if t.line.dash == "7px,3px"}
    assert dashed == {"1 → 2", "1 → 3"}
    assert {"2/10", "7/10"} <= set(texts)


@pytest.mark.parametrize(
    ("verdict", "symbol", "rim", "word"),
    [
        ("paper's flag only", "diamond", theme.MARK, "flagged, doubtful"),
        ("slows", "circle", "#ffffff", "slows"),
        ("on everyone's way", "circle", "#ffffff", ""),
    ],
)
def test_only_a_confirmed_detour_is_painted_as_one(findings, verdict, symbol, rim, word):
    verdicts = findings.detours["verdict"].where(findings.detours["state"] != 2, verdict)
    figure = training_map(replace(findings, detours=findings.detours.assign(verdict=verdicts)))
    states = figure.data[-1].marker
    assert (states.symbol[2], states.line.color[2]) == (symbol, rim)
    label = next(a.text for a in figure.layout.annotations if "7\u00a0%" in a.text)
    assert label.split("<br>")[0].startswith(word)
    assert "detour" not in label


def test_hover_cards_say_everything_known(findings):
    figure = training_map(findings)
    state, edge = findings.state_summary.iloc[2], findings.transitions.iloc[0]
    card = figure.data[-1].hovertext[2]
    assert f"step {state['first_step']:,.0f}" in card
    assert f"visited by {state['n_runs']} of 10 runs" in card
    assert "confirmed detour: Entered, it delays." in card
    assert "mean val_accuracy: 0.699" in card
    assert (
        "fork: of 9 runs that go on, 7 to state 3 and 2 to state 2"
        in (figure.data[-1].hovertext[1])
    )
    card = next(t.hovertext for t in figure.data if t.name == "0 → 1" and t.mode == "markers")
    assert "taken by 10 of 10 runs (11 times)" in card
    assert f"{edge['convergence_mean']:,.0f} ± {edge['convergence_se']:,.0f}" in card
    first = findings.influences.iloc[0]
    assert f"▇</span> ↑ {first['movement']:.1f} sd {first['feature']}" in card


def test_bars_on_cards_are_as_long_as_the_movement_and_coloured_by_its_sign(findings):
    means = np.array([[0.0, 0.0, 0.0, 0.0], [2.0, -1.0, 0.01, 0.0]])
    influences = pd.DataFrame(
        [
            (0, 1, rank + 1, f, 1.0, m)
            for rank, (f, m) in enumerate(zip("abc", means[1], strict=False))
        ],
        columns=["from_state", "to_state", "rank", "feature", "influence", "movement"],
    )
    two = make_findings(4, n_states=2, n_features=4)
    parameters = replace(two.parameters, means=means)
    figure = training_map(replace(two, parameters=parameters, influences=influences))
    card = next(t.hovertext for t in figure.data if t.mode == "markers" and t.name == "0 → 1")
    bars = [line for line in card.split("<br>") if "</span>" in line]
    assert [line.count("▇") for line in bars] == [12, 6, 1]
    assert [theme.UP in line for line in bars] == [True, False, True]
    assert [theme.DOWN in line for line in bars] == [False, True, False]
    assert [line.split("</span> ")[1] for line in bars] == [
        "↑ 2.0 sd a",
        "↓ 1.0 sd b",
        "↑ 0.0 sd c",
    ]


def test_parts_of_the_map_say_which_runs_and_states_they_show(findings):
    figure = training_map(findings)
    changes = findings.change_points
    for trace in figure.data[:-1]:
        j, k = map(int, trace.name.split(" → "))
        taken = changes[(changes["from_state"] == j) & (changes["to_state"] == k)]
        runs = sorted({int(run.removeprefix("seed")) for run in taken["run"]})
        assert trace.meta == {"states": [j, k], "runs": runs}
    assert (list(figure.data[-1].customdata), figure.data[-1].meta) == (
        [0, 1, 2, 3], {"each": "state"},
    )  # fmt: skip
    said = [json.loads(a.name) for a in figure.layout.annotations]
    assert {"state": 2} in said
    assert {"states": [1, 2], "runs": [3, 7]} in said


def test_a_dead_end_is_an_octagon_with_its_name(findings):
    stuck = findings.states.copy()
    stuck.loc[(stuck["run"] == "seed9") & (stuck["step"] >= 3000), "state"] = 2
    only_9 = findings.transitions[findings.transitions["from_state"] != 2]
    made = changed(findings, states=stuck, transitions=only_9)
    verdicts = findings.detours.assign(verdict="cannot tell")
    figure = training_map(replace(made, detours=verdicts))
    marker = figure.data[-1].marker
    assert (marker.symbol[2], marker.line.color[2]) == ("octagon", theme.DEAD_END)
    assert sum("dead end" in a.text for a in figure.layout.annotations) == 1
    assert "dead end: no run that enters it leaves it" in figure.data[-1].hovertext[2]


def test_an_edge_nobody_converged_on_says_nothing_of_convergence(bare):
    assert all("converge" not in (t.hovertext or "") for t in training_map(bare).data[:-1])


@pytest.mark.parametrize("n_states", [1, 2, 3, 4, 12, 15])
@pytest.mark.parametrize("orientation", ["horizontal", "vertical"])
def test_no_two_states_stand_on_each_other_whatever_their_number(n_states, orientation):
    found = make_findings(20, 100, n_states, wandering=0.2)
    states = training_map(found, orientation=orientation).data[-1]
    places = list(zip(states.x, states.y, strict=True))
    assert len(places) == n_states
    assert all(np.hypot(*np.subtract(a, b)) >= 1 for a, b in itertools.combinations(places, 2))


def test_time_runs_to_the_right_or_downwards(findings):
    assert np.all(np.diff(training_map(findings).data[-1].x) > 0)
    assert np.all(np.diff(training_map(findings, orientation="vertical").data[-1].y) < 0)
    with pytest.raises(UsageError, match="'sideways'"):
        training_map(findings, orientation="sideways")


def test_one_run_with_one_state_is_a_single_point():
    figure = training_map(without_outcomes(make_findings(1, n_states=1)))
    assert len(figure.data) == 1
    assert list(figure.data[0].x) == [0]


def test_a_state_that_no_checkpoint_is_in_is_still_there(findings):
    k4 = findings.state_summary
    empty = pd.DataFrame([{"state": 4, "n_checkpoints": 0, "share": 0.0, "n_runs": 0, "phase": ""}])
    means = np.vstack([findings.parameters.means, findings.parameters.means[:1]])
    figure = training_map(
        replace(
            findings,
            state_summary=pd.concat([k4, empty], ignore_index=True),
            detours=pd.concat([findings.detours, findings.detours.iloc[:1].assign(state=4)]),
            parameters=replace(
                findings.parameters, startprob=np.eye(5)[0], transmat=np.eye(5), means=means
            ),
        )
    )
    assert "no checkpoint was decoded into it" in figure.data[-1].hovertext[4]
    assert all(np.isfinite(figure.data[-1].marker.size))


def test_the_same_map_always_looks_the_same(findings):
    assert training_map(findings).to_json() == training_map(make_findings()).to_json()


def test_a_feature_named_like_markup_is_shown_as_text(hostile):
    card = next(t.hovertext for t in training_map(hostile).data if t.mode == "markers")
    assert "sd &lt;img src=x o…r=alert(3)&gt;" in card
    assert "<img" not in card
