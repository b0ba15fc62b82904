"""What a user must be told."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from hmmdyn.results.columns import TEXT, Column, Table


@dataclass(frozen=True)
class Notice:
    """One thing a user must be told: something left out, odd, or a limit of what can be said.

    Attributes
    ----------
    stage : str
        Where it was noticed: ``discovery``, ``reading``, ``outcomes``, ``metrics``, ``model`` or
        ``statements``.
    kind : str
        ``left out`` (something found does not enter the analysis), ``odd`` (worth a look, nothing
        was left out) or ``limit`` (what these data cannot tell).
    subject : str
        What it is about: a run, file, metric, state.
    message : str
        One plain sentence with the reason, and the remedy where there is one; with options in it,
        a :class:`hmmdyn.messages.Message`.
    """

    stage: str
    kind: str
    subject: str
    message: str


def each_once(*stages: Iterable[Notice]) -> tuple[Notice, ...]:
    """Return the notices of all stages in their order, each once, whoever passed it on."""
    return tuple(dict.fromkeys(notice for notices in stages for notice in notices))


NOTICES = Table(
    name="notices",
    title="What was left out, odd, or beyond these data",
    rows="notice",
    columns=(
        Column("stage", TEXT, "where it was noticed: discovery, reading, metrics, model, …"),
        Column("kind", TEXT, "left out, odd, or limit (what these data cannot tell)"),
        Column("subject", TEXT, "what it is about: a run, file, metric, state"),
        Column("message", TEXT, "the reason, and the remedy where there is one"),
    ),
)
