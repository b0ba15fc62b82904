"""Networks whose names tell no role, measured by a user's file of rules."""

import json
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from hmmdyn import Options, read_runs
from hmmdyn.checkpoints.parameters import ParameterRules
from hmmdyn.cli.main import app
from hmmdyn.errors import TableError, UsageError
from hmmdyn.record.reader import read_recordings
from hmmdyn.record.recorder import MetricRecorder
from hmmdyn.sources import read_shard, scan_with_outcomes
from hmmdyn.tables.shards import merge_shards, write_shard

USUAL = {"mixer.fused": "attn.c_attn", "mixer.back": "attn.c_proj", "expand": "mlp.c_fc"}
RULES = r"""
heads = 2

[roles]
'mixer\.fused' = "qkv"
'back' = "o"
'expand' = "mlp in"

[split]
'mixer\.fused' = { axis = 0, parts = 3 }
"""


def tensors(seed, usual=False):
    """Weights of two blocks, under names that tell nothing, or by those of a usual library."""
    rng = np.random.default_rng(seed)
    shapes = {"mixer.fused": (12, 4), "mixer.back": (4, 4), "expand": (8, 4)}
    return {
        f"stack.{i}.{USUAL[name] if usual else name}.weight": rng.normal(size=shape)
        for i in range(2)
        for name, shape in shapes.items()
    }


def runs(folder, usual=False):
    for run in range(2):
        for step in (0, 10, 20):
            path = folder / f"seed{run}" / f"step_{step}.npz"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez(path, **tensors((run, step), usual))
    return folder


@pytest.fixture
def told(tmp_path):
    def write(text=RULES):
        (tmp_path / "roles.toml").write_text(text)
        return tmp_path / "roles.toml"

    return write


METRICS = {"metrics": ("paper", "attention"), "by": ("layer", "role")}


def test_what_a_file_tells_is_measured_as_what_names_tell(tmp_path, told):
    odd = read_runs(runs(tmp_path / "odd"), Options(roles=told(), **METRICS))
    usual = read_runs(
        runs(tmp_path / "usual", usual=True),
        Options(heads=2, split=(("c_attn", 0, 3),), **METRICS),
    )
    names = ["group", "path", "size", "mtime_ns"]
    assert odd.table.drop(columns=names).equals(usual.table.drop(columns=names))
    assert odd.table["attention_logit"].notna().all()
    assert odd.parts.drop(columns="group").equals(usual.parts.drop(columns="group"))
    roles = odd.parts.query("by == 'role' and metric == 'spectral_norm'")["part"]
    assert list(roles.unique()) == ["q", "k", "v", "o", "mlp in"]


def test_options_win_over_the_file(tmp_path, told):
    options = Options(roles=told(), heads=1, split=(("fused", 0, 2),), **METRICS)
    found = read_runs(runs(tmp_path / "odd"), options)
    assert "qkv" in set(found.parts["part"])  # two halves of it are no queries
    other = read_runs(tmp_path / "odd", Options(roles=told(), **METRICS))
    assert not np.allclose(found.table["attention_logit"], other.table["attention_logit"])


def test_a_changed_file_measures_anew(tmp_path, told):
    folder, cache, counts = runs(tmp_path / "odd"), tmp_path / "cache.parquet", []
    options = Options(roles=told(), metrics=("l2",), by=("role",))

    def measured():
        return read_runs(
            folder,
            options,
            cache=cache,
            progress=lambda stage, n, of: counts.append(n) if stage == "reused" else None,
        )

    measured()
    measured()
    told(RULES.replace('"mlp in"', '"state in"'))
    changed = measured()
    assert counts == [0, 6, 0]
    assert "state in" in set(changed.parts["part"])
    # A role of one's own stands in the block, before what gives the output.
    assert list(changed.parts["part"].unique())[-2:] == ["o", "state in"]


def test_rules_of_no_weight_are_named(tmp_path, told):
    rules = RULES + "'nowhere' = { axis = 0, parts = 2 }"
    rules = rules.replace("[roles]", "[roles]\n'absent' = 'q'\n'none' = 'k'")
    found = read_runs(runs(tmp_path / "odd"), Options(roles=told(rules), metrics=("l2",)))
    said = {n.subject: n.message for n in found.notices}
    assert said["rules of roles"] == ("2 expressions fit the name of no weight: 'absent', 'none'.")
    assert said["rules of splits"] == "1 expression fits the name of no weight: 'nowhere'."


def test_a_file_that_cannot_be_used_fails_before_anything_is_measured(tmp_path, told):
    with pytest.raises(UsageError, match=r"The file of roles .*roles.toml: .*line 2"):
        read_runs(runs(tmp_path / "odd"), Options(roles=told("\nx = =")))


def test_shards_by_other_rules_do_not_go_together(tmp_path, told):
    from hmmdyn.metrics.shard import Shard

    index = scan_with_outcomes(runs(tmp_path / "odd"))
    paths = []
    for number in (1, 2):
        options = Options(roles=told(RULES + "\n" * number), metrics=("l2",), by=("role",))
        paths.append(tmp_path / f"{number}.parquet")
        write_shard(read_shard(index, options, Shard(number, 2)), paths[-1])
    assert len(merge_shards(paths).trajectories.table) == 6
    options = replace(options, roles=told(RULES.replace('"o"', '"v"')))
    write_shard(read_shard(index, options, Shard(2, 2)), paths[-1])
    with pytest.raises(TableError, match="rules of weights"):
        merge_shards(paths)


def test_a_recording_keeps_the_rules(tmp_path):
    rules = ParameterRules(roles=((r"mixer\.fused", "qkv"),), heads=2)
    with MetricRecorder(tmp_path / "run", metrics=("attention",), rules=rules) as recorder:
        for step in range(3):
            recorder.record(tensors(step), step)
    assert read_recordings(tmp_path / "run").table["attention_logit"].notna().all()
    with MetricRecorder(tmp_path / "run", metrics=("attention",), rules=rules) as recorder:
        recorder.record(tensors(3), 3)
    assert len(read_recordings(tmp_path / "run").table) == 4


def test_the_audit_shows_roles(tmp_path, told):
    folder = str(runs(tmp_path / "odd"))
    out = CliRunner().invoke(app, ["scan", folder, "--audit", "--roles", str(told())]).stdout
    assert "What weights do" in out
    arguments = ["scan", folder, "--audit", "--json", "--roles", str(told())]
    document = json.loads(CliRunner().invoke(app, arguments).stdout)
    roles = {row["tensor"].split(".", 2)[2]: row["role"] for row in document["tensors"]}
    assert roles == {
        "mixer.fused.weight": "q, k, v",
        "mixer.back.weight": "o",
        "expand.weight": "mlp in",
    }
    result = CliRunner().invoke(app, ["scan", folder, "--roles", str(told())])
    assert result.exit_code == 2
    assert "--roles changes what weights count as" in " ".join(result.stderr.split())
