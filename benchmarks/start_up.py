"""How long the command line takes before it does anything.

    python benchmarks/start_up.py [--before FOLDER] [-n 15] [-o start_up.md]

Processor time (user and system) of whole processes, which other programs lengthen less than they do
the time that passes. All cases are run in turns, so that a busy minute strikes all of them alike.
``--before`` is a checkout of another commit, to be measured beside this one. Run it in an
environment with hmmdyn's dependencies alone: what else is installed may be imported with them.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections import Counter
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
from markdown_table import table

ROOT = Path(__file__).resolve().parents[1]
RUNS = ROOT / "data" / "parity"
# What anything written in Python with tables has to wait for.
YARDSTICKS = {"python -c pass": ["-c", "pass"], "import pandas": ["-c", "import pandas"]}
CASES = {
    "import hmmdyn": ["-c", "import hmmdyn"],
    "hmmdyn --version": ["-m", "hmmdyn", "--version"],
    "hmmdyn --help": ["-m", "hmmdyn", "--help"],
    "hmmdyn anlyze (no such command)": ["-m", "hmmdyn", "anlyze"],
    "hmmdyn scan data/parity": ["-m", "hmmdyn", "scan", str(RUNS)],
}
GOALS = {
    "import hmmdyn": 0.1,
    "hmmdyn --version": 0.3,
    "hmmdyn --help": 0.3,
    "hmmdyn scan data/parity": 0.9,
}
TAKEN_APART = ("hmmdyn --help", "hmmdyn scan data/parity")
NOW, BEFORE = "now", "before"


def started(arguments: list[str], tree: Path, folder: str) -> subprocess.Popen[bytes]:
    """Start Python with the hmmdyn of a tree, in a folder from which nothing can be imported."""
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def seconds(arguments: list[str], tree: Path, folder: str) -> float:
    """Return the processor time of a process."""
    process = started(arguments, tree, folder)
    process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.stderr.close()
    process.returncode = os.waitstatus_to_exitcode(status)
    expected = 2 if "anlyze" in arguments else 0
    if process.returncode != expected:
        raise SystemExit(f"{arguments} in {tree} ended with {process.returncode}")
    return usage.ru_utime + usage.ru_stime


def measure(trees: dict[str, Path], n: int) -> pd.DataFrame:
    """Return the seconds of every process: a row per turn, columns (case, tree)."""
    cases = {(name, NOW): (arguments, trees[NOW]) for name, arguments in YARDSTICKS.items()}
    for name, arguments in CASES.items():
        cases |= {(name, which): (arguments, tree) for which, tree in trees.items()}
    turns = []
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(-1, n):  # the first compiles the modules, and does not count
            turns.append({key: seconds(*case, folder) for key, case in cases.items()})
            print(f"turn {turn + 1} of {n}", file=sys.stderr, flush=True)
    return pd.DataFrame(turns[1:])


def packages(name: str) -> list[tuple[str, float]]:
    """Return the five packages whose modules take longest to import, with their seconds."""
    arguments = ["-X", "importtime", *CASES[name]]
    with tempfile.TemporaryDirectory() as folder:
        _, said = started(arguments, ROOT, folder).communicate()
    own = Counter[str]()
    for micro, module in re.findall(
        r"^import time: +(\d+) \| +\d+ \| +(\S+)$", said.decode(), re.MULTILINE
    ):
        own[module.partition(".")[0]] += int(micro)
    return [(package, micro / 1e6) for package, micro in own.most_common(5)]


def of_processes(found: pd.DataFrame) -> pd.DataFrame:
    least, median = found.min(), found.median()
    bare, pandas = least["python -c pass", NOW], least["import pandas", NOW]
    rows = {}
    for name in (*YARDSTICKS, *CASES):
        row = {}
        for which in (BEFORE, NOW):
            key = (name, which)
            row |= {f"{which}: least": least.get(key), f"{which}: median": median.get(key)}
        row["now, beyond bare Python"] = least[name, NOW] - bare
        row["now, of `import pandas`"] = least[name, NOW] / pandas
        rows[f"`{name}`"] = row
    return pd.DataFrame(rows).T.rename_axis("process").dropna(axis="columns", how="all")


def of_goals(found: pd.DataFrame) -> str:
    least = found.min()
    met = {name: least[name, NOW] <= goal for name, goal in GOALS.items()}
    said = [
        f"`{name}` {least[name, NOW]:.2f} s (goal {goal} s{'' if met[name] else ', **missed**'})"
        for name, goal in GOALS.items()
    ]
    return f"Least times against what was aimed at: {', '.join(said)}."


def markdown(found: pd.DataFrame, n: int, load: tuple[str, str], before: Path | None) -> str:
    versions = ", ".join(f"{p} {version(p)}" for p in ("typer", "rich", "pandas", "numpy"))
    beside = f" *Before* is commit `{commit(before)}`, *now* `{commit(ROOT)}`." if before else ""
    apart = [
        line
        for name in TAKEN_APART
        for line in (
            f"- `{name}`: " + ", ".join(f"{p} {s * 1000:.0f} ms" for p, s in packages(name)),
        )
    ]
    return "\n".join(
        [
            "# How long the command line takes before it does anything",
            "",
            f"`python benchmarks/start_up.py -n {n}{' --before FOLDER' if before else ''}` on "
            f"{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}, {versions}, "
            f"{os.cpu_count()} cores, in an environment "
            f"{'with' if find_spec('pytest') else 'without'} development tools.",
            "",
            f"Seconds of processor time (user and system) of a whole process, {n} of each, in "
            f"turns.{beside} Other programs ran meanwhile: the load was {load[0]} at the start and "
            f"{load[1]} at the end, over {os.cpu_count()} cores. That lengthens processor time, "
            "too, since caches are shared; the least time says most about the program. What a "
            "process takes beyond bare Python, and its share of what `import pandas` takes in the "
            "same minutes, depend least on the machine.",
            "",
            table(of_processes(found), ".2f").replace("nan", "–"),
            "",
            of_goals(found),
            "",
            "Where the time goes now, by package (own time of its modules in `-X importtime`, five "
            "largest, one process each; tracing takes time itself):",
            "",
            *apart,
            "",
        ]
    )


def commit(tree: Path) -> str:
    told = ["git", "-C", str(tree), "rev-parse", "--short", "HEAD"]
    return subprocess.run(told, capture_output=True, text=True, check=True).stdout.strip()


def load_now() -> str:
    return f"{os.getloadavg()[0]:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", type=Path, help="a checkout of another commit")
    parser.add_argument("-n", type=int, default=15, help="processes of each kind")
    parser.add_argument("-o", type=Path, default=Path(__file__).with_suffix(".md"))
    arguments = parser.parse_args()
    trees = {NOW: ROOT}
    if arguments.before:
        trees[BEFORE] = arguments.before.resolve()
    at_start = load_now()
    found = measure(trees, arguments.n)
    text = markdown(found, arguments.n, (at_start, load_now()), arguments.before)
    arguments.o.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
