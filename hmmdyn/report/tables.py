"""The tables behind the report, for CSV files, ``report.json`` and the page alike."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from hmmdyn.report.facts import forks, median_convergence, paths
from hmmdyn.report.statements import statements
from hmmdyn.report.statements.statement import all_notices
from hmmdyn.results import Findings

_CONVERGENCE = ["group", "run", "seed", "converged", "step", "last_step", "time"]
_REGRESSION = ["state", "coefficient", "std_error", "ci_low", "ci_high", "p", "p_corrected"]


@dataclass(frozen=True)
class Table:
    """One table of the report. ``name`` is the stem of its CSV file; ``note`` explains columns."""

    name: str
    title: str
    note: str
    frame: pd.DataFrame


def tables(findings: Findings) -> dict[str, Table]:
    """Return every table by name. One that does not apply to the findings has no rows."""
    measure, regression = findings.convergence, findings.regression
    means = pd.DataFrame(findings.parameters.means, columns=list(findings.features))
    means.insert(0, "hidden_state" if "state" in means else "state", range(len(means)))
    made = (
        Table(
            "state_summary",
            "States",
            "In order of time. Share of all checkpoints; first step: the median over the runs that "
            "visit it; median time as a fraction of the run; dwell: mean checkpoints per stay; "
            "mean outcomes over its checkpoints.",
            findings.state_summary,
        ),
        Table(
            "transitions",
            "Transitions",
            "Every change of state that some run makes: its probability per checkpoint in the "
            "model, how often and by how many of all runs it is taken, and the mean convergence "
            "step of those of them that converged, with its standard error.",
            findings.transitions,
        ),
        Table(
            "influences",
            "What moves in each transition",
            "Features by influence: the mean absolute derivative of the log posterior of the new "
            "state with respect to the feature, where a run enters it. Movement: difference of "
            "the two states' means in standard deviations.",
            findings.influences,
        ),
        Table(
            "state_means",
            "Mean of every feature in every state",
            "In standard deviations from the average (standardised as in the model).",
            means,
        ),
        Table(
            "convergence",
            "Convergence of every run",
            "The first step past the threshold, or the last step of a run that never got there; "
            "time is the share of the run's checkpoints up to and including it.",
            measure.table if measure else pd.DataFrame(columns=_CONVERGENCE),
        ),
        Table(
            "occupancy",
            "Bag of states",
            "Fraction of each run's checkpoints spent in each state.",
            findings.occupancy,
        ),
        Table(
            "change_points",
            "Change points",
            "Every change of state of every run, between the previous step and the step, with the "
            "probability, given the model and the whole run, that it happened just there.",
            findings.change_points,
        ),
        Table(
            "model_selection",
            "Number of states",
            "Log-likelihood of the best valid model; criteria (−2 log L and a penalty), lower is "
            "better; held_out and path: how well maps predict runs they were not fitted to, "
            "higher is better, with standard errors.",
            findings.selection.criteria,
        ),
        Table(
            "attempts",
            "Every fit tried",
            "Starts, splits and merges raced each other; all but the best were left behind. "
            "A fit is valid if it converged, visited every state and stayed finite.",
            findings.selection.attempts,
        ),
        Table(
            "regression",
            "Regression of convergence time on the bag of states",
            "Least squares without intercept; coefficients as a fraction of the run, with 95 % "
            "intervals; p corrected over states (Benjamini–Hochberg).",
            regression.coefficients if regression else pd.DataFrame(columns=_REGRESSION),
        ),
        Table(
            "detours",
            "Detour states",
            "Optional: some converged run never visits it. Flag (the paper's): optional, with a "
            "positive coefficient in a significant regression. Hazard ratio: how readily runs that "
            "had entered the state converged next, against those that had not, at the same point "
            "in training, with its 95 % interval, p, and p corrected over states; then the same "
            "while in the state, and after leaving it.",
            findings.detours,
        ),
        Table(
            "notices",
            "What was left out, odd, or beyond these data",
            "",
            pd.DataFrame(
                [
                    {key: _encodable(text) for key, text in asdict(notice).items()}
                    for notice in all_notices(findings)
                ],
                columns=["stage", "kind", "subject", "message"],
            ),
        ),
    )
    return {table.name: table for table in made}


def to_json(findings: Findings) -> str:
    """Return everything the report shows as JSON, numbers in full precision.

    Tables are lists of records under ``tables``; ``null`` is a missing value, and infinities are
    the strings ``Infinity`` and ``-Infinity``, because JSON has no numbers for them. The curves are
    not repeated here: they are the columns of ``metrics.parquet`` and ``states.parquet``.
    """
    measure, regression = findings.convergence, findings.regression
    selection = findings.selection
    content = {
        "format": "hmmdyn report",
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
            "how": measure.how,
            "median_step": median_convergence(findings),
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


def _encodable(text: str) -> str:
    """Write out the bytes of a file name that are not UTF-8, which no table can hold."""
    return text.encode("utf-8", errors="backslashreplace").decode("utf-8")


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
