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
