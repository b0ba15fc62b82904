import itertools
import re

import numpy as np
import pytest

from hmmdyn.report.figures import theme
from hmmdyn.report.packed import asset

# Machado, Oliveira, Fernandes (2009), severity 1.0, on linear RGB.
VISION = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def linear_rgb(colour):
    srgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def luminance(colour):
    return float(linear_rgb(colour) @ [0.2126, 0.7152, 0.0722])


def oklab(rgb):
    """Ottosson (2020)."""
    lms = np.cbrt(
        [
            [0.4122214708, 0.5363325363, 0.0514459929],
            [0.2119034982, 0.6806995451, 0.1073969566],
            [0.0883024619, 0.2817188376, 0.6299787005],
        ]
        @ np.clip(rgb, 0, 1)
    )
    return [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ] @ lms


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("n_states", range(2, 13))
def test_states_can_be_told_apart_with_every_kind_of_vision(vision, n_states):
    seen = [oklab(VISION[vision] @ linear_rgb(c)) for c in theme.state_colours(n_states)]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 0.1


@pytest.mark.parametrize("n_states", [1, 2, 12, 13, 30])
def test_one_colour_per_state_and_none_twice(n_states):
    colours = theme.state_colours(n_states)
    assert len(set(colours)) == n_states
    assert all(len(c) == 7 and c.startswith("#") for c in colours)


@pytest.mark.parametrize("colour", theme.STATE_COLOURS)
def test_text_on_a_state_is_legible(colour):
    low, high = sorted([luminance(colour), luminance(theme.text_on(colour))])
    assert (high + 0.05) / (low + 0.05) >= 4.5  # WCAG 2, level AA


def test_the_page_has_lighter_colours_where_the_dark_ground_would_swallow_them():
    paper = luminance(theme.DARK.layout.hoverlabel.bgcolor)

    def stands_out(colour):
        return (luminance(colour) + 0.05) / (paper + 0.05) >= 2

    in_dark = dict(re.findall(r"light-dark\((#\w{6}), (#\w{6})\) !important", asset("report.css")))
    lost = {colour for colour in theme.STATE_COLOURS if not stands_out(colour)}
    assert set(in_dark) == lost
    assert all(map(stands_out, in_dark.values()))
    colours = [in_dark.get(colour, colour) for colour in theme.STATE_COLOURS]
    for vision in VISION.values():
        seen = [oklab(vision @ linear_rgb(c)) for c in colours]
        assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 0.06
    # The text on them is that of the light theme.
    for light, dark in in_dark.items():
        low, high = sorted([luminance(dark), luminance(theme.text_on(light))])
        assert (high + 0.05) / (low + 0.05) >= 4.5


# --- lines of groups ---


@pytest.mark.parametrize("colour", theme.GROUP_COLOURS)
@pytest.mark.parametrize("ground", ["LIGHT", "DARK"])
def test_lines_of_groups_are_legible_on_either_ground(colour, ground):
    paper = getattr(theme, ground).layout.hoverlabel.bgcolor
    low, high = sorted([luminance(colour), luminance(paper)])
    assert (high + 0.05) / (low + 0.05) >= 3


@pytest.mark.parametrize("vision", VISION)
def test_groups_can_be_told_apart_with_every_kind_of_vision(vision):
    seen = [oklab(VISION[vision] @ linear_rgb(c)) for c in theme.GROUP_COLOURS]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 0.15


def test_twenty_groups_have_lines_of_their_own():
    assert len({tuple(theme.group_line(i).items()) for i in range(20)}) == 20
