"""A training map and hmmlearn's model of it say the same of the same runs."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hmmlearn.hmm import GaussianHMM

from hmmdyn.errors import TrainingMapError
from hmmdyn.hmm import TrainingMap, fit_training_map
from hmmdyn.results.observations import Standardisation
from hmmdyn.tables.metric_table import from_frame
from tests.simulate import phased_table, random_parameters


@pytest.fixture(scope="module", params=["diag-run", "full-pooled"])
def fitted(request):
    covariance_type, standardise = request.param.split("-")
    return fit_training_map(
        from_frame(phased_table()),
        [3],
        covariance_type=covariance_type,
        standardise=standardise,
        n_restarts=4,
        quick=True,
    )


def test_it_scores_and_decodes_alike(fitted):
    model = fitted.training_map.to_hmmlearn()
    decoding, data = fitted.decoding, fitted.decoding.observations
    score, posteriors = model.score_samples(data.values, data.lengths)
    assert score == pytest.approx(decoding.beliefs.log_likelihood.sum())
    np.testing.assert_allclose(posteriors, decoding.beliefs.smoothed, atol=1e-9)
    np.testing.assert_array_equal(
        model.predict(data.values, data.lengths), decoding.states["state"]
    )


def test_it_samples(fitted):
    values, states = fitted.training_map.to_hmmlearn().sample(50, random_state=0)
    assert values.shape == (50, 3)
    assert set(states) <= {0, 1, 2}


def test_there_and_back_it_is_the_same_map(fitted, tmp_path):
    there = fitted.training_map
    back = TrainingMap.from_hmmlearn(
        there.to_hmmlearn(), there.features, there.standardisation, step_unit=there.step_unit
    )
    for name in ("startprob", "transmat", "means", "covariances"):
        np.testing.assert_array_equal(
            getattr(back.parameters, name), getattr(there.parameters, name)
        )
    replace(there, options={}, last_steps=None).save(tmp_path / "there.json")
    back.save(tmp_path / "back.json")
    assert (tmp_path / "back.json").read_bytes() == (tmp_path / "there.json").read_bytes()


def test_a_model_fitted_by_hmmlearn_becomes_a_map():
    table = from_frame(phased_table())
    data = table.observations("run")
    model = GaussianHMM(3, covariance_type="full", random_state=0)
    model.fit(data.values, data.lengths)
    decoding = TrainingMap.from_hmmlearn(model, data.features).apply(table)
    assert decoding.beliefs.log_likelihood.sum() == pytest.approx(
        model.score(data.values, data.lengths)
    )
    np.testing.assert_array_equal(
        decoding.states["state"], model.predict(data.values, data.lengths)
    )


def plain_map():
    return TrainingMap(random_parameters(2, 2, "diag"), ("a", "b"), Standardisation("run"))


def test_what_hmmlearn_cannot_hold_is_refused():
    plain = plain_map()
    generator = np.array([[-0.1, 0.1], [0.2, -0.2]])
    for beyond in (
        {"minimum_dwell": 3},
        {"autoregression": np.zeros((2, 2))},
        {"generator": generator, "clock": "step", "unit": 10.0},
    ):
        beyond_it = replace(plain, parameters=replace(plain.parameters, **beyond))
        with pytest.raises(TrainingMapError, match="no counterpart"):
            beyond_it.to_hmmlearn()


def test_what_is_no_map_is_refused():
    plain = plain_map()
    with pytest.raises(TrainingMapError, match="not fitted: it has no startprob_"):
        TrainingMap.from_hmmlearn(GaussianHMM(2), ("a", "b"))
    for wrong in ("ab", ("a",)):
        with pytest.raises(TrainingMapError, match="2 metrics; 'features' must name each"):
            TrainingMap.from_hmmlearn(plain.to_hmmlearn(), wrong)
    with pytest.raises(TrainingMapError, match="makes no training map: mean has shape"):
        TrainingMap.from_hmmlearn(plain.to_hmmlearn(), ("a", "b"), Standardisation("pooled"))
    unvisited = plain.to_hmmlearn()
    unvisited.transmat_[1] = 0.0
    with pytest.raises(TrainingMapError, match="transmat does not sum to one"):
        TrainingMap.from_hmmlearn(unvisited, ("a", "b"))


def test_nothing_else_needs_hmmlearn():
    code = (
        "import sys, hmmdyn; hmmdyn.analyze, hmmdyn.TrainingMap; "
        "import hmmdyn.hmm.training_map_json; assert 'hmmlearn' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
