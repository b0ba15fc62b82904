"""Names and numbers as people read them, the same in figures, page and terminal.

Names of runs, groups and metrics come from files and folders, so they may be anything: very long,
empty, right to left, with line breaks or markup. Here they become harmless and legible.
"""

from __future__ import annotations

import html
import math
import unicodedata
from collections.abc import Iterable

MISSING = "–"
# Unicode isolates keep a right-to-left name from reordering the words around it.
_ISOLATE, _END_ISOLATE = "\u2068", "\u2069"
_RIGHT_TO_LEFT = {"R", "AL", "AN"}
_REORDERING = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


def name(raw: object, width: int = 60) -> str:
    """Return a name on one line, at most ``width`` characters, the middle left out if need be.

    Seeds of one recipe differ at the end of long names, so both ends are kept.
    """
    line = " ".join("".join(_visible(c) for c in str(raw)).split())
    if len(line) > width:
        tail = (width - 1) // 2
        line = f"{line[: width - 1 - tail]}…{line[-tail:]}"
    if any(unicodedata.bidirectional(c) in _RIGHT_TO_LEFT for c in line):
        return f"{_ISOLATE}{line}{_END_ISOLATE}"
    return line or "(no name)"


def label(raw: object, width: int = 24) -> str:
    """Return a name for a Plotly figure, whose texts are read as a small subset of HTML."""
    return html.escape(name(raw, width))


def count(value: float) -> str:
    """Return a whole number with thousands separators: 12,300."""
    return MISSING if math.isnan(value) else f"{value:,.0f}"


def rounded(value: float) -> float:
    """Return steps to three digits: no date is known better."""
    return float(f"{value:.3g}")


def signed(value: float) -> str:
    """Return a whole number with its sign, if it is negative, as a minus."""
    return count(value).replace("-", "−")


def number(value: float, digits: int = 4) -> str:
    """Return a number to ``digits`` significant digits, without digits nobody reads."""
    if math.isnan(value):
        return MISSING
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value == 0 or 1e-4 <= abs(value) < 10.0**digits:
        return f"{value:,.{digits}g}".replace("-", "−")
    if abs(value) < 1e9 and abs(value) >= 1:
        return f"{value:,.0f}".replace("-", "−")
    return f"{value:.{digits}g}".replace("-", "−")


def percent(share: float) -> str:
    """Return a share as whole per cent; ``<1 %`` and ``>99 %`` where rounding would hide it."""
    if math.isnan(share):
        return MISSING
    shown = "<1" if 0 < share < 0.01 else ">99" if 0.99 < share < 1 else f"{100 * share:.0f}"
    return f"{shown}\u00a0%"  # a space that does not break the line


def fraction(value: float) -> str:
    """Return a number between 0 and 1 to three decimals, so that 0.9998 does not read as 1."""
    if math.isnan(value):
        return MISSING
    return "0.999" if 0.9995 <= value < 1 else f"{value:.3f}"


def p_value(p: float) -> str:
    """Return ``p = 0.012``, or ``p < 0.001`` where more digits mean nothing."""
    if math.isnan(p):
        return "p unknown"
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def plural(n: int, noun: str, many: str = "") -> str:
    """Return ``1 run``, ``2 runs``, ``1,200 runs``."""
    return f"{n:,} {noun if n == 1 else many or noun + 's'}"


def in_steps(told: str, unit: str) -> str:
    """Return a number that is text already with its unit: ``1 epoch``, ``1,200 steps``."""
    return f"{told} {unit}" if told.lstrip("+-−") == "1" else f"{told} {unit}s"


def of_runs(n: int, total: int) -> str:
    """Return ``3 of 10 runs``; of one run, ``the run``."""
    return "the run" if n == total == 1 else f"{n:,} of {plural(total, 'run')}"


def listing(items: Iterable[object], at_most: int = 6) -> str:
    """Return ``a, b and c``; a long list ends in the number of those not named."""
    words = [str(item) for item in items]
    if len(words) > at_most:
        words = [*words[: at_most - 1], f"{len(words) - at_most + 1} more"]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _visible(character: str) -> str:
    """Turn line breaks and control characters into a space, and drop marks that reorder text."""
    if unicodedata.bidirectional(character) in _REORDERING:
        return ""
    return " " if unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} else character


def capital(sentence: str) -> str:
    """Return the sentence beginning with a capital."""
    return sentence[:1].upper() + sentence[1:]


def encodable(text: str) -> str:
    """Write out the bytes of a file name that are not UTF-8, which no page or table can hold."""
    return text.encode("utf-8", errors="backslashreplace").decode("utf-8")
