"""The recorder's rules, on weights that are NumPy arrays: no PyTorch is needed."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from hmmdyn import MetricRecorder
from hmmdyn.checkpoints.parameters import ParameterRules
from hmmdyn.errors import (
    ArchitectureMismatchError,
    NoWeightsError,
    OutputError,
    TableError,
    UsageError,
)
from hmmdyn.record.reader import read_recordings
from hmmdyn.record.rows import RECORDING
from hmmdyn.tables.metric_table import read_table
from tests.make_runs import weights


@pytest.fixture
def run(tmp_path):
    return tmp_path / "runs" / "seed0"


def rows(run):
    return [json.loads(line) for line in (run / RECORDING).read_text().splitlines()]


def steps(run):
    return [row["step"] for row in rows(run)]


def record(run, at, **options):
    with MetricRecorder(run, **options) as recorder:
        for step in at:
            recorder.record(weights(0, step), step)


# When, and what


def test_step_records_at_multiples_of_every(run):
    with MetricRecorder(run, every=3) as recorder:
        for step in range(8):
            recorder.step(weights(0, step), step)
    assert steps(run) == [0, 3, 6]


def test_a_row_has_the_outcomes_logged_since_the_row_before(run):
    with MetricRecorder(run, every=2) as recorder:
        recorder.step(weights(0, 0), 0, train_loss=3.0)
        recorder.step(weights(0, 1), 1, train_loss=2.0, eval_loss=2.5)
        recorder.step(weights(0, 2), 2, train_loss=1.0)
        recorder.step(weights(0, 4), 4)
    first, second, third = rows(run)
    assert first["train_loss"] == 3.0
    assert (second["train_loss"], second["eval_loss"]) == (1.0, 2.5)
    assert not {"train_loss", "eval_loss"} & third.keys()


def test_outcomes_that_come_after_the_row_join_it(run):
    with MetricRecorder(run) as recorder:
        for step in (0, 1):
            recorder.record(weights(0, step), step, train_loss=1.25)
            recorder.log(step, eval_accuracy=0.5)
            recorder.log(step, train_loss=1.0)  # in fewer digits than before
    assert [(row["train_loss"], row["eval_accuracy"]) for row in rows(run)] == [(1.0, 0.5)] * 2


def test_outcomes_bear_the_names_they_have_in_logs(run):
    with MetricRecorder(run) as recorder:
        recorder.record(weights(0, 0), 0, **{"Val/Loss": 1.0})
    assert rows(run)[0]["val_loss"] == 1.0


def test_fewer_metrics_compute_no_singular_values(run, monkeypatch):
    monkeypatch.setattr(
        "hmmdyn.metrics.summary.singular_values", lambda _: pytest.fail("a decomposition")
    )
    record(run, [0, 1], metrics=("l2", "var_w"))
    assert read_recordings(run).metrics == ("l2", "var_w")


def test_rules_say_what_counts(run, tmp_path):
    rules = ParameterRules(exclude=("layers.1",))
    record(run, [0, 1], rules=rules)
    record(tmp_path / "all", [0, 1])
    recording = rows(run)[0]["recording"]
    assert list(recording["architecture"]["weights"]) == ["layers.0.weight"]
    assert rows(run)[1]["l1"] > rows(tmp_path / "all")[1]["l1"]


def test_numbers_that_are_not_finite(run):
    broken = weights(0, 1) | {"layers.0.weight": np.full((6, 5), np.nan, np.float32)}
    with MetricRecorder(run) as recorder:
        recorder.record(weights(0, 0), 0)
        recorder.record(broken, 1, train_loss=float("inf"), eval_loss=float("nan"))
    assert rows(run)[1]["not_finite"] == ["layers.0.weight"]
    assert rows(run)[1]["l2"] is None
    table = read_recordings(run).table
    assert np.isnan(table["l2"][1])
    assert table["train_loss"][1] == np.inf
    assert np.isnan(table["eval_loss"][1])


# Going on


def test_a_recording_goes_on(run):
    record(run, [0, 1])
    record(run, [2, 3])
    whole = run.with_name("whole")
    record(whole, range(4))
    assert (run / RECORDING).read_bytes() == (whole / RECORDING).read_bytes()


def test_a_tensor_that_comes_back_to_its_first_numbers_has_changed(run, tmp_path):
    """Also where the recording was opened again in between."""

    def at(step):
        changing = weights(0, step)
        return {**changing, "layer.bias": np.full(3, float(step == 1))}

    whole = tmp_path / "whole"
    with MetricRecorder(whole) as recorder:
        for step in range(4):
            recorder.record(at(step), step)
    for part in ((0, 1), (2,), (3,)):
        with MetricRecorder(run) as recorder:
            for step in part:
                recorder.record(at(step), step)
    assert (run / RECORDING).read_bytes() == (whole / RECORDING).read_bytes()
    assert "layer.bias" not in rows(run)[-1].get("unchanged", ())


def test_a_step_recorded_again_removes_the_rows_from_there_on(run):
    record(run, [0, 10, 20, 30])
    with MetricRecorder(run) as recorder:
        assert recorder.last_step == 30
        recorder.record(weights(1, 20), 20, train_loss=0.5)
    assert steps(run) == [0, 10, 20]
    assert rows(run)[2]["train_loss"] == 0.5
    record(run, [0])
    assert steps(run) == [0]


def test_a_row_cut_short_goes(run):
    record(run, [0, 10])
    path = run / RECORDING
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    assert read_recordings(run).table["step"].tolist() == [0]
    (notice,) = [n for n in read_recordings(run).notices if "cut short" in n.message]
    assert (notice.kind, notice.subject) == ("left out", "run seed0")
    record(run, [10])
    assert path.read_bytes() == whole


def test_going_on_otherwise_is_refused(run):
    record(run, [0])
    with pytest.raises(UsageError, match="step_unit was step, is epoch"):
        MetricRecorder(run, step_unit="epoch")
    with pytest.raises(UsageError, match="metrics was"):
        MetricRecorder(run, metrics=("l2",))
    with pytest.raises(UsageError, match="rules was"):
        MetricRecorder(run, rules=ParameterRules(exclude=("x",)))
    assert steps(run) == [0]


@pytest.mark.parametrize(
    "content",
    [
        b"hello\n",
        b"[1]\n",
        b'{"step": -1}\n',
        b'{"step": true}\n',
        b'{"step": 0, "l2": 1}\n',
        b'{"step": 0, "recording": {"plan": 3}}\n',
        b"[" * 100_000 + b"\n",
        b"\xff\xfe\n",
    ],
)
def test_a_file_of_another_kind_is_left_alone(content, run):
    run.mkdir(parents=True)
    (run / RECORDING).write_bytes(content)
    with pytest.raises(TableError, match="not a file that hmmdyn recorded"):
        MetricRecorder(run)
    with pytest.raises(TableError, match="not a file that hmmdyn recorded"):
        read_recordings(run)
    assert (run / RECORDING).read_bytes() == content


def test_a_killed_training_keeps_every_row_that_was_recorded(run):
    code = (
        "import sys\n"
        "from hmmdyn import MetricRecorder\n"
        "from tests.make_runs import weights\n"
        "recorder = MetricRecorder(sys.argv[1])\n"
        "for step in range(10**6):\n"
        "    recorder.record(weights(0, step), step, train_loss=1 / (1 + step))\n"
        "    print(step, flush=True)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(run)], stdout=subprocess.PIPE)
    for line in process.stdout:
        if int(line) == 5:
            os.kill(process.pid, signal.SIGKILL)
            break
    last = int([line, *process.stdout.read().splitlines()][-1])
    process.stdout.close()
    process.wait()
    table = read_recordings(run).table
    assert last <= table["step"].max() <= last + 1
    assert table["step"].tolist() == list(range(len(table)))
    assert table["train_loss"].notna().all()
    record(run, [len(table)])  # and training can go on
    assert len(read_recordings(run).table) == len(table) + 1


# What never changes


def with_constant(step, changes_from=10**9):
    """Weights of which ``table.weight`` stays the same for some time."""
    still = np.arange(12, dtype=np.float32).reshape(3, 4)
    return weights(0, step) | {"table.weight": still + max(0, step - changes_from + 1)}


def test_the_first_row_is_measured_again_once_it_shows_what_never_changes(run, tmp_path):
    with MetricRecorder(run) as recorder:
        recorder.record(with_constant(0), 0, train_loss=1.0)
        assert "unchanged" not in rows(run)[0]
        recorder.record(with_constant(1), 1)
    record(tmp_path / "without", [0, 1])
    for found, expected in zip(rows(run), rows(tmp_path / "without"), strict=True):
        assert found["unchanged"] == ["table.weight"]
        assert {name: found[name] for name in ("l2", "median_w")} == {
            name: expected[name] for name in ("l2", "median_w")
        }
    assert rows(run)[0]["train_loss"] == 1.0


def test_a_warm_up_that_changes_nothing_settles_nothing(run):
    with MetricRecorder(run) as recorder:
        for step, trained in enumerate([0, 0, 0, 1]):
            recorder.record(with_constant(trained), step)
    assert [row["unchanged"] for row in rows(run)] == [["table.weight"]] * 4
    assert rows(run)[0]["median_w"] == rows(run)[2]["median_w"] != rows(run)[3]["median_w"]


def test_rows_from_before_a_tensor_began_to_change_are_named_and_left_out(run):
    with MetricRecorder(run) as recorder:
        for step in range(6):
            recorder.record(with_constant(step, changes_from=2), step)
    found = read_recordings(run)
    assert found.table["step"].tolist() == [2, 3, 4, 5]
    (notice,) = [n for n in found.notices if "rows left out" in n.message]
    assert "2 rows left out (step 0, 1)" in notice.message
    assert "table.weight" in notice.message


def test_a_run_that_never_moves_is_odd(run):
    with MetricRecorder(run) as recorder:
        for step in range(3):
            recorder.record(weights(0, 0), step)
    assert any(
        n.kind == "odd" and "All its weights are the same" in n.message
        for n in read_recordings(run).notices
    )


# What is refused


@pytest.mark.parametrize(
    ("outcomes", "message"),
    [
        ({"l2": 1.0}, "cannot be called 'l2'"),
        ({"seed": 1.0}, "cannot be called 'seed'"),
        ({"recording": 1.0}, "cannot be called 'recording'"),
        ({"train_loss": "low"}, "'train_loss' must be a single number, got 'low'"),
        ({"train_loss": [1.0, 2.0]}, "must be a single number"),
    ],
)
def test_outcomes_that_cannot_be(outcomes, message, run):
    with MetricRecorder(run) as recorder, pytest.raises(UsageError, match=message):
        recorder.record(weights(0, 0), 0, **outcomes)
    assert not rows(run)


@pytest.mark.parametrize("step", [-1, 1.5, None])
def test_steps_that_are_no_count(step, run):
    with MetricRecorder(run) as recorder:
        for record_it in (recorder.record, recorder.step):
            with pytest.raises(UsageError, match="'step' must be a whole"):
                record_it(weights(0, 0), step)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": 0}, "'every' must be a whole number from 1 on, got 0"),
        ({"every": 2.5}, "'every' must be a whole number"),
        ({"step_unit": "hour"}, "'step_unit' must be one of"),
        ({"metrics": ["l3"]}, "There is no metric 'l3'"),
    ],
)
def test_options_that_do_not_exist(options, message, run):
    with pytest.raises(UsageError, match=message):
        MetricRecorder(run, **options)


def test_what_is_no_model(run):
    with MetricRecorder(run) as recorder:
        with pytest.raises(UsageError, match="must be a PyTorch module or a mapping"):
            recorder.record([1, 2], 0)
        with pytest.raises(NoWeightsError, match="the model given holds no weight matrix"):
            recorder.record({"wte.weight": np.ones((3, 2))}, 0)
        recorder.record(weights(0, 0), 0)
        with pytest.raises(ArchitectureMismatchError, match=r"layers.0.weight is 7 × 5"):
            recorder.record(weights(0, 1, shape=(7, 5)), 1)
    assert steps(run) == [0]


def test_weights_spread_over_devices_have_to_be_gathered(run):
    class Spread:
        def full_tensor(self):
            pytest.fail("only all processes together can do this")

    with (
        MetricRecorder(run) as recorder,
        pytest.raises(UsageError, match=r"layers.0.weight is spread over several devices"),
    ):
        recorder.record(weights(0, 0) | {"layers.0.weight": Spread()}, 0)


def test_a_closed_recording(run):
    recorder = MetricRecorder(run)
    recorder.close()
    with pytest.raises(UsageError, match="is closed"):
        recorder.record(weights(0, 0), 0)


def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(OutputError, match="Cannot write"):
        MetricRecorder(tmp_path / "taken")


# Reading


def test_one_run_is_a_table_like_any_other(run):
    record(run, [0, 10])
    table = read_table(run / RECORDING)
    assert table.metrics == read_recordings(run).metrics
    assert table.table["step"].tolist() == [0, 10]
