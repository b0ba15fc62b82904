"""How checkpoints are dealt to shards, and what a shard of an extraction holds."""

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hmmdyn.errors import ArchitectureMismatchError, CheckpointError, UsageError
from hmmdyn.metrics import extract as module
from hmmdyn.metrics.cache import place_for
from hmmdyn.metrics.extract import extract
from hmmdyn.metrics.shard import Shard
from hmmdyn.results.checkpoints import CheckpointFile
from tests.metrics.test_extract import index_of, runs_with_frozen, save, spoil, weights_of


def files_of(*lengths, group="g"):
    return [
        CheckpointFile(group, f"run{r}", step, None, Path(f"{group}/{r}/{step}"), "npz", 1, 1)
        for r, n in enumerate(lengths)
        for step in range(n)
    ]


@pytest.mark.parametrize("of", [1, 2, 3, 7, 16, 50])
def test_every_checkpoint_is_in_one_shard_and_shards_are_of_nearly_equal_size(of):
    files = files_of(154, 154, 20, 1)
    shards = [Shard(number, of).part_of(files) for number in range(1, of + 1)]
    assert Counter(file for shard in shards for file in shard) == Counter(files)
    for run in {file.run for file in files}:
        sizes = [sum(file.run == run for file in shard) for shard in shards]
        assert max(sizes) - min(sizes) <= 1
    for shard in shards:
        assert list(shard) == sorted(shard)


def test_a_longer_run_and_further_runs_move_no_checkpoint():
    before, after = files_of(10, 12), files_of(14, 12, 9) + files_of(5, group="another")
    for number in (1, 2, 3, 4, 5):
        shard = Shard(number, 5)
        assert set(shard.part_of(before)) <= set(shard.part_of(after))


def test_runs_do_not_all_begin_in_one_shard():
    """So that runs of one checkpoint, or of one more than the others, do not fill it."""
    files = files_of(*[1] * 400)
    sizes = [len(Shard(number, 4).part_of(files)) for number in (1, 2, 3, 4)]
    assert min(sizes) > 70  # of a binomial of 400 and 1/4, whose standard deviation is 8.7


@pytest.mark.parametrize("text", ["0/4", "5/4", "1/0", "3", "3/", "-1/4", "a/b", "1/4 ", "1.5/4"])
def test_what_is_no_shard_is_wrong_usage(text):
    with pytest.raises(UsageError, match="3/16"):
        Shard.parse(text)


def test_a_shard_is_written_as_it_is_read():
    assert Shard.parse("3/16") == Shard(3, 16)


@pytest.fixture
def runs(tmp_path):
    files = [
        save(tmp_path / "runs", f"seed{seed}", step, weights_of(seed, step), seed=seed)
        for seed in range(3)
        for step in range(0, 70, 10)
    ]
    return index_of(tmp_path / "runs", files)


def test_shards_have_the_rows_of_the_whole(runs):
    whole = extract(runs).table
    shards = [extract(runs, shard=Shard(number, 4)).table for number in (1, 2, 3, 4)]
    found = pd.concat(shards).sort_values(["run", "step"]).reset_index(drop=True)
    pd.testing.assert_frame_equal(found, whole, check_exact=True)


def test_a_shard_measures_its_own_and_looks_into_the_probes_alone(runs, monkeypatch):
    shard, measured = Shard(1, 4), []
    monkeypatch.setattr(
        module,
        "measure",
        lambda path, names, *given, **named: (
            measured.append((path, bool(names))) or really(path, names, *given, **named)
        ),
    )
    extract(runs, shard=shard)
    mine = {file.path for file in shard.part_of(runs.checkpoints)}
    probes = {file.path for file in runs.checkpoints if file.step in (0, 30, 60)}
    assert {path for path, _ in measured} == mine | probes
    assert {path for path, with_metrics in measured if with_metrics} == mine


really = module.measure


def test_a_shard_goes_on_where_it_was(runs, tmp_path, monkeypatch):
    cache, shard = tmp_path / "cache.parquet", Shard(2, 3)
    first = extract(runs, cache=cache, shard=shard)
    monkeypatch.setattr(module, "measure", lambda *a, **k: pytest.fail("measured again"))
    again = extract(runs, cache=cache, shard=shard)
    pd.testing.assert_frame_equal(first.table, again.table, check_exact=True)
    assert (again.n_computed, again.n_reused) == (0, len(first.table))


def test_what_was_only_looked_into_is_measured_by_who_needs_it(runs, tmp_path):
    cache = tmp_path / "cache.parquet"
    extract(runs, cache=cache, shard=Shard(1, 4))
    pd.testing.assert_frame_equal(
        extract(runs, cache=cache).table, extract(runs).table, check_exact=True
    )


def test_shards_have_places_of_their_own(tmp_path):
    places = {place_for(tmp_path), *(place_for(tmp_path, Shard(n, 2)) for n in (1, 2))}
    assert len(places) == 3


def test_a_tensor_frozen_in_any_run_is_left_out_of_every_shard(tmp_path):
    index = runs_with_frozen(tmp_path)
    whole = extract(index)
    assert whole.frozen == {"g": ("fc2.weight",)}
    for number in range(1, 9):
        found = extract(index, shard=Shard(number, 8))
        assert found.frozen == whole.frozen
        assert found.table["l1"].isin(whole.table["l1"]).all()


def test_metrics_of_biases_go_from_every_shard_where_a_group_has_none(tmp_path):
    files = []
    for group in ("with", "without"):
        for step in range(4):
            tensors = weights_of(0, step)
            if group == "without":
                del tensors["fc1.bias"]
            files.append(save(tmp_path, "a", step, tensors, group=group))
    index = index_of(tmp_path, files)
    for number in range(1, 5):
        assert extract(index, shard=Shard(number, 4)).metrics == extract(index).metrics


def test_an_odd_architecture_is_noticed_by_the_shard_that_holds_it(runs):
    odd = next(file for file in runs.checkpoints if file.step == 10)  # no probe
    save(runs.root, odd.run, odd.step, weights_of(0, 0, shape=(8, 4)))
    for number in (1, 2, 3):
        shard = Shard(number, 3)
        if odd in shard.part_of(runs.checkpoints):
            with pytest.raises(ArchitectureMismatchError, match="1 checkpoint"):
                extract(runs, shard=shard)
        else:
            extract(runs, shard=shard)


def test_a_bad_checkpoint_is_told_by_the_shard_that_holds_it(runs):
    runs = spoil(runs, 1)
    told = []
    for number in (1, 2, 3):
        shard = Shard(number, 3)
        if runs.checkpoints[1] in shard.part_of(runs.checkpoints):
            with pytest.raises(CheckpointError, match="1 of"):
                extract(runs, shard=shard)
            told += [n.subject for n in extract(runs, shard=shard, skip_bad=True).notices]
        else:
            extract(runs, shard=shard)
    assert told == ["g/seed0/step_10.npz"]


def test_a_shard_without_checkpoints_is_an_empty_table_of_the_same_columns(tmp_path):
    file = save(tmp_path, "a", 0, weights_of(0, 0))
    shards = [extract(index_of(tmp_path, [file]), shard=Shard(n, 2)).table for n in (1, 2)]
    assert sorted(map(len, shards)) == [0, 1]
    assert list(shards[0].columns) == list(shards[1].columns)


def test_metrics_of_whole_runs_are_left_to_the_merge(runs):
    found = extract(runs, metrics=["path_length"], shard=Shard(1, 2))
    assert found.metrics == ("step_l2",)
    whole = extract(runs, metrics=["step_l2"]).table.set_index(["run", "step"])["step_l2"]
    mine = found.table.set_index(["run", "step"])["step_l2"]
    np.testing.assert_array_equal(mine, whole.loc[mine.index])
