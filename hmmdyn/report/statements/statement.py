"""One sentence of the report."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Statement:
    """One thing the report says. ``explanation`` defines the terms that occur in it first.

    ``brief`` is what a reader with one screen to spare is told of it; empty where that is nothing.
    """

    topic: str
    text: str
    explanation: str = ""
    brief: str = ""
