"""A figure as a piece of HTML for a page of one's own."""

import re

import pytest

from hmmdyn.errors import NotEnoughDataError, UsageError
from hmmdyn.report.figures.figures import Figures
from hmmdyn.report.figures.replay import player
from hmmdyn.report.snippet import page_of, snippet
from tests.report.browsing import in_browser
from tests.report.synthetic import analysis_of, make_hostile_findings


@pytest.fixture(scope="module")
def analysis(findings):
    return analysis_of(findings)


def test_a_snippet_has_plotly_inline_from_a_checked_link_or_from_elsewhere(analysis, tmp_path):
    sizes = {}
    for plotly in ("inline", "cdn", "none"):
        path = analysis.write_snippet(tmp_path / f"{plotly}.html", plotly=plotly)
        text = path.read_text("utf-8")
        sizes[plotly] = len(text)
        links = re.findall(r'src="https://[^"]+" integrity="sha256-[^"]{44}"', text)
        assert len(links) == (plotly == "cdn")
        assert text.startswith("<div")
    assert sizes["inline"] > 4e6 > 1e5 > sizes["cdn"] > sizes["none"]


def test_the_same_figure_is_the_same_snippet_and_another_has_another_place(analysis, tmp_path):
    texts = [
        analysis.write_snippet(tmp_path / "it.html", name, plotly="none", theme=theme).read_text()
        for name, theme in (("timeline", "light"), ("timeline", "light"), ("timeline", "dark"))
    ]
    places = [re.search(r'<div id="(hmmdyn-\w+)"', text)[1] for text in texts]
    assert texts[0] == texts[1]
    assert places[1] != places[2]


def test_what_there_is_not_is_named(analysis, bare, tmp_path):
    with pytest.raises(UsageError, match=r"no figure 'tmeline'.*timeline"):
        analysis.write_snippet(tmp_path / "it.html", "tmeline")
    with pytest.raises(UsageError, match=r"'plotly' must be one of .*got 'web'"):
        analysis.write_snippet(tmp_path / "it.html", plotly="web")
    with pytest.raises(NotEnoughDataError):
        analysis_of(bare).write_snippet(tmp_path / "it.html", "convergence")
    assert not list(tmp_path.iterdir())


class TestInABrowser:
    pytestmark = in_browser

    def test_snippets_and_player_draw_without_a_network_whatever_names_say(self, browser, tmp_path):
        figures = Figures(make_hostile_findings())
        page_with = snippet(figures.training_map()) + snippet(figures.timeline(), "none")
        played = page_of(player(make_hostile_findings(), 3), "Replay")
        context = browser.new_context(offline=True)
        page, complaints = context.new_page(), []
        for event in ("console", "pageerror", "dialog"):
            page.on(event, lambda what: complaints.append(what))
        for text, plots in ((f"<!doctype html><body>{page_with}</body>", 2), (played, 1)):
            path = tmp_path / "page.html"
            path.write_text(text, "utf-8")
            page.goto(path.as_uri())
            page.wait_for_function(
                f"document.querySelectorAll('.js-plotly-plot').length === {plots}"
            )
            page.wait_for_selector(".barlayer .point path")
        # Played, the map keeps its bars.
        page.wait_for_timeout(600)
        assert page.locator(".barlayer .point path").count() >= 4
        assert complaints == []
        context.close()
