"""The zoom, the panel of the map and the threshold in a real browser, held against Python."""

from dataclasses import fields, replace

import numpy as np
import pandas as pd
import pytest

from hmmdyn.dynamics.convergence import measure_convergence
from hmmdyn.dynamics.slowness import runs_by_convergence
from hmmdyn.dynamics.speed import compare_speed
from hmmdyn.report.export import write_report
from hmmdyn.report.figures.links import run_numbers
from hmmdyn.report.report import Report
from hmmdyn.results.findings import OutcomeFindings
from hmmdyn.results.keys import RUN_KEY
from tests.report.browsing import draw_all, in_browser, open_table, opened, settles
from tests.report.synthetic import make_findings, make_hostile_findings, with_zoom

pytestmark = in_browser
PLOT = "document.querySelector('#%s .plot')"
STATES = f"{PLOT % 'training_map'}.data.find((t) => t.name === 'states')"
# State of every run at every point of a figure of curves, by the trace that draws it.
CURVE = """(id) => document.querySelector(`#${id} .plot`).data.flatMap(({ meta, x, y }) =>
  meta?.state === undefined || meta.each ? [] :
  [...x].flatMap((step, i) => Number.isNaN(y[i]) ? [] : [[meta.run, meta.state, step, y[i]]]))"""
STRIPS = """() => document.querySelector("#timeline .plot").data.flatMap((t) =>
  t.type === "bar" && t.meta.each === "run" && t.meta.state !== undefined
    ? [...t.customdata].map((run, i) => [run, t.meta.state, t.base[i], t.base[i] + t.x[i]]) : [])"""


@pytest.fixture(scope="module")
def made():
    return with_zoom(make_findings())


@pytest.fixture(scope="module")
def report(made, tmp_path_factory):
    return write_report(Report(made), tmp_path_factory.mktemp("zoomed"))


def slide(page, name, value):
    page.locator(f"#{name}").evaluate(
        "(e, to) => { e.value = to; e.dispatchEvent(new Event('input', { bubbles: true })); }",
        value,
    )


# --- the zoom ---


def test_the_slider_shows_another_level_in_map_timeline_curves_and_tables(browser, report, made):
    numbers = run_numbers(made)
    with opened(browser, report) as page:
        assert page.locator("#level-told").inner_text() == "4 states; the supported map"
        page.locator("#level").press("ArrowRight")
        assert page.evaluate("location.hash") == "#level=8"
        assert page.evaluate(f"[...{STATES}.customdata]") == list(range(8))
        expected = [
            (numbers[stay.group, stay.run], stay.state, stay.start, stay.end)
            for stay in made.map_in_time.stays[8].itertuples()
        ]
        assert sorted(map(tuple, page.evaluate(STRIPS))) == sorted(expected)
        level = made.selection.evidence.zoom[8].states
        at = dict(zip(zip(made.table["run"], made.table["step"], strict=True), level, strict=True))
        drawn = page.evaluate(CURVE, "outcome_curves")
        runs = {number: run for (_, run), number in numbers.items()}
        # A piece begins at the point before it, which is in another state.
        own = {(runs[r], step) for r, k, step, _ in drawn if at[runs[r], step] == k}
        assert own == set(at)
        table = open_table(page, "When runs are in the states of every level")
        assert table.locator("tbody tr:visible").count() == 8
        options = page.locator("#choose-state option").all_text_contents()
        assert options == ["all", *(f"state {k}" for k in range(8))]


def test_what_stays_keeps_its_colour_and_place(browser, report):
    look = f"(s => [...s.customdata].map((k, i) => [s.marker.color[i], s.base[i]]))({STATES})"
    with opened(browser, report) as page:
        told = page.evaluate(look)
        slide(page, "level", 2)
        finer = page.evaluate(look)
        assert {colour for colour, _ in told} <= {colour for colour, _ in finer}
        # Each state begins where the first of the two that it is made of does.
        assert [place for _, place in finer][::2] == [place for _, place in told]
        slide(page, "level", 0)
        assert page.evaluate(look)[0][0] in {colour for colour, _ in told}
        slide(page, "level", 1)
        assert page.evaluate(look) == told


def test_a_link_shows_the_level_and_back_undoes_it(browser, report):
    with opened(browser, report, "#level=8&state=7") as page:
        assert page.evaluate("selection.chosen.state") == 7
        assert page.locator("#level").input_value() == "2"
        page.evaluate("location.hash = '#level=1'")
        assert settles(page, f"[...{STATES}.customdata].length", 1)
        page.go_back()
        assert settles(page, f"[...{STATES}.customdata].length", 8)


def test_a_level_that_is_not_there_is_told(browser, report):
    with opened(browser, report, "#level=5&state=6", draw=False) as page:
        told = "Not in this report: level 5, state 6."
        assert settles(page, "document.getElementById('chosen').textContent", told)


def test_a_state_of_another_level_is_none_of_the_tables_of_the_map_told(browser, report):
    with opened(browser, report, "#level=8&state=2") as page:
        table = open_table(page, "State transitions")
        assert table.locator("tr.chosen").count() == 0
        assert page.locator("#state_means .dim").count() == 0
        table.locator("tbody tr").first.locator("td").nth(1).click()
        assert page.evaluate("location.hash") == "#state=1"


def test_what_is_of_the_told_map_says_so_while_another_is_shown(browser, report):
    with opened(browser, report) as page:
        figure = page.locator("#state_means .of-level")
        table = open_table(page, "State transitions").locator(".of-level")
        followed = open_table(page, "When runs are in the states of every level")
        assert [figure.is_visible(), table.is_visible()] == [False, False]
        page.locator("#level").press("ArrowRight")
        told = "Of the map with 4 states, not of the one shown."
        assert [figure.inner_text(), table.inner_text()] == [told, told]
        assert page.locator("#timeline .of-level").count() == 0  # it follows
        assert followed.locator(".of-level").count() == 0
        page.locator("#level").press("ArrowLeft")
        assert [figure.is_visible(), table.is_visible()] == [False, False]


# --- the panel ---


def facts(page):
    return page.locator("#map-facts").inner_text()


def test_the_panel_tells_what_is_pointed_at_and_no_card_covers_the_map(browser, report, made):
    with opened(browser, report) as page:
        assert "state 2 → state 3" in facts(page)  # the boundary with evidence comes first
        place = page.evaluate(
            f"""(() => {{
              const plot = {PLOT % "training_map"};
              plot.scrollIntoView({{ behavior: "instant", block: "center" }});
              const states = {STATES};
              const {{ left, top }} = plot.getBoundingClientRect();
              const {{ xaxis: x, yaxis: y }} = plot._fullLayout;
              return [left + x._offset + x.d2p(states.base[1] + states.x[1] / 2),
                      top + y._offset + y.d2p(states.y[1])];
            }})()"""
        )
        page.mouse.move(*place)
        assert settles(page, "document.getElementById('map-about').value", "state 1")
        assert "fork: of 9 runs that go on" in facts(page)
        assert page.locator("#training_map .hoverlayer *").count() == 0


def test_every_state_and_change_is_reached_without_a_mouse(browser, report, made):
    with opened(browser, report) as page:
        about = page.locator("#map-about")
        values = about.locator("option").evaluate_all("(os) => os.map((o) => o.value)")
        assert len(values) == 4 + len(made.transitions)
        for value in values:
            about.select_option(value)
            assert page.locator("#map-facts h3").inner_text()
        about.select_option("change 0")
        edge = made.transitions.iloc[0]
        means = made.parameters.means
        change = means[int(edge["to_state"])] - means[int(edge["from_state"])]
        for name, text in zip(
            page.locator("#map-facts .moves bdi").all_inner_texts(),
            page.locator("#map-facts .moves li > span:last-child").all_inner_texts(),
            strict=True,
        ):
            expected = change[made.features.index(name)]
            assert float(text.replace("−", "-").split()[0]) == pytest.approx(expected, abs=0.051)


def test_runs_of_the_panel_can_be_chosen(browser, report):
    with opened(browser, report) as page:
        options = page.locator("#map-about option").all_text_contents()
        page.locator("#map-about").select_option(
            label=next(o for o in options if "1 → state 2" in o)
        )
        page.locator("#map-facts").get_by_role("button", name="highlight all").click()
        assert page.evaluate("location.hash") == "#run=seed3&run=seed7"


def test_names_in_the_panel_are_text(browser, tmp_path):
    report = write_report(Report(make_hostile_findings()), tmp_path)
    with opened(browser, report) as page:
        for value in page.locator("#map-about option").evaluate_all(
            "(os) => os.map((o) => o.value)"
        ):
            page.locator("#map-about").select_option(value)
        assert page.locator("#map-facts :is(img, script, a, b)").count() == 0
        assert "<img" in facts(page)


# --- the view ---

RANGE = f"{PLOT % 'training_map'}._fullLayout.xaxis.range"


def test_the_map_zooms_moves_and_comes_back_by_buttons_and_keys(browser, report):
    with opened(browser, report) as page:
        whole = page.evaluate(RANGE)
        span = whole[1] - whole[0]
        page.locator("[data-view=in]").click()
        low, high = page.evaluate(RANGE)
        assert high - low == pytest.approx(span / 1.5)
        page.locator("[data-view=later]").click()
        assert page.evaluate(RANGE)[0] == pytest.approx(low + span / 6)
        page.locator("[data-view=all]").click()
        assert page.evaluate(RANGE) == whole
        page.locator("#training_map .plot").focus()
        page.keyboard.press("+")
        page.keyboard.press("ArrowLeft")
        assert page.evaluate(RANGE)[0] == pytest.approx(low - span / 6)
        page.keyboard.press("0")
        assert page.evaluate(RANGE) == whole


def test_what_is_not_chosen_in_the_map_is_opaque(browser, report):
    with opened(browser, report, "#state=1") as page:
        dimmed = page.locator(
            "#training_map .point.dim path, #training_map .trace.dim path.js-line"
        )
        looks = dimmed.evaluate_all("(ps) => ps.map((p) => getComputedStyle(p).fillOpacity)")
        looks += dimmed.evaluate_all("(ps) => ps.map((p) => getComputedStyle(p).strokeOpacity)")
        assert set(looks) == {"1"}


# --- the threshold ---

THRESHOLDS = (0.4, 0.52, 0.66, 0.9, 0.955, 0.97)


@pytest.fixture(scope="module")
def grouped():
    """Runs that cross some thresholds and come back, evaluated at steps of their own."""
    made = with_zoom(make_findings(8, groups=("sgd", "adamw"), n_censored=2, n_states=5))
    rng = np.random.default_rng(1)
    table = made.table.copy()
    noisy = table["val_accuracy"] + rng.normal(0, 0.05, len(table))
    table["val_accuracy"] = noisy.clip(0, 1).round(2).where(rng.random(len(table)) < 0.8)
    return made, table


@pytest.mark.parametrize("sustained", [1, 3])
def test_runs_converge_and_curves_fall_as_python_has_it_at_any_threshold(
    browser, grouped, sustained, tmp_path
):
    made, table = grouped

    def by(threshold):
        return measure_convergence(
            table, made.outcomes, outcome="val_accuracy", threshold=threshold, sustained=sustained
        )

    told = by(0.9)
    made = replace(made, table=table, convergence=told, speed=compare_speed(told))
    report = write_report(Report(made), tmp_path)
    numbers = run_numbers(made)
    with opened(browser, report) as page:
        for threshold in THRESHOLDS:
            expected = by(threshold)
            crossed = page.evaluate("(t) => thresholds.crossings(t)", threshold)
            for row in expected.table.itertuples():
                seen = crossed[numbers[row.group, row.run]]
                assert seen["converged"] == row.converged
                assert seen["step"] == row.step
                assert seen["previous"] == (
                    None if pd.isna(row.previous_step) else row.previous_step
                )
            order = runs_by_convergence(table, expected)
            for _, own in order.groupby("group", sort=False):
                keys = [numbers[key] for key in own[RUN_KEY].itertuples(index=False, name=None)]
                assert (
                    page.evaluate(
                        "([rs, t]) => thresholds.inOrder(rs, t)", [sorted(keys), threshold]
                    )
                    == keys
                )
            speed = compare_speed(expected)
            curves = page.evaluate("(t) => thresholds.bracketed(t).map(survival.curve)", threshold)
            for curve, (_, own) in zip(
                curves, speed.curves.groupby("group", sort=False), strict=True
            ):
                assert [point["step"] for point in curve] == own["step"].tolist()
                for name in ("waiting", "low", "high"):
                    np.testing.assert_allclose([p[name] for p in curve], own[name], atol=1e-6)
            medians = page.evaluate(
                "(t) => thresholds.bracketed(t).map((g) => survival.median(g).latest)", threshold
            )
            np.testing.assert_allclose(
                [np.inf if m is None else m for m in medians], speed.groups["median_latest"]
            )


def test_the_threshold_slider_ranks_runs_again_and_redraws_the_curves(browser, report, made):
    with opened(browser, report) as page:
        ticks = f"[...{PLOT % 'timeline'}.layout.yaxis.ticktext]"
        before = page.evaluate(ticks)
        waiting = f"[...{PLOT % 'waiting_curves'}.data.find((t) => t.mode === 'lines').y]"
        told = page.evaluate(waiting)
        slide(page, "threshold", 0.55)
        assert page.evaluate("location.hash") == "#threshold=0.55"
        expected = measure_convergence(
            made.table, made.outcomes, outcome="val_accuracy", threshold=0.55
        )
        order = runs_by_convergence(made.table, expected)["run"].tolist()
        assert page.evaluate(ticks) == order != before
        assert page.evaluate(waiting) != told
        marks = f"[...{PLOT % 'timeline'}.data.find((t) => t.name === 'converged').x]"
        converged = expected.table[expected.table["converged"]]
        assert sorted(page.evaluate(marks)) == sorted(converged["step"])
        line = f"{PLOT % 'outcome_curves'}.layout.shapes[0].y0"
        assert page.evaluate(line) == 0.55
        page.locator("#threshold-reset").click()
        assert page.evaluate(ticks) == before
        assert page.evaluate("location.hash") == ""


def test_another_threshold_is_told_above_the_runs_of_each_group(browser, grouped, tmp_path):
    made, _ = grouped
    headings = f"{PLOT % 'timeline'}.layout.annotations.filter((a) => a.name).map((a) => a.text)"
    with opened(browser, write_report(Report(made), tmp_path)) as page:
        slide(page, "threshold", 0.55)
        expected = measure_convergence(
            made.table, made.outcomes, outcome="val_accuracy", threshold=0.55
        ).table
        n = expected.groupby("group")["converged"].sum()
        assert page.evaluate(headings) == [
            f"<b>{group}</b><br>{n[group]} of 8 converged" for group in ("sgd", "adamw")
        ]


def test_level_and_threshold_stay_when_what_is_lit_is_cleared(browser, report):
    with opened(browser, report, "#level=8&threshold=0.55&run=seed3", draw=False) as page:
        page.locator("#clear").click()
        assert page.evaluate("location.hash") == "#level=8&threshold=0.55"


def test_narrow_windows_have_the_sliders_and_nothing_wider_than_they_are(browser, report):
    with opened(browser, report, "#level=8", width=420) as page:
        draw_all(page)
        assert page.locator("#level").is_visible()
        assert page.locator("#threshold").is_visible()
        too_wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert page.evaluate(too_wide) <= 0
        heading = f"{PLOT % 'timeline'}.layout.annotations.find((a) => a.name).text"
        assert page.evaluate(heading) == "9 of 10 converged"  # no more has room


def test_without_a_mouse_the_buttons_of_figures_lie_on_nothing(browser, report):
    box = "document.querySelector('#%s %s').getBoundingClientRect()"
    with opened(browser, report, width=420, has_touch=True, is_mobile=True) as page:
        for name in ("timeline", "waiting_curves", "why_slow"):
            buttons, drawing = box % (name, ".modebar"), box % (name, ".main-svg")
            assert page.evaluate(f"{buttons}.height") > 0
            assert page.evaluate(f"{buttons}.bottom <= {drawing}.top")


# --- the replay ---

DOTS = """() => [...document.querySelectorAll("#training_map .replay circle")].map((dot) => {
  const { _offset, p2d } = document.querySelector("#training_map .plot")._fullLayout.xaxis;
  return p2d(dot.getAttribute("cx") - _offset);
})"""


def test_a_dot_per_run_goes_through_the_bars_of_the_map_in_step_with_the_curves(
    browser, report, made
):
    with opened(browser, report) as page:
        assert page.locator("#training_map .replay circle").count() == 0
        slide(page, "replay-moment", 400)
        assert page.locator("#replay-told").inner_text() == "step 1,640"
        bars = page.evaluate(f"(s => [[...s.base], [...s.x]])({STATES})")
        stays = made.map_in_time.stays[4]
        for number, place in enumerate(page.evaluate(DOTS)):
            own = stays[stays["run"] == f"seed{number}"]
            stay = own[own["end"] >= 1640].iloc[0]
            share = (1640 - stay["start"]) / (stay["end"] - stay["start"])
            begin, length = (side[int(stay["state"])] for side in bars)
            assert place == pytest.approx(begin + share * length, abs=2)
        curves = page.locator("#training_map .replay-curves polyline")
        assert curves.count() == 10
        assert page.locator("#training_map .replay-curves").is_visible()
        page.locator("#replay-end").click()
        assert page.locator("#training_map .replay circle").count() == 0


def test_training_is_played_to_its_end_at_once_where_motion_is_not_wanted(browser, report):
    with opened(browser, report, reduced_motion="reduce") as page:
        page.locator("#replay-play").press("Enter")
        assert page.locator("#replay-told").inner_text() == "step 4,100"


def test_training_is_played_and_paused(browser, report):
    with opened(browser, report) as page:
        page.locator("#replay-play").click()
        assert settles(page, "Number(document.getElementById('replay-moment').value) > 20", True)
        page.locator("#replay-play").click()
        stopped = page.evaluate("document.getElementById('replay-told').textContent")
        page.wait_for_timeout(200)
        assert page.evaluate("document.getElementById('replay-told').textContent") == stopped
        assert page.locator("#replay-play").inner_text() == "▶ Play"


def test_a_page_without_states_has_the_threshold_and_no_map(browser, made, tmp_path):
    alone = OutcomeFindings(**{f.name: getattr(made, f.name) for f in fields(OutcomeFindings)})
    with opened(browser, write_report(Report(alone), tmp_path)) as page:
        assert page.locator("#training_map, #level").count() == 0
        slide(page, "threshold", 0.55)
        expected = measure_convergence(
            made.table, made.outcomes, outcome="val_accuracy", threshold=0.55
        )
        step = expected.table.set_index("run")["step"]
        waits = f"""{PLOT % "timeline"}.data.find((t) => t.name === "not yet converged")"""
        seen = page.evaluate(f"(t => [...t.customdata].map((r, i) => [r, t.x[i]]))({waits})")
        assert dict(seen) == {int(run.removeprefix("seed")): s for run, s in step.items()}
