import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmmdyn.report.figures.thinning import points_per_run, thin


def one_run(values, changes=()):
    """A run whose stretches begin at ``changes``."""
    stretches = np.zeros(len(values), dtype=int)
    stretches[list(changes)] = 1
    return np.asarray(values, float), np.cumsum(stretches), np.full(len(values), len(values))


def test_a_run_of_as_many_points_as_are_drawn_is_kept_whole():
    n = points_per_run(1)
    assert thin(*one_run(np.arange(n))).all()
    assert not thin(*one_run(np.arange(n + 2))).all()


def test_no_points_are_no_points():
    assert thin(*one_run([])).tolist() == []


def test_more_runs_have_fewer_points_each_within_limits():
    assert points_per_run(1) == 2000
    assert points_per_run(40) == 400
    assert points_per_run(10_000) == 200


@given(
    st.integers(1, 4),
    st.lists(st.integers(1, 5000), max_size=30),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=40, deadline=None)
def test_ends_of_stretches_and_extremes_are_kept_and_points_are_few(n_runs, changes, seed):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 6000, n_runs)
    run = np.repeat(np.arange(n_runs), lengths)
    values = np.round(rng.normal(size=len(run)).cumsum(), 1)
    starts = np.diff(run, prepend=-1) != 0
    starts[[c for c in changes if c < len(run)]] = True
    stretches = np.cumsum(starts) - 1
    keep = thin(values, stretches, lengths[run])
    for stretch in np.unique(stretches):
        own = np.flatnonzero(stretches == stretch)
        assert keep[own[0]]
        assert keep[own[-1]]
        for extreme in (values[own].min(), values[own].max()):
            assert (values[own][keep[own]] == extreme).any()
    for r in range(n_runs):
        n_stretches = len(np.unique(stretches[run == r]))
        assert keep[run == r].sum() <= points_per_run(n_runs) + 4 * n_stretches + 2


@pytest.mark.parametrize("at", [1, 777, 4998])
def test_a_spike_of_one_checkpoint_is_never_lost(at):
    values = np.zeros(5000)
    values[at] = -1
    assert thin(*one_run(values))[at]


def test_the_outline_stays_within_every_piece():
    """The lowest and the highest of what a pixel column shows are those of all the points."""
    rng = np.random.default_rng(0)
    values, stretches, lengths = one_run(rng.normal(size=20_000).cumsum())
    keep = thin(values, stretches, lengths)
    for piece in np.split(np.arange(20_000), 1000):
        drawn = piece[keep[piece]]
        assert values[drawn].min() == values[piece].min()
        assert values[drawn].max() == values[piece].max()


def test_curves_among_which_a_menu_chooses_share_what_fits_in_a_page():
    assert points_per_run(40, 14) == points_per_run(40)
    assert 200 * 200 * points_per_run(200, 200) <= 2_000_000
    assert points_per_run(40, 200) * 40 * 200 <= 400_000
