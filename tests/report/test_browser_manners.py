"""The page's manners in a real browser: theme, copying, contents."""

import csv
import io

import pytest

from hmmdyn.report.export import write_report
from hmmdyn.report.figures import theme
from hmmdyn.report.report import Report
from tests.report.browsing import in_browser, open_table, opened, settles
from tests.report.synthetic import make_findings

pytestmark = in_browser
FONT = "document.querySelector('#timeline .plot')._fullLayout?.font.color"
GROUND = "getComputedStyle(document.body).backgroundColor"


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return write_report(Report(make_findings(12)), tmp_path_factory.mktemp("report"))


def copied(page, button):
    page.evaluate("navigator.clipboard.writeText = async (text) => { window.copied = text; }")
    button.click()
    assert settles(page, "document.getElementById('copied').textContent", "Copied.")
    return page.evaluate("window.copied")


def test_the_reader_chooses_the_theme_and_the_browser_keeps_it(browser, report):
    with opened(browser, report, draw=False, color_scheme="light") as page:
        assert settles(page, FONT, theme.LIGHT.layout.font.color)
        page.get_by_label("Theme").select_option("dark")
        assert settles(page, FONT, theme.DARK.layout.font.color)
        assert page.evaluate(GROUND) == "rgb(27, 31, 38)"
        page.reload()
        assert settles(page, FONT, theme.DARK.layout.font.color)
        page.get_by_label("Theme").select_option("system")
        assert settles(page, FONT, theme.LIGHT.layout.font.color)
        assert page.evaluate(GROUND) == "rgb(255, 255, 255)"


def test_what_reproduces_the_report_and_the_link_are_copied(browser, report):
    with opened(browser, report, "#run=seed3", draw=False) as page:
        command = copied(page, page.get_by_role("button", name="Copy the command").last)
        assert command.replace("\\\n", " ").split()[:2] == ["hmmdyn", "analyze"]
        python = copied(page, page.get_by_role("button", name="Copy the Python"))
        assert "analyze('my runs'" in python
        link = copied(page, page.get_by_role("button", name="Copy link"))
        assert link == f"{report.as_uri()}#run=seed3"


def test_tables_are_copied_as_they_are_shown(browser, report):
    with opened(browser, report, draw=False) as page:
        found = open_table(page, "Convergence of every run")
        found.get_by_label("Search").fill("seed1")
        text = copied(page, found.get_by_role("button", name="Copy as CSV"))
        head, *rows = csv.reader(io.StringIO(text))
        assert [row[head.index("run")] for row in rows] == ["seed1", "seed10", "seed11"]
        assert all(row[head.index("step")].isdigit() for row in rows)
        lines = copied(page, found.get_by_role("button", name="Copy as Markdown")).split("\n")
        assert len(lines) == 2 + 3
        assert {line.count(" | ") for line in lines} == {len(head) - 1}


def test_the_section_that_is_read_is_marked_in_bar_and_contents(browser, report):
    now = "[...document.querySelectorAll('a[aria-current]')].map((a) => a.hash).join()"
    with opened(browser, report, draw=False) as page:
        assert settles(page, now, "#answer,#answer")
        page.locator("#evidence").evaluate("(e) => e.scrollIntoView({ behavior: 'instant' })")
        assert settles(page, now, "#evidence,#evidence")


def test_without_what_unpacks_it_the_page_still_tells_and_shows_its_answer(browser, report):
    page = browser.new_page(java_script_enabled=False)
    page.goto(report.as_uri())
    assert page.locator("h1").is_visible()
    assert page.locator("#timeline .preview svg").first.is_visible()
    assert page.locator(".ranked tbody tr").count() == 12
    page.close()
