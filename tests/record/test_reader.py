"""Folders of recorded runs: whose rows they are, and which of them go together."""

import json
import shutil

import pytest

from hmmdyn import MetricRecorder, read_runs
from hmmdyn.checkpoints.parameters import ParameterRules
from hmmdyn.errors import ArchitectureMismatchError, LayoutError, TableError
from hmmdyn.record.reader import has_recordings, read_recordings
from hmmdyn.record.rows import RECORDING
from tests.make_runs import weights, write_runs


def record(run, seed=0, steps=(0, 10, 20), shape=(6, 5), **options):
    with MetricRecorder(run, **options) as recorder:
        for step in steps:
            recorder.record(weights(seed, step, shape), step, train_loss=1 / (1 + step))


def keys(trajectories):
    return list(trajectories.runs.itertuples(index=False, name=None))


def messages(trajectories, kind):
    return [notice.message for notice in trajectories.notices if notice.kind == kind]


def test_runs_are_those_that_checkpoints_at_the_same_place_would_be(tmp_path):
    write_runs(tmp_path / "sgd", n_runs=11, steps=range(0, 20, 10), outcomes=False)
    write_runs(tmp_path / "adamw", n_runs=2, steps=range(0, 20, 10), outcomes=False)
    extracted = read_runs(tmp_path)
    for folder in sorted(tmp_path.glob("*/seed*")):
        record(folder, int(folder.name[4:]), steps=(0, 10))
    recorded = read_recordings(tmp_path)
    assert keys(recorded) == keys(extracted)
    names = [*extracted.metrics]
    assert recorded.table[["group", "run", "step", *names]].equals(
        extracted.table[["group", "run", "step", *names]]
    )


def test_a_run_can_be_named_by_its_folder_or_its_file(tmp_path):
    record(tmp_path / "adamw" / "seed3")
    for source in (tmp_path / "adamw" / "seed3", tmp_path / "adamw" / "seed3" / RECORDING):
        assert has_recordings(source)
        found = read_recordings(source)
        assert keys(found)[0][1:] == ("seed3", 3)
    assert not has_recordings(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    assert not has_recordings(tmp_path / "empty")


def test_folders_that_may_be_one_run_or_two_are_told_apart_by_their_dates(tmp_path):
    record(tmp_path / "2026-01-01" / "a")
    record(tmp_path / "2026-01-02" / "a")
    assert len(keys(read_recordings(tmp_path))) == 2


def test_folders_that_are_not_certain_are_refused(tmp_path):
    record(tmp_path / "seed1" / "3")
    with pytest.raises(LayoutError, match="bare number beside the seed"):
        read_recordings(tmp_path)


def test_two_folders_of_one_run_are_refused(tmp_path):
    record(tmp_path / "logs" / "seed1")
    record(tmp_path / "metrics" / "seed1")
    with pytest.raises(LayoutError, match="another folder, too, is run seed1"):
        read_recordings(tmp_path)


def test_the_unit_of_steps_is_kept_and_must_be_one(tmp_path):
    record(tmp_path / "seed0", step_unit="epoch")
    assert read_recordings(tmp_path).step_unit == "epoch"
    record(tmp_path / "seed1", seed=1)
    with pytest.raises(TableError, match="by step and runs recorded by epoch"):
        read_recordings(tmp_path)


def test_metrics_that_some_runs_lack_are_named_and_left_out(tmp_path):
    record(tmp_path / "seed0", metrics=("l1", "l2"))
    record(tmp_path / "seed1", seed=1, metrics=("l2", "mean_w"))
    found = read_recordings(tmp_path)
    assert found.metrics == ("l2",)
    assert "They were recorded in some runs only." in messages(found, "left out")
    record(tmp_path / "seed2", seed=2, metrics=("l1",))
    with pytest.raises(TableError, match="no recorded metric in common"):
        read_recordings(tmp_path)


def test_one_group_of_two_architectures_or_rules_is_refused(tmp_path):
    record(tmp_path / "a" / "seed0")
    record(tmp_path / "a" / "seed1", seed=1, shape=(7, 5))
    with pytest.raises(ArchitectureMismatchError, match="mixes architectures"):
        read_recordings(tmp_path)
    shutil.rmtree(tmp_path / "a" / "seed1")
    record(tmp_path / "a" / "seed1", seed=1, rules=ParameterRules(split=(("layers.0", 0, 2),)))
    with pytest.raises(ArchitectureMismatchError, match="recorded with different rules"):
        read_recordings(tmp_path)


def test_groups_may_differ(tmp_path):
    record(tmp_path / "a" / "seed0")
    record(tmp_path / "b" / "seed0", shape=(7, 5), rules=ParameterRules(exclude=("bias",)))
    found = read_recordings(tmp_path)
    assert "mean_b" not in found.metrics
    assert len(found.table) == 6


def test_checkpoints_of_runs_that_were_not_recorded_are_named(tmp_path):
    write_runs(tmp_path, n_runs=2, steps=range(0, 30, 10))
    record(tmp_path / "seed0")
    (message,) = [m for m in messages(read_recordings(tmp_path), "left out") if "not recorded" in m]
    assert message.startswith("3 checkpoint files")
    assert "seed1/step_0.safetensors" in message


def test_outcomes_recorded_beside_checkpoints_are_found_with_them(tmp_path):
    write_runs(tmp_path, n_runs=1, steps=range(0, 30, 10), outcomes=False)
    record(tmp_path / "seed0")
    from hmmdyn.checkpoints.find.discover import discover
    from hmmdyn.checkpoints.logs import find_outcomes

    found = find_outcomes(discover(tmp_path))
    assert found.outcomes == ("train_loss",)
    assert found.table["train_loss"].tolist() == [1.0, 1 / 11, 1 / 21]


@pytest.mark.parametrize(
    "damage",
    [
        {"l2": "much"},
        {"l2": True},
        {"train_loss": [1]},
        {"unchanged": 3},
        {"step": 10},
    ],
)
def test_damage_is_named(damage, tmp_path):
    record(tmp_path / "seed0")
    path = tmp_path / "seed0" / RECORDING
    lines = path.read_text().splitlines()
    lines[2] = json.dumps(json.loads(lines[2]) | damage)
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(TableError, match=r"hmmdyn-metrics.jsonl: "):
        read_recordings(tmp_path)


def test_a_folder_of_empty_recordings(tmp_path):
    MetricRecorder(tmp_path / "seed0").close()
    with pytest.raises(TableError, match="holds no row of a recorded run"):
        read_recordings(tmp_path)
    record(tmp_path / "seed1", seed=1)
    assert keys(read_recordings(tmp_path)) == [(tmp_path.name, "seed1", 1)]
