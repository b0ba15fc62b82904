"""Understand a path: the group, run, seed and step that the names in it claim.

A path is cut into names (its folders and the stem of its file), a name into tokens by the one table
``ROLES``, and the tokens are given meaning by where they stand:

- the deepest name with a step or epoch tells the *time* of the checkpoint;
- a seed names the run, and the text around it the group; without a seed the deepest folder above
  the time names the run and the folders above that the group;
- names that hold checkpoints everywhere (``checkpoints``, ``lightning_logs``, …) say nothing.

Only what is certain is understood; the rest comes back with the problem in words. Nothing here
touches the disk.
"""

from __future__ import annotations

import re
import string
from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple

from hmmdyn.errors import UsageError
from hmmdyn.names import printable

# A date or Unix time, so that it is never taken for a step. A Unix time that ends in 000 is left
# alone: 1_500_000_000 is a step that long reinforcement-learning runs do reach.
_DATE = (
    r"(?:19|20)[0-9]{2}(?:-(?:0[1-9]|1[0-2])-|_(?:0[1-9]|1[0-2])_|(?:0[1-9]|1[0-2]))"
    r"(?:0[1-9]|[12][0-9]|3[01])(?![0-9])"
)
_UNIX_TIME = r"1[5-9][0-9]{8}(?<!000)(?![0-9])"
_CLOCK = r"(?:[01][0-9]|2[0-3])[-_:.]?[0-5][0-9](?:[-_:.]?[0-5][0-9])?(?![0-9])"

_NUMBER = r"(?:[1-9][0-9]{0,2}(?:_[0-9]{3})+|[0-9]+\.[0-9]+(?=[kKmM])|[0-9]+)[kKmM]?"
_TIME = rf"(?!{_DATE}|{_UNIX_TIME}){_NUMBER}"
_WORD = r"(?<![a-z])"  # a word starts here
_ALONE = r"(?<![a-z0-9])"  # a word or number starts here
_END = r"(?![a-z0-9]|\.[0-9])"  # a word or number ends here
# ``max_step1000`` and the like belong to the recipe.
_OF_RUN = _WORD + "".join(rf"(?<!{word}[-_])" for word in ("max", "total", "num", "warmup", "lr"))
_GAP = r"[-_= ]?"

ROLES = {
    "date": rf"{_ALONE}(?:{_DATE}(?:[-_ t]{{1,2}}{_CLOCK})?|{_UNIX_TIME}"
    r"|[0-2][0-9][-:][0-5][0-9][-:][0-5][0-9])(?![a-z0-9])",
    "version": rf"{_ALONE}version[-_]?[0-9]+{_END}",
    "copy": rf"{_ALONE}v[0-9]+$",  # Lightning's -v1: the name was taken
    "outcome": rf"{_WORD}(?:[a-z]+[-_]){{0,2}}(?:loss|acc|accuracy|error|ppl|perplexity|f1|score"
    rf"|reward|auc|bleu)[-_= ]?[0-9]+(?:\.[0-9]+)?{_END}",
    "seed": rf"{_WORD}(?:(?:rng|random)[-_]?)?seed{_GAP}[0-9]+{_END}",
    "step": rf"{_OF_RUN}(?:global[-_]?)?(?:step|iteration|iter){_GAP}{_TIME}{_END}"
    rf"|{_ALONE}{_TIME}[-_ ]?(?:steps|iterations|iters){_END}",
    "epoch": rf"{_OF_RUN}(?:epoch|ep){_GAP}{_TIME}{_END}|{_ALONE}{_TIME}[-_ ]?epochs{_END}",
    # A plain count of saves: a step where the name tells no better.
    "save": rf"{_WORD}(?:checkpoint|ckpt){_GAP}{_TIME}{_END}",
    "alias": rf"{_ALONE}(?:last|latest|best|final){_END}",
    "temporary": rf"{_ALONE}tmp{_END}",
}
_TOKEN = re.compile("|".join(f"(?P<{role}>{p})" for role, p in ROLES.items()), re.IGNORECASE)
_ALL_ROLES = tuple(ROLES)
_TIME_ROLES = ("step", "epoch", "save")
_OCCASIONS = ("date", "version")
_BARE_NUMBER = re.compile(r"[0-9]+")
_BARE_STEP = re.compile(rf"(?!{_DATE}|{_UNIX_TIME})[0-9]{{1,18}}")

# Names that say what a folder or file holds, not which recipe or run it belongs to.
_NEUTRAL = re.compile(
    r"models?|net(?:work)?|checkpoints?|ckpts?|weights|params|states?|state_dict|pytorch_model"
    r"|save[sd]?|snapshots?|runs?|results|outputs?|experiments|multirun|lightning_logs"
    r"|logs?|metrics|history|training|trainer_state",
    re.IGNORECASE,
)
_SEPARATORS = "-_=., "

# What training saves next to the weights, once step and seed are cut from the file's name.
_COMPANION = re.compile(
    r"(?:(?:lr[-_]?)?scheduler|optimizer|optim|rng|random|scaler|training[-_]args|trainer[-_]state"
    r"|.*optim[-_]states)(?:[-_. ](?:states?|dict|rank|[0-9]+))*",
    re.IGNORECASE,
)

_LARGEST = 2**63 - 1  # steps and seeds are 64-bit integers in every table


class Token(NamedTuple):
    """A piece of a name with a meaning: its role in ``ROLES``, its text and the number in it."""

    role: str
    text: str
    number: int | None


class Reading(NamedTuple):
    """What a path says of itself.

    ``alias``: also called last, best, …. ``decoration``: what is left of the names at and below the
    time. ``occasions``: folders that tell when something was started (dates, ``version_0``), not
    what. ``problem``: why the path is not understood; empty where it is.
    """

    group: str
    run: str
    seed: int | None
    step: int | None = None
    epoch: int | None = None
    alias: bool = False
    decoration: tuple[str, ...] = ()
    occasions: tuple[str, ...] = ()
    problem: str = ""


NO_STEP = "no step or epoch in its name"
ONLY_ALIAS = "an alias such as last or best, without a step"
TEMPORARY = "a temporary file"


class Name(NamedTuple):
    """One name of a path, cut into tokens; ``numbers`` by role, for the roles it has."""

    text: str
    tokens: tuple[Token, ...]
    numbers: Mapping[str, frozenset[int]]

    def has(self, role: str) -> bool:
        """Tell whether any token has this role."""
        return role in self.numbers

    @property
    def tells_time(self) -> bool:
        """Whether the name claims a step or epoch."""
        return any(self.numbers.get(role) for role in _TIME_ROLES)

    @property
    def is_alias(self) -> bool:
        """Whether the name is nothing but last, best, final or latest."""
        return self.has("alias") and self.tokens[0].text == self.text


@lru_cache(maxsize=1 << 16)
def parse(text: str) -> Name:
    """Cut one name into tokens."""
    tokens = tuple(
        Token(str(match.lastgroup), match.group(), _number(match.group()))
        for match in _TOKEN.finditer(text)
    )
    numbers = {
        role: frozenset(t.number for t in tokens if t.role == role and t.number is not None)
        for role in {t.role for t in tokens}
    }
    return Name(text, tokens, numbers)


def _number(text: str) -> int | None:
    match = re.search(_NUMBER, text)
    if match is None:
        return None
    digits = match.group().replace("_", "").lower()
    value = Decimal(digits.rstrip("km")) * {"k": 1000, "m": 10**6}.get(digits[-1], 1)
    return int(value) if value == value.to_integral_value() and value <= _LARGEST else None


@lru_cache(maxsize=1 << 16)
def _without(text: str, roles: tuple[str, ...]) -> str:
    """Cut the tokens of these roles out of a name; empty if nothing but a neutral word is left."""
    cut = _TOKEN.sub(lambda m: "\0" if m.lastgroup in roles else m.group(), text)
    # Each cut, with the separators around it, closes up to the first of those separators.
    rest = re.sub(
        r"[-_=., \0]*\0[-_=., \0]*",
        lambda m: m.group().replace("\0", "")[:1],
        cut,
    ).strip(_SEPARATORS)
    return "" if _NEUTRAL.fullmatch(rest) else rest


def is_companion(stem: str) -> bool:
    """Tell whether a file is optimizer, scheduler, RNG or scaler state rather than a checkpoint."""
    return _COMPANION.fullmatch(_without(stem, ("seed", *_TIME_ROLES))) is not None


def read_path(parts: Sequence[str], root: str, *, keep_occasions: bool = False) -> Reading:
    """Understand a checkpoint's path from its names alone.

    Parameters
    ----------
    parts : sequence of str
        Folders from the root down, then the file's stem (without suffix).
    root : str
        Name of the root folder: it names the group, and the run, where nothing below it does.
    keep_occasions : bool
        Let dates and versions name runs and groups. To be used where a reading without them makes
        two folders the same run.

    Returns
    -------
    Reading
        With ``problem`` set where the path is not certain. Group and run are always filled.
    """
    names = [parse(part) for part in parts]
    time_at = _time_position(names)
    at = max(len(names) - 1, 0) if time_at is None else time_at
    identity = _identify(names, at, keep_occasions)
    if not identity.run:
        of_root = _identify([parse(root)], 1, False)
        identity = identity if of_root.problem else of_root
    reading = identity._replace(
        group=printable(identity.group or root), run=printable(identity.run or root)
    )
    if reading.problem:
        return reading
    if time_at is None:
        return reading._replace(problem=_why_no_time(names))
    return _with_time(reading, names, at)


def _time_position(names: Sequence[Name]) -> int | None:
    """Return the position of the deepest name that tells a time, None if none does."""
    timed = [i for i, name in enumerate(names) if name.tells_time]
    seeded = [i for i, name in enumerate(names) if name.has("seed")]
    # Below a seed's folder, and only there, a bare number can be nothing but the step.
    below_seed = seeded and max([*seeded, *timed]) == seeded[-1] < len(names) - 1
    if below_seed and _BARE_STEP.fullmatch(names[-1].text):
        return len(names) - 1
    return timed[-1] if timed else None


def _identify(names: Sequence[Name], at: int, keep_occasions: bool) -> Reading:
    """Read group, run and seed from the names above position ``at`` and those with a seed."""
    seeds = [token for name in names for token in name.tokens if token.role == "seed"]
    first_seed = next((i for i, name in enumerate(names) if name.has("seed")), len(names))
    parts: list[str] = []
    occasions: list[str] = []
    for i, name in enumerate(names):
        if (i >= at and not name.has("seed")) or name.is_alias:
            continue
        text = _without(name.text, ())
        if text and not _without(name.text, _OCCASIONS):
            occasions.append(text)
            # What was started twice for one seed may be one run resumed: that is never certain.
            text = text if keep_occasions and i < first_seed else ""
        elif name.has("seed"):
            if i < at:
                occasions += [token.text for token in name.tokens if token.role == "date"]
            text = _without(name.text, ("seed", "date") if i < at else _ALL_ROLES)
        if text:
            parts.append(text)
    if not seeds:
        run = (parts or occasions or [""])[-1]
        return Reading("/".join(parts[:-1]), run, None, occasions=tuple(occasions))
    problem = ""
    if len({token.number for token in seeds}) > 1:
        problem = "two different seeds in its path"
    elif any(_BARE_NUMBER.fullmatch(part) for part in parts):
        problem = "a bare number beside the seed may be a step, a run or part of the recipe"
    return Reading(
        "/".join(parts),
        seeds[0].text,
        seeds[0].number,
        occasions=tuple(occasions),
        problem=problem,
    )


def _with_time(reading: Reading, names: Sequence[Name], at: int) -> Reading:
    """Add what the name at position ``at`` says about the time."""
    name = names[at]
    steps, epochs = (name.numbers.get(role, frozenset()) for role in ("step", "epoch"))
    if len(steps) > 1 or len(epochs) > 1:
        return reading._replace(problem="two different steps in its name")
    if not steps and not epochs:
        steps = name.numbers.get("save") or frozenset([int(name.text)])
    if any(n.has("temporary") for n in names[at:]):
        return reading._replace(problem=TEMPORARY)
    if any(n.is_alias for n in names[at + 1 :]):
        return reading._replace(problem=ONLY_ALIAS)
    rests = (_without(n.text, _ALL_ROLES) for n in names[at:] if not n.has("seed"))
    return reading._replace(
        step=next(iter(steps), None),
        epoch=next(iter(epochs), None),
        alias=name.has("alias") or any(n.is_alias for n in names[:at]),
        decoration=tuple(rest for rest in rests if rest and not _BARE_NUMBER.fullmatch(rest)),
    )


def _why_no_time(names: Sequence[Name]) -> str:
    if any(name.has("temporary") for name in names):
        return TEMPORARY
    return ONLY_ALIAS if any(name.has("alias") for name in names) else NO_STEP


_FIELDS = {
    "group": r"[^/]+",
    "run": r"[^/]+",
    "seed": r"[0-9]+",
    "step": _NUMBER,
    "epoch": _NUMBER,
}


class Layout:
    """A layout given by the user, such as ``{group}/seed{seed}/step_{step}.pt``.

    Parameters
    ----------
    pattern : str
        Path relative to the root. ``{group}``, ``{run}``, ``{seed}``, ``{step}`` and ``{epoch}``
        stand for what they name, ``*`` for anything, both within one name of the path.

    Raises
    ------
    UsageError
        An unknown placeholder, unbalanced braces, or neither ``{step}`` nor ``{epoch}``.
    """

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self._regex = re.compile(self._translate(pattern.strip().rstrip("/")))

    @staticmethod
    def _translate(pattern: str) -> str:
        try:
            pieces = list(string.Formatter().parse(pattern))
        except ValueError as error:
            raise UsageError(f"--layout {pattern!r} cannot be read: {error}.") from None
        regex = ""
        seen: set[str] = set()
        for literal, field, spec, conversion in pieces:
            regex += "[^/]*".join(re.escape(text) for text in re.split(r"\*+", literal))
            if field is None:
                continue
            if field not in _FIELDS or spec or conversion:
                allowed = ", ".join(f"{{{name}}}" for name in _FIELDS)
                raise UsageError(
                    f"--layout {pattern!r}: {{{field}}} is not a placeholder. "
                    f"Placeholders are {allowed}; * stands for anything within a name."
                )
            regex += f"(?P={field})" if field in seen else f"(?P<{field}>{_FIELDS[field]})"
            seen.add(field)
        if not seen & {"step", "epoch"}:
            raise UsageError(
                f"--layout {pattern!r} does not say where the step is: add {{step}} or {{epoch}}."
            )
        return regex

    def read(self, path: str, root: str) -> Reading | None:
        """Read a path relative to the root; None where the layout does not fit it."""
        match = self._regex.fullmatch(path)
        if match is None:
            return None
        found = match.groupdict()
        seed, step, epoch = (
            None if found.get(field) is None else _number(found[field])
            for field in ("seed", "step", "epoch")
        )
        if step is None and epoch is None:  # 1.2345k, or beyond 64 bits
            return None
        run = found.get("run") or (f"seed{found['seed']}" if "seed" in found else root)
        return Reading(printable(found.get("group") or root), printable(run), seed, step, epoch)
