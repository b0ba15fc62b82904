"""The first figure as a picture that browsers paint with the page, before plotly.js is there.

It is made of the figure itself, drawn where plotly.js will draw it: horizontal bars, lines, marks
and the names of rows. Its width is the reader's, so what has a place along the x axis is drawn in a
frame of 1000 units that is stretched, and texts outside of it.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import numpy as np
import plotly.graph_objects as go
from markupsafe import Markup

_UNITS = 1000
_POINTS = 80  # of a line
_TICKS = 6
_BEYOND = 1.03  # how far the x axis goes on after the last step


def preview(figure: go.Figure) -> Markup:
    """Return the figure as SVG, as high as it is, and as wide as its place."""
    layout = figure.layout
    left, right, top = layout.margin.l, layout.margin.r, layout.margin.t
    height = layout.height - top - layout.margin.b
    ends = [np.nanmax(_numbers(t.x) + _numbers(t.base)) for t in figure.data if t.type == "bar"]
    place = _Places(figure, height, _BEYOND * max(map(float, ends), default=1.0) or 1.0)
    names = zip(layout.yaxis.tickvals, layout.yaxis.ticktext, strict=True)
    beside = f"left:{left}px;width:calc(100% - {left + right}px)"
    return Markup(
        f'<div class="preview" aria-hidden="true" style="height:{layout.height}px">'
        f'<svg style="{beside};top:{top}px" height="{height:.0f}" '
        f'viewBox="0 0 {_UNITS} {height:.0f}" preserveAspectRatio="none">'
        f"{''.join(_shapes(figure, place))}</svg>"
        f'<svg style="left:0;top:{top}px" width="{left}" height="{height:.0f}">'
        f"{''.join(_name(name, left - 9, place.y('y', row)) for row, name in names)}</svg>"
        f'<svg style="{beside};top:{top + height:.0f}px" height="30">'
        f"{''.join(_ticks(place))}</svg></div>"
    )


def _name(name: str, x: float, y: float) -> str:
    """Return the name of a row, which is harmless as Plotly reads it (:mod:`.words`)."""
    return f'<text x="{x}" y="{y:.1f}" dy=".35em" text-anchor="end">{name}</text>'


class _Places:
    """Where numbers are in the picture."""

    def __init__(self, figure: go.Figure, height: float, longest: float) -> None:
        self.longest = longest
        self._height = height
        self._rows = figure.layout.yaxis.range
        self._domains = {"y": figure.layout.yaxis.domain or (0, 1)}
        self._curves = [_numbers(t.y) for t in figure.data if t.yaxis == "y2"]
        if self._curves:
            self._domains["y2"] = figure.layout.yaxis2.domain
            values = np.concatenate(self._curves)
            low, high = np.nanmin(values), np.nanmax(values)
            pad = 0.06 * ((high - low) or 1.0)
            self._range = (low - pad, high + pad)

    def x(self, step: Any) -> Any:
        return _UNITS * step / self.longest

    def y(self, axis: str, value: Any) -> Any:
        bottom, top = self._domains[axis]
        low, high = self._rows if axis == "y" else self._range
        share = (value - low) / (high - low)
        return self._height * (1 - bottom - share * (top - bottom))


def _shapes(figure: go.Figure, place: _Places) -> Iterator[str]:
    """Return the bars, lines and marks, what looks alike as one path."""
    paths: dict[str, str] = {}
    for trace in figure.data:
        if trace.type == "bar":
            look, path = f'fill="{trace.marker.color}"', _bars(trace, place)
        elif trace.mode == "markers":
            size = f'stroke-width="{trace.marker.size:g}"'
            look, path = f'class="mark" stroke="{trace.marker.color}" {size}', _marks(trace, place)
        elif trace.yaxis == "y2":
            look, path = f'class="line" stroke="{trace.line.color}"', _line(trace, place)
        else:
            continue
        paths[look] = paths.get(look, "") + path
    for look, path in paths.items():
        yield f'<path {look} d="{path}"/>'


def _bars(trace: go.Bar, place: _Places) -> str:
    x, base, y = _numbers(trace.x), _numbers(trace.base), _numbers(trace.y)
    thick = abs(place.y("y", trace.width) - place.y("y", 0))
    return "".join(
        f"M{place.x(start):.0f} {place.y('y', row) - thick / 2:.1f}h{place.x(length):.0f}"
        f"v{thick:.1f}h{-place.x(length):.0f}z"
        for length, start, row in zip(x, base, y, strict=True)
    )


def _marks(trace: go.Scatter, place: _Places) -> str:
    return "".join(
        f"M{place.x(x):.0f} {place.y('y', y):.1f}h.01"
        for x, y in zip(_numbers(trace.x), _numbers(trace.y), strict=True)
    )


def _line(trace: go.Scatter, place: _Places) -> str:
    values = _numbers(trace.y)
    gaps = np.flatnonzero(np.isnan(values))
    some = np.linspace(0, len(values) - 1, min(_POINTS, len(values))).round().astype(int)
    kept = np.union1d(some, gaps)
    x = np.round(place.x(_numbers(trace.x)[kept])).astype(int)
    y = np.round(place.y("y2", np.nan_to_num(values[kept]))).astype(int)
    path, begins = "", True
    for i, is_gap in enumerate(np.isnan(values[kept])):
        if not is_gap:
            path += f"M{x[i]} {y[i]}" if begins else f"l{x[i] - x[i - 1]} {y[i] - y[i - 1]}"
        begins = is_gap
    return path


def _ticks(place: _Places) -> Iterator[str]:
    rough = place.longest / _TICKS
    power = 10.0 ** np.floor(np.log10(rough))
    apart = next(power * m for m in (1, 2, 5, 10) if power * m >= rough)
    for step in np.arange(0, place.longest, apart):
        share = 100 * step / place.longest
        yield f'<text x="{share:.2f}%" y="18" text-anchor="middle">{step:,.0f}</text>'


def _numbers(values: Any) -> Any:
    """Return numbers as Plotly holds them: an array, a list, or nothing."""
    if values is None:
        return np.zeros(1)
    if isinstance(values, dict):  # as it is written to the page
        kind = np.dtype(values["dtype"]).newbyteorder("<")
        return np.frombuffer(base64.b64decode(values["bdata"]), dtype=kind).astype(float)
    return np.asarray(values, dtype=float)
