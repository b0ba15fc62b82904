"""The folder of runs: what is in it, going on after a stop, several processes, progress."""

import errno
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import pairwise

import pandas as pd
import pytest
from safetensors.numpy import load_file

from hmmdyn.errors import OutputError, UsageError
from hmmdyn.tasks import runs
from hmmdyn.tasks.catalogue import train
from hmmdyn.tasks.runs import Keep, train_seeds
from tests.tasks.tiny import PARITY, distance, files, weights_at

torch = pytest.importorskip("torch")


def train_parity(out, seeds, **options):
    train("parity", out, seeds, **{"recipe": PARITY, "keep": Keep(1), **options})


def test_the_folder_is_ordinary(tmp_path):
    out = tmp_path / "runs" / "parity"
    train_parity(out, [3, 0])
    names = [
        "metrics.csv",
        # 3 steps per epoch: every second epoch, and the last.
        *(f"step_0000{step:02d}.safetensors" for step in (0, 6, 12, 15)),
    ]
    assert sorted(files(out)) == [
        "recipe.json", *(f"seed{seed}/{name}" for seed in (0, 3) for name in names)
    ]  # fmt: skip
    shapes = {
        name: (w.shape, w.dtype.name)
        for name, w in load_file(out / "seed3" / "step_000015.safetensors").items()
    }
    assert shapes == {
        "hidden.weight": ((5, 6), "float32"),
        "hidden.bias": ((5,), "float32"),
        "output.weight": ((1, 5), "float32"),
        "output.bias": ((1,), "float32"),
    }
    log = pd.read_csv(out / "seed0" / "metrics.csv")
    assert list(log) == [
        "step", "epoch", "train_loss", "train_accuracy", "eval_loss", "eval_accuracy"
    ]  # fmt: skip
    assert log["epoch"].tolist() == [0, 1, 2, 3, 4, 5]
    assert log["step"].tolist() == [0, 3, 6, 9, 12, 15]


def test_the_same_seed_gives_the_same_bytes_on_one_process_or_two(tmp_path):
    train_parity(tmp_path / "a", [0, 1, 2])
    train_parity(tmp_path / "b", [0, 1, 2], n_jobs=2)
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_seeds_differ_from_the_start(tmp_path):
    train_parity(tmp_path, [0, 1])
    first, second = (weights_at(tmp_path / run, 0) for run in ("seed0", "seed1"))
    assert distance(first, second) > 0.1


@pytest.mark.parametrize("at_once", [1, 2])
def test_the_callers_random_state_and_threads_are_left_alone(tmp_path, at_once):
    n_threads, state = torch.get_num_threads(), torch.get_rng_state()
    torch.set_num_threads(2)
    try:
        train_parity(tmp_path, [0, 1], at_once=at_once)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(n_threads)
    assert torch.equal(torch.get_rng_state(), state)


# --------------------------------------------------------------------------- stopping and going on


def test_complete_runs_are_not_trained_again(tmp_path):
    train_parity(tmp_path, [0])
    kept = tmp_path / "seed0" / "metrics.csv"
    kept.write_text("untouched")
    train_parity(tmp_path, [0, 1])
    assert kept.read_text() == "untouched"
    assert (tmp_path / "seed1" / "metrics.csv").exists()


@pytest.mark.parametrize("at_once", [1, 2])
def test_an_interrupted_run_starts_anew(tmp_path, monkeypatch, at_once):
    train_parity(tmp_path / "whole", [0, 1, 2], at_once=at_once)
    n_rows = 0

    def interrupt(log, row):
        nonlocal n_rows
        n_rows += 1
        if n_rows == 15:  # 6 rows per run: in the second block
            raise KeyboardInterrupt
        add(log, row)

    add = runs.OutcomeLog.add
    with monkeypatch.context() as patch:
        patch.setattr(runs.OutcomeLog, "add", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train_parity(tmp_path / "out", [0, 1, 2], at_once=at_once)
    assert (tmp_path / "out" / "seed0").exists()
    assert not (tmp_path / "out" / "seed2").exists()
    # Whatever the interrupted run left behind must not end up in the complete one.
    (left,) = (tmp_path / "out").glob(".seed*.partial")
    (min(left.glob("seed*")) / "step_999999.safetensors").touch()
    train_parity(tmp_path / "out", [0, 1, 2], at_once=at_once)
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def python(script, *arguments):
    return subprocess.Popen([sys.executable, "-c", script, *map(str, arguments)])


TRAIN = """
import sys
from pathlib import Path
from hmmdyn.tasks.catalogue import train
from tests.tasks.tiny import PARITY
from dataclasses import replace
train("parity", Path(sys.argv[1]), [0, 1, 2], recipe=replace(PARITY, n_epochs=int(sys.argv[2])))
"""


def test_a_killed_training_goes_on_from_the_runs_that_are_complete(tmp_path):
    n_epochs, out = 150, tmp_path / "out"
    process = python(TRAIN, out, n_epochs)
    while not (out / "seed0").exists() or not any(out.glob(".seed1.*.partial/seed1/metrics.csv")):
        assert process.poll() is None
        time.sleep(0.003)
    process.send_signal(signal.SIGKILL)
    process.wait()
    complete = sorted(p.name for p in out.glob("seed*"))
    assert ["seed0"] <= complete < ["seed0", "seed1", "seed2"]
    assert any(out.glob(".seed*.partial"))
    times = {p: p.stat().st_mtime_ns for run in complete for p in (out / run).iterdir()}
    recipe = replace(PARITY, n_epochs=n_epochs)
    train("parity", out, [0, 1, 2], recipe=recipe)
    assert {p: p.stat().st_mtime_ns for p in times} == times
    train("parity", tmp_path / "whole", [0, 1, 2], recipe=recipe)
    assert files(out) == files(tmp_path / "whole")


FAKE = """
import sys, time
from pathlib import Path
from hmmdyn.tasks.runs import train_seeds

def train(seeds, folders):
    for seed, folder in zip(seeds, folders):
        for row in range(20):
            time.sleep(0.005)
            with (folder / "metrics.csv").open("a") as log:
                log.write(f"{seed},{row}\\n")

out, *seeds = sys.argv[1:]
train_seeds(Path(out), [int(seed) for seed in seeds], {"task": "fake"}, train, 1)
"""


def test_two_processes_share_a_folder(tmp_path):
    shares = [range(0, 8, 2), range(1, 8, 2)]
    processes = [python(FAKE, tmp_path, *seeds) for seeds in shares]
    assert [process.wait() for process in processes] == [0, 0]
    assert files(tmp_path) == {
        "recipe.json": b'{\n "task": "fake"\n}\n',
        **{
            f"seed{seed}/metrics.csv": "".join(f"{seed},{row}\n" for row in range(20)).encode()
            for seed in range(8)
        },
    }


def test_what_outlives_a_killed_training_cannot_name_a_run_of_the_next(tmp_path):
    """Processes go on when the one that started them is killed, and meet its successor."""

    def write(text):
        return lambda seeds, folders: (folders[0] / "metrics.csv").write_text(text)

    def outlived(seeds, folders):
        write("half")(seeds, folders)
        train_seeds(tmp_path, [0], {}, write("successor"), 1)
        folders[0].mkdir(exist_ok=True)
        write("half")(seeds, folders)

    with pytest.raises(OutputError):
        train_seeds(tmp_path, [0], {}, outlived, 1)
    assert (tmp_path / "seed0" / "metrics.csv").read_text() == "successor"


# -------------------------------------------------------------------------------------- progress


def progress_of(out, monkeypatch, seeds, **options):
    monkeypatch.setattr(runs, "_LOOK_EVERY", 0.001)
    calls = []
    recipe = replace(PARITY, n_epochs=60)
    train_parity(out, seeds, recipe=recipe, progress=lambda *call: calls.append(call), **options)
    return calls


@pytest.mark.parametrize("options", [{}, {"at_once": 2}, {"n_jobs": 2}], ids=str)
def test_progress_rises_to_the_epochs_of_all_seeds(tmp_path, monkeypatch, options):
    calls = progress_of(tmp_path, monkeypatch, [0, 1], **options)
    done = [call[0] for call in calls]
    assert {call[1] for call in calls} == {120}
    assert all(a <= b for a, b in pairwise(done))
    assert done[-1] == 120
    assert len({d for d in done if 0 < d < 120}) > 2  # not only at the end


def test_progress_starts_from_what_is_complete_not_from_what_was_interrupted(tmp_path, monkeypatch):
    train_parity(tmp_path, [0], recipe=replace(PARITY, n_epochs=60))
    left = tmp_path / ".seed1.0.partial" / "seed1"
    left.mkdir(parents=True)
    (left / "metrics.csv").write_text("step,epoch\n0,0\n177,59\n")
    calls = progress_of(tmp_path, monkeypatch, [0, 1])
    assert calls[0][0] < 60 + 59
    assert all(60 <= a[0] <= b[0] for a, b in pairwise(calls))
    assert calls[-1] == (120, 120)
    assert progress_of(tmp_path, monkeypatch, [0, 1])[-1] == (120, 120)


# ------------------------------------------------------------------------------ what goes wrong


def test_two_recipes_do_not_mix(tmp_path):
    train_parity(tmp_path, [0])
    before = files(tmp_path)
    with pytest.raises(OutputError, match=r'"n_epochs": 6(.|\n)*"n_epochs": 5'):
        train_parity(tmp_path, [0, 1], recipe=replace(PARITY, n_epochs=6))
    assert files(tmp_path) == before


def test_runs_with_and_without_checkpoints_do_not_mix(tmp_path):
    train_parity(tmp_path, [0])
    with pytest.raises(OutputError, match=r'"keep_checkpoints": "every:2"(.|\n)*"all"'):
        train_parity(tmp_path, [0, 1], keep=Keep(2))


def test_other_peoples_runs_are_left_alone(tmp_path):
    (tmp_path / "seed0").mkdir()
    with pytest.raises(OutputError, match=r"runs that hmmdyn did not train"):
        train_parity(tmp_path, [0, 1])
    assert not files(tmp_path)


@pytest.mark.parametrize("what", ["OutcomeLog.add", "write_checkpoint"])
def test_a_full_disk_is_told_plainly(tmp_path, monkeypatch, what):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(f"hmmdyn.tasks.training.{what}", full)
    with pytest.raises(OutputError, match=r"No space left on device\.\n.*goes on from there"):
        train_parity(tmp_path, [0])


def test_a_file_in_the_folders_place_is_told_plainly(tmp_path):
    taken = tmp_path / "taken"
    taken.touch()
    with pytest.raises(OutputError, match="Cannot write"):
        train_parity(taken, [0])


@pytest.mark.parametrize(
    ("seeds", "message"),
    [
        ([], "'seeds' must be distinct"),
        ([0, 0], "'seeds' must be distinct"),
        ([-1], "'seeds' must be distinct"),
        ([2**63], r"'seeds' must be below 2\^63"),
    ],
)
def test_seeds_must_be_distinct_whole_numbers_from_0_on(tmp_path, seeds, message):
    with pytest.raises(UsageError, match=message):
        train_parity(tmp_path / "out", seeds)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "toaster"}, "cannot run on the device 'toaster'.*\n.*such as 'cpu'"),
        ({"device": "meta"}, "cannot run on the device 'meta'"),  # it holds no numbers
        ({"at_once": 0}, "'at_once' must be at least 1, got 0"),
        ({"recipe": object()}, "The recipe of 'parity' must be a ParityRecipe, got a object"),
    ],
)
def test_wrong_usage_is_told_before_a_folder_is_made(tmp_path, options, message):
    with pytest.raises(UsageError, match=message):
        train_parity(tmp_path / "out", [0], **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is there")
def test_a_device_that_is_not_there_is_told_before_a_folder_is_made(tmp_path):
    with pytest.raises(UsageError, match=r"cannot run on the device 'cuda'"):
        train_parity(tmp_path / "out", [0], device="cuda")
    assert not (tmp_path / "out").exists()


def test_an_unknown_task_is_told_with_those_there_are(tmp_path):
    with pytest.raises(UsageError, match=r"There is no task 'chess'\. There is: parity, modular"):
        train("chess", tmp_path / "out", [0])
    assert not (tmp_path / "out").exists()
