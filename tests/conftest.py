from itertools import count

import pytest

_numbers = count()


def _keep_in(patch, tmp_path_factory):
    folder = tmp_path_factory.getbasetemp() / f"kept-{next(_numbers)}"  # made when it is used
    patch.setenv("XDG_CACHE_HOME", str(folder))


@pytest.fixture(autouse=True, scope="session")
def no_measurements_of_the_user(tmp_path_factory):
    """Neither use what is kept for whoever runs the tests, nor add to it."""
    with pytest.MonkeyPatch.context() as patch:
        _keep_in(patch, tmp_path_factory)
        yield


@pytest.fixture(autouse=True)
def no_measurements_of_other_tests(monkeypatch, tmp_path_factory):
    _keep_in(monkeypatch, tmp_path_factory)
