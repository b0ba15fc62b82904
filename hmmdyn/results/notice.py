"""What a user must be told."""

from __future__ import annotations

from dataclasses import dataclass


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
