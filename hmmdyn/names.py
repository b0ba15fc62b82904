"""Names that come from files and folders: order them, show them, read what they say.

The one place that knows what a loss or an accuracy may be called, and which way is better.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable
from difflib import get_close_matches

from hmmdyn.errors import UsageError

# A column is an outcome when a word of its name says so, and no word says otherwise.
_LOWER_IS_BETTER = re.compile(
    r".*loss|.*perplexity|.*error|ppl|err|nll|xent|crossentropy|r?mse|mae|bpb|bpc|wer|cer"
)
_HIGHER_IS_BETTER = re.compile(
    r".*accuracy|(?:train|val|valid|test|eval)?acc(?:@?[0-9]+)?|top@?[0-9]+|f1|scores?|rewards?"
    r"|returns?|auc|auroc|bleu|rouge.*|m?iou|dice|r2|precision|recall|correct"
)
_PLAIN_LOSS = re.compile(
    r"(?:lm|ce|total|mean|avg|average|cross|entropy|crossentropy|epoch|batch|step)"
    r"|loss|perplexity|ppl|nll|xent|error|err|r?mse|mae|bpb|bpc|wer|cer"
)
_NOT_AN_OUTCOME = re.compile(r"scale|scaler|scaling|seconds?|time|runtime|lr|norm|coef")
# Columns that may count training, normalised, the first that is there going before; and in what.
STEP_COLUMNS = {
    **dict.fromkeys(("step", "global_step", "iteration", "iter"), "step"),
    **dict.fromkeys(("env_step", "env_steps", "environment_steps", "timesteps"), "step"),
    **dict.fromkeys(("sample", "samples"), "sample"),
    **dict.fromkeys(("token", "tokens"), "token"),
    "epoch": "epoch",
}
STEP_UNITS = tuple(dict.fromkeys(STEP_COLUMNS.values()))
_TRAINING = re.compile(r"train(?:ing)?|train(?:loss|acc|accuracy|error)")
_HELD_OUT = re.compile(
    r"(?:eval(?:uation)?|test(?:ing)?|val(?:id|idation)?|dev|holdout)(?:loss|acc|accuracy|error)?"
)


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


def is_outcome(name: str) -> bool:
    """Whether a column of this name is an outcome (loss, accuracy, …) rather than a metric."""
    words = _words(name)
    says_so = _any(_LOWER_IS_BETTER, words) or _any(_HIGHER_IS_BETTER, words)
    return says_so and not _any(_NOT_AN_OUTCOME, words)


def is_accuracy(name: str) -> bool:
    """Whether an outcome is an accuracy."""
    return any(word == "acc" or word.endswith("accuracy") for word in _words(name))


def better_side(name: str) -> str:
    """``below`` where lower is better (loss, error), ``above`` for everything else."""
    return "below" if _any(_LOWER_IS_BETTER, _words(name)) else "above"


def data_split(name: str) -> str:
    """``eval`` for an outcome on held-out data, ``train``, or empty where the name is silent."""
    words = _words(name)
    if _any(_HELD_OUT, words):
        return "eval"
    return "train" if _any(_TRAINING, words) else ""


def is_plain_loss(name: str) -> bool:
    """Whether an outcome is what training lowers, by name: a loss, and of what data at most.

    Others may be meant to rise, as progress measures are, or to go either way, as a policy's loss.
    """
    words = _words(name)
    told = [w for w in words if not (_TRAINING.fullmatch(w) or _HELD_OUT.fullmatch(w))]
    return all(_PLAIN_LOSS.fullmatch(word) for word in told) and better_side(name) == "below"


def _words(name: str) -> list[str]:
    """Words between separators or before a capital: ``evalLoss/top-1`` -> eval loss top 1."""
    spaced = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", name).lower()
    joined = spaced.replace("cross_entropy", "crossentropy")
    return [word for word in re.split(r"[^a-z0-9@]+", joined) if word]


def _any(pattern: re.Pattern[str], words: Iterable[str]) -> bool:
    return any(map(pattern.fullmatch, words))


def _is_harmless(character: str) -> bool:
    category = unicodedata.category(character)
    return category == "Zs" or category[0] not in "CZ"
