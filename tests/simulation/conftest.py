import pytest


@pytest.fixture
def sync_worlds(request: pytest.FixtureRequest) -> list[int]:
    """Seeds of the worlds to simulate."""
    one = request.config.getoption("--world")
    return [one] if one is not None else list(range(request.config.getoption("--worlds") or 3))
