"""What each stage of an analysis costs.

    python benchmarks/analysis_cost.py [--before FOLDER] [-n 3] [-o analysis_cost.md]

Processor seconds by stage (``stage_clock.py``), each analysis in a process of its own on one core,
all in turns so that a busy minute strikes all of them alike. ``--before`` is a checkout of another
commit, to be measured beside this one.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import pandas as pd
from markdown_table import table
from stage_clock import STAGES

ROOT = Path(__file__).resolve().parents[1]
CLOCK = Path(__file__).with_name("stage_clock.py")
NOW, BEFORE = "now", "before"
PARITY, FORTY = "data/parity", "40 × 1,000 × 14"
GOALS = {PARITY: 6.0, FORTY: 30.0}
# Of what the supported map was studied on, but longer runs.
WORLD = """
import sys
from hmmdyn.simulate.worlds import World, simulate_world
world = World("path", 4, 0.05, n_runs=int(sys.argv[1]), n_checkpoints=int(sys.argv[2]),
              n_metrics=int(sys.argv[3]), autocorrelation=0.9)
simulate_world(world, 1).table.to_parquet(sys.argv[4])
"""

# What was changed after commit 39aee82, and what numbers it leaves as they were.
CHEAPER = """\
## What became cheaper since `39aee82`, and by what

- **Outliers**: a run is looked at 200 times at most, and compared with 49 others of a block;
  distances are matrix products, no trees. Of more than 20 runs, a twentieth is held out together.
  Up to 200 checkpoints, 50 runs and, for the scores, 20 runs numbers are those of before. On 36
  simulated analyses of ten runs of 600 checkpoints (path, shared and own drift; sound, or one run
  with a spike of three deviations) both ways of looking agreed on every run: none of 18 sound
  ones named, the broken one in 11 of 18 (5 of 6 on a path, 6 of 6 and 0 of 6 on shared and own
  drift).
- **Criteria**: the entropy of paths comes from the compiled recursions. The same numbers, to
  rounding.
- **Found again**: maps of halves are neither dated nor zoomed, which nobody looked at. The same
  numbers.
- **Zoom**: dates of changes try all widths at once. The same numbers, to rounding.
- **Clock or seed**: runs go forward side by side, scales are weighed without logarithms. The same
  numbers, to rounding.
- **Figures**: curves are cut into pieces as arrays; the same bytes.
- **The page's rest**, after the tables above: two maps for every level of the zoom are plain data
  instead of Plotly figures, whose every value is checked, and what is known of a level is worked
  out once. All maps of data/parity's eight levels take 0.55 s in place of 1.22 where libraries are
  warm (means of three, load 20 to 24 over two cores); they are the same maps. Of a whole process,
  the stage fell from 1.68 and 1.86 s to 1.22 and 1.33 s at a load of about 20, but Plotly's own
  beginning now counts among the figures, and the whole (11.1 and 11.6 s before, 11.5 and 11.8 s
  after, in turns) shows no difference above the noise of such a load.
- **Checkpoints measured for the first time** (not in the tables): installed families of metrics are
  looked for once, not twice for every checkpoint: 10.0 ms of each, 4.4 s of data/parity's first
  command, now 0.02 ms.

What became dearer: the other statements, by the facts of every level of the zoom, which came since.
"""


def environment(tree: Path, kept: Path) -> dict[str, str]:
    one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    # Compiled once, as it is where hmmdyn is installed, whatever this shell says of that.
    compiled = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(kept / "compiled")}
    return {
        **os.environ,
        **one_thread,
        **compiled,
        "PYTHONPATH": str(tree),
        "XDG_CACHE_HOME": str(kept),
    }


def measured(source: str, tree: Path, folder: Path) -> dict[str, float]:
    """Analyse once; return seconds by stage, and of all, and megabytes."""
    kept = folder / tree.name
    command = [sys.executable, CLOCK, "analyze", source, "-o", kept / "report", "--jobs", "1"]
    done = subprocess.run(
        command, cwd=folder, env=environment(tree, kept), capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(done.stderr)
    told = json.loads(done.stdout)
    return {**told["seconds"], "all": told["processor"], "MB": told["megabytes"]}


def measure(trees: dict[str, Path], n: int) -> pd.DataFrame:
    """Return the seconds of every analysis: a row per turn, columns (case, tree, stage)."""
    turns = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        simulated = str(folder / "forty.parquet")
        subprocess.run(
            [sys.executable, "-c", WORLD, "40", "1000", "14", simulated],
            env=environment(ROOT, folder), check=True,
        )  # fmt: skip
        cases = {PARITY: str(ROOT / PARITY), FORTY: simulated}
        for turn in range(-1, n):  # the first compiles, measures checkpoints, and does not count
            row = {}
            for case, source in cases.items():
                if turn < 0 and case != PARITY:
                    continue
                for which, tree in trees.items():
                    told = measured(source, tree, folder)
                    row |= {(case, which, stage): value for stage, value in told.items()}
            turns.append(row)
            print(f"turn {turn + 1} of {n}", file=sys.stderr, flush=True)
    found = pd.DataFrame(turns[1:])
    found.columns = pd.MultiIndex.from_tuples(found.columns)
    return found


def of_case(found: pd.DataFrame, case: str) -> pd.DataFrame:
    """Stages of one case as rows, the least seconds before and now as columns."""
    least = found.min()[case].unstack(level=0)
    order = ["load libraries", "load compiled loops", *STAGES, "rest", "all", "MB"]
    stages = least.reindex([stage for stage in order if stage in least.index]).fillna(0.0)
    return stages[[which for which in (BEFORE, NOW) if which in stages]].rename_axis("stage")


def markdown(found: pd.DataFrame, n: int, load: list[float], before: Path | None) -> str:
    versions = ", ".join(f"{p} {version(p)}" for p in ("numpy", "scipy", "pandas", "numba"))
    beside = ""
    if before:
        told = ["git", "-C", str(before), "rev-parse", "--short", "HEAD"]
        commit = subprocess.run(told, capture_output=True, text=True, check=True).stdout.strip()
        beside = f" *Before* is commit `{commit}`."
    tables = [
        line
        for case in (PARITY, FORTY)
        for line in (f"## {case}", "", table(of_case(found, case), ".2f"), "")
    ]
    goals = "; ".join(
        f"{case}: {found.min()[case, NOW, 'all']:.1f} s, meant at most {goal:g}"
        for case, goal in GOALS.items()
    )
    return "\n".join(
        [
            "# What an analysis costs",
            "",
            f"`python benchmarks/analysis_cost.py -n {n}{' --before FOLDER' if before else ''}` on "
            f"{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}, {versions}, "
            f"{os.cpu_count()} cores.",
            "",
            f"Processor seconds (user and system) of whole processes on one thread, the least of "
            f"{n}, with default options.{beside} Other programs ran meanwhile: the load was "
            f"{load[0]:.1f} at the start and {load[1]:.1f} at the end, over {os.cpu_count()} "
            "cores. That lengthens processor time, too, since caches and cores are shared. MB is "
            "the most memory that was in use.",
            "",
            f"`{PARITY}` is ten runs of 41 checkpoints, measured before; {FORTY} are runs, "
            "checkpoints and metrics of a simulated table, four phases with autocorrelated noise.",
            "",
            f"**In all**: {goals}.",
            "",
            *tables,
            CHEAPER,
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", type=Path, help="a checkout of another commit")
    parser.add_argument("-n", type=int, default=3, help="analyses of each kind")
    parser.add_argument("-o", type=Path, default=Path(__file__).with_suffix(".md"))
    arguments = parser.parse_args()
    trees = {NOW: ROOT}
    if arguments.before:
        trees = {BEFORE: arguments.before.resolve(), NOW: ROOT}
    at_start = os.getloadavg()[0]
    found = measure(trees, arguments.n)
    load = [at_start, os.getloadavg()[0]]
    arguments.o.write_text(markdown(found, arguments.n, load, arguments.before), encoding="utf-8")


if __name__ == "__main__":
    main()
