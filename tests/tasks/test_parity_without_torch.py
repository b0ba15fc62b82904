"""What needs no PyTorch: the data of sparse parity, help, and saying that training needs it."""

import json
import subprocess
import sys

import numpy as np
import pytest

from hmmdyn.tasks.catalogue import TASKS
from hmmdyn.tasks.parity import ParityRecipe, parity_samples

# Other libraries look into sys.modules: torch must be absent there, not None.
WITHOUT_TORCH = """
import sys

class NoTorch:
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")

sys.meta_path.insert(0, NoTorch)
"""


def python(script, *arguments):
    """Standard output of a script in a fresh interpreter, where torch cannot be imported."""
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH + script, *arguments],
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_samples_are_what_the_recipe_says():
    train, evaluation = parity_samples(ParityRecipe())
    assert train.bits.shape == (1000, 40)
    assert evaluation.bits.shape == (100, 40)
    for bits, labels in (train, evaluation):
        assert bits.dtype == labels.dtype == np.float32
        assert set(np.unique(bits)) == {-1.0, 1.0}
        n_minus = (bits[:, :3] == -1).sum(axis=1)
        np.testing.assert_array_equal(labels, np.where(n_minus % 2 == 1, -1, 1))


def test_samples_are_balanced_and_disjoint():
    train, evaluation = parity_samples(ParityRecipe())
    # Five standard deviations of the mean of 1000 fair ±1 bits.
    assert np.abs(train.bits.mean(axis=0)).max() < 5 / np.sqrt(1000)
    assert abs(train.labels.mean()) < 5 / np.sqrt(1000)
    assert len({sample.tobytes() for sample in (*train.bits, *evaluation.bits)}) == 1100


def test_samples_follow_the_data_seed():
    first, again, other = (parity_samples(ParityRecipe(data_seed=s))[0].bits for s in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).mean() == pytest.approx(0.5, abs=0.02)


def test_training_says_what_to_install_and_writes_nothing(tmp_path):
    out = tmp_path / "out"
    said = python(
        "from pathlib import Path\n"
        "from hmmdyn.errors import MissingPackageError\n"
        "from hmmdyn.tasks.catalogue import train\n"
        "try: train('parity', Path(sys.argv[1]), [0])\n"
        "except MissingPackageError as error: print(error)\n",
        str(out),
    )
    assert said.startswith("Training needs PyTorch")
    assert "pip install 'hmmdyn[torch]'" in said
    assert not out.exists()


def test_the_command_line_explains_every_task_and_says_what_to_install(tmp_path):
    said = python(
        "import json\n"
        "from typer.testing import CliRunner\n"
        "from hmmdyn.cli.main import app\n"
        "from hmmdyn.tasks.catalogue import TASKS\n"
        "def run(*arguments):\n"
        "    result = CliRunner().invoke(app, ['reproduce', *arguments])\n"
        "    return [result.exit_code, result.output]\n"
        "print(json.dumps({name: [run(name, '--help'), run(name, '-o', sys.argv[1])]\n"
        "    for name in TASKS}))\n",
        str(tmp_path),
    )
    answers = json.loads(said)
    assert answers.keys() == TASKS.keys()
    for name, ((help_code, help_text), (code, message)) in answers.items():
        assert help_code == 0
        assert TASKS[name].summary.partition(":")[0] in help_text
        assert "--n-epochs" in help_text
        assert code == 1
        assert "Training needs PyTorch" in message
        assert "pip install 'hmmdyn[torch]'" in message
    assert not any(tmp_path.iterdir())
