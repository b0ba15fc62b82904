"""Which states delay convergence, by the paper and by the test beside it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from hmmdyn.report import words
from hmmdyn.report.lookup import (
    confirmed_detours,
    founded_states,
    if_founded,
    rows,
    state_name,
)
from hmmdyn.report.statements.statement import Statement
from hmmdyn.results.convergence import Regression
from hmmdyn.results.findings import Findings
from hmmdyn.results.verdicts import (
    AFTER,
    CANNOT_TELL,
    CONFIRMED,
    FLAG_ONLY,
    NO_EVIDENCE,
    ON_THE_WAY,
    SLOWS,
)

_DETOUR = (
    "A detour delays convergence and can be avoided. The paper (Hu et al. 2023) flags a state "
    "where some runs converge without visiting it and its coefficient, in a significant regression "
    "of convergence time on the time spent in each state, is positive; slow runs have longer to "
    "enter any state, so this flags harmless states, too. A state is a confirmed detour where, at "
    "the same point in training, runs that have entered it are less likely to converge next than "
    "runs of their group that have come as far and have not (hazard ratio below 1, one-sided p < "
    "0.025 corrected over the states tested), and evidence supports its boundaries and finds it "
    "again in other runs. A delay that is short beside what such runs have left is not seen. "
    "Neither shows a cause, and states, decoded from whole runs, know a little of each run's "
    "future. The table of detour states has the reason for every verdict."
)


# Of one state, and of several.
_SAID = {
    CONFIRMED: ("is a confirmed detour", "are confirmed detours"),
    FLAG_ONLY: (
        "meets the paper's definition of a detour, which is not confirmed",
        "meet the paper's definition of a detour, which is not confirmed",
    ),
    SLOWS: (
        "goes with slower convergence, but too little supports it for a detour",
        "go with slower convergence, but too little supports them for detours",
    ),
}


def say(findings: Findings) -> Iterator[Statement]:
    """Say which states delay convergence."""
    topic = "Detour states"
    apart = findings.detours["verdict"].isin(_SAID)
    # Each with what is said of it in brief.
    texts = [
        text
        for _, states in findings.detours[apart].groupby("verdict", sort=False)
        for text in _of_verdict(findings, states)
    ] or [(_none_of_all(findings),) * 2]
    listed = {
        ON_THE_WAY: (
            "State {} lies on the way of every run that converged: nothing shows what it costs.",
            "States {} lie on the way of every run that converged: nothing shows what they cost.",
        ),
        AFTER: (
            "Runs enter state {} only after convergence, which it cannot delay.",
            "Runs enter states {} only after convergence, which they cannot delay.",
        ),
        NO_EVIDENCE: (
            "There is no evidence that entering state {} delays convergence.",
            "There is no evidence that entering any of states {} delays convergence.",
        ),
        CANNOT_TELL: (
            "These runs cannot tell whether entering state {} delays convergence.",
            "These runs cannot tell whether entering any of states {} delays convergence.",
        ),
    }
    others = findings.detours[~apart]
    for verdict, (of_one, of_several) in listed.items():
        states = others.loc[others["verdict"] == verdict, "state"]
        if len(states):
            sentence = of_one if len(states) == 1 else of_several
            text = sentence.format(words.listing(states, at_most=12))
            brief = if_founded(findings, states, text) if verdict == CANNOT_TELL else ""
            texts.append((text, brief))
    for i, (text, brief) in enumerate(texts):
        yield Statement(topic, text, _DETOUR if i == 0 else "", brief)
    regression = findings.regression
    if regression is None:
        return
    yield Statement(
        topic,
        f"The paper's regression on {regression.n_runs} runs: "
        f"R² = {words.fraction(regression.r_squared)}, {words.p_value(regression.p)}; "
        f"{_predicted(regression)}. {words.name(regression.warning, 1000)}",
    )


def _of_verdict(findings: Findings, states: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """Say of each state of a verdict why it has it; with the first, of all of them in brief."""
    of_one, of_several = _SAID[states["verdict"].iloc[0]]
    told = founded_states(findings).intersection(states["state"])
    names = words.listing((state_name(findings, k) for k in sorted(told)), at_most=12)
    brief = f"{words.capital(names)} {of_one if len(told) == 1 else of_several}." if told else ""
    for i, state in enumerate(rows(states)):
        name = words.capital(state_name(findings, state.state))
        yield f"{name} {of_one}. {words.name(state.reason, 800)}", brief if i == 0 else ""


def _none_of_all(findings: Findings) -> str:
    """Say that no state is a detour, in all groups together where one is in a group by itself."""
    if confirmed_detours(findings):
        return "Over all groups together no state is shown to be a detour."
    return "No state is shown to be a detour."


def _predicted(regression: Regression) -> str:
    """Say how well the regression predicts a run from the others."""
    r_squared = regression.r_squared_loo
    if np.isnan(r_squared):
        return "runs cannot be predicted from the others, because one visits a state alone"
    if r_squared <= 0:
        return "it predicts a run left out no better than the mean of the others does"
    return f"R² = {words.fraction(r_squared)} where every run is predicted from the others"
