"""Every run compared with its own start: against the formula by hand, and what it is good for."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import adjusted_rand_score

from hmmdyn import TrainingMap
from hmmdyn.errors import MetricNotFiniteError, TrainingMapError, UsageError
from hmmdyn.hmm import fit_training_map
from hmmdyn.hmm.choose.boundaries import supported_map
from hmmdyn.hmm.fit.sweep import sweep
from hmmdyn.simulate.worlds import World, simulate_world
from hmmdyn.tables.metric_table import from_frame
from hmmdyn.tables.standardise import spread_between_groups, standardised

TABLE = pd.DataFrame(
    {
        "group": ["narrow"] * 3 + ["wide"] * 3,
        "run": ["a"] * 3 + ["b"] * 3,
        "step": [0, 10, 20] * 2,
        "norm": [1.0, 2.0, 4.0, 10.0, 10.0, 40.0],
        "mean": [0.5, 0.0, -0.5, 3.0, 3.5, 4.0],
    }
)


def test_it_is_the_formula():
    """log(x/x₀) where positive throughout, else x − x₀; then one mean and deviation, ddof 0."""
    observed = from_frame(TABLE).observations("log-start")
    raw = np.column_stack(
        [np.log([1, 2, 4, 1, 1, 4]), [0.0, -0.5, -1.0, 0.0, 0.5, 1.0]],
    )
    expected = (raw - raw.mean(axis=0)) / raw.std(axis=0)
    np.testing.assert_allclose(observed.values, expected, atol=1e-12)
    scale = observed.standardisation
    assert (scale.kind, scale.start, scale.logarithmic) == ("log-start", 0, (True, False))
    np.testing.assert_allclose(scale.mean, raw.mean(axis=0))


def test_factors_and_offsets_of_a_run_do_not_matter():
    """Exactly so, of a whole run; that is all that it takes away."""
    moved = TABLE.assign(
        norm=TABLE["norm"] * np.repeat([7.0, 0.1], 3), mean=TABLE["mean"] + np.repeat([2, -9], 3)
    )
    one, two = (from_frame(t).observations("log-start").values for t in (TABLE, moved))
    np.testing.assert_allclose(one, two, atol=1e-12)


def test_runs_that_begin_elsewhere_are_refused_with_what_to_do():
    late = TABLE.drop(index=3)
    for ask in (
        lambda: from_frame(late).observations("log-start"),
        lambda: standardised(from_frame(late), "log-start"),
    ):
        with pytest.raises(UsageError, match=r"b at 10.*standardise='pooled'.*exclude_runs"):
            ask()


def test_a_start_that_is_not_known_is_named():
    unknown = TABLE.assign(norm=TABLE["norm"].where(TABLE.index != 3))
    observed = from_frame(unknown).observations("log-start")
    assert np.isnan(observed.values[3:, 0]).all()
    assert any("not known at the start of b" in n.message for n in observed.notices)


def widths(random_state=0, factor=4.0, n_runs=8):
    """Runs of two widths that walk the same phases, the wider ones at a multiple of every norm."""
    world = World("path", 3, width=0.02, n_runs=2 * n_runs, noise=0.15, seed_metrics=0.0)
    runs = simulate_world(world, random_state)
    metrics = runs.table[list(runs.metrics)]
    levels = np.exp(0.5 * (metrics - metrics.mean()) / metrics.std())
    broad = np.arange(len(levels)) < len(levels) // 2
    levels = levels.mul(np.where(broad, factor, 1.0), axis=0)
    table = runs.table[["run", "step"]].join(levels)
    return table.assign(group=np.where(broad, "broad", "narrow")), runs.phases


def mapped(observed):
    finest = sweep(observed, [7, 8], covariance_type="diag", n_restarts=2, random_state=0)
    return supported_map(observed, finest.winners[8].states)


@pytest.mark.parametrize("random_state", [0, 1])
def test_groups_of_two_widths_share_their_states(random_state):
    table, phases = widths(random_state)
    broad = table["group"].to_numpy() == "broad"
    pooled = standardised(from_frame(table), "pooled")
    of_groups = mapped(pooled).labels
    found = mapped(standardised(from_frame(table), "log-start"))
    # On one scale the states are those of the groups; from their own starts, they are the phases.
    assert not set(of_groups[broad]) & set(of_groups[~broad])
    assert adjusted_rand_score(phases, of_groups) < 0.7
    assert found.n_states == 3
    assert adjusted_rand_score(phases, found.labels) > 0.9
    (notice,) = (n for n in pooled.notices if n.subject == "levels of the groups")
    assert "standardise='log-start'" in notice.message


def test_groups_alike_at_the_start_bring_no_notice():
    table, _ = widths(factor=1.0)
    assert (spread_between_groups(from_frame(table)) < 0.5).all()
    assert not any(
        n.subject == "levels of the groups" for n in standardised(from_frame(table)).notices
    )
    assert spread_between_groups(from_frame(table.assign(group="one"))).isna().all()
    apart = spread_between_groups(from_frame(widths()[0]))
    assert (apart > 0.5).all()


def test_the_map_treats_new_runs_alike(tmp_path):
    table, _ = widths()
    runs = from_frame(table)
    made = fit_training_map(runs, [3], standardise="log-start", n_restarts=2, quick=True)
    made.training_map.save(tmp_path / "map.json")
    loaded = TrainingMap.load(tmp_path / "map.json")
    pd.testing.assert_frame_equal(loaded.apply(runs).states, made.decoding.states)
    # An unfinished run of a third width, ten times as large, is where the same run was.
    one = table[(table["run"] == "seed0") & (table["step"] < 500)]
    new = one.assign(**{m: 10 * one[m] for m in runs.metrics})
    states = made.decoding.states
    expected = states.loc[(states["run"] == "seed0") & (states["step"] < 500), "state"]
    assert loaded.apply(from_frame(new)).states["state"].tolist() == expected.tolist()
    with pytest.raises(UsageError, match="begin at the same step, here 0"):
        loaded.apply(from_frame(new[new["step"] > 0]))
    negative = new.assign(metric_0=-new["metric_0"])
    with pytest.raises(MetricNotFiniteError, match="'metric_0' is not positive"):
        loaded.apply(from_frame(negative))
    document = (tmp_path / "map.json").read_text().replace('"logarithmic": [', '"other": [')
    (tmp_path / "map.json").write_text(document)
    with pytest.raises(TrainingMapError, match="malformed"):
        TrainingMap.load(tmp_path / "map.json")
