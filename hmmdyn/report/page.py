"""The report as one HTML file that needs nothing else."""

from __future__ import annotations

import html
import json
import math
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, groupby
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from hmmdyn.errors import NotEnoughDataError
from hmmdyn.report import layout, words
from hmmdyn.report.answers import answers, headline, runs_analysed
from hmmdyn.report.crossings import crossings_of_page
from hmmdyn.report.figures import theme
from hmmdyn.report.figures.figures import Figures
from hmmdyn.report.figures.layers import layers_of_runs
from hmmdyn.report.figures.links import group_numbers, run_numbers
from hmmdyn.report.figures.preview import preview
from hmmdyn.report.figures.timeline import CURVES_DRAWN
from hmmdyn.report.levels import levels_of_page
from hmmdyn.report.lookup import (
    confirmed_detours,
    full_run_names,
    run_names,
    state_name,
    title,
)
from hmmdyn.report.packed import asset, packed, packed_plotly, policy
from hmmdyn.report.ranked import Seed, ranked_seeds
from hmmdyn.report.report import Report
from hmmdyn.report.sheets import Sheet
from hmmdyn.report.statements.figures import figure_summaries
from hmmdyn.report.statements.statement import Statement, notices_told
from hmmdyn.results.findings import Findings, OutcomeFindings
from hmmdyn.results.keys import RUN_KEY
from hmmdyn.results.verdicts import LEFT_BEHIND

# More rows than this are in the CSV file only, so that the page stays quick.
_ROWS_SHOWN = 1000
_SEARCHED_ROWS = 6  # tables with fewer rows have no search box
_AT_A_GLANCE = 330  # characters of an answer
_PROSE = 40  # characters from which on a cell is a sentence, and wants room
_KINDS = {
    "left out": "Left out of the analysis",
    "odd": "Odd, but not left out",
    "limit": "What these data cannot tell",
}
# The page's own scripts, in the order in which they need each other.
_SCRIPTS = (
    "selection.js",
    "levels.js",
    "survival.js",
    "thresholds.js",
    "chooser.js",
    "axes.js",
    "figures.js",
    "map.js",
    "replay.js",
    "ranked.js",
    "tables.js",
    "copy.js",
    "contents.js",
)
# What is there before they are unpacked.
_LOADER = ("scheme.js", "unpack.js")
# In which section each module of statements has its say.
_SECTIONS = {
    "map": ("states", "boundaries", "where", "movement", "ways", "transitions"),
    "seeds": ("convergence", "slowness", "speed", "outliers", "outcome_outliers"),
    "groups": ("groups",),
    "phases": ("outcome_transitions", "told_first"),
    "evidence": ("detours", "certainty"),
    "reproduce": ("data",),
}
# Figures that the page does not have, because others show the same; they can be asked for.
_ELSEWHERE = ("convergence", "slowest_and_fastest")
_OF_ONE_LEVEL = ("group_maps", "why_slow", "state_means", "layers")  # the zoom does not change them
_FIRST = "timeline"  # the figure that is seen before plotly.js is there
# Columns that hold a number of a state.
_STATE_COLUMNS = ("state", "from_state", "to_state")


def render(report: Report) -> str:
    """Return the report as one HTML document: no network, no other file, scripts inside.

    Its content-security policy lets only the page's own scripts run (by their hashes) and forbids
    every connection, so that a name taken from a file can never become code. Scripts, figures and
    the rows of closed tables are in the page compressed; the browser unpacks them.
    """
    findings = report.findings
    plotly_js, own_js = get_plotlyjs(), _joined(_SCRIPTS)
    loader = _joined(_LOADER)
    environment = Environment(
        loader=PackageLoader("hmmdyn.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for function in (
        words.name,
        words.count,
        words.number,
        words.percent,
        words.fraction,
        words.p_value,
    ):
        environment.filters[function.__name__] = function
    environment.filters["enumerated"] = enumerate
    notices, seeds = notices_told(findings), ranked_seeds(findings)
    names = _names(findings)
    crossings = crossings_of_page(findings)
    zoom, maps = levels_of_page(findings) if isinstance(findings, Findings) else ({}, {})
    figures = _figures(report)
    of_runs = _specs_of_runs(findings, figures)
    rows = environment.get_template("rows.html.j2")
    tables = {
        name: replace(shown, html=Markup(rows.render(t=shown)))
        for name, sheet in report.sheets.items()
        for shown in [_shown(sheet, findings)]
    }
    data = {
        "specs": _specs(figures, {**maps, **of_runs}),
        "rows": {name: table.html for name, table in tables.items()},
        "names": names,
        "levels": zoom or {"levels": []},
        "crossings": crossings,
        "themes": {"light": _plain(theme.LIGHT), "dark": _plain(theme.DARK)},
    }
    page = environment.get_template("report.html.j2").render(
        findings=findings,
        source=words.name(findings.source, 120),
        headline=headline(report),
        analysed=runs_analysed(report),
        answers=[replace(a, sentences=_as_many_as_fit(a.sentences)) for a in answers(report)],
        seed_columns=_seed_columns(findings, seeds),
        seeds=seeds,
        longest=findings.table["step"].max(),
        topics=_topics(report),
        contents=_contents(findings),
        figures=figures,
        timeline_caption=_of_timeline(findings),
        layers_caption=_of_layers(findings, len(of_runs)),
        tables=tables,
        layout=layout,
        names=names,
        crossings=crossings,
        zoom=zoom,
        notices=[(title, [n for n in notices if n.kind == kind]) for kind, title in _KINDS.items()],
        with_states=isinstance(findings, Findings),
        has_detours=isinstance(findings, Findings) and bool(confirmed_detours(findings)),
        title=title(findings),
        attempts=_attempts_in_words(findings) if isinstance(findings, Findings) else "",
        command=_command(findings),
        paper_command=_command_of_paper(findings),
        python=_python(findings),
        css=Markup(asset("report.css") + asset("map.css")),
        policy=policy(loader, own_js, plotly_js),
        data=packed(json.dumps(data, separators=(",", ":"), allow_nan=False)),
        own=packed(own_js),
        plotly=packed_plotly(),
        loader=Markup(loader),
    )
    return page + "\n"


def _as_many_as_fit(sentences: Sequence[str]) -> tuple[str, ...]:
    """Return the first sentence, and of the others those that a glance can take in beside it."""
    kept = list(sentences[:1])
    for sentence in sentences[1:]:
        if sum(map(len, kept)) + len(sentence) <= _AT_A_GLANCE:
            kept.append(sentence)
    return tuple(kept)


def _topics(report: Report) -> dict[str, list[tuple[str, list[Statement]]]]:
    """Return the topics of each section, each with its statements."""
    said = {
        section: chain.from_iterable(report.said.get(module, ()) for module in modules)
        for section, modules in _SECTIONS.items()
    }
    return {
        section: [(topic, list(own)) for topic, own in groupby(statements, lambda s: s.topic)]
        for section, statements in said.items()
    }


def _contents(findings: OutcomeFindings) -> list[tuple[str, str]]:
    """Return the sections that the page has, each with its name in the bar."""
    sections = {"answer": "Answer", "seeds": "Seeds", "phases": "Outcomes", "evidence": "Evidence"}
    if isinstance(findings, Findings):
        sections = {"answer": "Answer", "map": "Map", "seeds": "Seeds"}
        if findings.group_comparison is not None:
            sections["groups"] = "Groups"
        sections |= {"phases": "Phases", "evidence": "Evidence", "paper": "The paper's protocol"}
    return list((sections | {"left-out": "Left out", "reproduce": "Reproduce"}).items())


def _seed_columns(findings: OutcomeFindings, seeds: Sequence[Seed]) -> tuple[str, ...]:
    """Return the columns of the list of seeds: without an outcome there are no ranks and times.

    What seeds did differently is a column where one of them did.
    """
    of_outcome = findings.convergence is not None
    return (
        *["rank"] * of_outcome,
        "run",
        *["times", "curve"] * of_outcome,
        *["strip"] * isinstance(findings, Findings),
        *["step"] * of_outcome,
        *["different"] * any(seed.different for seed in seeds),
    )


@dataclass(frozen=True)
class _Drawing:
    """A figure on the page: its JSON, or why not.

    ``columns`` can be chosen for it. ``has_steps``: its x axis is the step. Of ``values``, where it
    draws curves, it draws ``points``. Of ``n_runs`` it leaves out ``undrawn``; of the groups it
    draws ``n_groups``, or each (0). ``keeps_level``: it is of the level of the zoom that sentences
    are of, whichever the page shows.
    """

    reason: str = ""
    spec: dict[str, Any] | None = None
    preview: Markup | str = ""
    height: int = 0
    summary: str = ""
    columns: tuple[str, ...] = ()
    has_steps: bool = False
    points: int = 0
    values: int = 0
    n_runs: int = 0
    undrawn: int = 0
    n_groups: int = 0
    keeps_level: bool = False


@dataclass(frozen=True)
class _Row:
    """A row of a table: its cells as text, and which run, group, states and level it is about."""

    cells: tuple[str, ...]
    run: int | None
    group: int | None
    states: str
    level: int | None


@dataclass(frozen=True)
class _ShownTable:
    """A table on the page: ``kinds`` of columns are ``number``, ``prose`` or ``text``.

    Columns without any value are left out, and named: ``empty``. ``keeps_level``: it is about
    states of the level of the zoom that sentences are of, whichever the page shows.
    """

    name: str
    title: str
    note: str
    columns: tuple[str, ...]
    names: tuple[str, ...]
    kinds: tuple[str, ...]
    rows: tuple[_Row, ...]
    n_rows: int
    has_search: bool
    empty: tuple[str, ...]
    keeps_level: bool
    html: Markup | str = ""


def _figures(report: Report) -> dict[str, _Drawing]:
    draw = Figures(report.findings)
    summaries = figure_summaries(report.findings, report.said)
    drawn: dict[str, Callable[[], go.Figure]] = vars(draw)
    result = {}
    for name, function in drawn.items():
        if name in _ELSEWHERE:
            continue
        try:
            figure = function()
        except NotEnoughDataError as error:
            result[name] = _Drawing(str(error))
            continue
        menus = figure.layout.updatemenus
        about = figure.layout.meta or {}
        result[name] = _Drawing(
            spec=_spec(figure),
            preview=preview(figure) if name == _FIRST else "",
            height=int(figure.layout.height),
            summary=summaries.get(name, ""),
            columns=tuple(html.unescape(b.label) for b in menus[0].buttons) if menus else (),
            has_steps=about.get("x") == "step",
            points=about.get("points", 0),
            values=about.get("values", 0),
            n_runs=about.get("n_runs", 0),
            undrawn=about.get("n_runs", 0) - about.get("n_drawn", 0),
            n_groups=about.get("n_groups", 0),
            keeps_level=name in _OF_ONE_LEVEL,
        )
    return result


def _of_timeline(findings: OutcomeFindings) -> str:
    """Return the caption of the timeline, which speaks of what is in it alone."""
    n_runs = len(findings.runs)
    has_states = isinstance(findings, Findings)
    order = ", the fastest on top" if findings.convergence is not None else ""
    who = f"Each run is a strip{order}" if n_runs > 1 else "The run is a strip"
    sentences = [
        who
        + (", coloured by its state." if has_states else ", coloured from where it has converged.")
    ]
    if findings.convergence is not None and n_runs == 1:
        sentences.append(
            "A dot is its convergence, an open triangle its end where it had not converged. Above "
            "is its outcome."
        )
    elif findings.convergence is not None:
        sentences.append(
            "A dot is its convergence, an open triangle a censored run; at the right, times the "
            f"{findings.step_unit}s of the fastest. Above is the outcome of "
            + (
                f"{CURVES_DRAWN} of {n_runs:,} runs, evenly spaced by rank."
                if n_runs > CURVES_DRAWN
                else "every run."
            )
        )
    if isinstance(findings, Findings) and findings.outliers["outlier"].any():
        sentences.append("A star marks a run that is unlike the others of its group.")
    return " ".join(sentences)


def _of_layers(findings: OutcomeFindings, n_runs: int) -> str:
    """Return the caption of the heat map of layers and roles, empty where none were measured.

    ``n_runs`` is how many runs the page can show by themselves.
    """
    if not isinstance(findings, Findings) or findings.part_courses.courses.empty:
        return ""
    found = findings.part_courses
    text = (
        "A metric of every layer, or of all weights of a role, in the order of the network: how "
        "far it is from that row's own mean over all checkpoints of all runs, in its standard "
        "deviations, median over the runs of a group. So a row tells when its part moves, not "
        "whether it is larger than another. Above them the state that most runs are in; a line "
        f"where, in median, runs make a change of state that {_marked(findings)}."
    )
    if n_runs:
        text += (
            " With one run chosen, it shows that run alone, by the metrics that are first in the "
            "menu, as many as the page has room for."
        )
    shown = [
        f"{told:,} of {n:,} {by}s"
        for by, n in found.n_parts.items()
        if (told := found.courses.loc[found.courses["by"] == by, "part"].nunique()) < n
    ]
    steps = found.courses.groupby("group")["step"].nunique()
    shown += [
        f"{steps[group]:,} of {n:,} checkpoints{of}"
        for group, n in found.n_steps.items()
        if steps[group] < n
        for of in [f" of {words.name(group, 30)}" if len(found.n_steps) > 1 else ""]
    ]
    return f"{text} Shown: {words.listing(shown)}, evenly spaced." if shown else text


def _marked(findings: Findings) -> str:
    """Say which changes of state have a line in the heat map of layers and roles."""
    if findings.selection.evidence is None:
        return "at least half of them make"
    return "has evidence"


def _names(findings: OutcomeFindings) -> dict[str, Any]:
    """Return what the page's scripts know of runs, groups and states, if any (:mod:`.links`).

    ``name`` is the whole name, which stands in addresses; ``label`` is for people, and ``short``
    where the group is plain.
    """
    groups = group_numbers(findings)
    labels, short = full_run_names(findings), run_names(findings)
    visited: Mapping[Any, Sequence[int]] = {}
    states: list[str] = []
    if isinstance(findings, Findings):
        visited = findings.states.groupby(RUN_KEY)["state"].unique().to_dict()
        states = [state_name(findings, k) for k in range(findings.parameters.n_states)]
    last_step = findings.table.groupby(RUN_KEY)["step"].max()
    steps = findings.table["step"]
    return {
        "groups": [{"name": words.encodable(g), "label": words.name(g)} for g in groups],
        "runs": [
            {
                "name": words.encodable(key[1]),
                "label": labels[key],
                "short": short[key],
                "group": groups[key[0]],
                "states": sorted(int(k) for k in visited.get(key, ())),
                "last_step": int(last_step[key]),
            }
            for key in run_numbers(findings)
        ],
        "states": states,
        "first_step": int(steps[steps > 0].min()) if (steps > 0).any() else 1,
    }


def _spec(figure: go.Figure) -> dict[str, Any]:
    """Return a figure as JSON, without the theme, which the page holds."""
    spec = _plain(figure)
    del spec["layout"]["template"]
    return spec


def _specs(figures: Mapping[str, _Drawing], maps: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures by the names that the page gives them."""
    drawn = {
        f"{name}-spec": drawing.spec
        for name, drawing in figures.items()
        if drawing.spec is not None and name != "training_map"  # of which there is one per level
    }
    return {**maps, **drawn}


def _specs_of_runs(
    findings: OutcomeFindings, figures: Mapping[str, _Drawing]
) -> dict[str, dict[str, Any]]:
    """Return the heat map of layers of every run by itself, by the names that the page gives it."""
    if not isinstance(findings, Findings) or figures["layers"].spec is None:
        return {}
    numbers = run_numbers(findings)
    return {
        f"layers-of-run-{numbers[key]}": _spec(figure)
        for key, figure in layers_of_runs(findings).items()
    }


def _plain(thing: go.Figure | go.layout.Template) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(
        thing.to_json(engine="json")
        if isinstance(thing, go.Figure)
        else json.dumps(thing.to_plotly_json())
    )
    return plain


def _shown(sheet: Sheet, findings: OutcomeFindings) -> _ShownTable:
    whole = sheet.frame.head(_ROWS_SHOWN)
    frame = whole.loc[:, [not _is_empty(whole[column]) for column in whole]]
    columns = [_cells(frame[column], str(column)) for column in frame]
    links = _links(frame, findings)
    cells = zip(*columns, strict=True)
    return _ShownTable(
        name=sheet.table.name,
        title=sheet.table.title,
        note=sheet.table.note,
        columns=tuple(_heading(c) for c in frame),
        names=tuple(str(c) for c in frame),
        kinds=tuple(_kind(frame[c]) for c in frame),
        rows=tuple(_Row(row, *link) for row, link in zip(cells, links, strict=True)),
        n_rows=len(sheet.frame),
        has_search=len(frame) >= _SEARCHED_ROWS,
        empty=tuple(_heading(c) for c in whole if c not in frame),
        keeps_level="level" not in frame and any(map(_is_of_states, frame)),
    )


def _is_empty(column: pd.Series) -> bool:
    return len(column) > 0 and bool((column.isna() | (column.astype(object) == "")).all())


def _heading(column: object) -> str:
    return words.name(str(column).replace("_", " "), 40)


def _is_of_states(column: object) -> bool:
    """Whether a column holds states or, as ``state_3``, is about one."""
    return column in (*_STATE_COLUMNS, "path") or str(column).startswith("state_")


def _links(
    frame: pd.DataFrame, findings: OutcomeFindings
) -> Iterator[tuple[int | None, int | None, str, int | None]]:
    """Return the numbers of the run, group and states that each row is about, and its level."""
    runs, groups = run_numbers(findings), group_numbers(findings)
    state_columns = [
        c for c in _STATE_COLUMNS if c in frame and pd.api.types.is_numeric_dtype(frame[c])
    ]
    nothing = [None] * len(frame)
    names = [frame[c].astype(str).tolist() if c in frame else nothing for c in ("group", "run")]
    levels = frame["level"].tolist() if "level" in frame else nothing
    states = [frame[c].tolist() for c in state_columns]
    for group, run, level, *visited in zip(*names, levels, *states, strict=True):
        number = groups.get(group) if len(groups) > 1 else None
        told = " ".join(str(int(state)) for state in visited if pd.notna(state))
        yield runs.get((group, run)), number, told, None if level is None else int(level)


def _kind(column: pd.Series) -> str:
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        return "number"
    return "prose" if column.astype(str).str.len().max() > _PROSE else "text"


def _cells(column: pd.Series, title: str) -> list[str]:
    whole = title in _WHOLE or pd.api.types.is_integer_dtype(column)
    return [_cell(value, whole) for value in column]


# Columns of steps and counts that pandas may hold as floats because some are missing.
_WHOLE = {"step", "previous_step", "last_step", "first_step", "convergence_mean", "convergence_se"}


def _cell(value: object, whole: bool) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or value is pd.NA:
        return words.MISSING
    if isinstance(value, str):
        return words.name(value, 600) if value else ""
    number = float(value)  # type: ignore[arg-type]
    return words.count(number) if whole and math.isfinite(number) else words.number(number)


def _attempts_in_words(findings: Findings) -> str:
    attempts = findings.selection.attempts
    left_behind = attempts["reason"] == LEFT_BEHIND
    valid = attempts["valid"].astype(bool)
    failed = attempts[~valid & ~left_behind]
    text = (
        f"{words.plural(len(attempts), 'start')} raced, {valid.sum():,} brought to a valid end and "
        f"{left_behind.sum():,} left behind by better ones"
    )
    reasons = failed["reason"].value_counts(sort=True)
    why = words.listing(f"{n:,} × {words.name(reason, 80)}" for reason, n in reasons.items())
    return f"{text}; not valid: {why}." if why else f"{text}."


def _command(findings: OutcomeFindings) -> str:
    """Return the command line that gives this report again, a line per option."""
    if not findings.command:
        return f"# {words.name(findings.source)}: analyze(table, **options)"
    line = ""
    for word in findings.command:
        breaks = word.startswith("--")
        line += (" \\\n    " if breaks else " " if line else "") + shlex.quote(word)
    return line


def _command_of_paper(findings: OutcomeFindings) -> str:
    """Return the command line for the map that the paper's protocol gives of the same runs."""
    source = findings.command[2] if len(findings.command) > 2 else "RUNS"
    return f"hmmdyn analyze {shlex.quote(source)} --preset paper -o paper-report"


def _python(findings: OutcomeFindings) -> str:
    """Return the lines of Python that load this report, and that give it again."""
    source = findings.command[2] if len(findings.command) > 2 else "RUNS"
    options = "".join(f", {name}={value!r}" for name, value in findings.options.items())
    with_map = isinstance(findings, Findings)
    return "\n".join(
        [
            "import json",
            "",
            "import pandas as pd",
            f"from hmmdyn import {'TrainingMap, ' * with_map}analyze",
            "",
            f'report = json.load(open("{layout.DOCUMENT}", encoding="utf-8"))  # every number',
            f'metrics = pd.read_parquet("{layout.METRICS}")',
            *[f'states = pd.read_parquet("{layout.STATES}")'] * with_map,
            *[f'training_map = TrainingMap.load("{layout.TRAINING_MAP}")'] * with_map,
            "",
            f"analysis = analyze({source!r}{options})  # or all of it again",
        ]
    )


def _joined(scripts: Sequence[str]) -> str:
    return "\n".join(map(asset, scripts))
