"""What ties the parts of a figure to runs, groups and states, so that a page can link figures.

A trace says in its ``meta`` what it shows; a choice of a run, group or state then lights the traces
and points that go with it, and a click on one of them makes the choice:

``run``, ``group``, ``state``
    The number of the one run, group or state that the trace shows.
``runs``, ``states``
    The numbers of several, as of the runs that take a transition and the two states it joins.
``each``
    ``run``, ``group`` or ``state``: every point shows its own, the number in its ``customdata``.

In ``layout.meta``, ``waiting`` says that curves are of the runs still to converge. A shape named
``threshold`` lies at the convergence threshold.

What says nothing of runs is lit whichever run is chosen, and likewise for groups and states. In
``layout.meta``, ``x`` is ``step`` where that is the x axis, and ``runs`` or ``states`` are the
numbers that the ticks of the y axis name. An annotation of a state, transition or group has its
trace's ``meta`` as JSON for its ``name``; one that says ``spare`` there gives way on a narrow page.
Runs and groups are numbered in the order of the table of
findings.
"""

from __future__ import annotations

import pandas as pd

from hmmdyn.results.findings import OutcomeFindings
from hmmdyn.results.keys import RUN_KEY

STEP_AXIS = {"x": "step"}


def run_numbers(findings: OutcomeFindings) -> dict[tuple[str, str], int]:
    """Return the number of every run by (group, run)."""
    keys = findings.runs_of_table[RUN_KEY].itertuples(index=False, name=None)
    return {key: number for number, key in enumerate(keys)}


def group_numbers(findings: OutcomeFindings) -> dict[str, int]:
    """Return the number of every group by its name."""
    return {group: number for number, group in enumerate(findings.runs_of_table["group"].unique())}


def numbers_of(findings: OutcomeFindings, rows: pd.DataFrame) -> list[int]:
    """Return the number of the run of each row of a table with the columns ``group, run``."""
    known = pd.MultiIndex.from_frame(findings.runs_of_table[RUN_KEY])
    numbers: list[int] = known.get_indexer(pd.MultiIndex.from_frame(rows[RUN_KEY])).tolist()
    return numbers
