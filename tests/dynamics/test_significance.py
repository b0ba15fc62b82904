import numpy as np

from hmmdyn.dynamics.significance import corrected


def test_correction_leaves_out_what_is_not_known():
    p = np.array([0.01, np.nan, 0.04, 0.03])
    np.testing.assert_allclose(corrected(p), [0.03, np.nan, 0.04, 0.04])
    assert np.isnan(corrected(np.array([np.nan]))).all()
    assert len(corrected(np.array([]))) == 0


def test_correction_is_that_of_benjamini_and_hochberg():
    # Benjamini & Hochberg (1995), section 3.2: of these 15, the first four are found at 0.05.
    p = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262,
         0.5719, 0.6528, 0.7590, 1.0]  # fmt: skip
    assert (corrected(np.array(p)) < 0.05).tolist() == [True] * 4 + [False] * 11
