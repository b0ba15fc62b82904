"""Names that are markup, or mean something to a program, in figures and choosers of a browser."""

from urllib.parse import quote

import pytest

from hmmdyn.report.export import write_report
from hmmdyn.report.report import Report
from tests.report.browsing import in_browser, opened, settles
from tests.report.synthetic import make_findings, make_hostile_findings
from tests.report.test_browser_links import PLACE

pytestmark = in_browser

COLLIDING = ("all", "0", "nan", "", "__proto__", "constructor", "several", "null", "-1", "a/b")
# What a figure makes of a name that it takes for markup, and what pages run or fetch.
MARKUP = "svg a, svg script, svg foreignObject, img[onerror], iframe"


def test_figures_show_markup_in_names_as_text(browser, tmp_path):
    report = write_report(Report(make_hostile_findings()), tmp_path)
    with opened(browser, report) as page:
        assert page.locator(MARKUP).count() == 0
        drawn = " ".join(page.locator(".plot svg text").all_text_contents())
        assert "<b>bold</b>" in drawn
        page.mouse.move(*page.evaluate(PLACE, ["timeline", 0, 0]))
        card = page.locator("#timeline .hoverlayer")
        card.locator("text").first.wait_for()
        assert "<b>bold</b>" in card.text_content()
        assert card.locator("a, image").count() == 0


@pytest.fixture(scope="module")
def colliding(tmp_path_factory):
    made = make_findings(len(COLLIDING), groups=("all", "__proto__"), run_names=COLLIDING)
    return write_report(Report(made), tmp_path_factory.mktemp("colliding"))


def test_names_that_mean_something_to_a_program_are_names(browser, colliding):
    with opened(browser, colliding) as page:
        numbers = page.evaluate("selection.runs.map((run) => [run.group, run.name])")
        assert len(numbers) == 2 * len(COLLIDING)
        for number, (_, name) in enumerate(numbers):
            page.locator("#choose-run").select_option(str(number))
            assert page.evaluate("selection.chosen.runs.join()") == str(number)
            address = page.evaluate("location.hash")
            assert quote(name, safe="") in address
            page.evaluate("selection.clear()")
            page.evaluate("(hash) => { location.hash = hash; }", address)
            assert settles(page, "selection.chosen.runs.join()", str(number))
        for number in range(2):
            page.evaluate("selection.clear()")
            page.locator("#choose-group").select_option(str(number))
            lit = page.evaluate("selection.chosen.runs.length || selection.chosen.group")
            assert lit is not None
        assert page.evaluate("({}).polluted") is None
        assert page.evaluate("Object.keys(Object.prototype).length") == 0
