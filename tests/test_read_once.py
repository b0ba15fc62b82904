"""A command walks a folder once and reads a log once, whatever it looks for there."""

import os
from collections import Counter

import pytest
from typer.testing import CliRunner

from hmmdyn import Options, pipeline, read_runs
from hmmdyn.checkpoints.find import walking
from hmmdyn.cli.main import app
from hmmdyn.errors import HmmdynError
from hmmdyn.logs import read as logs_read
from hmmdyn.record.recorder import MetricRecorder
from tests.make_runs import weights, write_runs


class Stopped(HmmdynError):
    """What follows reading is not of interest here."""


def stop(*_args, **_kwargs):
    raise Stopped("read")


@pytest.fixture
def touched(monkeypatch):
    """How often each folder is listed by a walk, and each log is read, by path."""
    count = Counter()
    scandir, read = os.scandir, logs_read._read

    def listing(path):
        count[str(path)] += 1
        return scandir(path)

    def reading(path, *how):
        count[str(path)] += 1
        return read(path, *how)

    monkeypatch.setattr(walking.os, "scandir", listing)
    monkeypatch.setattr(logs_read, "_read", reading)
    monkeypatch.setattr(pipeline, "fit", stop)
    return count


def below(root, touched):
    return {path: n for path, n in touched.items() if path.startswith(str(root))}


def once(root):
    """Every folder and every log."""
    folders = [root, *(path for path in root.rglob("*") if path.is_dir())]
    return {str(path): 1 for path in [*folders, *root.rglob("metrics.csv")]}


@pytest.mark.parametrize("command", ["scan", "extract", "analyze"])
def test_checkpoints_with_logs(command, tmp_path, touched):
    root = write_runs(tmp_path / "runs", n_runs=2)
    output = {"extract": "metrics.parquet", "analyze": "report"}.get(command)
    where = ["-o", str(tmp_path / output)] if output else []
    result = CliRunner().invoke(app, [command, str(root), *where])
    assert result.exit_code == (1 if command == "analyze" else 0), result.output
    assert below(root, touched) == once(root)


@pytest.mark.parametrize("command", ["scan", "analyze"])
def test_logs_that_tell_what_the_numbers_of_checkpoints_count(command, tmp_path, touched):
    root = write_runs(tmp_path / "runs", n_runs=2)
    for run in (root / "seed0", root / "seed1"):
        for number, file in enumerate(sorted(run.glob("*.safetensors"))):
            file.rename(run / f"checkpoint_{number}.safetensors")
        rows = "".join(f"{epoch},{1 / (1 + epoch)}\n" for epoch in range(number + 1))
        (run / "metrics.csv").write_text(f"epoch,eval_loss\n{rows}")
    touched.clear()
    where = ["-o", str(tmp_path / "report")] if command == "analyze" else []
    result = CliRunner().invoke(app, [command, str(root), *where])
    assert "epoch" in result.output
    assert below(root, touched) == once(root)


def test_checkpoints_from_python(tmp_path, touched):
    root = write_runs(tmp_path / "runs", n_runs=2)
    read_runs(root)
    assert below(root, touched) == once(root)


def test_recordings(tmp_path, touched):
    for seed in range(2):
        with MetricRecorder(tmp_path / f"seed{seed}") as recorder:
            for step in range(0, 30, 10):
                recorder.record(weights(seed, step), step)
    read_runs(tmp_path)
    assert below(tmp_path, touched) == once(tmp_path)


def test_a_run_that_is_left_out_keeps_its_log(tmp_path):
    """Not the run that is left is what the log of the other one is about."""
    write_runs(tmp_path, n_runs=2, outcomes=False)
    (tmp_path / "seed0").rename(tmp_path / "first")
    (tmp_path / "seed1").rename(tmp_path / "second")
    (tmp_path / "first" / "metrics.csv").write_text("step,loss\n0,2.5\n150,0.5\n")
    (tmp_path / "second" / "metrics.csv").write_text("step,eval_loss\n0,3.5\n150,1.5\n")
    assert read_runs(tmp_path).outcomes == ("loss", "eval_loss")
    left = read_runs(tmp_path, Options(exclude_runs=("first",)))
    assert left.outcomes == ("eval_loss",)
    assert [n.message for n in left.notices if n.subject == "logs"] == []
