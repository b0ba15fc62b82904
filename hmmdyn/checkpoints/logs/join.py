"""Give each checkpoint the outcomes that were logged for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from hmmdyn.logs.align import at_checkpoints
from hmmdyn.names import some
from hmmdyn.results.checkpoints import CheckpointIndex, OutcomeTable
from hmmdyn.results.keys import CHECKPOINT_KEY, RUN_KEY
from hmmdyn.results.notice import Notice


@dataclass(frozen=True)
class JoinedOutcomes:
    """Outcomes at the checkpoints.

    Attributes
    ----------
    table : DataFrame
        One row per checkpoint, in the order of the index: ``group, run, step`` and one float64
        column per outcome, NaN where none was logged for that checkpoint.
    counts : DataFrame
        One row per outcome: ``outcome`` and at how many checkpoints it was logged at their
        ``exact`` step, was taken from an ``earlier`` one, or is ``missing``.
    notices : tuple of Notice
    """

    table: pd.DataFrame
    counts: pd.DataFrame
    notices: tuple[Notice, ...] = ()


def of_runs_in(index: CheckpointIndex, outcomes: OutcomeTable) -> OutcomeTable:
    """Keep the outcomes of the runs of an index, from which some have been left out."""
    runs = pd.MultiIndex.from_tuples([(file.group, file.run) for file in index.checkpoints])
    mine = outcomes.table.set_index(RUN_KEY).index.isin(runs)
    if mine.all():
        return outcomes
    table = outcomes.table[mine].dropna(axis=1, how="all").reset_index(drop=True)
    return replace(outcomes, table=table)


def join_outcomes(index: CheckpointIndex, outcomes: OutcomeTable) -> JoinedOutcomes:
    """Give each checkpoint the outcomes logged for it.

    A checkpoint takes the value logged at its own step, else the last one logged after the run's
    previous checkpoint (Lightning logs step 199 for the checkpoint it calls 200). The first
    checkpoint of a run takes only its own step's, or that of the step before.

    An outcome that no checkpoint gets is left out, with a notice.
    """
    keys = pd.DataFrame(
        [(file.group, file.run, file.step) for file in index.checkpoints], columns=CHECKPOINT_KEY
    )
    logs = outcomes.table
    rows_of_run = keys.groupby(RUN_KEY).indices
    logs_of_run = logs.groupby(RUN_KEY).indices
    joined = {}
    counts = []
    for outcome in outcomes.outcomes:
        values = np.full(len(keys), np.nan)
        exact = np.zeros(len(keys), dtype=bool)
        for run in rows_of_run.keys() & logs_of_run.keys():
            rows, log = rows_of_run[run], logs.iloc[logs_of_run[run]]
            values[rows], exact[rows] = at_checkpoints(
                keys["step"].to_numpy()[rows], log["step"].to_numpy(), log[outcome].to_numpy()
            )
        missing = int(np.isnan(values).sum())
        counts.append((outcome, int(exact.sum()), int((~exact).sum()) - missing, missing))
        if missing < len(keys):
            joined[outcome] = values
    table = pd.concat([keys, pd.DataFrame(joined, index=keys.index)], axis=1)
    counted = pd.DataFrame(counts, columns=["outcome", "exact", "earlier", "missing"])
    return JoinedOutcomes(table, counted, tuple(_join_notices(counted, len(table))))


def _join_notices(counts: pd.DataFrame, n: int) -> Iterator[Notice]:
    nowhere = counts[counts["missing"] == n]
    partly = counts[(counts["missing"] > 0) & (counts["missing"] < n)]
    earlier = counts[counts["earlier"] > 0]
    for kind, rows, column, message in (
        ("left out", nowhere, "missing", "Outcomes logged at none of the checkpoints"),
        ("limit", partly, "missing", f"Outcomes not logged at some of the {n} checkpoints"),
        (
            "odd",
            earlier,
            "earlier",
            f"Outcomes that some of the {n} checkpoints take from the last step logged before them",
        ),
    ):
        if len(rows):
            listed = some(f"{name} ({number})" for name, number in rows[["outcome", column]].values)
            yield Notice("outcomes", kind, "outcomes", f"{message}: {listed}.")
