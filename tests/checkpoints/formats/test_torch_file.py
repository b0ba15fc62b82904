"""PyTorch files written by PyTorch, read bit for bit as PyTorch reads them."""

import argparse
import collections
import copyreg
import io
import json
import os
import pickle
import zipfile

import joblib
import numpy as np
import pytest
import sklearn.linear_model
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from hmmdyn.checkpoints.read import open_checkpoint
from hmmdyn.errors import CheckpointError
from hmmdyn.roles import is_outcome

torch = pytest.importorskip("torch")
nn = torch.nn

NARROW = {
    torch.float16,
    torch.bfloat16,
    *(getattr(torch, name) for name in dir(torch) if name.startswith("float8_")),
}
DTYPES = sorted(
    (torch.float32, torch.float64, torch.complex64, torch.complex128, torch.complex32, torch.bool,
     torch.uint8, torch.uint16, torch.uint32, torch.uint64, torch.int8, torch.int16, torch.int32,
     torch.int64, *NARROW),
    key=str,
)  # fmt: skip

both_formats = pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])


def save(saved, path, legacy=False):
    torch.save(saved, path, _use_new_zipfile_serialization=not legacy)
    return path


def as_numpy(tensor):
    tensor = tensor.detach().resolve_conj().resolve_neg()
    if tensor.dtype in NARROW:
        return tensor.float().numpy()
    if tensor.dtype == torch.complex32:
        return torch.view_as_complex(torch.view_as_real(tensor).float()).numpy()
    return tensor.numpy()


def bits(values, dtype):
    """The bits of numbers. What bits a NaN has once widened depends on the processor."""
    values = np.array(values, order="C")
    if dtype in NARROW - {torch.bfloat16} or dtype == torch.complex32:
        parts = values.view(np.float32) if values.ndim else values
        parts[np.isnan(parts)] = np.nan
    return values.tobytes()


def assert_same(checkpoint, expected):
    """Same names in the same order, same shapes and types, same bits."""
    assert list(checkpoint) == list(expected)
    for name, tensor in expected.items():
        values, wanted = checkpoint[name].read(), as_numpy(tensor)
        assert checkpoint[name].shape == values.shape == wanted.shape
        assert checkpoint[name].dtype == str(tensor.dtype).removeprefix("torch.")
        assert values.dtype == wanted.dtype
        assert bits(values, tensor.dtype) == bits(wanted, tensor.dtype)


def random_tensor(dtype, *shape):
    count = int(np.prod(shape)) * dtype.itemsize
    raw = bytearray(np.random.default_rng(0).bytes(count))
    if dtype == torch.bool:
        raw = bytearray(byte & 1 for byte in raw)
    return torch.frombuffer(raw, dtype=dtype).reshape(shape)


# --------------------------------------------------------------------------------------- numbers


@both_formats
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_type(tmp_path, dtype, legacy):
    saved = {"w": random_tensor(dtype, 13, 17), "turned": random_tensor(dtype, 5, 3).T}
    with open_checkpoint(save(saved, tmp_path / "a.pt", legacy)) as checkpoint:
        assert_same(checkpoint, saved)


@pytest.mark.parametrize("dtype", sorted(NARROW, key=str), ids=str)
def test_every_pattern_of_the_narrow_types(tmp_path, dtype):
    bits = np.arange(2 ** (8 * dtype.itemsize), dtype=f"u{dtype.itemsize}")
    saved = {"w": torch.from_numpy(bits).view(dtype)}
    with open_checkpoint(save(saved, tmp_path / "a.pt")) as checkpoint:
        values = checkpoint["w"].read()
    wanted = saved["w"].float().numpy()
    is_number = ~np.isnan(wanted)
    np.testing.assert_array_equal(
        values.view(np.uint32)[is_number], wanted.view(np.uint32)[is_number]
    )
    assert np.isnan(values[~is_number]).all()
    if dtype == torch.bfloat16:  # the upper half of a float32: NaNs keep their payload too
        np.testing.assert_array_equal(values.view(np.uint32), bits.astype(np.uint32) << 16)


def shapes():
    w = torch.arange(4 * 6 * 5, dtype=torch.float32).reshape(4, 6, 5)
    image = torch.randn(2, 3, 8, 8)
    return {
        "scalar": torch.tensor(2.5),
        "scalar_in_storage": w[1, 2, 3],
        "empty": torch.zeros(0, 3),
        "empty_in_storage": w[:, 2:2],
        "one": torch.ones(1, 1, 1),
        "slice": w[1:3],
        "column": w[:, 2],
        "every_other": w[::2, 1::3, ::4],
        "turned": w[0].T,
        "permuted": w.permute(2, 0, 1),
        "permuted_slice": w.permute(1, 2, 0)[2:5, ::2],
        "expanded": torch.ones(3, 1).expand(3, 7),
        "expanded_slice": w[:, :1, 1:3].expand(4, 6, 2),
        "expanded_scalar": torch.tensor(1.5).expand(2, 3, 4),
        "channels_last": image.contiguous(memory_format=torch.channels_last),
        "windows": w.reshape(-1).unfold(0, 7, 3),
        "overlapping": w.as_strided((2, 2, 2), (3, 3, 1)),
        "diagonal": torch.randn(9, 9).diagonal(),
        "wide": torch.randn(3, 100_000)[:, ::7],
        "tall": torch.randn(100_000, 5)[:, 3],
        "half": w.bfloat16().permute(2, 0, 1),
        "half_wide": torch.randn(3, 1_000_000).half()[:, 1::3],
    }


@both_formats
def test_every_way_to_lie_in_a_storage(tmp_path, legacy):
    saved = shapes()
    # The legacy format stores one type per storage only.
    with open_checkpoint(save(saved, tmp_path / "a.pt", legacy)) as checkpoint:
        assert_same(checkpoint, saved)
        assert_same(checkpoint, saved)  # reading again gives the same


def test_conjugate_and_negative_views(tmp_path):
    z = torch.randn(4, 3, dtype=torch.complex64)
    saved = {"conj": z.conj(), "neg": z.clone().conj().imag, "both": z.conj()[1:].T}
    assert saved["neg"].is_neg()
    with open_checkpoint(save(saved, tmp_path / "a.pt")) as checkpoint:
        assert_same(checkpoint, saved)


@both_formats
def test_tied_tensors_and_views_of_one_storage(tmp_path, legacy):
    w = torch.randn(6, 6)
    saved = {"head": w, "embed": w, "rows": w[:2], "turned": w.T, "copy": w.clone()}
    with open_checkpoint(save(saved, tmp_path / "a.pt", legacy)) as checkpoint:
        assert checkpoint.aliases == {"embed": "head"}
        for name in reversed(list(saved)):  # out of order, so that the checksum runs on alone
            np.testing.assert_array_equal(checkpoint[name].read(), saved[name].numpy())
        assert_same(checkpoint, saved)


def with_entries(path, change):
    """Write a zip file again, its entries changed by ``change(name, content) -> content``."""
    with zipfile.ZipFile(path) as old:
        contents = {entry: change(entry, old.read(entry)) for entry in old.namelist()}
    with zipfile.ZipFile(path, "w") as new:
        for entry, content in contents.items():
            new.writestr(entry, content)
    return path


def test_big_endian(tmp_path):
    # PyTorch swaps complex32 as one number, which is wrong, and does not swap uint16 to uint64.
    dtypes = [
        d for d in DTYPES if d not in (torch.complex32, torch.uint16, torch.uint32, torch.uint64)
    ]
    saved = {str(i): random_tensor(dtype, 4, 5) for i, dtype in enumerate(dtypes)}
    path = save(saved, tmp_path / "a.pt")
    units = {f"a/data/{i}": d.itemsize // (1 + d.is_complex) for i, d in enumerate(dtypes)}

    def swapped(name, content):
        if name in units:
            return np.frombuffer(content, f"u{units[name]}").byteswap().tobytes()
        return b"big" if name == "a/byteorder" else content

    with_entries(path, swapped)
    with open_checkpoint(path) as checkpoint:
        assert_same(checkpoint, saved)
        loaded = torch.load(path, weights_only=True)
        for name, tensor in saved.items():
            assert bytes(loaded[name].untyped_storage()) == bytes(tensor.untyped_storage())


def test_without_checksums(tmp_path):
    saved = {"w": torch.randn(5, 4)}
    torch.serialization.set_crc32_options(False)
    try:
        save(saved, tmp_path / "a.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    with open_checkpoint(tmp_path / "a.pt") as checkpoint:
        assert_same(checkpoint, saved)


def test_zip64_records_of_a_small_file(tmp_path):
    saved = {"w": torch.randn(5, 4)}
    path = save(saved, tmp_path / "a.pt")
    with zipfile.ZipFile(path) as old:
        contents = {entry: old.read(entry) for entry in old.namelist()}
    with zipfile.ZipFile(path, "w") as new:
        for name, content in contents.items():
            with new.open(name, "w", force_zip64=True) as entry:
                entry.write(content)
    with open_checkpoint(path) as checkpoint:
        assert_same(checkpoint, saved)


def test_a_zip_file_written_to_a_pipe(tmp_path):
    saved = {"w": torch.randn(5, 4)}

    class Pipe(io.BytesIO):
        def seekable(self):
            return False

    buffer = Pipe()
    path = save(saved, tmp_path / "a.pt")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(buffer, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    path.write_bytes(buffer.getvalue())
    with open_checkpoint(path) as checkpoint:
        assert_same(checkpoint, saved)


@pytest.mark.long
def test_zip64_beyond_4_gib(tmp_path):
    large = torch.zeros(2**32 + 100, dtype=torch.uint8)
    large[-3:] = torch.tensor([1, 2, 3])
    path = save({"large": large, "after": torch.arange(6.0)}, tmp_path / "a.pt")
    del large
    try:
        with open_checkpoint(path) as checkpoint:
            np.testing.assert_array_equal(checkpoint["after"].read(), np.arange(6.0))
            values = checkpoint["large"].read()
            assert values.shape == (2**32 + 100,)
            assert values[-4:].tolist() == [0, 1, 2, 3]
    finally:
        path.unlink()


# --------------------------------------------------------------------------------- what is saved


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(3, 4), nn.Linear(4, 4, bias=False)])
        self.norm = nn.BatchNorm1d(4)
        self.scale = nn.Parameter(torch.randn(4))
        self.mask = nn.Buffer(torch.ones(4))
        self.register_buffer("cache", torch.ones(9), persistent=False)
        self.tied = self.layers[1]
        self.note = torch.ones(2)  # neither parameter nor buffer
        self.missing = None
        self.register_parameter("none", None)

    def forward(self, x):
        return self.norm(self.layers[1](self.layers[0](x))) * self.scale


def trained():
    model = Net()
    optimizer = torch.optim.AdamW(model.parameters(), amsgrad=True)
    model(torch.randn(5, 3)).sum().backward()
    optimizer.step()
    return model, optimizer


@both_formats
def test_training_checkpoint(tmp_path, legacy):
    model, optimizer = trained()
    saved = {
        "epoch": 3,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 1).state_dict(),
        "rng": {"torch": torch.get_rng_state(), "numpy": np.random.RandomState(0).get_state()},
        "args": argparse.Namespace(lr=0.1, path=tmp_path, names={"a", "b"}),
        "val_loss": np.float64(0.25),
        "test_acc": np.float32(0.5),
        "train_loss": torch.tensor(0.75),
        "best_error": np.array(0.125),
        "history_loss": [0.5, 0.25],
    }
    with open_checkpoint(save(saved, tmp_path / "a.pt", legacy)) as checkpoint:
        assert_same(checkpoint, model.state_dict())
        assert checkpoint.scalars == {
            "val_loss": 0.25,
            "test_acc": 0.5,
            "train_loss": 0.75,
            "best_error": 0.125,
        }
        assert checkpoint.left_out == {
            "optimizer": "kept beside the model",
            "rng": "kept beside the model",
        }


def test_nested_optimizer_state_alone(tmp_path):
    _, optimizer = trained()
    state = optimizer.state_dict()
    expected = {
        f"state.{i}.{key}": value
        for i, entry in state["state"].items()
        for key, value in entry.items()
    }
    with open_checkpoint(save(state, tmp_path / "a.pt")) as checkpoint:
        assert_same(checkpoint, expected)


@both_formats
def test_a_whole_module(tmp_path, legacy):
    model, _ = trained()
    for saved in (model, {"model": model}, nn.DataParallel(model)):
        path = tmp_path / "a.pt"
        # The legacy format also stores the source text of every class.
        save(saved, path, legacy)
        with open_checkpoint(path) as checkpoint:
            assert_same(checkpoint, model.state_dict())


def test_a_module_whose_class_is_gone(tmp_path):
    class Gone(nn.Linear):
        pass

    Gone.__qualname__ = Gone.__name__ = "Gone"
    globals()["Gone"] = Gone
    model = Gone(3, 2)
    save(model, tmp_path / "a.pt")
    expected = model.state_dict()
    del globals()["Gone"]
    with pytest.raises(AttributeError):
        torch.load(tmp_path / "a.pt", weights_only=False)
    with open_checkpoint(tmp_path / "a.pt") as checkpoint:
        assert_same(checkpoint, expected)


def test_torchscript(tmp_path):
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Sequential(nn.Linear(4, 2).half()))
    with pytest.warns(DeprecationWarning, match="deprecated"):
        torch.jit.save(torch.jit.script(model), tmp_path / "a.pt")
    with open_checkpoint(tmp_path / "a.pt") as checkpoint:
        assert_same(checkpoint, model.state_dict())


class Subclass(torch.Tensor):
    pass


@both_formats
def test_parameters_buffers_and_tensors_with_attributes(tmp_path, legacy):
    tagged = nn.Parameter(torch.randn(3))
    tagged.tag = "decoder"
    noted = torch.randn(2, 2)
    noted.note = {"by": "hand"}
    saved = {
        "parameter": nn.Parameter(torch.randn(2, 3)),
        "frozen": nn.Parameter(torch.randn(2), requires_grad=False),
        "buffer": nn.Buffer(torch.randn(3)),
        "tagged": tagged,
        "noted": noted,
        "subclass": torch.randn(4).as_subclass(Subclass),
    }
    with open_checkpoint(save(saved, tmp_path / "a.pt", legacy)) as checkpoint:
        assert_same(checkpoint, saved)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_prefixes_of_compile_and_ddp(tmp_path):
    model = nn.Sequential(nn.Linear(3, 4))
    expected = model.state_dict()
    compiled = torch.compile(model).state_dict()
    assert all(name.startswith("_orig_mod.") for name in compiled)
    with open_checkpoint(save(compiled, tmp_path / "a.pt")) as checkpoint:
        assert_same(checkpoint, expected)
    ddp = {f"module.{name}": tensor for name, tensor in compiled.items()}
    with open_checkpoint(save({"state_dict": ddp}, tmp_path / "b.pt")) as checkpoint:
        assert_same(checkpoint, expected)


def test_lightning(tmp_path):
    model, optimizer = trained()
    saved = {
        "epoch": 1,
        "global_step": 40,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": {f"model.{name}": t for name, t in model.state_dict().items()},
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 2}}}},
        "callbacks": {
            "ModelCheckpoint{'monitor': 'val_loss'}": {"best_model_score": torch.tensor(0.5)}
        },
        "optimizer_states": [optimizer.state_dict()],
        "lr_schedulers": [],
        "hparams_name": "args",
        "hyper_parameters": argparse.Namespace(hidden=[4, 4], act=nn.functional.relu),
    }
    with open_checkpoint(save(saved, tmp_path / "a.ckpt")) as checkpoint:
        assert_same(checkpoint, saved["state_dict"])
        assert checkpoint.left_out == {"optimizer_states": "kept beside the model"}


def test_hugging_face_shards(tmp_path):
    model, _ = trained()
    parts = list(model.state_dict().items())
    shards = {
        "pytorch_model-00001-of-00002.bin": dict(parts[:3]),
        "pytorch_model-00002-of-00002.bin": dict(parts[3:]),
    }
    for name, tensors in shards.items():
        save(tensors, tmp_path / name)
    weight_map = {tensor: name for name, tensors in shards.items() for tensor in tensors}
    index = tmp_path / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    for path in (tmp_path, index):
        with open_checkpoint(path) as checkpoint:
            assert checkpoint.format == "pytorch (sharded)"
            assert_same(checkpoint, dict(parts))


def test_tensors_of_two_shards_are_not_tied(tmp_path):
    # Every shard numbers its storages from 0.
    weight_map = {}
    for i, name in enumerate("ab"):
        weight_map[name] = f"pytorch_model-0000{i + 1}-of-00002.bin"
        save({name: torch.full((2, 2), float(i))}, tmp_path / weight_map[name])
    index = tmp_path / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    with open_checkpoint(index) as checkpoint:
        assert checkpoint.aliases == {}


@pytest.mark.parametrize("saved", [{"w": np.ones(3)}, sklearn.linear_model.Ridge()], ids=type)
def test_pickles_of_joblib_and_scikit_learn_are_refused(tmp_path, saved):
    joblib.dump(saved, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="joblib or scikit-learn: fitted objects"):
        open_checkpoint(tmp_path / "a.pt")


class Bag(dict):
    pass


Point = collections.namedtuple("Point", "x y")


class Slotted:
    __slots__ = ("weight",)

    def __init__(self):
        self.weight = torch.ones(2, 2)


@pytest.mark.parametrize("protocol", range(2, 6))
def test_containers_of_every_kind_and_protocol(tmp_path, protocol):
    t = [torch.full((2,), float(i)) for i in range(12)]
    default = collections.defaultdict(list, a=t[1])
    bag = Bag(a=t[2])
    bag.extra = 3
    state = argparse.Namespace(inner=t[3], number=4)
    saved = {
        "ordered": collections.OrderedDict(a=t[0]),
        "default": default,
        "bag": bag,
        "object": state,
        "list": [t[4], None, (t[5], [t[6]])],
        "point": Point(t[7], t[8]),
        "slots": Slotted(),
        "array": np.arange(6, dtype=">f4").reshape(2, 3).T,
        "bytes": b"\xff\x00",
        "many": {(1, 2): 3, None: 4, 2.5: 5, frozenset({1}): 6, torch.float32: 7},
        7: t[9],
        "device": torch.device("cpu"),
        "big": 2**100,
        "complex": 1j,
    }
    torch.save(saved, tmp_path / "a.pt", pickle_protocol=protocol)
    expected = {
        "ordered.a": t[0],
        "default.a": t[1],
        "bag.a": t[2],
        "object.inner": t[3],
        "list.0": t[4],
        "list.2.0": t[5],
        "list.2.1.0": t[6],
        "point.0": t[7],
        "point.1": t[8],
        "slots.weight": torch.ones(2, 2),
        "array": torch.arange(6.0).reshape(2, 3).T,
        "7": t[9],
    }
    with open_checkpoint(tmp_path / "a.pt") as checkpoint:
        assert_same(checkpoint, expected)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("protocol", [2, 5])
@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<f2", "<i8", ">u2", "?", "<c16"])
def test_numpy_arrays(tmp_path, dtype, protocol, order):
    values = np.arange(12).reshape(3, 4).astype(dtype, order=order)
    saved = {
        "w": values,
        "empty": values[:0],
        "scalar": values[1, 2],
        "zero_d": values[1, 2:3][0:1].reshape(()),
    }
    torch.save(saved, tmp_path / "a.pt", pickle_protocol=protocol)
    with open_checkpoint(tmp_path / "a.pt") as checkpoint:
        for name in ("w", "empty", "zero_d"):
            read = checkpoint[name].read()
            assert read.dtype.isnative
            np.testing.assert_array_equal(read, saved[name])
            assert read.shape == saved[name].shape


def test_a_tensor_pickled_without_torch_save(tmp_path):
    # Storages are then files in the file, each in the legacy format.
    w = torch.randn(3, 4)
    saved = {"w": w, "turned": w.T, "half": torch.randn(5).half(), "p": nn.Parameter(torch.ones(2))}
    for protocol in (2, 4):
        with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
            archive.writestr("a/data.pkl", pickle.dumps(saved, protocol))
            archive.writestr("a/version", "3\n")
        with open_checkpoint(tmp_path / "a.pt") as checkpoint:
            assert_same(checkpoint, saved)


def test_entries_named_by_a_number_and_by_the_same_text(tmp_path):
    saved = {"1": torch.ones(2), 1: torch.zeros(2)}
    with open_checkpoint(save(saved, tmp_path / "a.pt")) as checkpoint:
        assert_same(checkpoint, {"1": saved["1"], "1 (int)": saved[1]})


def test_an_ordered_dictionary_of_python_2(tmp_path):
    class Old:
        def __reduce__(self):
            return collections.OrderedDict, ([["a", torch.ones(2)], ["b", torch.zeros(3)]],)

    with open_checkpoint(save({"x": Old()}, tmp_path / "a.pt", legacy=True)) as checkpoint:
        assert_same(checkpoint, {"x.a": torch.ones(2), "x.b": torch.zeros(3)})


def test_an_object_that_contains_itself(tmp_path):
    saved = {"w": torch.ones(2)}
    saved["again"] = {"inner": saved, "v": torch.zeros(1)}
    with open_checkpoint(save(saved, tmp_path / "a.pt")) as checkpoint:
        assert list(checkpoint) == ["w", "again.v"]


def test_what_is_no_plain_block_of_numbers_is_left_out_by_name(tmp_path):
    with pytest.warns(UserWarning, match="deprecated"):
        quantised = torch.quantize_per_tensor(torch.ones(2, 2), 0.1, 0, torch.qint8)
    saved = {
        "w": torch.ones(2, 2),
        "quantised": quantised,
        "sparse": torch.eye(3).to_sparse(),
        "csr": csr(),
        "meta": torch.ones(2, 2, device="meta"),
        "nested": nn.Parameter(torch.eye(2).to_sparse()),
    }
    with open_checkpoint(save(saved, tmp_path / "a.pt")) as checkpoint:
        assert_same(checkpoint, {"w": saved["w"]})
        assert checkpoint.left_out == {
            "quantised": "a quantised tensor",
            "sparse": "a sparse tensor",
            "csr": "a sparse tensor",
            "meta": "a tensor without numbers (on device meta)",
            "nested": "a sparse tensor",
        }


def csr():
    with pytest.warns(UserWarning, match="beta state"):
        return torch.eye(3).to_sparse_csr()


def test_modules_and_calls_are_never_imported_or_made(tmp_path):
    class Payload:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    class Unknown:
        def __reduce__(self):
            return copyreg._reconstructor, (Net, object, None), {"weight": torch.ones(2)}

    saved = {"w": torch.ones(2), "payload": Payload(), "unknown": Unknown()}
    with open_checkpoint(save(saved, tmp_path / "a.pt")) as checkpoint:
        assert list(checkpoint) == ["w", "unknown.weight"]
    assert not (tmp_path / "ran").exists()


def test_reading_after_closing(tmp_path):
    with open_checkpoint(save({"w": torch.ones(3)}, tmp_path / "a.pt")) as checkpoint:
        pass
    with pytest.raises(CheckpointError, match=r"a\.pt: it is closed"):
        checkpoint["w"].read()


# ------------------------------------------------------------------------------------ a property

keys = st.text(st.characters(codec="utf-8", exclude_characters="."), min_size=1, max_size=6)
dtypes = st.sampled_from([d for d in DTYPES if d not in (torch.complex32,)])


@st.composite
def tensors(draw):
    shape = draw(st.lists(st.integers(0, 4), max_size=4))
    tensor = random_tensor(draw(dtypes), *shape) if all(shape) else torch.zeros(shape)
    tensor = tensor.permute(draw(st.permutations(range(tensor.ndim))))
    for axis in range(tensor.ndim):
        step = draw(st.integers(1, 3))
        index = [slice(None)] * tensor.ndim
        index[axis] = slice(draw(st.integers(0, 2)), None, step)
        tensor = tensor[tuple(index)]
    if draw(st.booleans()):
        tensor = tensor.expand(draw(st.integers(1, 3)), *tensor.shape)
    return nn.Parameter(tensor, requires_grad=False) if draw(st.booleans()) else tensor


trees = st.dictionaries(
    keys,
    st.recursive(
        tensors() | st.none() | st.integers() | st.text(max_size=3),
        lambda inner: st.dictionaries(keys, inner, max_size=4) | st.lists(inner, max_size=3),
        max_leaves=8,
    ),
    max_size=5,
)


def named_tensors(tree, path=()):
    if isinstance(tree, torch.Tensor):
        yield ".".join(path), tree
    elif isinstance(tree, dict):
        for key, inner in tree.items():
            yield from named_tensors(inner, (*path, key))
    elif isinstance(tree, list):
        for i, inner in enumerate(tree):
            yield from named_tensors(inner, (*path, str(i)))


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(tree=trees, legacy=st.booleans())
def test_random_nested_dictionaries(tmp_path, tree, legacy):
    # A constant outermost key keeps the names from meaning a container or a wrapper.
    saved = {"x": {f"k{key}": value for key, value in tree.items()}}
    expected = dict(named_tensors(saved))
    # A single number called "F1" or "acc" is an outcome, and no weight.
    assume(not any(tensor.ndim == 0 and is_outcome(name) for name, tensor in expected.items()))
    save(saved, tmp_path / "a.pt", legacy)
    if not expected:
        with pytest.raises(CheckpointError, match="holds no tensors"):
            open_checkpoint(tmp_path / "a.pt")
        return
    with open_checkpoint(tmp_path / "a.pt") as checkpoint:
        assert_same(checkpoint, expected)


def test_a_single_number_called_as_an_outcome_is_no_weight(tmp_path):
    weight = torch.ones(2, 3)
    save({"x": {"kF1": torch.tensor(0.5), "k": weight}}, tmp_path / "a.pt", False)
    with open_checkpoint(tmp_path / "a.pt") as checkpoint:
        assert_same(checkpoint, {"x.k": weight})
        assert checkpoint.scalars == {"x.kF1": 0.5}
