"""Write what came out of the paper's experiments, with our runs.

    python benchmarks/findings.py [-o data]

It writes ``README.md``, which says what holds, and ``paper_protocol.md``, with the paper's own
protocol task by task. Every number of that is computed; ``notebooks/paper_tables.ipynb`` shows the
tables behind them. What holds is quoted from the reports that ``hmmdyn analyze`` makes by default.
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
    PATHS_ARE_PUBLISHED,
    States,
    Study,
    absent,
    all_studied,
    as_published,
    by_bic,
    by_hmm,
    load,
    present,
)
from published_tables import (
    agreement_table,
    baselines_table,
    components_cell,
    data_table,
    paths_table,
    regression_cells,
    side_by_side,
    why_no_regression,
    with_interval,
    yes,
)

from hmmdyn.choices import COVARIANCE_TYPES
from hmmdyn.report import words
from hmmdyn.results.verdicts import CONFIRMED

# What `hmmdyn analyze data/TASK/metrics.parquet` says by default, in short.
_SUPPORTED = pd.DataFrame(
    [
        {
            "our runs": "parity",
            "supported states": "3, the first of which runs only settle out of",
            "boundary": "1 (memorisation) → 2 (generalisation), 39 of 40 runs, found again",
            "kind": "gradual, δ = 0.28 (0.25 to 0.33)",
            "date": "5,280 (4,880 to 6,240)",
            "duration": "2,870 (2,250 to 3,500)",
            "spread of the runs' dates": "5,020 (3,950 to 7,990)",
            "who sets the time": "each seed in its own time",
            "of the whole course": "each seed in its own time (32 of 40, +0.56)",
        },
        {
            "our runs": "modular-addition",
            "supported states": "2",
            "boundary": "0 (memorisation) → 1 (generalisation), 18 of 18 runs, found again",
            "kind": "sharp, δ = 0.22 (0.19 to 0.26)",
            "date": "6,350 (5,050 to 8,300)",
            "duration": "2,470 (1,900 to 3,050)",
            "spread of the runs' dates": "8,840 (4,030 to 14,230)",
            "who sets the time": "each seed in its own time",
            "of the whole course": "cannot tell (4 of 18, −0.29)",
        },
        {
            "our runs": "modular-addition-stabilised",
            "supported states": "1",
            "boundary": "none",
            "of the whole course": "shared by schedule (9 of 40, −0.35)",
        },
        {
            "our runs": "digits",
            "supported states": "2, the first of which runs only settle out of",
            "boundary": "none",
            "of the whole course": "shared by schedule (0 of 40, −2.63)",
        },
        {
            "our runs": "digits-deep",
            "supported states": "1",
            "boundary": "none",
            "of the whole course": "shared by schedule (0 of 40, −3.86)",
        },
        {
            "our runs": "digits-destabilised",
            "supported states": "1",
            "boundary": "none",
            "of the whole course": "each seed in its own time (39 of 40, +1.38)",
        },
        {
            "our runs": "induction",
            "supported states": "2, the first of which runs only settle out of",
            "boundary": "none",
            "of the whole course": "shared by schedule (0 of 20, −5.00)",
        },
    ]
).set_index("our runs")


def at_first_sight() -> list[str]:
    """Show and tell what a report says of the parity runs; ``pictures.py`` draws the pictures."""
    return [
        *_picture("training_map", "Training map of forty parity runs: three states along time"),
        *_picture("timeline", "Accuracy of forty parity runs, and the states of each over time"),
        "Of forty runs of sparse parity, 39 change gradually to generalisation, within about 2,870 "
        "steps. Seeds took up to 3.4 times as long as the fastest, and the slow ones stayed longer "
        "above all in the state before the change. Each seed changes in its own time, and no state "
        "is shown to delay runs.",
        "",
        "```bash",
        "hmmdyn analyze data/parity/metrics.parquet --open",
        "```",
        "",
    ]


def _picture(name: str, what: str) -> list[str]:
    place = f"../docs/pictures/{name}"
    return [
        "<picture>",
        f'  <source media="(prefers-color-scheme: dark)" srcset="{place}_dark.svg">',
        f'  <img alt="{what}" src="{place}_light.svg">',
        "</picture>",
        "",
    ]


def what_holds() -> list[str]:
    """Say what of the page's tables is left without the paper's standardisation and BIC."""
    return [
        "## What holds",
        "",
        "The paper standardises each metric within its run, and chooses the number of states by "
        "BIC ([what comes out of that](paper_protocol.md)). The first uses the run's future (a "
        "plateau that takes the share f of a run gets z = ±√((1 − f)/f), whatever its level is), "
        "the second counts slices of drift as states. An analysis opens with another map: all runs "
        "on one scale, without the metrics that tell seeds apart before training has begun, and "
        "only the states whose boundaries have evidence ([how, and how often that is right]"
        "(../benchmarks/supported_map.md)). That map of the same runs says:",
        "",
        table(_SUPPORTED.fillna(words.MISSING), ""),
        "",
        "Dates, durations (10 to 90 % of the change) and spreads (10 to 90 % of the runs) in "
        "steps, with 90 % intervals. *Who sets the time* of a boundary: each seed where the dates "
        "spread over longer than the change and two checkpoints last. *Of the whole course*: runs "
        "of which, held out, states predict more than the course that all runs "
        "share, and the mean difference in nats per checkpoint. Made by "
        "`hmmdyn analyze data/TASK/metrics.parquet`; covariance `diag`. The page leaves out the "
        "last column where no boundary is supported; `hmmdyn.fit` has it "
        "(`selection.evidence.timing`). What is said of one scale with a given number of "
        "states was made by `--protocol bic --states K --quick`, and with 8 by `--protocol bic`.",
        "",
        "- **The forks of sparse parity and modular addition do not hold.** Both maps are lines: "
        "39 of 40 parity runs go 0 → 1 → 2, all 18 of modular addition 0 → 1. The ways from the "
        "initial state go with them. The scale alone takes away all forks of parity (4, 5, "
        "6 and 8 states) and those of modular addition at 4 and 5 states (13 and 5 runs with each "
        "run standardised by itself). At 6 and 8 states modular addition still forks on one scale "
        "(14 and 4 runs with 6): between slices, none of whose boundaries is supported.",
        "- **The fork of digits-destabilised stays on one scale** (33 and 7 runs, at 5 and at 8 "
        "states), but no boundary that leads to it has evidence: the supported map has one state, "
        "and cannot show it. From a finest map of 10 states instead of 8 (`--max-states 10`) there "
        "is a sharp boundary, into a state that 24 runs collapse into between steps 330 and 573, "
        "each at its own, with 12 % of the checkpoints; maps of halves of the runs do not have it. "
        "All states of eight are spent on drift.",
        "- **The single ways of digits and digits-deep stay** on one scale, at the published "
        "number of states and at 8: all 40 runs enter the states in one order.",
        "- **No detour state holds.** None has even the paper's flag on a supported map: every "
        "converged run visits every state. Nor has any on one scale with the numbers of states "
        "just named. In the paper's protocol *confirmed* means the hazard test alone; the one "
        "state so confirmed (modular addition, `full`, published K) is not there.",
        "- **The number of states by BIC does not hold.** It is 8 in all seven tasks here, too, "
        "where one to three states are supported.",
        "- **R² stays, and stays without meaning**, where a boundary lies at convergence: 0.995 in "
        "parity, more than 0.999 in modular addition, high by construction. In digits it is 0.009 "
        "(p = 0.56); with a single state there is none.",
        "- **Stable against destabilised training.** What tells them apart without forks is who "
        "sets the time: digits, digits-deep "
        "and modular-addition-stabilised (by little: its interval is −0.62 to −0.08) are shared by "
        "schedule; in parity, modular-addition and digits-destabilised each seed goes in its own "
        "time.",
        "- **Where no boundary has evidence, there may still be a phase.** The accuracy of "
        "induction rises in all runs in about 335 steps, a tenth of a run, and its map has no "
        "boundary ([what it says](induction/README.md#what-the-map-says)); nor has "
        "modular-addition-stabilised, whose runs all converge within steps 1,200 to 2,235. The "
        "rule is known to fail where a change takes as long as the phases beside it.",
        "",
        "Parity, modular addition, digits and their relatives were looked at while the rule was "
        "made: they are consistency checks, and no validation. Induction was not.",
        "",
    ]


def findings(studies: Sequence[Study], repeated: pd.DataFrame) -> list[str]:
    """Return the sections of ``paper_protocol.md`` on what reproduces, what does not, and why."""
    return [
        "## What comes out again",
        "",
        "R² and dissimilarity agree where the published number lies in the 95 % interval of ours "
        "(jackknife over runs, the map held fixed): easily where that is wide, hardly where it is "
        "narrow; the paper's own spread is not known. The others agree where they are equal. "
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
        f"The same protocol with {1 + len(_OTHER_SEEDS)} seeds of its own: other runs held out, "
        "other starts of the fits. Detours are by the paper's definition.",
        "",
        table(repeated, ""),
        "",
        "## Task by task",
        "",
        *(line for study in studies for line in _task(study)),
        *(line for study in studies for line in _ways(study)),
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
                    "detours": _range([len(x.by_definition) for x in found if x.regression], "d"),
                    "confirmed": _range([len(confirmed(x)) for x in found if x.regression], "d"),
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
    baselines = [
        f"{s.experiment.name} {' / '.join(_r_squared(s.states[name]) for name in _COMPARED)}"
        for s in studies
        if s.experiment.published.significant
    ]
    none_there = (
        f"; {words.MISSING} where there are too few runs for a regression"
        if any(words.MISSING in line for line in baselines)
        else ""
    )
    return [
        f"- **The number of states** depends on the covariance. With `diag` it is the largest one "
        f"tried in {_counted(at_limit)} of {len(studies)} tasks: "
        "metrics move together and smoothly, which such a model can only follow by more states. "
        f"With `full` it is the published one in {_counted(by_full)}. By `diag` it "
        "is a resolution, not a count of phases: [a notebook]"
        "(../notebooks/where_statistics_mislead.ipynb) gives BIC trajectories with the trend and "
        "spectrum of these runs, but no phases.",
        "- **R²** of a map with states before and after convergence is high whatever made runs "
        "slow, and a hidden Markov model need not be the reason. Where the paper's is "
        "significant, ours is, for all metrics / the L2 norm alone / k-means (K as published, "
        f"`diag`{none_there}): "
        f"{'; '.join(baselines)}.",
        "- **Dissimilarity** takes state labels as positions on a line. It changes when states are "
        "numbered otherwise, and grows with their number; the total variation beside it does not "
        "depend on labels.",
        _detours(studies),
        "- **Other data**: digits are not MNIST, and deep perceptrons on digits are not ResNet18 "
        "on CIFAR-100. Those rows ask whether stable training gives one path and unstable training "
        "several, not whether the same numbers come out.",
    ]


def confirmed(states: States) -> pd.DataFrame:
    """The detour states that the hazard test confirms."""
    return states.detours[states.detours["verdict"] == CONFIRMED]


def _detours(studies: Sequence[Study]) -> str:
    maps = {
        f"{study.experiment.name}, {name}": study.states[name]
        for study in studies
        for name in MAPS
        if study.states[name].regression is not None
    }
    found = pd.concat([states.by_definition for states in maps.values()])
    flagged = found[found["flag"]]
    named = [
        f"{name}: state {words.listing(list(slow['state']))}"
        for name, states in maps.items()
        for slow in [confirmed(states).query("flag")]
        if len(slow)
    ]
    return (
        f"- **Detour states**: in {words.plural(len(maps), 'map')} with a regression the paper's "
        f"definition finds {words.plural(len(found), 'detour state')}. Of these, "
        f"{len(found) - len(flagged)} lie after convergence, which they cannot delay. Of the other "
        f"{len(flagged)}, the hazard test confirms {_counted(named)}."
    )


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


def _ways(study: Study) -> list[str]:
    if study.experiment.name != PATHS_ARE_PUBLISHED:
        return []
    return [
        "## The ways from the initial state of modular addition",
        "",
        "The paper finds three, which go with slower and faster convergence; ours are all "
        "transitions out of state 0.",
        "",
        table(paths_table(study), ""),
        "",
    ]


def readme() -> list[str]:
    """Return the lines of ``README.md``: what holds, and which runs there are."""
    studies = [load(experiment) for experiment in present()]
    return [
        "# The runs, and what came out of the paper's experiments",
        "",
        *at_first_sight(),
        "Metric tables of trained runs, one folder per task: `metrics.parquet` (group, run, seed, "
        "step, fourteen metrics, losses and accuracies), `recipe.json`, and a README with recipe, "
        "versions, hardware, seeds and date. The experiments are those of Hu, Chen, Saphra and "
        "Cho, *Latent State Models of Training Dynamics* (arXiv:2308.09543); "
        "[induction](induction/README.md) is beside them.",
        "",
        *what_holds(),
        "## The runs",
        "",
        table(data_table(studies).rename(index=lambda name: f"[{name}]({name}/README.md)"), ""),
        "",
        *([f"Not here: {', '.join(e.name for e in absent())}.", ""] if absent() else []),
        "An *automatic* accuracy to reach is nine tenths of the way from the runs' median first "
        "value to their median best one. The convergence epoch of a run that never reaches it is "
        "not known; means are of the others.",
        "",
        "## Families of metrics, and layers",
        "",
        "Of parity there are 35 metrics of four families, of the network and of its layers: "
        "[what they say](parity/README.md#families-of-metrics-and-layers). With the spectrum "
        "beside the paper's metrics the boundary to generalisation is sharp and not gradual; with "
        "movement beside them there is none, because path length and distances never rest. Of "
        "twelve seeds of digits-deep, too: there [no family brings a boundary]"
        "(digits-deep/README.md#families-of-metrics-and-layers). Of induction, ten seeds: "
        "[attention changes before accuracy](induction/README.md#what-told-first), by 128 steps. "
        "Of stabilised modular addition, ten seeds: [the embedding's key frequencies come clear "
        "after generalisation]"
        "(modular-addition-stabilised/README.md#frequencies-of-the-embedding).",
        "",
        "## By the paper's own protocol",
        "",
        "What its procedure makes of these runs, beside the published numbers, is in "
        "[the notebook](../notebooks/paper_tables.ipynb) that computes it, and "
        "[task by task](paper_protocol.md); [another notebook]"
        "(../notebooks/where_statistics_mislead.ipynb) says what to read instead of the paper's "
        "statistics. This page is written by `python benchmarks/findings.py`.",
    ]


def paper_protocol(jobs: int) -> list[str]:
    """Return the lines of ``paper_protocol.md``, for which all maps are fitted."""
    studies = all_studied(jobs)
    packages = ("numpy", "scipy", "pandas", "scikit-learn", "hmmdyn")
    return [
        "# By the paper's own protocol",
        "",
        "Each metric standardised within its run, the number of states by BIC. What of this holds "
        "is told [with the runs](README.md#what-holds): read that first. "
        "[The notebook](../notebooks/paper_tables.ipynb) computes these tables, with the edges, "
        "paths and figures.",
        "",
        *findings(studies, repeated_table(studies, jobs)),
        "",
        "Made with Python "
        + ", ".join([platform.python_version(), *(f"{p} {version(p)}" for p in packages)])
        + ".",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=DATA, help="folder to write to")
    options = parser.parse_args()
    _write(options.output / "README.md", readme())
    _write(options.output / "paper_protocol.md", paper_protocol(os.cpu_count() or 1))


def _write(path: Path, lines: Iterable[str]) -> None:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
