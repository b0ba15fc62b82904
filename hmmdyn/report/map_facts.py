"""What there is to know of a state or a change of state of the map: for cards and side panels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from hmmdyn.report import words
from hmmdyn.report.lookup import (
    dwell,
    forks,
    own_levels,
    rows,
    state_name,
    top_movements,
)
from hmmdyn.results.boundaries import CANNOT_TELL, NOT_ASKED
from hmmdyn.results.findings import Findings

_N_MOVES = 5  # features named
_LEAST_MOVE = 0.05  # standard deviations; less would read as 0.0
_N_OUTCOMES = 4  # outcomes named of a state
_FOUND_BOUNDARY = {
    "yes": "found again: maps of other runs have it, too",
    "no": "not found again: maps of half of the runs do not have it",
    "cannot tell": "found again: the runs are too few to tell",
    NOT_ASKED: "whether it is found again was asked of the supported map only",
}
_FOUND_STATE = {
    "yes": "found again by maps of other runs",
    "no": "not found again by maps of other runs",
    "cannot tell": "whether it is found again, these runs cannot tell",
}


Keys = dict[tuple[str, str], None]  # of runs, in their order


@dataclass(frozen=True)
class Facts:
    """Of a state or change: its name, lines of text by heading, and what sets it apart.

    ``lines`` are plain text. ``moves`` are features with their means, or changes of them, in
    standard deviations, and what that is in the feature's own unit; ``runs`` have the keys of those
    that are in it or make it.
    """

    title: str
    lines: Mapping[str, tuple[str, ...]]
    moves: tuple[tuple[str, float, str], ...]
    runs: tuple[tuple[str, str], ...]


class FactsOfLevel:
    """The facts of the states and changes of a level of the zoom.

    ``is_told``: it is the level that the findings are about, of which more is known.
    """

    def __init__(self, findings: Findings, level: int) -> None:
        self.findings, self.level = findings, level
        self.is_told = level == findings.parameters.n_states
        found = findings.map_in_time
        places = found.states[found.states["level"] == level]
        edges = found.transitions[found.transitions["level"] == level]
        self._places = {row.state: row for row in rows(places)}
        self._edges = {(row.from_state, row.to_state): row for row in rows(edges)}
        self._means = found.means[level]
        self._in_state: dict[int, Keys] = {}
        self._in_change: dict[tuple[int, int], Keys] = {}
        before: tuple[Any, int | None] = (None, None)
        for stay in rows(found.stays[level]):
            key = (stay.group, stay.run)
            self._in_state.setdefault(stay.state, {})[key] = None
            if before[0] == key:
                self._in_change.setdefault((int(before[1] or 0), stay.state), {})[key] = None
            before = key, stay.state
        evidence = findings.selection.evidence
        self._evidence = evidence.at(level) if evidence is not None else None
        judged = rows(self._evidence.boundaries) if self._evidence is not None else ()
        self._boundaries = {(row.from_state, row.to_state): row for row in judged}
        self._own = own_levels(findings) if self.is_told else {}
        self._forks = {f.state: f for f in forks(findings)} if self.is_told else {}

    @cached_property
    def states(self) -> Mapping[int, Facts]:
        """What is known of every state."""
        return {state: self._of_state(row) for state, row in self._places.items()}

    @cached_property
    def changes(self) -> Mapping[tuple[int, int], Facts]:
        """What is known of every change of state, by the states it leads from and to."""
        return {(j, k): self._of_change(j, k) for j, k in self._edges}

    def _of_state(self, row: Any) -> Facts:
        state = int(row.state)
        title = state_name(self.findings, state) if self.is_told else f"state {state}"
        if row.n_runs == 0:
            return Facts(title, {"when": ("no checkpoint was decoded into it",)}, (), ())
        return Facts(
            title,
            {
                "when": (self._from_to(row), *self._dwell(state)),
                "how sure": (
                    *self._evidence_of_state(state),
                    *self._searches(state),
                    *self._role(state),
                ),
                "outcomes": self._outcomes(state),
                "runs": (
                    f"{words.of_runs(row.n_runs, row.n_total)}, {words.percent(row.share)} of "
                    + ("the time of all" if row.n_total > 1 else "its time"),
                ),
            },
            self._furthest(state),
            tuple(self._in_state[state]),
        )

    def _of_change(self, j: int, k: int) -> Facts:
        boundary = self._boundaries.get((j, k))
        return Facts(
            f"state {j} → state {k}",
            {
                "when": (self._date(j, k), *self._spread(j, k)),
                "how sharp": self._sharpness(boundary),
                "runs": (
                    f"made by {words.of_runs(*self.n_runs(j, k))}",
                    *self._convergence(j, k),
                ),
            },
            self._moved(j, k),
            tuple(self._in_change[j, k]),
        )

    def n_runs(self, j: int, k: int) -> tuple[int, int]:
        """Return how many runs make a change, and how many there are."""
        row = self._edges[j, k]
        return row.n_runs, row.n_total

    def kind(self, j: int, k: int) -> str:
        """Return what kind of boundary a change is; empty where none was asked about."""
        boundary = self._boundaries.get((j, k))
        return "" if boundary is None else str(boundary.kind)

    def width(self, j: int, k: int) -> tuple[float, float] | None:
        """Return from which step to which a change lasts where it is supported, else None."""
        boundary = self._boundaries.get((j, k))
        if boundary is None or pd.isna(boundary.date):
            return None
        half = boundary.duration / 2
        return boundary.date - half, boundary.date + half

    def _from_to(self, row: Any) -> str:
        unit = self.findings.step_unit
        of_runs = " (medians of its runs)" if row.n_runs > 1 else ""
        return f"{unit} {words.count(row.entered)} to {words.count(row.left)}{of_runs}"

    def _dwell(self, state: int) -> tuple[str, ...]:
        if not self.is_told:
            return ()
        summary = self.findings.state_summary.iloc[state]
        return (f"dwell: {dwell(summary)} {self.findings.step_unit}s per stay (median)",)

    def _searches(self, state: int) -> tuple[str, ...]:
        """Say how many searches with other seeds have the state, where they were asked."""
        stability = self.findings.selection.stability
        if not self.is_told or stability is None or len(stability.states) != self.level:
            return ()
        n_found = int(stability.states.set_index("state")["n_found"][state])
        searches = words.plural(stability.n_repeats, "search", "searches")
        return (f"found again in {n_found} of {searches} with other seeds",)

    def _evidence_of_state(self, state: int) -> tuple[str, ...]:
        evidence = self._evidence
        if evidence is None:
            return ()
        if not self.is_told:
            return (f"of the level with {words.plural(evidence.n_states, 'state')}",)
        own = evidence.states[evidence.states["state"] == state]
        if own.empty or own["found"].iloc[0] not in _FOUND_STATE:
            return ()
        strength = own["strength"].iloc[0]
        kept = (
            f": of its pairs of checkpoints, they keep {words.percent(strength)} together, at worst"
            if pd.notna(strength)
            else ""
        )
        return (_FOUND_STATE[own["found"].iloc[0]] + kept,)

    def _role(self, state: int) -> tuple[str, ...]:
        if not self.is_told:
            return ()
        lines = []
        fork = self._forks.get(state)
        if fork is not None:
            ways = words.listing(f"{n} to state {k}" for k, n in fork.exits.items())
            lines.append(f"fork: of {fork.n_runs} runs that go on, {ways}")
        if state in self.findings.ways.dead_ends:
            lines.append("dead end: no run that enters it leaves it or converges in it")
        detour = self.findings.detours.iloc[state]
        lines.append(words.name(f"{detour['verdict']}: {detour['reason']}", 800))
        return tuple(lines)

    def _outcomes(self, state: int) -> tuple[str, ...]:
        if not self.is_told:
            return ()
        summary = self.findings.state_summary.iloc[state]
        return tuple(
            f"mean {words.name(o, 24)}: {words.number(summary[f'mean_{o}'])}"
            for o in self.findings.outcomes[:_N_OUTCOMES]
        )

    def _furthest(self, state: int) -> tuple[tuple[str, float, str], ...]:
        if self.level == 1:
            return ()  # it is the average
        own = self._means[state]
        strongest = np.argsort(-np.abs(own), kind="stable")[:_N_MOVES]
        names = [self.findings.features[i] for i in strongest]
        return tuple(
            (name, float(own[i]), self._own.get((state, name), ""))
            for i, name in zip(strongest, names, strict=True)
        )

    def _moved(self, j: int, k: int) -> tuple[tuple[str, float, str], ...]:
        """What moves furthest, the furthest first; of the told level what is influential, too."""
        change = self._means[k] - self._means[j]
        most = np.argsort(-np.abs(change), kind="stable")
        first = [name for name, _ in top_movements(self.findings, j, k)] if self.is_told else []
        at = {name: i for i, name in enumerate(self.findings.features)}
        influential = [at[name] for name in first if abs(change[at[name]]) >= _LEAST_MOVE]
        some = list(dict.fromkeys([*influential, *most]))[:_N_MOVES]
        shown = sorted(some, key=lambda i: -abs(change[i]))
        return tuple((self.findings.features[i], float(change[i]), "") for i in shown)

    def _date(self, j: int, k: int) -> str:
        unit, boundary = self.findings.step_unit, self._boundaries.get((j, k))
        if boundary is None or pd.isna(boundary.date):
            return f"first made at {unit} {words.count(self._edges[j, k].crossed)} (median)"
        date, low, high, lasts, shortest, longest = (
            words.count(words.rounded(getattr(boundary, column)))
            for column in (
                *("date", "date_low", "date_high"),
                *("duration", "duration_low", "duration_high"),
            )
        )
        return (
            f"{unit} {date} ({low} to {high}), within about {words.in_steps(lasts, unit)} "
            f"({shortest} to {longest})"
        )

    def _spread(self, j: int, k: int) -> tuple[str, ...]:
        """Say how far the dates of the runs lie apart, and whose time that tells of."""
        boundary = self._boundaries.get((j, k))
        if boundary is None or pd.isna(boundary.spread):
            return ()
        spread = words.count(words.rounded(boundary.spread))
        timing = boundary.timing
        whose = "by itself, it cannot tell whose time" if timing == CANNOT_TELL else timing
        return (
            f"dates of the runs spread over {words.in_steps(spread, self.findings.step_unit)}: "
            f"{whose}",
        )

    def _sharpness(self, boundary: Any) -> tuple[str, ...]:
        if boundary is None:
            return ("no boundary was judged here",) if self._evidence is not None else ()
        delta = (
            f"{boundary.kind}: δ = {words.number(boundary.delta, 2)} "
            f"({words.number(boundary.delta_low, 2)} to "
            f"{words.number(boundary.delta_high, 2)}), where a jump has 0 and a steady drift 1"
        )
        found = _FOUND_BOUNDARY.get(boundary.found)
        if found is None:
            return (delta, "no boundary has evidence here")
        share = boundary.found_share
        at_worst = (
            f"; at worst, they have it for {words.percent(share)} of the runs that cross it"
            if pd.notna(share)
            else ""
        )
        return (delta, found + at_worst)

    def _convergence(self, j: int, k: int) -> tuple[str, ...]:
        if not self.is_told:
            return ()
        edges = self.findings.transitions
        own = edges[(edges["from_state"] == j) & (edges["to_state"] == k)]
        if own.empty:
            return ()
        edge = next(rows(own))
        lines = (
            f"{words.plural(edge.n_taken, 'time')}; probability "
            f"{words.number(edge.probability, 2)} per checkpoint",
        )
        # Runs that go another way may be faster or slower; on the only way all are the same runs.
        is_only_way = sum(start == j for start, _ in self._edges) == 1
        if not edge.n_converged or is_only_way:
            return lines
        spread = f" ± {words.count(edge.convergence_se)}" if edge.n_converged > 1 else ""
        return (
            *lines,
            f"these runs were first seen converged at {self.findings.step_unit} "
            f"{words.count(edge.convergence_mean)}{spread} "
            f"(mean ± s.e., {edge.n_converged} converged)",
        )
