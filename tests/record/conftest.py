import sys

import pytest


@pytest.fixture(autouse=True)
def one_thread():
    """Keep PyTorch's threads from waiting for each other on a busy machine."""
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)
