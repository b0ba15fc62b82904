"""Runs on a web server: what is moved, what is asked again, and what is said when it fails."""

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

from hmmdyn import HmmdynError, Options, open_checkpoint, read_runs
from hmmdyn.checkpoints.parameters import DEFAULT_RULES
from hmmdyn.errors import CheckpointError, NoCheckpointsError
from hmmdyn.metrics.measure import measure
from hmmdyn.places import place
from tests.make_runs import weights

pytest.importorskip("aiohttp", reason="the extra 'remote' is not installed")

from .web import WHAT_MAY_PASS, Answer, web_server

ONE = "/runs/seed0/step_20.safetensors"


def size_of(root):
    return sum(file.stat().st_size for file in root.rglob("*.safetensors"))


def without_times(trajectories):
    return trajectories.table.drop(columns="mtime_ns")


@pytest.fixture(scope="module")
def local(runs):
    return without_times(read_runs(runs))


@pytest.fixture
def web(runs):
    with web_server(runs.parent) as started:
        yield started


def for_one(answer, times=10**9):
    """Go wrong, so many times, where a range of one checkpoint is asked for."""
    left = [times]

    def trouble(asked):
        if asked.path != ONE or asked.method != "GET" or not left[0]:
            return None
        left[0] -= 1
        return answer

    return trouble


def test_the_table_is_that_of_the_files_on_disk(web, local):
    found = read_runs(f"{web.url}/runs")
    pd.testing.assert_frame_equal(without_times(found), local)
    assert found.outcomes == ("train_accuracy", "eval_accuracy")


def test_times_of_files_are_those_that_the_server_tells(web, runs):
    times = read_runs(f"{web.url}/runs").table["mtime_ns"]
    on_disk = read_runs(runs).table["mtime_ns"]
    assert (times // 10**9 == on_disk // 10**9).all()


def test_little_more_is_moved_than_the_weights(web, runs):
    read_runs(f"{web.url}/runs")
    assert size_of(runs) <= web.weights_moved() <= 1.02 * size_of(runs)


def test_only_the_header_and_the_tensors_asked_for_are_moved(tmp_path):
    made = {name: np.ones((1000, 500), np.float32) for name in "abcd"}
    save_file(made, tmp_path / "step_1.safetensors")
    with web_server(tmp_path) as web:
        with open_checkpoint(f"{web.url}/step_1.safetensors") as checkpoint:
            assert (checkpoint["c"].read() == 1).all()
        assert made["c"].nbytes <= web.weights_moved() <= made["c"].nbytes + 2**16


def test_a_second_call_measures_nothing_and_moves_no_weights(web, tmp_path):
    told = []
    cache = tmp_path / "cache.parquet"
    first = read_runs(f"{web.url}/runs", cache=cache)
    web.asked.clear()
    again = read_runs(f"{web.url}/runs", cache=cache, progress=lambda *all: told.append(all))
    assert ("reused", 16, 16) in told
    assert web.weights_moved() == 0
    pd.testing.assert_frame_equal(again.table, first.table)


def test_a_checkpoint_that_was_replaced_is_measured_again(tmp_path, runs):
    shutil.copytree(runs, tmp_path / "runs")
    cache = tmp_path / "cache.parquet"
    with web_server(tmp_path) as web:
        first = read_runs(f"{web.url}/runs", cache=cache).table
        save_file(weights(7, 20, (300, 400)), tmp_path / ONE[1:])
        web.asked.clear()
        changed = read_runs(f"{web.url}/runs", cache=cache).table
        assert {one.path for one in web.asked if one.method == "GET" and one.sent > 10**5} == {ONE}
    assert (first["l2"] != changed["l2"]).sum() == 1


def test_workers_read_from_the_server_themselves(web, local):
    found = read_runs(f"{web.url}/runs", jobs=2)
    pd.testing.assert_frame_equal(without_times(found), local)


@WHAT_MAY_PASS
def test_what_may_pass_is_asked_for_again(web, local, at_once, answer):
    web.trouble = for_one(answer, times=2)
    found = read_runs(f"{web.url}/runs")
    pd.testing.assert_frame_equal(without_times(found), local)
    assert len(at_once) == 2
    least = 3 if answer.status == 429 else 0.5
    assert all(least <= waited <= 5 for waited in at_once)


def test_a_dropped_connection_costs_a_part_of_a_tensor_only(tmp_path, at_once):
    values = np.arange(6 * 2**20, dtype=np.float32)  # 24 MiB: three answers
    save_file({"w": values}, tmp_path / "step_1.safetensors")
    drops = [True]

    def trouble(asked):
        late = asked.headers.get("Range", "").startswith("bytes=16")
        return Answer(cut=2**20) if late and drops and drops.pop() else None

    with web_server(tmp_path, trouble) as web:
        with open_checkpoint(f"{web.url}/step_1.safetensors") as checkpoint:
            np.testing.assert_array_equal(checkpoint["w"].read(), values)
        assert not drops
        assert web.weights_moved() <= values.nbytes + 2**20 + 2**16


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(status=503), "the store said 503 Service Unavailable, 5 times within"),
        (Answer(cut=1000), "the connection failed (ClientPayloadError), 5 times within"),
        (Answer(status=418), "the store said 418"),
        (
            Answer(status=401),
            "access was refused (401 Unauthorized): the token or key is missing, wrong, or has "
            "expired. Renew it, then run this again",
        ),
        (Answer(status=403), "access was refused (403 Forbidden)"),
        (Answer(status=404), "it is not there"),
        (Answer(whole=True), "its server sends whole files only"),
        (
            Answer(status=206, body=bytes(10**6)),
            "its server sends more than it was asked for",
        ),
        (
            Answer(status=503, headers={"Retry-After": "3600"}),
            "the store said 503 Service Unavailable, and asks to wait 3,600 seconds. Later, run",
        ),
    ],
)
def test_what_does_not_pass_is_said_with_what_to_do(web, at_once, answer, reason):
    web.trouble = for_one(answer)
    with pytest.raises(CheckpointError, match=r"^1 of 16 checkpoints cannot be read") as caught:
        read_runs(f"{web.url}/runs")
    assert f"{web.url}{ONE} cannot be read: {reason}" in str(caught.value)
    assert "skip_bad=True" in str(caught.value)
    asked = [one for one in web.asked if one.path == ONE and one.method == "GET"]
    assert len(asked) <= 5
    assert sum(at_once) < 12


def test_bad_checkpoints_are_left_out_when_asked(web, local, at_once):
    web.trouble = for_one(Answer(status=503))
    found = read_runs(f"{web.url}/runs", Options(skip_bad=True))
    pd.testing.assert_frame_equal(without_times(found), local.drop(index=1).reset_index(drop=True))
    (notice,) = (n for n in found.notices if n.kind == "left out" and n.stage == "reading")
    assert notice.subject == "seed0/step_20.safetensors"
    assert "503" in notice.message


def test_a_run_goes_on_where_a_token_expired(web, local, tmp_path, at_once):
    """All that was measured before is kept."""
    cache, served = tmp_path / "cache.parquet", []

    def expired(asked):
        served.append(asked)
        ranges = sum(one.method == "GET" and "safetensors" in one.path for one in served)
        return Answer(status=401) if ranges > 50 else None

    web.trouble = expired
    with pytest.raises(CheckpointError, match="has expired"):
        read_runs(f"{web.url}/runs", cache=cache)
    web.trouble = lambda asked: None
    told = []
    found = read_runs(f"{web.url}/runs", cache=cache, progress=lambda *all: told.append(all))
    pd.testing.assert_frame_equal(without_times(found), local)
    (kept,) = (done for stage, done, _ in told if stage == "reused")
    assert kept > 5


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path):
    made = {"a": np.ones((1000, 500), np.float32), "b": np.ones((1000, 500), np.float32)}
    file = tmp_path / "step_1.safetensors"
    save_file(made, file)
    with web_server(tmp_path) as web, open_checkpoint(f"{web.url}/{file.name}") as checkpoint:
        checkpoint["a"].read()
        save_file({**made, "b": 2 * made["b"]}, file)
        with pytest.raises(CheckpointError, match=r"step_1\.safetensors.*it changed while"):
            checkpoint["b"].read()


@pytest.mark.parametrize("says", [True, False], ids=["says so", "says nothing"])
def test_a_file_that_changes_is_refused_where_the_server_heeds_no_version(tmp_path, says):
    made = {"a": np.ones((1000, 500), np.float32), "b": np.ones((1000, 500), np.float32)}
    file = tmp_path / "step_1.safetensors"
    save_file(made, file)
    etag = ['"first"']

    def heedless(asked):
        told = says or "Range" not in asked.headers
        return Answer(headers={"ETag": etag[0] if told else ""}, heeds=False)

    with web_server(tmp_path, heedless) as web:
        checkpoint = open_checkpoint(f"{web.url}/{file.name}")
        checkpoint["a"].read()
        save_file({**made, "b": 2 * made["b"]}, file)
        etag[0] = '"second"'

        def rest():
            checkpoint["b"].read()
            checkpoint.close()

        with pytest.raises(CheckpointError, match=r"step_1\.safetensors.*it changed while"):
            rest()


def test_another_checkpoint_that_changes_takes_its_own_metrics_alone(tmp_path):
    """A checkpoint is measured, though the one that it is compared with is written anew."""
    for step in (1, 2):
        save_file(weights(0, step, (300, 400)), tmp_path / f"step_{step}.safetensors")

    def without_etags(asked):
        return Answer(headers={"ETag": ""})

    with web_server(tmp_path, without_etags) as web:
        first, second = (place(f"{web.url}/step_{step}.safetensors") for step in (1, 2))
        size, n_asked = first.stat().st_size, len(web.asked)

        def grown(asked):
            if asked.method == "HEAD" and asked.path.endswith("step_1.safetensors"):
                return Answer(status=200, headers={"ETag": "", "Content-Length": str(size + 1)})
            return without_etags(asked)

        web.trouble = grown
        found = measure(second, ["l2", "distance_l2"], DEFAULT_RULES, references={"initial": first})
        assert len(web.asked) > n_asked
        here = measure(tmp_path / "step_2.safetensors", ["l2"], DEFAULT_RULES)
    assert found.metrics["l2"] == here.metrics["l2"]
    assert np.isnan(found.metrics["distance_l2"])
    assert "it changed while it was read" in found.problems["distance_l2"]


def test_a_file_without_an_etag_is_looked_after_at_the_end(tmp_path):
    file = tmp_path / "step_1.safetensors"
    save_file({"a": np.ones(1000, np.float32)}, file)
    with web_server(tmp_path, lambda asked: Answer(headers={"ETag": ""})) as web:
        with open_checkpoint(f"{web.url}/{file.name}") as checkpoint:
            checkpoint["a"].read()
        checkpoint = open_checkpoint(f"{web.url}/{file.name}")
        checkpoint["a"].read()
        save_file({"a": np.ones(2000, np.float32)}, file)
        with pytest.raises(CheckpointError, match=r"step_1\.safetensors: it changed while"):
            checkpoint.close()


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (401, "access was refused (401 Unauthorized)"),
        (404, "the folder cannot be read (it is not there)"),
        (503, "503 Service Unavailable, 5 times within"),
    ],
)
def test_a_place_that_cannot_be_listed_is_said(web, at_once, status, reason):
    web.trouble = lambda asked: Answer(status=status)
    with pytest.raises(NoCheckpointsError) as caught:
        read_runs(f"{web.url}/runs")
    assert reason in str(caught.value)


def test_a_folder_that_cannot_be_listed_is_named(web, local, at_once):
    web.trouble = lambda asked: Answer(status=500) if asked.path == "/runs/seed1/" else None
    found = read_runs(f"{web.url}/runs")
    assert set(found.table["run"]) == {"seed0"}
    (notice,) = (n for n in found.notices if "seed1" in n.message)
    assert "the folder cannot be read (the store said 500" in notice.message


def test_a_page_that_links_to_itself_comes_to_an_end(web, at_once):
    def endless(asked):
        page = b'<a href="a/">a</a><a href="../">up</a><a href="http://elsewhere.invalid/b">b</a>'
        return Answer(status=200, body=page)

    web.trouble = endless
    with pytest.raises(NoCheckpointsError, match="its folders do not end"):
        read_runs(f"{web.url}/runs")
    assert len(web.asked) < 50


def test_a_page_without_end_is_not_taken_in(web, monkeypatch):
    monkeypatch.setattr("hmmdyn.places.web._LARGEST_PAGE", 1000)
    web.trouble = lambda asked: Answer(status=200, body=bytes(10**6))
    with pytest.raises(NoCheckpointsError, match="sends more than it was asked for"):
        read_runs(f"{web.url}/runs")


def test_names_are_spelled_as_they_are(tmp_path, runs):
    folder = tmp_path / "my runs" / "größe 1" / "seed0"
    folder.mkdir(parents=True)
    for step in (0, 20, 40):
        shutil.copy(runs / f"seed0/step_{step}.safetensors", folder / f"step {step}.safetensors")
    with web_server(tmp_path) as web:
        found = read_runs(f"{web.url}/my runs").table
        again = read_runs(f"{web.url}/my%20runs").table
    pd.testing.assert_frame_equal(found, again)
    assert list(found["path"]) == [f"größe 1/seed0/step {n}.safetensors" for n in (0, 20, 40)]


def test_a_layout_may_stand_in_the_url(web, local):
    found = read_runs(f"{web.url}/runs/seed{{seed}}/step_{{step}}.safetensors")
    pd.testing.assert_frame_equal(without_times(found), local)
    with pytest.raises(HmmdynError, match="Leave one of them out"):
        read_runs(f"{web.url}/runs/seed{{seed}}/step_{{step}}.pt", Options(layout="{step}.pt"))


WRITTEN = Path(__file__).parents[1] / "checkpoints/formats/written"


@pytest.mark.parametrize("name", ["model.weights.h5", "model.keras"])
def test_a_library_gets_its_bytes_from_the_server(name, at_once):
    """Also those of an answer that was cut short; the numbers are those of the disk."""
    pytest.importorskip("h5py")
    left = [1]

    def cut(asked):
        late = "Range" in asked.headers and not asked.headers["Range"].startswith("bytes=0-")
        return Answer(cut=100) if late and left and left.pop() else None

    with (
        web_server(WRITTEN, cut) as web,
        open_checkpoint(f"{web.url}/{name}") as there,
        open_checkpoint(WRITTEN / name) as here,
    ):
        assert list(there) == list(here)
        assert there.format == here.format
        for tensor, values in here.items():
            np.testing.assert_array_equal(there[tensor].read(), values.read())


def large_hdf5(folder):
    h5py = pytest.importorskip("h5py")
    file = folder / "step_1.h5"
    with h5py.File(file, "w") as written:
        for i in range(4):
            values = np.random.default_rng(i).normal(size=(1000, 600)).astype(np.float32)
            written.create_dataset(f"block{i}/w", data=values)
    return file


def test_a_library_reads_no_more_than_it_needs(tmp_path):
    file = large_hdf5(tmp_path)
    with web_server(tmp_path) as web:
        with (
            open_checkpoint(f"{web.url}/{file.name}") as there,
            open_checkpoint(file) as here,
        ):
            moved = sum(one.sent for one in web.asked)
            assert moved < 200_000
            np.testing.assert_array_equal(there["block2/w"].read(), here["block2/w"].read())
        assert sum(one.sent for one in web.asked) < moved + 2_400_000 + 100_000


def test_what_a_library_cannot_get_is_said_and_the_next_file_is_read(tmp_path, at_once):
    file = large_hdf5(tmp_path)
    with web_server(tmp_path) as web:
        checkpoint = open_checkpoint(f"{web.url}/{file.name}")
        web.trouble = lambda asked: Answer(status=403)
        with pytest.raises(CheckpointError, match=r"step_1\.h5 cannot be read: access was refused"):
            checkpoint["block0/w"].read()
        web.trouble = lambda asked: None
        checkpoint.close()
        with open_checkpoint(f"{web.url}/{file.name}") as again:
            assert again["block0/w"].read().shape == (1000, 600)
            save_file({"a": np.ones(3, np.float32)}, file)
            with pytest.raises(CheckpointError, match=r"step_1\.h5.*it changed while"):
                again["block1/w"].read()


def test_a_damaged_file_in_a_store_is_said(tmp_path):
    file = large_hdf5(tmp_path)
    file.write_bytes(file.read_bytes()[:5_000_000])
    with (
        web_server(tmp_path) as web,
        pytest.raises(CheckpointError, match=r"step_1\.h5: it is (damaged|truncated)"),
    ):
        open_checkpoint(f"{web.url}/{file.name}")


def test_secrets_go_to_the_server_and_nowhere_else(web, tmp_path, at_once):
    from typer.testing import CliRunner

    from hmmdyn.cli.main import app

    secret_url = web.url.replace("http://", "http://me:pass-4711@") + "/runs?token=tok-0815"
    page = tmp_path / "report"
    web.trouble = for_one(Answer(status=403))
    failed = CliRunner().invoke(app, ["extract", secret_url, "-o", str(tmp_path / "m.parquet")])
    assert failed.exit_code == 1
    assert "403" in failed.output
    web.trouble = lambda asked: None
    quickly = ["--states", "2", "--protocol", "bic", "--restarts", "1", "--quick"]
    done = CliRunner().invoke(app, ["analyze", secret_url, "-o", str(page), *quickly])
    assert done.exit_code == 0, done.output
    assert {one.query for one in web.asked} == {"token=tok-0815"}
    assert all(one.headers["Authorization"].startswith("Basic ") for one in web.asked)
    told = [done.output.encode(), failed.output.encode()]
    written = [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()]
    for text in (*told, *written):
        assert not re.search(rb"pass-4711|tok-0815", text)
    assert f"hmmdyn analyze {web.url}/runs" in (page / "report.html").read_text()
