"""Flow runs in Prefect's API: whose job this is, which attempts came before, proposing a state."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from uuid import UUID, uuid4

import anyio
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import StateCreate, VariableCreate
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterParentTaskRunId,
    LogFilter,
    LogFilterFlowRunId,
    TaskRunFilter,
    TaskRunFilterId,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.responses import SetStateStatus
from prefect.client.schemas.sorting import FlowRunSort, LogSort
from prefect.context import FlowRunContext, TaskRunContext
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.logging.handlers import APILogHandler
from prefect.settings import get_current_settings

from cpln_flows.jobs.reattach import EarlierAttempt, Outcome
from cpln_flows.logs.budget import Budget, Shown
from cpln_flows.model.identifiers import Owner, Submission, attempt_starts
from cpln_flows.prefect_api import task_runs
from cpln_flows.prefect_api.clock import PrefectClock
from cpln_flows.settings import CplnSettings

logger: logging.Logger = logging.getLogger(__name__)

INSTALLATION_VARIABLE = "cpln_installation"
_RETRYING = "AwaitingRetry"
_DEEPEST = 50
_FLUSH_SECONDS = 10
_PROPOSAL_SECONDS = 60
_END_BELOW_SECONDS = 300
_BELOW = {StateType.CANCELLED: StateType.CANCELLED}
"""The state of a task run by that of its flow run; any other crashed, as nobody knows its end."""
_MOST_MESSAGES = 20_000
_BYTES_OF_A_CHARACTER = 6  # at most, in the JSON that is sent
PAGE = 200
"""The most that Prefect's API returns at once."""


@dataclass(frozen=True)
class JobIdentity:
    """Who a job belongs to, which intended job it is, and how its earlier attempts ended."""

    owner: Owner
    submission: Submission
    earlier: tuple[EarlierAttempt, ...] = ()

    @classmethod
    def anonymous(cls, agent: str | None = None) -> JobIdentity:
        """Return the identity of a job that belongs to no flow run: every call is another job."""
        return cls(Owner(agent=agent), Submission())


async def job_identity(agent: str | None) -> JobIdentity:
    """Return the identity of the job that the running flow run is about to start.

    The same intent has the same identity, however it recurs: a retry of the parent in its process
    gives the child a new flow run under the same task run of the parent, and a process that is
    executed again keeps both.

    Args:
        agent: Link of the workload that this process runs in, or another name for it.
    """
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return JobIdentity.anonymous(agent)
    run = context.flow_run
    async with get_client() as client:
        earlier = await _earlier_attempts(client, run)
        owner = Owner(
            flow_run_id=run.id,
            flow_name=context.flow.name if context.flow else None,
            root_flow_run_id=await _root_flow_run_id(client, run),
            installation=await installation(client),
            agent=agent,
        )
    return JobIdentity(owner, Submission(run.parent_task_run_id or run.id, len(earlier)), earlier)


async def container_identity(
    client: PrefectClient, run: FlowRun, *, flow_name: str | None, installation: UUID, agent: str
) -> JobIdentity:
    """Return the identity of the container that a flow run is about to run in, or runs in.

    Args:
        client: A client of Prefect's API.
        run: The flow run.
        flow_name: Name of its flow.
        installation: Id of this Prefect server.
        agent: Who submits it.
    """
    owner = Owner(flow_run_id=run.id, flow_name=flow_name, installation=installation, agent=agent)
    return JobIdentity(
        owner, Submission(run.id, container_attempt(await client.read_flow_run_states(run.id)))
    )


def container_attempt(states: Sequence[State]) -> int:
    """Return the number of the container that a flow run is in, from 0 on."""
    return max(0, len(attempt_starts([state.type.value for state in _ordered(states)])) - 1)


def has_begun(states: Sequence[State]) -> bool:
    """Whether the flow has begun in the newest container.

    That is so if the run was RUNNING since it last became PENDING.
    """
    types = [state.type for state in _ordered(states)]
    newest = len(types) - types[::-1].index(StateType.PENDING) if StateType.PENDING in types else 0
    return StateType.RUNNING in types[newest:]


@dataclass(frozen=True)
class Proposed:
    """The result of a proposal: whether the flow run has the state, and if not, why."""

    accepted: bool
    said: str = ""


async def propose(
    client: PrefectClient,
    run_id: UUID,
    state: State,
    *,
    only_from: Collection[StateType],
    unless: str | None = None,
) -> bool:
    """Propose a state after a check of the current one, and never by force.

    Args:
        client: A client of Prefect's API.
        run_id: The flow run.
        state: What to propose.
        only_from: The types of state that it may replace.
        unless: Name of a state that needs no such replacement.

    Returns:
        Whether the flow run has the state.
    """
    present = (await client.read_flow_run(run_id)).state
    if present is None or present.type not in only_from or present.name == unless:
        return False
    accepted = (await propose_giving_way(client, run_id, state)).accepted
    if accepted and state.is_final():
        try:
            await end_below(client, {run_id: state.type})
        except Exception as error:  # noqa: BLE001 - the flow run itself has its state
            logger.warning("Could not end the task runs of flow run %s: %r", run_id, error)
    return accepted


async def end_below(client: PrefectClient, ended: Mapping[UUID, StateType]) -> None:
    """End what did not end with its flow run: task runs, and flow runs in the same process.

    Args:
        client: A client of Prefect's API.
        ended: Flow runs that are over, whose process is gone, and the type of their state.

    Raises:
        TimeoutError: Prefect did not answer in time.
    """
    for state_type in sorted(set(ended.values())):
        flow_runs = [run_id for run_id, of_run in ended.items() if of_run is state_type]
        message = (
            f"The flow run that it belongs to is {state_type.value}, and it has not reported its"
            " own end"
        )
        below: State[None] = State(type=_BELOW.get(state_type, StateType.CRASHED), message=message)
        with anyio.fail_after(_END_BELOW_SECONDS):
            await task_runs.end_below(client, flow_runs, below, partial(propose_giving_way, client))


async def propose_giving_way(client: PrefectClient, run_id: UUID, state: State) -> Proposed:
    """Propose a state without force, and give back a final state that it replaced by accident.

    Prefect's server lets most states replace a final one, even PENDING, and a proposal cannot
    carry a condition. Afterwards we therefore check which state was replaced, even if the caller
    was cancelled or the response was lost. A final state that came at the same moment is restored.

    Args:
        client: A client of Prefect's API.
        run_id: The flow run.
        state: What to propose.

    Raises:
        TimeoutError: Prefect did not answer.
    """
    with anyio.fail_after(_PROPOSAL_SECONDS, shield=True):
        try:
            answer = await client.set_flow_run_state(run_id, state)
        except ObjectNotFound:
            return Proposed(accepted=False, said="Prefect does not know the flow run any more")
        except Exception:
            await _give_back(client, run_id, state)
            raise
        if answer.status is not SetStateStatus.ACCEPT:
            said = (
                getattr(answer.details, "reason", None)
                or f"the answer was {answer.status.value.lower()}"
            )
            return Proposed(accepted=False, said=f"Prefect refused: {said}")
        stays = await _give_back(client, run_id, state)
    if stays is not None:
        return Proposed(
            accepted=False, said=f"the flow run became {stays.name} at the same moment and stays so"
        )
    return Proposed(accepted=True)


async def _give_back(client: PrefectClient, run_id: UUID, ours: State) -> State | None:
    """Restore the final state that ours replaced, with its result; return it if there was one."""
    final = replaced(await client.read_flow_run_states(run_id), ours)
    if final is not None:
        message = (
            f"{final.message or final.name} (given back: another state was proposed at the same"
            " moment)"
        )
        again = StateCreate(
            type=final.type,
            name=final.name,
            message=message,
            data=final.data,
            state_details=final.state_details,
        )
        again.state_details.transition_id = uuid4()
        # Prefect's client would leave out the result. The server refuses CRASHED over a final
        # state; force only restores what we overwrote.
        body = {
            "state": again.model_dump(mode="json", serialize_as_any=True),
            "force": final.type is StateType.CRASHED,
        }
        await client.request(
            "POST", "/flow_runs/{id}/set_state", path_params={"id": run_id}, json=body
        )
    return final


def replaced(states: Sequence[State], ours: State) -> State | None:
    """Return the final state that ours has replaced, as long as ours is the current one.

    A state that equals ours and has no result is no loss: it may come from another process that
    saw the same.

    Args:
        states: Every state that the flow run has had.
        ours: The state that was proposed.
    """
    before = _ordered(states)
    if not before or not _is_equal(before[-1], ours):
        return None
    while before and _is_equal(before[-1], ours) and before[-1].data is None:
        before.pop()
    return before[-1] if before and before[-1].is_final() else None


def _is_equal(state: State, ours: State) -> bool:
    return (state.type, state.name) == (ours.type, ours.name)


async def newest_messages(client: PrefectClient, run_id: UUID, most: int) -> list[str]:
    """Return the newest messages of a flow run's log, newest first."""
    wanted = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run_id]))
    found: list[str] = []
    while len(found) < most:
        page = await client.read_logs(
            wanted, limit=PAGE, offset=len(found), sort=LogSort.TIMESTAMP_DESC
        )
        found += [log.message for log in page]
        if len(page) < PAGE:
            break
    return found


async def pid_of(run_id: UUID) -> tuple[bool, str | None]:
    """Return whether there is a flow run of this id, and its infrastructure pid."""
    async with get_client() as client:
        try:
            return True, (await client.read_flow_run(run_id)).infrastructure_pid
        except ObjectNotFound:
            return False, None


async def shown_by_this_run() -> Shown | None:
    """Return which lines earlier executions of this flow or task run put into the run's logs."""
    flow, task = FlowRunContext.get(), TaskRunContext.get()
    flow_run, task_run = (flow.flow_run if flow else None), (task.task_run if task else None)
    if flow_run is None or not (
        flow_run.run_count > 1 or (task_run is not None and task_run.run_count > 1)
    ):
        return None
    return await shown_in(flow_run.id)


async def shown_in(flow_run_id: UUID) -> Shown:
    """Return which lines of jobs a flow run's logs have."""
    with anyio.move_on_after(_FLUSH_SECONDS):
        # An earlier try in this process may not have sent all of its own lines.
        await APILogHandler.aflush()
    async with get_client() as client:
        return Shown(await newest_messages(client, flow_run_id, _MOST_MESSAGES))


def log_of(logger: object) -> UUID | None:
    """Return the flow run whose log a run's logger, or a method of one, writes into.

    For anything else there is none.

    >>> log_of(print)
    """
    adapter = getattr(logger, "__self__", logger)
    found = (
        adapter.extra.get("flow_run_id")
        if isinstance(adapter, logging.LoggerAdapter) and adapter.extra
        else None
    )
    return UUID(str(found)) if found else None


def log_budget(settings: CplnSettings) -> Budget:
    """Return how much of a job's log goes into Prefect's logs."""
    longest = get_current_settings().logging.to_api.max_log_size // _BYTES_OF_A_CHARACTER
    return Budget(
        records=settings.log_forward_records,
        burst=settings.log_forward_burst,
        per_second=settings.log_forward_per_second,
        characters=min(settings.log_forward_characters, longest),
        levels=settings.log_levels,
    )


def _ordered(states: Sequence[State]) -> list[State]:
    return sorted(states, key=lambda state: state.timestamp)


async def record_pid(owner: Owner, pid: str) -> None:
    """Store the infrastructure pid on the flow run that started a job, where Prefect's UI shows it.

    A run that already has a pid keeps it: that is the pid of the container in which the run itself
    is executed.
    """
    if owner.flow_run_id is None:
        return
    async with get_client() as client:
        if (await client.read_flow_run(owner.flow_run_id)).infrastructure_pid is None:
            await client.update_flow_run(owner.flow_run_id, infrastructure_pid=pid)


async def installation(client: PrefectClient) -> UUID:
    """Return the id of this Prefect server.

    It distinguishes our jobs from those of another server on the same platform. It is kept in a
    Prefect variable and created on first use. If two processes create it at once, the second reads
    what the first has written.
    """
    found = await client.read_variable_by_name(INSTALLATION_VARIABLE)
    if found is None:
        try:
            found = await client.create_variable(
                VariableCreate(name=INSTALLATION_VARIABLE, value=str(uuid4()))
            )
        except ObjectAlreadyExists:
            found = await client.read_variable_by_name(INSTALLATION_VARIABLE)
    return UUID(str(found.value)) if found else UUID(int=0)


async def _earlier_attempts(client: PrefectClient, run: FlowRun) -> tuple[EarlierAttempt, ...]:
    ends: list[State] = []
    if run.parent_task_run_id is not None:
        siblings = await client.read_flow_runs(
            flow_run_filter=FlowRunFilter(
                parent_task_run_id=FlowRunFilterParentTaskRunId(any_=[run.parent_task_run_id])
            ),
            sort=FlowRunSort.ID_DESC,
            limit=PAGE,
        )
        ends += [
            other.state
            for other in siblings
            if other.id != run.id and other.state and other.state.is_final()
        ]
    if run.run_count > 1:
        ends += [
            state for state in await client.read_flow_run_states(run.id) if _ends_an_attempt(state)
        ]
    if not ends:
        return ()
    clock = PrefectClock(client)
    await clock.refresh()
    return attempts_of(ends, clock.ahead)


def attempts_of(
    ends: Sequence[State], ahead: timedelta = timedelta(0)
) -> tuple[EarlierAttempt, ...]:
    """Return the earlier attempts that these states ended, oldest first, in this machine's time.

    Args:
        ends: The states.
        ahead: How far Prefect's clock, which has stamped them, is ahead of this machine's.
    """
    return tuple(
        EarlierAttempt(
            state.timestamp - ahead,
            Outcome.CRASHED if state.type is StateType.CRASHED else Outcome.REPORTED,
        )
        for state in _ordered(ends)
    )


def _ends_an_attempt(state: State) -> bool:
    return state.is_final() or state.name == _RETRYING


async def _root_flow_run_id(client: PrefectClient, run: FlowRun) -> UUID:
    """Return the flow run at the top of the tree of subflows that this one belongs to."""
    for _ in range(_DEEPEST):
        if run.parent_task_run_id is None:
            break
        parents = await client.read_flow_runs(
            task_run_filter=TaskRunFilter(id=TaskRunFilterId(any_=[run.parent_task_run_id])),
            sort=FlowRunSort.ID_DESC,
            limit=1,
        )
        if not parents:
            break
        run = parents[0]
    return run.id
