import pytest


@pytest.fixture
def sync_worlds(request: pytest.FixtureRequest) -> list[int]:
    """Seeds of the worlds that the sync is simulated in."""
    return seeds(request.config, 3)


@pytest.fixture
def cleanup_worlds(request: pytest.FixtureRequest) -> list[int]:
    """Seeds of the worlds that the clean-up is simulated in."""
    return seeds(request.config, 20)


@pytest.fixture
def race_worlds(request: pytest.FixtureRequest) -> list[int]:
    """Seeds of the worlds in which starts and clean-ups race."""
    return seeds(request.config, 3)


def seeds(config: pytest.Config, usual: int) -> list[int]:
    one = config.getoption("--world")
    return [one] if one is not None else list(range(config.getoption("--worlds") or usual))
