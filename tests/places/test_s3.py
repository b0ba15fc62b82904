"""Runs in a bucket of S3, as moto serves it on this machine through the real client."""

import pandas as pd
import pytest

from hmmdyn import Options, read_runs, scan
from hmmdyn.checkpoints.audit import audit
from hmmdyn.checkpoints.probe import told_digest
from hmmdyn.errors import CheckpointError, NoCheckpointsError

pytest.importorskip("s3fs", reason="the extra 'remote' is not installed")
pytest.importorskip("moto.server", reason="moto[server] is not installed")


def without_times(trajectories):
    return trajectories.table.drop(columns="mtime_ns")


def test_the_table_is_that_of_the_files_on_disk(bucket, runs, tmp_path, new_workers):
    cache, told = tmp_path / "cache.parquet", []
    found = read_runs("s3://box/some/runs", cache=cache, jobs=2)
    pd.testing.assert_frame_equal(without_times(found), without_times(read_runs(runs)))
    assert found.outcomes == ("train_accuracy", "eval_accuracy")
    assert (found.table["mtime_ns"] > 0).all()
    again = read_runs("s3://box/some/runs", cache=cache, progress=lambda *all: told.append(all))
    assert ("reused", 16, 16) in told
    pd.testing.assert_frame_equal(again.table, found.table)


def test_an_object_that_was_replaced_is_measured_again(bucket, runs, tmp_path):
    cache, told = tmp_path / "cache.parquet", []
    first = read_runs("s3://box/some/runs", cache=cache).table
    key = "some/runs/seed1/step_20.safetensors"
    kept = bucket.get_object(Bucket="box", Key=key)["Body"].read()
    other = (runs / "seed0/step_20.safetensors").read_bytes()
    bucket.put_object(Bucket="box", Key=key, Body=other)
    try:
        changed = read_runs(
            "s3://box/some/runs", cache=cache, progress=lambda *all: told.append(all)
        ).table
    finally:
        bucket.put_object(Bucket="box", Key=key, Body=kept)
    assert ("reused", 15, 16) in told
    assert (first["l2"] != changed["l2"]).sum() == 1


def test_a_damaged_object_is_named(bucket, at_once):
    key = "some/runs/seed1/step_150.safetensors"
    bucket.put_object(Bucket="box", Key=key, Body=b"")
    try:
        with pytest.raises(CheckpointError, match=r"s3://box/some/runs/seed1/step_150.*empty"):
            read_runs("s3://box/some/runs")
        found = read_runs("s3://box/some/runs", Options(skip_bad=True))
    finally:
        bucket.delete_object(Bucket="box", Key=key)
    assert len(found.table) == 16


def test_what_is_not_there_is_said(bucket, at_once):
    with pytest.raises(NoCheckpointsError, match="s3://box/none does not exist"):
        read_runs("s3://box/none")
    with pytest.raises(NoCheckpointsError, match="s3://nowhere/runs does not exist"):
        read_runs("s3://nowhere/runs")


def test_without_a_key_it_is_said_what_to_do(bucket, at_once, monkeypatch, tmp_path):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(NoCheckpointsError, match=r"access was refused \(.*Renew it") as caught:
        read_runs("s3://box/some/runs")
    s3fs.S3FileSystem.clear_instance_cache()
    assert "4711" not in str(caught.value)


@pytest.mark.parametrize("in_parts", [False, True])
def test_copies_are_found_by_etags_before_a_byte_is_read(bucket, runs, at_once, in_parts):
    """An object that was sent in parts has an ETag of another kind, which its copies share."""
    for seed, step in ((0, 0), (0, 20), (0, 40), (1, 0), (1, 40)):
        from_seed = 0 if step == 40 else seed
        file = runs / f"seed{from_seed}/step_{step}.safetensors"
        key = f"copied/{in_parts}/seed{seed}/step_{step}.safetensors"
        put(bucket, key, file.read_bytes(), in_parts)
    index = scan(f"s3://box/copied/{in_parts}")
    assert all("-" in told_digest(file.path) for file in index.checkpoints) == in_parts
    with pytest.MonkeyPatch.context() as patch:

        def refused(*_):
            raise PermissionError

        patch.setattr("hmmdyn.places.store.Store._fetch", refused)
        found = audit(index).findings
    (copy,) = found[found["kind"] == "copy"].itertuples()
    assert copy.runs == ("seed0", "seed1")
    assert copy.steps == (40,)


def put(bucket, key, data, in_parts):
    if not in_parts:
        bucket.put_object(Bucket="box", Key=key, Body=data)
        return
    at = {"Bucket": "box", "Key": key}
    at["UploadId"] = bucket.create_multipart_upload(**at)["UploadId"]
    tag = bucket.upload_part(**at, PartNumber=1, Body=data)["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": tag}]}
    bucket.complete_multipart_upload(**at, MultipartUpload=parts)
