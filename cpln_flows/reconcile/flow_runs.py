"""Flow runs from Prefect's API, in pages and batches, and states proposed without force."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterId,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterId,
    FlowRunFilterParentTaskRunId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    TaskRunFilter,
    TaskRunFilterId,
    WorkPoolFilter,
    WorkPoolFilterName,
    WorkPoolFilterType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.sorting import FlowRunSort, TaskRunSort

from cpln_flows import orchestration
from cpln_flows.model.identifiers import JOB_FLOW
from cpln_flows.model.run_states import UNDER_WAY, RunState
from cpln_flows.orchestration import Proposed
from cpln_flows.reconcile.snapshot import Misses, RunView, StateView

WORKER_TYPE = "cpln"
NOT_FOUND_LABEL = "cpln-flows/not-found"
_WORKER_TYPE_LABEL = "prefect.worker.type"  # a worker puts both on its runs, which keep them
_WORK_POOL_LABEL = "prefect.work-pool.name"
_SHORTEST = timedelta(seconds=1)
_PAGE = 200  # the most that Prefect's API gives at once
_UNDER_WAY = FlowRunFilterState(
    type=FlowRunFilterStateType(any_=[StateType(state.value) for state in sorted(UNDER_WAY)])
)


class FlowRuns(Protocol):
    """What the flows need from Prefect; the simulator has its own implementation."""

    async def installation(self) -> UUID:
        """Return the id of this Prefect server."""

    async def under_way(self, work_pool: str | None) -> list[RunView]:
        """Return all pending, running and cancelling runs of a pool, or of all ``cpln`` pools."""

    async def without_pool(self) -> list[RunView]:
        """Return all pending, running and cancelling runs that are in no work pool."""

    async def job_flows(self) -> list[RunView]:
        """Return every run of ``run_namespaced_job`` that is under way."""

    async def by_ids(self, ids: Collection[UUID]) -> dict[UUID, RunView]:
        """Return the runs with these ids; a missing one does not exist."""

    async def flow_names(self, flow_ids: Collection[UUID]) -> dict[UUID, str]:
        """Return the names of flows by their ids."""

    async def parents(self, runs: Collection[RunView]) -> dict[UUID, RunView]:
        """Return the flow run directly above each of these, by the id of the lower run."""

    async def of_submissions(self, submissions: Collection[UUID]) -> list[RunView]:
        """Return the runs that were called from these task runs."""

    async def states(self, run_id: UUID) -> Sequence[StateView]:
        """Return every state that a run has had, oldest first."""

    async def propose(
        self, run_id: UUID, state: RunState, name: str | None, message: str
    ) -> Proposed:
        """Propose a state, never by force, and never permanently over a final one."""

    async def end_below(self, ended: Mapping[UUID, RunState]) -> None:
        """End the task runs, and the flow runs in the same process, of runs that were ended."""

    async def count_misses(self, run_id: UUID, misses: Misses) -> None:
        """Store the count of 404s on the run."""

    async def record_pid(self, run_id: UUID, pid: str) -> None:
        """Record the job on the run."""


class PrefectFlowRuns:
    """Flow runs of a Prefect server.

    The count of 404s is kept on the run's labels. It belongs to the run, it comes with every page
    of runs without a request of its own, there is no limit on how many runs have one, and two flows
    that count at the same time do not overwrite each other's counts of other runs. A Prefect
    variable would hold 5,000 characters for all runs together, and its last writer would win. Tags
    of a command cannot be read once the command returns 404.
    """

    def __init__(self, client: PrefectClient) -> None:
        self._client = client

    async def installation(self) -> UUID:
        """Return the id of this Prefect server."""
        return await orchestration.installation(self._client)

    async def under_way(self, work_pool: str | None) -> list[RunView]:
        """Return all pending, running and cancelling runs of a pool, or of all ``cpln`` pools."""
        pool = WorkPoolFilter(type=WorkPoolFilterType(any_=[WORKER_TYPE]))
        if work_pool:
            pool = WorkPoolFilter(name=WorkPoolFilterName(any_=[work_pool]))
        return await self._read(FlowRunFilter(state=_UNDER_WAY), pool)

    async def without_pool(self) -> list[RunView]:
        """Return all pending, running and cancelling runs that are in no work pool.

        Prefect can filter by a pool but not by its absence. So two counts are compared. As long as
        they differ, the time window of the expected starts is halved until one page holds a half:
        the number of requests grows with the number of runs found.
        """
        found: dict[UUID, RunView] = {}
        windows = [Window()]
        while windows:
            window = windows.pop()
            counted = await self._counted(window)
            if counted.all_in_pools:
                continue
            halves = (await self._bounded(window)).halves() if counted.every > _PAGE else ()
            if halves:
                windows += halves
            else:
                found |= {
                    run.id: run for run in await self._read(window.filter()) if not run.in_pool
                }
        return list(found.values())

    async def job_flows(self) -> list[RunView]:
        """Return every run of ``run_namespaced_job`` that is under way."""
        return await self._read(
            FlowRunFilter(state=_UNDER_WAY), flow=FlowFilter(name=FlowFilterName(any_=[JOB_FLOW]))
        )

    async def by_ids(self, ids: Collection[UUID]) -> dict[UUID, RunView]:
        """Return the runs with these ids; a missing one does not exist."""
        found: dict[UUID, RunView] = {}
        for batch in _in_batches(ids):
            found |= {
                view.id: view
                for view in await self._read(FlowRunFilter(id=FlowRunFilterId(any_=batch)))
            }
        return found

    async def flow_names(self, flow_ids: Collection[UUID]) -> dict[UUID, str]:
        """Return the names of flows by their ids."""
        found: dict[UUID, str] = {}
        for batch in _in_batches(flow_ids):
            flows = await self._client.read_flows(
                flow_filter=FlowFilter(id=FlowFilterId(any_=batch)), limit=_PAGE
            )
            found |= {flow.id: flow.name for flow in flows}
        return found

    async def parents(self, runs: Collection[RunView]) -> dict[UUID, RunView]:
        """Return the flow run directly above each of these, by the id of the lower run."""
        above: dict[UUID, UUID] = {}  # task run -> the flow run that it belongs to
        for batch in _in_batches(
            {run.parent_task_run_id for run in runs if run.parent_task_run_id}
        ):
            task_runs = await self._client.read_task_runs(
                task_run_filter=TaskRunFilter(id=TaskRunFilterId(any_=batch)),
                sort=TaskRunSort.ID_DESC,
                limit=_PAGE,
            )
            above |= {
                task_run.id: task_run.flow_run_id for task_run in task_runs if task_run.flow_run_id
            }
        views = await self.by_ids(set(above.values()))
        pairs = (
            (run.id, views.get(above[run.parent_task_run_id]))
            for run in runs
            if run.parent_task_run_id in above
        )
        return {run_id: parent for run_id, parent in pairs if parent is not None}

    async def of_submissions(self, submissions: Collection[UUID]) -> list[RunView]:
        """Return the runs that were called from these task runs."""
        found: list[RunView] = []
        for batch in _in_batches(submissions):
            found += await self._read(
                FlowRunFilter(parent_task_run_id=FlowRunFilterParentTaskRunId(any_=batch))
            )
        return found

    async def states(self, run_id: UUID) -> Sequence[StateView]:
        """Return every state that a run has had, oldest first."""
        states = await self._client.read_flow_run_states(run_id)
        return [
            StateView(
                RunState(state.type.value),
                state.name or state.type.value,
                state.timestamp,
                state.message,
            )
            for state in sorted(states, key=lambda state: state.timestamp)
        ]

    async def propose(
        self, run_id: UUID, state: RunState, name: str | None, message: str
    ) -> Proposed:
        """Propose a state, never by force, and never permanently over a final one."""
        proposed: State[None] = State(type=StateType(state.value), name=name, message=message)
        return await orchestration.propose_giving_way(self._client, run_id, proposed)

    async def end_below(self, ended: Mapping[UUID, RunState]) -> None:
        """End the task runs, and the flow runs in the same process, of runs that were ended."""
        await orchestration.end_below(
            self._client, {run_id: StateType(state.value) for run_id, state in ended.items()}
        )

    async def count_misses(self, run_id: UUID, misses: Misses) -> None:
        """Store the count of 404s on the run."""
        await self._client.update_flow_run_labels(run_id, {NOT_FOUND_LABEL: str(misses)})

    async def record_pid(self, run_id: UUID, pid: str) -> None:
        """Record the job on the run."""
        await self._client.update_flow_run(run_id, infrastructure_pid=pid)

    async def next_start(self, deployment_id: UUID, *, but: UUID) -> datetime | None:
        """Return when the next run of a deployment is to start; ``None`` if there is none.

        The time may be in the past.
        """
        found = await self._client.read_flow_runs(
            flow_run_filter=FlowRunFilter(
                deployment_id=FlowRunFilterDeploymentId(any_=[deployment_id]),
                state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED])),
            ),
            sort=FlowRunSort.EXPECTED_START_TIME_ASC,
            limit=2,
        )
        return next((run.expected_start_time for run in found if run.id != but), None)

    async def _counted(self, window: Window) -> _Counted:
        """Count the runs of a window; those in pools twice, as runs begin and end meanwhile."""
        wanted, any_pool = window.filter(), WorkPoolFilter()
        before = await self._client.count_flow_runs(
            flow_run_filter=wanted, work_pool_filter=any_pool
        )
        every = await self._client.count_flow_runs(flow_run_filter=wanted)
        after = await self._client.count_flow_runs(
            flow_run_filter=wanted, work_pool_filter=any_pool
        )
        return _Counted(every, min(before, after))

    async def _bounded(self, window: Window) -> Window:
        """Return a window with both ends; a missing one is the first or last expected start."""
        ends = []
        for given, sort in (
            (window.after, FlowRunSort.EXPECTED_START_TIME_ASC),
            (window.before, FlowRunSort.EXPECTED_START_TIME_DESC),
        ):
            found = (
                []
                if given
                else await self._client.read_flow_runs(
                    flow_run_filter=window.filter(), sort=sort, limit=1
                )
            )
            ends.append(given or next((run.expected_start_time for run in found), None))
        return Window(*ends)

    async def _read(
        self,
        wanted: FlowRunFilter,
        pool: WorkPoolFilter | None = None,
        flow: FlowFilter | None = None,
    ) -> list[RunView]:
        found: dict[UUID, RunView] = {}
        offset = 0
        while True:
            page = await self._client.read_flow_runs(
                flow_run_filter=wanted,
                work_pool_filter=pool,
                flow_filter=flow,
                sort=FlowRunSort.ID_DESC,
                limit=_PAGE,
                offset=offset,
            )
            # Pages shift when runs begin or end meanwhile: a run seen twice counts once, and the
            # next cycle sees a missed one.
            found |= {view.id: view for view in map(_view, page) if view is not None}
            if len(page) < _PAGE:
                return list(found.values())
            offset += _PAGE


@dataclass(frozen=True)
class Window:
    """Runs under way whose expected start is within a window; a missing end is no limit."""

    after: datetime | None = None
    before: datetime | None = None

    def filter(self) -> FlowRunFilter:
        """Return the filter that selects these runs in Prefect."""
        start = FlowRunFilterExpectedStartTime(after_=self.after, before_=self.before)
        return FlowRunFilter(
            state=_UNDER_WAY, expected_start_time=start if self.after or self.before else None
        )

    def halves(self) -> tuple[Window, ...]:
        """Return both halves; nothing for a window that lacks an end or is too short.

        >>> from datetime import UTC
        >>> window = Window(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 3, tzinfo=UTC))
        >>> [half.after.day for half in window.halves()]
        [1, 2]
        """
        if self.after is None or self.before is None or self.before - self.after < _SHORTEST:
            return ()
        middle = self.after + (self.before - self.after) / 2
        return Window(self.after, middle), Window(middle, self.before)


@dataclass(frozen=True)
class _Counted:
    """How many runs there are, and how many of them are in some work pool."""

    every: int
    pooled: int

    @property
    def all_in_pools(self) -> bool:
        return self.every <= self.pooled


def _view(run: FlowRun) -> RunView | None:
    if run.state is None:
        return None
    former_pool = run.labels.get(_WORK_POOL_LABEL)
    return RunView(
        id=run.id,
        name=run.name,
        state=RunState(run.state.type.value),
        state_name=run.state.name or run.state.type.value,
        since=run.state.timestamp,
        pid=run.infrastructure_pid or None,
        run_count=run.run_count,
        parent_task_run_id=run.parent_task_run_id,
        is_deployed=run.deployment_id is not None,
        misses=Misses.parse(run.labels.get(NOT_FOUND_LABEL)),
        work_pool=run.work_pool_name or (former_pool if isinstance(former_pool, str) else None),
        in_pool=run.work_pool_name is not None,
        is_of_worker=run.labels.get(_WORKER_TYPE_LABEL) == WORKER_TYPE,
        flow_id=run.flow_id,
    )


def _in_batches(ids: Iterable[UUID]) -> Iterator[list[UUID]]:
    rest = sorted(ids)
    while rest:
        yield rest[:_PAGE]
        rest = rest[_PAGE:]
