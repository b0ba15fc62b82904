from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from joblib.externals.loky.process_executor import TerminatedWorkerError

from hmmdyn.checkpoints.parameters import ParameterRules
from hmmdyn.errors import (
    ArchitectureMismatchError,
    CheckpointError,
    HmmdynError,
    NoWeightsError,
    OutputError,
    UsageError,
)
from hmmdyn.metrics import extract as module
from hmmdyn.metrics.extract import extract
from hmmdyn.metrics.measure import measure
from hmmdyn.results.checkpoints import CheckpointFile, CheckpointIndex


def weights_of(seed, step, shape=(6, 4)):
    """A two-layer network that moves at every step."""
    rng = np.random.default_rng([seed, step])
    return {
        "fc1.weight": rng.normal(size=shape).astype(np.float32),
        "fc1.bias": rng.normal(size=shape[0]).astype(np.float32),
        "fc2.weight": rng.normal(size=(2, shape[0])).astype(np.float32),
    }


def save(root, run, step, tensors, group="g", seed=None):
    path = root / group / run / f"step_{step}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **tensors)
    return file_at(path, run, step, group, seed)


def file_at(path, run, step, group="g", seed=None):
    stat = path.stat()
    return CheckpointFile(group, run, step, seed, path, "npz", stat.st_size, stat.st_mtime_ns)


def index_of(root, files):
    return CheckpointIndex(root, tuple(files), "step")


@pytest.fixture
def runs(tmp_path):
    """Three runs of four checkpoints."""
    root = tmp_path / "runs"
    files = [
        save(root, f"seed{seed}", step, weights_of(seed, step), seed=seed)
        for seed in range(3)
        for step in (0, 10, 20, 30)
    ]
    return index_of(root, files)


def kinds(extraction, kind):
    return [notice for notice in extraction.notices if notice.kind == kind]


def forbid_measuring(monkeypatch):
    monkeypatch.setattr(module, "measure", lambda *a, **k: pytest.fail("a checkpoint was measured"))


# The table


def test_one_row_per_checkpoint_with_its_metrics_and_where_it_came_from(runs):
    found = extract(runs)
    table = found.table
    assert list(table.columns) == [
        *("group", "run", "seed", "step"),
        *found.metrics,
        *("path", "size", "mtime_ns"),
    ]
    assert len(found.metrics) == 14
    assert found.stored_outcomes == ()
    assert table["path"].iloc[5] == "g/seed1/step_10.npz"
    assert table["size"].tolist() == [file.size for file in runs.checkpoints]
    assert table["seed"].dtype == "Int64"
    assert table["step"].tolist() == [0, 10, 20, 30] * 3
    for file, row in zip(runs.checkpoints, table.itertuples(), strict=True):
        expected = measure(file.path, None, ParameterRules()).metrics
        assert {name: getattr(row, name) for name in found.metrics} == expected
    assert (found.n_computed, found.n_reused) == (12, 0)
    assert not found.notices


def test_missing_seeds_and_chosen_metrics(runs):
    index = index_of(runs.root, [replace(file, seed=None) for file in runs.checkpoints])
    found = extract(index, metrics=["var_w", "l1"])
    assert found.metrics == ("l1", "var_w")
    assert found.table["seed"].isna().all()


def test_outcomes_stored_in_checkpoints(tmp_path):
    files = [
        save(tmp_path, "a", step, {**weights_of(0, step), **extra})
        for step, extra in [(0, {"loss": 2.0}), (1, {"loss": 1.0, "acc": 0.5}), (2, {})]
    ]
    found = extract(index_of(tmp_path, files))
    assert found.stored_outcomes == ("acc", "loss")
    np.testing.assert_array_equal(found.table["loss"], [2, 1, np.nan])
    np.testing.assert_array_equal(found.table["acc"], [np.nan, 0.5, np.nan])


def test_progress_runs_to_the_end(runs, tmp_path):
    seen = []
    for _ in range(2):  # computed, then from the cache
        extract(runs, cache=tmp_path / "c.parquet", progress=lambda *now: seen.append(now))
        done, total = zip(*seen, strict=True)
        assert list(done) == sorted(done)
        assert done[-1] == total[0] == total[-1]
        seen.clear()


def test_processes_give_the_same_bytes(runs, tmp_path):
    one = extract(runs, cache=tmp_path / "one.parquet")
    two = extract(runs, cache=tmp_path / "two.parquet", n_jobs=2)
    pd.testing.assert_frame_equal(one.table, two.table, check_exact=True)
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()


def test_workers_find_relative_paths_after_the_caller_has_moved(tmp_path, monkeypatch):
    for place in ("here", "there"):  # workers of the first call live on for the second
        (tmp_path / place).mkdir()
        monkeypatch.chdir(tmp_path / place)
        root = Path("runs")
        files = [save(root, "seed0", step, weights_of(0, step)) for step in range(4)]
        assert len(extract(index_of(root, files), n_jobs=2).table) == 4


def test_a_worker_that_is_killed(runs, monkeypatch):
    class Killed:
        def __init__(self, **_):
            pass

        def __call__(self, calls):
            raise TerminatedWorkerError("killed")

    monkeypatch.setattr(module.joblib, "Parallel", Killed)
    with pytest.raises(HmmdynError, match="jobs=1"):
        extract(runs, n_jobs=2)


def test_no_processes_is_a_mistake(runs):
    with pytest.raises(UsageError, match="n_jobs"):
        extract(runs, n_jobs=0)


# The cache


def test_the_second_time_computes_and_writes_nothing(runs, tmp_path, monkeypatch):
    cache = tmp_path / "new folder" / "cache.parquet"
    first = extract(runs, cache=cache)
    written = cache.stat().st_mtime_ns
    forbid_measuring(monkeypatch)
    second = extract(runs, cache=cache)
    pd.testing.assert_frame_equal(first.table, second.table, check_exact=True)
    assert second.notices == first.notices
    assert (second.n_computed, second.n_reused) == (0, 12)
    assert cache.stat().st_mtime_ns == written


def test_only_what_changed_is_computed_again(runs, tmp_path):
    cache = tmp_path / "cache.parquet"
    extract(runs, cache=cache)
    changed = save(runs.root, "seed1", 10, weights_of(7, 7), seed=1)
    files = [changed if f.path == changed.path else f for f in runs.checkpoints]
    found = extract(index_of(runs.root, files), cache=cache)
    assert (found.n_computed, found.n_reused) == (1, 11)
    expected = extract(index_of(runs.root, files))
    pd.testing.assert_frame_equal(found.table, expected.table, check_exact=True)


@pytest.mark.parametrize(
    "options", [{"metrics": ["shape"]}, {"rules": ParameterRules(exclude=("fc2",))}]
)
def test_other_options_compute_everything_again(runs, tmp_path, options):
    cache = tmp_path / "cache.parquet"
    extract(runs, cache=cache)
    found = extract(runs, cache=cache, **options)
    assert found.n_computed == 12
    pd.testing.assert_frame_equal(found.table, extract(runs, **options).table, check_exact=True)


def test_a_new_version_of_the_metrics_computes_everything_again(runs, tmp_path, monkeypatch):
    extract(runs, cache=tmp_path / "c.parquet")
    monkeypatch.setattr("hmmdyn.metrics.cache.VERSION", -1)
    assert extract(runs, cache=tmp_path / "c.parquet").n_computed == 12


def test_two_folders_share_a_cache_without_mixing(runs, tmp_path):
    cache, other = tmp_path / "c.parquet", tmp_path / "other"
    extract(runs, cache=cache)
    file = save(other, "seed0", 0, weights_of(9, 9))
    twin = replace(file, size=runs.checkpoints[0].size, mtime_ns=runs.checkpoints[0].mtime_ns)
    assert extract(index_of(other, [twin]), cache=cache).n_computed == 1
    assert extract(runs, cache=cache).n_reused == 12


@pytest.mark.parametrize(
    # Nine probes, which are then taken from the cache, and the three other checkpoints.
    ("after", "kept"),
    [(0, 0), (1, 1), (4, 4), (9, 9), (10, 10), (11, 11)],
)
def test_interrupted_and_started_again(runs, tmp_path, after, kept):
    extract(runs, cache=tmp_path / "whole.parquet")
    cache = tmp_path / "cache.parquet"

    def interrupt(done, total):
        if done == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract(runs, cache=cache, progress=interrupt)
    found = extract(runs, cache=cache)
    assert found.n_reused == kept
    assert cache.read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cache.parquet", "runs", "whole.parquet"]


def test_killed_and_started_again(runs, tmp_path):
    cache = tmp_path / "cache.parquet"
    script = f"""
import os
from pathlib import Path
from hmmdyn.checkpoints.find.discover import discover
from hmmdyn.metrics import cache
from hmmdyn.metrics.extract import extract
cache._FLUSH_SECONDS, cache._MOST_TIME_WRITING = -1.0, float("inf")  # write at once
index = discover(Path({str(runs.root)!r}))
extract(
    index,
    cache=Path({str(cache)!r}),
    progress=lambda done, total: os._exit(9) if done == 7 else None,
)
"""
    done = subprocess.run([sys.executable, "-c", script], check=False)
    assert done.returncode == 9
    found = extract(runs, cache=cache)
    assert found.n_reused == 7
    pd.testing.assert_frame_equal(found.table, extract(runs).table, check_exact=True)


def test_a_file_in_the_place_of_the_cache_is_left_alone(runs, tmp_path):
    place = tmp_path / "notes.parquet"
    place.write_bytes(b"my notes")
    with pytest.raises(OutputError, match="in the way"):
        extract(runs, cache=place)
    assert place.read_bytes() == b"my notes"


def test_a_table_of_something_else_is_left_alone(runs, tmp_path):
    pq.write_table(pa.table({"step": [1]}), tmp_path / "t.parquet")
    with pytest.raises(OutputError, match="in the way"):
        extract(runs, cache=tmp_path / "t.parquet")


def test_a_cache_of_another_layout_is_replaced(runs, tmp_path):
    other = pa.table({"path": ["x"]}).replace_schema_metadata({"hmmdyn": "measurements"})
    pq.write_table(other, tmp_path / "c.parquet")
    assert extract(runs, cache=tmp_path / "c.parquet").n_computed == 12
    assert extract(runs, cache=tmp_path / "c.parquet").n_reused == 12


def test_a_cache_that_cannot_be_written_shows_before_any_work(runs, tmp_path, monkeypatch):
    (tmp_path / "folder").symlink_to(tmp_path / "nowhere")
    forbid_measuring(monkeypatch)
    with pytest.raises(OutputError, match="Choose a place that can be written"):
        extract(runs, cache=tmp_path / "folder" / "cache.parquet")


# Bad checkpoints


def spoil(index, *which):
    for i in which:
        path = index.checkpoints[i].path
        path.write_bytes(path.read_bytes()[:-40])
    return index_of(
        index.root,
        [file_at(f.path, f.run, f.step, f.group, f.seed) for f in index.checkpoints],
    )


def test_all_bad_files_are_named_at_once_and_the_others_kept(runs, tmp_path, monkeypatch):
    runs, cache = spoil(runs, 3, 5), tmp_path / "cache.parquet"
    with pytest.raises(CheckpointError) as caught:
        extract(runs, cache=cache)
    message = str(caught.value)
    assert message.startswith("2 of 12 checkpoints cannot be read:")
    assert "step_30.npz: it is truncated" in message
    assert "step_10.npz: it is truncated" in message
    assert "skip_bad=True" in message

    found = extract(runs, cache=cache, skip_bad=True)
    assert found.n_reused == len(found.table) == 10
    assert [n.subject for n in found.notices] == ["g/seed0/step_30.npz", "g/seed1/step_10.npz"]
    assert {(n.stage, n.kind) for n in found.notices} == {("reading", "left out")}


def test_nothing_but_bad_files(runs):
    runs = spoil(runs, *range(12))
    for skip_bad in (False, True):
        with pytest.raises(CheckpointError, match=r"12 of 12[\s\S]*and 2 more\nThere is nothing"):
            extract(runs, skip_bad=skip_bad)


def test_weights_that_are_not_finite_are_named(tmp_path):
    files = []
    for step in range(4):
        tensors = weights_of(0, step)
        if step >= 2:
            tensors["fc1.weight"][0, 0] = np.nan
        files.append(save(tmp_path, "seed0", step, tensors))
    found = extract(index_of(tmp_path, files))
    assert found.table["l1"].isna().tolist() == [False, False, True, True]
    (notice,) = kinds(found, "odd")
    assert notice.subject == "run seed0"
    assert "NaN or infinity in fc1.weight at 2 of its 4 checkpoints (2, 3)" in notice.message


@pytest.mark.parametrize("step", [0, 10])  # a probed checkpoint, and one that is not
def test_different_architectures_in_a_group(tmp_path, step):
    files = [
        save(tmp_path, f"seed{seed}", s, weights_of(seed, s))
        for seed in range(3)
        for s in (0, 10, 20, 30)
    ]
    odd = {**weights_of(1, step, shape=(8, 4)), "extra.weight": np.ones((2, 2))}
    del odd["fc1.bias"]
    save(tmp_path, "seed1", step, odd)
    with pytest.raises(ArchitectureMismatchError) as caught:
        extract(index_of(tmp_path, files))
    message = str(caught.value)
    assert "run seed1, 1 checkpoint: fc1.weight is 8 × 4, elsewhere 6 × 4; " in message
    assert "fc1.bias is missing; … 4 differences in all" in message
    assert "seed0" not in message
    other_group = [replace(f, group=f.run) for f in files if (f.run, f.step) != ("seed1", step)]
    assert len(extract(index_of(tmp_path, other_group)).table) == 11


def test_no_weights(tmp_path):
    file = save(tmp_path, "seed0", 0, {"wte.weight": np.ones((9, 2))})
    with pytest.raises(NoWeightsError, match="1 embedding"):
        extract(index_of(tmp_path, [file]))


# What is left out


def runs_with_frozen(root, frozen_in=("seed0",), steps=(0, 1, 2, 3, 4), n_runs=2):
    files = []
    for seed in range(n_runs):
        for step in steps:
            tensors = weights_of(seed, step)
            if f"seed{seed}" in frozen_in:
                tensors["fc2.weight"] = weights_of(seed, 0)["fc2.weight"]
            files.append(save(root, f"seed{seed}", step, tensors))
    return index_of(root, files)


def test_a_tensor_that_never_changes_is_left_out_of_the_whole_group(tmp_path, monkeypatch):
    index, cache = runs_with_frozen(tmp_path / "runs"), tmp_path / "cache.parquet"
    found = extract(index, cache=cache)
    (notice,) = kinds(found, "left out")
    assert notice.subject == "tensors of group g"
    assert "fc2.weight" in notice.message
    assert "seed0" in notice.message
    expected = extract(index, rules=ParameterRules(exclude=("fc2",)))
    pd.testing.assert_frame_equal(found.table, expected.table, check_exact=True)
    assert found.n_computed == 10

    forbid_measuring(monkeypatch)
    again = extract(index, cache=cache)
    pd.testing.assert_frame_equal(found.table, again.table, check_exact=True)
    assert again.notices == found.notices


def test_other_groups_keep_the_tensor(tmp_path):
    index = runs_with_frozen(tmp_path)
    index = index_of(tmp_path, [replace(file, group=file.run) for file in index.checkpoints])
    assert [n.subject for n in kinds(extract(index), "left out")] == ["tensors of group seed0"]


def test_a_tensor_that_changes_later_on_comes_back(tmp_path):
    cache = tmp_path / "cache.parquet"
    index = runs_with_frozen(tmp_path / "runs")
    extract(index, cache=cache)
    longer = [
        *index.checkpoints[:5],
        save(index.root, "seed0", 5, weights_of(0, 5)),
        *index.checkpoints[5:],
    ]
    found = extract(index_of(index.root, longer), cache=cache)
    assert not found.notices
    expected = extract(index_of(index.root, longer))
    pd.testing.assert_frame_equal(found.table, expected.table, check_exact=True)


def test_a_run_that_never_changes_is_odd_and_freezes_nothing(tmp_path):
    dead = [save(tmp_path, "dead", step, weights_of(5, 0)) for step in range(3)]
    live = [save(tmp_path, "live", step, weights_of(0, step)) for step in range(3)]
    found = extract(index_of(tmp_path, dead + live))
    (notice,) = found.notices
    assert (notice.kind, notice.subject) == ("odd", "run dead")


def test_one_checkpoint_says_nothing_about_change(tmp_path):
    file = save(tmp_path, "seed0", 0, weights_of(0, 0))
    assert not extract(index_of(tmp_path, [file])).notices


def test_left_out_tensors_are_counted_and_named_once_per_group(tmp_path):
    files = [
        save(
            tmp_path,
            "a",
            step,
            {**weights_of(0, step), "wte.weight": np.ones((9, 2)), "ln.weight": np.ones(2)},
        )
        for step in range(3)
    ]
    (notice,) = extract(index_of(tmp_path, files)).notices
    assert (notice.stage, notice.kind, notice.subject) == (
        "metrics",
        "left out",
        "tensors of group g",
    )
    assert "1 embedding (wte.weight); 1 normalisation (ln.weight)" in notice.message
    assert "2 weights and 1 bias." in notice.message


@pytest.mark.parametrize("all_groups", [True, False])
def test_bias_metrics_need_biases_in_every_group(tmp_path, all_groups):
    files = []
    for group in ("with", "without"):
        for step in range(3):
            tensors = weights_of(0, step)
            if all_groups or group == "without":
                del tensors["fc1.bias"]
            files.append(save(tmp_path, "a", step, tensors, group=group))
    found = extract(index_of(tmp_path, files))
    assert len(found.metrics) == 11
    assert not {"mean_b", "median_b", "var_b"} & set(found.table.columns)
    (notice,) = found.notices
    assert notice.subject == "metrics mean_b, median_b, var_b"
    assert ("group without" in notice.message) is not all_groups
