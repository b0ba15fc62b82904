"""Propose a layout for paths that are not understood: one that fits every one of them.

What is the same in all paths stays as it is, what differs becomes a placeholder. A proposal is made
only after it has been tried: it must read each path, and no two as the same checkpoint.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise, takewhile
from typing import NamedTuple

from hmmdyn.checkpoints.find import layouts
from hmmdyn.checkpoints.find.layouts import Layout

_ANYTHING = "*"
# What stands before or after a number, and so says what it is.
_BEFORE = {
    "seed": re.compile(r"(?<![a-z])seed[-_= ]?$", re.IGNORECASE),
    "epoch": re.compile(r"(?<![a-z])(?:epoch|ep)[-_= ]?$", re.IGNORECASE),
    "step": re.compile(r"(?<![a-z])(?:step|iteration|iter)[-_= ]?$", re.IGNORECASE),
}
_AFTER = {
    "epoch": re.compile(r"[-_ ]?epochs(?![a-z])", re.IGNORECASE),
    "step": re.compile(r"[-_ ]?(?:steps|iterations|iters)(?![a-z])", re.IGNORECASE),
}
_TIMES = {"step", "epoch"}


def layout_for(paths: Sequence[str], *, occasion: str | None = None) -> str | None:
    """Propose a layout that fits all of these paths; None where none is sure to.

    Parameters
    ----------
    paths : sequence of str
        Relative to the root, in natural order.
    occasion : str, optional
        What to put for folders that tell when something was started (``version_0``): ``*`` to read
        over them, or a placeholder.
    """
    columns = _columns(paths)
    if not columns:
        return None
    pattern = "/".join(_Proposal(columns, occasion).names())
    return pattern if _fits(pattern, paths) else None


def _fits(pattern: str, paths: Sequence[str]) -> bool:
    """Whether a pattern reads every path, and each as a checkpoint of its own."""
    if not re.search(r"\{(?:step|epoch)\}", pattern) or set("{}*") & set("".join(paths)):
        return False
    layout = Layout(pattern)
    readings = [layout.read(path, "") for path in paths]
    claimed = {(r.group, r.run, r.step if r.epoch is None else r.epoch) for r in readings if r}
    return None not in readings and len(claimed) == len(paths)


def _columns(paths: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the names of all paths at each depth; nothing where they are not equally deep."""
    split = [path.split("/") for path in paths]
    alike = len({len(names) for names in split}) == 1
    return list(zip(*split, strict=True)) if alike else []


class _Number(NamedTuple):
    """A number in the names of one depth: its place among their pieces, its role and values."""

    at: int
    role: str | None
    values: tuple[int, ...]


class _Proposal:
    """Gives each depth its piece of the layout, from the file upwards."""

    def __init__(self, columns: list[tuple[str, ...]], occasion: str | None) -> None:
        self._columns = columns
        self._occasion = occasion
        self._has_seed = any(layouts.parse(names[0]).has("seed") for names in columns)
        self._free = ["group"] if self._has_seed else ["group", "run"]  # a seed names the run
        self._taken: set[str] = set()

    def names(self) -> list[str]:
        return [self._name(names) for names in reversed(self._columns)][::-1]

    def _name(self, names: tuple[str, ...]) -> str:
        first = layouts.parse(names[0])
        is_occasion = first.has("version") or first.has("date")
        if self._occasion is not None and is_occasion and not first.tells_time:
            versions = {re.sub(r"[0-9]+", _ANYTHING, name) for name in names}
            read_over = self._occasion == _ANYTHING and first.has("version") and len(versions) == 1
            return versions.pop() if read_over else self._occasion
        has_seed = first.has("seed")
        if self._taken & _TIMES and not has_seed and not first.tells_time:
            return self._folder(names)
        return self._numbered(names)

    def _folder(self, names: tuple[str, ...]) -> str:
        """Return the piece for a folder above the time: a run or a group, if it names any."""
        if len(set(names)) == 1 and layouts.is_neutral(names[0]):
            return names[0]
        if self._free:
            return f"{{{self._take(self._free[-1])}}}"
        return names[0] if len(set(names)) == 1 else _ANYTHING

    def _numbered(self, names: tuple[str, ...]) -> str:
        """Return the piece for names that differ in numbers, or in anything."""
        pieces = [re.split(r"([0-9]+)", name) for name in names]
        if len({tuple(p[::2]) for p in pieces}) > 1:
            return _ANYTHING if self._taken & _TIMES else self._unlike(pieces)
        template = list(pieces[0])
        for number in self._roles(pieces):
            if number.role:
                template[number.at] = f"{{{self._take(number.role)}}}"
                if number.role in _TIMES:  # 20k is one number
                    template[number.at + 1] = re.sub(
                        r"^[kKmM](?![a-z])", "", template[number.at + 1]
                    )
            elif len(set(number.values)) > 1:
                template[number.at] = _ANYTHING
        return "".join(template)

    def _unlike(self, pieces: list[list[str]]) -> str:
        """Return the piece for names of different text around a time that all of them tell."""
        for role in ("step", "epoch"):
            at = [
                [i for i in range(1, len(p), 2) if _told(p[i - 1], p[i + 1]) == role]
                for p in pieces
            ]
            if all(len(found) == 1 for found in at):
                before = ["".join(p[: i[0]]) for p, i in zip(pieces, at, strict=True)]
                after = ["".join(p[i[0] + 1 :]) for p, i in zip(pieces, at, strict=True)]
                tail = _common_start([text[::-1] for text in before])[::-1]
                head = _common_start(after)
                said = f"{{{self._take(role)}}}"
                if any(text != tail for text in before):
                    name = f"{{{self._take(self._free[-1])}}}" if self._free else _ANYTHING
                    tail = name + tail
                return tail + said + head + (_ANYTHING if any(t != head for t in after) else "")
        return _ANYTHING

    def _roles(self, pieces: list[list[str]]) -> list[_Number]:
        """Say what each number stands for, as far as it differs or the text around it tells."""
        numbers = []
        for at in range(1, len(pieces[0]), 2):
            role = _told(pieces[0][at - 1], pieces[0][at + 1])
            values = tuple(int(p[at]) for p in pieces)
            numbers.append(_Number(at, role if role not in self._taken else None, values))
        if self._taken & _TIMES or any(n.role in _TIMES for n in numbers):
            return numbers
        unknown = [n for n in numbers if n.role is None and _is_whole(pieces[0], n.at)]
        # Where none differs, the last is all there is to go by.
        moving = [n for n in unknown if len(set(n.values)) > 1] or unknown[-1:]
        for number, role in self._times_among(moving):
            numbers[numbers.index(number)] = number._replace(role=role)
        return numbers

    def _times_among(self, moving: list[_Number]) -> list[tuple[_Number, str]]:
        """Tell epoch from step where two numbers grow together, and a seed where they do not."""
        if not moving:
            return []
        *before, last = moving
        if not before:
            return [(last, "step")]
        other = before[-1]
        if _grow_together(other.values, last.values):
            epoch, step = sorted((other, last), key=lambda n: max(n.values))
            return [(epoch, "epoch"), (step, "step")]
        if self._has_seed:
            return [(last, "step")]
        self._has_seed = True
        few, many = sorted((other, last), key=lambda n: len(set(n.values)))
        return [(few, "seed"), (many, "step")]

    def _take(self, field: str) -> str:
        self._taken.add(field)
        used = {"run", "seed"} if field == "seed" else {field}
        self._free = [free for free in self._free if free not in used]
        return field


def _told(before: str, after: str) -> str | None:
    """Return what the text around a number says that it is."""
    for role, pattern in _BEFORE.items():
        if pattern.search(before):
            return role
    return next((role for role, pattern in _AFTER.items() if pattern.match(after)), None)


def _is_whole(pieces: Sequence[str], at: int) -> bool:
    """Whether a number is no part of a decimal fraction."""
    return not (
        (pieces[at - 1] == "." and at > 1) or (pieces[at + 1] == "." and at + 2 < len(pieces))
    )


def _grow_together(first: Sequence[int], second: Sequence[int]) -> bool:
    """Whether a larger number always comes with a larger one of the other kind."""
    pairs = sorted(set(zip(first, second, strict=True)))
    return all(a < c and b < d for (a, b), (c, d) in pairwise(pairs))


def _common_start(texts: Sequence[str]) -> str:
    alike = takewhile(lambda letters: len(set(letters)) == 1, zip(*texts, strict=False))
    return "".join(letters[0] for letters in alike)
