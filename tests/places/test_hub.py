"""Runs that are revisions of a hub's repositories, through the hub's own client."""

import shutil

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

from hmmdyn import Options, open_checkpoint, read_runs, scan
from hmmdyn.checkpoints.audit import audit
from hmmdyn.errors import CheckpointError, NoCheckpointsError
from tests.make_runs import weights

pytest.importorskip("aiohttp", reason="the extra 'remote' is not installed")
pytest.importorskip("huggingface_hub", reason="the extra 'remote' is not installed")

from .hub import hub_of
from .web import Answer, web_server

STEPS = (0, 1000, 2000, 3000)
LAYOUT = "hf://lab/tiny-seed{seed}@step{step}"


@pytest.fixture
def repositories(tmp_path):
    """Two seeds, a revision per step, and what else lies in such places."""
    root = tmp_path / "hub"
    for seed in (1, 2):
        for step in STEPS:
            folder = root / f"lab/tiny-seed{seed}/step{step}"
            folder.mkdir(parents=True)
            save_file(weights(seed, step // 20, (200, 300)), folder / "model.safetensors")
            np.savez(folder / "pytorch_model.npz", **weights(seed, step // 20))
            (folder / "config.json").write_text("{}")
            (folder / "README.md").write_text("A model.")
        shutil.copytree(folder, folder.parent / "main")
    shutil.copytree(root / "lab/tiny-seed1", root / "lab/tiny-large-seed1")
    shutil.copytree(root / "lab/tiny-seed1", root / "lab/other-seed1")
    return root


@pytest.fixture
def hub(repositories, monkeypatch):
    with web_server(repositories, hub_of(repositories)) as web:
        monkeypatch.setenv("HF_ENDPOINT", web.url)
        monkeypatch.setenv("HF_TOKEN", "hf_secret0815")
        yield web


def test_revisions_are_the_checkpoints_of_runs(hub):
    index = scan(LAYOUT)
    found = [(f.group, f.run, f.seed, f.step) for f in index.checkpoints]
    assert found == [("lab", f"seed{s}", s, step) for s in (1, 2) for step in STEPS]
    assert str(index.checkpoints[0].path) == "hf://lab/tiny-seed1@step0/model.safetensors"
    assert {f.format for f in index.checkpoints} == {"safetensors"}
    assert not any("/resolve/" in one.path for one in hub.asked)


def test_groups_are_told_by_the_layout(hub):
    index = scan("hf://lab/{group}-seed{seed}@step{step}")
    assert {f.group for f in index.checkpoints} == {"tiny", "tiny-large", "other"}


def test_one_revision_is_a_folder(hub, repositories):
    with open_checkpoint("hf://lab/tiny-seed2@step2000/model.safetensors") as checkpoint:
        found = {name: tensor.read() for name, tensor in checkpoint.items()}
    for name, values in weights(2, 100, (200, 300)).items():
        np.testing.assert_array_equal(found[name], values)
    with pytest.raises(CheckpointError, match="it is not there"):
        open_checkpoint("hf://lab/tiny-seed2@step2000/none.safetensors")


def test_the_table_is_measured_by_ranges_and_kept(hub, repositories, tmp_path, new_workers):
    cache, told = tmp_path / "cache.parquet", []
    found = read_runs(LAYOUT, cache=cache, jobs=2)
    size = sum(f.stat().st_size for f in repositories.glob("lab/tiny-seed?/step*/*.safetensors"))
    assert size <= hub.weights_moved() <= 1.1 * size
    anonymous = [
        one.path
        for one in hub.asked
        if "/lab/" in one.path and "hf_secret0815" not in str(one.headers)
    ]
    assert not anonymous
    hub.asked.clear()
    again = read_runs(LAYOUT, cache=cache, progress=lambda *all: told.append(all))
    assert ("reused", 8, 8) in told
    assert hub.weights_moved() == 0
    pd.testing.assert_frame_equal(again.table, found.table)
    runs = repositories.parent / "runs"
    for seed in (1, 2):
        for step in STEPS:
            (runs / f"seed{seed}").mkdir(parents=True, exist_ok=True)
            shutil.copy(
                repositories / f"lab/tiny-seed{seed}/step{step}/model.safetensors",
                runs / f"seed{seed}/step{step}.safetensors",
            )
    here = read_runs(runs).table
    pd.testing.assert_frame_equal(here[list(found.metrics)], found.table[list(found.metrics)])


def test_copies_are_found_by_the_hubs_hashes_before_a_byte_is_read(hub, repositories, large):
    first, second = (repositories / f"lab/tiny-seed{s}" for s in (1, 2))
    for step in (2000, 3000):
        shutil.copy(first / f"step{step}/model.safetensors", second / f"step{step}/")
    inner = hub.trouble
    hub.trouble = lambda asked: Answer(status=403) if "/resolve/" in asked.path else inner(asked)
    found = audit(scan(LAYOUT)).findings
    (copy,) = found[found["kind"] == "copy"].itertuples()
    assert copy.runs == ("seed1", "seed2")
    assert copy.steps == (2000, 3000)
    assert hub.weights_moved() == 0
    hub.trouble = inner
    told = audit(scan(LAYOUT))
    found = told.findings
    assert len(found[found["kind"] == "copy"]) == 1
    assert not (found["kind"] == "unreadable").any()
    assert [n.subject for n in told.notices if n.kind == "limit"] == ["weights that never change"]
    assert sum(file.stat().st_size for file in repositories.glob(large)) > 8_000_000
    assert hub.weights_moved() < 900_000  # headers, and a small tensor of each
    opened = {one.path for one in hub.asked if "/resolve/" in one.path}
    assert len(opened) == 6  # of eight: one for its copies


@pytest.fixture
def large(repositories):
    """Two seeds whose checkpoints are a megabyte each."""
    for seed in (1, 2):
        for step in STEPS:
            file = repositories / f"lab/tiny-seed{seed}/step{step}/model.safetensors"
            save_file(weights(seed, step // 20, (500, 600)), file)
    return "lab/tiny-seed?/step*/model.safetensors"


def test_what_is_not_there_is_said(hub, at_once):
    with pytest.raises(NoCheckpointsError):
        read_runs("hf://lab/none-seed{seed}@step{step}")
    with pytest.raises(NoCheckpointsError, match="it is an owner of repositories"):
        read_runs("hf://lab")


def test_a_token_that_expired_is_said_without_it(hub, at_once):
    inner = hub.trouble
    hub.trouble = lambda asked: Answer(status=401) if "/resolve/" in asked.path else inner(asked)
    with pytest.raises(CheckpointError, match=r"access was refused \(401 Unauthorized\)") as caught:
        read_runs(LAYOUT, Options(skip_bad=True))
    assert "secret0815" not in str(caught.value)
