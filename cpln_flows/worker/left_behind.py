"""Find the flow runs whose worker is gone, and let one of the remaining workers claim each."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

import anyio
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterEndTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import TERMINAL_STATES, FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort

from cpln_flows.orchestration import PAGE
from cpln_flows.worker.roster import RECORD_LABEL, WORKER_LABEL, Identity, Roster, owner, process_of

LOOKBACK = timedelta(hours=24)
"""How far back a worker's last heartbeat may be.

If it is older, the logs of the ended runs that the worker left incomplete are not looked for.
"""

_UNDER_WAY = (StateType.PENDING, StateType.RUNNING, StateType.CANCELLING)
# A program that submits a run stores its pid a moment after it has made the run PENDING.
_YOUNG = timedelta(seconds=30)
# A worker delivers the end of a run's log after the end of the run.
_DELIVERY = timedelta(minutes=10)
_MOST_ENDED = 5000
# Longer than a claim may take: a process that looked before another process made its claim has made
# its own claim before that other process looks again.
_CLAIM_SECONDS = 4.0
_MOST_CLAIMS = 5


async def under_way(client: PrefectClient, pool: str) -> list[FlowRun]:
    """Return the pool's runs that have, or should have, a container."""
    wanted = FlowRunFilter(
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(_UNDER_WAY)))
    )
    return await _runs(client, pool, wanted, FlowRunSort.ID_DESC, most=None)


async def ended(client: PrefectClient, pool: str, since: datetime) -> list[FlowRun]:
    """Return the pool's runs that have ended since then, newest first, at most some thousands."""
    wanted = FlowRunFilter(
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=sorted(TERMINAL_STATES))),
        end_time=FlowRunFilterEndTime(after_=since - _DELIVERY),
    )
    return await _runs(client, pool, wanted, FlowRunSort.END_TIME_DESC, most=_MOST_ENDED)


async def _runs(
    client: PrefectClient, pool: str, wanted: FlowRunFilter, sort: FlowRunSort, *, most: int | None
) -> list[FlowRun]:
    found: list[FlowRun] = []
    while most is None or len(found) < most:
        page = await client.read_flow_runs(
            work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[pool])),
            flow_run_filter=wanted,
            sort=sort,
            limit=PAGE,
            offset=len(found),
        )
        found += page
        if len(page) < PAGE:
            break
    return found


@dataclass(frozen=True)
class Seen:
    """What a worker process saw when it looked for abandoned flow runs.

    Args:
        me: The process that looked.
        since: When it started, in Prefect's time.
        roster: The workers of the pool.
        gone: Processes of this machine that have ended, as flow runs name them.
        under_way: Runs that have, or should have, a container.
        ended: Runs that ended recently, if some worker has fallen silent.
    """

    me: Identity
    since: datetime
    roster: Roster
    gone: Collection[str]
    under_way: Collection[FlowRun] = ()
    ended: Collection[FlowRun] = ()


def is_left_behind(run: FlowRun, seen: Seen) -> bool:
    """Whether a run that is under way has lost its worker process.

    Args:
        run: A run that the process that looked does not follow.
        seen: What that process saw.
    """
    if run.state is None:
        return False
    age, has = seen.roster.now - run.state.timestamp, owner(run)
    if has is None:
        if run.infrastructure_pid is not None:
            # It was submitted from somebody's program, which does not follow it.
            return age >= _YOUNG
        # Without a deployment, somebody's program is about to submit it.
        return (
            run.deployment_id is not None
            and run.state.type is StateType.PENDING
            and age > seen.roster.patience
        )
    if has == seen.me.record:
        # It was lost by this very process, or by one that had to yield to this process's label.
        return age > seen.roster.patience
    if RECORD_LABEL not in run.labels and age < _YOUNG:
        # A worker of another version labels a run a moment after it has made the run PENDING.
        return False
    return is_gone(run, seen)


def is_gone(run: FlowRun, seen: Seen) -> bool:
    """Whether the worker process whose labels a run carries is gone; false if it has no labels."""
    has, name = owner(run), run.labels.get(WORKER_LABEL)
    if has is None or has == seen.me.record:
        return False
    if process_of(run) in seen.gone:
        return True
    if has in seen.roster.heartbeats and has != seen.me.name:
        return seen.roster.is_silent(has)
    # Its record was deleted when it ended cleanly, or it had no record of its own. The record of
    # this worker's own name is no evidence, because it has the heartbeats of this process too.
    if name == seen.me.name:
        return seen.roster.now - seen.since > seen.roster.patience
    return seen.roster.is_silent(str(name))


def may_lack_lines(run: FlowRun, seen: Seen) -> bool:
    """Whether a run that has ended may lack the end of its log.

    That is so if its worker process was gone, or about to be, when the run ended.
    """
    beats = seen.roster.heartbeats.get(owner(run) or "")
    is_of_interest = (
        beats is not None and run.end_time is not None and run.end_time >= beats.last - _DELIVERY
    )
    return is_of_interest and is_gone(run, seen)


async def claim(
    client: PrefectClient, run: FlowRun, me: Identity, turn: anyio.Lock
) -> FlowRun | None:
    """Put this process's labels on a run; return it, or ``None`` if another process was faster.

    Prefect has no conditional updates. So a claim is made right after a look, within a short time
    or not at all, and it counts only if it is still there after a longer time. The run is returned
    as it is then.

    Args:
        client: A client of Prefect's API.
        run: The run as it was seen before.
        me: The process that claims it.
        turn: Held while the claim is made, because many claims at once would take long.

    Raises:
        TimeoutError: Prefect responds too slowly for that.
    """
    for _ in range(_MOST_CLAIMS):
        async with turn:
            with anyio.move_on_after(_CLAIM_SECONDS * 0.75) as scope:
                if not await _make_claim(client, run, me):
                    return None
        if not scope.cancelled_caught:
            break
    else:
        raise TimeoutError(
            f"Prefect took longer than {_CLAIM_SECONDS:g} s to label flow run {run.id}"
        )
    await anyio.sleep(_CLAIM_SECONDS)
    present = await client.read_flow_run(run.id)
    return present if owner(present) == me.record else None


async def _make_claim(client: PrefectClient, run: FlowRun, me: Identity) -> bool:
    present = await client.read_flow_run(run.id)
    if owner(present) not in (owner(run), me.record):
        return False
    if owner(present) != me.record:
        await client.update_flow_run_labels(run.id, dict(me.labels))
    return True
