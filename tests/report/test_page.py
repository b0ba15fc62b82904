import base64
import csv
import hashlib
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from plotly.offline import get_plotlyjs

from hmmdyn.errors import OutputError
from hmmdyn.names import printable
from hmmdyn.report.document import to_json
from hmmdyn.report.export import write_report
from hmmdyn.report.page import render
from hmmdyn.report.report import Report
from hmmdyn.report.sheets import Sheet, sheets, to_csv
from hmmdyn.results.notice import NOTICES, Notice
from tests.report.packed import data, filled, unpacked
from tests.report.synthetic import make_findings, without_outcomes


class Page(HTMLParser):
    """The elements of a page: tags with attributes, text by element, scripts apart."""

    def __init__(self, html):
        super().__init__()
        self.html = html
        self.tags, self.scripts, self.text = [], [], ""
        self._script = None
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self._script = (dict(attrs), "")

    def handle_endtag(self, tag):
        if tag == "script":
            self.scripts.append(self._script)
            self._script = None

    def handle_data(self, data):
        if self._script is not None:
            self._script = (self._script[0], self._script[1] + data)
        else:
            self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def page(findings):
    return Page(rendered(findings))


@pytest.fixture(scope="module")
def hostile_page(hostile):
    return Page(rendered(hostile))


def rendered(findings):
    """The page as it is read: with the rows of its tables."""
    return filled(render(Report(findings)))


def specs(page):
    """What the page's scripts know: figures, names, themes."""
    known = data(page.html)
    return known | known["specs"]


# --- one file that needs nothing else ---


@pytest.mark.parametrize("which", ["page", "hostile_page"])
def test_the_page_refers_to_nothing_outside_itself(which, request):
    page = request.getfixturevalue(which)
    for tag, attributes in page.tags:
        for name in ("src", "srcset", "data", "action", "background", "poster"):
            assert name not in attributes, (tag, attributes)
        assert attributes.get("href", "#").startswith("#")
        assert tag not in {"link", "iframe", "object", "embed", "base", "img", "form"}
        assert not [name for name in attributes if name.startswith("on")]


def test_the_pages_own_script_and_style_load_nothing(page):
    own = page.scripts[-1][1] + unpacked(page.html, "own")
    style = page.text[: page.text.index("Skip to the answer")]
    for text in (own.replace("http://www.w3.org/2000/svg", "a name"), style):
        assert not re.search(r"https?:|fetch\(|XMLHttpRequest|import\s*\(|@import|url\(", text)


def test_only_the_pages_own_scripts_may_run_and_nothing_may_connect(page):
    (policy,) = [
        m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy"
    ]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    code = [text for attributes, text in page.scripts if "type" not in attributes]
    assert len(code) == 1
    code += [unpacked(page.html, what) for what in ("own", "plotly")]
    hashes = {
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
        for text in code
    }
    assert rules["default-src"] == "'none'"
    assert set(rules["script-src"].split()) == hashes
    assert "connect-src" not in rules  # so that default-src holds


def test_plotly_is_told_not_to_share_figures(page):
    assert "showSendToCloud: false" in unpacked(page.html, "own")


def test_plotly_is_in_the_page_once(page):
    assert sum(text.count("plotly.js v") for _, text in page.scripts) == 0
    assert unpacked(page.html, "plotly") == get_plotlyjs()


def test_the_same_findings_give_the_same_bytes(findings):
    assert render(Report(findings)) == render(Report(make_findings()))


def test_forty_runs_of_a_thousand_checkpoints_stay_small_and_the_page_says_how():
    page = render(Report(make_findings(40, 1000, 6, 14)))
    assert len(page.encode()) < 6e6
    assert re.search(r"Drawn through 2\d\d,\d{3} of 560,000 values", page)


def test_a_page_that_draws_every_value_does_not_speak_of_thinning(page):
    assert "Drawn through" not in page.text


# --- what is linked ---


def test_scripts_know_the_runs_groups_and_states(page, findings):
    names = specs(page)["names"]
    assert names["groups"] == [{"name": "adamw", "label": "adamw"}]
    assert [run["name"] for run in names["runs"]] == [f"seed{i}" for i in range(10)]
    assert names["runs"][3]["states"] == [0, 1, 2, 3]
    assert names["runs"][9] == {
        "name": "seed9", "label": "seed9", "short": "seed9", "group": 0, "states": [0, 1],
        "last_step": 4100,
    }  # fmt: skip
    assert names["states"] == ["state 0", "state 1", "state 2", "state 3 (generalisation)"]
    assert names["first_step"] == 100


def test_rows_of_tables_know_their_run_and_states(findings):
    html = rendered(findings)
    change = findings.change_points.iloc[0]
    states = f"{change['from_state']} {change['to_state']}"
    assert f'<tr data-run="0" data-states="{states}">' in html
    assert '<tr data-states="2">' in html  # of the table of states


def test_rows_of_tables_know_their_group_where_there_are_several():
    made = make_findings(4, groups=("a", "b"))
    change = made.change_points.iloc[-1]
    states = f"{change['from_state']} {change['to_state']}"
    assert f'<tr data-run="7" data-group="1" data-states="{states}">' in rendered(made)


def test_columns_that_can_be_chosen_stand_in_a_control(page, findings):
    assert {s["id"] for s in page.all("select") if "data-control" in s} >= {
        "outcome_curves-column", "outcome_curves-scale", "outcome_curves-time",
        "metric_trajectories-column", "timeline-time", "waiting_curves-time",
    }  # fmt: skip
    menu = specs(page)["metric_trajectories-spec"]["layout"]["updatemenus"][0]
    assert len(menu["buttons"]) == len(findings.features)


# --- what it shows ---


def test_every_sentence_is_on_the_page_the_short_answer_first(findings, page):
    text = " ".join(page.text.split())
    said = Report(findings).statements
    for sentence in said:
        assert " ".join(sentence.text.split()) in text
    for topic in dict.fromkeys(s.topic for s in said):
        briefs = [s.brief for s in said if s.topic == topic and s.brief]
        start = text.index(topic)
        places = [text.index(" ".join(brief.split()), start) for brief in briefs]
        assert places == sorted(places)
        in_full = [s.text for s in said if s.topic == topic and s.text != s.brief]
        if briefs and in_full:
            assert places[-1] < text.index(" ".join(in_full[-1].split()), places[-1])


def test_a_topic_without_a_short_answer_is_told_openly(findings):
    report = Report(findings)
    html = render(report)
    short = {s.topic for s in report.statements if s.brief}
    told = re.findall(r'<summary aria-label="In full: ([^"]*)">', html)
    assert set(told) <= short
    assert 'class="in-full" open' not in html


def test_the_list_of_seeds_has_no_column_that_is_empty():
    heading = 'data-column="different"'
    assert heading in render(Report(make_findings()))
    assert heading not in render(Report(make_findings(1, n_censored=0)))


def test_one_run_is_told_of_as_one():
    text = Page(render(Report(make_findings(1, n_censored=0)))).text
    assert "The run is a strip, coloured by its state." in text
    assert "the fastest on top" not in text


def test_detours_are_shown_where_one_is_confirmed(findings):
    shown = re.compile(r'<details class="data" open>\s*<summary>Detour states')
    assert shown.search(render(Report(findings)))
    none = findings.detours.assign(verdict="no evidence")
    assert not shown.search(render(Report(replace(findings, detours=none))))


def test_sections_come_in_reading_order(page):
    ids = [a["id"] for a in page.all("section")]
    assert ids == [
        "answer", "map", "seeds", "phases", "evidence", "paper", "left-out", "reproduce"
    ]  # fmt: skip
    contents = [f"#{i}" for i in ids]
    bar = [link for link in contents if link not in ("#paper", "#left-out")]
    assert [a["href"] for a in page.all("a")] == ["#answer", *bar, *contents]


def test_several_groups_have_a_section_between_seeds_and_phases():
    page = Page(rendered(make_findings(4, groups=("a", "b"))))
    ids = [a["id"] for a in page.all("section")]
    assert ids[2:5] == ["seeds", "groups", "phases"]
    assert "#groups" in [a.get("href") for a in page.all("a")]


def test_every_table_with_rows_is_on_the_page():
    made = make_findings(10, groups=("a", "b"))
    html = rendered(made)
    # Notices are a list.
    filled = {name for name, t in sheets(made).items() if len(t.frame)} - {"notices"}
    assert {name for name in filled if f"<code>{name}.csv</code>" not in html} == set()


def test_runs_that_cannot_be_compared_leave_no_empty_figures():
    for made in (make_findings(1), without_outcomes(make_findings())):
        ids = {a.get("id") for a in Page(rendered(made)).all("figure")}
        assert not ids & {"waiting_curves", "performance_profile", "slowest_and_fastest"}
        assert "timeline" in ids


def test_every_figure_has_its_data_a_caption_and_a_height(page):
    drawn = specs(page)
    plots = [a for a in page.all("div") if a.get("class") == "plot"]
    assert [p["data-spec"].removesuffix("-spec") for p in plots] == [
        "timeline", "training_map", "layers", "why_slow", "waiting_curves", "outcome_curves",
        "metric_trajectories", "state_means", "model_selection",
    ]  # fmt: skip
    captions = {a["id"] for a in page.all("figcaption")}
    assert {a["aria-labelledby"] for a in page.all("figure")} == captions
    for plot in plots:
        spec = drawn["map-4-wide"] if "data-map" in plot else drawn[plot["data-spec"]]
        assert spec["data"]
        assert "template" not in spec["layout"]  # both themes stand in the page once
        assert plot["style"] == f"min-height: {spec['layout']['height']}px"
    assert set(drawn["themes"]) == {"light", "dark"}


def test_the_map_has_a_version_for_narrow_screens(page):
    drawn = specs(page)
    wide, narrow = drawn["map-4-wide"], drawn["map-4-narrow"]
    assert [t["name"] for t in wide["data"]] == [t["name"] for t in narrow["data"]]
    places = [
        next(trace[axis] for trace in spec["data"] if trace["name"] == "states")
        for spec, axis in ((wide, "x"), (narrow, "y"))
    ]
    assert places[0] == places[1]  # time runs to the right, and downwards


def test_figures_that_do_not_apply_leave_their_reason(bare):
    page = Page(rendered(bare))
    plots = [a["data-spec"] for a in page.all("div") if a.get("class") == "plot"]
    assert "convergence-spec" not in plots
    assert "outcome_curves-spec" not in plots
    assert page.text.count("No outcome (loss, accuracy) is known") == 3


def test_notices_are_grouped_by_kind(page):
    text = " ".join(page.text.split())
    assert "Left out of the analysis (2)" in text
    assert "metric mean_b (metrics): It is 0 at every checkpoint." in text
    assert "Odd, but not left out (1)" in text
    assert "What these data cannot tell" not in text


def test_nothing_left_out_is_said(findings):
    assert "Nothing was left out." in Page(rendered(replace(findings, notices=()))).text


def test_failed_attempts_are_counted_with_their_reasons(page):
    text = " ".join(page.text.split())
    assert (
        "80 starts raced, 72 brought to a valid end and 0 left behind by better ones; not valid: "
        "8 × a state is never visited."
    ) in text


def test_the_first_figure_is_painted_before_plotly_is_there(page, hostile_page):
    assert page.html.count('class="preview"') == 1
    (preview,) = re.findall(r'<div class="preview".*?</div>', page.html, re.DOTALL)
    for i in range(10):
        assert f">seed{i}</text>" in preview
    assert preview.count('class="line"') == 4  # a path for each state
    assert "<b>" not in re.search(r'<div class="preview".*?</div>', hostile_page.html, re.S)[0]


def test_the_python_of_the_page_loads_the_report(findings, tmp_path):
    lines = Page(rendered(findings)).text
    code = lines[lines.index("import json") : lines.index("analysis = analyze(")]
    compile(code, "page", "exec")
    assert "analyze('my runs', max_states=8, drop_metrics=('a', 'b'))" in lines
    assert "hmmdyn analyze 'my runs' --preset paper" in lines


def test_the_command_line_gives_the_report_again(findings):
    text = " ".join(Page(rendered(findings)).text.replace("\\", "").split())
    assert "hmmdyn analyze 'my runs' --max-states 8 --drop-metric 'l 1'" in text
    from_python = Page(rendered(replace(findings, command=(), source="a table")))
    assert "# a table: analyze(table, **options)" in from_python.text


def test_a_long_table_is_cut_and_says_where_the_rest_is(findings):
    points = pd.concat([findings.change_points] * 50, ignore_index=True)
    page = Page(rendered(replace(findings, change_points=points)))
    text = " ".join(page.text.split())
    assert f"Change points ({len(points):,} rows)" in text
    assert "The first 1,000 rows; all of them are in change_points.csv." in text


def test_cells_are_written_for_people(page):
    text = page.text
    assert "0.9607" in text  # a mean outcome, four digits
    assert "nan" not in text.lower().split()
    assert "<NA>" not in text


# --- names are text ---


def test_hostile_names_are_inert(hostile_page):
    for tag, attributes in hostile_page.tags:
        assert tag not in {"img", "b"} or not attributes
    assert "<script>alert(1)</script>" in hostile_page.text
    assert "<b>not bold</b>" in hostile_page.text
    assert len([a for a, _ in hostile_page.scripts if "type" not in a]) == 1
    for _, text in hostile_page.scripts[:-1]:
        assert "<" not in text
    assert all(specs(hostile_page).values())


def test_templates_in_names_are_not_evaluated(hostile_page):
    assert "{{ 7 * 7 }}" in hostile_page.text


# --- files ---


@pytest.mark.parametrize("made", [make_findings(), without_outcomes(make_findings(3))])
def test_json_holds_every_table_in_full_precision(made):
    content = json.loads(to_json(Report(made)), parse_constant=lambda name: pytest.fail(name))
    for name, table in sheets(made).items():
        records = content["tables"][name]
        assert len(records) == len(table.frame)
        for column in table.frame:
            expected = table.frame[column]
            got = [record[column] for record in records]
            if pd.api.types.is_float_dtype(expected):
                numbers = [float("nan") if x is None else float(x) for x in got]
                np.testing.assert_array_equal(numbers, expected.to_numpy())
            else:
                assert got == expected.astype(object).where(expected.notna(), None).tolist()


def test_json_holds_what_stands_outside_the_tables(findings):
    content = json.loads(to_json(Report(findings)))
    assert content["regression"]["r_squared"] == findings.regression.r_squared
    assert content["regression"]["warning"] == findings.regression.warning
    assert content["dissimilarity"]["emission"] == findings.dissimilarity.emission
    assert content["forks"] == [{"state": 1, "exits": {"3": 7, "2": 2}, "n_runs": 9}]
    assert content["paths"][0] == {"states": [0, 1, 3], "n_runs": 7, "n_part": 1}
    assert [s["text"] for s in content["statements"]] == [
        s.text for s in Report(findings).statements
    ]
    assert content["options"]["drop_metrics"] == ["a", "b"]
    assert content["command"][:3] == ["hmmdyn", "analyze", "my runs"]


def test_json_writes_infinities_as_words(findings):
    odd = replace(findings, regression=replace(findings.regression, f_statistic=np.inf))
    assert json.loads(to_json(Report(odd)))["regression"]["f_statistic"] == "Infinity"


def test_csv_holds_every_row_whatever_the_names(findings, hostile):
    for made in (findings, hostile):
        for table in sheets(made).values():
            read = list(csv.reader(io.StringIO(to_csv(table).decode(), newline="")))
            assert [name.lstrip("'") for name in read[0]] == [
                printable(name) for name in table.frame.columns
            ]
            assert len(read) == len(table.frame) + 1


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("=1+1", "'=1+1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("-2+3+cmd|' /C calc'!A0", "'-2+3+cmd|' /C calc'!A0"),
        ("  =1", "'  =1"),
        ("\t=1\r", "\\t=1\\r"),
        ("a\x00\x1b[31m\u202eb", "a\\x00\\x1b[31m\\u202eb"),
        ("two\nlines", "two\nlines"),
        ("two\n=lines", "two\n=lines"),
        ("-1.5e-3", "-1.5e-3"),
        ("seed=1", "seed=1"),
        ("→ 0", "→ 0"),
    ],
)
def test_csv_holds_no_formula_and_no_control_character(text, written):
    frame = pd.DataFrame({text: [text, None], "number": [-1.5, np.nan], "flag": [True, False]})
    rows = list(csv.reader(io.StringIO(to_csv(Sheet(NOTICES, frame)).decode(), newline="")))
    assert rows == [[written, "number", "flag"], [written, "-1.5", "True"], ["", "", "False"]]


def test_csv_holds_numbers_in_full_precision(findings):
    table = sheets(findings)["transitions"]
    read = csv.DictReader(io.StringIO(to_csv(table).decode()))
    for row, (_, expected) in zip(read, table.frame.iterrows(), strict=True):
        for column, value in expected.items():
            assert row[column] == "" if np.isnan(value) else float(row[column]) == value


def test_a_file_name_that_is_not_unicode_does_not_stop_the_report(findings, tmp_path):
    odd = "seed\udcff"  # how Python reads a file name with a byte that is not UTF-8
    notice = Notice("discovery", "left out", odd, f"{odd} is not a checkpoint.")
    write_report(Report(replace(findings, notices=(notice,), source=odd)), tmp_path)
    assert "seed\\udcff" in (tmp_path / "notices.csv").read_text(encoding="utf-8")


def test_the_report_folder(findings, tmp_path):
    path = write_report(Report(findings), tmp_path / "new" / "folder")
    assert path == tmp_path / "new" / "folder" / "report.html"
    names = {p.name for p in path.parent.iterdir()}
    applying = {f"{n}.csv" for n, table in sheets(findings).items() if len(table.frame.columns)}
    assert names == {"report.html", "report.json", *applying}
    assert "groups.csv" not in names  # there is one
    first = {p.name: p.read_bytes() for p in path.parent.iterdir()}
    write_report(Report(findings), path.parent)
    assert {p.name: p.read_bytes() for p in path.parent.iterdir()} == first


def test_tables_of_an_earlier_report_do_not_stay(findings, bare, tmp_path):
    write_report(Report(findings), tmp_path)
    write_report(Report(bare), tmp_path)
    assert not (tmp_path / "regression.csv").exists()


def test_a_folder_that_cannot_be_made_is_said(findings, tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(OutputError, match="taken"):
        write_report(Report(findings), tmp_path / "taken")
