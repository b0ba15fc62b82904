"""What the columns of a log are: one reader, for tables and for logs beside checkpoints."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import pandas as pd

from hmmdyn import roles
from hmmdyn.logs.numbers import as_numbers
from hmmdyn.names import normalise_column, require_known
from hmmdyn.roles import data_split, is_outcome, is_split, names_split

_NAMES = ("metric", "key", "tag", "metric_name", "variable", "series", "metric_key")
_VALUES = ("value", "metric_value")
_MOST_SPLITS = 8
# A name of a seed, with or without a quantity: seed0, loss_seed0, seed0/loss.
SEED_NAME = re.compile(
    r"(?:(?P<before>.+?)[-_ /.])?(?i:seed)[-_ =]?(?P<seed>[0-9]+)(?:[-_ /.]+(?P<after>.+))?"
)
ROW_NUMBER = "It numbers the rows."
ANOTHER = "It counts steps or names runs; another column does that already."


@dataclass(frozen=True)
class Columns:
    """A log whose columns are understood.

    Attributes
    ----------
    frame : DataFrame
        One column per quantity: panels of runs, ``metric``/``value`` rows, and rows of different
        parts of the data (train, val) have been put side by side.
    steps, epochs, amounts : tuple of str
        Columns that tell when a row was logged, the best first.
    run, seed, group : str or None
        Columns that tell whose a row is.
    values : tuple of str
        All other columns.
    passed_over : mapping of str to str
        Columns that tell nothing more -> why.
    """

    frame: pd.DataFrame
    steps: tuple[str, ...]
    epochs: tuple[str, ...]
    amounts: tuple[str, ...]
    run: str | None
    seed: str | None
    group: str | None
    values: tuple[str, ...]
    passed_over: Mapping[str, str] = field(default_factory=dict)

    @property
    def identity(self) -> dict[str, str]:
        """Role -> column, of those that tell whose a row is."""
        found = {"group": self.group, "run": self.run, "seed": self.seed}
        return {role: column for role, column in found.items() if column is not None}

    def counted_by(self, name: str) -> Columns:
        """Let one column alone tell when a row was logged, whatever it is called.

        Raises
        ------
        UsageError
            There is no such column.
        """
        require_known([name], map(str, self.frame.columns), "column")
        others = {t for t in (*self.steps, *self.epochs, *self.amounts[:1]) if t != name}
        is_epoch = roles.epoch_rank(name) is not None
        is_amount = roles.amount_rank(name) is not None and not is_epoch
        return replace(
            self,
            steps=() if is_epoch or is_amount else (name,),
            epochs=(name,) if is_epoch else (),
            amounts=(name,) if is_amount else (),
            values=tuple(value for value in self.values if value != name),
            passed_over={**self.passed_over, **dict.fromkeys(others, ANOTHER)},
        )

    def other_times(self, used: str) -> dict[str, str]:
        """Return why columns are passed over where ``used`` alone says when a row was logged."""
        times = (*self.steps, *self.epochs, *self.amounts[:1])
        return {**dict.fromkeys((t for t in times if t != used), ANOTHER), **self.passed_over}


def understand(frame: pd.DataFrame) -> Columns:
    """Find the role of every column; names are unique."""
    for reshape in (_from_monitor, _from_panel, _from_seeds, _from_long, _with_constants):
        frame = reshape(frame)
    frame = _with_spelled_splits(frame)
    split = next((c for c in frame.columns if _tells_split(frame[c], str(c))), None)
    if split is not None:
        frame = _side_by_side(frame, split)
    names = list(frame.columns)
    passed_over: dict[str, str] = {}
    for at, name in enumerate(names):
        if roles.is_index(name) and (at == 0 or name.lower().startswith("unnamed:")):
            passed_over[name] = ROW_NUMBER
    names = [name for name in names if name not in passed_over]
    known = frame.notna().mean()
    steps = _ranked(names, roles.step_rank, known)
    epochs = _ranked(names, roles.epoch_rank, known)
    amounts = _ranked(names, roles.amount_rank, known) if not steps and not epochs else ()
    run = _first(_ranked(names, roles.run_rank, known))
    seed = _first(name for name in names if roles.is_seed(name))
    group = _first(name for name in names if roles.is_group(name))
    taken = {*steps, *epochs, *amounts[:1], run, seed, group}
    for name in names:
        if name in taken:
            continue
        if _tells_whose(name):
            passed_over[name] = ANOTHER
    values = tuple(n for n in names if n not in taken and n not in passed_over)
    return Columns(frame, steps, epochs, amounts, run, seed, group, values, passed_over)


def _tells_whose(name: str) -> bool:
    """Whether a column of this name says which run a row is of."""
    return roles.run_rank(name) is not None or roles.is_seed(name) or roles.is_group(name)


def _tells_row(name: str) -> bool:
    """Whether a column of this name says which run a row is of, or when it was logged."""
    return roles.tells_time(name) or _tells_whose(name)


def _ranked(names: Iterable[str], rank: object, known: pd.Series) -> tuple[str, ...]:
    """Names that have a rank, the best first; those mostly empty last."""
    assert callable(rank)
    found = [(known[name] <= known.max() / 2, rank(name), name) for name in names]
    return tuple(name for _, r, name in sorted(f for f in found if f[1] is not None))


def _first(names: Iterable[str]) -> str | None:
    return next(iter(names), None)


def _from_monitor(frame: pd.DataFrame) -> pd.DataFrame:
    """Stable-Baselines3's and Gym's monitor: a row per episode, its reward, length and time."""
    if list(frame.columns[:3]) != ["r", "l", "t"]:
        return frame
    steps = pd.to_numeric(frame["l"], errors="coerce").cumsum()
    renamed = frame.drop(columns=["l", "t"]).rename(columns={"r": "episode_reward"})
    renamed.insert(0, "step", steps)
    return renamed


def _from_panel(frame: pd.DataFrame) -> pd.DataFrame:
    """Columns ``RUN - METRIC``, as Weights & Biases exports a panel, to rows of runs."""
    told = {c: c.rsplit(" - ", 1) for c in frame.columns if " - " in c}
    others = [c for c in frame.columns if c not in told]
    times = [c for c in others if roles.tells_time(c)]
    rest = [c for c in others if c not in times and not roles.is_clock(c)]
    if not told or not times or any(not roles.is_index(c) for c in rest):
        return frame
    of_run: dict[str, dict[str, str]] = {}
    for column, (run, metric) in told.items():
        if not metric.endswith(("__MIN", "__MAX")) and not roles.tells_time(metric):
            of_run.setdefault(run.strip(), {})[metric.strip()] = column
    pieces = []
    for run, columns in of_run.items():
        piece = frame[[*times, *columns.values()]].set_axis([*times, *columns], axis=1)
        piece = piece.dropna(subset=list(columns), how="all")
        pieces.append(piece.assign(run=run))
    return pd.concat(pieces, ignore_index=True) if pieces else frame


def _from_seeds(frame: pd.DataFrame) -> pd.DataFrame:
    """A column per seed (``seed0``, ``loss_seed0``, ``seed0/loss``), to rows of seeds."""
    times = [c for c in frame.columns if roles.tells_time(c)]
    rest = [c for c in frame.columns if c not in times and not roles.is_index(c)]
    told = {c: SEED_NAME.fullmatch(c) for c in rest}
    if not times or len(rest) < 2 or not all(told.values()):
        return frame
    of_seed: dict[str, dict[str, str]] = {}
    for column, match in told.items():
        assert match is not None
        name = "/".join(part for part in (match["before"], match["after"]) if part) or "value"
        of_seed.setdefault(match["seed"], {})[name] = column
    pieces = []
    for seed, columns in of_seed.items():
        piece = frame[[*times, *columns.values()]].set_axis([*times, *columns], axis=1)
        pieces.append(piece.dropna(subset=list(columns), how="all").assign(seed=seed))
    return pd.concat(pieces, ignore_index=True)


def _from_long(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows of one value with its name, as MLflow's and other exports have them, to columns."""
    names = [c for c in frame.columns if normalise_column(c) in _NAMES and _is_text(frame[c])]
    values = [c for c in frame.columns if normalise_column(c) in _VALUES]
    if len(names) != 1 or len(values) != 1:
        return frame
    (name,), (value,) = names, values
    keys = [
        c
        for c in frame.columns
        if c not in (name, value) and (_tells_row(c) or names_split(c) or roles.is_recipe(c))
    ]
    if not keys:
        return frame
    long = frame[[*keys, name, value]].dropna(subset=[name])
    again = long.groupby([*keys, name], dropna=False).cumcount()
    # One that is logged again has a further row, below all first ones.
    wide = (
        long.assign(**{"\0again": again})
        .groupby(["\0again", *keys, name], dropna=False)[value]
        .last()
        .unstack(name)
        .rename_axis(columns=None)
        .reset_index(keys)
        .reset_index(drop=True)
    )
    return wide.rename(columns=str)


def _with_constants(frame: pd.DataFrame) -> pd.DataFrame:
    """A run, seed or group told once, in a row of settings without a step, is that of all rows."""
    times = [c for c in frame.columns if roles.tells_time(c)]
    if not times:
        return frame
    settings = frame[times].isna().all(axis=1)
    if not settings.any() or settings.all():
        return frame
    frame = frame.copy()
    for name in frame.columns:
        told = frame.loc[settings, name].dropna()
        if frame.loc[~settings, name].notna().any() or told.empty:
            continue
        if _tells_whose(name) and told.nunique() == 1:
            frame[name] = told.iloc[0]
        else:
            frame = frame.drop(columns=name)
    return frame


def _with_spelled_splits(frame: pd.DataFrame) -> pd.DataFrame:
    """Spell out a column that says of each row whether it is about training data."""
    for name in frame.columns:
        match = _IS_SPLIT.fullmatch(normalise_column(name))
        values = as_numbers(frame[name]).values if match else pd.Series()
        if match and set(values.dropna()) == {0.0, 1.0}:
            other = "eval" if match["split"].startswith("train") else "train"
            words = values.map({1.0: match["split"], 0.0: other}).astype("string")
            return frame.assign(**{name: words})
    return frame


_IS_SPLIT = re.compile(r"is_(?P<split>train(?:ing)?|val(?:id|idation)?|test|eval(?:uation)?)")


def _tells_split(column: pd.Series, name: str) -> bool:
    if not _is_text(column) or roles.run_rank(name) is not None or roles.is_group(name):
        return False
    words = column.dropna().astype(str).str.strip().unique()
    if not 0 < len(words) <= _MOST_SPLITS:
        return False
    some_split = any(map(is_split, words)) or all(map(data_split, words))
    return all(map(is_split, words)) or (names_split(name) and some_split)


def _side_by_side(frame: pd.DataFrame, split: str) -> pd.DataFrame:
    """Give the values of each part of the data (train, val) columns of their own."""
    of_row = frame[split].astype("string").str.strip().str.lower()
    parts = list(of_row.dropna().unique())
    columns: dict[str, pd.Series] = {}
    roles_of_rows = [c for c in frame.columns if _tells_row(c)]
    for name in frame.columns:
        column = frame[name]
        if name == split:
            continue
        is_role = name in roles_of_rows or roles.is_index(name)
        where = [part for part in parts if column[of_row == part].notna().any()]
        several = len(where) > 1 and not _agree(column, frame[roles_of_rows])
        if is_role or data_split(name) or not (is_outcome(name) or several):
            columns[name] = column
            continue
        for part in where:
            columns[f"{part}/{name}"] = column.where(of_row == part)
    return pd.DataFrame(columns)


def _agree(column: pd.Series, keys: pd.DataFrame) -> bool:
    """Whether rows of the same run and time have the same value wherever they have one."""
    by = [keys[name] for name in keys]
    return bool(by) and not column.groupby(by, dropna=False).nunique().gt(1).any()


def split_of_path(names: Iterable[str]) -> str:
    """Return the part of the data that the names of a log's folders and file tell, or nothing.

    ``train/loss``, ``eval_results`` and ``val-metrics`` tell one; ``test_run`` does not.
    """
    for name in reversed(list(names)):
        words = [w for w in re.split(r"[^a-z0-9]+", name.lower()) if w]
        said = [w for w in words if is_split(w) and w != "training"]
        others = [w for w in words if w not in said and not _OF_LOGS.fullmatch(w)]
        if len(said) == 1 and not others:
            return said[0]
    return ""


_OF_LOGS = re.compile(
    r"logs?|metrics?|results?|history|stats|data|loss(?:es)?|acc(?:uracy)?|curves?|scalars|summary"
    r"|progress|output|set|events|measurements|monitor|step|epoch|[0-9]+|csv|jsonl?|table|outcomes?"
)


def seed_numbers(column: pd.Series) -> pd.Series:
    """Return seeds as digits without leading zeros, missing where a text is no seed.

    A seed is a name, of any length: ``seed_03``, ``03`` and ``3.0`` are 3.
    """
    text = column.astype("string").str.strip()
    return text.str.extract(_SEED, expand=False).str.replace(r"^0+(?=[0-9])", "", regex=True)


_SEED = re.compile(r"^(?:(?i:seed)[-_= ]?)?([0-9]+)(?:\.0+)?$")


def _is_text(column: pd.Series) -> bool:
    return bool(
        pd.api.types.is_string_dtype(column)
        or pd.api.types.is_object_dtype(column)
        or isinstance(column.dtype, pd.CategoricalDtype)
    )
