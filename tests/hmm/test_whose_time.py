from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from hmmdyn.hmm.choose.duration import Change
from hmmdyn.hmm.choose.passages import Resampling
from hmmdyn.hmm.choose.whose_time import whose_time
from hmmdyn.report.statements.boundaries import WHOSE_TIME
from hmmdyn.results.boundaries import CANNOT_TELL, EITHER_TIME, OWN_TIME, SCHEDULE, Evidence

NORMAL = norm.ppf((np.arange(40) + 0.5) / 40)


def change(dates, duration=100.0, spacing=10.0):
    dates = np.asarray(dates, dtype=float)
    return Change(
        float(np.median(dates)), np.nan, np.nan, duration, np.nan, np.nan,
        np.arange(len(dates)), dates, spacing,
    )  # fmt: skip


def asked(*args, **kwargs):
    return whose_time(change(*args, **kwargs), Resampling(400, 0))


def test_the_spread_is_from_10_to_90_percent_of_normal_dates():
    found = asked(1000 + 200 * NORMAL)
    assert found.spread == pytest.approx(200 * (norm.ppf(0.9) - norm.ppf(0.1)), rel=0.05)
    assert found.spread_low < found.spread < found.spread_high


@pytest.mark.parametrize(
    ("deviation", "duration", "spacing", "verdict"),
    [
        (150, 100, 10, OWN_TIME),
        (20, 100, 10, SCHEDULE),  # all are in the change at once
        (50, 100, 10, CANNOT_TELL),
        (150, 600, 10, SCHEDULE),  # the same dates, and a change that takes longer
        (20, 0, 2, OWN_TIME),
        (20, 0, 100, SCHEDULE),  # dates that checkpoints cannot tell apart
    ],
)
def test_spread_is_held_against_duration_and_spacing(deviation, duration, spacing, verdict):
    assert asked(1000 + deviation * NORMAL, duration, spacing).verdict == verdict


def test_a_few_runs_dated_wrongly_do_not_make_a_schedule_each_seeds_own():
    dates = 1000 + 5 * NORMAL
    dates[[3, 17, 30, 38]] += 5000
    assert asked(dates).verdict == SCHEDULE


def test_few_runs_cannot_tell():
    assert asked([1000, 1100, 1350, 1400]).verdict == CANNOT_TELL


def test_a_run_that_crosses_twice_has_its_first_date():
    twice = replace(
        change([500, 900, 520, 480]),
        runs=np.array([0, 0, 1, 2]),
        dates=np.array([500.0, 900, 520, 480]),
    )
    np.testing.assert_array_equal(twice.first_dates, [500, 520, 480])


@pytest.mark.parametrize(
    ("of_boundaries", "verdict"),
    [
        ([OWN_TIME, CANNOT_TELL], OWN_TIME),
        ([SCHEDULE, SCHEDULE], SCHEDULE),
        ([SCHEDULE, OWN_TIME], EITHER_TIME),
        ([CANNOT_TELL], "that of the whole course"),
        ([], "that of the whole course"),
    ],
)
def test_boundaries_say_whose_time_it_is_and_the_whole_course_where_none_does(
    of_boundaries, verdict
):
    evidence = SimpleNamespace(
        supported=pd.DataFrame({"timing": of_boundaries}), timing="that of the whole course"
    )
    assert Evidence.whose_time.fget(evidence) == verdict
    assert set(WHOSE_TIME) == {OWN_TIME, SCHEDULE, EITHER_TIME, CANNOT_TELL}
