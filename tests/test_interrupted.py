"""Ctrl-C in any stage of an analysis leaves no half report; two analyses do not share a folder."""

import os
import signal
import subprocess
import sys
import threading
from importlib import import_module
from pathlib import Path

import pytest

import hmmdyn
from hmmdyn.files import staged
from hmmdyn.locks import TakenError
from tests.make_runs import write_runs
from tests.test_cli import QUICK, run

STAGES = [
    "hmmdyn.checkpoints.find.discover:discover",
    "hmmdyn.checkpoints.logs.outcomes:_read_found",
    "hmmdyn.metrics.extract:_measure",
    "hmmdyn.hmm.training_map:standardised",
    "hmmdyn.hmm.fit.em:EM._iterate",  # in another thread
    "hmmdyn.hmm.choose.select:criteria_table",
    "hmmdyn.hmm.choose.supported:supported_map",
    "hmmdyn.hmm.choose.supported:found_again",
    "hmmdyn.hmm.choose.supported:clock_or_seed",
    "hmmdyn.pipeline:_of_outcomes",
    "hmmdyn.dynamics.outliers:find_outliers",
    "hmmdyn.analysis:write_table",
    "hmmdyn.report.export:to_csv",
    "hmmdyn.report.page:_figures",
    "hmmdyn.report.export:_write",
    "hmmdyn.report.folder:remove_other_reports",
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return write_runs(tmp_path_factory.mktemp("interrupted") / "runs")


@pytest.fixture(scope="module")
def report(runs, tmp_path_factory):
    """A folder with an earlier report."""
    folder = tmp_path_factory.mktemp("report")
    run("analyze", runs, "-o", folder, *QUICK)
    return folder


def files(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.fixture
def press_in(monkeypatch):
    """Let Ctrl-C be pressed when a function is called, in whichever thread."""

    def prepare(place):
        module, _, name = place.partition(":")
        owner = import_module(module)
        *inner, name = name.split(".")
        for part in inner:
            owner = getattr(owner, part)
        function = getattr(owner, name)
        pressed = []

        def interrupted(*arguments, **named):
            if not pressed:
                pressed.append(threading.current_thread())
                os.kill(os.getpid(), signal.SIGINT)
            return function(*arguments, **named)

        monkeypatch.setattr(owner, name, interrupted)
        return pressed

    return prepare


@pytest.mark.parametrize("place", STAGES)
def test_ctrl_c_leaves_the_earlier_report_whole(place, runs, report, press_in):
    before = files(report)
    pressed = press_in(place)
    stopped = run("analyze", runs, "-o", report, *QUICK, "--jobs", "2" if "EM" in place else "1",
                  code=130)  # fmt: skip
    assert len(pressed) == 1
    assert "Stopped." in stopped.stderr
    assert "Traceback" not in stopped.output
    if place.endswith("remove_other_reports"):  # the new one is whole by then
        assert set(files(report)) == set(before)
    else:
        assert files(report) == before


def test_ctrl_c_while_files_take_their_places_waits_for_the_last(tmp_path, monkeypatch):
    move, moved = Path.replace, []

    def interrupted(path, target):
        os.kill(os.getpid(), signal.SIGINT)
        moved.append(target)
        return move(path, target)

    monkeypatch.setattr(Path, "replace", interrupted)

    def write():
        with staged(tmp_path) as folder:
            for name in ("a", "b", "c"):
                (folder / name).write_text(name)

    with pytest.raises(KeyboardInterrupt):
        write()
    assert len(moved) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c"]


HOLD = """
import sys, time
from pathlib import Path
from hmmdyn.report.folder import alone_in
with alone_in(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("of_outcomes", [False, True])
def test_a_folder_that_another_process_writes_is_left_to_it(of_outcomes, tmp_path):
    from tests.simulate import phased_table

    table = phased_table(n_runs=4)
    if of_outcomes:
        analysis = hmmdyn.analyze(table[["run", "step", "eval_accuracy"]])
    else:
        analysis = hmmdyn.analyze(table, max_states=2, restarts=2, quick=True)
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True
    )
    assert other.stdout.readline() == "held\n"
    with pytest.raises(TakenError, match=f"is being written by another.*process {other.pid} "):
        analysis.write(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".hmmdyn.lock"]
    other.kill()  # and nobody has to remove the lock
    other.wait()
    other.stdout.close()
    assert analysis.write(tmp_path).exists()
    assert not list(tmp_path.glob(".*"))
