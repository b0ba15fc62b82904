"""Plain numbers in the names of checkpoints, and the logs that say what they count."""

from __future__ import annotations

import re

import pandas as pd
import pytest

from hmmdyn import sources
from hmmdyn.checkpoints.logs import find_outcomes, join_outcomes
from hmmdyn.checkpoints.units import unit_of
from hmmdyn.errors import LayoutError


@pytest.mark.parametrize(
    ("numbers", "steps", "epochs", "unit"),
    [
        ([1, 2, 3], [], [1, 2, 3], "epoch"),
        ([0, 1, 2, 3], [100, 200, 300], [1, 2, 3], "epoch"),  # the untrained model is not logged
        ([0, 1, 2], [0, 1, 2], [0, 1, 2], "step"),
        ([1, 2], [0, 1, 2, 3, 4], [1, 2], "epoch"),  # all the epochs, few of the steps
        ([2, 4], [1, 2, 3, 4], [1, 2, 3, 4], "step"),
        ([2, 4], [100, 200], [1, 2, 3, 4], "epoch"),
        ([100, 200], [100, 200], [1, 2], "step"),
        ([100, 200], [], [1, 2], "step"),  # neither: the log is not of these checkpoints
        ([1, 2, 3], [], [0, 1, 2], "step"),
    ],
)
def test_what_numbers_count(numbers, steps, epochs, unit):
    assert unit_of(numbers, steps, epochs) == unit


def write(root, name, log):
    for seed in (0, 1):
        (root / f"seed{seed}").mkdir(parents=True)
        for number in (1, 2, 3):
            (root / f"seed{seed}" / name.format(number)).write_bytes(b"x")
        pd.DataFrame(log).to_csv(root / f"seed{seed}" / "log.csv", index=False)


LOG = {"epoch": [1, 2, 3], "val_loss": [3.0, 2.0, 1.0]}


@pytest.mark.parametrize("name", ["{}.pt", "checkpoint_{}.pt", "ckpt{}.pt"])
@pytest.mark.parametrize("steps", [{}, {"step": [100, 200, 300]}])
def test_epochs_by_the_log(tmp_path, name, steps):
    write(tmp_path, name, LOG | steps)
    index = sources.scan(tmp_path)
    assert index.step_unit == "epoch"
    assert "taken for epochs" in " ".join(notice.message for notice in index.notices)
    joined = join_outcomes(index, find_outcomes(index))
    assert joined.table["val_loss"].tolist() == [3.0, 2.0, 1.0] * 2


def test_a_layout_that_an_error_suggests_leaves_it_to_the_log(tmp_path):
    write(tmp_path, "model_{}.pt", LOG)
    with pytest.raises(LayoutError, match=re.escape("seed{seed}/model_{step}.pt")):
        sources.scan(tmp_path)
    assert sources.scan(tmp_path, layout="seed{seed}/model_{step}.pt").step_unit == "epoch"


def test_a_name_that_says_step_is_believed(tmp_path):
    write(tmp_path, "step_{}.pt", LOG)
    assert sources.scan(tmp_path).step_unit == "step"
    assert sources.scan(tmp_path, layout="seed{seed}/step_{step}.pt").step_unit == "step"
