"""Going on inside a run: an interrupted training ends with the bytes of one that was not."""

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from hmmdyn.errors import HmmdynError
from hmmdyn.tasks import runs
from hmmdyn.tasks.catalogue import train
from hmmdyn.tasks.runs import Keep
from tests.tasks.tiny import PARITY, TINY, files

torch = pytest.importorskip("torch")

from hmmdyn.tasks import resume, training  # noqa: E402

N_STEPS = 15  # of every tiny recipe; states can be saved after steps 6, 12 and 15


@pytest.fixture(autouse=True)
def saved_at_every_checkpoint(monkeypatch):
    monkeypatch.setattr(resume, "_SAVE_EVERY", 0)


class Stopped(Exception):
    pass


@pytest.fixture
def steps(monkeypatch):
    """The steps that were trained, and where to stop: before the step ``steps.stop_at``."""

    class Steps(list):
        stop_at = None

    steps, step_of = Steps(), resume.Batches.of_step

    def watched(batches, step):
        if step == steps.stop_at:
            raise Stopped
        steps.append(step)
        return step_of(batches, step)

    monkeypatch.setattr(training.Batches, "of_step", watched)
    return steps


def stopped(steps, at, *arguments, **options):
    steps.stop_at = at
    with pytest.raises(Stopped):
        train(*arguments, **options)
    steps.stop_at = None
    steps.clear()


@pytest.mark.parametrize("keep", ["none", "all", "every:2"])
@pytest.mark.parametrize("at_once", [1, 2])
@pytest.mark.parametrize("task", TINY)
def test_a_stopped_training_goes_on_to_the_same_bytes(task, at_once, keep, tmp_path, steps):
    asked = {"recipe": TINY[task], "at_once": at_once, "keep": Keep.parse(keep)}
    train(task, tmp_path / "whole", [0, 1], **asked)
    out = tmp_path / "out"
    stopped(steps, 9, task, out, [0, 1], **asked)
    stopped(steps, 15, task, out, [0, 1], **asked)  # it had gone on from step 6
    train(task, out, [0, 1], **asked)
    trained = [13, 14, 15]  # from step 12, in the middle of no epoch
    assert steps == (trained if at_once == 2 else [*trained, *range(1, N_STEPS + 1)])
    assert files(out) == files(tmp_path / "whole")


@pytest.mark.parametrize(
    ("recipe", "stop_at", "goes_on_at"),
    [
        # A checkpoint in the middle of an epoch, and one whose outcomes are of a step before.
        ({"checkpoint_every": 4, "evaluate_every": 4}, 11, 9),
        ({"checkpoint_every": 5, "evaluate_every": 3}, 14, 11),
        ({"checkpoint_every": 2, "evaluate_every": 7}, 14, 13),
        ({"checkpoint_every": 100, "evaluate_every": 1}, 15, 1),  # nothing was saved yet
    ],
    ids=str,
)
def test_it_goes_on_from_any_checkpoint(recipe, stop_at, goes_on_at, tmp_path, steps):
    recipe = replace(PARITY, **recipe)
    train("parity", tmp_path / "whole", [0], recipe=recipe)
    stopped(steps, stop_at, "parity", tmp_path / "out", [0], recipe=recipe)
    train("parity", tmp_path / "out", [0], recipe=recipe)
    assert steps == [*range(goes_on_at, N_STEPS + 1)]
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def test_random_numbers_drawn_between_batches_go_on_too():
    """Those that change images, from the generators that draw the batches."""

    def draw(batches, rngs, steps):
        for step in steps:
            yield batches.of_step(step).tolist(), [torch.rand(1, generator=r).item() for r in rngs]

    def fresh():
        rngs = [torch.Generator().manual_seed(seed) for seed in (0, 1)]
        return resume.Batches(7, 3, rngs), rngs

    batches, rngs = fresh()
    first = list(draw(batches, rngs, range(1, 9)))
    for stop in range(1, 8):
        batches, rngs = fresh()
        list(draw(batches, rngs, range(1, stop + 1)))
        state = batches.tensors()
        batches, rngs = fresh()
        batches.load(state)
        assert list(draw(batches, rngs, range(stop + 1, 9))) == first[stop:]


def test_a_minute_must_pass_between_savings(tmp_path, steps, monkeypatch):
    monkeypatch.setattr(resume, "_SAVE_EVERY", 60)
    stopped(steps, 14, "parity", tmp_path, [0], recipe=PARITY)
    assert not list(tmp_path.glob(f".*/{runs.SAVED}"))


# -------------------------------------------------------------- what cannot be gone on from


def left_by(out):
    (folder,) = out.glob(".seed0.*.partial")
    return folder


def shortened(folder, name, n_bytes):
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:n_bytes])


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / runs.SAVED).unlink(),
        lambda folder: shortened(folder, runs.SAVED, 0),
        lambda folder: shortened(folder, runs.SAVED, 1000),
        lambda folder: (folder / runs.SAVED).write_bytes(b"no state" * 100),
        lambda folder: save_file({"a": np.zeros(2)}, folder / runs.SAVED),
        lambda folder: shortened(folder / "seed0", runs.OUTCOMES, 100),
        lambda folder: (folder / "seed0" / runs.OUTCOMES).unlink(),
        lambda folder: (folder / "seed0" / "step_000006.safetensors").unlink(),
    ],
    ids=[
        "no state",
        "an empty state",
        "half a state",
        "another file",
        "other arrays",
        "half a log",
        "no log",
        "no checkpoint",
    ],
)
def test_what_is_damaged_is_trained_anew(damage, tmp_path, steps):
    asked = {"recipe": PARITY, "keep": Keep(1)}
    train("parity", tmp_path / "whole", [0], **asked)
    stopped(steps, 14, "parity", tmp_path / "out", [0], **asked)
    damage(left_by(tmp_path / "out"))
    train("parity", tmp_path / "out", [0], **asked)
    assert steps == [*range(1, N_STEPS + 1)]
    assert files(tmp_path / "out") == files(tmp_path / "whole")


@pytest.mark.parametrize(("before", "now"), [(2, 1), (1, 2)])
def test_networks_stacked_otherwise_are_trained_anew(before, now, tmp_path, steps):
    train("parity", tmp_path / "whole", [0, 1], recipe=PARITY, at_once=now)
    stopped(steps, 14, "parity", tmp_path / "out", [0, 1], recipe=PARITY, at_once=before)
    train("parity", tmp_path / "out", [0, 1], recipe=PARITY, at_once=now)
    assert steps == [*range(1, N_STEPS + 1)] * (2 // now)
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def test_the_latest_of_several_states_counts_and_nothing_else_is_left(tmp_path, steps):
    train("parity", tmp_path / "whole", [0], recipe=PARITY)
    out = tmp_path / "out"
    stopped(steps, 7, "parity", out, [0], recipe=PARITY)
    early = left_by(out).rename(tmp_path / "early")
    stopped(steps, 14, "parity", out, [0], recipe=PARITY)
    early.rename(out / ".seed0.zzzzzzzz.partial")
    (out / ".seed0.aaaaaaaa.partial").mkdir()
    train("parity", out, [0], recipe=PARITY)
    assert steps == [13, 14, 15]
    assert sorted(p.name for p in out.iterdir()) == ["recipe.json", "seed0"]
    assert files(out) == files(tmp_path / "whole")


# ------------------------------------------------------------------------------- processes

TRAIN = """
import sys
from pathlib import Path
from hmmdyn.tasks import resume
from hmmdyn.tasks.catalogue import train
from tests.tasks.tiny import PARITY
from dataclasses import replace
resume._SAVE_EVERY = 0
train("parity", Path(sys.argv[1]), [0], recipe=replace(PARITY, n_epochs=int(sys.argv[2])))
"""


def test_a_killed_process_loses_little(tmp_path, steps):
    n_epochs, out = 400, tmp_path / "out"
    process = subprocess.Popen([sys.executable, "-c", TRAIN, str(out), str(n_epochs)])
    while not any(out.glob(f".*/{runs.SAVED}")):
        assert process.poll() is None
        time.sleep(0.003)
    process.send_signal(signal.SIGKILL)
    process.wait()
    recipe = replace(PARITY, n_epochs=n_epochs)
    train("parity", out, [0], recipe=recipe)
    assert steps[0] > 1
    train("parity", tmp_path / "whole", [0], recipe=recipe)
    assert files(out) == files(tmp_path / "whole")


def test_what_outlives_a_killed_training_names_no_run_and_spoils_none(tmp_path, monkeypatch):
    """Processes go on when the one that started them is killed, and meet its successor."""
    train("parity", tmp_path / "whole", [0], recipe=PARITY)
    out, step_of, asked = tmp_path / "out", resume.Batches.of_step, []

    def meets_its_successor(batches, step):
        asked.append(step)
        if asked == [*range(1, 9)]:
            with pytest.raises(Stopped):
                train("parity", out, [0], recipe=PARITY)
        elif asked == [*range(1, 9), *range(7, 15)]:
            raise Stopped
        return step_of(batches, step)

    monkeypatch.setattr(training.Batches, "of_step", meets_its_successor)
    with pytest.raises(runs.OutputError):
        train("parity", out, [0], recipe=PARITY)
    # The successor went on from step 6; the other one went on to step 12, where it would save.
    assert asked == [*range(1, 9), *range(7, 15), *range(9, 13)]
    assert not (out / "seed0").exists()
    train("parity", out, [0], recipe=PARITY)
    assert asked[-3:] == [13, 14, 15]
    assert files(out) == files(tmp_path / "whole")
    assert sorted(p.name for p in out.iterdir()) == ["recipe.json", "seed0"]


# ------------------------------------------------------------------- stops at any other moment


def left_over(out):
    return sorted(p.name for p in out.iterdir() if p.name not in {"recipe.json", "seed0", "seed1"})


@pytest.mark.parametrize("at_once", [1, 2])
def test_a_stop_while_runs_are_moved_loses_none(at_once, tmp_path, steps, monkeypatch):
    asked = {"recipe": PARITY, "at_once": at_once}
    train("parity", tmp_path / "whole", [0, 1], **asked)
    out, rename = tmp_path / "out", Path.rename
    for moved in range(2):

        def stop(path, target, moved=moved):
            if target.name == f"seed{moved}":
                raise Stopped
            return rename(path, target)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "rename", stop)
            with pytest.raises(Stopped):
                train("parity", out, [0, 1], **asked)
    train("parity", out, [0, 1], **asked)
    assert len(steps) == N_STEPS * (2 // at_once) * 2  # that of "whole", and once more
    assert files(out) == files(tmp_path / "whole")
    assert not left_over(out)


def test_a_stop_while_another_training_is_taken_over_loses_nothing(tmp_path, steps, monkeypatch):
    """Whatever is written, renamed or removed on the way is once the last thing done."""
    asked = {"recipe": PARITY, "keep": Keep(1), "at_once": 2}
    train("parity", tmp_path / "whole", [0, 1], **asked)
    stopped(steps, 14, "parity", tmp_path / "left", [0, 1], **asked)
    kinds = [(Path, "rename"), (Path, "replace"), (Path, "write_bytes"), (Path, "unlink")]
    n_stops = 0
    while True:
        out = tmp_path / f"out{n_stops}"
        shutil.copytree(tmp_path / "left", out)
        left = n_stops

        def counted(do):
            def one_more(path, *arguments):
                nonlocal left
                if left == 0:
                    raise Stopped
                left -= 1
                return do(path, *arguments)

            return one_more

        with monkeypatch.context() as patch:
            for kind, name in kinds:
                patch.setattr(kind, name, counted(getattr(kind, name)))
            steps.stop_at = 13
            with pytest.raises(Stopped):
                train("parity", out, [0, 1], **asked)
        steps.stop_at = None
        if left > 0:  # it came to the training itself
            break
        steps.clear()
        train("parity", out, [0, 1], **asked)
        assert steps == [13, 14, 15]
        assert files(out) == files(tmp_path / "whole")
        assert not left_over(out)
        n_stops += 1
    assert n_stops >= 5


def test_seeds_that_another_command_has_trained_meanwhile_are_not_trained_again(tmp_path, steps):
    def trained(seeds, folders):
        done.append(list(seeds))
        if seeds == [0]:
            runs.train_seeds(tmp_path, [1], {}, trained, 1)
        (folders[0] / "metrics.csv").write_text("epoch\n1\n")

    done = []
    runs.train_seeds(tmp_path, [0, 1, 2], {}, trained, 1)
    assert done == [[0], [1], [2]]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["recipe.json", "seed0", "seed1", "seed2"]


def test_what_a_killed_command_had_queued_is_not_begun(tmp_path):
    done = []
    (block,) = runs._blocks(tmp_path, [0], 1)
    runs._train_block(tmp_path, block, lambda *_: done.append(1), command=-1)
    assert not done
    assert not any(tmp_path.iterdir())


def test_a_link_is_not_followed(tmp_path, steps):
    """Into a folder of runs others can write, too."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"0" * 100_000)
    asked = {"recipe": PARITY, "keep": Keep(1)}
    train("parity", tmp_path / "whole", [0], **asked)
    out = tmp_path / "out"
    stopped(steps, 14, "parity", out, [0], **asked)
    run = left_by(out) / "seed0"
    for name in ("step_000006.safetensors", "extra"):
        (run / name).unlink(missing_ok=True)
        (run / name).symlink_to(elsewhere)
    (run / "folder").mkdir()
    train("parity", out, [0], **asked)
    assert elsewhere.read_bytes() == b"0" * 100_000
    assert files(out) == files(tmp_path / "whole")
    assert not any(p.is_symlink() for p in (out / "seed0").iterdir())


def test_a_killed_worker_is_told_plainly(tmp_path):
    with pytest.raises(HmmdynError, match=r"worker process was killed(.|\n)*goes on from there"):
        runs.train_seeds(tmp_path, [0, 1], {}, killed, 1, n_jobs=2)


def killed(seeds, folders):
    os.kill(os.getpid(), signal.SIGKILL)


def test_steps_are_written_whole(tmp_path):
    log = runs.OutcomeLog(tmp_path)
    log.add({"step": 12_345_678, "epoch": 0.5, "loss": 1 / 3})
    log.close()
    assert (tmp_path / runs.OUTCOMES).read_text() == "step,epoch,loss\n12345678,0.5,0.3333333\n"
