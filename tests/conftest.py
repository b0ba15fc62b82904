import gc
import shutil

import pytest

# As in hmmdyn/__main__.py: to search the libraries' objects for garbage is a tenth of the time.
gc.set_threshold(*gc.get_threshold()[:2], 1000)


@pytest.fixture(autouse=True, scope="session")
def kept_for_tests(tmp_path_factory):
    """Neither use what is kept for whoever runs the tests, nor add to it."""
    folder = tmp_path_factory.mktemp("kept")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.fixture(autouse=True)
def nothing_kept_from_other_tests(kept_for_tests):
    shutil.rmtree(kept_for_tests / "hmmdyn", ignore_errors=True)
