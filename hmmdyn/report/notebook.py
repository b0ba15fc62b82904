"""The findings as a notebook shows them: the finding, the map, three answers, and all in brief."""

from __future__ import annotations

import html
import json
import sys

from plotly.offline import get_plotlyjs

from hmmdyn.report.answers import answers, headline
from hmmdyn.report.figures import theme
from hmmdyn.report.figures.figures import Figures
from hmmdyn.report.lookup import title
from hmmdyn.report.packed import asset, packed_plotly, policy
from hmmdyn.report.report import Report
from hmmdyn.report.text import headlines
from hmmdyn.results.findings import Findings

# Light or dark as the notebook is, by what JupyterLab and VS Code say of themselves. A frame that
# is shut off does not learn of it, but sees that it is a pixel higher.
_STYLE = """
.hmmdyn { color-scheme: light; background: #ffffff; color: #1f2530; padding: 0.5em 1em;
  max-width: 80em; font-family: system-ui, sans-serif; }
.hmmdyn iframe { border: 0; width: 100%; height: var(--high); color-scheme: inherit; }
.hmmdyn dt { font-weight: 600; margin-top: 0.5em; }
.hmmdyn dd { margin: 0 0 0 1em; }
.hmmdyn p { margin: 0.3em 0; }
[data-jp-theme-light="false"] .hmmdyn, .vscode-dark .hmmdyn,
[data-vscode-theme-kind="vscode-dark"] .hmmdyn {
  color-scheme: dark; background: #1b1f26; color: #dfe3ea; }
[data-jp-theme-light="false"] .hmmdyn iframe, .vscode-dark .hmmdyn iframe,
[data-vscode-theme-kind="vscode-dark"] .hmmdyn iframe { height: calc(var(--high) + 1px); }
"""
_PLOTLY = "<script type='application/octet-stream' id='plotly'>{}</script>"
_FRAME = (
    "<!doctype html><meta charset='utf-8'>"
    '<meta http-equiv="Content-Security-Policy" content="{policy}">'
    "<title>{title}</title>"
    "<style>body {{ margin: 0 }}</style><div id='figure'></div>{plotly}"
    "<script type='application/json' id='spec'>{spec}</script><script>{script}</script>"
)


def to_html(report: Report, *, with_plotly: bool = True) -> str:
    """Return the finding, the training map, the answers and, folded, all there is in brief.

    Without states the map's place is taken by the outcomes' curves. The figure lives in a frame
    with an origin of its own, so that it reaches nothing of the notebook; it runs its own script
    and plotly.js alone, and connects to nothing. plotly.js is in the frame compressed (2 MB) unless
    that of another output of the notebook has it: ``with_plotly``. Where frames are not shown the
    sentences still are.
    """
    findings = report.findings
    draw = Figures(findings)
    shows_map = isinstance(findings, Findings)
    figure = draw.training_map() if shows_map else draw.outcome_curves()
    what = "Training map" if shows_map else "Outcome curves"
    spec = json.loads(figure.to_json(engine="json"))
    del spec["layout"]["template"]
    themes = {"light": theme.LIGHT.to_plotly_json(), "dark": theme.DARK.to_plotly_json()}
    script = asset("frame.js")
    frame = _FRAME.format(
        policy=policy(script, get_plotlyjs()),
        title=what,
        plotly=_PLOTLY.format(packed_plotly()) if with_plotly else "",
        spec=json.dumps({"figure": spec, "themes": themes}).replace("<", "\\u003c"),
        script=script,
    )
    told = "".join(
        f"<p><b>{html.escape(answer.question)}</b> {html.escape(answer.short)}. "
        f"{html.escape(' '.join(answer.more[:1]))}</p>"
        for answer in answers(report)
    )
    entries = "".join(
        f"<dt>{html.escape(topic)}</dt>"
        + "".join(f"<dd>{html.escape(brief)}</dd>" for brief in briefs)
        for topic, briefs in headlines(report)
    )
    return (
        f"<style>{_STYLE}</style><div class='hmmdyn'>"
        f"<p>{html.escape(title(findings))}</p>"
        f"<p style='font-size: 1.4em; font-weight: 650'>{html.escape(headline(report))}</p>"
        f"<iframe title='{what}' sandbox='allow-scripts' "
        f"srcdoc=\"{html.escape(frame)}\" style='--high: {figure.layout.height}px'></iframe>{told}"
        f"<details><summary>All that was found, in brief</summary><dl>{entries}</dl></details>"
        "</div>\n"
    )


class _Notebook:
    """Which cell of the running notebook has plotly.js in its output."""

    def __init__(self) -> None:
        self._holder: object = None

    def asks_for_plotly(self) -> bool:
        """Whether the output now made is the first, or is of the cell that had it before.

        A cell is told by the name that the notebook gives it or else, as a notebook that runs from
        its beginning to its end, by the number of its execution. Elsewhere every output has it.
        """
        ipython = sys.modules.get("IPython")
        shell = ipython.get_ipython() if ipython else None
        if shell is None or not hasattr(shell, "get_parent"):
            return True
        cell = shell.get_parent().get("metadata", {}).get("cellId") or shell.execution_count
        if self._holder is None:
            self._holder = cell
        return bool(self._holder == cell)


notebook = _Notebook()
