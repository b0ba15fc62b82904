"""The tables behind the report, for CSV files, ``report.json`` and the page alike."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from hmmdyn.report import words
from hmmdyn.report.facts import forks, paths
from hmmdyn.report.statements import statements
from hmmdyn.report.statements.statement import all_notices, told
from hmmdyn.results.findings import Findings

# What ``report.json`` says it is.
FORMAT = "hmmdyn report"


@dataclass(frozen=True)
class Table:
    """One table of the report. ``name`` is the stem of its CSV file; ``note`` explains columns."""

    name: str
    title: str
    note: str
    frame: pd.DataFrame


def tables(findings: Findings) -> dict[str, Table]:
    """Return every table by name. One that does not apply to the findings is empty."""
    parts = (_of_the_map, _of_seeds, _of_outcomes, _of_groups, _of_evidence)
    return {table.name: table for part in parts for table in part(findings)}


def _of_the_map(findings: Findings) -> Iterator[Table]:
    means = pd.DataFrame(findings.parameters.means, columns=list(findings.features))
    means.insert(0, "hidden_state" if "state" in means else "state", range(len(means)))
    yield Table(
        "state_summary",
        "States",
        "In order of time. Share of all checkpoints; first step: the median over the runs that "
        "visit it; median time as a fraction of the run; dwell: mean checkpoints per stay, as the "
        "model expects it, and in steps (visits cut off by the end of a run accounted for); mean "
        "outcomes over its checkpoints.",
        findings.state_summary,
    )
    yield Table(
        "transitions",
        "Transitions",
        "Every change of state that some run makes: its probability per checkpoint in the "
        "model, how often and by how many of all runs it is taken, and the mean convergence "
        "step of those of them that converged, with its standard error.",
        findings.transitions,
    )
    yield Table(
        "influences",
        "What moves in each transition",
        "Features by influence: the mean absolute derivative of the log posterior of the new "
        "state with respect to the feature, where a run enters it, with its deviation over runs; "
        "of how many runs with the feature it is among the three most influential. Movement: "
        "difference of the two states' means in standard deviations.",
        findings.influences,
    )
    yield Table(
        "state_means",
        "Mean of every feature in every state",
        "In standard deviations from the average (standardised as in the model).",
        means,
    )
    yield Table(
        "change_points",
        "Change points",
        "Every change of state of every run, between the previous step and the step, with a 90 % "
        "interval (after step low, not after step high) that allows for autocorrelation; "
        "probability, given the model and the whole run, that it happened just there.",
        findings.change_points,
    )
    yield Table(
        "fork_choices",
        "Which run forks where",
        "The way each run takes after a state from which runs go on to different new states.",
        findings.fork_choices,
    )


def _of_seeds(findings: Findings) -> Iterator[Table]:
    measure, speed = findings.convergence, findings.speed
    yield Table(
        "convergence",
        "Convergence of every run",
        "The first step past the threshold, or the last step of a run that never got there; "
        "it had not converged at the previous step. Time is the share of the run's checkpoints "
        "before convergence.",
        measure.table if measure else pd.DataFrame(),
    )
    yield Table(
        "ranking",
        "Seeds ranked by convergence",
        "Fastest first. Rank low and high: what sparse evaluation and runs that ended before they "
        "converged leave open.",
        speed.ranking if speed else pd.DataFrame(),
    )
    yield Table(
        "convergence_groups",
        "Speed of convergence",
        "Kaplan–Meier median and mean step of convergence, the mean restricted to the horizon, "
        "with 95 % intervals.",
        speed.groups if speed else pd.DataFrame(),
    )
    yield Table(
        "convergence_tests",
        "Groups compared for speed",
        "Log-rank test by permutation of runs (p), corrected over pairs (Benjamini–Hochberg); "
        "least p: the smallest these runs could give; difference of the restricted means, in "
        "steps, with its 95 % interval.",
        speed.tests if speed else pd.DataFrame(),
    )
    yield Table(
        "survival_curves",
        "Kaplan–Meier curves",
        "Share of runs still to converge after each step at which something is seen, with its "
        "95 % interval.",
        speed.curves if speed else pd.DataFrame(),
    )
    yield Table(
        "performance_profile",
        "Performance profile",
        "Share of the group's runs that converge within so many times the fastest run's steps.",
        speed.profile if speed else pd.DataFrame(),
    )
    yield Table(
        "occupancy",
        "Bag of states",
        "Fraction of each run's checkpoints spent in each state.",
        findings.occupancy,
    )
    yield Table(
        "outliers",
        "Runs unlike the others",
        "Score: log-likelihood per checkpoint under the map fitted without the run; misfit: mean "
        "squared distance from its states; path distance: share of checkpoints that would have to "
        "be elsewhere; returned: share in states the others do not go back to. p corrected for "
        "all runs.",
        findings.outliers,
    )


def _of_outcomes(findings: Findings) -> Iterator[Table]:
    found = findings.outcome_transitions
    yield Table(
        "outcome_transitions",
        "Phase transitions of the outcomes",
        "Sustained inflections: start, steepest step (with its 95 % interval) and end.",
        found.transitions if found else pd.DataFrame(),
    )
    yield Table(
        "delays",
        "From memorisation to generalisation",
        "Steps between the transitions of the training and the held-out outcome; censored where "
        "the run ended before it generalised.",
        found.delays if found else pd.DataFrame(),
    )
    yield Table(
        "spikes",
        "Loss spikes and divergences",
        "Where a loss left its level upwards; a divergence is not back within a tenth of the run.",
        found.spikes if found else pd.DataFrame(),
    )
    yield Table(
        "matches",
        "Changes of state that go with transitions of the outcomes",
        "Lead: steps by which the change of state comes first (median over runs, 95 % interval); "
        "p: whether runs with an early one have an early other, corrected over pairs.",
        found.matches if found else pd.DataFrame(),
    )


def _of_groups(findings: Findings) -> Iterator[Table]:
    compared = findings.group_comparison
    yield Table(
        "groups",
        "Groups on one map",
        "Dissimilarity within the group (mean distance between two runs' bags of states); path: "
        "the order in which most of its runs enter states.",
        _with_paths_in_words(compared.groups) if compared else pd.DataFrame(),
    )
    yield Table(
        "group_dissimilarities",
        "How differently groups walk the map",
        "Mean distance between two runs of different groups, and of the same one; p by permutation "
        "of runs, corrected over pairs.",
        compared.dissimilarities if compared else pd.DataFrame(),
    )
    yield Table(
        "group_forks",
        "Which group forks where",
        "Runs of each group by the way they take; p: whether groups take different ways.",
        compared.forks if compared else pd.DataFrame(),
    )
    yield Table(
        "group_detours",
        "Detour states, group by group",
        "As the table of detour states, for each group's own runs; p corrected over all of them.",
        compared.detours if compared else pd.DataFrame(),
    )
    yield Table(
        "group_regressions",
        "The paper's regression, group by group",
        "Convergence time on the bag of states.",
        compared.regressions if compared else pd.DataFrame(),
    )


def _with_paths_in_words(groups: pd.DataFrame) -> pd.DataFrame:
    return groups.assign(path=[" → ".join(map(str, path)) for path in groups["path"]])


def _of_evidence(findings: Findings) -> Iterator[Table]:
    regression = findings.regression
    yield Table(
        "model_selection",
        "Number of states",
        "Log-likelihood of the best valid model; criteria (−2 log L and a penalty), lower is "
        "better; held_out and path: how well maps predict runs they were not fitted to, "
        "higher is better, with standard errors.",
        findings.selection.criteria,
    )
    yield Table(
        "attempts",
        "Every fit tried",
        "Starts, splits and merges raced each other; all but the best were left behind. "
        "A fit is valid if it converged, visited every state and stayed finite.",
        findings.selection.attempts,
    )
    yield Table(
        "regression",
        "Regression of convergence time on the bag of states",
        "Least squares without intercept; coefficients as a fraction of the run, with 95 % "
        "intervals; p corrected over states (Benjamini–Hochberg).",
        regression.coefficients if regression else pd.DataFrame(),
    )
    yield Table(
        "detours",
        "Detour states",
        "Optional: some converged run never visits it. Flag (the paper's): optional, with a "
        "positive coefficient in a significant regression. Hazard ratio: how readily runs that "
        "had entered the state converged next, against those that had not, at the same point "
        "in training, with its 95 % interval, p (and the least that the slowest course would have "
        "given), and p corrected over states; then the same "
        "while in the state, and after leaving it.",
        findings.detours,
    )
    yield Table(
        "notices",
        "What was left out, odd, or beyond these data",
        "",
        pd.DataFrame(
            [
                {key: words.encodable(text) for key, text in asdict(notice).items()}
                for notice in all_notices(findings)
            ],
            columns=["stage", "kind", "subject", "message"],
        ),
    )


def to_json(findings: Findings) -> str:
    """Return everything the report shows as JSON, numbers in full precision.

    Tables are lists of records under ``tables``; ``null`` is a missing value, and infinities are
    the strings ``Infinity`` and ``-Infinity``, because JSON has no numbers for them. The curves are
    not repeated here: they are the columns of ``metrics.parquet`` and ``states.parquet``.
    """
    measure, regression = findings.convergence, findings.regression
    selection = findings.selection
    content = {
        "format": FORMAT,
        "format_version": 1,
        "source": findings.source,
        "options": dict(findings.options),
        "command": findings.command,
        "versions": dict(findings.versions),
        "step_unit": findings.step_unit,
        "metrics": findings.metrics,
        "features": findings.features,
        "outcomes": findings.outcomes,
        "n_runs": len(findings.occupancy),
        "n_checkpoints": len(findings.table),
        "n_states": findings.parameters.n_states,
        "statements": [asdict(statement) for statement in statements(findings)],
        "forking": findings.forking,
        "forks": [asdict(fork) for fork in forks(findings)],
        "paths": [{"states": path, "n_runs": n} for path, n in paths(findings).items()],
        "selection": {
            "protocol": selection.protocol,
            "criterion": selection.criterion,
            "n_states": selection.n_states,
            "covariance_type": selection.covariance_type,
            "held_out": selection.held_out,
        },
        "dissimilarity": asdict(findings.dissimilarity),
        "convergence": measure
        and {
            "outcome": measure.outcome,
            "threshold": measure.threshold,
            "direction": measure.direction,
            "sustained": measure.sustained,
            "how": told(findings, measure.how),
        },
        "regression": regression
        and {
            "r_squared": regression.r_squared,
            "r_squared_loo": regression.r_squared_loo,
            "f_statistic": regression.f_statistic,
            "p": regression.p,
            "n_runs": regression.n_runs,
            "n_censored": regression.n_censored,
            "warning": regression.warning,
        },
        "tables": {
            name: table.frame.to_dict(orient="records") for name, table in tables(findings).items()
        },
    }
    return json.dumps(_plain(content), indent=1, allow_nan=False) + "\n"


def to_csv(table: Table) -> bytes:
    """Return the table as CSV in UTF-8, numbers in full precision, missing values empty."""
    return table.frame.to_csv(index=False, lineterminator="\n").encode("utf-8")


def _plain(value: object) -> object:
    """Turn NumPy and pandas values into what JSON has."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if value is None or value is pd.NA:
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    return value if isinstance(value, str | int | float) else str(value)
