"""Write what came out of the paper's experiments, with our runs.

    python benchmarks/findings.py [-o data/README.md]

Every number is computed; ``notebooks/paper_tables.ipynb`` shows the tables behind them.
"""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path

import pandas as pd
from markdown_table import table
from published import (
    DATA,
    K_MEANS,
    L2_ONLY,
    MAPS,
    States,
    Study,
    absent,
    all_studied,
    as_published,
    by_bic,
    by_hmm,
)
from published_tables import (
    agreement_table,
    baselines_table,
    components_cell,
    data_table,
    regression_cells,
    side_by_side,
    why_no_regression,
    with_interval,
    yes,
)

from hmmdyn.report import facts, words
from hmmdyn.results import CONFIRMED, COVARIANCE_TYPES, HELPS


def findings(studies: Sequence[Study], repeated: pd.DataFrame) -> list[str]:
    """Return the sections of ``data/README.md`` on what reproduces, what does not, and why."""
    return [
        "## What comes out again",
        "",
        "A published number agrees where it lies in the 95 % interval of ours (jackknife over "
        "runs, the map held fixed; the paper's own spread is not known, so this is strict). "
        "Number of states by BIC, of 1 to 8. *Yes*: by both covariances, since the paper's "
        "protocol leaves open which. A dash: nothing to compare.",
        "",
        table(agreement_table(studies), ""),
        "",
        *_contrasts(studies),
        *(_in_brief(study) for study in studies),
        "",
        "## What does not, and why",
        "",
        *_why(studies),
        "",
        "## How far the numbers depend on the search",
        "",
        f"The same protocol with {1 + len(_OTHER_SEEDS)} seeds: other runs held out, other starts "
        "of EM.",
        "",
        table(repeated, ""),
        "",
        "## Task by task",
        "",
        *(line for study in studies for line in _task(study)),
        "## Without a hidden Markov model, and with one metric",
        "",
        "The same regression on states from k-means, which knows nothing of time, and from a "
        "hidden Markov model that sees the L2 norm alone; K as published, covariance `diag`.",
        "",
        table(baselines_table(studies), ""),
    ]


_OTHER_SEEDS = (1, 2)
_COMPARED = (as_published("diag"), L2_ONLY, K_MEANS)
_STABLE_AND_NOT = (
    ("modular-addition-stabilised", "modular-addition"),
    ("digits-deep", "digits-destabilised"),
)


def repeated_table(studies: Iterable[Study], jobs: int) -> pd.DataFrame:
    """What the same protocol gives with other runs held out and other starts of EM."""
    rows = []
    for study in studies:
        for covariance in COVARIANCE_TYPES:
            found = [study.states[by_bic(covariance)]]
            found += [by_hmm(study, jobs, covariance=covariance, seed=s) for s in _OTHER_SEEDS]
            r_squared = [x.regression.r_squared for x in found if x.regression]
            rows.append(
                {
                    "our runs": study.experiment.name,
                    "covariance": covariance,
                    "components": _range([x.n_states for x in found], "d"),
                    "R²": _range(r_squared, ".3f"),
                    "dissimilarity": _range([x.dissimilarity.labels for x in found], ".3f"),
                    "forks": f"{sum(x.forking for x in found)} of {len(found)}",
                    "detours flagged": _range([int(x.detours["flag"].sum()) for x in found], "d"),
                    "confirmed": _range(
                        [int((x.detours["verdict"] == CONFIRMED).sum()) for x in found], "d"
                    ),
                }
            )
    return pd.DataFrame(rows).set_index(["our runs", "covariance"])


def _range(values: Sequence[float], digits: str) -> str:
    if not values:
        return words.MISSING
    low, high = format(min(values), digits), format(max(values), digits)
    return low if low == high else f"{low} to {high}"


def _contrasts(studies: Sequence[Study]) -> list[str]:
    """What stabilising does, a line for each recipe of which both forms are here."""
    by_name = {study.experiment.name: study for study in studies}
    lines = []
    for names in _STABLE_AND_NOT:
        if not all(name in by_name for name in names):
            continue
        both = [by_name[name] for name in names]
        published = [study.experiment.published for study in both]
        parts = [
            f"dissimilarity {_pair([f'{p.dissimilarity:.3f}' for p in published])} and forking "
            f"{_pair([yes(p.forking) for p in published])} in the paper"
        ]
        for covariance in COVARIANCE_TYPES:
            states = [study.states[by_bic(covariance)] for study in both]
            parts.append(
                f"{_pair([f'{s.dissimilarity.labels:.3f}' for s in states])} and "
                f"{_pair([yes(s.forking) for s in states])} by `{covariance}`"
            )
        lines.append(f"- **{names[0]} → {names[1]}**: {'; '.join(parts)}.")
    return lines


def _pair(values: Sequence[str]) -> str:
    return " → ".join(values)


def _in_brief(study: Study) -> str:
    """One line on a task: the published number, then ours by both covariances."""
    published = study.experiment.published
    states = [study.states[by_bic(c)] for c in COVARIANCE_TYPES]
    r_squared = [regression_cells(s)[0] for s in states]
    different = [with_interval(s.dissimilarity.labels, s.dissimilarity_interval) for s in states]
    return (
        f"- **{study.experiment.name}** (published / diag / full): "
        f"R² {published.r_squared:.3f} / {' / '.join(r_squared)}; "
        f"dissimilarity {published.dissimilarity:.3f} / {' / '.join(different)}; "
        f"forking {yes(published.forking)} / {' / '.join(yes(s.forking) for s in states)}."
    )


def _why(studies: Sequence[Study]) -> list[str]:
    at_limit = [s.experiment.name for s in studies if "most" in components_cell(s, "diag")]
    by_full = [
        s.experiment.name
        for s in studies
        if s.states[by_bic("full")].n_states == s.experiment.published.components
    ]
    maps = [s.states[name] for s in studies for name in MAPS]
    flagged = sum(int(s.detours["flag"].sum()) for s in maps)
    confirmed = [
        f"{s.experiment.name}, {name}: state {row.state}"
        for s in studies
        for name in MAPS
        for row in facts.rows(s.states[name].detours)
        if row.verdict == CONFIRMED
    ]
    helps = sum(int((s.detours["flag"] & (s.detours["verdict"] == HELPS)).sum()) for s in maps)
    baselines = [
        f"{s.experiment.name} {' / '.join(_r_squared(s.states[name]) for name in _COMPARED)}"
        for s in studies
        if s.experiment.published.significant
    ]
    return [
        f"- **The number of states** goes by the covariance. With `diag` it is the largest one "
        f"tried in {_counted(at_limit)} of {len(studies)} tasks: "
        "metrics move together and smoothly, which such a model can only follow by more states. "
        f"With `full` it is the published one in {_counted(by_full)}. By `diag` it "
        "is a resolution, not a count of phases: the second notebook has the same BIC on "
        "trajectories with the trend and spectrum of these runs, but no phases.",
        "- **R²** of a map with states before and after convergence is high whatever made runs "
        "slow, and a hidden Markov model need not be the reason. Where the paper's is "
        "significant, ours is, for all metrics / the L2 norm alone / k-means (K as published, "
        f"`diag`; {words.MISSING} where too few runs converge for a regression): "
        f"{'; '.join(baselines)}.",
        "- **Dissimilarity** takes state labels as positions on a line. It changes when states are "
        "numbered otherwise, and grows with their number; the total variation beside it does not "
        "depend on labels.",
        f"- **Detour states**: the paper's definition flags {words.plural(flagged, 'state')} in "
        f"these {words.plural(len(maps), 'map')}. The hazard test confirms "
        f"{_counted(confirmed)}, and finds of {helps} that runs which had entered it converged "
        "*sooner*.",
        "- **Other data**: digits are not MNIST, and deep perceptrons on digits are not ResNet18 "
        "on CIFAR-100. Those rows ask whether stable training gives one path and unstable training "
        "several, not whether the same numbers come out.",
    ]


def _counted(names: Sequence[str]) -> str:
    return f"{len(names)} ({words.listing(names)})" if names else "none"


def _r_squared(states: States) -> str:
    return words.fraction(states.regression.r_squared) if states.regression else words.MISSING


def _task(study: Study) -> list[str]:
    regressions = why_no_regression([study])
    return [
        f"### {study.heading[0].upper()}{study.heading[1:]}",
        "",
        table(side_by_side(study), ""),
        "",
        *(f"No regression: {reason}" for reason in regressions),
        *([""] if regressions else []),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=DATA / "README.md")
    options = parser.parse_args()
    jobs = os.cpu_count() or 1
    studies = all_studied(jobs)
    packages = ("numpy", "scipy", "pandas", "scikit-learn", "hmmdyn")
    lines = [
        "# The runs, and what came out of the paper's experiments",
        "",
        "Metric tables of trained runs, one folder per task: `metrics.parquet` (group, run, seed, "
        "step, fourteen metrics, losses and accuracies), `recipe.json`, and a README with recipe, "
        "versions, hardware, seeds and date. The experiments are those of Hu, Chen, Saphra and "
        "Cho, *Latent State Models of Training Dynamics* (arXiv:2308.09543).",
        "",
        table(data_table(studies), ""),
        "",
        *([f"Not here: {', '.join(e.name for e in absent())}.", ""] if absent() else []),
        "The convergence epoch of a run that never reaches the accuracy is not known; means are "
        "of the others. This page is written by `python benchmarks/findings.py`; "
        "[the notebook](../notebooks/paper_tables.ipynb) has every edge, path and figure, and "
        "[another](../notebooks/where_statistics_mislead.ipynb) says what to read instead of the "
        "paper's statistics.",
        "",
        *findings(studies, repeated_table(studies, jobs)),
        "",
        "Made with Python "
        + ", ".join([platform.python_version(), *(f"{p} {version(p)}" for p in packages)])
        + ".",
    ]
    options.output.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
