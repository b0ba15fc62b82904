import numpy as np
import pandas as pd
import pytest

from hmmdyn.dynamics.phases import summarise_states
from hmmdyn.hmm.training_map import fit_training_map
from hmmdyn.tables import from_frame
from tests.simulate import phased_table


@pytest.fixture(scope="module")
def summary():
    trajectories = from_frame(phased_table())
    fitted = fit_training_map(trajectories, [3], n_restarts=4)
    return summarise_states(fitted.decoding, trajectories.table, trajectories.outcomes, 3)


def test_summary_counts_what_the_runs_do(summary):
    # Run i is in state 0 for 5 + i//2 checkpoints and in state 2 from 12 + i on (see simulate).
    in_first = np.array([5 + i // 2 for i in range(6)])
    in_last = np.array([30 - 12 - i for i in range(6)])
    assert summary["n_checkpoints"].tolist() == [
        in_first.sum(),
        180 - in_first.sum() - in_last.sum(),
        in_last.sum(),
    ]
    assert summary["share"].sum() == pytest.approx(1)
    assert summary["n_runs"].tolist() == [6, 6, 6]
    assert summary["dwell"].iloc[0] == pytest.approx(in_first.mean())
    assert summary["first_step"].tolist() == [0, 600, 1450]
    assert summary["median_time"].is_monotonic_increasing


def test_memorisation_and_generalisation_are_told_apart(summary):
    assert summary["phase"].tolist() == ["", "memorisation", "generalisation"]
    assert summary["mean_train_accuracy"].tolist() == [0.5, 1.0, 1.0]
    assert summary["mean_eval_accuracy"].tolist() == [0.5, 0.5, 1.0]


def test_no_phase_is_named_without_training_and_held_out_outcomes():
    table = phased_table().drop(columns="train_accuracy")
    trajectories = from_frame(table)
    fitted = fit_training_map(trajectories, [2], n_restarts=2)
    summary = summarise_states(fitted.decoding, trajectories.table, trajectories.outcomes, 2)
    assert summary["phase"].tolist() == ["", ""]
    assert isinstance(summary, pd.DataFrame)
