"""The sync and the clean-up on a machine whose clock is wrong.

They judge ages by the clocks of Prefect and the platform.
"""

import re
import time
from datetime import UTC, datetime, timedelta

import anyio
import pytest
from prefect.states import Completed, Pending, Running

from cpln_flows import SyncOptions, cleanup_orphaned_workloads, sync
from cpln_flows.emulator import (
    Exit,
    ManualClock,
    Platform,
    PlatformConfig,
    Script,
    ScriptedExecutor,
)
from cpln_flows.worker.flow_runs import FlowRunBoard
from tests.manifests import FOREVER
from tests.patience import PATIENCE_SECONDS
from tests.scenarios.hands import Hands

pytestmark = [
    pytest.mark.usefixtures("prefect_api"),
    pytest.mark.xdist_group("prefect"),
    pytest.mark.anyio,
]

AHEAD = timedelta(minutes=20)
HOUR = 3600


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def hands(local):
    async with Hands(local) as opened:
        yield opened


@pytest.fixture
def fast_clock(monkeypatch) -> None:
    """This machine's clock as the flows read it, 20 minutes ahead of both servers'."""
    ahead_ns = int(AHEAD.total_seconds() * 1e9)
    monkeypatch.setattr("cpln_flows.api.timekeeping.time_ns", lambda: time.time_ns() + ahead_ns)
    monkeypatch.setattr("cpln_flows.reconcile.cycles.clock", lambda: datetime.now(UTC) + AHEAD)


async def reaches(hands: Hands, ref, stage: str) -> None:
    with anyio.fail_after(PATIENCE_SECONDS):
        while await hands.stage(ref) != stage:  # noqa: ASYNC110 - another process sets no event here
            await anyio.sleep(0.05)


@pytest.mark.usefixtures("fast_clock")
async def test_fast_clock_uses_up_no_grace(hands, monkeypatch, caplog) -> None:
    pending = await hands.run(Pending())
    ended, over = await hands.run(Pending(), Running()), await hands.run(Pending(), Running())
    of_ended = await hands.container(ended, await hands.workload("pass"))
    of_over = await hands.container(over, await hands.workload(FOREVER))
    await reaches(hands, of_ended, "completed")
    await reaches(hands, of_over, "running")
    await hands.become(over, Completed())
    monkeypatch.setenv("PREFECT_AGENT_CPLN_MONITOR_INTERVAL", "0.05")
    result = await sync(options=SyncOptions(work_pool=hands.pool), cycles=2)
    assert result["changes"] == 0
    assert [(await hands.state(run)).type.value for run in (pending, ended, over)] == [
        "PENDING",
        "RUNNING",
        "COMPLETED",
    ]
    assert await hands.stage(of_over) == "running"
    skews = [
        line
        for line in caplog.messages
        if re.search("1[12].. s ahead of the clock of Prefect", line)
    ]
    assert len(skews) == 1, "a skew is logged once"


async def test_worker_takes_state_ages_from_prefect(hands, fast_clock) -> None:
    run = await hands.run(Pending(), Running(), Completed())
    age = await FlowRunBoard(hands.prefect, 5).now() - (await hands.state(run)).timestamp
    assert age < timedelta(minutes=1)


def behind() -> Platform:
    """A platform whose clock is half an hour behind this machine's once it is moved by 60 hours."""
    start = datetime.now(UTC) - timedelta(hours=60, minutes=30)
    return Platform(
        PlatformConfig(delete_delay_seconds=0),
        clock=ManualClock(start),
        executor=ScriptedExecutor(Script((Exit(1),))),
    )


@pytest.mark.parametrize("local", [behind], indirect=True)
async def test_cleanup_counts_idle_hours_on_platform(hands, caplog) -> None:
    clock = hands.local.platform.clock
    await hands.workload(name="orphan")
    clock.advance(36.2 * HOUR)
    await hands.workload(name="used-lately")
    clock.advance(23.8 * HOUR)
    await cleanup_orphaned_workloads()
    assert [workload["name"] for workload in hands.local.platform.workloads()] == ["used-lately"]
    assert any(
        re.search("18.. s ahead of the clock of the platform", line) for line in caplog.messages
    )
