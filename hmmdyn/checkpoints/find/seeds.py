"""Runs whose names differ in one number alone: seeds of one recipe, where nothing else could be.

``parity__s0`` to ``parity__s5`` are six seeds of ``parity``; ``width128`` and ``width256`` are two
recipes. So the number must stand behind a word for repetitions, or count on from 0 or 1 behind a
name that is none of a recipe's quantities.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from hmmdyn.checkpoints.find.layouts import Reading

_NAME = re.compile(
    r"(?P<recipe>.*?)"
    r"(?:(?<![a-z])(?P<word>s|run|rep|repl|replicate|replica|repeat|trial|init)[-_= ]?)?"
    r"(?P<number>[0-9]{1,18})",
    re.IGNORECASE,
)
_SEPARATORS = "-_=. "
_PART_OF_A_QUANTITY = re.compile(r"[0-9.]$|[0-9]e-?$", re.IGNORECASE)
# A number behind one of these is part of the recipe, or counts something other than repetitions.
_QUANTITY = re.compile(
    r"(?<![a-z])(?:lr|rate|wd|decay|width|depth|layers?|blocks?|heads?|dim|d|h|hidden|units|size"
    r"|batch|bs|n|k|p|q|m|mod|epochs?|steps?|frac|fraction|samples|tokens|data|len|length|seq"
    r"|dropout|rank|alpha|beta|gamma|lambda|eps|temp|temperature|scale|noise|level|degree|order"
    r"|version|v|ver|exp|experiment|job|config|cfg|stage|phase|fold|split|part|task|model|net"
    r"|ablation|variant|recipe|group|gpu|rank|node|worker|world|day|month|year|time)$",
    re.IGNORECASE,
)


class _Numbered(NamedTuple):
    recipe: str
    word: str
    number: int


def seeds_by_number(readings: Sequence[Reading], root: str) -> dict[tuple[str, str], Reading]:
    """Find the runs that are seeds by the number that their name ends in.

    Parameters
    ----------
    readings : sequence of Reading
        What is understood of all paths.
    root : str
        Name of the root folder, which is the group of runs for which nothing else is.

    Returns
    -------
    dict
        (group, run) -> what of its reading changes: the group and the seed. The run keeps its
        name. Empty where any path tells a seed of its own.
    """
    if any(reading.seed is not None for reading in readings):
        return {}
    families: dict[tuple[str, str, str], dict[tuple[str, str], int]] = defaultdict(dict)
    for group, run in dict.fromkeys((reading.group, reading.run) for reading in readings):
        name = _numbered(run)
        if name:
            families[group, name.recipe, name.word][group, run] = name.number
    repeated = {
        word
        for (_, _, word), runs in families.items()
        if len(runs) > 1 and len(set(runs.values())) == len(runs)
    }
    found: dict[tuple[str, str], Reading] = {}
    for (group, recipe, word), runs in families.items():
        if word in repeated and (word or _counts_on(runs.values())):
            above = [] if group == root else [group]
            of_recipe = "/".join([*above, *([recipe] if recipe else [])]) or group
            found |= {key: Reading(of_recipe, key[1], seed) for key, seed in runs.items()}
    return found


def _numbered(run: str) -> _Numbered | None:
    """Cut a run's name into recipe, word for a repetition, and number."""
    match = _NAME.fullmatch(run)
    if match is None:
        return None
    recipe, word = match["recipe"], (match["word"] or "").lower()
    if not word:
        glued = not recipe or recipe[-1] not in "-_ "
        if glued or _QUANTITY.search(recipe.rstrip(_SEPARATORS)):
            return None
    if _PART_OF_A_QUANTITY.search(recipe):
        return None
    return _Numbered(recipe.rstrip(_SEPARATORS), word, int(match["number"]))


def _counts_on(numbers: Iterable[int]) -> bool:
    """Whether numbers count on from 0 or 1, each once."""
    in_order = sorted(numbers)
    first, n = in_order[0], len(in_order)
    return first in (0, 1) and n > 1 and in_order == list(range(first, first + n))
