"""The table of metrics and outcomes as a file or DataFrame: read, validate, write.

This is where metrics extracted from checkpoints and a table of one's own meet: from here on the
two are the same thing.
"""

from __future__ import annotations

import json
import re
import reprlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from hmmdyn.errors import LogError, TableError
from hmmdyn.files import replacing
from hmmdyn.logs import read_log
from hmmdyn.logs.columnar import METADATA_KEY, flattened
from hmmdyn.logs.columns import Columns, seed_numbers, understand
from hmmdyn.logs.content import read_content
from hmmdyn.logs.numbers import as_numbers
from hmmdyn.logs.recipes import RECIPE, with_recipe
from hmmdyn.logs.steps import Axis, last_written, on_one_axis, whole
from hmmdyn.messages import Message, Remedy
from hmmdyn.names import natural_key, printable, require_known, some
from hmmdyn.places import Place
from hmmdyn.results.keys import CHECKPOINT_KEY, RUN_KEY
from hmmdyn.results.notice import Notice
from hmmdyn.results.parts import PARTS
from hmmdyn.roles import STEP_UNITS, is_clock, is_outcome
from hmmdyn.tables.sort_columns import sort_columns, without_time
from hmmdyn.tables.trajectories import KEY_COLUMNS, Trajectories
from hmmdyn.version import __version__

P = TypeVar("P", bound=Place)
PROVENANCE_COLUMNS = ["path", "size", "mtime_ns"]
TABLE_FORMATS = (
    "CSV and its relatives (.csv, .tsv, .txt; packed, too), JSON lines and records (.jsonl, "
    ".json), Parquet and Feather (.parquet)"
)

_LIKE_A_STEP = re.compile("step|iter|epoch|update|batch|token|sample", re.IGNORECASE)


def read_table(
    path: Place,
    *,
    outcomes: Sequence[str] = (),
    metrics: Sequence[str] = (),
    step_column: str | None = None,
) -> Trajectories:
    """Read a metric table: hmmdyn's own or anybody's, in any form that logs have.

    A table needs a step (or epoch) column and, unless it holds a single run, a run or seed column;
    a group is optional. Other numeric columns are metrics, or outcomes where their names say so
    (loss, accuracy, …) or ``outcomes`` names them. What counts time or work, and what is the same
    in all runs, is left out by name, unless ``metrics`` names it.

    Parameters
    ----------
    path : Place
        The file, here or in a store; of one in a store, all of it is read.
    outcomes, metrics, step_column
        As in :func:`from_frame`.

    Raises
    ------
    TableError
        The file cannot be read, a needed column is missing, or its values are of the wrong kind.
    """
    shown = printable(str(path))
    try:
        log = read_log(path)
    except LogError as error:
        if _is_missing(path):
            raise TableError(f"There is no file {shown}.") from None
        raise TableError(
            f"{shown} cannot be read as a table: {error}. Tables are {TABLE_FORMATS}."
        ) from None
    if log.damaged:
        lines = some((f"line {number:,}" for number in log.damaged), 3)
        raise TableError(
            f"{shown} cannot be read as a table: not a JSON object ({lines}). "
            "Mend or remove what is damaged."
        )
    notices = tuple(
        Notice("metrics", "left out", shown, f"{reason}: {number:,}.")
        for reason, number in log.left_out.items()
    )
    own = None if log.own is None else own_columns(log.own, shown)
    if own is None:
        found = from_frame(
            log.frame, outcomes=outcomes, metrics=metrics, step_column=step_column, source=shown
        )
        return replace(found, notices=(*notices, *found.notices))
    frame = log.frame
    missing = sorted({*KEY_COLUMNS, *own["metrics"], *own["outcomes"]} - set(frame.columns))
    if missing:
        raise TableError(f"{shown} lacks columns that its own metadata name: {some(missing)}.")
    provenance = [
        c for c in PROVENANCE_COLUMNS if c in frame and c not in own["metrics"] + own["outcomes"]
    ]
    trajectories = from_frame(
        frame[[*KEY_COLUMNS, *own["metrics"], *own["outcomes"]]],
        outcomes=[*own["outcomes"], *outcomes],
        metrics=own["metrics"],
        source=shown,
    )
    table = trajectories.table.merge(
        frame[[*CHECKPOINT_KEY, *provenance]], on=CHECKPOINT_KEY, how="left"
    )
    return replace(
        trajectories,
        table=table,
        step_unit=own["step_unit"],
        notices=(*_about_shard(own, shown), *trajectories.notices),
        parts=read_parts(path, shown),
    )


def _is_missing(path: Place) -> bool:
    try:
        return not path.exists()
    except OSError:  # a store that does not answer
        return False


def from_frame(
    frame: pd.DataFrame,
    *,
    outcomes: Sequence[str] = (),
    metrics: Sequence[str] = (),
    step_column: str | None = None,
    source: str = "the table",
) -> Trajectories:
    """Make trajectories of a DataFrame; columns as in :func:`read_table`.

    Parameters
    ----------
    frame : DataFrame
        Rows of checkpoints, in the order they were written.
    outcomes, metrics : sequence of str
        Columns that are these whatever their names and values say.
    step_column : str, optional
        The column that counts training, where its name does not say so.
    source : str
        What messages call it.

    Raises
    ------
    TableError
        A needed column is missing or holds values of the wrong kind, two columns have one name,
        or rows claim the same (group, run, step) and contradict each other.
    """
    if frame.empty:
        raise TableError(f"{source} has no rows.")
    frame = flattened(frame)
    _require_unique_columns(list(frame.columns), source)
    columns = understand(frame)
    if step_column is not None:
        columns = columns.counted_by(step_column)
    columns = with_recipe(columns)
    _require_time(columns, source)
    require_known(outcomes, columns.values, "column")
    numbers, left_out, read_as = _numeric_columns(columns, outcomes)
    keys, columns = _identity(columns, source)
    runs = pd.Series(pd.MultiIndex.from_frame(keys[RUN_KEY]).factorize()[0], index=keys.index)
    try:
        axis = on_one_axis(columns, runs)
    except LogError as error:
        raise TableError(f"{source} cannot be used: {error}.") from None
    known = _rows_with_a_step(columns.frame[axis.column], axis, numbers, source)
    keys, numbers = keys[known], numbers[known]
    keys["step"] = axis.at[known].astype("int64")
    _require_one_run(columns, keys, numbers, axis, source)
    kept = sort_columns(numbers, outcomes, metrics)
    table, repeated = _merged(keys, numbers[[*kept.metrics, *kept.outcomes]], axis, source)
    kept = without_time(kept, table, metrics)
    if not kept.metrics and not kept.outcomes:
        raise TableError(
            f"{source} has neither metrics nor outcomes: beside {', '.join(KEY_COLUMNS)} it needs "
            f"at least one numeric column. It has: {some(frame.columns, 12)}. ",
            *_about_left_out(kept.left_out),
        )
    table = in_order(table[[*KEY_COLUMNS, *kept.metrics, *kept.outcomes]])
    notices = [
        Notice("metrics", "odd" if why == RECIPE else "left out", _column(name), why)
        for name, why in {**columns.other_times(axis.column), **left_out, **kept.left_out}.items()
    ]
    notices += [
        Notice("metrics", "odd", _column(name), f"Read {how}.")
        for name, how in read_as.items()
        if name in (*kept.metrics, *kept.outcomes)
    ]
    notices += _about_rows(axis, repeated, n_without=int((~known).sum()))
    return Trajectories(table, kept.metrics, kept.outcomes, axis.unit, tuple(notices))


def write_table(
    trajectories: Trajectories, path: Path, shard: Mapping[str, Any] | None = None
) -> None:
    """Write the table as Parquet, atomically; the file's metadata tell metrics from outcomes.

    The metrics of parts of the networks, where there are any, are a file beside it, `parts_beside`.

    Parameters
    ----------
    trajectories : Trajectories
        What to write; its notices are not kept.
    path : Path
        The file, which is replaced.
    shard : mapping, optional
        What is to be known of a shard, as JSON holds it.

    Raises
    ------
    OutputError
        The folder cannot be written.
    """
    meta: dict[str, Any] = {
        "metrics": list(trajectories.metrics),
        "outcomes": list(trajectories.outcomes),
        "step_unit": trajectories.step_unit,
        "hmmdyn_version": __version__,
    }
    if shard is not None:
        meta["shard"] = shard
    table = pa.Table.from_pandas(trajectories.table, preserve_index=False)
    table = table.replace_schema_metadata(
        {**(table.schema.metadata or {}), METADATA_KEY: json.dumps(meta).encode()}
    )
    # An open file, because Arrow takes no path that is not valid UTF-8.
    with replacing(path) as temporary, temporary.open("wb") as file:
        pq.write_table(table, file)
    beside = parts_beside(path)
    if trajectories.parts.empty:
        beside.unlink(missing_ok=True)  # of an earlier table in this place
        return
    with replacing(beside) as temporary, temporary.open("wb") as file:
        pq.write_table(pa.Table.from_pandas(trajectories.parts, preserve_index=False), file)


def parts_beside(path: P) -> P:
    """Return where the metrics of parts of the networks are, beside a metric table."""
    return path.parent / f"{path.stem}-parts.parquet"


def in_order(table: pd.DataFrame) -> pd.DataFrame:
    """Return rows by group and run in natural order, then by step: as checkpoints are indexed."""
    run_of_row = table.groupby(RUN_KEY, sort=False).ngroup().to_numpy()
    runs = table[RUN_KEY].drop_duplicates()
    keys = [
        [key for name in names for key in (natural_key(name), name)]
        for names in runs.itertuples(index=False)
    ]
    order = np.argsort(sorted(range(len(keys)), key=keys.__getitem__))[run_of_row]
    return table.iloc[np.lexsort((table["step"].to_numpy(), order))].reset_index(drop=True)


def read_parts(path: Place, shown: str) -> pd.DataFrame:
    """Read the metrics of parts beside a table, which is called so, if there are any.

    Raises
    ------
    TableError
        The file cannot be read.
    """
    beside = parts_beside(path)
    try:
        if not beside.is_file():
            return PARTS.frame()
        file = beside if isinstance(beside, Path) else pa.BufferReader(read_content(beside))
        parts: pd.DataFrame = pq.read_table(file).to_pandas(ignore_metadata=True)
        PARTS.check(parts)
    except (OSError, LogError, ValueError, pa.ArrowException) as error:
        raise TableError(
            f"{printable(str(beside))}, which belongs to {shown}, cannot be read: "
            f"{printable(str(error).splitlines()[0])}. Measure again, or delete it."
        ) from None
    return parts


def own_columns(written: bytes, shown: str) -> dict[str, Any]:
    """Return what hmmdyn wrote about the columns of a table of its own, which is called so.

    Raises
    ------
    TableError
        It is damaged.
    """
    try:
        own: dict[str, Any] = json.loads(written)
    except (ValueError, RecursionError):
        own = {}
    well_formed = (
        isinstance(own, dict)
        and own.get("step_unit") in STEP_UNITS
        and all(
            isinstance(own.get(kind), list) and all(isinstance(name, str) for name in own[kind])
            for kind in ("metrics", "outcomes")
        )
    )
    if not well_formed:
        raise TableError(f"{shown} says it is a table of hmmdyn's, but its metadata are damaged.")
    return own


def _about_shard(own: Mapping[str, Any], shown: str) -> list[Notice]:
    if "shard" not in own:
        return []
    text = (
        "It is a shard and holds a share of the checkpoints alone. `hmmdyn merge` puts all shards "
        "together."
    )
    return [Notice("metrics", "limit", shown, text)]


def _require_unique_columns(columns: Sequence[str], source: str) -> None:
    twice = sorted(name for name, n in Counter(columns).items() if n > 1)
    if twice:
        raise TableError(f"{source} has several columns called {some(twice)}. Rename them.")


def _require_time(columns: Columns, source: str) -> None:
    if columns.steps or columns.epochs or columns.amounts:
        return
    names = [str(c) for c in columns.frame.columns]
    likely = [c for c in names if _LIKE_A_STEP.search(c)] or [c for c in names if is_clock(c)]
    hint = ""
    if likely and is_clock(likely[0]):
        hint = f" {likely[0]!r} tells the time, which is no step: number the rows of each run."
    elif likely:
        hint = f" {likely[0]!r} looks like it."
    raise TableError(
        f"{source} has no step column. Name the column of training steps 'step' (or 'epoch'), or "
        "say which it is with ",
        Remedy("step_column", likely[0] if likely and not is_clock(likely[0]) else None),
        f".{hint} Its columns are: {some(names, 12)}.",
    )


def _identity(columns: Columns, source: str) -> tuple[pd.DataFrame, Columns]:
    """Return group, run and seed of every row."""
    frame = columns.frame
    keys = pd.DataFrame(index=frame.index)
    keys["group"] = "all"
    if columns.group is not None:
        group = frame[columns.group]
        if group.isna().any():
            raise TableError(f"{source} has rows without a group; every row needs one, or none.")
        keys["group"] = group.astype(str)
    seeds = pd.Series(None, index=frame.index, dtype=object)
    if columns.seed is not None:
        seeds = _seeds(frame[columns.seed], columns.seed, source)
    if columns.run is not None:
        run = frame[columns.run]
        if run.isna().any():
            raise TableError(f"{source} has rows without a run; every row needs one.")
        run = run.astype(str)
        if columns.group is None and _has_several_seeds(run, seeds):
            keys["group"], run = run, "seed" + seeds.astype(str)  # the name is the recipe's
        keys["run"] = run
    elif columns.seed is not None and seeds.notna().all():
        keys["run"] = "seed" + seeds.astype(str)
    elif seeds.notna().any():
        raise TableError(
            f"{source} does not say which rows belong together: it needs a column 'run' or 'seed' "
            f"in every row. Its columns are: {some(frame.columns, 12)}."
        )
    else:
        keys["run"] = "run"
    keys["seed"] = _as_integers(seeds)
    return keys, columns


def _has_several_seeds(run: pd.Series, seeds: pd.Series) -> bool:
    return bool(seeds.notna().all() and seeds.groupby(run).nunique().gt(1).any())


def _seeds(column: pd.Series, name: str, source: str) -> pd.Series:
    """Return seeds as integers of any size, None where there is none: a seed is a name.

    ``seed_03``, ``03`` and ``3.0`` are 3.
    """
    text = column.astype("string").str.strip()
    text = text.mask(text.str.lower().isin(["", "nan", "none", "null", "<na>"]))
    digits = seed_numbers(text)
    bad = text.notna() & digits.isna()
    if bad.any():
        shown = _few(column[bad])
        large = (
            " (one beyond 2**53 must be kept as text or as an integer)"
            if (text[bad].str.contains("e\\+", regex=True).any())
            else ""
        )
        raise TableError(
            f"{source}: column {name!r} must hold whole numbers{large}, but {int(bad.sum()):,} of "
            f"{len(column):,} rows do not ({shown})."
        )
    return pd.Series(
        [None if pd.isna(d) else int(d) for d in digits], index=column.index, dtype=object
    )


def _few(values: pd.Series) -> str:
    """List the first of some values for a message, long ones cut short."""
    return ", ".join(map(reprlib.repr, values.iloc[:3].tolist()))


def _as_integers(seeds: pd.Series) -> pd.Series:
    """Return seeds as a column of 64-bit integers; those beyond are told by the run's name."""
    return pd.Series(
        [pd.NA if seed is None or abs(seed) >= 2**63 else seed for seed in seeds],
        index=seeds.index,
        dtype="Int64",
    )


def _rows_with_a_step(
    column: pd.Series, axis: Axis, numbers: pd.DataFrame, source: str
) -> pd.Series:
    """Rows that are of a step; one that holds numbers but no whole one as its step is refused."""
    known = whole(axis.at).notna()
    bad = ~known & (numbers.notna().any(axis=1) | column.notna())
    if bad.any():
        shown = _few(column[bad])
        first = int(np.flatnonzero(bad)[0]) + 1
        is_share = (axis.at[bad] % 1 > 0).any()
        remedy = f" Multiply it, or number the {axis.unit}s otherwise." if is_share else ""
        raise TableError(
            f"{source}: column {axis.column!r} must hold whole numbers, but {int(bad.sum()):,} of "
            f"{len(column):,} rows do not ({shown}; the first is row {first:,}).{remedy}"
        )
    if not known.any():
        raise TableError(f"{source} has no row with a step.")
    return known


def _require_one_run(
    columns: Columns, keys: pd.DataFrame, numbers: pd.DataFrame, axis: Axis, source: str
) -> None:
    """Refuse rows that begin anew, and may be of several runs, where nothing names runs."""
    if columns.run is not None or columns.seed is not None:
        return
    goes_back = bool(axis.goes_back[keys.index].any())
    begins_anew = goes_back and (keys["step"].iloc[1:] <= keys["step"].iloc[0]).any()
    again = (numbers.groupby([keys["group"], keys["step"]]).nunique() > 1).to_numpy().any()
    if again and (begins_anew or not (goes_back or axis.several)):
        raise TableError(
            f"{source} does not say which rows belong together, and the same steps come again: it "
            "needs a column 'run' or 'seed' in every row, unless it holds a single run. "
            f"Its columns are: {some(columns.frame.columns, 12)}."
        )


def _numeric_columns(
    columns: Columns, outcomes: Sequence[str]
) -> tuple[pd.DataFrame, dict[str, str | Message], dict[str, str]]:
    """Numeric columns, why each other one is left out, and how those of text were read."""
    numeric, left_out, read_as = {}, dict[str, str | Message](), {}
    for name in columns.values:
        found = as_numbers(columns.frame[name])
        n_known = int(found.values.notna().sum())
        is_asked = name in outcomes or is_outcome(name)
        if found.n_others and not (is_asked and n_known):
            left_out[name] = "It does not hold (real) numbers."
            continue
        if found.n_others:
            n = found.n_others
            left_out[f"{name} (in part)"] = (
                "A value of it is no number." if n == 1 else f"{n:,} values of it are no numbers."
            )
        if found.read_as:
            read_as[name] = found.read_as
        numeric[name] = found.values
    return pd.DataFrame(numeric, index=columns.frame.index), left_out, read_as


def _merged(
    keys: pd.DataFrame, numbers: pd.DataFrame, axis: Axis, source: str
) -> tuple[pd.DataFrame, int]:
    """Put rows of one checkpoint together; and count values that were written again later.

    Raises
    ------
    TableError
        Rows contradict each other, and no resume explains it.
    """
    by = [keys[name] for name in CHECKPOINT_KEY]
    merged, contradicts = last_written(numbers, by)
    again = contradicts.any(axis=1)
    if again.any() and not axis.several:
        explained = axis.goes_back.groupby(by).any().reindex(again.index).astype(bool)
        unexplained = again & ~explained
        if unexplained.any():
            group, run, step = unexplained.index[unexplained][0]
            column = contradicts.columns[contradicts[unexplained].iloc[0]][0]
            raise TableError(
                f"{source} has {int(unexplained.sum()):,} checkpoints at which several rows "
                "contradict each other: each claims a (group, run, step) another row claims, the "
                f"first at group {group!r}, run {run!r}, step {step:,}, where they differ in "
                f"{column!r}. Keep one row per checkpoint, or tell the runs apart with a 'run' or "
                "'group' column."
            )
    seeds = keys.groupby(by)["seed"].first()
    merged.insert(0, "seed", seeds)
    return merged.reset_index(), int(contradicts.to_numpy().sum())


def _about_rows(axis: Axis, repeated: int, n_without: int) -> list[Notice]:
    found = []
    if axis.note:
        found.append(
            Notice("metrics", "odd", f"column {axis.column}", f"{axis.note.capitalize()}.")
        )
    if repeated:
        how = axis.several or "the last value counts, as after a resume"
        text = f"{repeated:,} values were written again later for the same {axis.unit}: {how}."
        found.append(Notice("metrics", "odd", f"{axis.unit}s written again", text))
    if n_without:
        text = f"Left out because they have neither a {axis.unit} nor numbers: {n_without:,}."
        found.append(Notice("metrics", "left out", "rows", text))
    return found


def _about_left_out(left_out: Mapping[str, str | Message]) -> list[str | Remedy]:
    """Say, in an error, which columns might have been metrics, and how to bring them in."""
    if not left_out:
        return []
    keep = Remedy("keep_metrics", tuple(left_out))
    names = some(left_out)
    if len(left_out) == 1:
        why = f"Left out is {names}, which counts time or work or is alike in all runs: "
        return [why, keep, " takes it for a metric."]
    why = f"Left out are {names}, which count time or work or are alike in all runs: "
    return [why, keep, " takes them for metrics."]


def _column(name: str) -> str:
    return "column without a name" if name.startswith("unnamed:") else f"column {printable(name)}"
