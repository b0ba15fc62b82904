"""Metrics made elsewhere join those of the runs by run and step, and nothing is lost unsaid."""

import numpy as np
import pandas as pd
import pytest

from hmmdyn import Options, analyze, read_runs
from hmmdyn.errors import TableError, UsageError
from tests.make_runs import write_runs

STEPS = [0, 10, 20]


def runs_of(groups=("a",), seeds=(0, 1)):
    rows = [
        {"group": group, "run": f"seed{seed}", "seed": seed, "step": step, "l2": step + seed}
        for group in groups
        for seed in seeds
        for step in STEPS
    ]
    return pd.DataFrame(rows).astype({"l2": float})


@pytest.fixture
def joined(tmp_path):
    """Join a table, written as CSV, to runs; the trajectories, and what was left out of it."""

    def join(more, here=None, **options):
        path = tmp_path / "llc.csv"
        more.to_csv(path, index=False)
        found = read_runs(
            runs_of() if here is None else here, Options(metrics_table=path, **options)
        )
        return found, [n.message for n in found.notices if "llc.csv" in n.subject]

    return join


def llc(**columns):
    """One row per checkpoint of two runs, in another order than theirs."""
    frame = pd.DataFrame({"seed": [1, 1, 0, 0, 1, 0], "step": [0, 10, 0, 10, 20, 20]})
    return frame.assign(llc=frame["seed"] * 100.0 + frame["step"], **columns)


def test_a_column_joins_by_run_and_step(joined):
    found, left_out = joined(llc())
    assert found.metrics == ("l2", "llc")
    assert left_out == []
    assert found.table["llc"].tolist() == [0, 10, 20, 100, 110, 120]
    assert found.table["l2"].tolist() == [0, 10, 20, 1, 11, 21]


def test_rows_of_no_checkpoint_are_counted_and_named(joined):
    more = pd.DataFrame(
        {
            "run": ["seed0", "seed0", "seed7", "seed7"],
            "step": [10, 15, 0, 10],
            "llc": [1.5, 2, 3, 4],
        }
    )
    found, left_out = joined(more)
    assert left_out == [
        "3 of 4 rows are of no checkpoint, of runs that are not here: seed7 (2); "
        "at steps without a checkpoint: seed0 (steps 15)."
    ]
    assert found.table["llc"].dropna().tolist() == [1.5]
    assert len(found.table) == 6


def test_a_run_that_was_left_out_has_no_checkpoint(joined):
    found, left_out = joined(llc(), exclude_runs=("seed1",))
    assert found.table["llc"].tolist() == [0, 10, 20]
    assert "3 of 6 rows are of no checkpoint, of runs that are not here: seed1 (3)." in left_out


def test_groups_tell_runs_of_one_name_apart(joined):
    more = pd.concat([llc(group="b"), llc(group="a").assign(llc=7.0)])
    found, _ = joined(more, runs_of(("a", "b")))
    assert set(found.table.loc[found.table["group"] == "a", "llc"]) == {7.0}
    assert found.table.loc[found.table["group"] == "b", "llc"].tolist() == [
        0,
        10,
        20,
        100,
        110,
        120,
    ]
    with pytest.raises(TableError, match=r"which run 'seed0' of it is: a/seed0, b/seed0\."):
        joined(llc(), runs_of(("a", "b")))


def test_a_table_of_one_run_joins_one_run(joined):
    more = pd.DataFrame({"step": STEPS, "llc": [1.0, 2.0, 4.0]})
    found, _ = joined(more, runs_of(seeds=[3]))
    assert found.table["llc"].tolist() == [1, 2, 4]


def test_two_runs_that_are_one_here_are_refused(joined):
    one = pd.DataFrame({"seed": 1, "step": STEPS, "llc": [1.0, 2.0, 4.0]})
    more = pd.concat([one.assign(run="x"), one.assign(run="y")])
    with pytest.raises(TableError, match=r"several runs that are a/seed1 here"):
        joined(more)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (llc().rename(columns={"llc": "l2"}), r"whose names are taken here: l2\..*Rename l2 in"),
        (
            llc().assign(seed=8),
            r"None of the 3 rows .* it has runs seed8 .* here are runs seed0, s",
        ),
        (llc().rename(columns={"step": "epoch"}), r"counts epochs, .* a column 'step' instead"),
        (
            llc().rename(columns={"llc": "eval_loss"}),
            r"holds no metric.*keep_metrics=\('eval_loss'",
        ),
    ],
)
def test_what_cannot_be_joined_says_the_remedy(joined, more, message):
    with pytest.raises(TableError, match=message):
        joined(more)


def test_an_outcome_is_no_metric_unless_it_is_asked_for(joined):
    found, left_out = joined(llc(eval_loss=np.arange(6.0)))
    assert found.metrics == ("l2", "llc")
    assert len(left_out) == 1
    assert "keep_metrics=('eval_loss',)" in left_out[0]
    found, left_out = joined(llc(eval_loss=np.arange(6.0)), keep_metrics=("eval_loss",))
    assert found.metrics == ("l2", "llc", "eval_loss")
    assert left_out == []


def test_metrics_of_checkpoints_and_of_a_table(tmp_path):
    """Names of the table are no names of metrics to measure; one that is, is refused at once."""
    path = tmp_path / "llc.csv"
    root = write_runs(tmp_path / "runs", n_runs=2, steps=range(0, 30, 10), outcomes=False)
    llc().to_csv(path, index=False)
    found = read_runs(root, Options(metrics=("l2", "llc"), metrics_table=path))
    assert found.metrics == ("l2", "llc")
    assert found.table["llc"].tolist() == [0, 10, 20, 100, 110, 120]
    with pytest.raises(UsageError, match="no metric 'lc'"):
        read_runs(root, Options(metrics=("l2", "lc"), metrics_table=path))
    llc().rename(columns={"llc": "l1"}).to_csv(path, index=False)
    with pytest.raises(TableError, match="taken here: l1"):
        read_runs(root, Options(metrics_table=path))


def test_the_model_has_them(tmp_path):
    """States are found by a column that was made elsewhere alone."""
    rng = np.random.default_rng(0)
    rows = [
        {
            "run": f"r{r}",
            "step": t,
            "flat": rng.normal(),
            "llc": 20.0 * (t >= 12 + r) + rng.normal(),
        }
        for r in range(8)
        for t in range(30)
    ]
    table = pd.DataFrame(rows)
    table[["run", "step", "llc"]].to_csv(tmp_path / "llc.csv", index=False)
    found = analyze(
        table[["run", "step", "flat"]], metrics_table=tmp_path / "llc.csv", max_states=3, quick=True
    )
    assert found.parameters.n_states == 2
    assert set(found.tables["state_metrics"]["feature"]) == {"flat", "llc"}
