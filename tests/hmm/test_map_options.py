"""Training maps beyond the plain model: saved, loaded, applied to new runs."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.linalg import expm

from hmmdyn.errors import TrainingMapError
from hmmdyn.hmm import TrainingMap
from hmmdyn.hmm.conversion import to_hmmlearn
from hmmdyn.hmm.model.inference import decode
from hmmdyn.hmm.model.labels import reorder
from hmmdyn.hmm.model.sizes import n_parameters
from hmmdyn.results.model import ModelOptions
from hmmdyn.results.observations import Standardisation
from hmmdyn.tables.metric_table import from_frame
from tests.simulate import phased_table, random_parameters


@pytest.fixture
def knowing():
    """A map that knows gaps and remembers."""
    plain = random_parameters(3, 3, "diag", seed=1)
    generator = np.array([[-0.3, 0.2, 0.1], [0.0, -0.5, 0.5], [0.1, 0.1, -0.2]])
    parameters = replace(
        plain,
        generator=generator,
        transmat=expm(generator),
        clock="step",
        unit=100.0,
        autoregression=np.random.default_rng(2).uniform(0, 0.9, (3, 3)),
    )
    scale = Standardisation("pooled", None, np.zeros(3), np.ones(3))
    return TrainingMap(parameters, ("m0", "m1", "m2"), scale)


def test_saved_and_loaded_it_decodes_alike(knowing, tmp_path):
    knowing.save(tmp_path / "map.json")
    loaded = TrainingMap.load(tmp_path / "map.json")
    loaded.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "map.json").read_bytes()
    table = from_frame(phased_table())
    pd.testing.assert_frame_equal(loaded.apply(table).states, knowing.apply(table).states)


def test_it_goes_by_the_gaps_of_the_runs_it_is_applied_to(knowing):
    table = phased_table()
    kept = table[table["step"] % 300 == 0]  # every third checkpoint
    decoding = knowing.apply(from_frame(kept))
    np.testing.assert_allclose(decoding.beliefs.gaps[1:10], 3.0)
    observations = decoding.observations
    expected = decode(knowing.parameters, observations)
    np.testing.assert_array_equal(decoding.states["state"], expected)


def test_another_unit_of_time_is_refused(knowing):
    with pytest.raises(TrainingMapError, match=r"in epochs, but the table counts steps"):
        replace(knowing, step_unit="epoch").apply(from_frame(phased_table()))


def test_a_minimum_dwell_is_saved(knowing, tmp_path):
    kept = replace(
        knowing.parameters, generator=None, clock="checkpoint", unit=1.0, minimum_dwell=4
    )
    replace(knowing, parameters=kept).save(tmp_path / "map.json")
    document = json.loads((tmp_path / "map.json").read_text())
    assert document["format_version"] == 2
    assert TrainingMap.load(tmp_path / "map.json").parameters.minimum_dwell == 4
    for broken in (0, 10_000, 2.5, "4"):
        (tmp_path / "map.json").write_text(json.dumps(document | {"minimum_dwell": broken}))
        with pytest.raises(TrainingMapError, match="minimum_dwell"):
            TrainingMap.load(tmp_path / "map.json")


def test_a_plain_map_is_written_as_before(knowing, tmp_path):
    plain = replace(
        knowing.parameters, generator=None, clock="checkpoint", unit=1.0, autoregression=None
    )
    replace(knowing, parameters=plain).save(tmp_path / "map.json")
    document = json.loads((tmp_path / "map.json").read_text())
    assert document["format_version"] == 1
    assert not {"generator", "clock", "unit", "autoregression"} & set(document)


BROKEN = {
    "shape": {"generator": [[0.0]]},
    "negative rate": {"generator": [[0.1, -0.1, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]},
    "unbalanced": {"generator": [[-0.3, 0.2, 0.2], [0.0, -0.5, 0.5], [0.1, 0.1, -0.2]]},
    "too fast": {"generator": [[-9e9, 9e9, 0.0], [0.0, -0.5, 0.5], [0.1, 0.1, -0.2]]},
    "not the transmat": {"transmat": np.full((3, 3), 1 / 3).tolist()},
    "clock": {"clock": "epoch"},
    "no clock": {"clock": "checkpoint"},
    "unit": {"unit": 0.0},
    "dwell": {"minimum_dwell": 2},
    "explosive": {"autoregression": [[1.5] * 3] * 3},
}


@pytest.mark.parametrize("case", BROKEN)
def test_malformed_maps_are_refused(knowing, tmp_path, case):
    path = tmp_path / "map.json"
    knowing.save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | BROKEN[case]))
    with pytest.raises(TrainingMapError, match=r"map\.json"):
        TrainingMap.load(path)


def test_reordered_states_keep_their_rates_and_memory(knowing):
    order = np.array([2, 0, 1])
    again = reorder(knowing.parameters, order)
    np.testing.assert_allclose(expm(again.generator), again.transmat)
    np.testing.assert_array_equal(again.autoregression, knowing.parameters.autoregression[order])


def test_hmmlearn_has_nothing_like_it(knowing):
    with pytest.raises(TrainingMapError, match="neither transition rates"):
        to_hmmlearn(knowing.parameters)


def test_parameters_are_counted():
    assert n_parameters(4, 3, "diag") == 3 + 12 + 24
    assert n_parameters(4, 3, "diag", ModelOptions(left_right=True)) == 3 + 6 + 24
    assert n_parameters(4, 3, "full", ModelOptions(autoregressive=True)) == 3 + 12 + 4 * (6 + 6)
