"""Metrics that compare with earlier weights, recorded while training goes on."""

import numpy as np
import pytest

from hmmdyn import MetricRecorder
from hmmdyn.checkpoints.find.discover import discover
from hmmdyn.metrics.extract import extract
from hmmdyn.record.earlier import FIRST_WEIGHTS
from hmmdyn.record.reader import read_recordings
from tests.make_runs import weights, write_runs

STEPS = range(0, 50, 10)


@pytest.fixture
def run(tmp_path):
    return tmp_path / "recorded" / "runs" / "seed0"


def record(run, at, metrics=("movement", "l2"), changed=None):
    with MetricRecorder(run, metrics=metrics) as recorder:
        for step in at:
            recorder.record(weights(0, step) if changed is None else changed(step), step)


def read(run):
    found = read_recordings(run.parent)
    return found, found.table.set_index("step")


def test_rows_are_those_of_extraction(run, tmp_path):
    record(run, STEPS)
    root = write_runs(tmp_path / "saved" / "runs", n_runs=1, steps=STEPS, outcomes=False)
    found, table = read(run)
    expected = extract(discover(root), metrics=["movement", "l2"])
    assert found.metrics == expected.metrics
    assert "path_length" in found.metrics
    np.testing.assert_allclose(
        table[list(found.metrics)], expected.table[list(found.metrics)], rtol=1e-12
    )
    assert [n.message for n in found.notices] == [n.message for n in expected.notices]


def test_a_metric_of_the_whole_run_needs_no_other_column(run):
    record(run, STEPS, metrics=("path_length",))
    found, table = read(run)
    assert found.metrics == ("path_length",)
    assert np.isfinite(table["path_length"]).all()
    assert (np.diff(table["path_length"]) > 0).all()


def test_a_recording_that_goes_on_has_the_first_weights_and_not_those_before(run):
    record(run, [0, 10, 20])
    record(run, [30, 40])
    whole = run.parent.parent.parent / "whole" / "runs" / "seed0"
    record(whole, STEPS)
    (found, table), (_, expected) = read(run), read(whole)
    for metric in ("distance_l2", "distance_l1", "distance_linf", "cosine_to_start", "l2"):
        np.testing.assert_allclose(table[metric], expected[metric], rtol=1e-6)
    for metric in ("step_l2", "step_cosine", "relative_step"):
        assert table[metric].isna().tolist() == [True, False, False, True, False]
        assert table.loc[40, metric] == pytest.approx(expected.loc[40, metric])
    assert table["path_length"].isna().tolist() == [False, False, False, True, True]
    (told,) = [n.message for n in found.notices if n.subject == "metric step_l2"]
    assert "at 1 of 5 checkpoints, first at step 30 of run seed0" in told
    assert "not known after a restart" in told


def test_going_back_forgets_the_row_before(run):
    with MetricRecorder(run, metrics=["step_l2"]) as recorder:
        for step in (0, 10, 20, 10, 20):
            recorder.record(weights(0, step), step)
    _, table = read(run)
    assert table["step_l2"].isna().tolist() == [True, True, False]


def test_beginning_anew_takes_other_first_weights(run):
    with MetricRecorder(run, metrics=["movement"]) as recorder:
        for step, seed in ((0, 0), (10, 0), (0, 1), (10, 1)):
            recorder.record(weights(seed, step), step)
    _, table = read(run)
    between = [
        (weights(1, 10)[f"layers.{i}.weight"] - weights(1, 0)[f"layers.{i}.weight"]).ravel()
        for i in (0, 1)
    ]
    assert table.loc[10, "distance_l2"] == pytest.approx(np.linalg.norm(np.concatenate(between)))


def test_rows_before_anything_changes_have_moved_by_nothing(run):
    """The first rows are measured again once it shows which tensors never change."""

    def changed(step):
        late = weights(0, max(step, 20))
        return {**late, "layers.1.weight": weights(0, 0)["layers.1.weight"]}

    record(run, STEPS, changed=changed)
    _, table = read(run)
    assert table["distance_l2"].iloc[:3].tolist() == [0, 0, 0]
    assert table["step_l2"].isna().tolist() == [True, False, False, False, False]
    assert table["step_l2"].iloc[1:3].tolist() == [0, 0]
    moved = changed(30)["layers.0.weight"] - changed(20)["layers.0.weight"]
    assert table.loc[30, "distance_l2"] == pytest.approx(np.linalg.norm(moved))


def test_first_weights_that_are_gone_are_said(run):
    record(run, [0, 10])
    (run / FIRST_WEIGHTS).unlink()
    record(run, [20])
    found, table = read(run)
    assert table["distance_l2"].isna().tolist() == [False, False, True]
    (told,) = [n.message for n in found.notices if n.subject == "metric distance_l2"]
    assert FIRST_WEIGHTS in told


@pytest.mark.parametrize("metrics", [("paper",), ("step_l2",)])
def test_nothing_is_kept_that_no_metric_needs(run, metrics):
    record(run, STEPS, metrics=metrics)
    assert not (run / FIRST_WEIGHTS).exists()
