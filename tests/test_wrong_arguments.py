"""What is no argument of an analysis' methods is refused by hmmdyn itself, with a remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import hmmdyn
from hmmdyn.errors import UsageError


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    late = np.arange(40) > 19
    runs = [
        pd.DataFrame(
            {
                "run": f"r{run}",
                "step": np.arange(40),
                "a": late + 0.05 * rng.standard_normal(40),
                "b": 0.05 * rng.standard_normal(40) - late,
            }
        )
        for run in range(3)
    ]
    return pd.concat(runs, ignore_index=True)


@pytest.fixture(scope="module")
def analysis(table: pd.DataFrame) -> Any:
    return hmmdyn.analyze(table, max_states=2)


@pytest.mark.parametrize("n_states", [0, "2", 2.0, True, None])
def test_a_level_is_a_whole_number(analysis: Any, n_states: Any) -> None:
    with pytest.raises(UsageError, match="must be a whole number of at least 1, got"):
        analysis.at(n_states)


@pytest.mark.parametrize("least_overlap", ["0.9", None])
def test_an_overlap_is_a_number(analysis: Any, least_overlap: Any) -> None:
    with pytest.raises(UsageError, match="'least_overlap' must be above 0"):
        analysis.smallest_set(least_overlap)


def test_an_unknown_option_of_a_figure_is_named(analysis: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"'them'.*theme"):
        analysis.write_snippet(tmp_path / "map.html", "training_map", them="dark")


def test_a_map_is_applied_to_what_was_read(analysis: Any, table: pd.DataFrame) -> None:
    with pytest.raises(UsageError, match=r"not to a DataFrame.*read_runs"):
        analysis.training_map.apply(table)
