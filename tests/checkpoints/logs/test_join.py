"""Joins of outcomes to checkpoints, against a plain double loop."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from hmmdyn.checkpoints.logs import join_outcomes, of_runs_in
from hmmdyn.results.checkpoints import CheckpointFile, CheckpointIndex, OutcomeTable


def told(result):
    return " ".join(notice.message for notice in result.notices)


def index_of(steps_of_run):
    files = [
        CheckpointFile("g", run, step, None, Path(f"r/{run}/{step}.npz"), "npz", 0, 0)
        for run, steps in steps_of_run.items()
        for step in steps
    ]
    return CheckpointIndex(Path("r"), tuple(files), "step")


def join_by_hand(steps, log):
    """Follow the rule in words: own step, else the last after the previous checkpoint.

    For the first checkpoint, only the step before counts besides its own.
    """
    found = []
    for i, step in enumerate(steps):
        previous = steps[i - 1] if i > 0 else step - 2
        earlier = [s for s in log if previous < s < step and not math.isnan(log[s])]
        if step in log and not math.isnan(log[step]):
            found.append(log[step])
        else:
            found.append(log[max(earlier)] if earlier else math.nan)
    return found


steps_drawn = st.lists(st.integers(0, 30), min_size=1, max_size=8, unique=True).map(sorted)
logs_drawn = st.dictionaries(st.integers(0, 30), st.sampled_from([0.5, 2.0, math.nan, math.inf]))


@given(st.lists(st.tuples(steps_drawn, logs_drawn), min_size=1, max_size=3))
def test_join_follows_the_rule(drawn):
    index = index_of({f"r{i}": steps for i, (steps, _) in enumerate(drawn)})
    rows = [
        ("g", f"r{i}", step, log[step]) for i, (_, log) in enumerate(drawn) for step in sorted(log)
    ]
    table = pd.DataFrame(rows, columns=["group", "run", "step", "loss"])
    table = table.astype({"step": np.int64, "loss": float})
    joined = join_outcomes(index, OutcomeTable(table, {}))
    expected = np.concatenate([join_by_hand(steps, log) for steps, log in drawn])
    assert joined.table[["group", "run", "step"]].to_numpy().tolist() == [
        [f.group, f.run, f.step] for f in index.checkpoints
    ]
    if np.isnan(expected).all():
        assert "loss" not in joined.table
        assert (
            told(joined) == f"Outcomes logged at none of the checkpoints: loss ({len(expected)})."
        )
    else:
        np.testing.assert_array_equal(joined.table["loss"], expected)
    (counts,) = joined.counts.to_dict("records")
    assert counts["missing"] == np.isnan(expected).sum()
    assert counts["exact"] == sum(
        step in log and not math.isnan(log[step]) for steps, log in drawn for step in steps
    )
    assert counts["exact"] + counts["earlier"] + counts["missing"] == len(expected)


def test_join_says_what_it_did():
    index = index_of({"a": [0, 100, 200], "b": [0, 100]})
    table = pd.DataFrame(
        {
            "group": "g",
            "run": ["a", "a", "a"],
            "step": [0, 99, 200],
            "loss": [3.0, 2.0, 1.0],
            "acc": [np.nan, np.nan, 0.5],
        }
    )
    joined = join_outcomes(index, OutcomeTable(table, {}))
    np.testing.assert_array_equal(joined.table["loss"], [3, 2, 1, np.nan, np.nan])
    np.testing.assert_array_equal(joined.table["acc"], [np.nan, np.nan, 0.5, np.nan, np.nan])
    assert joined.counts.to_numpy().tolist() == [["loss", 2, 1, 2], ["acc", 1, 0, 4]]
    assert {notice.kind: notice.message for notice in joined.notices} == {
        "limit": "Outcomes not logged at some of the 5 checkpoints: loss (2), acc (4).",
        "odd": "Outcomes that some of the 5 checkpoints take from the last step logged before "
        "them: loss (1).",
    }


def test_outcomes_of_runs_that_are_left_out_go():
    table = pd.DataFrame(
        {
            "group": "g",
            "run": ["r0", "r0", "r1"],
            "step": [0, 10, 0],
            "loss": [2.0, 1.0, np.nan],
            "eval_loss": [np.nan, np.nan, 3.0],
        }
    )
    logged = OutcomeTable(table, {"log.csv": 3})
    assert of_runs_in(index_of({"r0": [0], "r1": [0]}), logged) is logged
    kept = of_runs_in(index_of({"r1": [0]}), logged)
    assert kept.outcomes == ("eval_loss",)
    assert kept.table["eval_loss"].tolist() == [3.0]


def test_the_first_checkpoint_of_lightning_has_its_outcome():
    """The step of a checkpoint is one after the last step that was logged."""
    index = index_of({"a": [50, 100, 150]})
    table = pd.DataFrame(
        {"group": "g", "run": "a", "step": [49, 99, 149], "val_loss": [3.0, 2.0, 1.0]}
    )
    joined = join_outcomes(index, OutcomeTable(table, {}))
    assert joined.table["val_loss"].tolist() == [3.0, 2.0, 1.0]
