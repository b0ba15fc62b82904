import pytest

from hmmdyn.dynamics.convergence import measure_convergence
from hmmdyn.dynamics.occupancy import bag_of_states
from tests.dynamics.paths import detour_world


@pytest.fixture
def world():
    data = detour_world()
    convergence = measure_convergence(data, ("accuracy",), threshold=0.5)
    return data, bag_of_states(data, 4), convergence
