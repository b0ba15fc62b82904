"""Runs of which outcomes alone are known: all that needs no states, and not a word of states."""

import json
import re
from pathlib import Path

import jsonschema
import numpy as np
import pandas as pd
import pytest

from hmmdyn import analyze, fit, read_runs
from hmmdyn.analysis import Analysis, OutcomeAnalysis
from hmmdyn.errors import NoCheckpointsError, NotEnoughDataError, UsageError
from hmmdyn.options import as_typed
from hmmdyn.report.json_schema import report_schema
from tests.simulate import phased_table

SHARED = Path(__file__).parents[2] / "shared" / "data"
STATES = re.compile(r"\bstates?\b|\bmaps?\b|\bdetour|\bcheckpoint", re.IGNORECASE)


def curves(n_runs=6, groups=("adam", "sgd"), step="step", n=60):
    """Returns that rise from 0 to 1, of the second group 200 steps later; one run never rises."""
    steps = 10 * np.arange(n)
    rows = []
    for g, group in enumerate(groups):
        for seed in range(n_runs):
            rng = np.random.default_rng([g, seed])
            at = 150 + 200 * g + rng.uniform(-50, 50) if seed < n_runs - 1 else 1e9
            values = (steps > at) + 0.02 * rng.normal(size=n)
            rows.append(
                pd.DataFrame({"group": group, "seed": seed, step: steps, "episode_return": values})
            )
    return pd.concat(rows, ignore_index=True)


@pytest.fixture(scope="module")
def analysis():
    return analyze(curves(), threshold=0.5)


@pytest.fixture(scope="module")
def folder(analysis, tmp_path_factory):
    """The report, in a folder in which there had been one of states."""
    folder = tmp_path_factory.mktemp("report")
    analyze(phased_table(4), n_states=2, quick=True).write(folder)
    assert (folder / "training_map.json").exists()
    (folder / "mine.txt").write_text("stays")
    analysis.write(folder)
    return folder


def test_convergence_ranking_groups_and_transitions(analysis):
    assert isinstance(analysis, OutcomeAnalysis)
    assert not isinstance(analysis, Analysis)
    assert analysis.metrics == ()
    converged = analysis.convergence.table["converged"]
    assert (converged.sum(), len(converged)) == (10, 12)
    assert len(analysis.speed.ranking) == 12
    (pair,) = analysis.speed.tests.itertuples()
    assert pair.verdict == "no evidence"
    assert analysis.outcome_transitions.improvements["n_runs"].tolist() == [10]
    assert analysis.outcome_transitions.matches.empty
    assert {name for name, frame in analysis.tables.items() if len(frame)} >= {
        "convergence", "ranking", "convergence_groups", "convergence_tests", "survival_curves",
        "runs", "outcome_transitions", "improvements",
    }  # fmt: skip
    assert not any(len(analysis.tables[t]) for t in ("transitions", "state_summary", "detours"))


def test_it_says_why_there_are_no_states(analysis):
    with pytest.raises(AttributeError, match=r"There is no 'states'.*outcomes alone"):
        analysis.states  # noqa: B018
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        analysis.nonsense  # noqa: B018
    assert repr(analysis) == (
        "<OutcomeAnalysis of a table given from Python: 12 runs, 720 checkpoints>"
    )


def test_no_sentence_speaks_of_states_but_the_one_that_says_so(analysis):
    first, *others = analysis.summary(100).split("Which runs")
    assert first.startswith("Outcomes of a table given from Python")
    first = first.replace("analysed", "")
    first = " ".join(first.split())
    assert "2 groups (adam and sgd), 60 evaluations each (720 in all), steps 0 to 590." in first
    assert "no metrics of their weights, so that nothing is said of states." in first
    assert not STATES.search("Which runs".join(others))


def test_the_page_has_no_empty_heading(folder):
    page = (folder / "report.html").read_text("utf-8")
    body = page.partition("<main>")[2].partition("</main>")[0]
    shown = re.sub(
        r"<script.*?</script>|<details class=\"data\".*?</details>", "", body, flags=re.S
    )
    headings = re.findall(r"<h2>(.*?)</h2>", shown)
    assert headings == [
        "Which groups were slow?", "Seeds, ranked", "Outcomes", "Evidence", "Left out, and why",
        "Reproduce",
    ]  # fmt: skip
    figures = re.findall(r'<figure id="(\w+)"', shown)
    assert figures == ["timeline", "waiting_curves", "performance_profile", "outcome_curves"]
    assert 'class="absent"' not in shown
    for word in ('href="#map"', 'id="choose-state"', "training_map", "states.parquet"):
        assert word not in page.partition("<script>")[0]


def test_the_folder_and_its_document(folder):
    document = json.loads((folder / "report.json").read_text("utf-8"))
    jsonschema.validate(document, report_schema())
    assert document["n_states"] is None
    assert document["n_runs"] == 12
    assert document["forks"] == []
    assert read_runs(folder / "metrics.parquet").outcomes == ("episode_return",)


def test_what_an_analysis_with_states_left_in_the_folder_goes(folder):
    names = {path.name for path in folder.iterdir()}
    assert {"report.html", "mine.txt"} <= names
    assert not names & {
        "states.parquet", "training_map.json", "state_summary.csv", "transitions.csv",
    }  # fmt: skip


def test_a_notebook_shows_the_curves(analysis):
    html = analysis._repr_html_()
    assert "<p>Outcomes of a table given from Python</p>" in html
    assert "title='Outcome curves'" in html


@pytest.mark.parametrize(
    ("column", "unit"),
    [
        ("samples", "sample"),
        ("tokens", "token"),
        ("epoch", "epoch"),
        ("env_steps", "step"),
        ("Iteration", "step"),
    ],
)
def test_what_training_is_counted_in(column, unit):
    found = analyze(curves(step=column), threshold=0.5)
    assert found.step_unit == unit
    assert f"{unit}s 0 to 590" in " ".join(found.summary().split())


def test_states_cannot_be_asked_for():
    with pytest.raises(UsageError) as refused:
        analyze(curves(), n_states=3, metrics=("l2",))
    assert "Leave out --metrics, --states." in as_typed(refused.value.message)
    with pytest.raises(NotEnoughDataError, match="nothing to fit states to"):
        fit(read_runs(curves()))


def test_one_run_and_outcomes_that_are_never_known():
    one = analyze(curves(1, ("adam",)).assign(episode_return=np.linspace(0, 1, 60)))
    assert "1 run, 60 evaluations, steps 0 to 590." in " ".join(one.summary().split())
    assert analyze(curves().assign(episode_return=np.nan)).convergence is None


# --- folders of logs ------------------------------------------------------------------------------


def write_logs(root, name):
    for (group, seed), own in curves().groupby(["group", "seed"]):
        path = root / name.format(group=group, seed=seed)
        path.parent.mkdir(parents=True, exist_ok=True)
        own[["step", "episode_return"]].to_csv(path, index=False)


@pytest.mark.parametrize("name", ["{group}/seed{seed}/log.csv", "{group}/seed{seed}.csv"])
def test_a_folder_of_logs_without_checkpoints(name, tmp_path, analysis):
    write_logs(tmp_path, name)
    found = read_runs(tmp_path)
    assert found.metrics == ()
    runs = found.runs
    assert set(runs["group"]) == {"adam", "sgd"}
    assert runs["run"].tolist() == 2 * [f"seed{i}" for i in range(6)]
    again = analyze(tmp_path, threshold=0.5)
    pd.testing.assert_frame_equal(
        again.convergence.table[["group", "seed", "step"]],
        analysis.convergence.table[["group", "seed", "step"]],
    )
    assert any(
        n.subject == "logs" and "No checkpoints were found, but 12 logs" in n.message
        for n in again.notices
    )


def test_logs_that_do_not_fit_are_named(tmp_path):
    write_logs(tmp_path, "{group}/seed{seed}/log.csv")
    (tmp_path / "adam" / "notes.csv").write_text("day,mood\n1,good\n")
    (tmp_path / "sgd" / "seed0" / "eval.jsonl").write_text('{"step": 0, "eval_loss": 2.5}\n')
    found = read_runs(tmp_path)
    assert found.outcomes == ("episode_return", "eval_loss")
    assert found.table["eval_loss"].notna().sum() == 1
    (left_out,) = (n for n in found.notices if n.kind == "left out")
    assert left_out.message == (
        "Logs not used, because it has no step or epoch column: adam/notes.csv."
    )


def test_a_folder_without_logs_is_refused_as_before(tmp_path):
    (tmp_path / "notes.csv").write_text("day,mood\n1,good\n")
    with pytest.raises(NoCheckpointsError, match="holds no checkpoints"):
        read_runs(tmp_path)
