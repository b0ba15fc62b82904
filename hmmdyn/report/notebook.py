"""The findings as a notebook shows them: what was found in brief, and the training map."""

from __future__ import annotations

import html

from hmmdyn.report import words
from hmmdyn.report.figures.figures import Figures
from hmmdyn.report.report import Report
from hmmdyn.report.text import headlines

# No connection to anywhere; names from files that became code could reach nothing but the frame.
_FRAME = (
    "<!doctype html><meta charset='utf-8'>"
    '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
    "script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:\">"
    "<title>Training map</title><style>body {{ margin: 0 }}</style>{figure}"
)


def to_html(report: Report) -> str:
    """Return the findings in brief, and below them the training map.

    The map lives in a frame of its own that holds plotly.js (5 MB), so that it needs no network and
    shares nothing with its surroundings. Where frames are not shown the sentences still are. The
    ground is white, whatever the notebook's: a cell does not know that.
    """
    findings = report.findings
    figure = Figures(findings).training_map()
    entries = "".join(
        f"<dt style='font-weight: 600; margin-top: 0.5em'>{html.escape(topic)}</dt>"
        + "".join(f"<dd style='margin: 0 0 0 1em'>{html.escape(brief)}</dd>" for brief in briefs)
        for topic, briefs in headlines(report)
    )
    drawn = figure.to_html(
        full_html=False, include_plotlyjs=True, div_id="training_map", config={"responsive": True}
    )
    frame = html.escape(_FRAME.format(figure=drawn))
    return (
        "<div style='background: #ffffff; color: #1f2530; padding: 0.5em 1em; max-width: 80em'>"
        f"<p>Training map of {html.escape(words.name(findings.source, 120))}</p>"
        f"<dl style='margin: 0'>{entries}</dl>"
        f"<iframe title='Training map' sandbox='allow-scripts allow-downloads' srcdoc=\"{frame}\" "
        f"style='border: 0; width: 100%; height: {figure.layout.height}px'></iframe></div>\n"
    )
