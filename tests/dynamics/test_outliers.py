from dataclasses import replace
from functools import partial
from itertools import count, pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hmmdyn.dynamics.apart import distances_from_others, worst_stretch
from hmmdyn.dynamics.lying_out import _deviations, _share_at_least
from hmmdyn.dynamics.outliers import _follows, _ways_back, find_outliers
from hmmdyn.hmm.choose.refit import _only
from hmmdyn.hmm.fit.em import fit
from hmmdyn.hmm.fit.starts import start
from hmmdyn.hmm.fit.sweep import sweep
from hmmdyn.hmm.model.clock import median_gap
from hmmdyn.hmm.model.inference import beliefs, decode
from hmmdyn.hmm.model.residuals import squared_distances
from hmmdyn.options import Options
from hmmdyn.pipeline import fit as fit_map
from hmmdyn.results.model import PLAIN_MODEL, ModelOptions
from hmmdyn.results.observations import Sequences
from hmmdyn.results.outliers import OUTLIERS
from hmmdyn.simulate.trajectories import simulate
from hmmdyn.sources import read_runs
from hmmdyn.tasks.catalogue import train
from hmmdyn.tasks.parity import ParityRecipe
from tests.simulate import PYTHIA, observations, random_parameters, sample

RNG = np.random.default_rng(0)
PARITY = Path(__file__).parents[2] / "data" / "parity"


def fitted(values, lengths, n_states, covariance="diag", **options):
    """A map of all runs, and the states it decodes."""
    winners = sweep(
        Sequences(values, lengths),
        [n_states],
        covariance_type=covariance,
        n_restarts=2,
        random_state=0,
        **options,
    ).winners
    parameters = winners[n_states].in_time_order(lengths)
    path = decode(parameters, Sequences(values, lengths))
    return parameters, pd.DataFrame({"state": path})


def found(values, lengths, n_states=4, covariance="diag", groups=None):
    parameters, states = fitted(values, lengths, n_states, covariance)
    seen = observations(values, list(lengths))
    if groups is not None:
        seen = replace(seen, runs=seen.runs.assign(group=groups))
    return find_outliers(seen, parameters, states)


def with_broken(simulation, change, run=0):
    """The values with one run changed and standardised again."""
    values = simulation.values.copy()
    n = simulation.lengths[0]
    z = values[run * n : (run + 1) * n]
    change(z)
    z[:] = (z - z.mean(axis=0)) / z.std(axis=0)
    return values


def spike(z, seed=0):
    signs = np.sign(np.random.default_rng(seed).normal(size=z.shape[1]))
    z[60:65] += 12.0 * signs


def stuck(z):
    seen = z[10:20].copy()
    z[20:] = np.resize(np.concatenate([seen[::-1], seen]), z[20:].shape)


@pytest.fixture(scope="module")
def sound():
    return simulate("phases", 4, n_runs=20, random_state=3)


def test_usual_runs_are_usual(sound):
    table = found(sound.values, sound.lengths)
    assert list(table.columns) == OUTLIERS.names
    assert not table["outlier"].any()
    assert (table["reason"] == "").all()
    assert table["p_corrected"].between(0, 1).all()
    assert (table["p_corrected"] >= table["p"]).all()


def test_a_spike_is_found_where_it_is(sound):
    table = found(with_broken(sound, spike, run=4), sound.lengths)
    assert table.index[table["outlier"]].tolist() == [4]
    assert table["score"][4] < table["score"].drop(4).min()
    assert table["typical"][4] == table["score"].drop(4).median()
    assert "from step 600 to 640" in table["reason"][4]


def test_a_run_that_goes_where_no_other_goes_is_found(sound):
    def elsewhere(z):
        z[60:90] += np.sign(np.random.default_rng(1).normal(size=z.shape[1])) * 8

    table = found(with_broken(sound, elsewhere, run=7), sound.lengths)
    assert table.index[table["outlier"]].tolist() == [7]
    assert table["reason"][7].startswith("It goes where no other run does")


@pytest.mark.parametrize("speed", [0.4, 2.0])
@pytest.mark.parametrize("kind", ["drift", "phases"])
def test_a_run_that_is_only_slow_or_fast_is_not_unlike(kind, speed):
    rng = np.random.default_rng(0)
    speeds = np.r_[speed, np.exp(0.1 * rng.normal(size=9))]
    t = np.arange(80) / 80
    way = rng.normal(size=5)
    levels = rng.normal(size=(4, 5))
    values = []
    for s in speeds:
        u = t * s
        course = (
            4 * np.outer(u, way)
            if kind == "drift"
            else 4 * levels[np.minimum(4 * u, 3).astype(int)]
        )
        values.append(course + 0.1 * rng.normal(size=(80, 5)))
    table = found(np.concatenate(values), np.full(10, 80), 1 if kind == "drift" else 4)
    assert not table["outlier"].any()


def test_a_run_saved_at_other_steps_is_not_unlike():
    """Ten runs alike; one is saved more often at first, one twice as long, one more rarely."""
    usual = np.arange(0, 1000, 10)
    schedules = [
        np.r_[np.arange(0, 200, 2), np.arange(200, 1000, 10)],
        np.arange(0, 2000, 10),
        np.arange(0, 1000, 30),
        *[usual] * 7,
    ]
    rng = np.random.default_rng(1)
    levels = 3 * rng.normal(size=(4, 5))
    values, paths = [], []
    for steps in schedules:
        path = np.searchsorted(
            np.exp(0.2 * rng.normal()) * np.array([80, 300, 600]), steps, "right"
        )
        values.append(levels[path] + 0.3 * rng.normal(size=(len(steps), 5)))
        paths.append(path)
    lengths = np.array([len(steps) for steps in schedules])
    values = np.concatenate(values)
    parameters, states = fitted(values, lengths, 4)
    seen = replace(observations(values, list(lengths)), steps=np.concatenate(schedules))
    table = find_outliers(seen, parameters, states)
    assert not table["outlier"].any()
    assert table["p"].min() > 0.05


def test_distances_from_others_by_brute_force():
    rng = np.random.default_rng(2)
    lengths = np.array([22, 17, 19, 20, 21])
    values = np.cumsum(rng.normal(size=(99, 3)), axis=0)
    data = Sequences(values, lengths)
    ours = distances_from_others(data, np.zeros(99, dtype=int))
    places = data.split((values - values.mean(axis=0)) / values.std(axis=0) / np.sqrt(3))

    def nearest(point, run):
        """Squared distance from the straight pieces of a run, in 1,000 points each."""
        part = np.linspace(0, 1, 1000)[:, None]
        pieces = [a + part * (b - a) for a, b in pairwise(run)]
        return min(((piece - point) ** 2).sum(axis=1).min() for piece in pieces)

    n_known = 0
    for r, own in enumerate(places):
        others = [run for i, run in enumerate(places) if i != r]
        expected = np.array([min(nearest(point, run) for run in others) for point in own])
        known = ours[r] > 0  # else it is ahead
        # It is looked for at points a quarter of a deviation apart.
        assert (ours[r][known] >= expected[known] - 1e-4).all()
        assert (ours[r][known] <= expected[known] + 0.126**2).all()
        n_known += known.sum()
    assert n_known > 40


def test_what_comes_after_the_ends_of_others_is_not_apart():
    """The first run goes on along the line on which the others end."""
    line = np.outer(np.arange(40), [1.0, 1.0])
    values = np.concatenate([2 * line, line, line + 0.01, line - 0.01])
    far = distances_from_others(Sequences(values, np.full(4, 40)), np.zeros(160, dtype=int))
    assert max(own.max() for own in far) < 0.01
    side = np.outer(np.r_[np.arange(20), np.zeros(20)], [1, 1]) + np.outer(
        np.r_[np.zeros(20), np.arange(20)], [1.0, -1.0]
    )
    values = np.concatenate([side, line, line + 0.01, line - 0.01])
    far = distances_from_others(Sequences(values, np.full(4, 40)), np.zeros(160, dtype=int))
    assert far[0].max() > 1


def test_a_run_that_jumps_far_off_is_apart_though_it_is_nearest_to_the_ends_of_others():
    """It has never been at their ends: it is not ahead on their way."""
    line = np.outer(np.arange(40), [1.0, 1.0])
    jumps = np.concatenate([line[:20], np.full((20, 2), 60.0)])
    values = np.concatenate([jumps, line, line + 0.01, line - 0.01])
    far = distances_from_others(Sequences(values, np.full(4, 40)), np.zeros(160, dtype=int))
    assert far[0][:20].max() < 0.01
    assert far[0][20:].min() > 1


def test_two_outliers_do_not_hide_each_other(sound):
    # Draws for which both are beyond chance: of 20 runs, two corrected ones are in half of them.
    one, other = partial(spike, seed=6), partial(spike, seed=7)
    values = with_broken(replace(sound, values=with_broken(sound, one, 2)), other, 9)
    assert found(values, sound.lengths).query("outlier").index.tolist() == [2, 9]


def test_scores_are_those_of_a_map_fitted_without_the_run():
    made = simulate("sharp", 3, n_runs=5, n_checkpoints=60, n_metrics=3, random_state=1)
    table = found(made.values, made.lengths, 3)
    parameters, _ = fitted(made.values, made.lengths, 3)
    others = np.repeat(np.arange(5) != 2, made.lengths)
    data = Sequences(made.values[others], made.lengths[:4])
    alone = fit(data, [parameters])[0].parameters  # to its end
    score = beliefs(alone, Sequences(made.values[~others], made.lengths[:1])).log_likelihood[0] / 60
    assert table["score"][2] == pytest.approx(score, abs=1e-3)


@pytest.mark.parametrize("covariance", ["diag", "full"])
def test_distances_are_squared_mahalanobis_distances(covariance):
    parameters = random_parameters(3, 4, covariance)
    values, _ = sample(parameters, [30])
    run = Sequences.of_one_run(values)
    seen = beliefs(parameters, run)
    expected = np.zeros(30)
    for k in range(3):
        c = parameters.covariances[k]
        precision = np.linalg.inv(np.diag(c) if c.ndim == 1 else c)
        off = values - parameters.means[k]
        expected += seen.smoothed[:, k] * np.einsum("td,de,te->t", off, precision, off)
    ours = squared_distances(parameters, run, seen)
    np.testing.assert_allclose(ours, expected, rtol=1e-9)


def test_missing_metrics_have_no_distance():
    parameters = random_parameters(2, 3, "full")
    values, _ = sample(parameters, [20])
    values[5] = np.nan
    values[6, 1] = np.nan
    run = Sequences.of_one_run(values)
    ours = squared_distances(parameters, run, beliefs(parameters, run))
    assert ours[5] == pytest.approx(0)
    assert np.isfinite(ours).all()


def test_a_state_of_the_run_alone_does_not_describe_it():
    made = simulate("sharp", 3, n_runs=6, n_checkpoints=60, n_metrics=3, random_state=2)
    values = made.values.copy()
    values[10:25] += 20.0
    table = found(values, made.lengths, 4)  # one of the four is for the spike
    assert table["misfit"][0] > 20 * table["misfit"].drop(0).max()
    assert table.query("outlier").index.tolist() == [0]


@pytest.mark.parametrize("clock", ["checkpoint", "step"])
def test_a_map_of_some_states_is_a_map(clock):
    parameters = random_parameters(4, 2, "diag")
    if clock == "step":
        rates = RNG.uniform(0.1, 1, (4, 4)) * (1 - np.eye(4))
        generator = rates - np.diag(rates.sum(axis=1))
        parameters = replace(parameters, generator=generator, clock="step")
    part = _only(parameters, np.array([0, 3]))
    assert part.startprob.sum() == pytest.approx(1)
    np.testing.assert_allclose(part.transmat.sum(axis=1), 1)
    ratio = part.startprob[0] / part.startprob[1]
    assert ratio == pytest.approx(parameters.startprob[0] / parameters.startprob[3])
    np.testing.assert_array_equal(part.means, parameters.means[[0, 3]])
    if clock == "step":
        np.testing.assert_allclose(part.generator.sum(axis=1), 0, atol=1e-12)
        assert part.generator[0, 1] == parameters.generator[0, 3]


@pytest.mark.parametrize(
    "options",
    [
        ModelOptions(stickiness=20.0),
        ModelOptions(left_right=True),
        ModelOptions(minimum_dwell=3),
        ModelOptions(clock="log-step"),
        ModelOptions(autoregressive=True),
    ],
)
def test_every_kind_of_model(options):
    made = simulate("phases", 3, n_runs=4, n_checkpoints=40, n_metrics=3, random_state=5)
    seen = observations(made.values, list(made.lengths))
    unit = median_gap(options.clock, seen.steps, seen.lengths)
    parameters = start(seen, 3, "diag", 0, "k-means", options=options, unit=unit)
    states = pd.DataFrame({"state": decode(parameters, seen)})
    table = find_outliers(seen, parameters, states, options=options)
    assert np.isfinite(table[["score", "misfit", "p"]]).all(axis=None)


def ways_back(paths, n_states):
    return _ways_back([np.array(path) for path in paths], n_states)


def test_ways_back_by_hand():
    back = ways_back([[0, 0, 1, 1], [0, 1, 1, 1], [0, 1, 0, 0]], 2)
    np.testing.assert_allclose(back[0], 0)
    np.testing.assert_allclose(back[2], [0, 0, 1, 1])  # neither other goes from 1 to 0


def test_going_back_as_half_of_the_others_do_counts_half():
    np.testing.assert_allclose(ways_back([[0, 1, 0], [0, 1, 0], [0, 1, 1]], 2)[0], [0, 0, 0.5])


def test_another_way_of_a_fork_is_no_way_back():
    back = ways_back([[0, 1, 3], [0, 1, 3], [0, 2, 3], [0, 2, 1]], 4)  # one run in 2 and in 1
    assert all((own == 0).all() for own in back)


def test_relabelling_states_changes_nothing():
    paths = RNG.integers(0, 4, (8, 25))
    order = np.array([2, 0, 3, 1])
    np.testing.assert_array_equal(ways_back(paths, 4), ways_back(order[paths], 4))


def test_what_follows_what_by_brute_force():
    for seed in range(20):
        path = np.random.default_rng(seed).integers(0, 4, 12)
        expected = [
            [any(x == j and k in path[t + 1 :] for t, x in enumerate(path)) for k in range(4)]
            for j in range(4)
        ]
        np.testing.assert_array_equal(_follows(path, 4), expected)


def test_the_worst_stretch_by_brute_force():
    for seed in range(20):
        excess = np.random.default_rng(seed).normal(size=15)
        sums = {(a, b): excess[a : b + 1].sum() for a in range(15) for b in range(a, 15)}
        assert worst_stretch(excess) == max(sums, key=sums.__getitem__)


def test_deviations_leave_out_the_most_extreme():
    values = np.array([1.0, 2, 3, 4, 5, 6, 50, 90])
    usual = values[:6]
    expected = (values - usual.mean()) / usual.std(ddof=1)
    np.testing.assert_allclose(_deviations(values), expected)
    np.testing.assert_allclose(_deviations(values[:4]), (values[:4] - 2) / 1)
    assert (_deviations(np.ones(9), 0.1) == 0).all()  # equal runs are not infinitely apart


def test_p_counts_draws_and_the_value_itself():
    null = np.array([1.0, 2.0, 3.0])
    np.testing.assert_allclose(_share_at_least(null, np.array([0.0, 2.0, 9.0])), [1, 0.75, 0.25])


@pytest.mark.parametrize("law", ["logistic", "exponential"])
@pytest.mark.parametrize("n_runs", [4, 10])
def test_p_is_uniform_where_runs_scatter_by_the_law(law, n_runs):
    null = _deviations(getattr(np.random.default_rng(0), law)(size=(9999, n_runs))).max(axis=1)
    runs = getattr(np.random.default_rng(1), law)(size=(4000, n_runs))
    p = _share_at_least(null, _deviations(runs).max(axis=1))
    for level in (0.05, 0.5, 0.9):
        assert np.mean(p < level) == pytest.approx(level, abs=0.03)


def test_few_runs_cannot_tell():
    made = simulate("sharp", 3, n_runs=3, n_checkpoints=40, random_state=0)
    table = found(made.values, made.lengths, 3)
    assert table[["p", "p_corrected"]].isna().all(axis=None)
    assert np.isfinite(table["score"]).all()
    assert not table["outlier"].any()
    assert table["reason"].str.startswith("A group of 3 runs cannot tell").all()


def test_one_run_has_nothing_to_be_unlike():
    made = simulate("sharp", 3, n_runs=1, n_checkpoints=40, random_state=0)
    table = found(made.values, made.lengths, 3)
    assert table[["score", "typical", "misfit", "p"]].isna().all(axis=None)
    assert table["reason"][0].startswith("A group of 1 run cannot tell")


def test_one_state_and_equal_runs():
    values = np.tile(RNG.normal(size=(30, 3)), (6, 1))
    table = found(values, np.full(6, 30), 1)
    assert table["apart"].lt(1e-9).all()
    assert table["returned"].eq(0).all()
    assert not table["outlier"].any()


def test_runs_are_compared_within_their_group(sound):
    groups = ["b"] * 10 + ["a"] * 9 + ["one seed"]
    table = found(with_broken(sound, spike, run=1), sound.lengths, groups=groups)
    assert table["group"].tolist() == groups
    assert table.query("outlier").index.tolist() == [1]
    assert np.isnan(table["p"][19])
    assert np.isfinite(table["p"][:19]).all()
    own = table["score"][10:19]
    assert table["typical"][10] == own.drop(10).median()


def test_the_same_every_time(sound):
    pd.testing.assert_frame_equal(
        found(sound.values, sound.lengths), found(sound.values, sound.lengths)
    )


def test_runs_of_different_lengths():
    made = simulate("phases", 3, n_runs=6, n_checkpoints=60, random_state=1)
    kept = np.concatenate([np.arange(60) + 60 * i for i in range(5)] + [300 + np.arange(25)])
    table = found(made.values[kept], np.array([60] * 5 + [25]), 3)
    assert np.isfinite(table["p"]).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    "n_runs", [5, 10, *(pytest.param(n, marks=pytest.mark.long) for n in (20, 40))]
)
def test_false_alarms_where_no_run_is_broken(n_runs):
    """At most 0.05 are meant; benchmarks/outliers.md has many more simulations."""
    alarms = []
    for seed in range(12):
        for kind, n_phases in [("phases", 4), ("fork", 5)]:
            made = simulate(kind, n_phases, n_runs=n_runs, random_state=seed)
            alarms.append(found(made.values, made.lengths, n_phases)["outlier"].any())
    assert np.mean(alarms) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / len(alarms))


@pytest.mark.skipif(not PYTHIA.exists(), reason="the metrics are not here")
def test_five_real_seeds_are_alike():
    as_published = Options(n_states=8, standardise="run", protocol="bic", quick=True)
    fitted_map = fit_map(read_runs(PYTHIA), as_published)
    decoding = fitted_map.decoding
    table = find_outliers(
        decoding.observations, fitted_map.training_map.parameters, decoding.states
    )
    assert np.isfinite(table["p"]).all()
    assert not table["outlier"].any()


def test_plain_model_is_the_default():
    made = simulate("sharp", 2, n_runs=4, n_checkpoints=30, random_state=0)
    seen = observations(made.values, list(made.lengths))
    parameters, states = fitted(made.values, made.lengths, 2)
    pd.testing.assert_frame_equal(
        find_outliers(seen, parameters, states),
        find_outliers(seen, parameters, states, options=PLAIN_MODEL),
    )


@pytest.mark.slow
def test_the_seed_that_was_broken_on_purpose_is_named(tmp_path, monkeypatch):
    """Eight seeds of sparse parity; in one the learning rate is thirtyfold for six epochs."""
    pytest.importorskip("torch")
    from hmmdyn.tasks import training

    recipe = ParityRecipe(n_epochs=100, checkpoint_every=64)  # 32 steps per epoch
    train("parity", tmp_path, range(7), recipe=recipe)
    train_step, step = training._train_step, count(1)

    def spiking(task, stack, optimizer, *rest):
        spikes = 39 * 32 < next(step) <= 45 * 32
        optimizer.param_groups[0]["lr"] = recipe.learning_rate * (30 if spikes else 1)
        train_step(task, stack, optimizer, *rest)

    monkeypatch.setattr(training, "_train_step", spiking)
    train("parity", tmp_path, [7], recipe=recipe)
    fitted_map = fit_map(read_runs(tmp_path), Options(quick=True))
    decoding = fitted_map.decoding
    table = find_outliers(
        decoding.observations, fitted_map.training_map.parameters, decoding.states
    )
    assert table.query("outlier")["run"].tolist() == ["seed7"]


@pytest.mark.skipif(not PARITY.exists(), reason="the runs are not here")
def test_ten_sound_seeds_of_sparse_parity_are_alike():
    fitted_map = fit_map(read_runs(PARITY), Options(quick=True))
    decoding = fitted_map.decoding
    table = find_outliers(
        decoding.observations, fitted_map.training_map.parameters, decoding.states
    )
    assert np.isfinite(table["p"]).all()
    assert not table["outlier"].any()


def test_long_runs_are_looked_at_two_hundred_times():
    """Every fifth checkpoint of a thousand: as if the runs had been saved less often."""
    values = np.cumsum(np.random.default_rng(0).normal(size=(800, 3)), axis=0)
    rarely = distances_from_others(Sequences(values, np.full(4, 200)), np.zeros(800, dtype=int))
    often = Sequences(np.repeat(values, 5, axis=0), np.full(4, 1000))
    far = distances_from_others(often, np.zeros(4000, dtype=int))
    for own, expected in zip(far, rarely, strict=True):
        np.testing.assert_allclose(own, np.repeat(expected, 5), rtol=1e-9, atol=1e-12)


def test_large_groups_are_compared_in_blocks():
    """A run that has a twin in another block alone is apart; in a small group it is not."""
    rng = np.random.default_rng(1)
    line = np.outer(np.arange(12), [1.0, 1.0])
    runs = [line + 0.01 * rng.normal(size=line.shape) for _ in range(118)]
    aside = line * [1.0, -1.0]
    order = np.random.default_rng(0).permutation(120)
    first, last = order[0], order[-1]  # three blocks of 40: these are in the first and the third
    values = {int(first): aside, int(last): aside + 0.01}
    others = iter(runs)
    values = np.concatenate([values[r] if r in values else next(others) for r in range(120)])
    far = distances_from_others(Sequences(values, np.full(120, 12)), np.zeros(1440, dtype=int))
    assert far[first].max() > 0.5
    few = np.concatenate([values[r * 12 : r * 12 + 12] for r in (first, last, *order[1:4])])
    near = distances_from_others(Sequences(few, np.full(5, 12)), np.zeros(60, dtype=int))
    assert near[0].max() < 0.01
