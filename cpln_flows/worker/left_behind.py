"""Flow runs whose worker is gone: found by the labels that workers give them, and claimed by one of those that look."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

import anyio
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import FlowRun, StateType, WorkerStatus
from prefect.client.schemas.sorting import FlowRunSort

from cpln_flows.orchestration import PAGE

WORKER_LABEL = "prefect.worker.name"

_UNDER_WAY = (StateType.PENDING, StateType.RUNNING, StateType.CANCELLING)
# A worker labels a run a moment after it has made it PENDING.
_YOUNG = timedelta(seconds=30)
_CLAIM_SECONDS = 1.0


async def under_way(client: PrefectClient, pool: str) -> list[FlowRun]:
    """Return the pool's runs that have, or should have, a container."""
    found: list[FlowRun] = []
    while True:
        page = await client.read_flow_runs(
            work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[pool])),
            flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(_UNDER_WAY)))),
            sort=FlowRunSort.ID_DESC,
            limit=PAGE,
            offset=len(found),
        )
        found += page
        if len(page) < PAGE:
            return found


async def online(client: PrefectClient, pool: str) -> set[str]:
    """Return the names of the pool's workers that have sent a heartbeat lately."""
    workers = await client.read_workers_for_work_pool(pool, limit=PAGE, offset=0)
    return {worker.name for worker in workers if worker.status is WorkerStatus.ONLINE}


def is_left_behind(run: FlowRun, *, name: str, online: Collection[str], now: datetime) -> bool:
    """Whether the worker that had this run is gone.

    Args:
        run: A run that the worker which looks does not follow.
        name: Name of that worker: what carries it was left behind by its predecessor.
        online: Names of the workers that have sent a heartbeat lately.
        now: The time.
    """
    label = run.labels.get(WORKER_LABEL)
    if label == name:
        return True
    if run.state is None or now - run.state.timestamp < _YOUNG:
        return False
    # Without a label it is either about to get one, or was submitted from somebody's program, which then stores the pid.
    return run.infrastructure_pid is not None if label is None else label not in online


async def claim(client: PrefectClient, run: FlowRun, name: str) -> bool:
    """Put this worker's name on a run; return false if another worker was quicker to put its own."""
    if run.labels.get(WORKER_LABEL) == name:
        return True
    await client.update_flow_run_labels(run.id, {WORKER_LABEL: name})
    await anyio.sleep(_CLAIM_SECONDS)
    return (await client.read_flow_run(run.id)).labels.get(WORKER_LABEL) == name
