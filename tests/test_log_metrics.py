"""Metrics that enter the model by their logarithms."""

import json

import numpy as np
import pandas as pd
import pytest

import hmmdyn
from hmmdyn.dynamics.states import metric_levels
from hmmdyn.errors import MetricNotFiniteError, TrainingMapError, UsageError
from hmmdyn.hmm import fit_training_map
from hmmdyn.tables.metric_table import from_frame
from hmmdyn.tables.standardise import standardised


def table(n_runs=4, n=60, seed=0):
    """Runs whose metric `wide` falls by five orders of magnitude in steps, beside a plain one."""
    rng = np.random.default_rng(seed)
    phase = np.repeat([0, 1, 2], n // 3)
    return pd.DataFrame(
        {
            "run": np.repeat([f"seed{r}" for r in range(n_runs)], n),
            "step": np.tile(10 * np.arange(n), n_runs),
            "wide": np.exp(
                np.tile(np.log(10.0) * (2 - 2.5 * phase), n_runs)
                + 0.2 * rng.normal(size=n_runs * n)
            ),
            "plain": np.tile(np.sin(np.arange(n) / 3), n_runs) + 0.1 * rng.normal(size=n_runs * n),
        }
    )


def test_the_logarithm_is_standardised_in_the_metrics_place():
    given = table()
    observed = standardised(from_frame(given), log_metrics=["wide"])
    by_hand = given.assign(wide=np.log(given["wide"]))
    expected = standardised(from_frame(by_hand))
    np.testing.assert_allclose(observed.values, expected.values, atol=1e-12)
    assert observed.features == ("wide", "plain")
    assert observed.standardisation.logarithmic == (True, False)
    assert expected.standardisation.logarithmic == ()


def test_it_is_advised_where_a_metric_spans_orders_of_magnitude():
    (notice,) = (n for n in standardised(from_frame(table())).notices if "wide" in n.subject)
    assert "up to 5" in notice.message
    assert "log_metrics=('wide',)" in notice.message
    logged = standardised(from_frame(table()), log_metrics=["wide"])
    assert not any("wide" in n.subject for n in logged.notices)
    narrow = table().assign(wide=lambda t: t["wide"] ** 0.5)
    assert not any("wide" in n.subject for n in standardised(from_frame(narrow)).notices)


def test_a_map_keeps_it_and_reads_new_runs_alike(tmp_path):
    fitted = fit_training_map(
        from_frame(table()), [3], standardise="pooled", log_metrics=["wide"], n_restarts=2
    )
    fitted.training_map.save(tmp_path / "map.json")
    loaded = hmmdyn.TrainingMap.load(tmp_path / "map.json")
    assert loaded.standardisation.logarithmic == (True, False)
    new = from_frame(table(seed=1))
    states = loaded.apply(new).states["state"].to_numpy()
    # The three phases, of which the last two differ by less than 1 % of the first.
    assert (states == np.tile(np.repeat([0, 1, 2], 20), 4)).mean() > 0.98
    levels = metric_levels(loaded.parameters, loaded.features, loaded.standardisation)
    of_wide = levels[levels["feature"] == "wide"]
    np.testing.assert_allclose(of_wide["own"], [1e2, 10**-0.5, 1e-3], rtol=0.1)
    assert set(of_wide["own_is"]) == {"level"}
    bad = from_frame(table(seed=1).assign(wide=lambda t: t["wide"] - 1))
    with pytest.raises(MetricNotFiniteError, match="'wide' is not positive"):
        loaded.apply(bad)


def test_older_hmmdyns_refuse_such_a_map_and_older_maps_are_read(tmp_path):
    for log_metrics, version in ((["wide"], 3), ([], 1)):
        fitted = fit_training_map(
            from_frame(table()), [2], standardise="pooled", log_metrics=log_metrics, n_restarts=1
        )
        path = tmp_path / f"{version}.json"
        fitted.training_map.save(path)
        assert json.loads(path.read_text())["format_version"] == version
        assert hmmdyn.TrainingMap.load(path).features == ("wide", "plain")
    document = json.loads((tmp_path / "3.json").read_text())
    document["standardisation"]["logarithmic"] = [True]
    (tmp_path / "3.json").write_text(json.dumps(document))
    with pytest.raises(TrainingMapError, match="logarithmic tells 1 metrics"):
        hmmdyn.TrainingMap.load(tmp_path / "3.json")


def test_what_has_no_logarithm_is_refused():
    with pytest.raises(MetricNotFiniteError, match=r"'plain' is not positive at .* so it has no"):
        standardised(from_frame(table()), log_metrics=["plain"])
    with pytest.raises(UsageError, match="metric"):
        standardised(from_frame(table()), log_metrics=["nothing"])
    with pytest.raises(UsageError, match="logarithm is taken of every positive metric"):
        hmmdyn.Options(standardise="log-start", log_metrics=("wide",))


def test_each_run_by_itself_may_read_logarithms():
    observed = standardised(from_frame(table()), "run", log_metrics=["wide"])
    logs = np.log(table()["wide"].to_numpy()[:60])
    np.testing.assert_allclose(observed.values[:60, 0], (logs - logs.mean()) / logs.std())


def test_an_analysis_and_the_command_line_take_it(tmp_path):
    table().to_csv(tmp_path / "t.csv", index=False)
    options = hmmdyn.Options(log_metrics=("wide",), protocol="bic", n_states=3, quick=True)
    analysis = hmmdyn.analyze(tmp_path / "t.csv", options, restarts=2)
    assert analysis.training_map.standardisation.logarithmic == (True, False)
    assert "--log-metrics wide" in " ".join(analysis.command)
    agreed = analysis.states["state"].to_numpy() == np.tile(np.repeat([0, 1, 2], 20), 4)
    assert agreed.mean() > 0.98
