"""Colours, fonts and Plotly templates. Colour means the state; of lines for groups, the group."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache

import numpy as np
import plotly.graph_objects as go

from hmmdyn.choices import THEMES
from hmmdyn.names import require_one_of

# Twelve colours in order of time: violet, blue, teal, green, gold, brown, red. They were found by
# maximising the smallest distance between any two of them in OKLab, as seen with normal vision
# and with protanopia, deuteranopia and tritanopia (Machado et al. 2009); it is 0.115, about five
# times what an eye can just tell apart. Neighbours differ in lightness as well as in hue.
STATE_COLOURS = (
    "#9875ea", "#714dbf", "#b5a5ff", "#282894", "#0c8596", "#1bdbbd",
    "#05b488", "#e8b602", "#ce8a04", "#9f6908", "#711602", "#a31d4c",
)  # fmt: skip

# Marks that are not states: legible on white and on near-black.
MARK = "#7b8491"
DETOUR = "#e0521b"
DEAD_END = "#3b7dd8"
# A line between two states, whatever their colours: it lies on bars, never on the ground.
BOUNDARY = "#ffffff"

STRIP = 0.78  # how thick the strip of a run is, in rows

# Before and after convergence, where there are no states.
BEFORE, AFTER = "#a4abb6", "#4d9aa6"

# Lines of groups, in figures that show no states: no colour without its dash. Legible on either
# ground (contrast 3), and as far apart for all kinds of vision as four such colours can be, 0.15.
GROUP_COLOURS = ("#419dc3", "#bf355c", "#bc8b07", "#7c4ae0")
GROUP_DASHES = ("solid", "dash", "dot", "longdash", "dashdot")

# Downwards and upwards, where a sign has a colour, on either ground.
DOWN, UP = "#8d7cc3", "#d98018"

# Purple – white – orange: diverging, and safe for colour-blind readers (ColorBrewer's PuOr).
DIVERGING = (
    (0.0, "#542788"), (0.25, "#998ec3"), (0.5, "#f7f7f7"), (0.75, "#f1a340"), (1.0, "#b35806"),
)  # fmt: skip

FONT = 'Inter, system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'


def state_colours(n_states: int) -> tuple[str, ...]:
    """Return one colour per state, spread evenly over the sequence; more than 12 are blended."""
    place = np.linspace(0, len(STATE_COLOURS) - 1, n_states)
    if n_states <= len(STATE_COLOURS):
        return tuple(STATE_COLOURS[i] for i in np.round(place).astype(int))
    channels = np.array([_rgb(c) for c in STATE_COLOURS])
    known = np.arange(len(STATE_COLOURS))
    blended = np.stack([np.interp(place, known, channel) for channel in channels.T], axis=1)
    return tuple("#{:02x}{:02x}{:02x}".format(*rgb) for rgb in np.round(blended).astype(int))


def group_line(number: int) -> dict[str, str]:
    """Return colour and dash of the line of a group; the first 20 groups differ."""
    return {
        "color": GROUP_COLOURS[number % len(GROUP_COLOURS)],
        "dash": GROUP_DASHES[number % len(GROUP_DASHES)],
    }


def see_through(colour: str, opacity: float) -> str:
    """Return the colour as that of a band through which others are seen."""
    red, green, blue = _rgb(colour)
    return f"rgba({red},{green},{blue},{opacity:.3f})"


def between(one: str, other: str, n: int) -> list[str]:
    """Return ``n`` colours in equal steps from one to another, neither of them among these."""
    share = np.linspace(0, 1, n + 2)[1:-1, None]
    channels = (1 - share) * np.array(_rgb(one)) + share * np.array(_rgb(other))
    return ["#{:02x}{:02x}{:02x}".format(*rgb) for rgb in np.round(channels).astype(int)]


def text_on(colour: str) -> str:
    """Return black or white, whichever has the higher contrast on ``colour`` (WCAG 2)."""
    channels = np.array(_rgb(colour)) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ [0.2126, 0.7152, 0.0722])
    return "#000000" if (luminance + 0.05) / 0.05 > 1.05 / (luminance + 0.05) else "#ffffff"


def named_ticks(places: Iterable[float], names: Sequence[str]) -> dict[str, object]:
    """Return ticks placed by number, since two long names may be shortened to the same text."""
    return {"tickmode": "array", "tickvals": list(places), "ticktext": list(names)}


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _template(ink: str, faint: str, grid: str, paper: str) -> go.layout.Template:
    axis = {
        "gridcolor": grid,
        "linecolor": faint,
        "zeroline": False,
        "ticks": "outside",
        "tickcolor": grid,
        "ticklen": 4,
        "automargin": True,
        "separatethousands": True,
        "title": {"standoff": 10, "font": {"size": 13}},
    }
    return go.layout.Template(
        layout={
            "font": {"family": FONT, "size": 12.5, "color": ink},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "margin": {"l": 20, "r": 20, "t": 20, "b": 20},
            "hovermode": "closest",
            "hoverlabel": {
                "align": "left",
                "bgcolor": paper,
                "bordercolor": faint,
                "font": {"family": FONT, "size": 12.5, "color": ink},
                "namelength": -1,
            },
            "legend": {
                "orientation": "h",
                "x": 0,
                "y": 1.02,
                "xanchor": "left",
                "yanchor": "bottom",
                "itemsizing": "constant",
            },
            "modebar": {
                "bgcolor": "rgba(0,0,0,0)",
                "color": faint,
                "activecolor": ink,
                # It would send the data to a server of plotly's.
                "remove": ["sendChartToCloud"],
            },
            "xaxis": axis,
            "yaxis": axis,
            "annotationdefaults": {"font": {"color": ink, "size": 12}, "bgcolor": paper},
            "updatemenudefaults": {
                "bgcolor": paper,
                "bordercolor": faint,
                "font": {"color": ink, "size": 12.5},
            },
        }
    )


LIGHT = _template(ink="#1f2530", faint="#9aa2ad", grid="#e7e9ed", paper="#ffffff")
DARK = _template(ink="#dfe3ea", faint="#6d7683", grid="#2b313b", paper="#1b1f26")

_TEMPLATES = dict(zip(THEMES, (LIGHT, DARK), strict=True))


@cache
def standalone(theme: str) -> go.layout.Template:
    """Return the template of a figure by itself, which brings the ground it is legible on.

    Raises
    ------
    UsageError
        There is no such theme.
    """
    require_one_of(theme, THEMES, "theme")
    template = go.layout.Template(_TEMPLATES[theme])
    template.layout.paper_bgcolor = template.layout.hoverlabel.bgcolor
    return template
