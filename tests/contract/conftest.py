"""One platform for the whole suite: local, or the organization that ``CONTRACT_CPLN_*`` names.

The names are not those that clients read, so that nobody tests on an organization by accident.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from cpln_flows.emulator import Platform, PlatformConfig, serve_in_thread
from tests.contract.target import Target

LOCAL = PlatformConfig(
    org="acme",
    gvc="dev",
    locations=("aws-eu-central-1", "aws-us-west-2"),
    token="s.contract",
    tokens={"s.contract": "/org/acme/group/superusers"},
    page_size=5,
    stop_grace_seconds=2,
)


@pytest.fixture(scope="session")
def platform() -> Iterator[Target]:
    """The platform under test."""
    with _real() if "CONTRACT_CPLN_TOKEN" in os.environ else _local() as target:
        yield target
        target.close()


@contextmanager
def _local() -> Iterator[Target]:
    with serve_in_thread(Platform(LOCAL)) as running:
        yield Target(
            running.url, "s.contract", LOCAL.org, LOCAL.gvc, LOCAL.locations[0], poll_seconds=0.03
        )


@contextmanager
def _real() -> Iterator[Target]:
    def given(name: str, otherwise: str | None = None) -> str:
        return (
            os.environ.get(f"CONTRACT_CPLN_{name}")
            or otherwise
            or pytest.fail(f"CONTRACT_CPLN_{name} is not set")
        )

    url = given("ENDPOINT", "https://api.cpln.io")
    yield Target(
        url, given("TOKEN"), given("ORG"), given("GVC"), given("LOCATION"), poll_seconds=0.3
    )
