"""How time, memory and the page grow with runs, checkpoints, metrics, states and columns.

    python benchmarks/scale.py [--large] [--rows scale.jsonl] [-o scale.md]

Simulated tables through ``hmmdyn analyze --quick``, each in a process of its own on one thread:
a small one, larger ones in one direction at a time, and with ``--large`` those that a cluster
leaves behind. A row is saved as soon as it is there; an interrupted study goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
from analysis_cost import CLOCK, ROOT, WORLD, environment
from markdown_table import table

SMALL = {"runs": 20, "checkpoints": 200, "metrics": 8, "states": 4, "groups": 1}
LARGER = {
    "runs": (80, 320),
    "checkpoints": (800, 3200),
    "metrics": (32, 128),
    "states": (8, 16),
    "groups": (4,),
}
LARGE = (
    {**SMALL, "runs": 200, "checkpoints": 100, "states": 8, "groups": 50},
    {**SMALL, "metrics": 200, "states": 8},
    {**SMALL, "runs": 1000, "checkpoints": 50, "metrics": 14, "states": 8},
    {**SMALL, "runs": 5, "checkpoints": 100_000, "metrics": 14, "states": 8},
    {**SMALL, "runs": 1000, "checkpoints": 1000, "metrics": 14, "states": 8},
)
COLUMNS = (2_500, 5_000, 10_000, 20_000)
READ = """
import sys, time
from pathlib import Path
from hmmdyn.tables.metric_table import read_table
start = time.process_time()
read_table(Path(sys.argv[1]))
print(time.process_time() - start)
"""


def cases(*, large: bool) -> Iterator[dict[str, int]]:
    yield SMALL
    if large:
        yield from LARGE
    for what, sizes in LARGER.items():
        for size in sizes:
            yield {**SMALL, what: size}


def analysed(case: dict[str, int], folder: Path, reports: Path) -> dict[str, float]:
    """Analyse once; return seconds of processor and wall, megabytes of memory and page."""
    source, report = folder / "runs.parquet", reports / "-".join(map(str, case.values()))
    sizes = [str(case[name]) for name in ("runs", "checkpoints", "metrics")]
    env = environment(ROOT, folder)
    subprocess.run([sys.executable, "-c", WORLD, *sizes, source], env=env, check=True)
    if case["groups"] > 1:
        frame = pd.read_parquet(source)
        frame["group"] = "g" + (frame["seed"] % case["groups"]).astype(str)
        frame.to_parquet(source)
    command = [sys.executable, CLOCK, "analyze", source, "-o", report, "--quick", "--jobs", "1"]
    command += ["--max-states", str(case["states"])]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    told = json.loads(done.stdout)
    most = sorted(told["seconds"].items(), key=lambda item: -item[1])[:3]
    return {
        "seconds": told["processor"],
        "wall": told["wall"],
        "memory": told["megabytes"],
        "page": (report / "report.html").stat().st_size / 1e6,
        "most": ", ".join(f"{stage} {seconds:.0f}" for stage, seconds in most),
    }


def read_columns(n: int, folder: Path) -> float:
    """Processor seconds to read a CSV of six rows and so many columns."""
    path = folder / "wide.csv"
    names = ["run", "step", *(f"layer{i}.norm" for i in range(n))]
    rows = [[f"seed{i % 2}", str(i // 2), *(["0.5"] * n)] for i in range(6)]
    path.write_text("\n".join(",".join(row) for row in [names, *rows]))
    done = subprocess.run(
        [sys.executable, "-c", READ, path], env=environment(ROOT, folder),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return float(done.stdout)


def study(kept: Path, reports: Path | None, *, large: bool) -> list[dict[str, object]]:
    rows = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    done = [row["case"] for row in rows]
    wanted: list[dict[str, int]] = [{"columns": n} for n in COLUMNS] + list(cases(large=large))
    for case in wanted:
        if case in done:
            continue
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            if "columns" in case:
                row = {"case": case, "seconds": read_columns(case["columns"], folder)}
            else:
                row = {"case": case, **analysed(case, folder, reports or folder)}
        rows.append(row)
        with kept.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(row, flush=True)
    return rows


def size_of(case: dict[str, int]) -> str:
    return " × ".join(f"{case[name]:,}" for name in SMALL)


def markdown(rows: list[dict[str, object]]) -> str:
    analysed = [row for row in rows if "columns" not in row["case"]]
    frame = pd.DataFrame([{**row["case"], **row} for row in analysed]).drop(columns="case")
    index = [*SMALL]
    shown = frame.set_index(index)[["seconds", "wall", "memory", "page"]].astype(float)
    shown.columns = ["processor s", "wall s", "memory MB", "page MB"]
    stages = [f"| {size_of(row['case'])} | {row['most']} |" for row in analysed]
    small = next(row for row in analysed if row["case"] == SMALL)
    growth = []
    for what, sizes in LARGER.items():
        last = [row for row in analysed if row["case"] == {**SMALL, what: sizes[-1]}]
        if last:
            times = sizes[-1] / SMALL[what]
            ratio = last[0]["seconds"] / small["seconds"]
            growth.append(f"{times:g} times the {what}: {ratio:.1f} times the seconds")
    columns = [
        f"{row['case']['columns']:,} columns {row['seconds']:.2f} s"
        for row in rows
        if "columns" in row["case"]
    ]
    missing = [c for c in LARGE if c not in [row["case"] for row in analysed]]
    unmeasured = (
        " Not run, for want of time: " + "; ".join(map(size_of, missing)) + "." if missing else ""
    )
    return "\n".join(
        [
            "# What grows with what",
            "",
            f"`python benchmarks/scale.py --large` on {datetime.now(UTC):%Y-%m-%d}, Python "
            f"{platform.python_version()}, {os.cpu_count()} cores that others used, too (load "
            f"{os.getloadavg()[0]:.0f} at the end), one thread. Simulated tables of four phases "
            "through `hmmdyn analyze --quick`; states are the most that were tried. Every process "
            "needs some five seconds and 450 MB for itself.",
            "",
            table(shown, ".1f"),
            "",
            f"Growth: {'; '.join(growth)}.{unmeasured}",
            "",
            f"A CSV of six rows is read in time linear in its columns: {', '.join(columns)}.",
            "",
            "The stages that took most (processor seconds):",
            "",
            f"| {' × '.join(index)} | stages |",
            "| --- | --- |",
            *stages,
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--large", action="store_true", help="the sizes of a cluster, too")
    parser.add_argument("--rows", type=Path, default=Path("scale.jsonl"))
    parser.add_argument("--reports", type=Path, help="a folder to leave the reports in")
    parser.add_argument("-o", type=Path, default=Path(__file__).with_suffix(".md"))
    arguments = parser.parse_args()
    rows = study(arguments.rows, arguments.reports, large=arguments.large)
    arguments.o.write_text(markdown(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
