"""Folders on disk, empty files in the places that people put checkpoints."""

import os
import random
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmmdyn.checkpoints.find import layouts
from hmmdyn.checkpoints.find.discover import discover, summarise
from hmmdyn.checkpoints.find.walking import regular_file, walk
from hmmdyn.errors import (
    DuplicateCheckpointError,
    LayoutError,
    NoCheckpointsError,
    UsageError,
)


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "mnist"
    folder.mkdir()
    return folder


def fill(root, *paths, content=b"x"):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)


def found(index):
    return {
        file.path.relative_to(index.root).as_posix(): (file.group, file.run, file.seed, file.step)
        for file in index.checkpoints
    }


def left_out(index):
    return " ".join(notice.message for notice in index.notices if notice.kind == "left out")


def odd(index):
    return " ".join(notice.message for notice in index.notices if notice.kind == "odd")


# ------------------------------------------------------------------------------------ layouts


def test_groups_runs_and_steps_in_natural_order(root):
    paths = [
        f"runs/wd{wd}/seed{seed}/step_{step}.npz"
        for wd in ("0.1", "1")
        for seed in (2, 10)
        for step in (5, 40, 300)
    ]
    shuffled = list(paths)
    random.Random(0).shuffle(shuffled)
    fill(root, *shuffled)
    index = discover(root)
    assert [file.path.relative_to(root).as_posix() for file in index.checkpoints] == paths
    assert {(file.group, file.run, file.seed) for file in index.checkpoints} == {
        (group, f"seed{seed}", seed) for group in ("wd0.1", "wd1") for seed in (2, 10)
    }
    assert index.step_unit == "step"
    assert index.notices == ()


def test_hugging_face_trainer(root):
    for step, weights in ((500, "model.safetensors"), (1000, "pytorch_model.bin")):
        folder = f"seed_3/checkpoint-{step}"
        for file in (
            weights,
            "optimizer.pt",
            "scheduler.pt",
            "rng_state_0.pth",
            "training_args.bin",
            "trainer_state.json",
            "tokenizer.json",
            "config.json",
        ):
            fill(root, f"{folder}/{file}")
    fill(root, "seed_3/model.safetensors", "seed_3/training_args.bin")  # saved at the end
    fill(root, "seed_3/tmp-checkpoint-1500/model.safetensors")  # cut short while saving
    index = discover(root)
    assert found(index) == {
        "seed_3/checkpoint-500/model.safetensors": ("mnist", "seed_3", 3, 500),
        "seed_3/checkpoint-1000/pytorch_model.bin": ("mnist", "seed_3", 3, 1000),
    }
    assert [file.format for file in index.checkpoints] == ["safetensors", "pytorch"]
    assert "1 path left out (seed_3/model.safetensors): no step or epoch" in left_out(index)
    assert "tmp-checkpoint-1500/model.safetensors): a temporary file" in left_out(index)


@pytest.mark.parametrize(
    ("stem", "suffix", "format_name"),
    [
        ("model", ".safetensors", "safetensors (sharded)"),
        ("pytorch_model", ".bin", "pytorch (sharded)"),
    ],
)
def test_shards_are_one_checkpoint(root, stem, suffix, format_name):
    for step in (1, 2):
        folder = root / f"seed0/checkpoint-{step}"
        fill(folder, f"{stem}{suffix}.index.json", content=b"{}")
        for shard in (1, 2, 3):
            fill(folder, f"{stem}-0000{shard}-of-00003{suffix}", content=b"12345")
        os.utime(folder / f"{stem}-00002-of-00003{suffix}", ns=(step, 10**18 + step))
        for file in folder.iterdir():
            if "00002-of" not in file.name:
                os.utime(file, ns=(0, 10**17))
    index = discover(root)
    assert found(index) == {
        "seed0/checkpoint-1": ("mnist", "seed0", 0, 1),
        "seed0/checkpoint-2": ("mnist", "seed0", 0, 2),
    }
    assert {file.format for file in index.checkpoints} == {format_name}
    assert {file.size for file in index.checkpoints} == {17}
    assert [file.mtime_ns for file in index.checkpoints] == [10**18 + 1, 10**18 + 2]


def test_two_formats_of_one_checkpoint(root):
    for step in (1, 2):
        fill(root, f"seed0/checkpoint-{step}/model.safetensors")
        fill(root, f"seed0/checkpoint-{step}/pytorch_model.bin")
    index = discover(root)
    assert {file.path.name for file in index.checkpoints} == {"model.safetensors"}
    assert "2 paths left out (seed0/checkpoint-1/pytorch_model.bin, " in left_out(index)


def test_lightning(root):
    for version in (0, 1):
        folder = f"lightning_logs/version_{version}/checkpoints"
        fill(root, *(f"{folder}/epoch={e}-step={100 * (e + 1)}.ckpt" for e in range(3)))
        fill(root, f"{folder}/last.ckpt", f"{folder}/last-v1.ckpt")
    index = discover(root)
    assert {(f.group, f.run, f.seed) for f in index.checkpoints} == {
        ("mnist", "version_0", None),
        ("mnist", "version_1", None),
    }
    assert [file.step for file in index.checkpoints] == [100, 200, 300] * 2
    assert "4 paths left out" in left_out(index)
    assert "an alias" in left_out(index)


def test_lightning_versions_below_named_runs(root):
    for run in ("adam", "sgd"):
        for version in (0, 1):
            fill(root, f"logs/{run}/version_{version}/checkpoints/epoch=1-step=5.ckpt")
    assert {(f.group, f.run) for f in discover(root).checkpoints} == {
        (run, f"version_{version}") for run in ("adam", "sgd") for version in (0, 1)
    }


def test_hydra_sweeps(root):
    fill(root, *(f"multirun/2024-01-01/12-00-00/{job}/step_1.pt" for job in range(3)))
    assert {(f.group, f.run) for f in discover(root).checkpoints} == {
        ("mnist", str(job)) for job in range(3)
    }
    fill(root, *(f"multirun/2024-01-02/09-30-00/{job}/step_1.pt" for job in range(3)))
    assert {(f.group, f.run) for f in discover(root).checkpoints} == {
        (group, str(job))
        for job in range(3)
        for group in ("2024-01-01/12-00-00", "2024-01-02/09-30-00")
    }


def test_a_seed_started_twice_is_not_guessed(root):
    fill(root, *(f"seed0/lightning_logs/version_{v}/step_{v}.ckpt" for v in (0, 1)))
    with pytest.raises(LayoutError, match=r"version_0.*version_1.*resumed or two runs"):
        discover(root)


def test_one_run(root):
    fill(root, "epoch_0001.pt", "epoch_0010.pt")
    index = discover(root)
    assert found(index) == {
        "epoch_0001.pt": ("mnist", "mnist", None, 1),
        "epoch_0010.pt": ("mnist", "mnist", None, 10),
    }
    assert index.step_unit == "epoch"


def test_one_folder_of_many_runs(root):
    fill(root, *(f"seed{s}_step{t}.npz" for s in (0, 1) for t in (100, 200)))
    assert found(discover(root))["seed1_step200.npz"] == ("mnist", "seed1", 1, 200)


def test_the_current_folder_has_a_name(root, monkeypatch):
    fill(root, "seed0/step_1.pt")
    monkeypatch.chdir(root)
    assert discover(Path()).checkpoints[0].group == "mnist"


def test_every_suffix(root):
    formats = {
        "safetensors": ("safetensors",),
        "npz": ("npz",),
        "npy": ("npy",),
        "pytorch": ("pt", "pth", "pth.tar", "bin", "ckpt", "PT"),
        "keras": ("keras",),
        "hdf5": ("h5", "hdf5", "weights.h5"),
        "flax": ("msgpack",),
    }
    suffixes = [(name, suffix) for name, group in formats.items() for suffix in group]
    fill(root, *(f"seed0/step_{i}.{suffix}" for i, (_, suffix) in enumerate(suffixes)))
    index = discover(root)
    assert [file.format for file in index.checkpoints] == [name for name, _ in suffixes]
    assert [file.step for file in index.checkpoints] == list(range(len(suffixes)))


# ------------------------------------------------------------------------------- step or epoch


def test_epochs_serve_where_all_have_them(root):
    fill(root, "seed0/epoch=1-step=10.ckpt", "seed0/epoch_2.ckpt")
    index = discover(root)
    assert (index.step_unit, [file.step for file in index.checkpoints]) == ("epoch", [1, 2])


def test_steps_and_epochs_do_not_mix(root):
    fill(root, "seed0/epoch_1.ckpt", "seed1/step_10.ckpt", "seed1/step_20.ckpt")
    with pytest.raises(LayoutError, match=r"1 tell only an epoch \(seed0/.*2 only a step"):
        discover(root)
    assert len(discover(root, "seed{seed}/step_{step}.ckpt").checkpoints) == 2


# -------------------------------------------------------------------------- what is no checkpoint


def test_aliases_with_a_step_give_way(root):
    fill(root, "seed0/epoch_1.pt", "seed0/epoch_2.pt", "seed0/best_epoch_2.pt", "seed0/final.pt")
    index = discover(root)
    assert list(found(index)) == ["seed0/epoch_1.pt", "seed0/epoch_2.pt"]
    assert "(seed0/best_epoch_2.pt): an alias of a checkpoint that is there" in left_out(index)
    assert "(seed0/final.pt): an alias such as last or best" in left_out(index)
    # Where it repeats nothing, it is a checkpoint of its own.
    fill(root, "seed0/best_epoch_3.pt")
    assert [file.step for file in discover(root).checkpoints] == [1, 2, 3]


def test_an_alias_has_no_vote_on_the_unit(root):
    fill(root, "seed0/step_1.pt", "seed0/step_2.pt", "seed0/best_epoch_2.pt")
    index = discover(root)
    assert (index.step_unit, len(index.checkpoints)) == ("step", 2)
    assert "best_epoch_2.pt" in left_out(index)


def test_training_state_and_temporary_files_are_passed_over(root):
    fill(root, "seed0/step_1.pt")
    fill(
        root,
        *(f"seed0/{name}" for name in ("optimizer_step_1.pt", "step_1_scheduler.pt")),
        *(f"seed0/{name}" for name in ("step_2.pt.tmp", ".step_3.pt", ".~lock", "scaler.pt")),
        "seed0/__pycache__/step_4.pt",
        "hmmdyn-report/step_5.npz",
        ".cache/seed0/step_6.pt",
    )
    index = discover(root)
    assert list(found(index)) == ["seed0/step_1.pt"]
    assert left_out(index) == ""


def test_other_arrays_are_left_out_with_a_notice(root):
    fill(root, "seed0/step_1.npz", "seed0/metrics.npz", "data/train.npz")
    index = discover(root)
    assert list(found(index)) == ["seed0/step_1.npz"]
    assert "2 paths left out (data/train.npz, seed0/metrics.npz)" in left_out(index)


# ---------------------------------------------------------------------------- what is not certain


def test_no_step_anywhere(root):
    fill(root, "0/model.pt", "1/model.pt")
    with pytest.raises(LayoutError, match=r"(?s)2 of the 2.*0/model.pt: no step.*layout=") as info:
        discover(root)
    assert not isinstance(info.value, NoCheckpointsError)


def test_a_whole_seed_is_not_lost(root):
    fill(root, "seed0/step_1.pt", "seed1/model_a.pt")
    with pytest.raises(LayoutError, match=r"1 of the 2 .*\n  seed1/model_a.pt: no step"):
        discover(root)


@pytest.mark.parametrize(
    "paths", [("a_step_1.pt", "b_step_2.pt"), ("s/a_step_1.pt", "s/step_2.pt")]
)
def test_checkpoints_of_a_run_are_named_alike(root, paths):
    fill(root, *paths)
    with pytest.raises(LayoutError, match="named differently: they may be two runs"):
        discover(root)


def test_duplicates_are_all_named(root):
    fill(root, "seed0/step_1.pt", "seed0/step_001.pt", "seed0/step_1.npz", "seed0/step_2.pt")
    fill(root, "seed1/step_3.pt", "seed1/step_3.bin")
    with pytest.raises(DuplicateCheckpointError) as info:
        discover(root)
    message = str(info.value)
    assert "step 1 of run seed0, group mnist" in message
    for path in ("seed0/step_1.pt", "seed0/step_001.pt", "seed0/step_1.npz"):
        assert path in message
    assert "seed1/step_3.bin and seed1/step_3.pt" in message
    assert "step_2" not in message


def test_many_duplicates_are_counted(root):
    fill(root, *(f"seed0/{prefix}step_{i}.pt" for i in range(9) for prefix in ("", "0_")))
    with pytest.raises(DuplicateCheckpointError, match=r"… \(9 in all\)"):
        discover(root)


# ------------------------------------------------------------------------------------- --layout


def test_layout(root):
    fill(root, *(f"{g}/{s}/{t}/w.pt" for g in "ab" for s in (0, 1) for t in (5, 6)))
    fill(root, "a/notes.pt")
    with pytest.raises(LayoutError):
        discover(root)
    for pattern in (
        "{group}/{seed}/{step}/w.pt",
        "{group}/{seed}/{step}",
        "{group}/{seed}/{step}/*",
    ):
        index = discover(root, pattern)
        assert found(index)["b/1/6/w.pt"] == ("b", "seed1", 1, 6)
        assert len(index.checkpoints) == 8
        assert "1 path left out (a/notes.pt): layout=" in left_out(index)


def test_layout_reaches_the_second_format_and_shards(root):
    fill(root, "x/checkpoint-1/model.safetensors", "x/checkpoint-1/pytorch_model.bin")
    fill(root, "x/checkpoint-2/model-00001-of-00001.safetensors")
    index = discover(root, "{run}/checkpoint-{step}/pytorch_model.bin")
    assert [file.format for file in index.checkpoints] == ["pytorch"]
    index = discover(root, "{run}/checkpoint-{step}")
    assert [f.format for f in index.checkpoints] == ["safetensors", "safetensors (sharded)"]


def test_layout_that_fits_nothing(root):
    fill(root, "seed0/step_1.pt")
    with pytest.raises(
        LayoutError, match=r"(?s)'runs/\{step\}.pt' fits none of the 1.*seed0/step_1"
    ):
        discover(root, "runs/{step}.pt")


def test_layout_errors(root):
    fill(root, "a/0/1.pt", "a/1/2.pt", "a/0/1.npz")
    with pytest.raises(UsageError, match="placeholder"):
        discover(root, "{sead}/{step}.pt")
    with pytest.raises(LayoutError, match=r"both be run a .* two runs"):
        discover(root, "{run}/{seed}/{step}.pt")
    with pytest.raises(DuplicateCheckpointError, match=r"a/0/1.npz and a/0/1.pt"):
        discover(root, "{group}/{run}/{step}.*")


# ----------------------------------------------------------------------------- nothing to be found


@pytest.mark.parametrize("as_layout", [None, "seed{seed}/step_{step}.pt"])
def test_nothing_to_be_found(root, as_layout):
    with pytest.raises(NoCheckpointsError, match="does not exist"):
        discover(root / "missing", as_layout)
    with pytest.raises(NoCheckpointsError, match="is empty: it holds no files"):
        discover(root, as_layout)
    fill(root, "notes.txt", "seed0/metrics.csv", "seed1/metrics.csv", "README", "optimizer.pt")
    with pytest.raises(NoCheckpointsError, match="is a file, not a folder"):
        discover(root / "notes.txt", as_layout)
    with pytest.raises(
        NoCheckpointsError,
        match=r"by suffix: \.csv \(2\), no suffix \(1\), \.pt \(1\), \.txt \(1\)",
    ):
        discover(root, as_layout)
    with pytest.raises(NoCheckpointsError, match="null byte"):
        discover(Path("a\0b"), as_layout)


# -------------------------------------------------------------------------- hostile file systems


def test_links(root, tmp_path):
    fill(root, "seed0/step_1.pt", "seed0/step_2.pt")
    fill(tmp_path / "elsewhere", "step_1.pt")
    (root / "seed0" / "up").symlink_to(root)
    (root / "seed0" / "out").symlink_to(tmp_path)
    (root / "seed0" / "latest").symlink_to(root / "seed0")
    (root / "best").symlink_to(root / "seed0")
    (root / "seed0" / "last.pt").symlink_to(root / "seed0" / "step_2.pt")
    (root / "seed1").symlink_to(tmp_path / "elsewhere")
    (root / "seed2").symlink_to(tmp_path / "gone")
    (root / "itself").symlink_to(root / "itself")
    (root / "seed0" / "step_3.pt").symlink_to(tmp_path / "gone.pt")
    index = discover(root)
    assert list(found(index)) == ["seed0/step_1.pt", "seed0/step_2.pt", "seed1/step_1.pt"]
    told = left_out(index)
    assert "3 paths left out (itself, seed0/step_3.pt, seed2): a link that leads nowhere." in told
    assert "(best, seed0/latest, seed0/out, seed0/up): a link to a folder read under" in told


def test_links_among_folders_do_not_multiply(root):
    fill(root, *(f"seed{i}/step_1.pt" for i in range(12)))
    for i in range(12):
        for j in range(12):
            (root / f"seed{i}" / f"to{j}").symlink_to(root / f"seed{j}")
    assert len(list(walk(root, {}))) == 13
    assert len(discover(root).checkpoints) == 12


def test_parts_of_keras_weights_are_no_steps(root):
    fill(root, *(f"seed0/step{name}" for name in ("_00000.weights.h5", "_00001.weights.h5")))
    assert len(discover(root).checkpoints) == 2
    fill(root, "seed0/step.weights.json", "seed0/epoch_00002.weights.h5")
    index = discover(root)
    assert list(found(index)) == ["seed0/epoch_00002.weights.h5"]
    assert "seed0/step_00001.weights.h5): a part of Keras weights" in left_out(index)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_not_opened(root):
    fill(root, "seed0/step_1.pt")
    os.mkfifo(root / "seed0" / "step_2.pt")
    index = discover(root)
    assert list(found(index)) == ["seed0/step_1.pt"]
    assert "1 path left out (seed0/step_2.pt): it is not a regular file" in left_out(index)


def test_unreadable_folders(root, monkeypatch):
    fill(root, "seed0/step_1.pt", "seed1/step_1.pt")
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith(refused):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    refused = "seed1"
    index = discover(root)
    assert list(found(index)) == ["seed0/step_1.pt"]
    assert "(seed1): the folder cannot be read (Permission denied)" in left_out(index)
    refused = "mnist"
    with pytest.raises(NoCheckpointsError, match=r"cannot be looked into: .*Permission denied"):
        discover(root)


def test_a_file_that_vanishes_during_the_walk(root):
    fill(root, "seed0/step_1.pt")
    unreadable = {}
    (folder,) = [f for f in walk(root, unreadable) if f.parts]
    (root / "seed0/step_1.pt").unlink()
    assert regular_file(folder.files[0], folder.parts, unreadable) is None
    assert "cannot be read" in unreadable["seed0/step_1.pt"]


def test_names_that_are_not_text(root):
    folder = root / os.fsdecode(b"wd\xff\x1b") / "seed0"
    try:
        folder.mkdir(parents=True)
    except OSError:
        pytest.skip("this file system refuses such names")
    (folder / "step_1.pt").write_bytes(b"")
    (file,) = discover(root).checkpoints
    assert file.group == r"wd\udcff\x1b"
    assert file.path.exists()


# ------------------------------------------------------------------------------------- oddities


def test_oddities(root):
    steps = dict.fromkeys(range(7), range(0, 50, 10)) | {2: (0, 20, 40), 3: (0, 10), 4: (0,)}
    fill(root, *(f"seed{s}/step_{t}.pt" for s, run in steps.items() for t in run))
    fill(root, "other/seed0/step_7.pt", "other/seed1/step_7.pt")
    message = odd(discover(root))
    assert "Runs with a single checkpoint, which show no change: seed4." in message
    assert "Runs that end before step 40: seed3 at 10, seed4 at 0." in message
    assert "Runs that miss steps most others of the group have: seed2 (10, 30)." in message
    assert "show no change: seed0, seed1." in message


def test_one_other_run_is_enough_to_see_a_gap(root):
    fill(root, *(f"seed0/step_{t}.pt" for t in (0, 1, 2)), "seed1/step_0.pt", "seed1/step_2.pt")
    assert "most others of the group have: seed1 (1)." in odd(discover(root))


def test_lists_of_gaps_are_shortened(root):
    fill(root, *(f"seed{s}/step_{t}.pt" for s in range(3) for t in range(20)))
    fill(root, "seed3/step_0.pt", "seed3/step_19.pt")
    assert "seed3 (1, 2, 3, … 18 in all)" in odd(discover(root))


# ------------------------------------------------------------------------------------ the summary


def test_summary(root):
    fill(root, "a/seed10/step_1.pt", "a/seed10/step_5.npz", "a/seed2/step_1.pt", content=b"1234")
    fill(root, "b/runA/step_3.safetensors", content=b"12")
    table = summarise(discover(root))
    assert table.to_dict("list") | {"seed": table["seed"].fillna(-1).tolist()} == {
        "group": ["a", "a", "b"],
        "run": ["seed2", "seed10", "runA"],
        "seed": [2, 10, -1],
        "n_checkpoints": [1, 2, 1],
        "first_step": [1, 1, 3],
        "last_step": [1, 5, 3],
        "format": ["pytorch", "npz, pytorch", "safetensors"],
        "size": [4, 8, 2],
    }
    assert table["seed"].dtype == "Int64"


def test_forty_runs_of_a_thousand_files_are_understood_in_one_pass(root, monkeypatch):
    """Each path is read once: what is done again per file, or per pair, shows at this size."""
    for seed in range(40):
        folder = root / f"seed{seed}"
        folder.mkdir()
        for step in range(1000):
            os.close(os.open(folder / f"step_{step}.safetensors", os.O_CREAT | os.O_WRONLY))
    read, n_read = layouts.read_path, 0

    def counted(*path, **how):
        nonlocal n_read
        n_read += 1
        return read(*path, **how)

    monkeypatch.setattr(layouts, "read_path", counted)
    assert len(discover(root).checkpoints) == 40_000
    assert n_read == 40_000


# ----------------------------------------------------------------------------- nothing gets lost

names_drawn = st.sampled_from(
    [
        *("seed0", "seed1", "seed_1", "wd0.1", "runs", "checkpoints", "version_0", "version_1"),
        *("2024-01-01", "12-00-00", "0", "1", "best", "step_1", "step_2k", "epoch_3", "last"),
        *("a_step_1", "seed0-step_3", "checkpoint-500", "tmp-step_1", "epoch=1-step=2", "v2"),
        *("model", "mp_rank_00", "mp_rank_01", "step_1_rank_0", "checkpoint_1_2", "epoch_4"),
    ]
)
paths_drawn = st.lists(names_drawn, min_size=1, max_size=4).map("/".join)


@given(
    st.lists(paths_drawn, min_size=1, max_size=6, unique=True),
    st.sampled_from(["pt", "npz", "keras"]),
)
def test_every_file_is_indexed_or_told(tmp_path_factory, paths, suffix):
    root = tmp_path_factory.mktemp("drawn")
    files = [f"{path}.{suffix}" for path in paths]
    fill(root, *files)
    try:
        index = discover(root)
    except LayoutError as error:
        assert any(file in str(error) for file in files)  # noqa: PT017 - either outcome is right
        return
    keys = [(file.group, file.run, file.step) for file in index.checkpoints]
    assert len(set(keys)) == len(keys)
    counted = [int(n) for n in re.findall(r"(\d+) paths? left out", left_out(index))]
    assert len(keys) + sum(counted) == len(files)
    steps_of_run = {}
    for file in index.checkpoints:
        steps_of_run.setdefault((file.group, file.run), []).append(file.step)
    assert all(steps == sorted(steps) for steps in steps_of_run.values())
    assert discover(root) == index
