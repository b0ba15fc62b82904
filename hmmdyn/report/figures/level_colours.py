"""The colours of the states at every level of the zoom: what stays, keeps its colour."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pandas as pd

from hmmdyn.report.figures import theme
from hmmdyn.report.lookup import rows
from hmmdyn.results.findings import Findings

Colours = tuple[str, ...]


def level_colours(findings: Findings) -> Mapping[int, Colours]:
    """Return the colour of every state of every level.

    The level that is told has the colours of all figures. Of the states that one becomes at the
    next finer level, the one that most of its checkpoints are in keeps its colour, and the others
    take colours near to it that are free; at the next coarser one, the state keeps that of the
    largest of those it is made of.
    """
    told = findings.parameters.n_states
    colours = {told: theme.state_colours(told)}
    evidence = findings.selection.evidence
    if evidence is None:
        return colours
    levels = list(evidence.zoom)  # the finest first
    parts = {k: _parts(evidence.levels, k) for k in levels}
    at = levels.index(told)
    for finer, coarser in zip(levels[:at][::-1], levels[1 : at + 1][::-1], strict=True):
        colours[finer] = _split(parts[finer], colours[coarser], max(levels[0], coarser))
    for finer, coarser in zip(levels[at:], levels[at + 1 :], strict=False):
        colours[coarser] = _merged(parts[finer], colours[finer], coarser)
    return {k: colours[k] for k in levels}


def _parts(levels: pd.DataFrame, level: int) -> pd.DataFrame:
    """Return the states of a level with the checkpoints they share with that they go into."""
    own = levels[levels["level"] == level]
    return own.assign(shared=own["n_checkpoints"] * own["into_share"])


def _split(parts: pd.DataFrame, coarser: Colours, n_most: int) -> Colours:
    placed = parts.dropna(subset=["into"]).sort_values("shared", kind="stable")
    heirs = set(placed.drop_duplicates("into", keep="last").index)
    kept = {part.state: coarser[part.into] for part in rows(parts.loc[sorted(heirs)])}
    palette: Colours = theme.STATE_COLOURS
    if n_most > len(palette):
        palette = theme.state_colours(2 * n_most)
    for part in rows(parts):
        if part.state not in kept:
            near = coarser[part.into] if pd.notna(part.into) else coarser[0]
            kept[part.state] = _free(palette, kept.values(), near)
    return tuple(kept[k] for k in sorted(kept))


def _free(palette: Colours, taken: Iterable[str], near: str) -> str:
    """Return the colour not taken that is nearest in the order of the palette."""
    free = [colour for colour in palette if colour not in set(taken)]
    place = palette.index(near) if near in palette else 0
    return min(free, key=lambda colour: (abs(palette.index(colour) - place), colour))


def _merged(parts: pd.DataFrame, finer: Colours, n_states: int) -> Colours:
    largest = parts.sort_values("shared", kind="stable").drop_duplicates("into", keep="last")
    made_of = {int(part.into): finer[part.state] for part in rows(largest.dropna(subset="into"))}
    # A state that is the largest part of none is as good as new.
    return tuple(
        made_of.get(k) or _free(theme.STATE_COLOURS, made_of.values(), finer[0])
        for k in range(n_states)
    )
