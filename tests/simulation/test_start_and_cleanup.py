"""Starts and clean-ups of the same workloads at the same moment, around the hours at which both change their mind.

More of them: ``pytest tests/simulation -n 0 -k start_and_cleanup --worlds 50`` (20 races a world).
"""

import asyncio
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from logging import getLogger

import httpx
import pytest
from pydantic import SecretStr

from cpln_flows import CplnJob
from cpln_flows.api.client import CplnClient
from cpln_flows.emulator import Exit, ManualClock, Platform, PlatformConfig, Script, ScriptedExecutor
from cpln_flows.jobs.journal import Journal
from cpln_flows.jobs.submit import Submitter
from cpln_flows.orchestration import JobIdentity
from cpln_flows.reconcile import orphans
from cpln_flows.reconcile.inventory import Storekeeper
from cpln_flows.reconcile.plan import Limits
from cpln_flows.settings import ApiSettings
from tests.manifests import kubernetes_job

RACES = 20
HOUR = 3600.0


class Uneven(httpx.ASGITransport):
    """Requests that arrive in any order."""

    def __init__(self, platform: Platform, chance: random.Random) -> None:
        super().__init__(app=platform.app)
        self._chance = chance

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        for _ in range(self._chance.randint(0, 30)):
            await asyncio.sleep(0)
        return await super().handle_async_request(request)


def submitter(client: CplnClient, number: int) -> Submitter:
    job = CplnJob(org="local", namespace="quickstart", v1_job=kubernetes_job("pass"))
    plan = replace(job.plan(JobIdentity.anonymous("race"), "local-1"), private=False, shared_name=f"w-{number}")
    return Submitter(client, plan, (), Journal(getLogger("simulation")), ready_timeout_seconds=10, settle_seconds=0)


async def races(seed: int) -> tuple[int, int]:
    """Return how many workloads were deleted, and how many jobs are lost."""
    chance = random.Random(seed)  # noqa: S311 - what happens shall be repeatable
    now = datetime.now(UTC)
    clock = ManualClock(now - timedelta(hours=30))
    platform = Platform(PlatformConfig(delete_delay_seconds=5), clock=clock, executor=ScriptedExecutor(Script((Exit(1),))))
    settings = ApiSettings(token=SecretStr("t"), endpoint="http://local")
    async with CplnClient(settings, transport=Uneven(platform, chance)) as client:
        ages = sorted((chance.choice([20, 24, 24, 22]) + chance.uniform(-0.01, 0.01) for _ in range(RACES)), reverse=True)
        for number, age in enumerate(ages):
            clock.advance((now - timedelta(hours=age) - clock.now()).total_seconds())
            await submitter(client, number).submit()
        clock.advance((now - clock.now()).total_seconds())
        skew = timedelta(hours=chance.uniform(-1, 1))
        keeper = Storekeeper(client, "local", None, orphans.IDLE, lambda: datetime.now(UTC) + skew)

        async def clean() -> int:
            sweep = orphans.sweep(await keeper.inventory(), Limits(share=1))
            return sum(one.done for one in await keeper.delete(sweep))

        deleted, *started = await asyncio.gather(clean(), *(submitter(client, number).submit() for number in range(RACES)))
        clock.advance(10)
        there = {command["id"] for command in platform.commands()}
        await platform.aclose()
    return deleted, sum(job.ref.command_id not in there for job in started)


@pytest.mark.timeout(0)  # as long as the option --worlds says
def test_no_job_is_lost_when_start_and_cleanup_race(race_worlds) -> None:
    results = [asyncio.run(races(seed)) for seed in race_worlds]
    assert [lost for _, lost in results] == [0] * len(results)
    assert sum(deleted for deleted, _ in results) > 0
