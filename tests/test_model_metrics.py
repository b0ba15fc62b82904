"""What metrics have in common: copies, constants, effective dimensions, orders of magnitude."""

import numpy as np
import pandas as pd
import pytest

import hmmdyn
from hmmdyn.report.statements.data import say
from hmmdyn.results.model_metrics import MODEL_METRICS
from hmmdyn.tables.metric_table import from_frame
from hmmdyn.tables.model_metrics import describe_metrics, effective_dimensions


def runs(n_runs=4, n=60, **columns):
    """A table of runs with random walks, and columns made of them."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "run": np.repeat([f"seed{r}" for r in range(n_runs)], n),
            "step": np.tile(10 * np.arange(n), n_runs),
            "a": rng.normal(size=(n_runs, n)).cumsum(axis=1).ravel(),
            "b": rng.normal(size=(n_runs, n)).cumsum(axis=1).ravel(),
        }
    )
    for name, made in columns.items():
        table[name] = made(table)
    return table


def described(table):
    trajectories = from_frame(table)
    found = describe_metrics(trajectories, trajectories.observations("pooled"))
    MODEL_METRICS.check(found.table)
    return found.table.set_index("metric")


def test_metrics_that_follow_each_other_in_every_run_are_named():
    table = described(
        runs(
            copy=lambda t: 5 - 3 * t["a"],  # also downwards
            nearly=lambda t: t["b"] + 1e-4 * np.arange(len(t)) % 7,
            other=lambda t: np.where(t["run"] == "seed2", t["b"], t["a"]),  # not in every run
        )
    )
    assert table["alike"].to_dict() == {
        "a": "copy", "copy": "a", "b": "nearly", "nearly": "b", "other": "",
    }  # fmt: skip
    assert table["used"].all()


def test_each_run_may_have_levels_of_its_own():
    """Correlations are those within runs: neither levels nor sizes of a run make them."""
    shift = {f"seed{r}": 100.0 * r for r in range(4)}
    table = described(runs(shifted=lambda t: t["a"] + t["run"].map(shift)))
    assert table.loc["shifted", "alike"] == "a"
    far = runs(alone=lambda t: np.random.default_rng(3).normal(size=len(t)))
    far[["a", "alone"]] += 1e6 * far["run"].map(shift).to_numpy()[:, None]
    assert (described(far)["alike"] == "").all()


def test_missing_values_and_short_runs_make_no_copies():
    table = runs(copy=lambda t: 2 * t["a"])
    table.loc[table.index % 3 == 0, "copy"] = np.nan
    assert described(table).loc["copy", "alike"] == "a"
    assert (described(runs(n=3))["alike"] == "").all()  # any three points may lie on a line


def test_metrics_hardly_known_together_are_no_copies():
    """Any two numbers lie on a line: a metric that is known twice in a run follows nothing."""
    table = runs(rarely=lambda t: np.random.default_rng(1).normal(size=len(t)))
    table.loc[~table["step"].isin([0, 300]), "rarely"] = np.nan
    assert (described(table)["alike"] == "").all()


def test_constants_are_told_and_not_used():
    table = described(runs(still=lambda t: 7.0))
    assert table.loc["still", ["used", "constant", "alike"]].tolist() == [False, True, ""]
    assert not table.loc["a", "constant"]


def test_orders_of_magnitude_are_those_within_a_run():
    size = {f"seed{r}": 10.0**r for r in range(4)}  # between runs, which does not count
    given = runs(
        wide=lambda t: 10.0 ** (t["a"] / 4) * t["run"].map(size),
        narrow=lambda t: t["run"].map(size) * (5 + np.tanh(t["b"])),
    )
    table = described(given)
    expected = given.groupby("run")["a"].agg(np.ptp).max() / 4
    assert table.loc["wide", "orders"] == pytest.approx(expected)
    assert 0 < table.loc["narrow", "orders"] < np.log10(1.5)
    assert np.isnan(table.loc["a", "orders"])


def test_effective_dimensions_against_eigenvalues():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(300, 5)) @ rng.normal(size=(5, 5))
    eigenvalues = np.linalg.eigvalsh(np.corrcoef(values.T))
    expected = eigenvalues.sum() ** 2 / (eigenvalues**2).sum()
    assert effective_dimensions(values) == pytest.approx(expected)
    assert effective_dimensions(np.tile(values[:, :1], 4)) == pytest.approx(1)
    independent = np.linalg.qr(values - values.mean(axis=0))[0]
    assert effective_dimensions(independent) == pytest.approx(5)


def test_an_analysis_says_so():
    table = runs(copy=lambda t: 2 * t["a"], still=lambda t: 7.0)
    analysis = hmmdyn.analyze(table, protocol="bic", n_states=2, restarts=2, quick=True)
    expected = effective_dimensions(
        analysis.training_map.apply(analysis.trajectories).observations.values
    )
    assert analysis.model_metrics.effective_dimensions == expected
    texts = [statement.text for statement in say(analysis)]
    assert f"The 3 metrics vary as {expected:.2g} independent ones would." in texts
    assert any(text.startswith("Of these, a and copy follow others in every run") for text in texts)
    assert "still does not change in any run, and did not enter the model." in texts
