"""Fixtures for testing flows that run jobs.

Enable them with ``pytest_plugins = ["cpln_flows.local.pytest_plugin"]`` in a ``conftest.py``.

A job runs as a process of the machine that runs the tests, whatever its image. Keep to commands
that exist there, or give the platform a ``ScriptedExecutor``, which plays what jobs do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from cpln_flows.emulator import Platform
from cpln_flows.local import prefect_console
from cpln_flows.local.platform import OWN_PREFIX, LocalPlatform, local_platform


@pytest.fixture
def cpln_platform() -> Platform:
    """The platform behind ``cpln_local``; override it for another configuration, clock or executor.

    Example:
        ```python
        @pytest.fixture
        def cpln_platform():
            script = Script([Line(0, "about to fail"), Exit(1, code=3)])
            config = PlatformConfig(locations=("aws-eu-central-1",))
            return Platform(config, executor=ScriptedExecutor(script))
        ```
    """
    return Platform()


@pytest.fixture
def cpln_local(cpln_platform: Platform, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalPlatform]:
    """A local Control Plane for one test, which the environment points at while the test runs.

    At the end every job is killed and nothing is left.
    """
    with pointed_at(cpln_platform, monkeypatch) as running:
        yield running
    prefect_console.outlive_capture()


@contextmanager
def pointed_at(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalPlatform]:
    """Serve a platform, and point the environment at it.

    Args:
        platform: The platform to serve.
        monkeypatch: Changes the environment, and restores it.
    """
    with local_platform(platform) as running:
        for name, value in running.environment.items():
            monkeypatch.setenv(name, value)
            monkeypatch.delenv(f"{OWN_PREFIX}{name}", raising=False)
        yield running
