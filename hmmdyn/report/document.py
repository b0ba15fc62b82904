"""``report.json``: everything the report shows, for programs.

:mod:`hmmdyn.report.json_schema` says what is in it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict

import numpy as np
import pandas as pd

from hmmdyn.report.lookup import forks, rows
from hmmdyn.report.report import Report
from hmmdyn.report.sheets import Sheet
from hmmdyn.report.statements.statement import told
from hmmdyn.results.columns import STEPS, Column
from hmmdyn.results.findings import Findings, OutcomeFindings
from hmmdyn.results.schema import CURVES

# What ``report.json`` says it is.
FORMAT = "hmmdyn report"


def to_json(report: Report) -> str:
    """Return everything the report shows as JSON, numbers in full precision.

    Tables are lists of records under ``tables``; ``null`` is a missing value, and infinities are
    the strings ``Infinity`` and ``-Infinity``, because JSON has no numbers for them. What their
    columns are stands under ``columns``, by table and name. The curves are not repeated here: they
    are the columns of ``metrics.parquet`` and ``states.parquet``, which are described, too.
    """
    findings = report.findings
    measure, outcomes = findings.convergence, findings.outcome_transitions
    content = {
        "format": FORMAT,
        "format_version": 1,
        "source": findings.source,
        "options": dict(findings.options),
        "command": findings.command,
        "versions": dict(findings.versions),
        "step_unit": findings.step_unit,
        "metrics": findings.metrics,
        "outcomes": findings.outcomes,
        "n_runs": len(findings.runs),
        "n_checkpoints": len(findings.table),
        "statements": [asdict(statement) for statement in report.statements],
        **(_of_states(findings) if isinstance(findings, Findings) else _NO_STATES),
        "convergence": measure
        and {
            "outcome": measure.outcome,
            "threshold": measure.threshold,
            "direction": measure.direction,
            "sustained": measure.sustained,
            "how": told(findings, measure.how),
        },
        **{f"grokking_{x}": getattr(outcomes, f"grokking_{x}", None) for x in _DELAY},
        "columns": _dictionary(findings, report.sheets),
        "tables": {
            name: sheet.frame.to_dict(orient="records") for name, sheet in report.sheets.items()
        },
    }
    return json.dumps(_plain(content), indent=1, allow_nan=False) + "\n"


_DELAY = ("delay", "delay_low", "delay_high")
# What is said of states, where there are none.
_NO_STATES: Mapping[str, object] = {
    **dict.fromkeys(("features", "forks", "paths", "dead_ends"), ()),
    **dict.fromkeys(
        ("n_states", "forking", "sure_share", "effective_dimensions", "selection", "dissimilarity")
    ),
    **dict.fromkeys(("slowest_quarter", "regression")),
}


def _of_states(findings: Findings) -> Mapping[str, object]:
    selection, regression = findings.selection, findings.regression
    quarter = findings.slowness.slowest_quarter if findings.slowness else None
    return {
        "features": findings.features,
        "effective_dimensions": findings.model_metrics.effective_dimensions,
        "n_states": findings.parameters.n_states,
        "forking": findings.forking,
        "forks": [asdict(fork) for fork in forks(findings)],
        "paths": [
            {"states": way.path, "n_runs": way.n_runs, "n_part": way.n_part}
            for way in rows(findings.ways.paths)
        ],
        "dead_ends": findings.ways.dead_ends,
        "sure_share": findings.sure_share,
        "selection": {
            "protocol": selection.protocol,
            "criterion": selection.criterion,
            "n_states": selection.n_states,
            "covariance_type": selection.covariance_type,
            "held_out": selection.held_out,
        },
        "dissimilarity": asdict(findings.dissimilarity),
        "slowest_quarter": quarter
        and {
            "n_others": quarter.n_others,
            "n_stopped": quarter.n_stopped,
            "longer": quarter.longer,
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
    }


def _dictionary(findings: OutcomeFindings, shown: Mapping[str, Sheet]) -> dict[str, object]:
    """Return what each column of each table is: type, unit and meaning, by table and name."""
    columns = {table.name: table.expanded(findings.members) for table in CURVES}
    for name, sheet in shown.items():
        declared = sheet.table.expanded(findings.members)
        columns[name] = tuple(c for c in declared if not c.only or c.name in sheet.frame)
    return {
        name: {column.name: _described(column, findings.step_unit) for column in own}
        for name, own in columns.items()
    }


def _described(column: Column, step_unit: str) -> dict[str, str]:
    unit = f"{step_unit}s" if column.unit == STEPS else column.unit
    return {"type": column.kind, "unit": unit, "meaning": column.in_words}


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
