"""The pieces of code in Markdown pages, and what is said about running them.

A comment right before a piece says what it needs beyond the files that every page finds (see
``test_snippets.py``), or why it is not run::

    <!-- runs with: a training loop -->
    <!-- not run: it trains for hours -->
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_PIECE = re.compile(
    r"(?:^<!-- (?P<how>runs with|not run): (?P<what>[^>]+?) -->\n+)?"
    r"^```(?P<language>\w*)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Snippet:
    """A piece of code of a page.

    ``needs`` names what it runs with, ``why_not`` says why it is not run; both may be empty.
    """

    line: int
    language: str
    code: str
    needs: str
    why_not: str

    @property
    def commands(self) -> list[str]:
        """Commands of a piece for the shell, without comments."""
        lines = (re.sub(r"(^|\s)#.*", "", line).strip() for line in self.code.splitlines())
        return [line for line in lines if line]


def snippets(page: Path) -> list[Snippet]:
    """Pieces of Python and for the shell, in order; other languages are not code."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in _PIECE.finditer(text):
        how, what = match["how"], match["what"] or ""
        snippet = Snippet(
            line=text.count("\n", 0, match.start("code")) + 1,
            language=match["language"],
            code=match["code"],
            needs=what if how == "runs with" else "",
            why_not=what if how == "not run" else "",
        )
        if snippet.language in ("python", "bash"):
            found.append(snippet)
    return found
