"""The findings as a notebook shows them: what was found in brief, and one figure."""

from __future__ import annotations

import html

from hmmdyn.report.figures.figures import Figures
from hmmdyn.report.lookup import title
from hmmdyn.report.report import Report
from hmmdyn.report.text import headlines
from hmmdyn.results.findings import Findings

# No connection to anywhere; names from files that became code could reach nothing but the frame.
_FRAME = (
    "<!doctype html><meta charset='utf-8'>"
    '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
    "script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:\">"
    "<title>{title}</title><style>body {{ margin: 0 }}</style>{figure}"
)


def to_html(report: Report) -> str:
    """Return the findings in brief, and below them the training map, or else the outcomes' curves.

    The figure lives in a frame of its own that holds plotly.js (5 MB), so that it needs no network
    and shares nothing with its surroundings. Where frames are not shown the sentences still are.
    The ground is white, whatever the notebook's: a cell does not know that.
    """
    findings = report.findings
    draw = Figures(findings)
    shows_map = isinstance(findings, Findings)
    figure = draw.training_map() if shows_map else draw.outcome_curves()
    entries = "".join(
        f"<dt style='font-weight: 600; margin-top: 0.5em'>{html.escape(topic)}</dt>"
        + "".join(f"<dd style='margin: 0 0 0 1em'>{html.escape(brief)}</dd>" for brief in briefs)
        for topic, briefs in headlines(report)
    )
    drawn = figure.to_html(
        full_html=False,
        include_plotlyjs=True,
        div_id="training_map" if shows_map else "outcome_curves",
        config={"responsive": True},
    )
    what = "Training map" if shows_map else "Outcome curves"
    frame = html.escape(_FRAME.format(title=what, figure=drawn))
    return (
        "<div style='background: #ffffff; color: #1f2530; padding: 0.5em 1em; max-width: 80em'>"
        f"<p>{html.escape(title(findings))}</p>"
        f"<dl style='margin: 0'>{entries}</dl>"
        f"<iframe title='{what}' sandbox='allow-scripts allow-downloads' srcdoc=\"{frame}\" "
        f"style='border: 0; width: 100%; height: {figure.layout.height}px'></iframe></div>\n"
    )
