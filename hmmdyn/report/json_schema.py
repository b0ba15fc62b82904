"""The JSON schema (draft 2020-12) of ``report.json``, made from the declarations of its tables.

``report.schema.json`` beside this module is what :func:`report_schema` returns; after a change,
``python -m hmmdyn.report.json_schema`` writes it again.
"""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from hmmdyn.choices import COVARIANCE_TYPES, DIRECTIONS, PROTOCOLS
from hmmdyn.report.document import FORMAT
from hmmdyn.report.statements.statement import Statement
from hmmdyn.results.columns import BOOLEAN, INTEGER, KINDS, NUMBER, PATH, TEXT, Column, Table
from hmmdyn.results.convergence import Dissimilarity
from hmmdyn.results.schema import CURVES, REPORTED
from hmmdyn.roles import STEP_UNITS

FILE = Path(__file__).with_name("report.schema.json")

_TEXT, _INTEGER, _BOOLEAN = {"type": "string"}, {"type": "integer"}, {"type": "boolean"}
_NUMBER = {"$ref": "#/$defs/number"}
_OF_KIND: dict[str, dict[str, Any]] = {
    TEXT: _TEXT,
    PATH: _TEXT,
    INTEGER: _INTEGER,
    NUMBER: _NUMBER,
    BOOLEAN: _BOOLEAN,
}
_DEFINITIONS = {
    "number": {
        "description": "null where it is not known; JSON has no numbers for infinities",
        "anyOf": [{"type": ["number", "null"]}, {"enum": ["Infinity", "-Infinity"]}],
    },
    "column": {
        "type": "object",
        "properties": {
            "type": {"enum": list(KINDS)},
            "unit": {**_TEXT, "description": "empty where there is none"},
            "meaning": _TEXT,
        },
        "required": ["type", "unit", "meaning"],
        "additionalProperties": False,
    },
    "columns": {"type": "object", "additionalProperties": {"$ref": "#/$defs/column"}},
}


def report_schema() -> dict[str, Any]:
    """Return the schema; its descriptions are those of the tables and their columns."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": FORMAT,
        "description": "Everything that a report of hmmdyn shows, in full precision.",
        **_object(
            {
                "format": {"const": FORMAT},
                "format_version": {"const": 1},
                "source": {**_TEXT, "description": "what was analysed, as the user named it"},
                "options": {
                    "type": "object",
                    "description": "options that differ from their defaults, by name",
                },
                "command": {
                    **_list(_TEXT),
                    "description": "command line that gives the report again; empty where the "
                    "source was given from Python",
                },
                "versions": {"type": "object", "additionalProperties": _TEXT},
                "step_unit": {"enum": list(STEP_UNITS)},
                "metrics": _list(_TEXT),
                "features": {
                    **_list(_TEXT),
                    "description": "metrics that entered the model",
                },
                "outcomes": _list(_TEXT),
                "n_runs": _INTEGER,
                "n_checkpoints": _INTEGER,
                "n_states": {
                    "type": ["integer", "null"],
                    "description": "null where there are no metrics of weights: then nothing is "
                    "said of states",
                },
                "statements": _list(_object({f.name: _TEXT for f in fields(Statement)})),
                "forking": {
                    "type": ["boolean", "null"],
                    "description": "whether the map is more than a line",
                },
                "forks": _list(
                    _object(
                        {
                            "state": _INTEGER,
                            "exits": {
                                "type": "object",
                                "description": "runs by the next state that is new to them",
                                "additionalProperties": _INTEGER,
                            },
                            "n_runs": _INTEGER,
                        }
                    )
                ),
                "paths": {
                    **_list(
                        _object({"states": _list(_INTEGER), "n_runs": _INTEGER, "n_part": _INTEGER})
                    ),
                    "description": "orders in which runs first enter the states, the runs that "
                    "take them to the end, and those that ended on the way",
                },
                "dead_ends": {
                    **_list(_INTEGER),
                    "description": "states that runs enter and never leave, though training does "
                    "not lead there",
                },
                "effective_dimensions": {
                    **_NUMBER,
                    "description": "participation ratio of the correlations between the features",
                },
                "sure_share": {
                    **_NUMBER,
                    "description": "share of the checkpoints whose state has a probability of at "
                    "least 0.9, given the model",
                },
                "selection": _or_null(
                    {
                        "protocol": {"enum": list(PROTOCOLS)},
                        "criterion": {
                            **_TEXT,
                            "description": "column of model_selection that decided",
                        },
                        "n_states": _INTEGER,
                        "covariance_type": {"enum": list(COVARIANCE_TYPES)},
                        "held_out": {
                            **_list(_TEXT),
                            "description": "runs held out, as group/run",
                        },
                    }
                ),
                "dissimilarity": _or_null(
                    {
                        f.name: _INTEGER if f.name == "n_runs" else _NUMBER
                        for f in fields(Dissimilarity)
                    }
                ),
                "convergence": _or_null(
                    {
                        "outcome": _TEXT,
                        "threshold": _NUMBER,
                        "direction": {"enum": list(DIRECTIONS)},
                        "sustained": _INTEGER,
                        "how": _TEXT,
                    }
                ),
                "slowest_quarter": {
                    **_or_null({"n_others": _INTEGER, "n_stopped": _INTEGER, "longer": _NUMBER}),
                    "description": "runs it is held against, runs stopped too early to tell, and "
                    "the steps by which it took longer on average",
                },
                "grokking_delay": {
                    **_NUMBER,
                    "description": "median delay of the runs that grok, in steps",
                },
                "grokking_delay_low": {
                    **_NUMBER,
                    "description": "its 95 % interval; with fewer than six such runs the least "
                    "that their evaluations leave open",
                },
                "grokking_delay_high": {**_NUMBER, "description": "likewise; the greatest"},
                "regression": _or_null(
                    {
                        "r_squared": _NUMBER,
                        "r_squared_loo": _NUMBER,
                        "f_statistic": _NUMBER,
                        "p": _NUMBER,
                        "n_runs": _INTEGER,
                        "n_censored": _INTEGER,
                        "warning": _TEXT,
                    }
                ),
                "columns": {
                    "description": "what each column of each table is",
                    **_object({t.name: {"$ref": "#/$defs/columns"} for t in (*CURVES, *REPORTED)}),
                },
                "tables": _object({table.name: _rows(table) for table in REPORTED}),
            }
        ),
        "$defs": _DEFINITIONS,
    }


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    """Describe an object that has all these properties and no other."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _or_null(properties: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [{"type": "null"}, _object(properties)]}


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _rows(table: Table) -> dict[str, Any]:
    """Describe a table: a list of records, empty where it does not apply."""
    fixed = [column for column in table.columns if not column.place]
    record: dict[str, Any] = {
        "type": "object",
        "properties": {column.name: _value(column) for column in fixed},
        "required": [column.name for column in fixed if not column.only],
        "additionalProperties": False,
    }
    for column in table.columns:
        if column.place:  # names that users choose: any may follow, and take that of a fixed one
            start = column.name.partition("<")[0]
            if start:
                record["patternProperties"] = {f"^{start}": _value(column)}
            else:
                record["additionalProperties"] = _value(column)
                record["properties"] = {}
                record["required"] = []
    return {"description": f"{table.title}. One row per {table.rows}.", **_list(record)}


def _value(column: Column) -> dict[str, Any]:
    value: dict[str, Any] = _OF_KIND[column.kind]
    if column.missing and value is not _NUMBER:
        value = {"type": [value["type"], "null"]}
    return {**value, "description": _described(column)}


def _described(column: Column) -> str:
    return f"{column.in_words} ({column.unit})" if column.unit else column.in_words


def _text() -> str:
    return json.dumps(report_schema(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(_text(), encoding="utf-8")
