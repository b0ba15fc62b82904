import os

import pytest
from joblib.externals.loky import get_reusable_executor

from tests.make_runs import write_runs


@pytest.fixture
def at_once(monkeypatch):
    """Ask stores again without waiting; what would have been waited for is given."""
    waited = []
    monkeypatch.setattr("hmmdyn.places.store.sleep", waited.append)
    return waited


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """Runs on disk whose checkpoints are half a megabyte each."""
    root = tmp_path_factory.mktemp("served") / "runs"
    return write_runs(root, n_runs=2, steps=range(0, 160, 20), shape=(300, 400))


@pytest.fixture
def new_workers():
    """Processes that have the environment as it is now: they live on, with that of their start."""
    get_reusable_executor().shutdown(wait=True)
    yield
    get_reusable_executor().shutdown(wait=True)


@pytest.fixture(scope="module")
def bucket_url(runs):
    """Where a server of S3 with the runs in a bucket answers, and an account to read it with."""
    botocore = pytest.importorskip("botocore.session", reason="the extra 'remote' is not installed")
    s3fs = pytest.importorskip("s3fs", reason="the extra 'remote' is not installed")
    server = pytest.importorskip("moto.server", reason="moto[server] is not installed")
    started = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    started.start()
    host, port = started.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "who-4711")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret-0815")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        client = botocore.get_session().create_client("s3")
        client.create_bucket(Bucket="box")
        for file in runs.rglob("*"):
            if file.is_file():
                key = f"some/{file.relative_to(runs.parent).as_posix()}"
                client.put_object(Bucket="box", Key=key, Body=file.read_bytes())
        s3fs.S3FileSystem.clear_instance_cache()  # of another server, where there was one
        yield f"http://{host}:{port}"
    started.stop()


@pytest.fixture(scope="module")
def bucket(bucket_url):
    """A client for that bucket."""
    import botocore.session

    return botocore.session.get_session().create_client("s3")
