"""The seeds in one list, why they are slow, and the timeline of all of them."""

from dataclasses import replace

import numpy as np
import pytest

from hmmdyn.report.figures.figures import timeline, why_slow
from hmmdyn.report.figures.preview import preview
from hmmdyn.report.figures.timeline import CURVES_DRAWN
from hmmdyn.report.ranked import ranked_seeds
from hmmdyn.results.keys import RUN_KEY
from tests.report.synthetic import make_findings, without_outcomes


def test_seeds_are_ranked_with_what_each_took(findings):
    seeds = ranked_seeds(findings)
    runs = findings.runs.set_index("run")
    steps = [runs.loc[seed.name, "step"] for seed in seeds]
    assert steps[:-1] == sorted(steps[:-1])
    first, last = seeds[0], seeds[-1]
    assert first.times == "1 ×"
    assert first.step == f"{runs.loc[first.name, 'step'] - 99:,}–{runs.loc[first.name, 'step']:,}"
    assert last.name == "seed9"  # censored
    assert last.step == f"not by {steps[-1]:,}"
    assert last.times.startswith("> ")
    assert np.isnan(last.mark)


def test_what_a_seed_did_differently_is_told(findings):
    different = {seed.name: seed.different for seed in ranked_seeds(findings)}
    assert different["seed3"].startswith("Goes 0 → 1 → 2 → 3")  # the long way round
    assert "nlike the others" in different["seed1"]
    assert different["seed0"] == ""


def test_strips_of_a_seed_are_its_stays(findings):
    (seed,) = [seed for seed in ranked_seeds(findings) if seed.name == "seed3"]
    stays = findings.ways.stays[findings.ways.stays["run"] == "seed3"]
    assert len(seed.strips) == len(stays)
    ends = [strip.x + strip.width for strip in seed.strips]
    assert [strip.x for strip in seed.strips][1:] == ends[:-1]


def test_of_many_seeds_the_first_and_last_are_listed_and_the_others_counted():
    seeds = ranked_seeds(make_findings(100))
    assert len(seeds) == 60
    assert sum(seed.n_before for seed in seeds) == 40


def test_groups_are_in_one_list():
    seeds = ranked_seeds(make_findings(4, groups=("a", "b")))
    assert {seed.group for seed in seeds} == {0, 1}
    assert [seed.name for seed in seeds if seed.step.startswith("not by")] == [
        "a / seed3",
        "b / seed3",
    ]


def test_without_outcome_or_with_one_that_is_never_known_there_is_a_list_all_the_same(findings):
    assert len(ranked_seeds(without_outcomes(findings))) == 10
    none = findings.convergence.table.iloc[:0]
    unknown = replace(
        findings,
        runs=findings.runs.assign(status="unknown", converged=False),
        convergence=replace(findings.convergence, table=none),
        speed=None,
        slowness=None,
    )
    assert {seed.step for seed in ranked_seeds(unknown)} == {"not known"}


def test_why_slow_sets_every_run_against_the_median_run_state_by_state(findings):
    figure = why_slow(findings)
    spent = findings.slowness.before_convergence.set_index(RUN_KEY)
    median = findings.runs["run"].iloc[4]  # of ten in the middle
    for trace in figure.data:
        state = f"state_{trace.meta['state']}"
        expected = spent[state] - spent[state]["adamw", median]
        in_order = [expected["adamw", run] for run in findings.runs["run"]]
        np.testing.assert_allclose(np.asarray(trace.x, float), in_order)


def test_the_timeline_has_the_curves_of_the_outcome_on_the_same_axis(findings):
    figure = timeline(findings)
    curves = [trace for trace in figure.data if trace.yaxis == "y2"]
    assert {trace.meta["run"] for trace in curves} == set(range(10))
    assert figure.layout.yaxis2.anchor == "x"
    upper, lower = figure.layout.yaxis2.domain, figure.layout.yaxis.domain
    assert lower[1] < upper[0]
    assert figure.layout.shapes[0].y0 == findings.convergence.threshold


def test_of_many_runs_some_curves_are_drawn_and_some_names_written():
    figure = timeline(make_findings(200))
    drawn = {trace.meta["run"] for trace in figure.data if trace.yaxis == "y2"}
    assert len(drawn) == CURVES_DRAWN
    assert figure.layout.height < 900
    ticks = np.array(figure.layout.yaxis.tickvals)
    pixels = figure.layout.yaxis.domain[1] * (figure.layout.height - 108)
    low, high = figure.layout.yaxis.range
    assert np.diff(ticks).min() * pixels / (low - high) > 12
    assert len(figure.layout.meta["runs"]) == len(ticks)


@pytest.mark.parametrize("n_runs", [1, 10, 200])
def test_the_picture_of_the_timeline_has_its_bars_and_marks(n_runs):
    findings = make_findings(n_runs, n_censored=0)
    figure = timeline(findings)
    drawn = str(preview(figure))
    bars = sum(len(trace.x) for trace in figure.data if trace.type == "bar")
    assert drawn.count("z") == bars
    assert drawn.count("h.01") == n_runs + int(findings.outliers["outlier"].sum())
