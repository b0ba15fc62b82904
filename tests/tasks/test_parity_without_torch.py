"""The part of sparse parity that needs no PyTorch: its data, and saying that training needs it."""

import subprocess
import sys

import numpy as np
import pytest

from hmmdyn.errors import UsageError
from hmmdyn.tasks.parity import ParityRecipe, parity_samples


def python(script, *arguments):
    """Standard output of a script in a fresh interpreter, where torch cannot be imported."""
    return subprocess.run(
        [sys.executable, "-c", f"import sys; sys.modules['torch'] = None\n{script}", *arguments],
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_samples_are_what_the_recipe_says():
    train, evaluation = parity_samples()
    assert train.bits.shape == (1000, 40)
    assert evaluation.bits.shape == (100, 40)
    for bits, labels in (train, evaluation):
        assert bits.dtype == labels.dtype == np.float32
        assert set(np.unique(bits)) == {-1.0, 1.0}
        n_minus = (bits[:, :3] == -1).sum(axis=1)
        np.testing.assert_array_equal(labels, np.where(n_minus % 2 == 1, -1, 1))


def test_samples_are_balanced_and_disjoint():
    train, evaluation = parity_samples()
    # Five standard deviations of the mean of 1000 fair ±1 bits.
    assert np.abs(train.bits.mean(axis=0)).max() < 5 / np.sqrt(1000)
    assert abs(train.labels.mean()) < 5 / np.sqrt(1000)
    assert len({sample.tobytes() for sample in (*train.bits, *evaluation.bits)}) == 1100


def test_samples_follow_the_data_seed():
    first, again, other = (parity_samples(ParityRecipe(data_seed=s))[0].bits for s in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).mean() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_epochs": 0}, "'n_epochs' must be at least 1, got 0"),
        ({"batch_size": -1}, "'batch_size' must be at least 1, got -1"),
        ({"n_bits": 2}, "'n_parity_bits' must be at most 'n_bits' \\(2\\), got 3"),
    ],
)
def test_impossible_recipes_are_refused(change, message):
    with pytest.raises(UsageError, match=message):
        ParityRecipe(**change)


def test_training_says_what_to_install_and_writes_nothing(tmp_path):
    out = tmp_path / "out"
    said = python(
        "from pathlib import Path\n"
        "from hmmdyn.errors import MissingPackageError\n"
        "from hmmdyn.tasks.parity import train_parity\n"
        "try: train_parity(Path(sys.argv[1]), [0])\n"
        "except MissingPackageError as error: print(error)\n",
        str(out),
    )
    assert said.startswith("Training needs PyTorch")
    assert "pip install 'hmmdyn[torch]'" in said
    assert not out.exists()
