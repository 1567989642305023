"""The clean-up, on the local platform and a real Prefect server."""

import anyio
import pytest
from prefect.client.orchestration import get_client

from cpln_flows import cleanup_orphaned_workloads
from cpln_flows.emulator import ManualClock, Platform, PlatformConfig, Script, ScriptedExecutor
from tests.scenarios.hands import Hands

pytestmark = [pytest.mark.usefixtures("prefect_api"), pytest.mark.xdist_group("prefect")]
DAY = 86_400


def test_x(local):
    pass
