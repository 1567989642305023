"""Runs in no work pool are found among thousands by counting, without reading them all."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.states import Running

from cpln_flows.reconcile.flow_runs import PrefectFlowRuns

pytestmark = pytest.mark.anyio

BEGAN = datetime(2026, 1, 10, tzinfo=UTC)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclass
class Server:
    """Thousands of runs that are under way, and what is asked about them."""

    pools: list[str | None]
    seconds_between: float = 1
    counts: int = 0
    read: list[UUID] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.runs = [
            FlowRun.model_construct(
                id=UUID(int=number),
                name=f"run-{number}",
                state=Running(),
                work_pool_name=pool,
                labels={},
                expected_start_time=BEGAN + timedelta(seconds=self.seconds_between * number),
                infrastructure_pid=None,
                run_count=1,
                parent_task_run_id=None,
                deployment_id=None,
                flow_id=UUID(int=0),
            )
            for number, pool in enumerate(self.pools)
        ]

    def _wanted(self, flow_run_filter) -> list[FlowRun]:
        start = flow_run_filter.expected_start_time
        after, before = (start.after_, start.before_) if start else (None, None)
        return [
            run
            for run in self.runs
            if (not after or run.expected_start_time >= after)
            and (not before or run.expected_start_time <= before)
        ]

    async def count_flow_runs(self, *, flow_run_filter, work_pool_filter=None) -> int:
        self.counts += 1
        wanted = self._wanted(flow_run_filter)
        return len([run for run in wanted if run.work_pool_name] if work_pool_filter else wanted)

    async def read_flow_runs(self, *, flow_run_filter, sort, limit, offset=0, **_) -> list[FlowRun]:
        wanted = self._wanted(flow_run_filter)
        page = (wanted[::-1] if sort.value.endswith("DESC") else wanted)[offset : offset + limit]
        self.read += [run.id for run in page]
        return page


async def outside(server: Server) -> list[int]:
    return sorted(run.id.int for run in await PrefectFlowRuns(server).without_pool())


async def test_few_are_found_among_thousands() -> None:
    server = Server(["pool" if number not in (3, 4, 3_000) else None for number in range(4_000)])
    assert await outside(server) == [3, 4, 3_000]
    assert server.counts < 100
    assert len(set(server.read)) < 500


async def test_none_are_found_by_three_counts() -> None:
    server = Server(["pool"] * 4_000)
    assert await outside(server) == []
    assert (server.counts, server.read) == (3, [])


async def test_runs_of_one_moment_are_all_found() -> None:
    server = Server([None] * 450, seconds_between=0)
    assert await outside(server) == list(range(450))
