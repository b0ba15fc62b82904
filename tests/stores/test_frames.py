"""Tables given from Python."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from hmmdyn import read_runs
from hmmdyn.errors import UsageError

COLUMNS = {
    "seed": [0, 0, 1, 1],
    "step": [0, 10, 0, 10],
    "l2": [1.0, 2.5, 3.0, 4.0],
    "eval_loss": [4.0, 3.0, 2.0, 1.0],
}


class Interchange:
    """A frame of a library that offers the dataframe interchange protocol alone."""

    def __dataframe__(self, **_):
        return pa.table(COLUMNS).__dataframe__()


class Stream:
    """A frame of a library that offers Arrow's C interface alone, as Polars does."""

    def __arrow_c_stream__(self, requested_schema=None):
        return pa.table(COLUMNS).__arrow_c_stream__(requested_schema)


FRAMES = {
    "pandas": pd.DataFrame(COLUMNS),
    "pandas with keys as index": pd.DataFrame(COLUMNS).set_index(["seed", "step"]),
    "pandas with an index of no use": pd.DataFrame(COLUMNS).set_axis(list("cbda")),
    "pandas of Arrow's types": pd.DataFrame(COLUMNS).convert_dtypes(dtype_backend="pyarrow"),
    "an Arrow table": pa.table(COLUMNS),
    "an Arrow batch": pa.RecordBatch.from_pydict(COLUMNS),
    "an Arrow reader": pa.table(COLUMNS).to_reader(),
    "Arrow's C interface": Stream(),
    "the interchange protocol": Interchange(),
    "a dict of lists": COLUMNS,
    "a dict of arrays": {name: np.array(values) for name, values in COLUMNS.items()},
    "a list of rows": pd.DataFrame(COLUMNS).to_dict("records"),
    "a dict of frames": {"a": pd.DataFrame(COLUMNS).iloc[:2], "b": pa.table(COLUMNS).slice(2)},
    "a dict of series": {name: pd.Series(values) for name, values in COLUMNS.items()},
    "a list of frames": [pd.DataFrame(COLUMNS).iloc[:2], pa.table(COLUMNS).slice(2)],
}


@pytest.mark.parametrize("kind", FRAMES)
def test_frames_of_all_kinds(kind):
    found = read_runs(FRAMES[kind])
    assert (found.metrics, found.outcomes) == (("l2",), ("eval_loss",))
    assert found.runs["run"].tolist() == ["seed0", "seed1"]
    assert found.table["l2"].tolist() == COLUMNS["l2"]


def test_frames_are_called_by_their_names():
    frames = {seed: pd.DataFrame({"step": [0, 10], "l2": [1.0, 2.0 + seed]}) for seed in (3, 4)}
    found = read_runs(frames)
    assert found.runs["run"].tolist() == ["3", "4"]
    assert found.table["l2"].tolist() == [1.0, 5.0, 1.0, 6.0]


def test_polars():
    polars = pytest.importorskip("polars")
    assert read_runs(polars.DataFrame(COLUMNS)).table["l2"].tolist() == COLUMNS["l2"]


def test_frames_that_name_no_run_are_called_by_their_place():
    frame = pd.DataFrame(COLUMNS).drop(columns="seed")
    found = read_runs([frame.iloc[:2], frame.iloc[2:]])
    assert found.runs["run"].tolist() == ["run0", "run1"]
    assert "run0 is the first" in found.notices[0].message


def test_a_list_of_files(tmp_path):
    paths = []
    for seed in (0, 1):
        paths.append(tmp_path / f"adam_seed{seed}.csv")
        frame = pd.DataFrame(COLUMNS)
        frame[frame["seed"] == seed].drop(columns="seed").to_csv(paths[-1], index=False)
    found = read_runs(paths)
    assert found.runs.to_numpy().tolist() == [["adam", "seed0", 0], ["adam", "seed1", 1]]
    assert read_runs([str(path) for path in paths]).table["l2"].tolist() == COLUMNS["l2"]


@pytest.mark.parametrize("source", [3, None, {}, [], [3], object(), ["a.csv", 3], {1: [2]}])
def test_anything_else_is_told_what_is_taken(source):
    with pytest.raises(UsageError, match=r"must be a path.*Polars.*list of frames"):
        read_runs(source)


def test_columns_of_different_lengths():
    with pytest.raises(UsageError, match="equally"):
        read_runs({"step": [0, 1], "l2": [1.0]})
