"""End what a flow run without a process left behind: its task runs, and the flow runs inside it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterParentFlowRunId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    TaskRunFilter,
    TaskRunFilterFlowRunId,
    TaskRunFilterState,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import TERMINAL_STATES, State, StateType
from prefect.client.schemas.sorting import FlowRunSort, TaskRunSort

from cpln_flows.model.identifiers import JOB_FLOW

Propose = Callable[[UUID, State[None]], Awaitable[object]]

_PAGE = 200  # the most that Prefect's API returns at once
_AT_ONCE = 10  # more requests at once do not make Prefect's server accept more per second
_MOST = 10_000
_DEEPEST = 50
_UNFINISHED = TaskRunFilterState(
    type=TaskRunFilterStateType(any_=sorted(set(StateType) - TERMINAL_STATES))
)
_UNDER_WAY = FlowRunFilterState(
    type=FlowRunFilterStateType(any_=[StateType.PENDING, StateType.RUNNING, StateType.CANCELLING])
)


async def end_below(
    client: PrefectClient, flow_runs: Collection[UUID], state: State[None], propose: Propose
) -> int:
    """End what did not end with its flow run: task runs, and flow runs in the same process.

    The task runs of those flow runs are ended, too. A flow run of a deployment has a process of its
    own and continues; a run of the job flow is ended with its job.

    Args:
        client: A client of Prefect's API.
        flow_runs: Flow runs that are over and whose process is gone.
        state: The final state of what is below.
        propose: Proposes a state to a flow run.

    Returns:
        How many runs were ended.

    Raises:
        Exception: Whatever Prefect's client raises, once all other runs were tried.
    """
    ended = 0
    for _ in range(_DEEPEST):
        if not flow_runs or ended >= _MOST:
            break
        task_runs = await _unfinished_task_runs(client, flow_runs)
        flow_runs = await _inside(client, flow_runs)
        limiter = asyncio.Semaphore(_AT_ONCE)

        async def end_task_run(task_run: UUID, limiter: asyncio.Semaphore = limiter) -> None:
            async with limiter:
                await client.set_task_run_state(task_run, _fresh(state))

        async def end_flow_run(flow_run: UUID, limiter: asyncio.Semaphore = limiter) -> None:
            async with limiter:
                await propose(flow_run, _fresh(state))

        await _all([*map(end_task_run, task_runs), *map(end_flow_run, flow_runs)])
        ended += len(task_runs) + len(flow_runs)
    return ended


async def _unfinished_task_runs(client: PrefectClient, flow_runs: Collection[UUID]) -> list[UUID]:
    found: list[UUID] = []
    for ids in _batches(flow_runs):
        wanted = TaskRunFilter(flow_run_id=TaskRunFilterFlowRunId(any_=ids), state=_UNFINISHED)
        # Nothing is changed before everything was read, because pages would shift.
        for offset in range(0, _MOST, _PAGE):
            page = await client.read_task_runs(
                task_run_filter=wanted, sort=TaskRunSort.ID_DESC, limit=_PAGE, offset=offset
            )
            found += [task_run.id for task_run in page]
            if len(page) < _PAGE:
                break
    return found


async def _inside(client: PrefectClient, flow_runs: Collection[UUID]) -> set[UUID]:
    """Return the flow runs that run in the processes of these."""
    inside = await _children(client, flow_runs)
    return inside - await _children(client, flow_runs, JOB_FLOW) if inside else inside


async def _children(
    client: PrefectClient, flow_runs: Collection[UUID], flow: str | None = None
) -> set[UUID]:
    named = FlowFilter(name=FlowFilterName(any_=[flow])) if flow else None
    found: set[UUID] = set()
    for ids in _batches(flow_runs):
        wanted = FlowRunFilter(
            state=_UNDER_WAY,
            parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=ids),
            deployment_id=FlowRunFilterDeploymentId(is_null_=True),
        )
        for offset in range(0, _MOST, _PAGE):
            page = await client.read_flow_runs(
                flow_run_filter=wanted,
                flow_filter=named,
                sort=FlowRunSort.ID_DESC,
                limit=_PAGE,
                offset=offset,
            )
            found |= {run.id for run in page}
            if len(page) < _PAGE:
                break
    return found


async def _all(calls: Sequence[Awaitable[None]]) -> None:
    """Await all, then raise the first error, if any."""
    results = await asyncio.gather(*calls, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result


def _fresh(state: State[None]) -> State[None]:
    """Return a copy of the state, because a client writes into what it sends."""
    return State(type=state.type, name=state.name, message=state.message)


def _batches(ids: Collection[UUID]) -> Iterator[list[UUID]]:
    rest = sorted(ids)
    for start in range(0, len(rest), _PAGE):
        yield rest[start : start + _PAGE]
