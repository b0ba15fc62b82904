"""Tables that sort and search, axes that change, and manners, in a real browser."""

from dataclasses import replace

import numpy as np
import pytest

from hmmdyn.report.export import write_report
from hmmdyn.report.report import Report
from tests.report.browsing import in_browser, open_table, opened, settles
from tests.report.synthetic import make_findings, make_hostile_findings

pytestmark = in_browser


@pytest.fixture(scope="module")
def made():
    """One metric is missing here and there, one is negative at times."""
    findings = make_findings(12)
    table = findings.table.copy()
    table.loc[table["step"] == 500, "l1"] = np.nan
    table["l2"] -= table["l2"].mean()
    return replace(findings, table=table)


@pytest.fixture(scope="module")
def report(made, tmp_path_factory):
    return write_report(Report(made), tmp_path_factory.mktemp("report"))


def column(found, name):
    names = found.locator("th").evaluate_all("(hs) => hs.map((h) => h.dataset.column)")
    cells = found.locator(f"tbody tr:visible td:nth-child({names.index(name) + 1})")
    return found.locator("th").nth(names.index(name)), cells


def test_a_click_on_a_heading_sorts_up_and_then_down(browser, report):
    with opened(browser, report, draw=False) as page:
        found = open_table(page, "Convergence of every run")
        heading, cells = column(found, "step")
        assert heading.get_attribute("aria-sort") is None
        heading.get_by_role("button").click()
        assert heading.get_attribute("aria-sort") == "ascending"
        steps = [int(text.replace(",", "")) for text in cells.all_inner_texts()]
        assert steps == sorted(steps)
        heading.get_by_role("button").press("Enter")
        assert heading.get_attribute("aria-sort") == "descending"
        assert [int(text.replace(",", "")) for text in cells.all_inner_texts()] == steps[::-1]
        runs, names = column(found, "run")
        runs.get_by_role("button").click()
        assert heading.get_attribute("aria-sort") is None
        assert names.all_inner_texts() == [f"seed{i}" for i in range(12)]  # 2 before 10


def test_numbers_sort_by_value_and_what_is_missing_comes_last(browser, report):
    with opened(browser, report, draw=False) as page:
        found = open_table(page, "Mean of every feature in every state")
        heading, cells = column(found, "l1")
        for order in (1, -1):
            heading.get_by_role("button").click()
            values = [float(text.replace("−", "-")) for text in cells.all_inner_texts()]
            assert values == sorted(values)[::order]
        found = open_table(page, "Detour states")
        heading, cells = column(found, "p")
        for _ in range(2):
            heading.get_by_role("button").click()
            assert cells.all_inner_texts() == ["0.002", "–", "–", "–"]


def test_a_search_leaves_the_rows_that_match_and_counts_them(browser, report):
    with opened(browser, report, draw=False) as page:
        found = open_table(page, "Convergence of every run")
        found.get_by_label("Search").fill("SEED1")
        assert column(found, "run")[1].all_inner_texts() == ["seed1", "seed10", "seed11"]
        assert found.locator(".tally").inner_text() == "3 of 12 rows match."
        found.get_by_label("Search").fill("")
        assert found.locator("tbody tr:visible").count() == 12
        assert found.locator(".tally").inner_text() == ""


def test_short_tables_have_no_search_box(browser, report):
    with opened(browser, report, draw=False) as page:
        assert open_table(page, "States").get_by_label("Search").count() == 0


TRACE = "document.querySelector('#%s .plot').data"
AXIS = "document.querySelector('#%s .plot')._fullLayout.xaxis"


def draw(page, figure):
    page.locator(f"#{figure}").evaluate("(e) => e.scrollIntoView({ behavior: 'instant' })")
    drawn = f"document.querySelector('#{figure} .plot').classList.contains('js-plotly-plot')"
    assert settles(page, drawn, True)


def test_the_step_axis_of_all_figures_is_linear_logarithmic_or_relative(browser, report, made):
    with opened(browser, report, draw=False) as page:
        for figure in ("timeline", "outcome_curves"):
            draw(page, figure)
        curves = page.locator("#outcome_curves")
        steps = page.evaluate(f"[...{TRACE % 'outcome_curves'}[0].x]")
        curves.get_by_label("Step axis").select_option("log")
        assert page.locator("#timeline").get_by_label("Step axis").input_value() == "log"
        # Step 0 has its place, a little below the first step after it, which is 100.
        places = page.evaluate(f"[...{TRACE % 'outcome_curves'}[0].x]")
        np.testing.assert_allclose(places, np.log10(1 + np.array(steps, float) / 100))
        ticks = page.evaluate(f"{AXIS % 'outcome_curves'}.ticktext")
        assert ticks[:2] == ["0", "100"]
        assert "1,000" in ticks
        assert "with 0" in page.evaluate(f"{AXIS % 'outcome_curves'}.title.text")
        bar = page.evaluate(f"(t => [t.base[0], t.base[0] + t.x[0]])({TRACE % 'timeline'}[0])")
        assert bar[0] == 0
        curves.get_by_label("Step axis").select_option("share")
        shares = page.evaluate(f"[...{TRACE % 'outcome_curves'}[0].x]")
        np.testing.assert_allclose(shares, np.array(steps) / made.table["step"].max())
        curves.get_by_label("Step axis").select_option("step")
        assert page.evaluate(f"[...{TRACE % 'outcome_curves'}[0].x]") == steps


def test_values_are_on_a_log_scale_only_where_all_are_positive(browser, report):
    with opened(browser, report, draw=False) as page:
        draw(page, "metric_trajectories")
        metrics = page.locator("#metric_trajectories")
        metric, values = (metrics.get_by_label(x, exact=True) for x in ("Metric", "Values"))
        kind = "document.querySelector('#metric_trajectories .plot')._fullLayout.yaxis.type"
        metric.select_option("var_w")
        values.select_option("log")
        assert page.evaluate(kind) == "log"
        metric.select_option("l2")
        assert page.evaluate(kind) == "linear"
        assert values.input_value() == "linear"
        log = values.locator("option").nth(1)
        assert log.is_disabled()
        assert "not with values of 0 or below" in log.inner_text()


def test_a_missing_value_is_a_gap_in_the_drawn_line(browser, report):
    with opened(browser, report, draw=False) as page:
        draw(page, "metric_trajectories")
        page.get_by_label("Metric", exact=True).select_option("l1")
        joined = page.evaluate(f"""{TRACE % "metric_trajectories"}.some(({{ x, y }}) =>
          [...x].some((step, i) => step < 500 && x[i + 1] > 500 && !isNaN(y[i] + y[i + 1])))""")
        assert joined is False


def test_the_heat_map_of_layers_takes_another_metric_and_another_axis(browser, report, made):
    with opened(browser, report, draw=False) as page:
        draw(page, "layers")
        heat = page.locator("#layers")
        courses = made.part_courses.courses
        own = courses[(courses["metric"] == "l2") & (courses["part"] == "h.1")]
        heat.get_by_label("Metric and parts").select_option(label="l2 by layer")
        row = page.evaluate("[...document.querySelector('#layers .plot').calcdata[0][0].z[2]]")
        np.testing.assert_allclose(row, own["deviations"], rtol=1e-5, atol=1e-6)
        # What is pointed at tells its layer, step and value.
        field = heat.locator(".heatmaplayer image").bounding_box()
        page.mouse.move(field["x"] + field["width"] - 4, field["y"] + field["height"] - 4)
        last = own.iloc[-1]
        heat.locator(".hoverlayer text").first.wait_for()
        told = heat.locator(".hoverlayer").text_content()
        assert "h.1" in told
        assert f"step {last.step:,}" in told
        edges = np.array(page.evaluate(f"[...{TRACE % 'layers'}[0].x]"))
        heat.get_by_label("Step axis").select_option("log")
        places = page.evaluate(f"[...{TRACE % 'layers'}[0].x]")
        np.testing.assert_allclose(places, np.log10(1 + edges / 100))
        assert heat.get_by_label("Step axis").locator("option").nth(2).is_disabled()


# --- manners ---

# Rows of long tables are all alike.
OPEN_SMALL = """document.querySelectorAll("details").forEach((d) => {
  d.open = d.querySelectorAll("tr").length < 20;
})"""


def test_there_is_no_serious_barrier_to_any_reader(browser, tmp_path):
    """Checked by axe-core: everything but what it calls minor or moderate."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    report = write_report(Report(make_findings(6, groups=("sgd", "adamw"))), tmp_path)
    with opened(browser, report, "#state=2") as page:
        page.evaluate(OPEN_SMALL)
        for width, scheme in ((1440, "light"), (1440, "dark"), (360, "dark"), (360, "light")):
            page.set_viewport_size({"width": width, "height": 900})
            page.emulate_media(color_scheme=scheme)
            page.wait_for_timeout(500)
            serious = [
                (v["id"], [node["html"][:200] for node in v["nodes"]][:3])
                for v in axe.run(page).response["violations"]
                if v["impact"] in {"serious", "critical"}
            ]
            assert (width, scheme, serious) == (width, scheme, [])


@pytest.mark.parametrize("width", [360, 2560])
def test_nothing_is_wider_than_the_window(browser, width, tmp_path):
    report = write_report(Report(make_hostile_findings()), tmp_path)
    with opened(browser, report, "#group=%3C%2Fscript%3E&state=1", width=width) as page:
        excess = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert page.evaluate(excess) <= 0
        assert page.locator("#chooser").bounding_box()["height"] < 150
