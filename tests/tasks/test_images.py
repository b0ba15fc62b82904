"""Images from disk: what is read, and how CIFAR-100's are shifted and mirrored."""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from hmmdyn.errors import MissingPackageError, UsageError
from hmmdyn.tasks import images
from hmmdyn.tasks.catalogue import TASKS, train
from hmmdyn.tasks.images import CifarRecipe, MnistRecipe, shifted_and_mirrored

torch = pytest.importorskip("torch")


def generators(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def ways_of(image):
    """(down, right, mirrored) -> the image so moved, by plain numpy; shape (channels, h, w)."""
    framed = np.pad(image, ((0, 0), (4, 4), (4, 4)), mode="reflect")
    height, width = image.shape[1:]
    moved = {
        (down, right): framed[:, down : down + height, right : right + width]
        for down in range(9)
        for right in range(9)
    }
    return {
        (*at, mirrored): crop[:, :, ::-1] if mirrored else crop
        for at, crop in moved.items()
        for mirrored in (False, True)
    }


def test_every_image_is_shifted_by_up_to_4_pixels_and_every_second_one_mirrored():
    batch = torch.rand(2, 100, 3, 10, 11, generator=generators(9)[0])
    moved = shifted_and_mirrored(batch, generators(0, 1))
    assert moved.shape == batch.shape
    met = []
    for before, after in zip(batch.flatten(0, 1), moved.flatten(0, 1), strict=True):
        ways = ways_of(before.numpy())
        (way,) = [way for way, image in ways.items() if np.array_equal(image, after.numpy())]
        met.append(way)
    down, right, mirrored = np.array(met).T
    for shift in (down, right):  # uniform over -4 ... 4
        assert set(shift) == set(range(9))
        assert abs(shift.mean() - 4) < 5 * np.sqrt(60 / 9 / 200)
    assert abs(mirrored.mean() - 0.5) < 5 * np.sqrt(0.25 / 200)
    assert met[:100] != met[100:]


def test_each_networks_images_are_moved_by_its_own_generator():
    batch = torch.rand(2, 10, 3, 6, 6, generator=generators(9)[0])
    together = shifted_and_mirrored(batch, generators(0, 1))
    for i in range(2):
        alone = shifted_and_mirrored(batch[i : i + 1], generators(i))
        assert torch.equal(alone[0], together[i])


def fake_torchvision(monkeypatch, data_set):
    package, datasets = ModuleType("torchvision"), ModuleType("torchvision.datasets")
    package.datasets = datasets
    datasets.MNIST = datasets.CIFAR100 = data_set
    monkeypatch.setitem(sys.modules, "torchvision", package)
    monkeypatch.setitem(sys.modules, "torchvision.datasets", datasets)


def on_disk(shape, asked):
    """A data set as torchvision gives it: bytes, and labels; 20 to train on, 10 to evaluate on."""

    def data_set(root, train):
        asked.append((root, train))
        rng = np.random.default_rng(train)
        n = 20 if train else 10
        labels = rng.integers(10, size=n).tolist()
        return SimpleNamespace(data=rng.integers(256, size=(n, *shape)), targets=labels)

    return data_set


def test_mnist_is_read_from_disk_and_trained(tmp_path, monkeypatch):
    asked = []
    fake_torchvision(monkeypatch, on_disk((28, 28), asked))
    recipe = MnistRecipe(root="here", width=4, n_epochs=2, batch_size=8, checkpoint_every=3)
    train_set, evaluation = TASKS["mnist"].data(recipe)
    assert asked == [("here", True), ("here", False)]
    assert train_set.inputs.shape == (20, 784)
    assert evaluation.inputs.shape == (10, 784)
    raw = on_disk((28, 28), [])("here", True)
    np.testing.assert_allclose(train_set.inputs, raw.data.reshape(20, 784) / 255, rtol=1e-6)
    assert train_set.targets.tolist() == raw.targets
    train("mnist", tmp_path, [0, 1], recipe=recipe, at_once=2)
    log = pd.read_csv(tmp_path / "seed1" / "metrics.csv")
    assert log["step"].tolist() == [0, 6]
    assert "root" not in (tmp_path / "recipe.json").read_text()  # it may move


def test_cifar100_is_standardised_by_colour(monkeypatch):
    asked = []
    fake_torchvision(monkeypatch, on_disk((32, 32, 3), asked))
    train_set, _ = TASKS["cifar100"].data(CifarRecipe())
    raw = on_disk((32, 32, 3), [])("data", True).data
    assert train_set.inputs.shape == (20, 3, 32, 32)
    mean, std = np.array([0.5071, 0.4867, 0.4408]), np.array([0.2675, 0.2565, 0.2761])
    for i, row, column in [(0, 0, 0), (7, 3, 30), (19, 31, 31)]:
        expected = (raw[i, row, column] / 255 - mean) / std
        found = train_set.inputs[i, :, row, column].numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_images_that_are_not_there_are_told_with_how_to_get_them(tmp_path, monkeypatch):
    def missing(root, train):
        raise RuntimeError("Dataset not found")

    fake_torchvision(monkeypatch, missing)
    recipe = MnistRecipe(root="nowhere")
    with pytest.raises(UsageError, match=r"MNIST is not in nowhere(.|\n)*download=True"):
        train("mnist", tmp_path / "out", [0], recipe=recipe)
    assert not any(tmp_path.iterdir())  # so that the folder can be used for something else


def test_without_torchvision_it_is_told_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(MissingPackageError, match="pip install torchvision"):
        images._on_disk("MNIST", "data")


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_the_resnet_takes_small_images_and_its_weights_from_the_generator(batch_norm, residual):
    pytest.importorskip("torchvision")
    recipe = CifarRecipe(batch_norm=batch_norm, residual=residual)
    state = torch.get_rng_state()
    first, again, other = (TASKS["cifar100"].network(recipe, *generators(s)) for s in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.conv1.weight, again.conv1.weight)
    assert not torch.equal(first.conv1.weight, other.conv1.weight)
    assert first(torch.rand(2, 3, 32, 32)).shape == (2, 100)
    names = [name for name, _ in first.named_parameters()]
    assert any("bn" in name for name in names) == batch_norm
    assert any("downsample" in name for name in names) == residual
