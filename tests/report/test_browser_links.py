"""Every way to choose a run, group or state lights it everywhere, in a real browser."""

from urllib.parse import quote

import pytest

from hmmdyn.report.export import write_report
from hmmdyn.report.report import Report
from tests.report.browsing import in_browser, open_table, opened, settles
from tests.report.packed import data
from tests.report.synthetic import HOSTILE_NAMES, make_findings, make_hostile_findings

pytestmark = in_browser
JS_KEEPS = "!'()*~"  # by encodeURIComponent

PLOT = "document.querySelector('#%s .plot')"
# Names of what is lit: of traces, or of a trace's points by their customdata.
LIT_TRACES = """(id) => [...document.querySelectorAll(`#${id} .trace:not(.dim)`)]
  .map((e) => document.querySelector(`#${id} .plot`).data[e.__data__[0].trace.index].meta)"""
LIT_POINTS = """(id) => [...document.querySelectorAll(`#${id} .point:not(.dim)`)].map((e) => {
  const { trace } = e.parentElement.closest(".trace").__data__[0];
  return [trace.meta.state ?? null, [...trace.customdata][e.__data__.i]];
})"""
LIT_STATES = """() => [...training_map.querySelectorAll(".point:not(.dim)")].flatMap((e) => {
  const { trace } = e.parentElement.closest(".trace").__data__[0];
  return trace.meta.each === "state" ? [trace.customdata[e.__data__.i]] : [];
})"""
CHOSEN_ROWS = "() => [...document.querySelectorAll('tr.chosen')].map((r) => r.cells[1].textContent)"
# Where a point of a trace is on the screen.
PLACE = """([id, trace, point]) => {
  const plot = document.querySelector(`#${id} .plot`);
  plot.scrollIntoView({ behavior: "instant", block: "center" });
  const { left, top } = plot.getBoundingClientRect();
  const drawn = plot._fullData.at(trace);
  const [x, y] = [plot._fullLayout.xaxis, plot._fullLayout.yaxis];
  const start = drawn.type === "bar" ? drawn.base[point] + drawn.x[point] / 2 : drawn.x[point];
  return [left + x._offset + x.d2p(start), top + y._offset + y.d2p(drawn.y[point])];
}"""


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return write_report(Report(make_findings()), tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def grouped(tmp_path_factory):
    made = make_findings(6, groups=("sgd", "adamw", "lion"))
    return write_report(Report(made), tmp_path_factory.mktemp("grouped"))


def lit_changes(page):
    """The changes of state of the map that are lit, as pairs."""
    return {tuple(t["states"]) for t in page.evaluate(LIT_TRACES, "training_map") if "states" in t}


def fragment(page):
    return page.evaluate("location.hash")


def said(page):
    return page.locator("#chosen").inner_text()


def click(page, figure, trace, point, **options):
    page.mouse.click(*page.evaluate(PLACE, [figure, trace, point]), **options)


def dimmed(page):
    return page.locator(".dim").count()


def test_nothing_is_dimmed_before_a_choice(browser, report):
    with opened(browser, report) as page:
        assert dimmed(page) == 0
        assert said(page) == ""
        assert page.locator("#clear").is_disabled()


def test_a_run_chosen_in_the_address_is_lit_everywhere(browser, report):
    with opened(browser, report, "#run=seed3") as page:
        assert said(page) == "Highlighted: run seed3."
        assert page.locator("#choose-run").input_value() == "3"
        for curves in ("outcome_curves", "metric_trajectories"):
            lit = page.evaluate(LIT_TRACES, curves)
            assert [(t["run"], t["state"]) for t in lit] == [(3, k) for k in range(4)]
        assert {run for _, run in page.evaluate(LIT_POINTS, "timeline")} == {3}
        assert page.locator("#timeline g.ytick:not(.dim)").all_text_contents() == ["seed3"]
        assert lit_changes(page) == {(0, 1), (1, 2), (2, 3)}
        assert set(page.evaluate(CHOSEN_ROWS)) == {"seed3"}


def test_a_state_chosen_in_the_bar_is_lit_everywhere(browser, report):
    with opened(browser, report) as page:
        page.get_by_label("State", exact=True).select_option("state 2")
        assert fragment(page) == "#state=2"
        assert said(page) == "Highlighted: state 2."
        assert {t["state"] for t in page.evaluate(LIT_TRACES, "outcome_curves")} == {2}
        assert {state for state, _ in page.evaluate(LIT_POINTS, "timeline")} >= {2}
        assert page.evaluate(LIT_STATES) == [2]
        assert lit_changes(page) == {(1, 2), (2, 3)}
        labels = page.locator("#training_map .annotation:not(.dim)").all_text_contents()
        assert [text for text in labels if "detour" in text]
        assert [text for text in labels if "fork" in text] == []
        assert page.locator("#state_means g.ytick:not(.dim)").all_text_contents() == ["state 2"]
        veils = page.evaluate(f"{PLOT % 'state_means'}.layout.shapes.map((s) => s.y0 + 0.5)")
        assert veils == [0, 1, 3]


def test_run_and_state_together_light_what_is_both(browser, report):
    with opened(browser, report, "#run=seed3&state=2") as page:
        lit = page.evaluate(LIT_TRACES, "outcome_curves")
        assert [(t["run"], t["state"]) for t in lit] == [(3, 2)]
        assert said(page) == "Highlighted: run seed3, state 2."


def test_clicks_in_figures_choose_and_let_go(browser, report):
    with opened(browser, report) as page:
        states = page.evaluate(
            f"{PLOT % 'training_map'}.data.findIndex((t) => t.name === 'states')"
        )
        click(page, "training_map", states, 2)
        assert fragment(page) == "#state=2"
        click(page, "training_map", states, 2)
        assert fragment(page) == ""
        click(page, "timeline", 5, 0)  # the censored run, after four states and those converged
        assert fragment(page) == "#run=seed9"
        page.wait_for_timeout(500)  # or it would be a double click
        click(page, "timeline", 0, 0)
        chosen = page.evaluate("selection.chosen.runs")
        row = page.evaluate(f"{PLOT % 'timeline'}.data[0].customdata[0]")
        assert chosen == [row]


def test_a_click_on_an_arrow_chooses_the_runs_that_take_it(browser, report):
    with opened(browser, report) as page:
        edge = page.evaluate(
            f"{PLOT % 'training_map'}.data.findLastIndex((t) => t.name === '1 → 2')"
        )
        middle = page.evaluate(f"{PLOT % 'training_map'}.data[{edge}].x.length >> 1")
        click(page, "training_map", edge, middle)
        assert fragment(page) == "#run=seed3&run=seed7"
        assert page.locator("#choose-run").input_value() == "several"
        assert said(page) == "Highlighted: run seed3, run seed7."


def test_shift_adds_a_run_to_those_chosen(browser, report):
    with opened(browser, report, "#run=seed9") as page:
        page.keyboard.down("Shift")
        click(page, "timeline", 4, 0)  # the fastest run
        page.keyboard.up("Shift")
        assert fragment(page) == "#run=seed9&run=seed2"


def test_a_click_on_a_curve_chooses_its_run_and_one_on_the_legend_its_state(browser, report):
    with opened(browser, report) as page:
        click(page, "outcome_curves", 0, 0)
        run = page.evaluate("selection.chosen.runs")
        assert len(run) == 1
        page.locator("#outcome_curves .legendtoggle").nth(2).click()
        assert settles(page, "selection.chosen.state", 2)
        assert page.evaluate(
            f"{PLOT % 'outcome_curves'}._fullData.every((t) => t.visible === true)"
        )


def test_a_row_of_a_table_chooses_its_run_and_a_cell_of_a_state_its_state(browser, report):
    with opened(browser, report) as page:
        table = open_table(page, "Change points")
        row = table.locator("tbody tr").first
        row.locator("td").nth(1).click()
        assert fragment(page) == "#run=seed0"
        columns = table.locator("th").evaluate_all("(hs) => hs.map((h) => h.dataset.column)")
        at = columns.index("to_state")
        state = row.locator("td").nth(at).inner_text()
        row.locator("td").nth(at).click()
        assert fragment(page) == f"#run=seed0&state={state}"


def test_the_row_of_a_chosen_run_comes_into_view_within_its_box_only(browser, tmp_path):
    report = write_report(Report(make_findings(40)), tmp_path)
    with opened(browser, report) as page:
        table = open_table(page, "Bag of states")
        before = page.evaluate("scrollY")
        page.get_by_label("Run", exact=True).select_option("seed38")
        row = table.locator("tr.chosen")
        inside = row.evaluate("""(row) => {
          const [own, box] = [row, row.closest(".scroll")].map((e) => e.getBoundingClientRect());
          return own.top >= box.top && own.bottom <= box.bottom + 1;
        }""")
        assert inside
        assert page.evaluate("scrollY") == before


def test_back_and_forward_follow_the_choices(browser, report):
    with opened(browser, report) as page:
        page.get_by_label("Run", exact=True).select_option("seed1")
        page.get_by_label("State", exact=True).select_option("state 1")
        page.go_back()
        assert settles(
            page, "document.getElementById('chosen').textContent", "Highlighted: run seed1."
        )
        page.go_back()
        page.go_back()
        assert settles(page, "document.querySelectorAll('.dim').length", 0)
        page.go_forward()
        page.go_forward()
        assert settles(page, "typeof selection", "object")
        assert settles(page, "selection.chosen.runs.join()", "1")


def test_escape_and_the_button_clear_the_choice(browser, report):
    with opened(browser, report, "#run=seed3") as page:
        page.keyboard.press("Escape")
        assert fragment(page) == ""
        assert dimmed(page) == 0
        page.get_by_label("State", exact=True).select_option("state 1")
        page.locator("#clear").click()
        assert dimmed(page) == 0


def test_everything_can_be_chosen_with_the_keyboard(browser, grouped):
    with opened(browser, grouped) as page:
        page.evaluate("document.querySelector('.sections a:last-child').focus()")
        for expected in ("choose-run", "choose-group", "choose-state"):
            page.keyboard.press("Tab")
            assert page.evaluate("document.activeElement.id") == expected
            page.keyboard.press("ArrowDown")
            page.keyboard.press("ArrowDown")
        assert page.evaluate("selection.chosen.state") == 1
        assert page.evaluate("selection.chosen.group") == 1
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        assert dimmed(page) == 0


def test_links_to_sections_keep_the_choice_and_address_both(browser, report):
    with opened(browser, report, "#run=seed3") as page:
        page.locator(".sections a", has_text="Phases").click()
        assert fragment(page) == "#phases&run=seed3"
        assert settles(
            page,
            "Math.abs(document.getElementById('phases').getBoundingClientRect().top) < 120",
            True,
        )
        assert page.evaluate("document.activeElement.id") == "phases"
        page.reload()
        assert settles(page, "typeof selection", "object")
        assert settles(page, "selection.chosen.runs.join()", "3")
        assert settles(
            page,
            "Math.abs(document.getElementById('phases').getBoundingClientRect().top) < 400",
            True,
        )


def test_a_group_lights_its_runs_and_filters_tables(browser, grouped):
    with opened(browser, grouped) as page:
        page.get_by_label("Group", exact=True).select_option("adamw")
        assert fragment(page) == "#group=adamw"
        assert {t["run"] for t in page.evaluate(LIT_TRACES, "outcome_curves")} == set(range(6, 12))
        assert {run for _, run in page.evaluate(LIT_POINTS, "timeline")} == set(range(6, 12))
        table = open_table(page, "Bag of states")
        assert table.locator("tbody tr:visible").count() == 6
        assert table.locator(".tally").inner_text() == "6 of 18 rows match."
        # Of a run in another group, only that run.
        page.get_by_label("Run", exact=True).select_option("lion / seed2")
        assert fragment(page) == "#run=lion/seed2"
        assert table.locator("tbody tr:visible").count() == 18


def test_a_choice_stays_lit_when_a_figure_is_drawn_again(browser, report):
    with opened(browser, report, "#run=seed3") as page:
        page.get_by_label("Metric", exact=True).select_option("l1")
        page.emulate_media(color_scheme="dark")
        page.wait_for_timeout(300)
        assert {t["run"] for t in page.evaluate(LIT_TRACES, "metric_trajectories")} == {3}


def test_a_run_of_any_name_can_be_chosen_and_linked_to(browser, tmp_path):
    report = write_report(Report(make_hostile_findings()), tmp_path)
    with opened(browser, report, draw=False) as page:
        for number, name in enumerate(HOSTILE_NAMES, start=len(HOSTILE_NAMES)):
            page.locator("#choose-run").select_option(str(number))
            assert page.evaluate("selection.runs[selection.chosen.runs[0]].name") == name
            address = f"#run={quote('</script>', safe='')}/{quote(name, safe=JS_KEEPS)}"
            assert fragment(page) == address
            shown = page.evaluate("selection.runs[selection.chosen.runs[0]].label")
            assert page.locator("#chosen").text_content() == f"Highlighted: run {shown}."
            assert page.locator("#chosen").evaluate("(e) => e.children.length") == 0
            page.evaluate("selection.clear()")
            page.evaluate("(hash) => { location.hash = hash; }", address)
            assert settles(page, "selection.chosen.runs.join()", str(number))


GARBAGE = {
    "#run=<script>alert(1)</script>": "Not in this report: run <script>alert(1)</script>.",
    "#state=99&state=1e0&run=%E0%A4%A": "Not in this report: state 99, state 1e0, run %E0%A4%A.",
    "#javascript:alert(1)": "",
    "#__proto__=1&run=__proto__": "Not in this report: run __proto__.",
    "#&&==&run": "",
    "#" + "a" * 20_000: "",
    "#run=" + "x" * 5_000: f"Not in this report: run {'x' * 60}.",
    "#group=toString&state=-1": "Not in this report: group toString, state -1.",
}


def test_garbage_in_the_address_is_told_and_does_nothing(browser, report):
    with opened(browser, report, "#run=<script>alert(1)</script>", draw=False) as page:
        for garbage, told in GARBAGE.items():
            page.evaluate("(hash) => { location.hash = hash; }", garbage)
            assert settles(page, "document.getElementById('chosen').textContent", told), garbage
            assert page.evaluate("selection.chosen.runs") == []
            assert page.evaluate("selection.chosen.state") is None
            assert page.locator("#chosen").evaluate("(e) => e.children.length") == 0


def test_highlighting_draws_no_figure_anew(browser, report):
    """Drawing is what takes long; benchmarks/report_page.py has the times.

    But for the heat map of layers, which is then of the run that is chosen.
    """
    with opened(browser, report) as page:
        page.evaluate(
            """() => {
              window.drawn = [];
              for (const name of ["newPlot", "react", "redraw", "restyle", "update"]) {
                const original = Plotly[name];
                Plotly[name] = (plot, ...given) => {
                  window.drawn.push(plot.closest("figure").id);
                  return original(plot, ...given);
                };
              }
            }"""
        )
        page.evaluate("selection.pick.runs([3])")
        assert settles(page, "document.querySelectorAll('.plot .trace.dim').length > 0", True)
        assert page.evaluate("window.drawn") == ["layers"]
        page.evaluate("selection.pick.state(2)")
        assert page.evaluate("window.drawn") == ["layers"]
        page.locator('select[data-control="time"]').first.select_option("log")
        assert page.evaluate("window.drawn.length") > 1  # it would have been counted


def test_what_a_figure_needs_to_be_linked_survives_json(report):
    """The page reads it from there, so it must be plain numbers."""
    names = data(report.read_text(encoding="utf-8"))["names"]
    assert {type(k) for run in names["runs"] for k in run["states"]} == {int}


def test_layers_are_those_of_the_one_run_that_is_chosen(browser, report):
    heading = "document.querySelector('#layers .plot').layout.annotations[0].text"
    median = "l1 by layer"
    with opened(browser, report, "#run=seed3") as page:
        assert settles(page, heading, f"<b>seed3</b>: {median}")
        page.evaluate("selection.pick.runs([4])")
        assert settles(page, heading, f"<b>seed4</b>: {median}")
        page.locator("#layers-column").select_option(label="l2 by layer")
        assert settles(page, heading, "<b>seed4</b>: l2 by layer")
        page.evaluate("selection.pick.runs([3, 4])")
        assert settles(page, heading, "l2 by layer")
        page.evaluate("selection.pick.runs([])")
        assert settles(page, heading, "l2 by layer")
