import numpy as np
import pytest
from scipy.stats import binom

from hmmdyn.dynamics.outcomes.spikes import excursions
from hmmdyn.simulate.outcomes import CALM_LOSSES, calm_loss, loss_with_restarts

INF = np.inf


def noisy_loss(n=200, seed=0):
    return 2.5 + 0.02 * np.random.default_rng(seed).normal(size=n)


def test_a_spike_is_over_and_a_divergence_is_not():
    loss = noisy_loss()
    assert excursions(loss) == []
    loss[50:53] += [0.5, 2, 0.4]
    loss[150:] += 3
    spike, divergence = excursions(loss)
    assert (spike.kind, spike.first, spike.after, spike.returned) == ("spike", 50, 53, True)
    assert spike.height == pytest.approx(2, abs=0.1)
    assert spike.level == pytest.approx(2.5, abs=0.05)
    assert (divergence.kind, divergence.first, divergence.after) == ("divergence", 150, 200)
    assert not divergence.returned


def test_one_that_comes_back_late_is_a_rise_and_no_divergence():
    loss = noisy_loss()
    loss[50:90] += 3
    (long,) = excursions(loss)
    assert (long.kind, long.first, long.after, long.returned) == ("rise", 50, 90, True)


def test_a_divergence_has_lost_a_tenth_of_the_way_down():
    decline = 4 * np.exp(-np.arange(200) / 10)
    for height, kind in ((0.2, "rise"), (0.6, "divergence")):
        loss = noisy_loss() + decline
        loss[150:] += height
        (one,) = excursions(loss)
        assert (one.kind, one.first, one.returned) == (kind, 150, False)


@pytest.mark.parametrize("n", [60, 200, 1000])
@pytest.mark.parametrize("kind", CALM_LOSSES)
def test_rounding_ripples_and_losses_of_nearly_zero_are_no_spikes(kind, n):
    found = [excursions(calm_loss(kind, n, random_state=seed)) != [] for seed in range(20)]
    # The study has the rates: at most 0.15 of runs of means over batches, none of the others.
    assert sum(found) <= (binom.ppf(0.999, 20, 0.15) if kind == "near zero, batches" else 0)


@pytest.mark.parametrize("n", [60, 200, 1000])
def test_warm_restarts_are_rises(n):
    for seed in range(5):
        found = excursions(loss_with_restarts(n, random_state=seed))
        assert {one.kind for one in found} <= {"rise"}
        assert all(one.returned for one in found)


def test_a_run_that_ends_in_a_spike_is_not_said_to_diverge():
    loss = noisy_loss()
    loss[-1] += 3
    (last,) = excursions(loss)
    assert (last.kind, last.returned) == ("spike", False)


def test_infinite_losses():
    loss = noisy_loss()
    loss[[0, 60, 61]] = INF
    first, spike = excursions(loss)
    assert (first.kind, first.first, first.after, first.height) == ("spike", 0, 1, INF)
    assert (spike.kind, spike.first, spike.after, spike.height) == ("spike", 60, 62, INF)
    loss[199] = INF
    assert excursions(loss)[-1].kind == "divergence"
    (early,) = excursions(np.r_[noisy_loss()[:5], np.full(20, INF)])
    assert (early.kind, early.first, early.after) == ("divergence", 5, 25)
    assert excursions(np.r_[noisy_loss()[:8], 100]) == []  # too little is known
    every_other = np.where(np.arange(40) % 2, INF, 1.0)
    assert len(excursions(every_other)) == 20


def test_a_steady_rise_is_no_excursion():
    assert excursions(1 + 0.01 * np.arange(200.0)) == []
    assert excursions(np.full(50, 2.0)) == []


def test_noise_rarely_looks_like_a_spike():
    n_found = sum(len(excursions(noisy_loss(1000, seed))) for seed in range(30))
    assert n_found == 0
    heavy = sum(
        len(excursions(2.5 + 0.02 * np.random.default_rng(seed).standard_t(5, size=1000)))
        for seed in range(30)
    )
    assert heavy <= binom.ppf(0.999, 30_000, 1.5e-4)  # the study gives 0.1 in a thousand
