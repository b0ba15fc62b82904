"""What is told in brief: nothing of states without evidence, and no contradictions."""

import re
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hmmdyn import analyze
from hmmdyn.report.answers import answers, headline
from hmmdyn.report.lookup import founded_states
from hmmdyn.report.report import Report
from hmmdyn.results.boundaries import BOUNDARIES, STATES_FOUND_AGAIN, Evidence
from hmmdyn.results.findings import Findings
from hmmdyn.results.verdicts import CONFIRMED, NO_EVIDENCE
from tests.report.synthetic import make_findings, without_outcomes

DATA = Path(__file__).parents[2] / "data"


def with_evidence(findings, found, n_supported=None, timing="each seed in its own time"):
    """Findings whose boundaries, from the first on, are ``found`` again or not (None: slices)."""
    k = findings.parameters.n_states
    edges = list(zip(range(k - 1), range(1, k), found, strict=False))
    boundaries = BOUNDARIES.frame(
        {
            "from_state": j,
            "to_state": i,
            "kind": "slice" if how is None else ("sharp", "gradual")[j % 2],
            "n_runs": 8,
            "share": 0.8,
            **dict.fromkeys(("delta", "delta_low", "delta_high"), 0.2),
            **dict.fromkeys(("before", "middle", "after", "thinning"), 1.0),
            **dict.fromkeys(("thinning_low", "thinning_high", "movement"), 1.0),
            **dict.fromkeys(
                ("date", "date_low", "date_high", "duration", "duration_low", "duration_high"),
                np.nan if how is None else 1000.0 * i,
            ),
            **dict.fromkeys(("spread", "spread_low", "spread_high"), 900.0),
            "timing": "" if how is None else timing,
            "found_share": np.nan,
            "found_apart": np.nan,
            "found": how or "",
        }
        for j, i, how in edges
    )
    empty = pd.DataFrame()
    evidence = Evidence(
        boundaries, STATES_FOUND_AGAIN.frame([]), empty, empty, empty, {}, k, n_supported or k,
        timing, "Because.",
    )  # fmt: skip
    made = replace(findings, selection=replace(findings.selection, evidence=evidence))
    # A detour is confirmed only where its boundaries have evidence and are found again.
    detours = findings.detours
    unfounded = ~detours["state"].isin(founded_states(made))
    verdicts = detours["verdict"].mask(unfounded & (detours["verdict"] == CONFIRMED), NO_EVIDENCE)
    return replace(made, detours=detours.assign(verdict=verdicts))


def confirmed_in_a_group():
    findings = make_findings(6, groups=("a", "b"))
    none = findings.detours.assign(verdict=NO_EVIDENCE)
    compared = findings.group_comparison
    in_one = compared.detours.assign(
        verdict=np.where(compared.detours.index == 1, CONFIRMED, NO_EVIDENCE)
    )
    return replace(findings, detours=none, group_comparison=replace(compared, detours=in_one))


def pairs_that_differ_though_all_do_not():
    findings = make_findings(6, groups=("a", "b", "c"))
    tests = findings.speed.tests
    verdict = np.where(tests["group_a"].isna(), NO_EVIDENCE, "faster")
    return replace(findings, speed=replace(findings.speed, tests=tests.assign(verdict=verdict)))


SHAPES = {
    "as chosen": make_findings(),
    "twelve states": make_findings(40, n_states=12, wandering=0.2),
    "one run": make_findings(1, n_censored=0),
    "one run, one state": make_findings(1, n_states=1),
    "two runs": make_findings(2, n_censored=2),
    "no outcome": without_outcomes(make_findings()),
    "groups": make_findings(6, groups=("a", "b", "c")),
    "groups of one": make_findings(1, groups=("a", "b")),
    "a detour in one group": confirmed_in_a_group(),
    "pairs differ": pairs_that_differ_though_all_do_not(),
    "all found": with_evidence(make_findings(), ("yes",) * 3),
    "some found": with_evidence(make_findings(), ("yes", None, "no")),
    "none found": with_evidence(make_findings(), ("no", "no", None)),
    "too few to tell": with_evidence(make_findings(), ("cannot tell", None, None)),
    "drift": with_evidence(make_findings(), (None,) * 3),
    "drift in groups": with_evidence(make_findings(5, groups=("a", "b")), (None,) * 3),
    "another level": with_evidence(make_findings(n_states=6), ("yes", None, None, None, None), 2),
    "schedule": with_evidence(make_findings(), ("yes",) * 3, timing="shared by schedule"),
    "drift without outcome": with_evidence(without_outcomes(make_findings()), (None,) * 3),
}  # fmt: skip


def briefs(findings):
    report = Report(findings)
    told = [statement.brief for statement in report.statements if statement.brief]
    for answer in answers(report):
        told += [answer.short, *answer.sentences, *answer.marks]
    return [headline(report), *told]


# Each claim that sentences can make, by what it is about: where one is made, no other value may be.
CLAIMS = {
    "boundaries": (
        (r"\bno boundary\b|no phases|\bNone that has evidence|these runs drift", "none"),
        (r"(?:sharp|gradual) change from|change from .* is (?:sharp|gradual)", "some"),
        (r"change[s]? (?:sharply|gradually) from", "some"),
        (r"goes through \w+ (?:sharp|gradual|changes)", "some"),
        (r"^None that (?:is found|maps)|No change of state is found again", "none again"),
    ),
    "detours": (
        (r"^No state is shown", "none"),
        (r"is a confirmed detour|^Confirmed detours?:|^Confirmed detours, each", "some"),
    ),
    "who sets the time": (
        (r"Each seed changes in its own time|Seeds, not the schedule", "seeds"),
        (r"shared by schedule|The schedule, not seeds", "schedule"),
        (r"Seeds or schedule|seeds or the schedule set the time, these runs cannot", "unknown"),
    ),
    "groups' speed": (
        (r"no evidence that the speed of convergence differs over all", "alike"),
        (r"cannot tell whether the speed of convergence differs over all", "unknown"),
        (r"the speed of convergence differs \(p|(?<!one )converges faster than", "differ"),
        (r"is slower than (?:the other|all others)|pairs? of groups differ", "differ"),
        (r"None is shown to be slower", "alike"),
    ),
    "more than chance": (
        (r"^Nothing is shown to be$", "nothing"),
        (r"the speed of convergence differs \(p|is slower than (?:the other|all others)", "some"),
        (r"^That groups differ in speed is$|pairs? of groups differ", "some"),
        (r"Each seed changes in its own time|^Confirmed detours?:", "some"),
    ),
    "outliers": (
        (r"none is clearly unlike", "none"),
        (r"\d+ (?:is|are) clearly unlike", "some"),
    ),
    "forks": ((r"nothing forks", "none"), (r"^Runs fork after", "some")),
    "outcome": (
        (r"No outcome \(loss|there is no outcome", "none"),
        (r"of \d+ runs? converged", "some"),
    ),
}
# Claims whose value is a number that the sentence itself gives.
COUNTS = {
    "runs that converged": r"(\d[\d,]* of \d[\d,]*) runs? converged",
    "states": r"(?:went through|told in) (\d+) states|^The number of states, (\d+)|^(\d+) states",
    "supported": r"supported map has (\d+)|evidence supports (\d+)|supported one, which has (\d+)",
}


def contradictions(sentences):
    made = defaultdict(lambda: defaultdict(list))
    for sentence in sentences:
        for about, patterns in CLAIMS.items():
            for pattern, value in patterns:
                if re.search(pattern, sentence, re.IGNORECASE):
                    made[about][value].append(sentence)
        for about, pattern in COUNTS.items():
            for found in re.findall(pattern, sentence):
                value = found if isinstance(found, str) else "".join(found)
                made[about][value].append(sentence)
    return {about: dict(values) for about, values in made.items() if len(values) > 1}


@pytest.mark.parametrize("shape", SHAPES)
def test_no_two_sentences_of_the_brief_contradict_each_other(shape):
    assert contradictions(briefs(SHAPES[shape])) == {}


@pytest.mark.parametrize("shape", SHAPES)
def test_states_without_a_boundary_that_is_found_again_are_not_in_the_brief(shape):
    findings = SHAPES[shape]
    if not isinstance(findings, Findings):
        return
    founded = founded_states(findings)
    said = [b for b in briefs(findings) if findings.selection.evidence is not None]
    named = {int(k) for text in said for k in re.findall(r"\b[Ss]tate (\d+)\b", text)}
    walks = {int(k) for text in said for k in re.findall(r"(\d+) →|→ (\d+)", text) for k in k if k}
    assert named | walks <= founded


def test_the_check_finds_contradictions():
    assert contradictions(["No boundary has evidence.", "Sharp change from a to b."])
    assert contradictions(["No state is shown to delay runs.", "Confirmed detour: state 2."])
    assert contradictions(["3 of 4 runs converged.", "4 of 4 runs converged."])
    assert contradictions(["Nothing is shown to be", "sgd is slower than the other"])
    assert not contradictions(["3 of 4 runs converged.", "No state is shown to delay runs."])


def test_every_kind_of_claim_is_made_by_some_shape():
    """What no sentence says any more would be checked in vain."""
    told = [sentence for findings in SHAPES.values() for sentence in briefs(findings)]
    for about, patterns in CLAIMS.items():
        assert any(re.search(p, s, re.IGNORECASE) for p, _ in patterns for s in told), about
    for about, pattern in COUNTS.items():
        assert any(re.search(pattern, sentence) for sentence in told), about


@pytest.mark.long
@pytest.mark.parametrize("task", sorted(p.parent.name for p in DATA.glob("*/metrics.parquet")))
def test_nor_do_those_of_real_runs(task):
    analysis = analyze(DATA / task / "metrics.parquet")
    assert contradictions(briefs(analysis)) == {}
