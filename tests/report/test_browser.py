"""The report in a real browser; skipped where playwright or a Chromium is missing."""

import importlib.util
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from hmmdyn.report import theme
from hmmdyn.report.page import write_report
from tests.report.synthetic import make_findings, make_hostile_findings, without_outcomes

pytest.importorskip("playwright.sync_api")
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")
SCRIPT = Path(__file__).parents[2] / ".ci" / "open_report.py"
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium"),
    pytest.mark.skipif(not SCRIPT.exists(), reason="not in a checkout"),
]


@pytest.fixture(scope="module")
def open_report():
    """The script of the continuous integration, which is the check."""
    spec = importlib.util.spec_from_file_location("open_report", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def browser(open_report):
    with open_report.chromium() as opened:
        yield opened


@pytest.mark.parametrize(
    "made",
    [
        make_findings(10, n_states=12, wandering=0.2),
        make_hostile_findings(),
        without_outcomes(make_findings(1, n_states=1)),
    ],
    ids=["usual", "hostile", "bare"],
)
def test_the_report_opens_without_a_complaint_at_both_widths(open_report, made, tmp_path):
    assert open_report.check(write_report(made, tmp_path)) == []


def settles(page, expression, value):
    """Wait until a JavaScript expression has the value (Playwright's own way needs eval)."""
    for _ in range(60):
        if page.evaluate(expression) == value:
            return True
        page.wait_for_timeout(50)
    return False


FONT = "document.querySelector('.plot')._fullLayout.font.color"
WIDTHS = "[...document.querySelectorAll('.plot')].map(p => p._fullLayout.width)"


def test_figures_follow_the_colour_scheme_and_print_dark_on_white(browser, tmp_path):
    report = write_report(make_findings(), tmp_path)
    context = browser.new_context(color_scheme="dark", viewport={"width": 1400, "height": 900})
    page = context.new_page()
    page.goto(report.as_uri())
    assert page.evaluate(FONT) == theme.DARK.layout.font.color
    on_screen = page.evaluate(WIDTHS)
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate(FONT) == theme.LIGHT.layout.font.color
    assert max(page.evaluate(WIDTHS)) < 750  # a page of paper, in CSS pixels
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert settles(page, WIDTHS, on_screen)
    page.emulate_media(color_scheme="light")
    assert settles(page, FONT, theme.LIGHT.layout.font.color)
    context.close()


def test_the_menu_draws_another_metric_and_a_narrow_window_the_upright_map(browser, tmp_path):
    made = make_findings()
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    page = context.new_page()
    page.goto(write_report(made, tmp_path).as_uri())
    page.locator("#metric_trajectories .updatemenu-header").click()
    page.locator("#metric_trajectories .updatemenu-dropdown-button", has_text="l1_over_l2").click()
    title = "document.querySelector('#metric_trajectories .plot')._fullLayout.yaxis.title.text"
    assert settles(page, title, "l1_over_l2")
    first = "document.querySelector('#metric_trajectories .plot')._fullData[0].y[0]"
    assert page.evaluate(first) == np.float32(made.table["l1_over_l2"].iloc[0])
    nodes = "document.querySelector('#training_map .plot')._fullData.at(-1)"
    assert page.evaluate(f"{nodes}.x") == [0, 1, 2, 3]
    page.set_viewport_size({"width": 420, "height": 900})
    assert settles(page, f"{nodes}.y", [0, -1, -2, -3])
    assert page.evaluate(title) == "l1_over_l2"  # the reader's choice stays
    context.close()


PAGE = (
    '<!doctype html><link rel="icon" href="data:,"><body><div class="plot js-plotly-plot">'
    '<svg class="main-svg" width="300" height="200"></svg></div>{}'
)
FAULTS = {
    "<script>console.error('no')</script>": "console error: no",
    "<script>console.warn('hm')</script>": "console warning: hm",
    "<script>throw new Error('oh')</script>": "exception: oh",
    "<script>alert(1)</script>": "a dialog opened",
    "<img src='https://example.org/x.png'>": "request: https://example.org/x.png",
    "<div style='width: 3000px'>wide</div>": "px wider than the window",
    "<div class='plot' data-spec='empty'></div>": "figure empty was not drawn",
}


def test_the_check_finds_what_it_is_for(open_report, tmp_path):
    """A check that cannot fail would be worth nothing."""
    page = tmp_path / "page.html"
    page.write_text(PAGE.format("".join(FAULTS)), encoding="utf-8")
    found = " | ".join(open_report.check(page))
    assert [problem for problem in FAULTS.values() if problem not in found] == []
    assert "at 1400 px" in found
    assert "at 420 px" in found


def test_a_page_without_fault_passes_the_check(open_report, tmp_path):
    page = tmp_path / "page.html"
    page.write_text(PAGE.format(""), encoding="utf-8")
    assert open_report.check(page) == []
