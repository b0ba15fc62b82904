"""Names of runs are texts: ``01`` and ``1`` are two, and ``None`` and ``NA`` are names."""

from __future__ import annotations

import pandas as pd
import pytest

from hmmdyn import sources
from hmmdyn.metrics.extract import extract
from tests.make_runs import write_runs

NAMES = ("01", "1", "NA", "None", "nan", "null")


@pytest.fixture
def root(tmp_path):
    write_runs(tmp_path / "runs", n_runs=len(NAMES), steps=range(0, 30, 10))
    for i, name in enumerate(NAMES):
        (tmp_path / "runs" / f"seed{i}").rename(tmp_path / "runs" / name)
    return tmp_path / "runs"


def test_any_name_is_a_name(root, tmp_path):
    index = sources.scan(root)
    assert {file.run for file in index.checkpoints} == set(NAMES)
    table = extract(index, metrics=["l2"]).table
    assert set(table["run"]) == set(NAMES)
    assert table.groupby("run").size().eq(3).all()
    table.to_parquet(tmp_path / "metrics.parquet")
    assert set(pd.read_parquet(tmp_path / "metrics.parquet")["run"]) == set(NAMES)
