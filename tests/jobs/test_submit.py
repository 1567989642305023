"""Which shared workload a job is started on."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from logging import getLogger

import httpx
import pytest
from pydantic import SecretStr

from cpln_flows import CplnJob
from cpln_flows.api.client import CplnClient
from cpln_flows.api.retry import Repeat
from cpln_flows.emulator import (
    Exit,
    ManualClock,
    Platform,
    PlatformConfig,
    Script,
    ScriptedExecutor,
)
from cpln_flows.jobs.submit import Submitter
from cpln_flows.logger import Journal
from cpln_flows.orchestration import JobIdentity
from cpln_flows.settings import ApiSettings
from tests.manifests import kubernetes_job
from tests.simulation.world import settle

pytestmark = pytest.mark.anyio
RETENTIONS = [
    pytest.param(None, id="commands-are-kept"),
    pytest.param(600, id="commands-are-forgotten"),
]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def submit(client: CplnClient) -> str:
    plan = CplnJob(org="local", namespace="quickstart", v1_job=kubernetes_job("x")).plan(
        JobIdentity.anonymous(), "local-1"
    )
    shared = replace(plan, private=False, shared_name="w")
    submitter = Submitter(
        client, shared, (), Journal(getLogger("test")), ready_timeout_seconds=10, settle_seconds=0
    )
    return (await submitter.submit()).ref.workload


@pytest.mark.parametrize("retention", RETENTIONS)
@pytest.mark.parametrize(("hours", "is_reused"), [(19, True), (21, False)])
async def test_a_workload_is_reused_unless_it_may_be_about_to_be_deleted(
    hours, is_reused, retention
) -> None:
    now = datetime.now(UTC)
    clock = ManualClock(now - timedelta(hours=hours + 30))
    config = PlatformConfig(token="t", command_retention_seconds=retention)
    platform = Platform(config, clock=clock, executor=ScriptedExecutor(Script((Exit(1),))))
    settings = ApiSettings(token=SecretStr("t"), endpoint="http://local")
    async with CplnClient(settings, transport=httpx.ASGITransport(app=platform.app)) as client:
        first = await submit(client)
        await settle()
        clock.advance(30 * 3600)
        # The second job makes the workload a used one again, however old it is.
        await client.post(
            f"/org/local/gvc/quickstart/workload/{first}/-command", BODY, repeat=Repeat.NEVER
        )
        await settle()
        clock.advance((now - clock.now()).total_seconds())
        assert (await submit(client) == first) is is_reused
        assert len(platform.workloads()) == (1 if is_reused else 2)
    await platform.aclose()


BODY = {"type": "runCronWorkload", "spec": {"location": "local-1"}}
