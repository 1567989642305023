"""Starts and clean-ups of the same workloads at the same moment.

The times are around the hours at which both change their decision.

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
from cpln_flows.api import secrets
from cpln_flows.api.client import CplnClient
from cpln_flows.cleanup import decide as orphans
from cpln_flows.cleanup.delete import Deleter
from cpln_flows.cleanup.observe import Observer
from cpln_flows.emulator import (
    Exit,
    ManualClock,
    Platform,
    PlatformConfig,
    Script,
    ScriptedExecutor,
)
from cpln_flows.jobs.submit import StartedJob, Submitter
from cpln_flows.logger import Journal
from cpln_flows.model.policy import Limits
from cpln_flows.orchestration import JobIdentity
from cpln_flows.settings import ApiSettings
from tests.manifests import kubernetes_job
from tests.simulation.world import GVC

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


async def submitter(client: CplnClient, number: int) -> Submitter:
    """Who submits a job; every other one has an identity that the library makes."""
    job = CplnJob(org="local", namespace="quickstart", v1_job=kubernetes_job("pass"))
    plan = replace(
        job.plan(JobIdentity.anonymous("race"), "local-1"), private=False, shared_name=f"w-{number}"
    )
    if number % 2:
        identity = await secrets.put_identity(client, GVC, f"i-{number}", description="for a race")
        plan = replace(plan, manifest=replace(plan.manifest, identity=identity))
    return Submitter(
        client,
        plan,
        (),
        Journal(getLogger("simulation")),
        ready_timeout_seconds=10,
        settle_seconds=0,
    )


async def start(client: CplnClient, number: int) -> StartedJob:
    return await (await submitter(client, number)).submit()


async def races(seed: int) -> tuple[int, int]:
    """Return how many workloads were deleted, and how many jobs are lost."""
    chance = random.Random(seed)  # noqa: S311 - what happens shall be repeatable
    now = datetime.now(UTC)
    clock = ManualClock(now - timedelta(hours=30))
    config = PlatformConfig(token="t", delete_delay_seconds=5)
    platform = Platform(config, clock=clock, executor=ScriptedExecutor(Script((Exit(1),))))
    settings = ApiSettings(token=SecretStr("t"), endpoint="http://local")
    async with CplnClient(settings, transport=Uneven(platform, chance)) as client:
        ages = sorted(
            (chance.choice([20, 24, 24, 22]) + chance.uniform(-0.01, 0.01) for _ in range(RACES)),
            reverse=True,
        )
        for number, age in enumerate(ages):
            clock.advance((now - timedelta(hours=age) - clock.now()).total_seconds())
            await start(client, number)
        clock.advance((now - clock.now()).total_seconds())
        skew = timedelta(hours=chance.uniform(-1, 1))
        observer = Observer(client, "local", None, orphans.IDLE, lambda: datetime.now(UTC) + skew)

        async def clean() -> int:
            sweep = orphans.sweep(await observer.inventory(), Limits(share=1))
            return sum(one.done for one in await Deleter(observer).delete(sweep))

        deleted, *started = await asyncio.gather(
            clean(), *(start(client, number) for number in range(RACES))
        )
        clock.advance(10)
        there = {command["id"] for command in platform.commands()}
        identities = {f"{GVC.path}/identity/{one['name']}" for one in platform.objects("identity")}
        used = {
            one["spec"]["identityLink"]
            for one in platform.workloads()
            if "identityLink" in one["spec"]
        }
        await platform.aclose()
    assert used <= identities, f"{used - identities} are gone"
    return deleted, sum(job.ref.command_id not in there for job in started)


@pytest.mark.timeout(0)  # as long as the option --worlds says
def test_no_job_is_lost_when_start_and_cleanup_race(race_worlds) -> None:
    deleted = 0
    for seed in race_worlds:
        gone, lost = asyncio.run(races(seed))
        assert lost == 0, (
            f"pytest tests/simulation -n 0 -k start_and_cleanup --world {seed}:"
            f" {lost} jobs are lost"
        )
        deleted += gone
    assert deleted > 0
