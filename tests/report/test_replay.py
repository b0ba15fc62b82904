"""The replay of training over the map: where dots and curves are at every step."""

import numpy as np
import pytest

from hmmdyn.report.figures.replay import player, replay
from tests.report.synthetic import make_findings, without_outcomes


@pytest.fixture(scope="module")
def made():
    return make_findings(6)


def test_there_are_as_many_pictures_as_asked_for_from_the_first_step_to_the_last(made):
    pictures = list(replay(made, 5))
    assert [p.layout.annotations[-1].text for p in pictures] == [
        "step 0", "step 1,025", "step 2,050", "step 3,075", "step 4,100",
    ]  # fmt: skip
    assert [p.layout.shapes[0].x0 for p in pictures] == [0, 1025, 2050, 3075, 4100]


def test_a_dot_is_as_far_through_a_states_bar_as_its_run_is_through_its_stay(made):
    stays = made.map_in_time.stays[4]
    keys = list(stays.groupby(["group", "run"], sort=False).groups)
    for step, picture in zip(np.linspace(0, 4100, 5), replay(made, 5), strict=True):
        bars = next(t for t in picture.data if t.name == "states")
        dots = next(t for t in picture.data if t.name == "runs")
        for (_, run), x, y in zip(keys, dots.x, dots.y, strict=True):
            own = stays[stays["run"] == run]
            stay = own[own["end"] >= step].iloc[0]
            share = (step - stay["start"]) / (stay["end"] - stay["start"])
            state = int(stay["state"])
            assert x == pytest.approx(bars.base[state] + share * bars.x[state], abs=0.1)
            assert abs(y - bars.y[state]) < 13


def test_curves_go_no_further_than_the_present(made):
    for step, picture in zip(np.linspace(0, 4100, 5), replay(made, 5), strict=True):
        curves = [t for t in picture.data if t.yaxis == "y2"]
        assert len(curves) == 6
        assert all(max(t.x, default=0) <= step for t in curves)
        assert max(max(t.x, default=0) for t in curves) > step - 100.1


def test_without_an_outcome_there_are_dots_alone(made):
    (picture,) = replay(without_outcomes(make_findings(2, n_censored=0)), 1)
    assert not [t for t in picture.data if t.yaxis == "y2"]


def test_a_player_has_what_moves_in_its_frames_and_the_rest_once(made):
    figure = player(made, 5)
    pictures = list(replay(made, 5))
    assert [frame.name for frame in figure.frames] == [
        picture.layout.annotations[-1].text for picture in pictures
    ]
    for frame, picture in zip(figure.frames, pictures, strict=True):
        assert [trace.name for trace in frame.data if trace.name] == ["runs"]
        assert len(frame.data) == 1 + 6  # the dots, and a curve of each run
        for place, trace in zip(frame.traces, frame.data, strict=True):
            assert trace.to_json() == picture.data[place].to_json()
    assert len(figure.layout.sliders[0].steps) == 5


def test_long_curves_are_thinned_but_keep_their_last_value():
    made = make_findings(2, n_checkpoints=900, n_censored=0)
    *_, picture = replay(made, 400)
    (whole,) = {len(own) for _, own in made.table.groupby("run")}
    for curve in (t for t in picture.data if t.yaxis == "y2"):
        assert len(curve.x) < whole / 1.5
        assert curve.x[-1] == made.table["step"].max()
