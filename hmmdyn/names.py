"""Names that come from files and folders: order them, show them, find those that are meant."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable
from difflib import get_close_matches

from hmmdyn.errors import UsageError


def natural_key(text: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key that puts ``seed2`` before ``seed10``."""
    pieces = re.split(r"([0-9]+)", text)
    # Numbers are compared by length and digits: a name may hold more digits than int() takes.
    return tuple(
        (0, len(p.lstrip("0")), p.lstrip("0")) if i % 2 else (1, 0, p) for i, p in enumerate(pieces)
    )


def printable(text: str) -> str:
    """Escape what a table or a terminal cannot hold: control characters, undecodable bytes."""
    return "".join(c if _is_harmless(c) else repr(c)[1:-1] for c in text)


def normalise_column(column: str) -> str:
    """Give a column its name here: lower case, and ``_`` for slash, hyphen, blank and dot."""
    return printable(re.sub(r"[/\-\s.]+", "_", column.strip().lower()))


def file_stem(text: str) -> str:
    """Return a part of a name that any file system takes; different names can give the same."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text)[:40].strip("-.") or "unnamed"


def some(items: Iterable[str], limit: int = 5) -> str:
    """List a few items, and how many there are where that is not all, for a message."""
    items = list(items)
    shown = ", ".join(printable(item) for item in items[:limit])
    return shown if len(items) <= limit else f"{shown}, … {len(items):,} in all"


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """Return `` Did you mean 'l1'?`` where a known name is like this one, else nothing."""
    close = get_close_matches(str(name), list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def require_known(names: Iterable[str], known: Iterable[str], what: str) -> None:
    """Raise UsageError for a name that is not among the known ones, naming those."""
    known = list(known)
    for name in names:
        if name not in known:
            raise UsageError(
                f"There is no {what} {name!r}.{did_you_mean(name, known)} "
                f"There {'are' if len(known) > 1 else 'is'}: {', '.join(known) or 'none'}."
            )


def require_one_of(value: object, choices: Collection[str], option: str) -> None:
    """Raise UsageError for a value that is none of an option's choices, naming those."""
    if value not in choices:
        raise UsageError(
            f"{option!r} must be one of {choices}, got {value!r}.{did_you_mean(value, choices)}"
        )


def runs_named(names: Iterable[str], runs: Iterable[tuple[str, str]]) -> frozenset[tuple[str, str]]:
    """Find the (group, run) meant by each name: ``run``, or ``group/run`` where that is ambiguous.

    Raises
    ------
    UsageError
        No run, or runs of several groups, bear the name.
    """
    runs = list(dict.fromkeys(runs))
    found = set()
    for name in names:
        meant = [run for run in runs if name in (run[1], "/".join(run))]
        if not meant:
            known = ["/".join(run) for run in runs]
            hint = did_you_mean(name, [run for _, run in runs]) or did_you_mean(name, known)
            raise UsageError(f"No run is called {name!r}.{hint} The runs are: {some(known, 8)}.")
        if len(meant) > 1:
            which = some(("/".join(run) for run in meant), 8)
            raise UsageError(f"{len(meant)} groups have a run {name!r}. Say which: {which}.")
        found.add(meant[0])
    return frozenset(found)


def _is_harmless(character: str) -> bool:
    category = unicodedata.category(character)
    return category == "Zs" or category[0] not in "CZ"


def counted(n: int, one: str, many: str) -> str:
    """Return a number with its noun: ``1 bias``, ``2 biases``."""
    return f"{n:,} {one if n == 1 else many}"
