"""All tables: which there are, and their reference of columns as Markdown.

``python -m hmmdyn.results.schema`` prints that reference.
"""

from __future__ import annotations

import re

from hmmdyn.results.boundaries import (
    BOUNDARIES,
    LEVEL_BOUNDARIES,
    LEVELS,
    MERGES,
    STATES_FOUND_AGAIN,
)
from hmmdyn.results.checkpoints import METRICS
from hmmdyn.results.columns import KINDS, Column, Table
from hmmdyn.results.convergence import (
    CONVERGENCE,
    CONVERGENCE_GROUPS,
    CONVERGENCE_TESTS,
    EQUIVALENCE,
    PERFORMANCE_PROFILE,
    PLANNING,
    RANKING,
    REGRESSION,
    SEEDS_NEEDED,
    SURVIVAL_CURVES,
)
from hmmdyn.results.detours import DETOURS, GROUP_DETOURS
from hmmdyn.results.groups import (
    GROUP_DISSIMILARITIES,
    GROUP_FORKS,
    GROUP_REGRESSIONS,
    GROUPS,
)
from hmmdyn.results.map_in_time import (
    GROUP_STATES,
    GROUP_TRANSITIONS,
    LEVEL_STATES,
    LEVEL_TRANSITIONS,
)
from hmmdyn.results.model_metrics import MODEL_METRICS
from hmmdyn.results.movement import MOVEMENT_LAWS
from hmmdyn.results.notice import NOTICES
from hmmdyn.results.outcomes import DELAYS, IMPROVEMENTS, MATCHES, OUTCOME_TRANSITIONS, SPIKES
from hmmdyn.results.outliers import OUTCOME_OUTLIERS, OUTLIERS
from hmmdyn.results.parts import PART_COURSES, PARTS, USUAL_STATES
from hmmdyn.results.selection import ATTEMPTS, MODEL_SELECTION
from hmmdyn.results.slowness import BEFORE_CONVERGENCE, EXTREMES, RUNS, SLOW_RUNS, SLOWEST_QUARTER
from hmmdyn.results.states import OCCUPANCY, STATE_MEANS, STATE_METRICS, STATE_SUMMARY, STATES
from hmmdyn.results.told_first import TOLD_FIRST
from hmmdyn.results.transitions import (
    CHANGE_POINTS,
    FORK_CHOICES,
    INFLUENCES,
    TRANSITION_TIMES,
    TRANSITIONS,
)
from hmmdyn.results.ways import FORKS, STAYS, WAYS
from hmmdyn.results.where import WHERE

# A row per checkpoint: too long for CSV and JSON, so they are Parquet files beside the report.
CURVES = (METRICS, PARTS, STATES)
# The tables of the report, in its order.
REPORTED = (
    MODEL_METRICS,
    STATE_SUMMARY,
    TRANSITIONS,
    INFLUENCES,
    WHERE,
    PART_COURSES,
    USUAL_STATES,
    MOVEMENT_LAWS,
    STATE_MEANS,
    STATE_METRICS,
    CHANGE_POINTS,
    FORK_CHOICES,
    TRANSITION_TIMES,
    WAYS,
    FORKS,
    STAYS,
    CONVERGENCE,
    RANKING,
    CONVERGENCE_GROUPS,
    CONVERGENCE_TESTS,
    EQUIVALENCE,
    PLANNING,
    SEEDS_NEEDED,
    SURVIVAL_CURVES,
    PERFORMANCE_PROFILE,
    OCCUPANCY,
    OUTLIERS,
    RUNS,
    BEFORE_CONVERGENCE,
    EXTREMES,
    SLOWEST_QUARTER,
    SLOW_RUNS,
    OUTCOME_TRANSITIONS,
    IMPROVEMENTS,
    DELAYS,
    SPIKES,
    OUTCOME_OUTLIERS,
    MATCHES,
    TOLD_FIRST,
    GROUPS,
    GROUP_DISSIMILARITIES,
    GROUP_FORKS,
    GROUP_DETOURS,
    GROUP_REGRESSIONS,
    GROUP_STATES,
    GROUP_TRANSITIONS,
    BOUNDARIES,
    STATES_FOUND_AGAIN,
    MERGES,
    LEVELS,
    LEVEL_BOUNDARIES,
    LEVEL_STATES,
    LEVEL_TRANSITIONS,
    MODEL_SELECTION,
    ATTEMPTS,
    REGRESSION,
    DETOURS,
    NOTICES,
)


def describe_tables() -> str:
    """Return the reference of all tables and columns, in Markdown."""
    kinds = [f"- *{kind}*: {what}" for kind, what in KINDS.items()]
    return "\n\n".join(["\n".join(kinds), *map(_described, (*CURVES, *REPORTED))]) + "\n"


def _described(table: Table) -> str:
    return "\n".join(
        [
            f"### `{table.name}`: {table.title}",
            "",
            f"One row per {table.rows}.",
            "",
            "| column | kind | unit | meaning |",
            "|---|---|---|---|",
            *map(_row, table.columns),
        ]
    )


def _row(column: Column) -> str:
    meaning = re.sub("(<[a-z]+>)", r"`\1`", column.in_words)  # or it would be read as HTML
    return f"| `{column.name}` | {column.kind} | {column.unit or '–'} | {meaning} |"


if __name__ == "__main__":
    print(describe_tables(), end="")
