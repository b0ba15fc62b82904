"""Nothing breaks: many fits on real metrics, and any finite input from table to analysis."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score
from threadpoolctl import threadpool_limits

from hmmdyn import analyze
from hmmdyn.choices import COVARIANCE_TYPES, STANDARDISATIONS
from hmmdyn.errors import HmmdynError
from hmmdyn.hmm.choose.select import select_n_states
from hmmdyn.hmm.fit import em
from hmmdyn.hmm.fit.starts import KINDS, filled, start
from hmmdyn.hmm.fit.sweep import sweep
from hmmdyn.results.observations import Sequences
from hmmdyn.results.verdicts import LEFT_BEHIND
from hmmdyn.tables.metric_table import from_frame, read_table
from tests.simulate import PYTHIA, phased_table

needs_pythia = pytest.mark.skipif(not PYTHIA.exists(), reason="the real metrics are not here")


def require_sound(fit):
    """Every fit is finite and proper, or says why it is not; its objective never fell."""
    objective = np.array(fit.objective)
    if fit.parameters is None:
        assert fit.reason
        return
    parameters = fit.parameters
    assert np.isfinite(fit.log_likelihood)
    assert np.isfinite(objective).all()
    rounding = 1e-7 * np.abs(objective[1:])
    assert (np.diff(objective) >= -rounding).all(), np.diff(objective).min()
    for probabilities in (parameters.startprob, parameters.transmat):
        assert (probabilities >= 0).all()
        np.testing.assert_allclose(probabilities.sum(axis=-1), 1)
    assert np.isfinite(parameters.means).all()
    for covariance in parameters.covariances:
        matrix = np.diag(covariance) if covariance.ndim == 1 else covariance
        np.testing.assert_array_equal(matrix, matrix.T)
        assert np.linalg.eigvalsh(matrix).min() > 0
    assert fit.valid == (fit.reason == "")
    assert fit.reason != "the objective fell during EM"
    if fit.valid:
        assert len(np.unique(fit.states)) == parameters.n_states


def fit_at_random(table, seed):
    """One EM run on random runs, metrics, K, covariance type and kind of start."""
    rng = np.random.default_rng(seed)
    runs = table.runs["run"].tolist()
    left_out = rng.choice(runs, rng.integers(len(runs)), replace=False)
    metrics = rng.choice(table.metrics, rng.integers(1, len(table.metrics) + 1), replace=False)
    chosen = table.without_runs(left_out.tolist()).select(metrics=metrics.tolist())
    data = chosen.observations(str(rng.choice(STANDARDISATIONS)))
    covariance_type = str(rng.choice(COVARIANCE_TYPES))
    n_states = int(rng.integers(1, 13))
    kind = KINDS[seed % len(KINDS)]
    first = start(data, n_states, covariance_type, seed, kind)
    (fit,) = em.fit(data, [first])
    return fit


def require_sound_fits(seeds):
    table = read_table(PYTHIA)
    with threadpool_limits(1):
        fits = [fit_at_random(table, seed) for seed in seeds]
    for fit in fits:
        require_sound(fit)
    # Where EM goes wrong on real metrics, it is for want of states to fill or of iterations.
    reasons = {fit.reason for fit in fits}
    assert not any(reason.startswith("not finite") for reason in reasons), reasons
    assert sum(fit.valid for fit in fits) > len(fits) / 2


@needs_pythia
@pytest.mark.slow
def test_fits_on_real_metrics_are_sound():
    require_sound_fits(range(150))


@needs_pythia
@pytest.mark.long
@pytest.mark.timeout(0)
def test_a_thousand_fits_on_real_metrics_are_sound():
    require_sound_fits(range(1000))


@st.composite
def tables(draw):
    """Finite metric tables at their worst; NaN where a metric is missing."""
    lengths = draw(st.lists(st.integers(1, 10), min_size=1, max_size=3))
    n, n_metrics = sum(lengths), draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = rng.normal(size=(n, n_metrics))
    for i in range(n_metrics):
        kind = draw(st.sampled_from(["noise", "constant", "collinear", "steps", "spike", "walk"]))
        if kind == "constant":
            values[:, i] = draw(st.sampled_from([0.0, 1.0, -3e-12, 1e12]))
        elif kind == "collinear":
            values[:, i] = 2 * values[:, 0] + 1
        elif kind == "steps":
            values[:, i] = values[:, i].round()
        elif kind == "spike":
            values[:, i] = 0
            values[draw(st.integers(0, n - 1)), i] = 1
        elif kind == "walk":
            values[:, i] = values[:, i].cumsum()
    if draw(st.booleans()):  # duplicated rows
        values = values[rng.integers(0, draw(st.integers(1, n)), n)]
    scales = draw(st.lists(SCALES, min_size=n_metrics, max_size=n_metrics))
    offsets = draw(st.lists(OFFSETS, min_size=n_metrics, max_size=n_metrics))
    with np.errstate(over="ignore"):
        values = np.nan_to_num(values * scales + offsets)
    for _ in range(draw(st.integers(0, 3))):  # any finite numbers anywhere
        at = draw(st.integers(0, n - 1)), draw(st.integers(0, n_metrics - 1))
        values[at] = draw(st.floats(allow_nan=False, allow_infinity=False))
    values[rng.random(values.shape) < draw(st.sampled_from([0, 0, 0.1, 0.5, 0.9]))] = np.nan
    frame = pd.DataFrame(values, columns=[f"m{i}" for i in range(n_metrics)])
    frame["run"] = np.repeat([f"seed{r}" for r in range(len(lengths))], lengths)
    frame["step"] = np.concatenate([np.arange(length) for length in lengths])
    return frame


SCALES = st.sampled_from([1.0, 1e-12, 1e12, 1e-300, 1e300])
OFFSETS = st.sampled_from([0.0, 0.0, 1.0, 1e12])

at_worst = given(
    frame=tables(),
    standardise=st.sampled_from(STANDARDISATIONS),
    first=st.sampled_from([None, None, 2, 5]),
    covariance_type=st.sampled_from(COVARIANCE_TYPES),
)
few = partial(
    settings,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


def observed(frame, standardise, first):
    try:
        return from_frame(frame).observations(standardise, first)
    except HmmdynError as error:
        require_clear(error)
        event(type(error).__name__)
        return assume(False)


def require_clear(error):
    """A message in sentences that names what to do, and no traceback of another library in it."""
    assert len(str(error)) > 40, error
    assert "." in str(error)


def check_sweep(frame, standardise, first, covariance_type):
    data = observed(frame, standardise, first)
    assert not np.isinf(data.values).any()
    swept = sweep(
        data,
        [1, 2, 3, min(len(data.values) + 1, 9)],
        covariance_type=covariance_type,
        n_restarts=len(KINDS),
        random_state=0,
    )
    for attempt in swept.attempts:
        if attempt.fit.reason != LEFT_BEHIND:
            require_sound(attempt.fit)


@few(max_examples=15)
@at_worst
def test_no_finite_input_breaks_a_sweep(frame, standardise, first, covariance_type):
    check_sweep(frame, standardise, first, covariance_type)


def test_values_of_many_deviations_do_not_make_the_objective_fall():
    """Scaled by their first two checkpoints, values can be tens of thousands of deviations."""
    frame = pd.DataFrame(
        {
            "m0": [0, 1.049001e11, 1.304e12, -1.265421e12, 6.412327e16],
            "m1": [-0.132105, -0.535669, 0.947081, -0.623274, -0.218792],
            "m2": [0.640423, 0.361595, -0.703735, 0.041326, -1.245911],
            "run": ["seed0", "seed1", "seed2", "seed2", "seed2"],
            "step": [0, 0, 0, 1, 2],
        }
    )
    check_sweep(frame, "run", 2, "full")


@pytest.mark.long
@pytest.mark.timeout(0)
@few(max_examples=500)
@at_worst
def test_no_finite_input_breaks_a_sweep_long(frame, standardise, first, covariance_type):
    check_sweep(frame, standardise, first, covariance_type)


def check_selection(frame, standardise, first, covariance_type, quick):
    data = observed(frame, standardise, first)
    try:
        selection = select_n_states(
            data,
            range(1, 5),
            covariance_type=covariance_type,
            n_restarts=4,
            random_state=0,
            quick=quick,
        )
    except HmmdynError as error:
        require_clear(error)
        event(type(error).__name__)
        return
    assert selection.n_states in selection.models
    assert len(selection.attempts) >= 4


@few(max_examples=6)
@at_worst
def test_no_finite_input_breaks_the_selection(frame, standardise, first, covariance_type):
    check_selection(frame, standardise, first, covariance_type, quick=True)


@pytest.mark.long
@pytest.mark.timeout(0)
@few(max_examples=100)
@at_worst
def test_no_finite_input_breaks_the_selection_long(frame, standardise, first, covariance_type):
    check_selection(frame, standardise, first, covariance_type, quick=False)


MODELS = st.sampled_from(
    [{}, {"clock": "step"}, {"left_right": True}, {"autoregressive": True}, {"minimum_dwell": 2}]
)


def check_analysis(frame, standardise, first, covariance_type, model, quick):
    try:
        result = analyze(
            frame.assign(eval_accuracy=np.linspace(0, 1, len(frame))),
            standardise=standardise,
            standardise_first=first,
            covariance=covariance_type,
            max_states=3,
            restarts=2,
            quick=quick,
            **model,
        )
    except HmmdynError as error:
        require_clear(error)
        event(type(error).__name__)
        return
    assert str(result)
    assert len(result.states) == len(result.table)
    assert result.states["probability"].between(0, 1 + 1e-9).all()


@few(max_examples=10)
@given(
    frame=tables(),
    standardise=st.sampled_from(STANDARDISATIONS),
    covariance_type=st.sampled_from(COVARIANCE_TYPES),
    model=MODELS,
)
def test_no_finite_input_breaks_an_analysis(frame, standardise, covariance_type, model):
    check_analysis(frame, standardise, None, covariance_type, model, quick=True)


@pytest.mark.long
@pytest.mark.timeout(0)
@few(max_examples=100)
@at_worst
def test_no_finite_input_breaks_an_analysis_long(frame, standardise, first, covariance_type):
    check_analysis(frame, standardise, first, covariance_type, {}, quick=False)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_holes_leave_the_map_nearly_as_it_is(covariance_type):
    complete = phased_table(n_metrics=4)
    metrics = [f"m{i}" for i in range(4)]
    missing = np.random.default_rng(0).random((len(complete), 4)) < 0.1
    holed = complete.assign(**complete[metrics].mask(missing))
    maps = [
        analyze(frame, max_states=3, restarts=4, covariance=covariance_type, quick=True)
        for frame in (complete, holed)
    ]
    assert adjusted_rand_score(maps[0].states["state"], maps[1].states["state"]) > 0.97
    assert sum("Missing at" in n.message for n in maps[1].notices) == 4


def test_rows_that_differ_by_rounding_are_no_clusters_of_their_own():
    """Runs of two checkpoints are -1 and 1 once standardised, up to the last digit."""
    values = np.random.default_rng(0).normal(size=4)
    frame = pd.DataFrame({"run": list("aabb"), "step": [0, 1, 0, 1], "m": values})
    check_sweep(frame, "run", None, "diag")


def test_a_state_that_holds_no_checkpoint_is_not_split():
    values = np.array([[-0.67], [1.41], [-0.74]])
    swept = sweep(
        Sequences(values, np.array([3])),
        [1, 2, 3, 4],
        covariance_type="diag",
        n_restarts=4,
        random_state=0,
    )
    assert 1 in swept.winners


def test_a_metric_known_nowhere_counts_as_its_mean():
    values = np.array([[1.0, np.nan], [np.nan, np.nan], [3.0, np.nan]])
    np.testing.assert_array_equal(filled(values), [[1, 0], [2, 0], [3, 0]])
