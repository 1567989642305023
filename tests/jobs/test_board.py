"""The status board on a platform in this process.

How many requests a poll takes, and what a failed one changes.
"""

from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import anyio
import anyio.lowlevel
import httpx
import pytest
from pydantic import SecretStr

from cpln_flows.api import commands, workloads
from cpln_flows.api.client import CplnClient
from cpln_flows.emulator import (
    Exit,
    Fault,
    ManualClock,
    Platform,
    PlatformConfig,
    Script,
    ScriptedExecutor,
)
from cpln_flows.jobs.board import StatusBoard
from cpln_flows.model.links import GvcRef
from cpln_flows.settings import ApiSettings
from tests.emulator.support import WORKLOAD

pytestmark = pytest.mark.anyio
W1 = GvcRef("local", "quickstart").workload("w-1")
HOUR = 3600


class Board:
    """A board over jobs that are as old as the test says."""

    def __init__(self, platform, clock, client):
        self.platform, self.clock, self.client = platform, clock, client
        self.board = StatusBoard(client, W1)
        self.woken = 0

    async def job(self):
        ref = await commands.start(self.client, W1, location="local-1", overrides=[], tags={})
        await anyio.lowlevel.checkpoint()  # what is due on the platform happens
        entry = self._watch(ref.command_id)
        entry.created = self.clock.now() - timedelta(minutes=10)
        return entry

    def _watch(self, command_id, *, has_sidecars=False):
        def wake():
            self.woken += 1

        return self.board.watch(
            command_id, location="local-1", has_sidecars=has_sidecars, wake=wake
        )

    async def requests_of_a_look(self):
        before = len(self.platform.requests)
        await self.board.look()
        return [
            f"{r.method} {r.path.removeprefix(W1.path)}" for r in self.platform.requests[before:]
        ]


@asynccontextmanager
async def _board(hours_ago=0.0, ends_after=None, **config):
    clock = ManualClock(datetime.now(UTC) - timedelta(hours=hours_ago))
    script = Script(()) if ends_after is None else Script([Exit(ends_after)])
    platform = Platform(
        PlatformConfig(token="s.test", **config),
        clock=clock,
        executor=ScriptedExecutor(script, clock=clock),
    )
    settings = ApiSettings(token=SecretStr("s.test"), endpoint="http://local", retry_seconds=0)
    async with CplnClient(settings, transport=httpx.ASGITransport(app=platform.app)) as client:
        await workloads.create(client, GvcRef("local", "quickstart"), WORKLOAD)
        clock.advance(1)
        yield Board(platform, clock, client)
    await platform.aclose()


QUERY = "POST /-command/-query"


async def test_one_job_is_read_by_its_id() -> None:
    async with _board() as here:
        entry = await here.job()
        (request,) = await here.requests_of_a_look()
        assert request == f"GET /-command/{entry.command_id}"
        assert entry.command.lifecycle_stage == "running"


@pytest.mark.parametrize("count", [2, 50])
async def test_many_jobs_take_one_query_also_those_that_have_ended(count) -> None:
    async with _board(ends_after=5, page_size=1000) as here:
        entries = [await here.job() for _ in range(count)]
        assert await here.requests_of_a_look() == [QUERY]
        assert {entry.command.lifecycle_stage for entry in entries} == {"running"}
        here.clock.advance(10)
        assert await here.requests_of_a_look() == [QUERY]
        assert {entry.command.lifecycle_stage for entry in entries} == {"completed"}
        assert here.woken == 2 * count


async def test_old_jobs_do_not_read_again_all_that_ended_since_they_began() -> None:
    async with _board(hours_ago=5, page_size=10) as here:
        old = [await here.job() for _ in range(2)]
        here.clock.advance(5 * HOUR)
        for _ in range(3):
            await here.job()
        requests = await here.requests_of_a_look()
        assert requests == [QUERY, QUERY]
        assert all(entry.command is not None for entry in [*here.board.watched, *old])


async def test_an_old_job_that_has_ended_is_read_by_its_id() -> None:
    async with _board(hours_ago=5, ends_after=60, command_retention_seconds=None) as here:
        first, second = [await here.job() for _ in range(2)]
        here.clock.advance(5 * HOUR)
        await here.client.get("/org/local")  # any answer tells the platform's time
        assert len(await here.requests_of_a_look()) == 4
        assert first.command.is_terminal
        assert second.command.is_terminal


async def test_two_followers_of_one_job_both_learn_of_it() -> None:
    async with _board() as here:
        first = await here.job()
        second = here._watch(first.command_id)
        assert len(await here.requests_of_a_look()) == 1
        assert first.command == second.command != None  # noqa: E711
        here.board.forget(first)
        here.clock.advance(1)
        await here.board.look()
        assert here.board.watched == [second]


@pytest.mark.parametrize(
    "fault", [{"status": 503}, {"status": 401}, {"status": 403}, {"body": "no"}]
)
async def test_a_look_that_fails_changes_nothing_but_the_error(fault) -> None:
    async with _board() as here:
        first, second = [await here.job() for _ in range(2)]
        await here.board.look()
        known = first.command
        here.platform.faults.add(Fault(path="-query", times=1, **fault))
        await here.board.look()
        assert first.command is known
        assert (first.absence.looks, second.absence.looks) == (0, 0)
        assert first.error is not None
        await here.board.look()
        assert first.error is None


async def test_execution_outweighs_missing_command() -> None:
    async with _board() as here:
        entry = await here.job()
        here.platform.faults.add(Fault(method="GET", path="/-command/", times=1, status=404))
        await here.board.look()
        assert entry.is_missing
        assert entry.absence.looks == 0
        await here.board.look()
        assert not entry.is_missing
        assert entry.deployment is None


async def test_only_unshown_looks_count_as_absence() -> None:
    async with _board() as here:
        entry = await here.job()
        empty = '{"name": "local-1", "status": {"jobExecutions": []}}'
        nothing = {"path": "/deployment/", "body": empty, "content_type": "application/json"}
        looks = [
            (404, nothing, 1),
            (404, nothing, 2),
            (503, nothing, 2),
            (404, {"path": "/deployment/", "status": 503}, 2),
        ]
        looks += [(404, {"path": "/deployment/", "status": 404}, 3), (None, None, 0)]
        for status, deployment, counted in looks:
            here.platform.faults.clear()
            if status:
                here.platform.faults.add(
                    Fault(method="GET", path="/-command/", status=status, times=None)
                )
                here.platform.faults.add(Fault(method="GET", times=None, **deployment))
            await here.board.look()
            assert entry.absence.looks == counted


async def test_jobs_of_deleted_workload_count_as_absent() -> None:
    async with _board() as here:
        entries = [await here.job() for _ in range(2)]
        here.platform.faults.add(Fault(path="/workload/", status=404, times=None))
        await here.board.look()
        assert [entry.absence.looks for entry in entries] == [1, 1]


async def test_refused_token_is_timed_until_accepted() -> None:
    async with _board() as here:
        entry = await here.job()
        here.platform.faults.add(Fault(path="/-command/", status=401, times=2))
        await here.board.look()
        since = entry.refused_since
        await here.board.look()
        here.platform.faults.add(Fault(path="/-command/", status=503))
        await here.board.look()
        assert entry.refused_since == since is not None
        await here.board.look()
        assert entry.refused_since is None


async def test_sidecars_need_the_deployment_too() -> None:
    async with _board() as here:
        ref = await commands.start(here.client, W1, location="local-1", overrides=[], tags={})
        entry = here._watch(ref.command_id, has_sidecars=True)
        assert len(await here.requests_of_a_look()) == 2
        assert entry.deployment.execution_of(ref.command_id) is not None


async def test_a_look_that_is_cancelled_does_not_block_the_next() -> None:
    async with _board() as here:
        entry = await here.job()
        here.platform.faults.add(Fault(method="GET", path="/-command/", times=1, delay_seconds=600))
        async with anyio.create_task_group() as group:
            group.start_soon(here.board.look)
            await anyio.wait_all_tasks_blocked()
            assert here.board.looking
            await here.board.look()
            assert entry.command is None
            group.cancel_scope.cancel()
        await here.board.look()
        assert entry.command is not None
