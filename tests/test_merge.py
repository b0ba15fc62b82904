"""Shards of a metric table, by the command line: put together they are the whole, byte for byte."""

import json
import shutil

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file, save_file

from hmmdyn import Options, read_runs, sources
from hmmdyn.errors import UsageError
from tests.make_runs import write_runs
from tests.test_cli import one_line, run

STEPS = range(0, 60, 10)


def change(path, **tensors):
    """Put tensors in the place of others in a checkpoint; those of None go."""
    whole = {**load_file(path), **tensors}
    save_file({name: t for name, t in whole.items() if t is not None}, path)


def plain(root):
    write_runs(root, steps=STEPS)


def frozen_in_one_run(root):
    plain(root)
    for step in STEPS:
        change(root / f"seed1/step_{step}.safetensors", **{"layers.1.weight": np.ones((2, 6))})


def groups_of_which_one_has_no_biases(root):
    for group in ("b10", "b9"):
        write_runs(root / group, n_runs=2, steps=STEPS, outcomes=group == "b9")
    for seed in range(2):
        for step in STEPS:
            path = root / f"b10/seed{seed}/step_{step}.safetensors"
            change(path, **{"layers.0.bias": None, "layers.1.bias": None})


def outcomes_stored_in_some_checkpoints(root):
    """One of them has the name of a metric, one is logged, too."""
    plain(root)
    for i, name in enumerate(("val_loss", "loss", "eval_accuracy", "step_l2")):
        path = root / f"seed{i % 3}/step_{10 * i}.safetensors"
        change(path, **{name: np.array(float(i), dtype=np.float32)})


def bad_checkpoints(root):
    plain(root)
    for place in ("seed0/step_0", "seed2/step_50"):
        (root / f"{place}.safetensors").write_bytes(b"?")


def one_checkpoint(root):
    write_runs(root, n_runs=2, steps=range(1), outcomes=False)


MOVEMENT = ["--metrics", "paper,path_length"]


@pytest.mark.parametrize(
    ("make", "options", "of"),
    [
        (plain, [], 3),
        (plain, [], 1),
        (plain, [*MOVEMENT, "--by", "layer,role"], 3),
        (frozen_in_one_run, [], 3),
        (groups_of_which_one_has_no_biases, [], 3),
        (outcomes_stored_in_some_checkpoints, MOVEMENT, 3),
        (bad_checkpoints, ["--skip-bad"], 3),
        (one_checkpoint, [], 3),
    ],
)
def test_merged_shards_are_the_whole_byte_for_byte(tmp_path, make, options, of):
    root, whole, merged = (tmp_path / n for n in ("runs", "whole.parquet", "merged.parquet"))
    make(root)
    run("extract", root, "-o", whole, "-j", 1, *options)
    for i in range(1, of + 1):
        shard = ["--shard", f"{i}/{of}"]
        run("extract", root, "-o", tmp_path / f"shards/{i}.parquet", "-j", 1, *options, *shard)
    files = sorted((tmp_path / "shards").glob("*.parquet"), reverse=True)  # those of parts, too
    output = run("merge", *files, "-o", merged).output
    n = len(pd.read_parquet(whole))
    assert f"Wrote {n} checkpoints" in output
    for name in ("{}.parquet", "{}-parts.parquet"):
        one, other = (tmp_path / name.format(stem) for stem in ("whole", "merged"))
        assert one.exists() == other.exists() == ("parts" not in name or "--by" in options)
        if one.exists():
            assert one.read_bytes() == other.read_bytes()


def test_a_metric_of_whole_runs_of_ones_own(tmp_path):
    root, own = write_runs(tmp_path / "runs", steps=STEPS), tmp_path / "mine.py"
    own.write_text(
        "from hmmdyn import metric\n"
        '@metric(needs="run", of=("l2",))\n'
        'def growth_to_date(run):\n    """Growth of the norm."""\n    return run["l2"].diff()\n'
    )
    options = ["--metrics", "l1,growth_to_date", "--metrics-from", own, "-j", 1]
    run("extract", root, "-o", tmp_path / "whole.parquet", *options)
    files = [tmp_path / f"{i}.parquet" for i in (1, 2)]
    for i, file in enumerate(files, 1):
        run("extract", root, "-o", file, *options, "--shard", f"{i}/2")
    merged = tmp_path / "merged.parquet"
    run("merge", *files, "-o", merged, "--metrics-from", own)
    assert merged.read_bytes() == (tmp_path / "whole.parquet").read_bytes()

    own.write_text(own.read_text().replace("diff()", "diff() * 2"))
    text = one_line(run("merge", *files, "-o", merged, "--metrics-from", own, code=2).stderr)
    assert "not measured with the metrics of" in text


def test_a_metric_of_whole_runs_that_is_not_known_here(shards, tmp_path):
    """Nothing is executed because a table names it."""
    files = copied(shards, tmp_path)
    for file in files:
        rewrite(file, lambda own: own["shard"]["metrics"].append("of_a_file_elsewhere"))
    text = one_line(run("merge", *files, "-o", tmp_path / "m.parquet", code=2).stderr)
    assert "not known here: of_a_file_elsewhere" in text
    assert "--metrics-from" in text


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return write_runs(tmp_path_factory.mktemp("merge") / "runs", steps=STEPS)


@pytest.fixture(scope="module")
def shards(runs):
    files = [runs.parent / f"{i}.parquet" for i in (1, 2, 3)]
    for i, file in enumerate(files, 1):
        run("extract", runs, "-o", file, "--shard", f"{i}/3", "-j", 1)
    return files


def copied(shards, folder):
    return [shutil.copy(file, folder / file.name) for file in shards]


def rewrite(path, change, rows=None):
    """Change what a shard says of itself, and which rows it has."""
    table = pq.read_table(path)
    own = json.loads(table.schema.metadata[b"hmmdyn"])
    change(own)
    meta = {**table.schema.metadata, b"hmmdyn": json.dumps(own).encode()}
    pq.write_table((table if rows is None else rows(table)).replace_schema_metadata(meta), path)


def refused(files, folder):
    result = run("merge", *files, "-o", folder / "merged.parquet", code=1)
    assert not (folder / "merged.parquet").exists()
    return one_line(result.stderr)


def test_missing_shards_are_named(shards, tmp_path):
    assert "2 of 3 shards are missing: 1, 3." in refused(shards[1:2], tmp_path)
    assert "--shard 1/3" in refused(shards[1:2], tmp_path)


def test_a_file_named_twice_counts_once(shards, tmp_path):
    run("merge", *shards, shards[0], "-o", tmp_path / "merged.parquet")


def test_one_shard_in_two_files_is_refused(shards, tmp_path):
    again = copied(shards[:1], tmp_path)
    text = refused([*shards, *again], tmp_path)
    assert f"{shards[0]} and {again[0]} are both shard 1 of 3" in text


def test_shards_of_another_division_are_refused(runs, shards, tmp_path):
    other = tmp_path / "other.parquet"
    run("extract", runs, "-o", other, "--shard", "3/4", "-j", 1)
    assert "they are shard 1 of 3 and shard 3 of 4" in refused([*shards[:2], other], tmp_path)


def test_shards_of_other_options_are_refused(runs, shards, tmp_path):
    other = tmp_path / "3.parquet"
    run("extract", runs, "-o", other, "--shard", "3/3", "-j", 1, "--exclude", "layers.1")
    text = refused([*shards[:2], other], tmp_path)
    assert "options differ (none; --exclude layers.1)" in text
    assert "same command" in text


def test_shards_of_runs_that_grew_meanwhile_are_refused(runs, shards, tmp_path):
    grown = shutil.copytree(runs, tmp_path / "runs")
    shutil.copy(grown / "seed0/step_50.safetensors", grown / "seed0/step_60.safetensors")
    run("extract", grown, "-o", tmp_path / "3.parquet", "--shard", "3/3", "-j", 1)
    text = refused([*shards[:2], tmp_path / "3.parquet"], tmp_path)
    assert "checkpoints found differ (18, " in text
    assert "; 19, " in text


def test_shards_of_logs_that_grew_meanwhile_are_refused(runs, shards, tmp_path):
    grown = shutil.copytree(runs, tmp_path / "runs")
    log = grown / "seed0/metrics.csv"
    log.write_text(log.read_text().replace(",0.5\n", ",0.4\n"))
    run("extract", grown, "-o", tmp_path / "3.parquet", "--shard", "3/3", "-j", 1)
    text = refused([*shards[:2], tmp_path / "3.parquet"], tmp_path)
    assert "outcomes logged beside them differ" in text


def test_shards_of_another_version_are_refused(shards, tmp_path):
    files = copied(shards, tmp_path)
    rewrite(files[1], lambda own: own["shard"]["alike"].update({"versions of hmmdyn": "0.0"}))
    assert "versions of hmmdyn differ" in refused(files, tmp_path)


def test_rows_that_are_in_two_shards_are_refused(shards, tmp_path):
    files = copied(shards, tmp_path)
    first = pq.read_table(files[0])
    rewrite(files[1], lambda own: None, rows=lambda _: first)
    assert "6 checkpoints are in several shards" in refused(files, tmp_path)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda own: own["shard"].pop("of"),
        lambda own: own["shard"].update(number=4),
        lambda own: own["shard"].update(number="x"),
        lambda own: own["shard"].update(alike=3),
        lambda own: own.update(shard=[1]),
        lambda own: own["metrics"].append("of nowhere"),
    ],
)
def test_a_shard_whose_description_is_damaged_is_refused(shards, tmp_path, spoil):
    files = copied(shards, tmp_path)
    rewrite(files[0], spoil)
    assert "what it says of itself is damaged" in refused(files, tmp_path)


def test_what_is_no_shard_is_refused(runs, shards, tmp_path):
    whole, text, missing = (tmp_path / n for n in ("w.parquet", "t.parquet", "none.parquet"))
    run("extract", runs, "-o", whole, "-j", 1)
    text.write_text("step,l2\n1,2\n")
    assert f"{whole} is no shard of a metric table" in refused([*shards[:2], whole], tmp_path)
    assert f"{text} cannot be read as a metric table" in refused([*shards[:2], text], tmp_path)
    assert f"{missing} cannot be read" in refused([*shards[:2], missing], tmp_path)


def test_shards_without_any_checkpoint_are_no_table(shards, tmp_path):
    files = copied(shards, tmp_path)
    for file in files:
        rewrite(file, lambda own: None, rows=lambda table: table.slice(0, 0))
    assert "hold no checkpoint" in refused(files, tmp_path)


def test_a_shard_takes_no_other_file_s_place(runs, shards, tmp_path):
    """One name for all shards of an array of jobs would leave the last alone."""
    (place,) = copied(shards[:1], tmp_path)
    result = run("extract", runs, "-o", place, "--shard", "2/3", "-j", 1, code=1)
    assert "is shard 1 of 3, and shard 2 of 3 would take its place" in one_line(result.stderr)
    assert "-o shards/2.parquet" in one_line(result.stderr)
    run("extract", runs, "-o", place, "--shard", "1/3", "-j", 1)
    assert place.read_bytes() == shards[0].read_bytes()
    (tmp_path / "notes.parquet").write_text("mine")
    run("extract", runs, "-o", tmp_path / "notes.parquet", "--shard", "1/3", code=1)
    assert (tmp_path / "notes.parquet").read_text() == "mine"


def test_a_shard_read_as_a_table_says_what_it_is(shards):
    (notice,) = [n for n in read_runs(shards[0]).notices if "shard" in n.message]
    assert "hmmdyn merge" in notice.message


def test_shards_are_of_checkpoints_alone(runs, tmp_path):
    (tmp_path / "logs").mkdir()
    shutil.copy(runs / "seed0/metrics.csv", tmp_path / "logs/seed0.csv")
    for source in (tmp_path / "logs", tmp_path / "logs/seed0.csv"):
        text = run("extract", source, "-o", tmp_path / "t.parquet", "--shard", "1/2", code=2).stderr
        assert "no checkpoints" in one_line(text)


def test_further_metrics_are_joined_to_the_whole(runs, tmp_path):
    options = Options(metrics_table=runs / "seed0/metrics.csv")
    with pytest.raises(UsageError, match="metrics_table"):
        sources.read_shard(sources.scan(runs), options, None)
