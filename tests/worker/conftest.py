"""A work pool with short waits for each test."""

import pytest

from tests.scenarios.pools import QUICK, Pool


@pytest.fixture
def pool(local, prefect_api, monkeypatch) -> Pool:
    for name, value in QUICK.items():
        monkeypatch.setenv(name, value)
    return Pool(local, prefect_api)
