import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import plotly.graph_objects as go
import pytest

from hmmdyn.dynamics.speed import compare_speed
from hmmdyn.errors import NotEnoughDataError
from hmmdyn.report import words
from hmmdyn.report.figures import figures
from hmmdyn.report.statements import said
from hmmdyn.report.statements.figures import figure_summaries
from tests.report.synthetic import changed, make_findings, make_hostile_findings


@pytest.fixture(scope="module")
def three_groups():
    return make_findings(10, groups=("adamw", "sgd", "lion"))


def with_convergence(findings, steps, *, censored=()):
    """Findings whose runs converge at these steps; ``censored`` runs end there instead."""
    table = findings.convergence.table.copy()
    table["step"] = list(steps)
    table["converged"] = ~table["run"].isin(censored)
    table["previous_step"] = (table["step"] - 100 * table["converged"]).clip(lower=0)
    table["previous_step"] = table["previous_step"].astype("Int64").where(table["step"] > 0)
    measure = replace(findings.convergence, table=table)
    return changed(findings, convergence=measure, speed=compare_speed(measure))


def drawn_as(figure, mode):
    return [t for t in figure.data if isinstance(t, go.Scatter) and t.mode == mode]


# --- Kaplan–Meier ---


def test_without_censoring_the_curve_is_the_share_of_runs_not_converged_yet():
    steps = [300, 500, 500, 900]
    figure = figures.waiting_curves(with_convergence(make_findings(4), steps))
    (line,) = drawn_as(figure, "lines")
    assert line.line.shape == "linear"  # where between two evaluations runs converged is not known
    at = dict(zip(line.x, line.y, strict=True))
    for x in (0, 200, 300, 400, 500, 800, 900):
        assert at[x] == pytest.approx(np.mean(np.asarray(steps) > x))
    assert line.name == "adamw: 4 of 4 converged"


def test_the_median_is_where_the_curve_crosses_one_half():
    figure = figures.waiting_curves(with_convergence(make_findings(5), [300, 400, 500, 600, 900]))
    (median,) = drawn_as(figure, "markers")
    assert (median.x[0], median.y[0]) == ((401 + 500) / 2, 0.5)
    assert "step 401 to 500" in median.hovertext[0]


def test_a_run_that_ended_first_is_a_tick_and_does_not_lower_the_curve():
    made = with_convergence(make_findings(4), [300, 400, 800, 900], censored=("seed1",))
    figure = figures.waiting_curves(made)
    ticks = next(t for t in drawn_as(figure, "markers") if t.marker.symbol == "line-ns-open")
    assert (list(ticks.x), list(ticks.y)) == ([400], [0.75])
    (line,) = drawn_as(figure, "lines")
    at = dict(zip(line.x, line.y, strict=True))
    assert at[800] == pytest.approx(0.75 * 1 / 2)  # two were still watched
    assert line.name == "adamw: 3 of 4 converged"


def test_without_a_median_there_is_no_diamond():
    made = with_convergence(
        make_findings(4), [300, 900, 900, 900], censored=("seed1", "seed2", "seed3")
    )
    marks = drawn_as(figures.waiting_curves(made), "markers")
    assert [m.marker.symbol for m in marks] == ["line-ns-open"]


def test_a_band_holds_its_curve(three_groups):
    figure = figures.waiting_curves(three_groups)
    bands = {t.meta["group"]: t for t in drawn_as(figure, "none")}
    for line in drawn_as(figure, "lines"):
        band = bands[line.meta["group"]]
        half = len(band.x) // 2
        x, high, low = band.x[:half], band.y[:half], band.y[half:][::-1]
        before = band.x[half:][::-1]
        for at, share in zip(line.x, line.y, strict=True):
            # The lower limit holds from the step before, the upper one to the next step.
            assert low[np.flatnonzero(before == at)[0]] <= share + 1e-6
            assert share <= high[np.flatnonzero(x == at)[-1]] + 1e-6
        assert all(a <= b for a, b in pairwise(x))


def test_groups_are_told_apart_by_dash_and_word_as_well_as_by_colour(three_groups):
    for name in ("waiting_curves", "performance_profile"):
        lines = drawn_as(getattr(figures, name)(three_groups), "lines")
        assert [t.meta["group"] for t in lines] == [0, 1, 2]
        assert [t.name.split(":")[0] for t in lines] == ["adamw", "sgd", "lion"]
        assert len({t.line.dash for t in lines}) == len({t.line.color for t in lines}) == 3


def test_a_group_that_has_converged_stays_at_zero_while_others_are_watched():
    made = make_findings(4, groups=("a", "b"))
    made = with_convergence(made, [300, 400, 500, 600, 300, 900, 1800, 2500])
    a, b = drawn_as(figures.waiting_curves(made), "lines")
    assert (a.x[-1], a.y[-1]) == (b.x[-1], b.y[-1]) == (2500, 0)


# --- performance profile ---


def test_the_profile_is_the_share_of_runs_within_a_ratio_of_the_fastest():
    made = make_findings(4, groups=("a", "b"))
    steps = [300, 450, 600, 4000, 600, 600, 1200, 3000]
    made = with_convergence(made, steps)
    figure = figures.performance_profile(made)
    assert figure.layout.xaxis.type == "log"
    for line, own in zip(drawn_as(figure, "lines"), np.reshape(steps, (2, 4)), strict=True):
        for ratio, share in zip(line.x, line.y, strict=True):
            assert share == pytest.approx(np.mean(own <= ratio * 300 + 1e-9))
    assert "step of the first run (300)" in figure.layout.xaxis.title.text


def test_runs_that_never_converge_keep_the_profile_below_one():
    made = with_convergence(make_findings(4), [300, 450, 600, 4000], censored=("seed3",))
    (line,) = drawn_as(figures.performance_profile(made), "lines")
    assert max(line.y) == 0.75


def test_without_a_fastest_run_there_is_no_profile():
    nobody = with_convergence(make_findings(2), [900, 900], censored=("seed0", "seed1"))
    with pytest.raises(NotEnoughDataError, match="No run has converged"):
        figures.performance_profile(nobody)
    at_once = with_convergence(make_findings(2), [0, 900])
    with pytest.raises(NotEnoughDataError, match="at step 0"):
        figures.performance_profile(at_once)


@pytest.mark.parametrize("longest", [1.1, 3, 40, 2000])
def test_ratio_ticks_are_few_and_in_range(longest):
    made = with_convergence(make_findings(2), [1000, int(1000 * longest)])
    ticks = figures.performance_profile(made).layout.xaxis.tickvals
    assert ticks[0] == 1
    assert 2 <= len(ticks) <= 8
    assert ticks[-1] <= 1.05 * longest


@pytest.mark.parametrize("name", ["waiting_curves", "performance_profile", "slowest_and_fastest"])
def test_one_run_is_compared_with_none(name):
    with pytest.raises(NotEnoughDataError):
        getattr(figures, name)(make_findings(1))


# --- slowest and fastest ---


def test_without_quarters_there_are_no_marks_of_them():
    symbols = {
        t.marker.symbol for t in drawn_as(figures.slowest_and_fastest(make_findings(7)), "markers")
    }
    assert "square-open" not in symbols


def test_each_group_has_its_own_pair(three_groups):
    figure = figures.slowest_and_fastest(three_groups)
    ticks = figure.layout.yaxis.ticktext
    assert [t.split("<br>")[0] for t in ticks] == ["fastest", "slowest"] * 3
    headings = " ".join(a.text for a in figure.layout.annotations)
    for group in ("adamw", "sgd", "lion"):
        assert headings.count(f"<b>{group}</b>") == 2  # of the strips and of the states


def test_the_marks_are_the_counts_and_the_text_their_difference(three_groups):
    figure = figures.slowest_and_fastest(three_groups)
    marks = {t.name: t for t in drawn_as(figure, "markers")}
    (text,) = drawn_as(figure, "text")
    difference = np.asarray(marks["slowest"].x) - np.asarray(marks["fastest"].x)
    written = [int(re.sub("</?b>|[±,]", "", t).replace("−", "-")) for t in text.text]
    np.testing.assert_array_equal(written, difference)
    assert sum("<b>" in t for t in text.text) == three_groups.slowness.extremes["decisive"].sum()


def test_runs_that_converge_at_once_have_no_slowest():
    with pytest.raises(NotEnoughDataError, match="longer"):
        figures.slowest_and_fastest(with_convergence(make_findings(4), [500] * 4))


# --- runs as rows: intervals, means, outliers ---


def test_the_interval_between_two_evaluations_is_the_thick_end(findings):
    bars = [t for t in figures.convergence(findings).data if isinstance(t, go.Bar)]
    thick = max(bars, key=lambda t: t.width)
    table = findings.convergence.table
    table = table[table["converged"]].sort_values("step", kind="stable")
    np.testing.assert_array_equal(
        np.asarray(thick.base, float), table["previous_step"].to_numpy(float)
    )
    np.testing.assert_array_equal(
        np.asarray(thick.base, float) + np.asarray(thick.x, float), table["step"]
    )


def test_the_mean_and_its_error_are_plain_ones_where_every_run_converged():
    steps = np.array([300, 500, 500, 900])
    figure = figures.convergence(with_convergence(make_findings(4), steps))
    # Each counts as half way between the evaluations, a hundred steps apart, that tell of it.
    mean, error = (steps - 49.5).mean(), steps.std(ddof=1) / 2
    band, line = (t for t in figure.data if t.name == "mean ± standard error")
    assert list(line.x) == [mean, mean]
    np.testing.assert_allclose([band.x[0], band.x[1]], [mean - error, mean + error])
    (heading,) = figure.layout.annotations
    assert heading.text == f"4 of 4 converged, mean {words.count(mean)} ± {words.count(error)}"


def test_a_mean_of_censored_runs_says_how_far_it_goes(findings):
    said = [note.text for note in figures.timeline(findings).layout.annotations]
    (heading,) = (text for text in said if text.startswith("9 of 10 converged, 1 censored, mean "))
    assert heading.endswith(" up to 4,100")


def test_outliers_have_a_sign_a_word_and_their_reason(findings):
    stars = next(t for t in figures.timeline(findings).data if (t.name or "").startswith("outlier"))
    ranked = list(figures.timeline(findings).layout.yaxis.ticktext)
    assert list(stars.y) == [ranked.index("seed1") + 1]
    assert "goes back" in stars.hovertext[0].replace("<br>", " ")
    usual = replace(findings, outliers=findings.outliers.assign(outlier=False))
    assert not [t for t in figures.timeline(usual).data if (t.name or "").startswith("outlier")]


def test_cards_tell_the_rank_and_the_interval_of_a_change(findings):
    marks = next(t for t in figures.convergence(findings).data if t.name == "converged")
    assert "rank 1 among" in marks.hovertext[0]
    cards = [
        c for t in figures.timeline(findings).data if isinstance(t, go.Bar) for c in t.hovertext
    ]
    entered = [c for c in cards if "90\u00a0% interval" in c]
    assert len(entered) == len(findings.change_points)


# --- words, hostile names ---


def in_words(findings):
    return figure_summaries(findings, said(findings))


def test_the_figures_are_told_in_words():
    told = in_words(with_convergence(make_findings(4), [300, 450, 600, 900]))
    assert told["waiting_curves"] == (
        "How many of the runs of each group had converged: adamw (4): a quarter by step 300, half "
        "by step 450 and three quarters by step 600."
    )
    assert "adamw 25\u00a0%, 50\u00a0%, 75\u00a0% and 100\u00a0%" in told["performance_profile"]
    assert told["slowest_and_fastest"].startswith(
        "Seed0 converged at step 300, seed3 converged at step 900. The latter stayed longer above "
        "all in state"
    )


def test_words_of_figures_bear_hostile_names_and_missing_outcomes(bare):
    told = in_words(make_hostile_findings())
    assert all("\n" not in text for text in told.values())
    assert not in_words(bare)["waiting_curves"]


def test_the_same_findings_give_the_same_figures(three_groups):
    again = make_findings(10, groups=("adamw", "sgd", "lion"))
    for name in ("waiting_curves", "performance_profile", "slowest_and_fastest"):
        draw = getattr(figures, name)
        assert draw(three_groups).to_json(engine="json") == draw(again).to_json(engine="json")
