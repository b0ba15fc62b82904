"""Files whose names do not tell their format are told by what is in them."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest
from safetensors.numpy import save, save_file

from hmmdyn.checkpoints.find.discover import discover
from hmmdyn.checkpoints.read import open_checkpoint
from hmmdyn.errors import NoCheckpointsError

WEIGHTS = {"fc.weight": np.arange(6, dtype=np.float32).reshape(2, 3)}


@pytest.mark.parametrize(
    "name",
    ["step_100.th", "step_100", "step_100.weights", "step_100.params",
     "100.th", "100", "step_100.pkl", "epoch1-step100.dat"],
)  # fmt: skip
def test_any_suffix_or_none(tmp_path, name):
    (tmp_path / "seed0").mkdir()
    (tmp_path / "seed0" / name).write_bytes(save(WEIGHTS))
    (file,) = discover(tmp_path).checkpoints
    assert (file.run, file.step, file.format) == ("seed0", 100, "safetensors")
    with open_checkpoint(file.path) as checkpoint:
        np.testing.assert_array_equal(checkpoint["fc.weight"].read(), WEIGHTS["fc.weight"])


def test_pytorch_under_another_name(tmp_path):
    torch = pytest.importorskip("torch")
    for step in (1, 2):
        tensors = {"fc.weight": torch.ones(2, 3)}
        torch.save(tensors, tmp_path / f"step_{step}.th")
        torch.save(tensors, tmp_path / f"step_{step + 2}.pkl")
    assert [(f.step, f.format) for f in discover(tmp_path).checkpoints] == [
        (step, "pytorch") for step in (1, 2, 3, 4)
    ]


def test_what_is_no_checkpoint_is_none_under_any_name(tmp_path):
    (tmp_path / "step_1.safetensors").write_bytes(save(WEIGHTS))
    (tmp_path / "step_2.dat").write_bytes(b"nothing of the kind" * 100)
    (tmp_path / "step_3").write_bytes(b"")
    (tmp_path / "notes").write_text("loss went down")
    # Arrays that no name makes a checkpoint of.
    np.save(tmp_path / "inputs", np.ones(3))
    (tmp_path / "inputs.npy").rename(tmp_path / "inputs.data")
    (tmp_path / "optimizer_1.th").write_bytes(save(WEIGHTS))
    assert [file.step for file in discover(tmp_path).checkpoints] == [1]


def stable_baselines3(policy: bytes, *, deflate: bool = False) -> bytes:
    """A model as Stable-Baselines3 saves it."""
    data = io.BytesIO()
    method = zipfile.ZIP_DEFLATED if deflate else zipfile.ZIP_STORED
    with zipfile.ZipFile(data, "w", method) as archive:
        archive.writestr("data", "{}")
        archive.writestr("policy.pth", policy)
        archive.writestr("policy.optimizer.pth", policy)
        archive.writestr("pytorch_variables.pth", policy)
        archive.writestr("_stable_baselines3_version", "2.3.2")
    return data.getvalue()


@pytest.mark.parametrize("deflate", [False, True])
def test_models_of_stable_baselines3(tmp_path, deflate):
    torch = pytest.importorskip("torch")
    policy = io.BytesIO()
    weight = torch.arange(6.0).reshape(2, 3)
    torch.save({"q_net.0.weight": weight, "q_net_target.0.weight": weight.clone()}, policy)
    for seed in (1, 2):
        folder = tmp_path / "logs" / "dqn" / f"CartPole-v1_{seed}"
        folder.mkdir(parents=True)
        for step in (1000, 2000):
            model = stable_baselines3(policy.getvalue(), deflate=deflate)
            (folder / f"rl_model_{step}_steps.zip").write_bytes(model)
        np.savez(folder / "evaluations.npz", timesteps=[1000], results=[[1.0]])
        (folder / "best_model.zip").write_bytes(model)
        (folder / "rl_model_vecnormalize_1000_steps.pkl").write_bytes(b"\x80\x04K\x01.")
    index = discover(tmp_path)
    assert [(f.run, f.seed, f.step) for f in index.checkpoints] == [
        (f"CartPole-v1_{seed}", seed, step) for seed in (1, 2) for step in (1000, 2000)
    ]
    with open_checkpoint(index.checkpoints[0].path) as checkpoint:
        assert checkpoint.format == "stable-baselines3"
        assert set(checkpoint) == {"q_net.0.weight", "q_net_target.0.weight"}
        np.testing.assert_array_equal(checkpoint["q_net.0.weight"].read(), weight.numpy())
        assert checkpoint.left_out == {
            "policy.optimizer.pth": "optimizer state",
            "pytorch_variables.pth": "kept beside the model",
        }


def test_a_zip_file_of_something_else_is_told(tmp_path):
    with zipfile.ZipFile(tmp_path / "code_step_1.zip", "w") as archive:
        archive.writestr("train.py", "pass")
    with pytest.raises(NoCheckpointsError, match=r"a zip archive without a model"):
        discover(tmp_path)
    save_file(WEIGHTS, tmp_path / "step_1.safetensors")
    assert "code_step_1.zip" in str(discover(tmp_path).notices)
