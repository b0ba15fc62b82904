"""Folders written by torch.distributed.checkpoint, alone and by two processes."""

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

from hmmdyn.checkpoints.read import open_checkpoint
from hmmdyn.errors import CheckpointError
from tests.checkpoints.hostile import forge
from tests.checkpoints.reading import read_everything

torch = pytest.importorskip("torch")
dcp = pytest.importorskip("torch.distributed.checkpoint")

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")


def model():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Linear(6, 5), torch.nn.BatchNorm1d(5), torch.nn.Linear(5, 4)
    )


@pytest.fixture
def folder(tmp_path):
    net = model()
    optimizer = torch.optim.AdamW(net.parameters())
    net(torch.randn(3, 6)).sum().backward()
    optimizer.step()
    saved = {
        "model": {**net.state_dict(), "half": torch.arange(6.0).bfloat16().reshape(2, 3)},
        "optimizer": optimizer.state_dict(),
        "val_loss": 0.25,
        "train_acc": torch.tensor(0.5),
        "step": 7,
    }
    dcp.save(saved, checkpoint_id=tmp_path / "step-7", no_dist=True)
    return tmp_path / "step-7", saved


def test_one_process(folder):
    path, saved = folder
    with open_checkpoint(path) as checkpoint:
        assert checkpoint.format == "pytorch (distributed)"
        assert set(checkpoint) == set(saved["model"])
        for name, tensor in saved["model"].items():
            values = checkpoint[name].read()
            wanted = tensor.float().numpy() if name == "half" else tensor.numpy()
            assert checkpoint[name].dtype == str(tensor.dtype).removeprefix("torch.")
            assert values.dtype == wanted.dtype
            assert values.shape == wanted.shape
            assert values.tobytes() == wanted.tobytes()
        assert checkpoint.scalars == {"val_loss": 0.25, "train_acc": 0.5}
        assert checkpoint.left_out == {"optimizer": "kept beside the model"}


TWO_RANKS = """
import os, sys, torch, torch.distributed as dist, torch.distributed.checkpoint as dcp
from torch.distributed.tensor import Replicate, Shard, distribute_tensor, init_device_mesh
rank, folder = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
mesh = init_device_mesh("cpu", (2,))
full = {
    "rows": torch.arange(35.0).reshape(7, 5),
    "columns": torch.arange(24.0).reshape(4, 6).half(),
    "one": torch.arange(3.0)[:1],
    "copied": torch.arange(9, dtype=torch.int64).reshape(3, 3),
}
places = {"rows": Shard(0), "columns": Shard(1), "one": Shard(0), "copied": Replicate()}
shards = {name: distribute_tensor(t, mesh, [places[name]]) for name, t in full.items()}
dcp.save({"model": shards, "plain": torch.ones(2) * rank}, checkpoint_id=f"{folder}/step-1")
if rank == 0:
    torch.save(full, f"{folder}/full.pt")
# All files are written. PyTorch's threads may abort the process while they are taken down
# ("terminate called without an active exception", seen once on a busy machine): leave without.
os._exit(0)
"""


def test_two_processes(tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", TWO_RANKS, str(rank), str(tmp_path)],
            env=environment, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    errors = [process.communicate(timeout=100)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    assert len(list((tmp_path / "step-1").glob("*.distcp"))) == 2
    full = torch.load(tmp_path / "full.pt", weights_only=True)
    with open_checkpoint(tmp_path / "step-1") as checkpoint:
        assert set(checkpoint) == set(full)
        for name, tensor in full.items():
            values = checkpoint[name].read()
            assert checkpoint[name].dtype == str(tensor.dtype).removeprefix("torch.")
            np.testing.assert_array_equal(values, tensor.numpy())


def refusal(path):
    with pytest.raises(CheckpointError) as caught:
        read_everything(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_a_missing_or_damaged_file(folder):
    path, _ = folder
    (file,) = path.glob("*.distcp")
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    assert "truncated" in refusal(path)
    at = content.index(torch.arange(6.0).bfloat16().view(torch.uint8).numpy().tobytes())
    file.write_bytes(content[:at] + b"\1" + content[at + 1 :])
    assert "checksum" in refusal(path)
    file.unlink()
    assert f"its file {file.name} is missing" in refusal(path)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ((b"__0_0.distcp", b"../x0.distcp"), "must lie in the same folder"),
        ((b"__0_0.distcp", b"__0_1.distcp"), "is missing"),
        ((b"TensorStorageMetadata", b"BytesStorageMetadata!"), "names no tensors"),
        ((b"state_dict_metadata", b"state_dict_metadatA"), "not one that"),
        ((b"relative_path", b"relative_patH"), "says wrongly"),
        ((b"sizes", b"sizeS"), "is missing"),
    ],
)
def test_metadata_that_lies(folder, change, reason):
    path, _ = folder
    metadata = path / ".metadata"
    content = metadata.read_bytes()
    assert change[0] in content
    metadata.write_bytes(content.replace(*change))
    assert reason in refusal(path)


@pytest.mark.parametrize(
    ("chunks", "reason"),
    [
        ([((0,), (4,))], "some are missing"),
        ([((0,), (8,)), ((4,), (4,))], "some are missing"),
        ([((0,), (1 << 40,))], "claims more than the 100 bytes"),
        ([((0,), (4,)), ((2,), (4,))], "overlap"),
        ([((2,), (8,))], "beyond"),
        ([((-1,), (8,))], "beyond"),
        ([((0, 0), (4, 2))], "beyond"),
    ],
)
def test_chunks_that_do_not_make_up_their_tensor(folder, chunks, reason):
    from torch.distributed.checkpoint import metadata as m
    from torch.distributed.checkpoint.filesystem import _StorageInfo

    path, _ = folder
    (file,) = path.glob("*.distcp")
    described = m.TensorStorageMetadata(
        m.TensorProperties(torch.float32),
        torch.Size((8,)),
        [m.ChunkStorageMetadata(torch.Size(start), torch.Size(size)) for start, size in chunks],
    )
    kept = {m.MetadataIndex("w", start): _StorageInfo(file.name, 0, 100) for start, _ in chunks}
    (path / ".metadata").write_bytes(pickle.dumps(m.Metadata({"w": described}, None, kept)))
    assert reason in refusal(path)


def test_code_in_the_metadata_does_not_run(folder):
    path, _ = folder
    body = forge.call("os.mkdir", forge.text(str(path / "ran")))
    (path / ".metadata").write_bytes(forge.pickled(body))
    assert "not one that" in refusal(path)
    assert not (path / "ran").exists()
