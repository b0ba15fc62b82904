"""Understand a path: the group, run, seed and step that the names in it claim.

A path is cut into names (its folders and the stem of its file), a name into tokens by the one table
``ROLES``, and the tokens are given meaning by where they stand:

- the deepest name with a step or epoch tells the *time* of the checkpoint, together with the names
  right above it that are nothing but times (``epoch_4/step_200``);
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
from hmmdyn.messages import Remedy
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
_NO_DATE = rf"(?!{_DATE}|{_UNIX_TIME})"
_TIME = _NO_DATE + _NUMBER
_WORD = r"(?<![a-z])"  # a word starts here
_ALONE = r"(?<![a-z0-9])"  # a word or number starts here
_END = r"(?![a-z0-9]|\.[0-9])"  # a word or number ends here
# ``max_step1000`` and the like belong to the recipe.
_OF_RUN = _WORD + "".join(rf"(?<!{word}[-_])" for word in ("max", "total", "num", "warmup", "lr"))
_GAP = r"[-_= ]?"
_QUANTITY = rf"{_GAP}[0-9]+(?:\.[0-9]+)?"
_RANK = r"rank[-_]?[0-9]+(?:_[0-9]+)*"

ROLES = {
    "date": rf"{_ALONE}(?:{_DATE}(?:[-_ t]{{1,2}}{_CLOCK})?|{_UNIX_TIME}"
    r"|[0-2][0-9][-:][0-5][0-9][-:][0-5][0-9])(?![a-z0-9])",
    "version": rf"{_ALONE}version[-_]?[0-9]+{_END}",
    "copy": rf"{_ALONE}v[0-9]+$",  # Lightning's -v1: the name was taken
    "outcome": rf"{_WORD}(?:[a-z]+[-_]){{0,2}}(?:loss|acc|accuracy|error|ppl|perplexity|f1|score"
    rf"|reward|auc|bleu){_QUANTITY}{_END}",
    "amount": rf"{_WORD}consumed[-_]samples{_QUANTITY}{_END}",  # NeMo's; it goes with the step
    # A file of a checkpoint that is spread over several: by layers, or over the ranks of devices.
    "slice": rf"{_WORD}zero_pp_{_RANK}(?:_mp_{_RANK})?(?=_model_states)"
    r"|layer_[0-9]+-model_[0-9]+(?=-model_states)",
    "part": rf"{_WORD}(?:mp|tp|pp|dp|ep|cp|fsdp|world_size_[0-9]+)_{_RANK}{_END}",
    # Only at the end of a name: a rank may also be one of the recipe (LoRA's).
    "rank": rf"{_WORD}(?:{_RANK}|shard[-_]?[0-9]+)$|(?<=consolidated\.)[0-9]{{2}}$",
    "seed": rf"{_WORD}(?:(?:rng|random)[-_]?)?seed{_GAP}[0-9]+{_END}",
    "step": rf"{_OF_RUN}(?:global[-_]?)?(?:step|iteration|iter){_GAP}{_TIME}"
    rf"(?:-tokens[0-9]+[kmbt])?{_END}"  # OLMo's step1000-tokens5B
    rf"|{_ALONE}{_TIME}[-_ ]?(?:steps|iterations|iters){_END}"
    rf"|(?<=[0-9]-)ba{_TIME}{_END}",  # Composer's batches: ep1-ba500
    "epoch": rf"{_OF_RUN}(?:epoch|ep){_GAP}{_TIME}{_END}|{_ALONE}{_TIME}[-_ ]?epochs{_END}",
    # A plain count of saves: a step where the name tells no better.
    "save": rf"{_WORD}(?:checkpoint|ckpt){_GAP}{_NO_DATE}[0-9]+[kKmM]?{_END}",
    "alias": rf"{_ALONE}(?:last|latest|best|final){_END}",
    "temporary": rf"{_ALONE}tmp{_END}",
}
_TOKEN = re.compile("|".join(f"(?P<{role}>{p})" for role, p in ROLES.items()), re.IGNORECASE)
_ALL_ROLES = tuple(ROLES)
_TIME_ROLES = ("step", "epoch", "save")
_OCCASIONS = ("date", "version")
_BARE_NUMBER = re.compile(r"[0-9]+")
_BARE_STEP = re.compile(rf"{_NO_DATE}[0-9]{{1,18}}")

# What a number alone means in the names that the writers of a format give their checkpoints.
_NUMBERING = {
    "orbax": re.compile(r"(?P<step>[0-9]+)"),
    **dict.fromkeys(
        ("keras", "hdf5"),
        re.compile(r"(?:model|weights|cp)[-._](?P<epoch>[0-9]{2,})(?:-[0-9]+\.[0-9]+)?"),
    ),
}

# Names that say what a folder or file holds, not which recipe or run it belongs to.
_NEUTRAL = re.compile(
    r"models?|net(?:work)?|checkpoints?|ckpts?|weights|params|states?|state_dict|pytorch_model"
    r"|save[sd]?|snapshots?|runs?|results|outputs?|experiments|multirun|lightning_logs"
    r"|logs?|metrics|history|training|trainer_state",
    re.IGNORECASE,
)
_SEPARATORS = "-_=., "

# What training saves next to the weights, once step and seed are cut from the file's name;
# "evaluations" are Stable-Baselines3's returns.
_COMPANION = re.compile(
    r"(?:(?:lr[-_]?)?scheduler|optimizer|(?:distrib[-_])?optim|opt[-_]state|rng|random|scaler"
    r"|training[-_]args|trainer[-_]state|.*optim[-_]states|evaluations|(?:rl_model_)?replay_buffer"
    r"|(?:rl_model_)?vecnormalize)(?:[-_. ](?:states?|dict|rank|[0-9]+))*",
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
    what. ``is_part``: it may be one of several files of a checkpoint, and ``is_slice``: it is one
    even where no other is there. ``unit_is_told``: the name says whether its number is a step or an
    epoch; a plain count passes for a step. ``problem``: why the path is not understood; empty where
    it is.
    """

    group: str
    run: str
    seed: int | None
    step: int | None = None
    epoch: int | None = None
    alias: bool = False
    decoration: tuple[str, ...] = ()
    occasions: tuple[str, ...] = ()
    is_part: bool = False
    is_slice: bool = False
    unit_is_told: bool = True
    problem: str = ""


_SAYS_STEP = re.compile(r"(?:step|iter|update|batch)[a-z]*[-_=. ]?\{step\}", re.IGNORECASE)
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
    def is_time(self) -> bool:
        """Whether the name is nothing but a time."""
        return self.tells_time and not self.has("seed") and not _without(self.text, _ALL_ROLES)

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
    # Where a token was cut out, the separators around it become one: the first of them.
    rest = re.sub(
        r"[-_=., \0]*\0[-_=., \0]*",
        lambda m: m.group().replace("\0", "")[:1],
        cut,
    ).strip(_SEPARATORS)
    return "" if _NEUTRAL.fullmatch(rest) else rest


def is_neutral(text: str) -> bool:
    """Tell whether a name says only what a folder holds (``checkpoints``), or nothing at all."""
    return not _without(text, ())


def is_companion(stem: str) -> bool:
    """Tell whether a file is a state of the training, or a log of it, rather than a checkpoint."""
    return _COMPANION.fullmatch(_without(stem, ("seed", *_TIME_ROLES))) is not None


def read_path(
    parts: Sequence[str], root: str, format_name: str = "", *, keep_occasions: bool = False
) -> Reading:
    """Understand a checkpoint's path from its names alone.

    Parameters
    ----------
    parts : sequence of str
        Folders from the root down, then the file's stem (without suffix).
    root : str
        Name of the root folder: it names the group, and the run, where nothing below it does.
    format_name : str
        Format of the checkpoint, as in `CheckpointFile`: some number their checkpoints in a way of
        their own.
    keep_occasions : bool
        Let dates and versions name runs and groups. To be used where a reading without them makes
        two folders the same run.

    Returns
    -------
    Reading
        With ``problem`` set where the path is not certain. Group and run are always filled.
    """
    names = [parse(part) for part in _spelled_out(parts, format_name)]
    times = _time_positions(names)
    first = times[0] if times else max(len(names) - 1, 0)
    identity = _identify(names, first, keep_occasions)
    if not identity.run:
        of_root = _identify([parse(root)], 1, False)
        identity = identity if of_root.problem else of_root
    reading = identity._replace(
        group=printable(identity.group or root), run=printable(identity.run or root)
    )
    if reading.problem:
        return reading
    if not times:
        return reading._replace(problem=_why_no_time(names))
    return _with_time(reading, names, times)


def _spelled_out(parts: Sequence[str], format_name: str) -> list[str]:
    """Say what a number alone is, where the format's own numbering tells: ``100`` is ``step_100``.

    It is looked for in the last name, and in the folder of an item (``100/default``).
    """
    spelled = list(parts)
    for at in range(len(parts) - 1, max(len(parts) - 3, -1), -1):
        match = _NUMBERING[format_name].fullmatch(parts[at]) if format_name in _NUMBERING else None
        if match:
            spelled[at] = f"{match.lastgroup}_{match[1]}"
            break
    return spelled


def _time_positions(names: Sequence[Name]) -> range:
    """Return the positions, one after the other, of the names that tell the time together."""
    timed = [i for i, name in enumerate(names) if name.tells_time]
    seeded = [i for i, name in enumerate(names) if name.has("seed")]
    # Below a seed's folder, and only there, a bare number can be nothing but the step.
    below_seed = seeded and max([*seeded, *timed]) == seeded[-1] < len(names) - 1
    if below_seed and _BARE_STEP.fullmatch(names[-1].text):
        return range(len(names) - 1, len(names))
    if not timed:
        return range(0)
    first = last = timed[-1]
    while first > 0 and names[first - 1].is_time:
        first -= 1
    return range(first, last + 1)


def _identify(names: Sequence[Name], at: int, keep_occasions: bool) -> Reading:
    """Read group, run and seed from the names above position ``at`` and those with a seed."""
    seeds = [token for name in names for token in name.tokens if token.role == "seed"]
    first_seed = next((i for i, name in enumerate(names) if name.has("seed")), len(names))
    parts: list[str] = []
    occasions: list[str] = []
    for i, name in enumerate(names):
        if (i >= at and not name.has("seed")) or name.is_alias:
            continue
        text = _without(name.text, ("part",))
        if text and not _without(text, _OCCASIONS):
            occasions.append(text)
            # A seed that was started twice may be one run resumed, or two: never certain.
            text = text if keep_occasions and i < first_seed else ""
        elif name.has("seed"):
            if i < at:
                occasions += [token.text for token in name.tokens if token.role == "date"]
            text = _without(name.text, ("seed", "date", "part") if i < at else _ALL_ROLES)
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


def _with_time(reading: Reading, names: Sequence[Name], times: range) -> Reading:
    """Add what the names at the positions ``times`` say about the time, and those below them."""
    timed, below = [names[i] for i in times], names[times[-1] + 1 :]
    steps, epochs, saves = (
        frozenset().union(*(name.numbers.get(role, ()) for name in timed))
        for role in ("step", "epoch", "save")
    )
    if len(steps) > 1 or len(epochs) > 1:
        return reading._replace(problem="two different steps in its path")
    unit_is_told = bool(steps or epochs)
    if not unit_is_told:
        steps = saves or frozenset([int(timed[-1].text)])
        if len(steps) > 1 or any(
            _BARE_NUMBER.fullmatch(_without(name.text, _ALL_ROLES)) for name in timed if saves
        ):
            return reading._replace(problem="two numbers, either of which may be the step")
    if any(name.has("temporary") for name in (*timed, *below)):
        return reading._replace(problem=TEMPORARY)
    if any(name.is_alias for name in below):
        return reading._replace(problem=ONLY_ALIAS)
    rests = (_without(name.text, _ALL_ROLES) for name in (*timed, *below) if not name.has("seed"))
    return reading._replace(
        step=next(iter(steps), None),
        epoch=next(iter(epochs), None),
        alias=any(name.has("alias") for name in timed)
        or any(name.is_alias for name in names[: times[0]]),
        decoration=tuple(rest for rest in rests if rest and not _BARE_NUMBER.fullmatch(rest)),
        is_part=any(name.has("part") or name.has("slice") for name in names)
        or any(name.has("rank") for name in (*timed, *below)),
        is_slice=any(name.has("slice") for name in names),
        unit_is_told=unit_is_told,
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
        # {step} is the only name for a plain number, so its word must say what is counted.
        self._unit_is_told = "{epoch}" in pattern or _SAYS_STEP.search(pattern) is not None

    @staticmethod
    def _translate(pattern: str) -> str:
        try:
            pieces = list(string.Formatter().parse(pattern))
        except ValueError as error:
            raise UsageError(Remedy("layout", pattern), f" cannot be read: {error}.") from None
        regex = ""
        seen: set[str] = set()
        for literal, field, spec, conversion in pieces:
            regex += "[^/]*".join(re.escape(text) for text in re.split(r"\*+", literal))
            if field is None:
                continue
            if field not in _FIELDS or spec or conversion:
                allowed = ", ".join(f"{{{name}}}" for name in _FIELDS)
                raise UsageError(
                    Remedy("layout", pattern),
                    f": {{{field}}} is not a placeholder. "
                    f"Placeholders are {allowed}; * stands for anything within a name.",
                )
            regex += f"(?P={field})" if field in seen else f"(?P<{field}>{_FIELDS[field]})"
            seen.add(field)
        if not seen & {"step", "epoch"}:
            raise UsageError(
                Remedy("layout", pattern),
                " does not say where the step is: add {step} or {epoch}.",
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
        return Reading(
            printable(found.get("group") or root),
            printable(run),
            seed,
            step,
            epoch,
            unit_is_told=self._unit_is_told,
        )
