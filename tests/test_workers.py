"""Workers end with the process they work for."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

WORKER = "import os, time; from hmmdyn.workers import end_with_parent; "
WORKER += "end_with_parent(os.getppid()); print(os.getpid(), flush=True); time.sleep(600)"
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {WORKER!r}])"


@pytest.mark.skipif(sys.platform == "win32", reason="orphans have no other parent there")
def test_a_worker_of_a_killed_process_ends():
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
    )
    worker = int(parent.stdout.readline())
    os.kill(worker, 0)
    time.sleep(1.5)
    os.kill(worker, 0)  # it stays as long as its parent does
    parent.kill()
    # Nobody may be there to wait for an orphan: its end of the pipe tells when it has gone.
    assert parent.stdout.read() == ""
    parent.wait()
    parent.stdout.close()
