"""The seeds in one list, the fastest first: what each took, and what it did differently."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from hmmdyn.report import words
from hmmdyn.report.figures.links import run_numbers
from hmmdyn.report.figures.small import SmallPictures, Strip
from hmmdyn.report.lookup import founded_states, full_run_names, rows, state_name
from hmmdyn.results.findings import Findings, OutcomeFindings
from hmmdyn.results.keys import RUN_KEY

# Of more runs only the first and the last of the list are shown, and the others counted.
_SHOWN_FIRST, _SHOWN_LAST = 15, 45
_NOTABLE = 0.1  # share of later evaluations on the wrong side of the threshold that is told


@dataclass(frozen=True)
class Seed:
    """A line of the list.

    Attributes
    ----------
    number : int
        Of the run (:mod:`.figures.links`).
    group : int
    rank, name, times, step : str
        As people read them; ``step`` with the interval in which the run converged.
    curve : str
        Points of the outcome's small picture; empty where it is not known.
    strips : tuple of Strip
    mark : float
        Where in the small picture it converged; NaN where it did not.
    different : str
        What it did that others did not.
    n_before : int
        Runs that are left out of the list before this line.
    """

    number: int
    group: int
    rank: str
    name: str
    times: str
    curve: str
    strips: tuple[Strip, ...]
    mark: float
    step: str
    different: str
    n_before: int


def ranked_seeds(findings: OutcomeFindings) -> tuple[Seed, ...]:
    """Return the seeds, the fastest first, those that did not converge after the others.

    Of many runs those in the middle are left out, and counted.
    """
    ranked = _in_order(findings)
    n_left_out = max(len(ranked) - _SHOWN_FIRST - _SHOWN_LAST, 0)
    last = ranked.iloc[_SHOWN_FIRST + n_left_out :]
    first = ranked.iloc[:_SHOWN_FIRST]
    pictures = SmallPictures(findings)
    numbers, names = run_numbers(findings), full_run_names(findings)
    groups = {group: i for i, group in enumerate(findings.table["group"].unique())}
    converged = ranked.loc[ranked["status"] == "converged", "step"]
    fastest = float(converged.min()) if len(converged) else 0.0
    different = dict(_differences(findings, names))
    return tuple(
        Seed(
            number=numbers[run.group, run.run],
            group=groups[run.group],
            rank=_rank(run),
            name=names[run.group, run.run],
            times=_times(run, fastest),
            curve=pictures.curve(run),
            strips=pictures.strips(run),
            mark=pictures.place(run.step) if run.status == "converged" else float("nan"),
            step=_step(run),
            different=different.get((run.group, run.run), ""),
            n_before=n_left_out if i == len(first) else 0,
        )
        for i, run in enumerate(rows(pd.concat([first, last])))
    )


def _in_order(findings: OutcomeFindings) -> pd.DataFrame:
    """Return the runs of all groups in one order, with what is known of their ranks."""
    columns = ["rank", "rank_low", "rank_high", "previous_step"]
    if findings.speed is None:
        runs = findings.runs.reindex(columns=[*findings.runs, *columns])
    else:
        known = findings.speed.ranking[[*RUN_KEY, *columns]]
        runs = findings.runs.merge(known, on=RUN_KEY, how="left")
    late = runs["status"].map({"converged": 0, "censored": 1, "unknown": 2})
    # Of runs that did not converge, those that were watched for longest come last.
    return (
        runs.assign(late=late)
        .sort_values(["late", "step"], kind="stable", na_position="last")
        .reset_index(drop=True)
    )


def _rank(run: Any) -> str:
    if pd.isna(run.rank_low):
        return words.MISSING
    low, high = int(run.rank_low), int(run.rank_high)
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"


def _times(run: Any, fastest: float) -> str:
    if run.status == "unknown" or fastest <= 0 or (not run.converged and run.step < fastest):
        return words.MISSING
    return f"{'' if run.converged else '> '}{words.number(run.step / fastest, 2)} ×"


def _step(run: Any) -> str:
    if run.status == "unknown":
        return "not known"
    if not run.converged:
        return f"not by {words.count(run.step)}"
    if pd.isna(run.previous_step):
        return f"by {words.count(run.step)}"
    return f"{words.count(run.previous_step + 1)}–{words.count(run.step)}"


def _differences(
    findings: OutcomeFindings, names: Mapping[tuple[str, str], str]
) -> Iterator[tuple[tuple[str, str], str]]:
    """Return what runs did that others did not, by run."""
    told: dict[tuple[str, str], list[str]] = {key: [] for key in names}
    if isinstance(findings, Findings):
        for run in rows(findings.outliers[findings.outliers["outlier"]]):
            told[run.group, run.run].append("unlike the others")
        _add_ways(findings, told)
        _add_slow(findings, told)
    if findings.convergence is not None:
        table = findings.convergence.table
        for run in rows(table[table["later_back"] >= _NOTABLE]):
            told[run.group, run.run].append(
                f"back across the threshold in {words.percent(run.later_back)} of later evaluations"
            )
    return ((key, words.capital("; ".join(texts))) for key, texts in told.items() if texts)


def _add_ways(findings: Findings, told: dict[tuple[str, str], list[str]]) -> None:
    """Add the orders of states that are not the most common one, or the beginning of it."""
    common = list(findings.ways.paths["path"].iloc[0])
    for key, stays in findings.ways.stays.groupby(RUN_KEY, sort=False):
        path = list(dict.fromkeys(stays["state"]))
        if path != common[: len(path)]:
            told[key].append(f"goes {' → '.join(map(str, path))}")  # type: ignore[index]


def _add_slow(findings: Findings, told: dict[tuple[str, str], list[str]]) -> None:
    """Add the states in which the slowest stayed longest compared with the others."""
    if findings.slowness is None or findings.slowness.slowest_quarter is None:
        return
    founded = founded_states(findings)
    for run in rows(findings.slowness.slowest_quarter.runs):
        if run.state in founded:
            told[run.group, run.run].append(
                f"{words.in_steps(words.number(run.time, 3), findings.step_unit)} in "
                f"{state_name(findings, run.state)}, others {words.number(run.others, 3)}"
            )
