"""Texts that tell people what to do, whichever way they came: by a command or by a function.

A remedy is data: an option, and what to set it to. It is written as a flag for the one
(``--threshold 0.9``), as a keyword for the other (``threshold=0.9``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Remedy:
    """An option that helps, by its name in Python, and what to set it to; None is left open."""

    option: str
    value: Any = None

    @property
    def called(self) -> str:
        """The keyword that a caller of a function sets."""
        return f"{self.option}={'…' if self.value is None else repr(self.value)}"


@dataclass(frozen=True)
class Either:
    """Words for what is no option: ``typed`` at the command line, ``called`` from Python."""

    typed: str
    called: str


class Message(str):
    """A text with remedies in it.

    As a string it speaks to the caller of a function; :meth:`typed` to a person at the command
    line. Only ``Message(…)`` joins texts without losing the remedies; ``+`` and f-strings give
    plain text.
    """

    parts: tuple[str | Remedy | Either, ...]

    def __new__(cls, *parts: str | Remedy | Either) -> Message:
        """Join texts, messages and remedies."""
        text = "".join(p if isinstance(p, str) else p.called for p in parts)
        message = super().__new__(cls, text)
        message.parts = tuple(
            part for p in parts for part in (p.parts if isinstance(p, Message) else (p,))
        )
        return message

    def __reduce__(self) -> tuple[Any, ...]:
        return Message, self.parts

    def typed(self, flag: Callable[[Remedy], str]) -> str:
        """Return the text for the command line, where ``flag`` says how a remedy is typed."""
        typed = (
            flag(p) if isinstance(p, Remedy) else p.typed if isinstance(p, Either) else p
            for p in self.parts
        )
        return "".join(typed)
