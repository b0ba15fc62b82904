"""Metrics of layers and roles: those of the weights of that part alone."""

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from hmmdyn import Options, read_runs
from hmmdyn.checkpoints.find.discover import discover
from hmmdyn.checkpoints.parameters import DEFAULT_RULES, ParameterRules
from hmmdyn.cli.main import app
from hmmdyn.errors import TableError, UsageError
from hmmdyn.metrics.extract import extract
from hmmdyn.metrics.measure import measure
from hmmdyn.metrics.tally import Part
from hmmdyn.results.parts import PARTS
from hmmdyn.tables.metric_table import parts_beside, read_table
from tests.make_runs import write_runs

SHAPES = {
    "h.0.attn.c_attn.weight": (8, 24),
    "h.0.attn.c_proj.weight": (8, 8),
    "h.0.mlp.c_fc.weight": (8, 32),
    "h.0.mlp.c_fc.bias": (32,),
    "h.1.attn.c_attn.weight": (8, 24),
    "h.1.attn.c_proj.weight": (8, 8),
    "h.1.mlp.c_fc.weight": (8, 32),
}
STEPS = range(0, 50, 10)


def tensors(seed):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}


def saved(path, made):
    np.savez(path, **made)
    return path


def test_a_part_is_measured_as_if_it_were_the_network(tmp_path):
    now, before = tensors(0), tensors(1)
    references = {kind: saved(tmp_path / f"{kind}.npz", before) for kind in ("initial", "previous")}
    found = measure(
        saved(tmp_path / "a.npz", now),
        ["paper", "movement", "shape"],
        DEFAULT_RULES,
        references=references,
        by=("layer", "role"),
    )
    parts = {Part("layer", f"h.{i}"): f"h.{i}" for i in (0, 1)}
    parts |= {
        Part("role", "qkv"): "c_attn",
        Part("role", "o"): "c_proj",
        Part("role", "mlp in"): "c_fc",
    }
    assert set(found.parts) == set(parts)
    for part, word in parts.items():
        alone = {name: values for name, values in now.items() if word in name}
        then = {name: before[name] for name in alone}
        others = {kind: saved(tmp_path / f"{kind}.npz", then) for kind in references}
        expected = measure(
            saved(tmp_path / "b.npz", alone),
            ["paper", "movement", "shape"],
            DEFAULT_RULES,
            references=others,
        )
        assert found.parts[part] == pytest.approx(
            {name: expected.metrics[name] for name in found.parts[part]}, rel=1e-12, nan_ok=True
        )
        assert {"l2", "var_w", "distance_l2", "kurtosis_w"} <= set(found.parts[part])


def test_a_fused_weight_that_is_split_has_three_roles(tmp_path):
    path = saved(tmp_path / "a.npz", tensors(0))
    rules = ParameterRules(split=(("c_attn", 1, 3),))
    found = measure(path, ["spectral_norm"], rules, by=["role"]).parts
    for i, role in enumerate("qkv"):
        expected = np.mean(
            [
                np.linalg.norm(np.split(tensors(0)[f"h.{layer}.attn.c_attn.weight"], 3, 1)[i], 2)
                for layer in (0, 1)
            ]
        )
        assert found[Part("role", role)]["spectral_norm"] == pytest.approx(expected)


def test_a_long_table_of_all_checkpoints_is_kept_and_found_again(tmp_path):
    index = discover(write_runs(tmp_path / "runs", n_runs=2, steps=STEPS))
    cache = tmp_path / "cache.parquet"
    assert extract(index, metrics=["l2"], cache=cache).parts.empty
    found = extract(index, metrics=["l2"], by=["layer"], cache=cache, n_jobs=2)
    assert found.n_computed == 10
    PARTS.check(found.parts)
    assert len(found.parts) == 10 * 2
    # The network's is the mean over matrices, and each layer has one.
    mean = found.parts.groupby(["group", "run", "step"])["value"].mean()
    np.testing.assert_allclose(mean, found.table["l2"])
    again = extract(index, metrics=["l2"], by=["layer"], cache=cache)
    assert again.n_computed == 0
    pd.testing.assert_frame_equal(again.parts, found.parts, check_exact=True)
    more = extract(index, metrics=["l1", "l2"], by=["layer"], cache=cache)
    assert set(more.parts["metric"]) == {"l1", "l2"}


def test_parts_lie_beside_the_metric_table(tmp_path):
    root = write_runs(tmp_path / "runs", n_runs=2, steps=STEPS)
    table = tmp_path / "metrics.parquet"
    words = ["extract", str(root), "-o", str(table), "--metrics", "paper,movement", "--by", "layer"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    found = read_table(table)
    assert {"l2", "path_length"} <= set(found.metrics)
    assert set(found.parts["part"]) == {"layers.0", "layers.1"}
    left = found.without_runs(["seed0"])
    assert set(left.parts["run"]) == {"seed1"}
    direct = read_runs(root, Options(metrics=("paper", "movement"), by=("layer",)))
    pd.testing.assert_frame_equal(direct.parts, found.parts, check_dtype=False)
    parts_beside(table).write_bytes(b"nonsense")
    with pytest.raises(TableError, match=r"metrics-parts\.parquet"):
        read_table(table)
    assert CliRunner().invoke(app, words[:-2]).exit_code == 0
    assert not parts_beside(table).exists()


def test_what_is_no_part_is_refused():
    with pytest.raises(UsageError, match="'by' must be one of"):
        Options(by=("head",))
