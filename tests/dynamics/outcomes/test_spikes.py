import numpy as np
import pytest
from scipy.stats import binom

from hmmdyn.dynamics.outcomes.spikes import excursions

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


def test_one_that_comes_back_late_is_a_divergence_too():
    loss = noisy_loss()
    loss[50:90] += 3
    (long,) = excursions(loss)
    assert (long.kind, long.first, long.after, long.returned) == ("divergence", 50, 90, True)


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
