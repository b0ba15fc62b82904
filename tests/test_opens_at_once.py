"""The command line loads nothing heavy before there is work, and can be stopped while it loads."""

import json
import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from hmmdyn.cli.main import app
from tests.make_runs import write_runs

HEAVY = {
    "hmmlearn",
    "jinja2",
    "joblib",
    "matplotlib",
    "numba",
    "numpy",
    "pandas",
    "plotly",
    "pyarrow",
    "safetensors",
    "scipy",
    "sklearn",
    "statsmodels",
    "torch",
}
RUN = f"""
import json, sys
from hmmdyn.__main__ import main
try:
    main()
finally:
    heavy = sorted({HEAVY} & set(sys.modules))
    print(json.dumps(heavy), file=sys.stderr)
"""


def loaded(*arguments):
    """(exit code, heavy libraries that this command loads)."""
    done = subprocess.run([sys.executable, "-c", RUN, *arguments], capture_output=True, text=True)
    return done.returncode, json.loads(done.stderr.splitlines()[-1])


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["scan", "--help"],
        ["extract", "--help"],
        ["fit", "--help"],
        ["analyze", "--help"],
        ["reproduce", "--help"],
        ["reproduce", "parity", "--help"],
        ["reproduce", "cifar100", "--help"],
    ],
    ids=" ".join,
)
def test_help_loads_nothing_heavy(arguments):
    assert loaded(*arguments) == (0, [])


def test_version_and_a_misspelt_command_load_nothing_heavy():
    assert loaded("--version") == (0, [])
    assert loaded("anayze") == (2, [])
    assert loaded("analyze", "runs", "--max-states", "none") == (2, [])


def test_importing_hmmdyn_or_a_door_of_it_loads_nothing_heavy():
    code = (
        "import sys, hmmdyn, hmmdyn.options, hmmdyn.pipeline, hmmdyn.cli.main; "
        "from hmmdyn import Options, analyze, fit, read_runs, scan; "
        f"heavy = {HEAVY} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_scan_loads_what_reads_tables_and_no_method(tmp_path):
    code, heavy = loaded("scan", str(write_runs(tmp_path / "runs")))
    assert code == 0
    assert set(heavy) <= {"numpy", "pandas", "pyarrow"}


@pytest.mark.parametrize(
    ("package", "arguments"), [("typer", ["--help"]), ("pandas", ["scan", "."])]
)
def test_ctrl_c_while_loading_ends_without_a_traceback(package, arguments, tmp_path):
    """A package that takes long to import, and is interrupted meanwhile."""
    (tmp_path / f"{package}.py").write_text(
        "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(30)\n"
    )
    paths = [str(tmp_path), *filter(None, sys.path)]
    done = subprocess.run(
        [sys.executable, "-m", "hmmdyn", *arguments],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 130, done.stderr
    assert done.stderr.startswith("Stopped.")
    assert "Traceback" not in done.stderr


def completed(line):
    """What a shell is told when Tab is pressed at the end of a line."""
    words = line.split(" ")
    asked = {
        "_HMMDYN_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
    }
    return CliRunner().invoke(app, [], env=asked, prog_name="hmmdyn").output.split()


def test_a_shell_completes_commands_options_and_choices():
    assert "analyze" in completed("hmmdyn ana")
    assert "--minimum-dwell" in completed("hmmdyn fit --min")
    assert completed("hmmdyn analyze runs --clock log") == ["log-step"]
    assert completed("hmmdyn analyze runs --protocol ") == ["bic", "paper", "supported"]
    assert completed("hmmdyn reproduce par") == ["parity"]
