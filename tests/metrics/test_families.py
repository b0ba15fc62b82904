"""Every metric beyond the paper's, against its definition written plainly, or another library."""

import json
import math
import warnings
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import stats

from hmmdyn.checkpoints.find.discover import discover
from hmmdyn.checkpoints.parameters import DEFAULT_RULES, ParameterRules
from hmmdyn.errors import UsageError
from hmmdyn.metrics.entries import Entries, Kept
from hmmdyn.metrics.extract import extract
from hmmdyn.metrics.measure import measure
from hmmdyn.metrics.power_law import fit_power_law
from hmmdyn.metrics.registry import all_metrics, expanded, select_metrics
from hmmdyn.metrics.summary import Change, Matrix
from hmmdyn.record.recorder import MetricRecorder
from tests.make_runs import weights, write_runs

FAMILIES = {
    "movement": "distance_l2 distance_l1 distance_linf cosine_to_start step_l2 step_cosine "
    "relative_step path_length",
    "spectrum": "stable_rank effective_rank spectral_entropy participation_ratio log_condition "
    "alpha alpha_distance alpha_hat",
    "shape": "hoyer_sparsity kurtosis_w near_zero_w q05_w q95_w",
    "attention": "attention_logit attention_logit_max",
    "fourier": "fourier_gini key_frequencies",
    "optimizer": "first_moment second_moment effective_step",
}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_chosen_by_its_name(family):
    assert [m.name for m in select_metrics([family])] == FAMILIES[family].split()
    assert {m.family for m in select_metrics([family])} == {family}


def test_the_paper_is_measured_where_none_is_named_and_all_where_all_are():
    assert {m.family for m in select_metrics(None)} == {"paper"}
    assert select_metrics(["all"]) == all_metrics()
    assert [m.name for m in select_metrics(["shape", "l2"])][:2] == ["l2", "hoyer_sparsity"]


def test_a_family_of_columns():
    columns = ["step_l2", "mine", "distance_l2"]
    assert expanded(["movement", "mine"], columns) == ("step_l2", "distance_l2", "mine")
    assert expanded(["movement"], ["movement"]) == ("movement",)  # a column of that name


def plainly(matrix, start, before):
    """The metrics of one weight matrix, term by term."""
    s = np.linalg.svd(matrix, compute_uv=False)
    p, q = s / s.sum(), s**2 / (s**2).sum()
    w, n = matrix.ravel(), matrix.size
    return {
        "stable_rank": (w**2).sum() / s[0] ** 2,
        "effective_rank": np.exp(stats.entropy(p)),
        "spectral_entropy": stats.entropy(q) / np.log(len(s)),
        "participation_ratio": 1 / (q**2).sum(),
        "log_condition": np.log10(np.linalg.cond(matrix)),
        "hoyer_sparsity": (np.sqrt(n) - np.abs(w).sum() / np.sqrt((w**2).sum())) / (np.sqrt(n) - 1),
        "kurtosis_w": stats.kurtosis(w, fisher=False),
        "near_zero_w": np.mean(np.abs(w) < 0.1 * np.sqrt((w**2).mean())),
        "q05_w": np.quantile(w, 0.05),
        "q95_w": np.quantile(w, 0.95),
        "distance_l2": np.linalg.norm(matrix - start),
        "distance_l1": np.abs(matrix - start).sum(),
        "distance_linf": np.abs(matrix - start).max(),
        "cosine_to_start": np.vdot(matrix, start) / np.linalg.norm(matrix) / np.linalg.norm(start),
        "step_l2": np.linalg.norm(matrix - before),
        "step_cosine": np.vdot(matrix, before) / np.linalg.norm(matrix) / np.linalg.norm(before),
        "relative_step": np.linalg.norm(matrix - before) / np.linalg.norm(before),
    }


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(30, 20), (7, 40), (128, 40)])
def test_metrics_by_definition(tmp_path, shape, dtype):
    rng = np.random.default_rng(0)
    made = [rng.normal(0.01, 0.3, shape).astype(dtype) for _ in range(3)]
    paths = [tmp_path / f"{name}.npz" for name in ("start", "before", "now")]
    for path, values in zip(paths, made, strict=True):
        np.savez(path, w1=values)
    start, before, now = (values.astype(np.float64) for values in made)
    references = {"initial": paths[0], "previous": paths[1]}
    found = measure(paths[2], ["all"], DEFAULT_RULES, references=references)
    of_more = [FAMILIES[family] for family in ("attention", "fourier", "optimizer")]
    assert set(found.problems) == set(" ".join(of_more).split())  # a matrix has none of these
    for name, expected in plainly(now, start, before).items():
        assert found.metrics[name] == pytest.approx(expected, rel=1e-9), name


def test_the_power_law_is_that_of_weightwatcher():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from weightwatcher import WW_powerlaw as powerlaw

        rng = np.random.default_rng(0)
        for made in (
            rng.pareto(1.5, 300) + 1,
            np.linalg.svd(rng.normal(size=(200, 100)), compute_uv=False) ** 2,
            np.linalg.svd(rng.standard_t(2, size=(60, 50)), compute_uv=False) ** 2,
        ):
            theirs, ours = powerlaw.WWFit(made), fit_power_law(np.sort(made))
            assert ours.exponent == pytest.approx(theirs.alpha, rel=1e-12)
            assert ours.distance == pytest.approx(theirs.D, rel=1e-9)
            assert ours.start == theirs.xmin
            matrix = Matrix(np.diag(np.sqrt(made)))
            hat = select_metrics(["alpha_hat"])[0].function(matrix)
            assert hat == pytest.approx(theirs.alpha * np.log10(made.max()), rel=1e-9)


def test_a_power_law_is_found_where_there_is_one():
    made = np.sort(np.random.default_rng(1).pareto(1.5, 20_000) + 1)
    assert fit_power_law(made[::5]).exponent == pytest.approx(2.5, abs=0.15)


@pytest.mark.parametrize("values", [[], [1.0], [2.0, 2.0, 2.0]])
def test_what_has_no_tail_has_no_power_law(values):
    assert math.isnan(fit_power_law(np.array(values)).exponent)


@pytest.mark.parametrize("name", FAMILIES["spectrum"].split())
@pytest.mark.parametrize(
    "values",
    [np.zeros((3, 3)), np.full((3, 4), np.nan), np.eye(1), np.ones((5, 4)), np.eye(4)],
    ids=["zeros", "nan", "one", "rank 1", "identity"],
)
def test_spectra_of_nothing_are_numbers_or_nan(name, values):
    with np.errstate(all="ignore"):
        value = select_metrics([name])[0].function(Matrix(values))
    assert isinstance(value, float)


finite = st.floats(-8, 8, width=32).filter(lambda x: x == 0 or abs(x) > 1e-3)
square = arrays(
    np.float64, array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=5), elements=finite
)


@given(square, st.integers(0, 2**32 - 1), st.sampled_from([0.5, 2.0, 8.0]))
@settings(deadline=None, max_examples=50)
def test_what_does_not_change_a_spectrum_changes_no_metric_of_it(values, seed, factor):
    """Neurons in another order, the transpose; and, but for α̂, another scale."""
    rng = np.random.default_rng(seed)
    permuted = values[rng.permutation(len(values))][:, rng.permutation(values.shape[1])]
    with np.errstate(all="ignore"):
        for metric in select_metrics(["spectrum"]):
            if metric.name in ("log_condition", "alpha", "alpha_distance", "alpha_hat"):
                continue  # they jump where a value is near rounding, or two fits are as good
            expected = metric.function(Matrix(values))
            for other in (permuted, values.T, factor * values):
                found = metric.function(Matrix(np.ascontiguousarray(other)))
                assert found == pytest.approx(expected, rel=1e-6, nan_ok=True), metric.name


# Metric -> the power by which it grows with the scale of the weights, where the
# unit does not say it.
DEGREES = {"l1": 1, "l2": 1, "mean_w": 1, "median_w": 1, "trace": 1, "spectral_norm": 1}
DEGREES |= {"mean_sv": 1, "var_w": 2, "var_sv": 2}
NEEDED = {
    "matrix": lambda now, then: Matrix(now),
    "weights": lambda now, then: Entries(Kept(now.dtype, [now])),
    "initial": Change.of,
    "previous": Change.of,
}
ELEMENTARY = [m for m in all_metrics() if m.needs in NEEDED]


@pytest.mark.parametrize("metric", ELEMENTARY, ids=lambda m: m.name)
@given(st.integers(0, 2**32 - 1), st.integers(3, 12), st.integers(3, 12), st.sampled_from([0.5, 4]))
@settings(deadline=None, max_examples=15)
def test_what_the_order_of_neurons_the_transpose_and_the_scale_do(metric, seed, m, n, factor):
    rng = np.random.default_rng(seed)
    now, then = rng.normal(size=(2, m, n))

    def value(a, b):
        return metric.function(NEEDED[metric.needs](np.ascontiguousarray(a), b))

    expected = value(now, then)
    transposed = value(now.T, np.ascontiguousarray(then.T))
    assert transposed == pytest.approx(expected, rel=1e-7, nan_ok=True)
    rows, columns = rng.permutation(m), rng.permutation(n)
    if "trace" not in metric.name:  # which input belongs to which output
        permuted = value(now[rows][:, columns], np.ascontiguousarray(then[rows][:, columns]))
        assert permuted == pytest.approx(expected, rel=1e-7, abs=1e-12, nan_ok=True)
    if metric.name != "alpha_hat":  # it has a logarithm of the scale
        degree = DEGREES.get(metric.name, {"w": 1, "": 0}[metric.unit])
        scaled = value(factor * now, factor * then)
        assert scaled == pytest.approx(factor**degree * expected, rel=1e-9, nan_ok=True)


def test_changes_add_up():
    rng = np.random.default_rng(0)
    now, then = rng.normal(size=(2, 100))
    whole = Change.of(now, then)
    parts = Change.of(now[:30], then[:30]) + Change.of(now[30:], then[30:])
    assert vars(parts) == pytest.approx(vars(whole), rel=1e-12)
    with pytest.raises(ValueError, match="differ"):
        Change.of(now, then[:50])


# Runs


def vector(seed, step):
    made = weights(seed, step)
    return np.concatenate([made[f"layers.{i}.weight"].ravel() for i in (0, 1)]).astype(np.float64)


def test_movement_along_a_run(tmp_path):
    index = discover(write_runs(tmp_path / "runs", n_runs=2, steps=range(0, 50, 10)))
    found = extract(index, metrics=["movement"], n_jobs=2)
    assert found.metrics == tuple(FAMILIES["movement"].split())
    for seed in (0, 1):
        run = found.table[found.table["seed"] == seed]
        path = [vector(seed, step) for step in range(0, 50, 10)]
        since_start = [np.linalg.norm(w - path[0]) for w in path]
        steps = [np.linalg.norm(b - a) for a, b in pairwise(path)]
        np.testing.assert_allclose(run["distance_l2"], since_start, rtol=1e-12)
        np.testing.assert_allclose(run["step_l2"], [np.nan, *steps], rtol=1e-12)
        np.testing.assert_allclose(run["path_length"], np.cumsum([0, *steps]), rtol=1e-12)
    only = extract(index, metrics=["path_length"])
    assert only.metrics == ("path_length",)
    assert "step_l2" not in only.table
    pd.testing.assert_series_equal(only.table["path_length"], found.table["path_length"])


def test_other_metrics_are_kept_beside_those_measured_before(tmp_path):
    index = discover(write_runs(tmp_path / "runs", n_runs=2, steps=range(0, 50, 10)))
    cache = tmp_path / "cache.parquet"
    assert extract(index, cache=cache).n_computed == 10
    assert extract(index, metrics=["shape"], cache=cache).n_computed == 10
    both = extract(index, metrics=["shape", "paper"], cache=cache)
    assert both.n_computed == 0
    pd.testing.assert_frame_equal(both.table, extract(index, metrics=["shape", "paper"]).table)


def test_a_checkpoint_before_that_is_replaced_is_noticed(tmp_path):
    root = write_runs(tmp_path / "runs", n_runs=2, steps=range(0, 50, 10))
    cache = tmp_path / "cache.parquet"
    extract(discover(root), metrics=["movement"], cache=cache)
    (root / "seed0" / "step_20.safetensors").unlink()
    index = discover(root)
    again = extract(index, metrics=["movement"], cache=cache)
    assert again.n_computed == 1  # what followed the one that is gone
    pd.testing.assert_frame_equal(again.table, extract(index, metrics=["movement"]).table)


def test_a_bad_checkpoint_spoils_only_what_is_compared_with_it(tmp_path):
    root = write_runs(tmp_path / "runs", n_runs=2, steps=range(0, 50, 10))
    (root / "seed0" / "step_10.safetensors").write_bytes(b"no checkpoint")
    found = extract(discover(root), metrics=["l2", "step_l2", "path_length"], skip_bad=True)
    run = found.table[found.table["seed"] == 0].set_index("step")
    assert run.index.tolist() == [0, 20, 30, 40]
    assert run["step_l2"].isna().tolist() == [True, True, False, False]
    assert run["path_length"].isna().tolist() == [False, True, True, True]
    assert run["l2"].notna().all()
    (told,) = [n.message for n in found.notices if n.subject == "metric step_l2"]
    assert "first at step 20 of run seed0" in told
    assert "step_10.safetensors" in told


# Metrics of one's own

OWN = '''
import numpy as np
from hmmdyn import metric

@metric(needs="matrix", unit="w", source="folklore")
def largest(matrix):
    """Largest entry in size, mean over the weight matrices."""
    return np.abs(matrix.values).max()

@metric(needs="network")
def n_tensors(network):
    """How many tensors there are."""
    return len(network)
'''
BAD = '''
import numpy as np
from hmmdyn import metric

@metric(needs="matrix")
def raises(matrix):
    """Fails on wide matrices."""
    if matrix.values.shape == (2, 6):
        raise ZeroDivisionError("oops")
    return 1.0

@metric(needs="weights")
def array(weights):
    """No number."""
    return next(weights.chunks())

@metric(needs="weights")
def imaginary(weights):
    """No real number."""
    return 1j
'''


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Write a file of metrics; those that it registers are gone after the test."""
    all_metrics()
    monkeypatch.setattr("hmmdyn.metrics.registry._registered", {m.name: m for m in all_metrics()})

    def write(text, name="my_metrics.py"):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


def test_metrics_from_a_file(tmp_path, own):
    index = discover(write_runs(tmp_path / "runs", n_runs=1, steps=range(0, 30, 10)))
    path, cache = own(OWN), tmp_path / "cache.parquet"
    options = {"metrics": ["my_metrics", "l2"], "metrics_from": path, "cache": cache}
    found = extract(index, **options, n_jobs=2)
    assert found.metrics == ("l2", "largest", "n_tensors")
    assert (found.table["n_tensors"] == 4).all()
    expected = [
        np.mean([np.abs(w).max() for name, w in weights(0, step).items() if "weight" in name])
        for step in range(0, 30, 10)
    ]
    np.testing.assert_allclose(found.table["largest"], expected)
    assert extract(index, **options).n_computed == 0
    own(OWN.replace("len(network)", "2 * len(network)"))
    changed = extract(index, **options)
    assert changed.n_computed == 3
    assert (changed.table["n_tensors"] == 8).all()


def test_a_metric_that_fails_is_named_and_the_others_are_kept(tmp_path, own):
    index = discover(write_runs(tmp_path / "runs", n_runs=2, steps=range(0, 30, 10)))
    found = extract(index, metrics=["bad", "l2"], metrics_from=own(BAD, "bad.py"))
    assert found.table["l2"].notna().all()
    assert found.table[["raises", "array", "imaginary"]].isna().all(axis=None)
    told = {n.subject: n.message for n in found.notices}
    assert "NaN at 6 of 6 checkpoints, first at step 0 of run seed0" in told["metric raises"]
    assert "ZeroDivisionError: oops of layers.1.weight" in told["metric raises"]
    assert "an array of shape" in told["metric array"]
    assert "a complex number" in told["metric imaginary"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import no_such_module", "no_such_module"),
        ("x = 1", "registers no metric"),
        ("def (", "SyntaxError"),
        (OWN.replace("largest", "l2"), "There is a metric 'l2' already"),
        (OWN.replace('"network"', '"everything"'), "A metric needs one of matrix, weights"),
    ],
)
def test_a_file_of_metrics_that_cannot_be_used(own, tmp_path, text, message):
    index = discover(write_runs(tmp_path / "runs", n_runs=1, steps=range(0, 30, 10)))
    before = all_metrics()
    with pytest.raises(UsageError, match=message):
        extract(index, metrics_from=own(text))
    assert all_metrics() == before
    with pytest.raises(UsageError, match="cannot be read"):
        extract(index, metrics_from=tmp_path / "none.py")


def test_a_recorder_takes_the_families_that_need_one_moment(tmp_path):
    with MetricRecorder(tmp_path / "seed0", metrics=["spectrum"]) as recorder:
        recorder.record(weights(0, 0), 0)
    row = json.loads((tmp_path / "seed0" / "hmmdyn-metrics.jsonl").read_text())
    assert set(FAMILIES["spectrum"].split()) <= set(row)


def test_included_vectors_have_no_spectrum_to_speak_of(tmp_path):
    np.savez(tmp_path / "a.npz", gain=np.arange(1.0, 4.0))
    found = measure(tmp_path / "a.npz", ["spectrum"], ParameterRules(include=("gain",)))
    assert found.metrics["stable_rank"] == pytest.approx(1.0)
    assert math.isnan(found.metrics["alpha"])
