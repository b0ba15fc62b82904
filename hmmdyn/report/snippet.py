"""A figure as a piece of HTML that another page can hold."""

from __future__ import annotations

from hashlib import sha256

import plotly.graph_objects as go

from hmmdyn.choices import SOURCES_OF_PLOTLY
from hmmdyn.names import require_one_of
from hmmdyn.report.figures.replay import PLAYED

_CONFIG = {"displaylogo": False, "responsive": True}
_SOURCES = dict(zip(SOURCES_OF_PLOTLY, (True, "cdn", False), strict=True))


def snippet(figure: go.Figure, plotly: str = "inline", *, plays: bool = False) -> str:
    """Return a figure as HTML of its own, as wide as its place and as high as it is.

    The same figure gives the same bytes. Names are data in it, never code.

    Parameters
    ----------
    figure : Figure
        With a height, and a template that brings its ground.
    plotly : str
        Where plotly.js comes from: ``inline`` (in the snippet, 5 MB, no network), ``cdn`` (from
        plotly's servers, by a link that holds the hash of what is expected), or ``none`` (the page
        has it from another snippet).
    plays : bool
        Whether the frames of the figure, if any, are played when it is shown.

    Raises
    ------
    UsageError
        There is no such source of plotly.js.
    """
    require_one_of(plotly, SOURCES_OF_PLOTLY, "plotly")
    name = sha256(figure.to_json(engine="json").encode("utf-8")).hexdigest()[:12]
    made: str = figure.to_html(
        config=_CONFIG,
        include_plotlyjs=_SOURCES[plotly],
        full_html=False,
        default_width="100%",
        default_height=f"{figure.layout.height}px",
        div_id=f"hmmdyn-{name}",
        auto_play=plays,
        animation_opts=PLAYED,
    )
    return made + "\n"


def page_of(figure: go.Figure, title: str) -> str:
    """Return a page of a figure alone, which needs no network; ``title`` is plain markup."""
    ground = figure.layout.template.layout.paper_bgcolor
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>body {{ margin: 1rem auto; max-width: 64rem; background: {ground} }}</style>"
        f"</head><body>{snippet(figure, plays=True)}</body></html>\n"
    )
