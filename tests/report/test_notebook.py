"""What a notebook shows: figures with a theme, results line by line, an analysis as HTML."""

import inspect
import sys
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from hmmdyn.errors import NotEnoughDataError, UsageError
from hmmdyn.report.answers import answers, headline
from hmmdyn.report.figures.figures import Figures
from hmmdyn.report.notebook import _Notebook, to_html
from hmmdyn.report.packed import packed_plotly
from hmmdyn.report.report import Report
from hmmdyn.report.sheets import sheets
from hmmdyn.report.text import headlines
from hmmdyn.results.selection import Selection
from tests.report.browsing import in_browser
from tests.report.synthetic import analysis_of, make_findings


class Cell(HTMLParser):
    """Text and tags of a cell's output, and the document in its frame."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.text, self.frame = [], "", {}
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "iframe":
            self.frame = dict(attrs)

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def cell(findings):
    return Cell(to_html(Report(findings)))


@pytest.fixture(scope="module")
def hostile_cell(hostile):
    return Cell(to_html(Report(hostile)))


# --- an analysis ---


def test_the_answer_is_in_the_cell_in_words(cell, findings):
    for answer in answers(Report(findings)):
        assert f"{answer.short}. {''.join(answer.more[:1])}" in cell.text
    for topic, briefs in headlines(Report(findings)):
        assert topic in cell.text
        for brief in briefs:
            assert brief in cell.text


@pytest.mark.parametrize("which", ["cell", "hostile_cell"])
def test_only_harmless_elements_are_outside_the_frame(which, request):
    cell = request.getfixturevalue(which)
    assert set(cell.tags) == {
        "style", "div", "p", "b", "details", "summary", "dl", "dt", "dd", "iframe"
    }  # fmt: skip
    # Its origin is its own, and no script but the two of these hashes runs in it.
    assert cell.frame["sandbox"] == "allow-scripts"
    assert "unsafe-inline" not in cell.frame["srcdoc"].split("script-src")[1].split(";")[0]
    assert "<script>alert" not in cell.frame["srcdoc"]


def test_names_are_shown_in_the_cell(hostile_cell):
    assert "Training map of runs/<script>alert(5)</script>" in hostile_cell.text


def test_the_cell_needs_no_network(cell):
    document = cell.frame["srcdoc"]
    assert "default-src 'none'" in document
    assert " src=" not in document.split("<script", 1)[0]
    assert packed_plotly() in document


def test_the_finding_and_the_map_come_first(cell, findings):
    text = cell.text
    assert text.index(headline(Report(findings))) < text.index("Which phases?")
    assert cell.tags.index("iframe") < cell.tags.index("details")


def test_plotly_is_in_a_notebook_once(findings, monkeypatch):
    cell = {}
    shell = SimpleNamespace(execution_count=1, get_parent=lambda: {"metadata": cell})
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    notebook = _Notebook()
    outputs = []
    for name in "aba":  # the first is run again
        cell["cellId"] = name
        outputs.append(notebook.asks_for_plotly())
    assert outputs == [True, False, True]
    assert len(to_html(Report(findings), with_plotly=False)) < 200_000


def test_the_same_findings_give_the_same_cell(findings):
    assert to_html(Report(findings)) == to_html(Report(findings))


def test_an_analysis_shows_itself(findings):
    assert analysis_of(findings)._repr_html_() == to_html(Report(findings))


class TestInABrowser:
    pytestmark = in_browser

    def test_two_cells_on_one_page_draw_their_maps_offline(
        self, browser, findings, hostile, tmp_path
    ):
        page, complaints = browser.new_page(), []
        for event in ("console", "pageerror", "dialog"):
            page.on(event, lambda what: complaints.append(what))
        page.on("request", lambda r: r.url.startswith("file") or complaints.append(r.url))
        path = tmp_path / "notebook.html"
        # The one that has no plotly.js may be there first.
        cells = [to_html(Report(hostile), with_plotly=False), to_html(Report(findings))]
        path.write_text(f"<!doctype html>{''.join(cells)}", "utf-8")
        page.goto(path.as_uri())
        buttons = "[...document.querySelectorAll('.modebar-btn')].map(b => b.dataset.title)"
        for frame in page.frames[1:]:
            frame.wait_for_selector(".scatterlayer .trace")
            shown = frame.evaluate(buttons)
            assert shown
            assert not [title for title in shown if "Share" in title]
        assert len(page.frames) == 3
        assert complaints == []
        reach = "() => { try { return parent.document } catch (error) { return error.name } }"
        for frame in page.frames[1:]:
            assert frame.evaluate(reach) == "SecurityError"
        page.close()


# --- figures ---


@pytest.fixture(scope="module")
def compared():
    """Runs of which every figure can be drawn."""
    return make_findings(8, groups=("a", "b"))


def test_every_figure_takes_a_theme_and_brings_its_ground(compared):
    for name, draw in vars(Figures(compared)).items():
        assert inspect.signature(draw).parameters["theme"].default == "light", name
        assert "findings" not in inspect.signature(draw).parameters
        for theme, ground, ink in (("light", "#ffffff", "#1f2530"), ("dark", "#1b1f26", "#dfe3ea")):
            template = draw(theme=theme).layout.template.layout
            assert (template.paper_bgcolor, template.font.color) == (ground, ink)


def test_a_theme_changes_nothing_but_the_look(findings):
    light, dark = (Figures(findings).timeline(theme=theme) for theme in ("light", "dark"))
    light.layout.template = dark.layout.template
    assert light.to_json(engine="json") == dark.to_json(engine="json")


def test_an_unknown_theme_is_named(findings):
    with pytest.raises(UsageError, match=r"\('light', 'dark'\), got 'sepia'"):
        Figures(findings).timeline(theme="sepia")


def test_options_of_a_figure_go_with_a_theme(findings, bare):
    figures = Figures(findings)
    assert isinstance(figures.training_map(orientation="vertical", theme="dark"), go.Figure)
    assert isinstance(figures.outcome_curves("train_loss", theme="dark"), go.Figure)
    with pytest.raises(NotEnoughDataError):
        Figures(bare).convergence(theme="dark")


def test_figures_offer_no_button_that_sends_data_away(compared):
    for draw in vars(Figures(compared)).values():
        removed = draw().layout.template.layout.modebar.remove
        assert list(removed if isinstance(removed, tuple | list) else [removed]) == [
            "sendChartToCloud"
        ]


# --- results ---


def test_a_result_shows_a_line_per_field(findings):
    shown = repr(findings.convergence).splitlines()
    assert shown[0] == "Convergence"
    assert shown[1].split() == ["outcome", "'val_accuracy'"]
    (table,) = [line for line in shown if line.startswith("  table")]
    assert "10 × 9: group, run, seed, converged" in table
    assert max(map(len, repr(findings.selection).splitlines())) < 120


def test_a_result_with_hostile_names_shows_no_control_characters():
    frame = pd.DataFrame({"x\x1b[31m": [1.0], "y\n": [2.0]})
    odd = Selection("bic", 1, "diag", "bi\x1bc", frame, frame, models={1: np.zeros(2)})
    text = repr(odd)
    assert "\x1b" not in text
    assert len(text.splitlines()) == 1 + len(vars(odd))
    assert "dict of 1" in text


def test_every_table_of_the_report_is_at_hand(findings):
    given = analysis_of(findings).tables
    assert set(given) == set(sheets(findings))
    pd.testing.assert_frame_equal(given["convergence"], findings.convergence.table)
