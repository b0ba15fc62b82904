"""Observation sequences: their borders, and a part of their runs."""

import numpy as np

from hmmdyn.results.observations import Sequences
from tests.simulate import observations

DATA = Sequences(
    np.arange(12.0).reshape(6, 2), np.array([3, 1, 2]), np.array([0, 10, 20, 0, 0, 10])
)


def test_where_runs_begin_and_end():
    assert DATA.n_features == 2
    assert DATA.first_rows.tolist() == [0, 3, 4]
    assert DATA.borders.tolist() == [3, 4]
    assert DATA.run_of_row.tolist() == [0, 0, 0, 1, 2, 2]
    assert [run.tolist() for run in DATA.split(DATA.steps)] == [[0, 10, 20], [0], [0, 10]]


def test_some_of_the_runs_and_metrics():
    part = DATA.of(np.array([True, False, True]))
    assert part.values[:, 0].tolist() == [0, 2, 4, 8, 10]
    assert part.lengths.tolist() == [3, 2]
    assert part.steps.tolist() == [0, 10, 20, 0, 10]
    assert DATA.with_metrics(np.array([False, True])).values[:, 0].tolist() == [1, 3, 5, 7, 9, 11]
    without = Sequences(DATA.values, DATA.lengths).of(np.array([False, True, False]))
    assert without.steps is None
    assert not len(DATA.of(np.zeros(3, dtype=bool)).values)


def test_all_rows_as_one_run():
    one = Sequences.of_one_run(DATA.values)
    assert one.lengths.tolist() == [6]
    assert one.steps is None
    assert not len(one.borders)


def test_observations_are_sequences_with_names():
    named = observations(DATA.values, [3, 1, 2])
    part = named.of(np.array([False, False, True]))
    assert type(part) is Sequences
    assert part.steps.tolist() == [0, 10]
