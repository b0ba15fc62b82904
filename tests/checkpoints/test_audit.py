"""Runs made up to be wrong in one way each, and right in every other."""

import json
import os
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

from hmmdyn.checkpoints import audit as audit_module
from hmmdyn.checkpoints.audit import audit
from hmmdyn.checkpoints.find.discover import discover
from hmmdyn.checkpoints.parameters import ParameterRules
from hmmdyn.cli.main import app
from hmmdyn.errors import UsageError
from tests.make_runs import weights, write_runs

STEPS = range(0, 60, 10)


@pytest.fixture
def root(tmp_path):
    return written_in_order(write_runs(tmp_path / "mnist", steps=STEPS, outcomes=False))


def written_in_order(root):
    """Set modification times as training does: later steps later."""
    for file in root.rglob("*.*"):
        step = int(file.stem.removeprefix("step_").removeprefix("epoch_"))
        os.utime(file, ns=(10**18, 10**18 + step))
    return root


def path(root, seed, step):
    return root / f"seed{seed}" / f"step_{step}.safetensors"


def change(file, change_tensors):
    """Rewrite a checkpoint with other tensors, at the same modification time."""
    time = file.stat().st_mtime_ns
    tensors = load_file(file)
    change_tensors(tensors)
    save_file(tensors, file)
    os.utime(file, ns=(time, time))


def findings(root, **options):
    frame = audit(discover(root), **options).findings
    assert list(frame.columns) == ["kind", "group", "runs", "steps", "message"]
    return list(frame.itertuples(index=False))


def only(root, kind, group="mnist"):
    """The one finding there is, which must be of this kind."""
    (finding,) = findings(root)
    assert (finding.kind, finding.group) == (kind, group)
    return finding


def test_good_runs(root):
    assert findings(root) == []
    assert audit(discover(root)).notices == ()


# --------------------------------------------------------------------------------------- copies


def test_a_step_that_is_a_copy_of_another(root):
    shutil.copy2(path(root, 1, 20), path(root, 1, 30))
    finding = only(root, "copy")
    assert (finding.runs, finding.steps) == (("seed1",), (20, 30))
    assert "different steps (20 = 30)" in finding.message


def test_two_seeds_with_the_same_weights(root):
    for step in (30, 40, 50):
        shutil.copy2(path(root, 0, step), path(root, 2, step))
    finding = only(root, "copy")
    assert (finding.runs, finding.steps) == (("seed0", "seed2"), (30, 40, 50))
    assert "seed0 at 30 = seed2 at 30, seed0 at 40 = seed2 at 40, seed0 at 50" in finding.message


def test_a_copy_across_steps_and_runs(root):
    shutil.copy2(path(root, 0, 10), path(root, 2, 40))
    written_in_order(root)
    finding = only(root, "copy")
    assert "seed0 at 10 = seed2 at 40" in finding.message
    assert finding.steps == (10, 40)


def test_a_copy_across_groups(tmp_path):
    for seed, group in enumerate("ab"):
        write_runs(tmp_path / "mnist" / group, n_runs=1, steps=STEPS, outcomes=False)
        for file in (tmp_path / "mnist" / group).rglob("*.safetensors"):
            change(
                file, lambda t, seed=seed: t.update({"layers.0.bias": t["layers.0.bias"] + seed})
            )
    root = written_in_order(tmp_path / "mnist")
    assert findings(root) == []
    shutil.copy2(root / "a/seed0/step_50.safetensors", root / "b/seed0/step_50.safetensors")
    finding = only(root, "copy", "a, b")
    assert finding.runs == ("a/seed0", "b/seed0")
    assert "a/seed0 at 50 = b/seed0 at 50" in finding.message


def test_the_same_weights_saved_differently_are_a_copy(root):
    """Another format, another order of tensors, a step counter, a wider type."""
    tensors = {name: t.astype(np.float16) for name, t in load_file(path(root, 0, 20)).items()}
    save_file(tensors, path(root, 0, 20))
    path(root, 1, 40).unlink()
    widened = {name: tensors[name].astype(np.float32) for name in reversed(tensors)}
    np.savez(root / "seed1" / "step_40.npz", **widened, counter=np.array(40))
    written_in_order(root)
    finding = only(root, "copy")
    assert "seed0 at 20 = seed1 at 40" in finding.message


@pytest.mark.parametrize("name", sorted(weights(0, 0)))
def test_one_bit_is_a_difference(root, name):
    shutil.copy2(path(root, 1, 20), path(root, 1, 30))

    def flip(tensors):
        tensors[name].view(np.uint32).flat[-1] ^= 1

    change(path(root, 1, 30), flip)
    assert findings(root) == []


def test_a_run_that_stands_still_is_told_once(root):
    for step in STEPS[1:]:
        shutil.copy2(path(root, 1, 0), path(root, 1, step))
    written_in_order(root)
    finding = only(root, "copy")
    assert (finding.runs, finding.steps) == (("seed1",), tuple(STEPS))


# --------------------------------------------------------------------------------- innocent twins


@pytest.fixture
def pythia(tmp_path):
    """Saved at 0, 1, 2, 4, …, as Pythia: step 1 follows an update with learning rate 0."""
    steps = [0, 1, 2, 4, 8, 1000, 2000]
    root = write_runs(tmp_path / "mnist", n_runs=2, steps=steps, outcomes=False)
    for seed in (0, 1):
        shutil.copy(path(root, seed, 0), path(root, seed, 1))
    return written_in_order(root)


def test_twins_of_the_warm_up_are_harmless(pythia):
    twins = findings(pythia)
    assert [(t.kind, t.runs, t.steps) for t in twins] == [
        ("warm-up twins", (f"seed{seed}",), (0, 1)) for seed in (0, 1)
    ]
    assert {notice.kind for notice in audit(discover(pythia)).notices} == {"limit"}


@pytest.mark.parametrize(
    ("source", "copy"),
    [
        (8, 1000),  # not at the beginning
        (0, 8),  # not successive
        (0, 2000),
        (1000, 2000),
    ],
)
def test_later_twins_are_copies(pythia, source, copy):
    shutil.copy(path(pythia, 0, source), path(pythia, 0, copy))
    written_in_order(pythia)
    told = [f for f in findings(pythia) if f.runs == ("seed0",)]
    assert "copy" in [f.kind for f in told]
    assert copy in next(f.steps for f in told if f.kind == "copy")


def test_an_epoch_without_change_is_no_warm_up(tmp_path):
    root = write_runs(tmp_path / "mnist", n_runs=1, steps=STEPS, outcomes=False)
    for number, step in enumerate(STEPS):
        path(root, 0, step).rename(root / "seed0" / f"epoch_{number}.safetensors")
    shutil.copy(root / "seed0/epoch_0.safetensors", root / "seed0/epoch_1.safetensors")
    assert "different epochs (0 = 1)" in only(written_in_order(root), "copy").message


def test_runs_that_share_their_start(root):
    for seed in (1, 2):
        shutil.copy2(path(root, 0, 0), path(root, seed, 0))
    finding = only(root, "same start")
    assert finding.runs == ("seed0", "seed1", "seed2")
    assert finding.steps == (0,)


def test_a_start_that_is_a_later_step_elsewhere_is_a_copy(root):
    shutil.copy2(path(root, 0, 10), path(root, 1, 0))
    assert "seed0 at 10 = seed1 at 0" in only(root, "copy").message


# ------------------------------------------------------------------------------------ other checks


def test_times_that_go_back_once(tmp_path):
    root = write_runs(tmp_path / "mnist", n_runs=2, steps=STEPS, outcomes=False)
    written_in_order(root)
    os.utime(path(root, 1, 30), ns=(10**18, 10**18 - 1))
    finding = only(root, "times")
    assert (finding.runs, finding.steps) == (("seed1",), (30,))


def test_times_of_copied_files_tell_nothing(root):
    for number, step in enumerate((50, 10, 0, 40, 20, 30)):
        for seed in (0, 2):
            os.utime(path(root, seed, step), ns=(10**18, 10**18 + number))
    finding = only(root, "copied files")
    assert (finding.runs, finding.steps) == (("seed0", "seed2"), ())
    assert [notice.kind for notice in audit(discover(root)).notices] == ["limit"]


def test_gaps_and_lengths_are_findings_but_told_by_discovery(root):
    path(root, 1, 20).unlink()
    path(root, 2, 50).unlink()
    index = discover(root)
    result = audit(index)
    assert [(f.kind, f.runs, f.steps) for f in result.findings.itertuples()] == [
        ("short run", ("seed2",), (40,)),
        ("gap", ("seed1",), (20,)),
    ]
    assert result.notices == ()
    assert [n.message for n in index.notices] == list(result.findings["message"])


def test_another_architecture_in_a_group(root):
    def widen(tensors):
        tensors["layers.1.weight"] = np.zeros((2, 9), np.float32)
        del tensors["layers.1.bias"]
        tensors["extra.weight"] = np.ones((1, 1), np.float32)

    for step in (40, 50):
        change(path(root, 2, step), widen)
    shapes = [f for f in findings(root) if f.kind == "architecture"]
    ((_, _, runs, steps, message),) = shapes
    assert (runs, steps) == (("seed2",), (40, 50))
    assert "layers.1.weight is 2 × 9, elsewhere 2 × 6; layers.1.bias is missing" in message
    assert "extra.weight is only here" in message


def test_groups_may_differ_in_architecture(tmp_path):
    write_runs(tmp_path / "mnist/a", n_runs=1, steps=STEPS, outcomes=False)
    write_runs(tmp_path / "mnist/b", n_runs=1, steps=STEPS, outcomes=False, shape=(3, 4))
    assert findings(written_in_order(tmp_path / "mnist")) == []


def test_weights_that_never_change(root):
    for seed in (0, 1):
        for step in STEPS:
            frozen = np.full((6, 5), seed, np.float32)
            change(path(root, seed, step), lambda t, f=frozen: t.update({"layers.0.weight": f}))
    finding = only(root, "never changes")
    assert finding.runs == ("seed0", "seed1")
    assert "layers.0.weight" in finding.message
    assert "layers.1" not in finding.message


def test_equal_at_both_ends_is_not_never_changing(root):
    end = load_file(path(root, 0, 50))["layers.0.weight"]
    change(path(root, 0, 0), lambda t: t.update({"layers.0.weight": end}))
    assert findings(root) == []


def test_unreadable_checkpoints_are_findings(root):
    file = path(root, 1, 30)
    data, time = file.read_bytes(), file.stat().st_mtime_ns
    file.write_bytes(data[:100])
    os.utime(file, ns=(time, time))
    finding = only(root, "unreadable")
    assert (finding.runs, finding.steps) == (("seed1",), (30,))
    assert "seed1/step_30.safetensors: " in finding.message
    shutil.copy2(path(root, 0, 20), path(root, 0, 10))
    written_in_order(root)
    assert [f.kind for f in findings(root)] == ["copy", "unreadable"]


def test_a_file_that_goes_while_it_is_read_is_a_finding(root, monkeypatch):
    header = audit_module._header

    def remove_then_go_on(file, rules):
        found = header(file, rules)
        if (file.run, file.step) == ("seed0", 0):
            file.path.unlink()
        return found

    monkeypatch.setattr(audit_module, "_header", remove_then_go_on)
    finding = only(root, "unreadable")
    assert (finding.runs, finding.steps) == (("seed0",), (0,))


# ------------------------------------------------------------------------------------------- cost


def test_little_is_read_where_nothing_is_equal(root, monkeypatch):
    read = []
    hash_ = audit_module._hashes

    def noting(file, names):
        read.extend((file.run, file.step, name) for name in names)
        return hash_(file, names)

    monkeypatch.setattr(audit_module, "_hashes", noting)
    assert findings(root) == []
    assert len(set(read)) == len(read)  # nothing twice
    in_between = [r for r in read if r[1] not in (STEPS[0], STEPS[-1])]
    assert {name for *_, name in in_between} == {"layers.1.bias"}  # the smallest tensor


@pytest.mark.parametrize("n_jobs", [1, 2, -1])
def test_jobs_and_progress(root, n_jobs):
    shutil.copy2(path(root, 0, 30), path(root, 2, 30))
    seen = []
    alone = findings(root)
    assert findings(root, n_jobs=n_jobs, progress=lambda *p: seen.append(p)) == alone
    done, totals = zip(*seen, strict=True)
    assert list(done) == list(range(1, len(done) + 1))
    assert list(totals) == sorted(totals)
    assert done[-1] == totals[-1]
    with pytest.raises(UsageError, match="n_jobs"):
        findings(root, n_jobs=0)


# ------------------------------------------------------------------------------------- brute force


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 1)] * 3), min_size=1, max_size=10))
def test_equal_checkpoints_are_those_that_brute_force_finds(tmp_path_factory, contents):
    """Checkpoints of three tensors with two possible values each: equality is frequent."""
    root = tmp_path_factory.mktemp("drawn") / "mnist"
    (root / "seed0").mkdir(parents=True)
    for step, values in enumerate(contents):
        tensors = {f"l{i}.weight": np.full((2, 2), v, np.float32) for i, v in enumerate(values)}
        save_file(tensors, path(root, 0, step))
    reader = audit_module._Reader(1, None)
    equal = audit_module._identical(reader.headers(discover(root).checkpoints), reader)
    expected = {
        tuple(step for step, other in enumerate(contents) if other == values) for values in contents
    }
    assert {tuple(file.step for file in files) for files in equal} == {
        steps for steps in expected if len(steps) > 1
    }


# ---------------------------------------------------------------------------------------- the door


def scan(*arguments):
    result = CliRunner().invoke(app, ["scan", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result


def test_scan_audits_on_request(root):
    shutil.copy2(path(root, 0, 30), path(root, 2, 30))
    assert "bit for bit" not in scan(root).output
    assert "seed0 at 30 = seed2 at 30" in " ".join(scan(root, "--audit").stdout.split())
    assert "findings" not in json.loads(scan(root, "--json").stdout)
    document = json.loads(scan(root, "--json", "--audit", "--jobs", 2).stdout)
    (finding,) = document["findings"]
    assert (finding["kind"], finding["runs"], finding["steps"]) == (
        "copy",
        ["seed0", "seed2"],
        [30],
    )
    assert finding["message"] in [notice["message"] for notice in document["notices"]]


def test_scan_says_that_all_is_well(root):
    assert "nothing odd was found" in scan(root, "--audit").stdout


def test_what_discovery_has_told_is_a_finding_beside_others(root):
    shutil.copy2(path(root, 0, 30), path(root, 2, 30))
    path(root, 1, STEPS[-2]).unlink()
    findings = json.loads(scan(root, "--audit", "--json").stdout)["findings"]
    assert {finding["kind"] for finding in findings} == {"copy", "gap"}
    assert all(finding["message"] for finding in findings)


def test_what_is_not_looked_for_in_a_store_is_no_finding(root):
    pytest.importorskip("fsspec")
    url = f"local://{root}"
    document = json.loads(scan(url, "--audit", "--json").stdout)
    assert document["findings"] == []
    assert "weights that never change" in {notice["subject"] for notice in document["notices"]}
    shutil.copy2(path(root, 0, 30), path(root, 2, 30))
    (finding,) = json.loads(scan(url, "--audit", "--json").stdout)["findings"]
    assert finding["kind"] == "copy"


def test_rules_of_no_weight_are_named_and_not_called_in_order(root, tmp_path):
    file = tmp_path / "roles.toml"
    file.write_text('[roles]\n"nowhere" = "q"\n')
    out = " ".join(scan(root, "--audit", "--roles", file).stdout.split())
    assert "1 expression fits the name of no weight: 'nowhere'." in out
    assert "nothing odd" not in out


def test_what_counts_as_a_weight_is_told_by_rule(root):
    add = {
        "wte.weight": np.ones((9, 4), np.float32),
        "ln.weight": np.ones(4, np.float32),
        "experts.up": np.ones((2, 3, 4), np.float32),
    }
    for file in root.rglob("*.safetensors"):
        change(file, lambda tensors: tensors.update(add))
    tensors = audit(discover(root)).tensors
    assert list(tensors["group"].unique()) == ["mnist"]
    told = {
        row.tensor: (row.counts_as, row.rule, row.matrices, row.rows, row.columns)
        for row in tensors.itertuples()
    }
    assert told == {
        "layers.0.weight": ("weight", "matrix", 1, 6, 5),
        "layers.0.bias": ("bias", "bias", 0, 0, 0),
        "layers.1.weight": ("weight", "matrix", 1, 2, 6),
        "layers.1.bias": ("bias", "bias", 0, 0, 0),
        "wte.weight": ("left out", "embedding", 0, 0, 0),
        "ln.weight": ("left out", "normalisation", 0, 0, 0),
        "experts.up": ("weight", "one matrix per expert", 2, 3, 4),
    }
    rules = ParameterRules(
        include=("wte",), exclude=(r"layers\.1",), split=(("layers.0.weight", 0, 3),)
    )
    tensors = audit(discover(root), rules=rules).tensors.set_index("tensor")
    assert tensors["rule"]["wte.weight"] == "included by request"
    assert tensors["rule"]["layers.1.weight"] == "excluded by request"
    split = tensors.loc["layers.0.weight"]
    assert (split["rule"], split["matrices"]) == ("matrix, split in 3 by request", 3)
    assert (split["rows"], split["columns"]) == (2, 5)


def test_the_command_shows_the_rules(root):
    out = CliRunner().invoke(app, ["scan", str(root), "--audit", "--exclude", "layers.1"]).stdout
    assert "What counts as a weight" in out
    assert "excluded by request" in out
    document = json.loads(scan(root, "--audit", "--json").stdout)
    assert {row["tensor"]: row["counts_as"] for row in document["tensors"]} == {
        "layers.0.weight": "weight",
        "layers.0.bias": "bias",
        "layers.1.weight": "weight",
        "layers.1.bias": "bias",
    }
    refused = CliRunner().invoke(app, ["scan", str(root), "--exclude", "layers.1"])
    assert refused.exit_code != 0
    assert "Add --audit" in refused.stderr
