import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from hmmdyn.errors import TrainingMapError
from hmmdyn.hmm import TrainingMap, fit_training_map
from hmmdyn.tables.metric_table import from_frame
from tests.simulate import phased_table


@pytest.fixture(scope="module", params=["diag-run", "full-pooled"])
def fitted(request):
    covariance_type, standardise = request.param.split("-")
    return fit_training_map(
        from_frame(phased_table()),
        [3],
        covariance_type=covariance_type,
        standardise=standardise,
        n_restarts=4,
    )


def test_decodes_the_phases_the_runs_walk(fitted):
    states = fitted.decoding.states
    assert list(states.columns) == ["group", "run", "seed", "step", "state", "probability"]
    for run, checkpoints in states.groupby("run"):
        i = int(run.removeprefix("seed"))
        first = checkpoints.groupby("state")["step"].min()
        assert first.to_dict() == {0: 0, 1: 100 * (5 + i // 2), 2: 100 * (12 + i)}
    assert (states["probability"] > 0.9).all()


def test_save_and_load_decode_alike(fitted, tmp_path):
    path = tmp_path / "map.json"
    fitted.training_map.save(path)
    loaded = TrainingMap.load(path)
    again = loaded.apply(from_frame(phased_table()))
    pd.testing.assert_frame_equal(again.states, fitted.decoding.states)
    second = tmp_path / "again.json"
    loaded.save(second)
    assert second.read_bytes() == path.read_bytes()


def test_applies_to_runs_it_was_not_fitted_to(fitted):
    table = phased_table(n_runs=8).query("seed >= 6")
    if fitted.training_map.standardisation.kind == "pooled":
        # Without its own scale, a single checkpoint can be decoded: a run need not have ended.
        table = table.groupby("run").head(1)
        assert fitted.training_map.apply(from_frame(table)).states["state"].tolist() == [0, 0]
    else:
        # Nobody can see that they have ended; who knows it can say so.
        runs = from_frame(table)
        with pytest.raises(TrainingMapError, match=r"seed6 \(not among them\)"):
            fitted.training_map.apply(runs)
        features, scale = fitted.training_map.features, fitted.training_map.standardisation
        states = fitted.training_map.decode(runs.observations_as(features, scale)).states
        assert states.groupby("run")["state"].nunique().tolist() == [3, 3]


def by_run(**options):
    runs = from_frame(phased_table())
    fitted = fit_training_map(runs, [3], standardise="run", n_restarts=4, quick=True, **options)
    return fitted.training_map


def test_run_by_run_only_the_fitted_runs_as_far_as_they_were_are_decoded(tmp_path):
    """A run that goes on has another mean: its plateau gets another level, and another state."""
    by_run().save(tmp_path / "map.json")
    training_map = TrainingMap.load(tmp_path / "map.json")
    table = phased_table()
    assert len(training_map.apply(from_frame(table)).states) == len(table)
    one = training_map.apply(from_frame(table[table["run"] == "seed2"]))
    assert one.states["run"].unique().tolist() == ["seed2"]
    early = from_frame(table[table["step"] < 1500])
    with pytest.raises(TrainingMapError, match=r"seed0 \(ends at 1,400 here, at 2,900 then\)"):
        training_map.apply(early)
    with pytest.raises(TrainingMapError, match="standardise='pooled'"):
        training_map.apply(early)


def test_what_is_scaled_by_first_checkpoints_may_go_on(tmp_path):
    training_map = by_run(standardise_first=20)
    table = phased_table(n_runs=8)
    assert len(training_map.apply(from_frame(table[table["step"] < 2000])).states) == 8 * 20
    with pytest.raises(TrainingMapError, match=r"ends at 1,800 here"):
        training_map.apply(from_frame(table[table["step"] < 1900]))


def test_a_map_that_does_not_know_its_runs_says_so(tmp_path):
    training_map = replace(by_run(), last_steps=None)
    training_map.save(tmp_path / "map.json")
    loaded = TrainingMap.load(tmp_path / "map.json")
    (notice,) = loaded.apply(from_frame(phased_table())).observations.notices
    assert "does not know the runs" in notice.message


def test_a_missing_metric_is_named(fitted):
    table = from_frame(phased_table().drop(columns="m1"))
    with pytest.raises(TrainingMapError, match="lacks m1"):
        fitted.training_map.apply(table)


def standardised(document, **changes):
    return {**document, "standardisation": {**document["standardisation"], **changes}}


BROKEN = {
    "not json": lambda d: "{",
    "a list": lambda d: [],
    "another format": lambda d: {**d, "format": "x"},
    "a later version": lambda d: {**d, "format_version": 99},
    "a missing entry": lambda d: {k: v for k, v in d.items() if k != "means"},
    "nan": lambda d: {**d, "means": [[float("nan")] * 3] * 3},
    "a wrong shape": lambda d: {**d, "means": [[0.0]]},
    "text for numbers": lambda d: {**d, "startprob": ["a", "b", "c"]},
    "no distribution": lambda d: {**d, "startprob": [1.0, 1.0, 1.0]},
    "negative probability": lambda d: {**d, "startprob": [2.0, -1.0, 0.0]},
    "indefinite covariance": lambda d: {
        **d, "covariance_type": "diag", "covariances": [[1.0, 1.0, -1.0]] * 3
    },
    "unknown standardisation": lambda d: {
        **d, "standardisation": {"kind": "x", "first": None, "mean": [], "deviation": []}
    },
    "no first checkpoint": lambda d: standardised(d, first=0),
    "before the first checkpoint": lambda d: standardised(d, first=-1),
    "one checkpoint to scale by": lambda d: standardised(d, first=1),
    "a yes for a number": lambda d: standardised(d, first=True),
    "a mean that is none": lambda d: standardised(
        d, kind="pooled", mean=[0.0, 0.0, float("nan")], deviation=[1.0] * 3
    ),
    "an infinite deviation": lambda d: standardised(
        d, kind="pooled", mean=[0.0] * 3, deviation=[1.0, 1.0, float("inf")]
    ),
    "a name twice": lambda d: {**d, "features": ["m0", "m1", "m1"]},
    "a text for names": lambda d: {**d, "features": "abc"},
    "numbers for names": lambda d: {**d, "features": [1, 2, 3]},
    "a number of 400 digits": lambda d: json.dumps(d).replace("[0.", f"[{'9' * 400}.", 1),
    "deep nesting": lambda d: "[" * 200_000,
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_malformed_maps_are_refused(fitted, tmp_path, case):
    path = tmp_path / "map.json"
    fitted.training_map.save(path)
    broken = BROKEN[case](json.loads(path.read_text()))
    path.write_text(broken if isinstance(broken, str) else json.dumps(broken))
    with pytest.raises(TrainingMapError, match=r"map\.json"):
        TrainingMap.load(path)


def test_numbers_survive_json_exactly(fitted, tmp_path):
    path = tmp_path / "map.json"
    fitted.training_map.save(path)
    loaded = TrainingMap.load(path)
    np.testing.assert_array_equal(
        loaded.parameters.covariances, fitted.training_map.parameters.covariances
    )
