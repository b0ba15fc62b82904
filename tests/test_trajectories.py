import numpy as np
import pandas as pd
import pytest

from hmmdyn.errors import MetricNotFiniteError, NotEnoughDataError, UsageError
from hmmdyn.tables.metric_table import from_frame
from tests.simulate import phased_table


def frame(**columns):
    return pd.DataFrame({"seed": [0, 0, 1, 1], "step": [0, 10, 0, 10], **columns})


def test_run_standardisation_is_each_runs_own():
    table = from_frame(phased_table())
    data = table.observations("run")
    raw = table.table[table.table["run"] == "seed3"][["m0", "m1", "m2"]].to_numpy()
    rows = slice(90, 120)
    np.testing.assert_allclose(data.values[rows], (raw - raw.mean(0)) / raw.std(0))


def test_standardise_first_takes_the_scale_from_the_beginning():
    table = from_frame(phased_table())
    data = table.observations("run", first=10)
    np.testing.assert_allclose(data.values[:10].mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(data.values[:10].std(axis=0), 1)
    assert np.abs(data.values[:30].mean(axis=0)).max() > 0.5


def test_pooled_standardisation_is_one_scale():
    table = from_frame(phased_table())
    data = table.observations("pooled")
    raw = table.table[["m0", "m1", "m2"]].to_numpy()
    np.testing.assert_allclose(data.standardisation.mean, raw.mean(axis=0))
    np.testing.assert_allclose(data.values, (raw - raw.mean(0)) / raw.std(0))


def test_constant_metrics_are_left_out_and_named():
    table = from_frame(frame(flat=[7.0] * 4, m=[1.0, 2, 3, 4], jitter=1e6 + 1e-9 * np.arange(4)))
    data = table.observations()
    assert data.features == ("m",)
    assert {n.subject for n in data.notices} == {"metric flat", "metric jitter"}
    with pytest.raises(NotEnoughDataError, match="Nothing changes"):
        table.select(metrics=["flat"]).observations()


def test_a_metric_flat_in_one_run_enters_as_zero_there():
    data = from_frame(frame(m=[1.0, 2, 3, 4], half=[5.0, 5, 1, 2])).observations()
    np.testing.assert_array_equal(data.values[:2, 1], 0)
    assert any("does not change in 1 of 2 runs (seed0)" in n.message for n in data.notices)


def test_infinity_names_metric_run_step_and_both_remedies():
    table = from_frame(frame(m=[1.0, -np.inf, 3, 4], ok=[1.0, 2, 3, 4]))
    with pytest.raises(MetricNotFiniteError) as error:
        table.observations()
    text = str(error.value)
    assert "'m' at 1 of 4 checkpoints (seed0 at step 10)" in text
    assert "drop_metrics=('m',)" in text
    assert "exclude_runs=('seed0',)" in text
    assert table.select(drop_metrics=["m"]).observations().features == ("ok",)
    assert table.without_runs(["seed0"]).observations().features == ("m", "ok")


def test_single_checkpoints():
    one = from_frame(frame(m=[1.0, 2, 3, 4]).iloc[:3])
    data = one.observations()
    assert data.runs["run"].tolist() == ["seed0"]
    assert [n.subject for n in data.notices] == ["run seed1"]
    with pytest.raises(NotEnoughDataError, match="only 1 checkpoint"):
        from_frame(frame(m=[1.0, 2, 3, 4]).iloc[:1]).observations()
    singles = from_frame(frame(m=[1.0, 2, 3, 4]).iloc[[0, 2]])
    with pytest.raises(NotEnoughDataError, match="Each of the 2 runs has a single checkpoint"):
        singles.observations()


def test_selection_rejects_unknown_and_ambiguous_names():
    table = from_frame(frame(m=[1.0, 2, 3, 4], group=["a", "a", "b", "b"], run="x"))
    with pytest.raises(UsageError, match="no metric 'l2'"):
        table.select(drop_metrics=["l2"])
    with pytest.raises(UsageError, match="No run is called 'y'"):
        table.without_runs(["y"])
    with pytest.raises(UsageError, match="a/x, b/x"):
        table.without_runs(["x"])
    assert table.without_runs(["a/x"]).runs["group"].tolist() == ["b"]
    with pytest.raises(NotEnoughDataError, match="No metric is left"):
        table.select(drop_metrics=["m"])
    with pytest.raises(NotEnoughDataError, match="No run is left"):
        table.without_runs(["a/x", "b/x"])


def test_metrics_beside_the_chosen_ones_are_counted_and_named_once():
    table = from_frame(frame(a=[1.0, 2, 3, 4], b=[1.0, 2, 3, 4], c=[1.0, 2, 3, 4], d=range(4)))
    told = table.select(metrics=["a", "b"], drop_metrics=["b"]).notices
    assert {n.subject: n.message for n in told} == {
        "2 metrics not asked for": "Not among those asked for: c, d.",
        "metric b": "Left out by request.",
    }
    (alone,) = table.select(metrics=["a", "b", "c"]).notices
    assert alone.subject == "metric d"


@pytest.mark.parametrize("scale", [1e307, 1e300, 1e-170, 1e-300])
def test_the_scale_of_a_metric_does_not_matter(scale):
    plain = from_frame(phased_table())
    scaled = from_frame(phased_table().assign(m0=lambda f: f["m0"] * scale))
    for kind in ("run", "pooled"):
        np.testing.assert_allclose(
            scaled.observations(kind).values, plain.observations(kind).values, rtol=1e-9, atol=1e-9
        )


def test_a_metric_that_varies_in_one_run_is_kept_whatever_its_size_in_others():
    data = from_frame(frame(m=[1.0, 2, 3, 4], big=[1e15, 1e15, 1.0, 2.0])).observations()
    assert data.features == ("m", "big")


@pytest.mark.parametrize("kind", ["run", "pooled"])
def test_a_window_without_movement_has_no_scale(kind):
    still = pd.DataFrame({"seed": 0, "step": range(6), "m": [1.0, 1, 1, 2, 3, 4]})
    with pytest.raises(NotEnoughDataError, match="Raise standardise_first=…"):
        from_frame(still).observations(kind, first=3)


def test_infinity_offers_only_remedies_that_work():
    table = from_frame(frame(m=[1.0, np.inf, 3, 4], group=["a", "a", "b", "b"], run="x"))
    with pytest.raises(MetricNotFiniteError) as error:
        table.observations()
    text = str(error.value)
    assert "drop_metrics" not in text  # it is the only metric
    assert "exclude_runs=('a/x',)" in text
    assert table.without_runs(["a/x"]).observations().features == ("m",)


def holes(share=0.2, seed=0, **kwargs):
    """The phased table with some of its values missing; at checkpoint 7 of seed2, all of them."""
    table = phased_table(**kwargs)
    metrics = ["m0", "m1", "m2"]
    missing = np.random.default_rng(seed).random((len(table), 3)) < share
    table[metrics] = table[metrics].mask(missing)
    table.loc[(table["run"] == "seed2") & (table["step"] == 700), metrics] = np.nan
    return table


@pytest.mark.parametrize("first", [None, 15])
def test_missing_values_stay_missing_and_the_others_keep_their_scale(first):
    table = holes()
    raw = table[["m0", "m1", "m2"]].to_numpy()
    data = from_frame(table).observations("run", first)
    np.testing.assert_array_equal(np.isnan(data.values), np.isnan(raw))
    run = raw[90:120]
    expected = (run - np.nanmean(run[:first], axis=0)) / np.nanstd(run[:first], axis=0)
    np.testing.assert_allclose(data.values[90:120], expected)
    pooled = from_frame(table).observations("pooled", first)
    window = table.groupby("run").head(first or 30)[["m0", "m1", "m2"]]
    expected = (raw - np.nanmean(window, axis=0)) / np.nanstd(window, axis=0)
    np.testing.assert_allclose(pooled.values, expected)


def test_missing_values_are_counted_and_named():
    table = holes(share=0)
    table.loc[(table["run"] == "seed4") & (table["step"] >= 2500), "m1"] = np.nan
    subjects = {n.subject: n for n in from_frame(table).observations().notices}
    assert set(subjects) == {"metric m1", "metrics m0, m2", "checkpoints without metrics"}
    assert {n.kind for n in subjects.values()} == {"odd"}
    assert "Missing at 6 of 180 checkpoints (1 of seed2, 5 of seed4)" in (
        subjects["metric m1"].message
    )
    assert "at 1 of 180 checkpoints (1 of seed2)" in subjects["metrics m0, m2"].message
    assert "at 1 of 180 checkpoints (seed2 at step 700)" in (
        subjects["checkpoints without metrics"].message
    )


def test_a_metric_known_at_too_few_checkpoints_is_left_out_or_missing():
    six = pd.DataFrame({"seed": [0, 0, 0, 1, 1, 1], "step": [0, 10, 20] * 2})
    six["m"] = [1.0, 2, 3, 4, 5, 7]
    six["nowhere"] = np.nan
    six["once"] = [1.0, np.nan, np.nan, 3, np.nan, np.nan]
    six["lone"] = [1.0, 2, np.nan, np.nan, 9, np.nan]
    six["absent"] = [1.0, 3, 2, np.nan, np.nan, np.nan]
    data = from_frame(six).observations()
    assert data.features == ("m", "lone", "absent")
    assert np.isnan(data.values[3:, 1:]).all()
    np.testing.assert_allclose(data.values[:3, 1], [-1, 1, np.nan])
    messages = [f"{n.subject}: {n.message}" for n in data.notices]
    assert "metric nowhere: It is not known at any checkpoint." in messages
    assert "metric once: It is not known at two checkpoints of any run." in messages
    assert any(m.startswith("metric lone: A run") and "seed1 at step 10" in m for m in messages)
    assert any(m.startswith("metric absent: Missing at 3 of 6") for m in messages)
    pooled = from_frame(six).observations("pooled")
    assert pooled.features == ("m", "lone", "absent")
    assert np.isfinite(pooled.values[4, 1])  # one known value has a scale among all runs


@pytest.mark.parametrize("kind", ["run", "pooled"])
def test_a_run_without_a_known_metric_is_left_out(kind):
    table = holes()
    table.loc[table["run"] == "seed3", ["m0", "m1", "m2"]] = np.nan
    data = from_frame(table).observations(kind)
    assert "seed3" not in data.runs["run"].tolist()
    notice = next(n for n in data.notices if n.subject == "run seed3")
    assert (notice.kind, notice.message) == (
        "left out",
        "No metric that the model uses is known in it.",
    )
    applied = from_frame(table).observations_as(data.features, data.standardisation)
    np.testing.assert_array_equal(applied.values, data.values)
    only = from_frame(table[table["run"] == "seed3"])
    with pytest.raises(NotEnoughDataError, match="known at enough checkpoints"):
        only.observations_as(data.features, data.standardisation)
    with pytest.raises(NotEnoughDataError, match="Nothing changes"):
        only.observations(kind)


def test_a_metric_known_only_after_the_window_has_no_scale():
    late = pd.DataFrame({"seed": 0, "step": range(6), "m": [np.nan, np.nan, 1, 2, 4, 3]})
    with pytest.raises(NotEnoughDataError, match=r"or are missing.*m.*standardise_first=…"):
        from_frame(late).observations(first=2)


def test_a_scale_that_reaches_nowhere_near_is_refused():
    explodes = pd.DataFrame({"seed": 0, "step": range(4), "m": [0.0, 1e-200, 1, 2]})
    for kind in ("run", "pooled"):
        with pytest.raises(NotEnoughDataError, match="seed0 at step 2, seed0 at step 3"):
            from_frame(explodes).observations(kind, first=2)


def test_numbers_below_full_precision_do_not_move():
    data = from_frame(frame(m=[1.0, 2, 3, 4], denormal=[0, 5e-324, 0, 1e-310])).observations()
    assert data.features == ("m",)
