"""Sparse parity held against the paper's numbers, and what hmmdyn says of the same runs.

    hmmdyn reproduce parity --seeds 40 --out runs/parity
    python benchmarks/parity.py runs/parity [-o parity.md]

The published figures are those of Hu, Chen, Saphra, Cho (2023): components by BIC, and the row of
sparse parity in the table of R², p, dissimilarity and forking.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable
from pathlib import Path

from hmmdyn import Analysis, analyze, read_runs
from hmmdyn.options import PRESETS
from hmmdyn.report.facts import forks
from hmmdyn.report.statements import statements
from hmmdyn.results import CONFIRMED

PUBLISHED = {
    "components": "6",
    "R²": "0.961",
    "p": "< 0.001",
    "R², each run predicted from the others": "not given",
    "dissimilarity, labels as positions": "0.183",
    "dissimilarity, total variation": "not given",
    "forking": "yes",
    "states after which runs fork": "not given",
    "detour states by the paper's flag": "1",
    "of these confirmed by the hazard test": "no such test",
    "the map found again by other searches (ARI)": "not given",
}
# Their threshold: sparse parity has converged at an accuracy of 0.9.
PAPER = {**PRESETS["paper"], "outcome": "eval_accuracy", "threshold": 0.9}
OPTIONS = {
    "default": {},
    "the paper's protocol": PAPER,
    "the same with the paper's 6 states": {**PAPER, "n_states": 6},
}


def row(analysis: Analysis) -> dict[str, str]:
    """What the paper reports of a task, and what it does not."""
    regression, different = analysis.regression, analysis.dissimilarity
    flagged = analysis.detours[analysis.detours["flag"]]
    confirmed = flagged[flagged["verdict"] == CONFIRMED]
    stability = analysis.selection.stability
    none = "none: the runs cannot tell"
    return dict(
        zip(
            PUBLISHED,
            (
                str(analysis.parameters.n_states),
                f"{regression.r_squared:.3f}" if regression else none,
                f"{regression.p:.2g}" if regression else none,
                f"{regression.r_squared_loo:.3f}" if regression else none,
                f"{different.labels:.3f}",
                f"{different.total_variation:.3f}",
                "yes" if analysis.forking else "no",
                ", ".join(str(fork.state) for fork in forks(analysis)) or "none",
                f"{len(flagged)}" + _named(flagged["state"]),
                f"{len(confirmed)}" + _named(confirmed["state"]),
                f"{stability.agreement:.2f}" if stability else "not asked",
            ),
            strict=True,
        )
    )


def _named(states: Iterable[int]) -> str:
    listed = ", ".join(map(str, states))
    return f" (state {listed})" if listed else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("parity.md"))
    options = parser.parse_args()
    jobs = os.cpu_count() or 1
    trajectories = read_runs(options.runs, jobs=jobs)
    analyses = {
        name: analyze(trajectories, jobs=jobs, source_name="runs/parity", **given)
        for name, given in OPTIONS.items()
    }
    rows = {name: row(analysis) for name, analysis in analyses.items()}
    lines = [
        "# Sparse parity, 40 seeds: published and here",
        "",
        f"`hmmdyn reproduce parity --seeds {len(trajectories.runs)}`, then "
        "`python benchmarks/parity.py runs/parity`: "
        f"{len(trajectories.runs)} seeds, {len(trajectories.table):,} checkpoints, "
        f"{len(trajectories.metrics)} metrics; "
        + ", ".join(f"{k} {v}" for k, v in analyses["default"].versions.items())
        + ".",
        "",
        "| | published | " + " | ".join(rows) + " |",
        "| --- |" + " --- |" * (1 + len(rows)),
        *(
            f"| {what} | {published} | " + " | ".join(r[what] for r in rows.values()) + " |"
            for what, published in PUBLISHED.items()
        ),
    ]
    lines += ["", "## What the report says (default)", ""]
    lines += [f"- **{s.topic}.** {s.text}" for s in statements(analyses["default"])]
    options.output.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
