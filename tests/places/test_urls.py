"""What a URL says, and what a store's failure means, without a server."""

import errno

import pytest

from hmmdyn import Options
from hmmdyn.errors import UsageError
from hmmdyn.places import place, shown
from hmmdyn.places.opening import _of_azure
from hmmdyn.places.trouble import trouble_of
from hmmdyn.places.web import WebStore
from tests.test_cli import one_line, run

pytest.importorskip("fsspec")
SECRETS = "AKIA:se/cret"


def raised(error, cause):
    error.__cause__ = cause
    return error


def test_a_lost_connection_is_no_missing_file():
    """fsspec says of any failure that the file is not there."""
    lost = trouble_of(raised(FileNotFoundError("https://host/x?token=T"), ConnectionResetError()))
    assert lost.passes
    assert "connection failed" in lost.error.strerror
    for missing in (FileNotFoundError("x"), raised(FileNotFoundError("x"), KeyError("x"))):
        trouble = trouble_of(missing)
        assert not trouble.passes
        assert trouble.error.errno == errno.ENOENT


def test_whatever_a_client_raises_is_told_without_its_text():
    """A worker may lack a package, and a client that meets nonsense raises anything."""
    for error in (ValueError("https://u:hush@host"), KeyError("hush"), RuntimeError("hush")):
        trouble = trouble_of(error)
        assert trouble.error.strerror == f"its client failed ({type(error).__name__})"
        assert not trouble.passes
    assert "pip install 'hmmdyn[remote]'" in trouble_of(ModuleNotFoundError("x")).error.strerror


@pytest.mark.parametrize(
    "url", [f"s3://{SECRETS}@bucket/x", "https://u:p?x@host", "https://u:p#@h"]
)
def test_a_password_that_ends_the_host_is_told_nowhere(url):
    assert shown(url) == f"{url.partition('://')[0]}://…"
    with pytest.raises(UsageError, match=r"Write / as %2F") as refused:
        place(url)
    assert "cret" not in str(refused.value)


@pytest.mark.parametrize("url", ["https://[host/x", "https://host:99999/x", "https://host:port/x"])
def test_a_host_that_cannot_be_is_wrong_usage(url):
    pytest.importorskip("aiohttp")
    with pytest.raises(UsageError):
        place(url)


@pytest.mark.parametrize(
    "url", ["https://runs.example.org", "https://runs.example.org/", "https://host/model.v2/"]
)
def test_a_host_and_what_ends_in_a_slash_are_folders(url):
    pytest.importorskip("aiohttp")
    assert place(url).is_dir()


def test_a_file_that_was_asked_for_is_no_folder_below():
    store = WebStore("https", {})
    store._known["https://host/runs/a.pt"] = store._status_of({"type": "file", "size": 5})
    store._listed["https://host/runs"] = ["https://host/runs/a.pt"]
    assert list(store.folders("https://host/runs", {}, lambda name: True)) == [
        ((), ["https://host/runs/a.pt"])
    ]


def test_the_container_of_azure_is_no_password():
    store, key = _of_azure("abfs", "runs@account.dfs.core.windows.net", "/a/b")
    assert key == "abfs://runs/a/b"
    assert store.options == {"account_name": "account"}


def test_fit_tells_no_password_of_a_url():
    said = run("fit", "memory://u:hush@host/runs?token=T", "-o", "map.json", code=2).output
    assert "takes a metric table, and memory://host/runs is none" in one_line(said)
    assert "hush" not in said


@pytest.mark.parametrize("flag", ["--outcomes", "--metrics-table", "--metrics-from"])
def test_what_takes_a_file_of_this_machine_tells_no_password_of_a_url(flag, tmp_path):
    url = "https://u:hush@host/t.csv?token=T"
    said = run("analyze", str(tmp_path), flag, url, code=2).output
    assert f"'{flag}' takes a file or folder of this machine, not a URL." in one_line(said)
    assert "hush" not in said
    name = {"--outcomes": "outcomes_file"}.get(flag, flag[2:].replace("-", "_"))
    with pytest.raises(UsageError, match="not a URL") as refused:
        Options(**{name: url})
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("extract", "{runs}", "-o", "{url}"), "output"),
        (("analyze", "{runs}", "-o", "{url}"), "output"),
        (("fit", "{runs}", "-o", "{url}"), "output"),
        (("merge", "{url}", "-o", "m.parquet"), "shards"),
    ],
)
def test_a_url_is_no_path_of_this_machine(words, name, tmp_path, monkeypatch):
    """As a path, it would be a folder called ``https:`` with a password in it."""
    monkeypatch.chdir(tmp_path)
    url = "https://u:hush@host/t.parquet"
    said = run(*(word.format(runs=tmp_path, url=url) for word in words), code=2).output
    assert f"'{name}' takes a file or folder of this machine, not a URL" in one_line(said)
    assert "hush" not in said
    assert not list(tmp_path.iterdir())
