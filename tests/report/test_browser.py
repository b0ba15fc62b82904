"""The report in a real browser; skipped where playwright or a Chromium is missing."""

import numpy as np
import pytest

from hmmdyn.report.export import write_report
from hmmdyn.report.figures import theme
from hmmdyn.report.report import Report
from tests.report.browsing import draw_all, in_browser, opened, settles
from tests.report.synthetic import make_findings, make_hostile_findings, without_outcomes

pytestmark = in_browser


@pytest.mark.parametrize(
    "made",
    [
        make_findings(10, n_states=12, wandering=0.2),
        make_hostile_findings(),
        without_outcomes(make_findings(1, n_states=1)),
    ],
    ids=["usual", "hostile", "bare"],
)
def test_the_report_opens_without_a_complaint_at_both_widths(open_report, browser, made, tmp_path):
    assert open_report.check(browser, write_report(Report(made), tmp_path)) == []


FONT = "document.querySelector('.plot')._fullLayout.font.color"
WIDTHS = "[...document.querySelectorAll('.plot')].map(p => p._fullLayout.width)"


def test_figures_follow_the_colour_scheme_and_print_dark_on_white(browser, tmp_path):
    report = write_report(Report(make_findings()), tmp_path)
    with opened(browser, report, color_scheme="dark") as page:
        assert page.evaluate(FONT) == theme.DARK.layout.font.color
        on_screen = page.evaluate(WIDTHS)
        page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
        assert page.evaluate(FONT) == theme.LIGHT.layout.font.color
        assert max(page.evaluate(WIDTHS)) < 750  # a page of paper, in CSS pixels
        page.evaluate("window.dispatchEvent(new Event('afterprint'))")
        assert settles(page, WIDTHS, on_screen)
        page.emulate_media(color_scheme="light")
        assert settles(page, FONT, theme.LIGHT.layout.font.color)


def test_figures_out_of_view_wait_until_they_are_scrolled_to_or_printed(browser, tmp_path):
    report = write_report(Report(make_findings()), tmp_path)
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.goto(report.as_uri())
    page.wait_for_timeout(300)
    last = "document.querySelector('#model_selection .plot').classList.contains('js-plotly-plot')"
    assert page.evaluate(last) is False
    page.evaluate("document.querySelector('#model_selection').scrollIntoView()")
    assert settles(page, last, True)
    page.close()
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.goto(report.as_uri())
    assert settles(page, "typeof Plotly", "object")
    assert page.evaluate(last) is False
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate(last) is True
    page.close()


def test_the_page_prints_to_a_sensible_pdf(browser, tmp_path):
    report = write_report(Report(make_findings()), tmp_path)
    with opened(browser, report) as page:
        page.emulate_media(media="print")
        shown = (
            "[...document.querySelectorAll('.chooser, .controls, nav')].some(e => e.offsetParent)"
        )
        assert page.evaluate(shown) is False
        assert len(page.pdf()) > 50_000


def test_another_metric_is_drawn_and_a_narrow_window_has_the_upright_map(browser, tmp_path):
    made = make_findings()
    with opened(browser, write_report(Report(made), tmp_path)) as page:
        page.get_by_label("Metric", exact=True).select_option("l1_over_l2")
        title = "document.querySelector('#metric_trajectories .plot')._fullLayout.yaxis.title.text"
        assert settles(page, title, "l1_over_l2")
        first = "document.querySelector('#metric_trajectories .plot')._fullData[0].y[0]"
        assert page.evaluate(first) == np.float32(made.table["l1_over_l2"].iloc[0])
        drawn = "document.querySelector('#training_map .plot')._fullData"
        states = f"{drawn}.find((t) => t.name === 'states')"
        assert page.evaluate(f"{states}.orientation") == "h"
        page.set_viewport_size({"width": 420, "height": 900})
        draw_all(page)
        assert settles(page, f"{states}.orientation", "v")
        assert page.evaluate(title) == "l1_over_l2"  # the reader's choice stays


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


def test_the_check_finds_what_it_is_for(open_report, browser, tmp_path, monkeypatch):
    """A check that cannot fail would be worth nothing."""
    monkeypatch.setattr(open_report, "PATIENCE", 100)
    page = tmp_path / "page.html"
    page.write_text(PAGE.format("".join(FAULTS)), encoding="utf-8")
    found = " | ".join(open_report.check(browser, page))
    assert [problem for problem in FAULTS.values() if problem not in found] == []
    assert "at 1400 px" in found
    assert "at 420 px" in found


def test_a_page_without_fault_passes_the_check(open_report, browser, tmp_path):
    page = tmp_path / "page.html"
    page.write_text(PAGE.format(""), encoding="utf-8")
    assert open_report.check(browser, page) == []
