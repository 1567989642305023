"""What follows from a snapshot: every row of the tables of both directions.

Pure and total; the order of the checks counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import TypeAlias, assert_never
from uuid import UUID

from cpln_flows.jobs import decide as table
from cpln_flows.jobs.decide import Fate
from cpln_flows.model.identifiers import Area, Role
from cpln_flows.model.lifecycle import Stage
from cpln_flows.model.links import WorkloadRef
from cpln_flows.model.policy import Policy
from cpln_flows.model.run_states import RunState
from cpln_flows.reconcile import standing
from cpln_flows.reconcile.actions import (
    Action,
    Alert,
    CountMiss,
    Escalate,
    ForgetMisses,
    Keep,
    Propose,
    RecordPid,
    ReportEnd,
    SendStop,
)
from cpln_flows.reconcile.plan import Plan, plan_of
from cpln_flows.reconcile.snapshot import (
    BOTH,
    TO_CPLN,
    TO_PREFECT,
    CallerCase,
    ChildCase,
    Clocks,
    Ended,
    JobCase,
    JobView,
    Lookup,
    Misses,
    NoJob,
    NotFound,
    NotRead,
    RunCase,
    RunView,
    Scope,
    Snapshot,
)
from cpln_flows.reconcile.standing import Leave, in_words

_Case: TypeAlias = RunCase | CallerCase


def decide(snapshot: Snapshot, scope: Scope, policy: Policy, areas: Iterable[Area] = BOTH) -> Plan:
    """Return what both sides need, now that both were read.

    Args:
        snapshot: What was seen.
        scope: What the flow looks at.
        policy: The thresholds.
        areas: Which directions to decide; default both.
    """
    wanted = frozenset(areas)
    actions: list[Action] = []
    if TO_PREFECT in wanted:
        actions += [
            of_run(case.run, case.job, scope, policy, snapshot.clocks) for case in snapshot.runs
        ]
        actions += [of_caller(case, scope, policy, snapshot.clocks) for case in snapshot.callers]
    if TO_CPLN in wanted:
        for job in snapshot.jobs:
            actions += of_job(job, snapshot.installation, scope, policy, snapshot.clocks)
        actions += [of_child(child, policy, snapshot.clocks) for child in snapshot.children]
        actions += [_of_ended(ended) for ended in snapshot.ended]
    runs = {
        case.run.id
        for cases in (snapshot.runs, snapshot.callers, snapshot.children)
        for case in cases
    }
    judged = len(runs | {case.job.run_id for case in snapshot.jobs})
    return plan_of(
        actions,
        now=snapshot.clocks.prefect,
        judged=judged,
        limits=policy.limits,
        unread=snapshot.unread,
    )


# The platform is right: what its job makes of a flow run.


def of_run(run: RunView, job: Lookup, scope: Scope, policy: Policy, clocks: Clocks) -> Action:  # noqa: PLR0911 - a row each
    """Decide what a flow run needs, given what was found of its job."""
    case = RunCase(run, job)
    match job:
        case _ if not run.is_under_way:
            return Keep(
                case, f"the flow run {'is' if run.is_final else 'waits: it is'} {run.state_name}"
            )
        case _ if foreign := _foreign_pid(run, scope):
            return Alert(case, foreign)
        case NotRead(why):
            return Keep(case, f"unknown is not gone: {why}")
        case JobView() | NotFound() if unknown := _unknown(run, job):
            return Keep(case, f"unknown is not gone: {unknown}")
        case NotFound():
            return _of_missing(case, job, scope, policy, clocks)
        case NoJob():
            return _of_none(case, job, policy, clocks)
        case JobView() if job.is_active:
            return _of_active(case, job, policy, clocks)
        case JobView():
            return _of_ended_job(case, job, policy, clocks)


def _unknown(run: RunView, job: JobView | NotFound) -> str | None:
    """Return why a command proves nothing about a run's container, or ``None``."""
    match job:
        case JobView(role=Role.JOB):
            return f"command {job.ref.command_id} is a job that the run started, not its container"
        case NotFound() if not (run.in_pool or run.is_of_worker or run.is_deployed):
            return f"no evidence that command {job.ref.command_id} was its container"
        case _:
            return None


def of_caller(  # noqa: PLR0911 - a row each
    case: CallerCase, scope: Scope, policy: Policy, clocks: Clocks
) -> Action:
    """Decide what a run of ``run_namespaced_job`` without a container needs, given its job.

    Its process reports by itself as long as it lives, after reading the log to its end.
    """
    run, job = case.run, case.job
    match job:
        case _ if run.state not in {RunState.RUNNING, RunState.CANCELLING}:
            return Keep(case, f"the flow run is {run.state_name}")
        case NotRead() | NoJob():
            return Keep(case, "unknown is not gone: its job was not read")
        case NotFound() if run.run_count > 1:
            return Keep(
                case,
                f"unknown is not gone: command {job.ref.command_id} may not be its current one",
            )
        case NotFound():
            return _of_missing(case, job, scope, policy, clocks)
        case JobView() if job.role is not Role.JOB or not scope.is_of_agent(job):
            return Keep(case, f"command {job.ref.command_id} is not its job")
        case JobView() if job.is_active:
            return _read(case, f"command {job.ref.command_id} is {job.stage}")
        case JobView() if (
            run.state is RunState.RUNNING and clocks.in_prefect(job.created) < run.since
        ):
            return Keep(case, f"command {job.ref.command_id} belongs to an earlier attempt")
        case JobView() if clocks.platform_age(job.changed) <= policy.stop_grace:
            return _read(
                case,
                f"command {job.ref.command_id} is {job.stage}; the process that follows it"
                " reports first",
            )
        case JobView():
            return _of_ended_job(case, job, policy, clocks)


def _read(case: _Case, reason: str) -> Action:
    """Return what follows when a job was read and nothing else is to be done."""
    return (
        ForgetMisses(case, reason)
        if case.run.misses and case.run.misses.count
        else Keep(case, reason)
    )


def _foreign_pid(run: RunView, scope: Scope) -> str | None:
    if run.pid is None:
        return None
    if run.command is None and WorkloadRef.of_pid(run.pid):
        return (
            f"its infrastructure pid {run.pid!r}, one of prefect-cpln, names no job;"
            " cancel the flow run and run it again"
        )
    if run.command is None:
        return (
            f"its infrastructure pid {run.pid!r} is malformed: expected org:gvc:workload:command_id"
        )
    if run.command.org != scope.org:
        return f"its infrastructure pid {run.pid!r} belongs to another org than {scope.org}"
    return None


def _of_missing(case: _Case, job: NotFound, scope: Scope, policy: Policy, clocks: Clocks) -> Action:
    if scope.agent is not None:
        return Keep(
            case, f"unknown is not gone: command {job.ref.command_id} may be another agent's"
        )
    seen = f"Got 404 for command {job.ref.command_id} of workload {job.ref.workload}"
    return _counted(case, job.ref.command_id, seen, policy, clocks)


def _counted(case: _Case, command_id: str, seen: str, policy: Policy, clocks: Clocks) -> Action:
    misses = case.run.misses
    before = misses if misses and misses.command_id == command_id else None
    if before and before.count and clocks.prefect_age(before.at) < policy.interval / 2:
        return Keep(
            case, f"{seen}, already counted {before.count} of {policy.misses} in this interval"
        )
    times = (before.count if before else 0) + 1
    said = f"{seen}, {times} of {policy.misses} in a row"
    if times < policy.misses:
        return CountMiss(case, said, times, command_id)
    state = RunState.CANCELLED if case.run.state is RunState.CANCELLING else RunState.CRASHED
    return Propose(case, f"{said}: the job no longer exists", state)


def _of_none(case: RunCase, job: NoJob, policy: Policy, clocks: Clocks) -> Action:
    run, age = case.run, clocks.prefect_age(case.run.since)
    if not job.complete:
        return Keep(case, "unknown is not gone: not every list of commands was read")
    if run.state is RunState.CANCELLING and age > policy.cancel_grace:
        why = (
            "no command of this attempt exists, and the run has been cancelling"
            f" for {in_words(age)}"
        )
        return Propose(case, why, RunState.CANCELLED)
    if run.state is RunState.PENDING and age > policy.submission_limit:
        why = (
            "the worker died before it started the job: no command of this attempt"
            f" after {in_words(age)}"
        )
        return Propose(case, why, RunState.CRASHED)
    if run.state is RunState.RUNNING and age > policy.submission_limit:
        # It began in a container that was never recorded on the run and is gone with its workload.
        seen = (
            f"No command of this attempt exists, and the run has been running for {in_words(age)}"
        )
        return _counted(case, NO_COMMAND, seen, policy, clocks)
    return Keep(
        case,
        f"no command of this attempt yet; the run has been {run.state_name} for {in_words(age)}",
    )


NO_COMMAND = "none"
"""Stands in for the command in the 404 count of a run that has none."""


def _of_active(case: RunCase, job: JobView, policy: Policy, clocks: Clocks) -> Action:
    run, seen = case.run, f"command {job.ref.command_id} is {job.stage}"
    if run.state is RunState.CANCELLING:
        age = clocks.prefect_age(run.since)
        if age > policy.cancel_grace and job.replica is None:
            return Propose(
                case,
                f"{seen} without a container after {in_words(age)} of cancelling",
                RunState.CANCELLED,
            )
        return Keep(case, f"{seen}; the run has been cancelling for {in_words(age)}")
    if run.misses and run.misses.count:
        return ForgetMisses(case, f"{seen}, after {run.misses.count} 404s in a row")
    age = clocks.platform_age(job.created)
    if run.pid != job.ref.pid and age > policy.record_after:
        why = f"{seen}, found by its tags; its pid is still not recorded after {in_words(age)}"
        return RecordPid(case, why, job.ref)
    waiting = job.stage == Stage.PENDING and job.replica is None
    if run.state is RunState.PENDING and waiting and run.state_name != INFRASTRUCTURE_PENDING:
        return Propose(
            case, f"{seen} and has no container yet", RunState.PENDING, INFRASTRUCTURE_PENDING
        )
    return Keep(case, f"both are under way: {seen}")


INFRASTRUCTURE_PENDING = "InfrastructurePending"


def _of_ended_job(case: _Case, job: JobView, policy: Policy, clocks: Clocks) -> Action:
    since = job.changed.isoformat(timespec="seconds")
    seen = f"command {job.ref.command_id} has been {job.stage} since {since}"
    if job.ending:
        seen = f"{seen} ({job.ending})"
    fate, why = table.run_after(case.run.state, job.stage, clocks.platform_age(job.changed), policy)
    match fate:
        case Fate.KEEP:
            return Keep(case, f"{why}: {seen}")
        case Fate.REPORT_FIRST:
            return _read(case, f"{why}: {seen}")
        case Fate.COMPLETED | Fate.FAILED | Fate.CANCELLED | Fate.CRASHED:
            return Propose(case, f"{why}: {seen}", RunState(fate))
        case _:
            assert_never(fate)


# Prefect is right: which jobs must end.


def of_job(
    case: JobCase, installation: UUID | None, scope: Scope, policy: Policy, clocks: Clocks
) -> tuple[Action, ...]:
    """Decide what an active job needs, given what was found of its flow run."""
    known = case.run if isinstance(case.run, RunView) else None
    why = standing.of_job(case, installation, scope, policy, clocks)
    if isinstance(why, Leave):
        return (Alert(case, why.reason) if why.report else Keep(case, why.reason),)
    stop = _stop(case, why, policy, clocks)
    if known is None or known.is_final or case.ancestor is None:
        return (stop,)
    # The run ends first: if this cycle breaks off in between, the next one finds a job whose own
    # run is over.
    return (Propose(case, why, _end_of(case.ancestor)), stop)


def of_child(case: ChildCase, policy: Policy, clocks: Clocks) -> Action:
    """Decide what a run without an active job needs, given a run above it that is over."""
    run, ancestor = case.run, case.ancestor
    if run.is_final or not ancestor.is_final:
        return Keep(case, f"flow run {run.name} is {run.state_name}")
    why = standing.of_dead_ancestor(
        ancestor, ended=case.ancestor_ended, policy=policy, clocks=clocks
    )
    if isinstance(why, Leave):
        return Keep(case, why.reason)
    return Propose(case, f"{why}, and no job of this run is active", _end_of(ancestor))


def _end_of(ancestor: RunView) -> RunState:
    return RunState.CANCELLED if ancestor.state is RunState.CANCELLED else RunState.CRASHED


def _stop(case: JobCase, why: str, policy: Policy, clocks: Clocks) -> Action:
    job, stop = case.job, case.stop
    if job.replica is None:
        return Keep(case, f"{why}; it has no container yet to stop")
    if stop is None:
        return SendStop(case, why)
    due = standing.escalations(stop, policy, clocks.platform)
    if due <= case.escalations:
        return Keep(
            case, f"{why}; stopReplica was sent {in_words(clocks.platform_age(stop.first))} ago"
        )
    times = f"{stop.times} time{'s' if stop.times > 1 else ''}"
    ref = job.ref
    first = in_words(clocks.platform_age(stop.first))
    said = f"{why}; stopReplica was sent {times}, first {first} ago, and it is still {job.stage}"
    delete = f"cpln workload delete {ref.workload} --gvc {ref.gvc} --org {ref.org}"
    return Escalate(case, f"{said}; if nothing else helps, delete its workload: {delete}", due)


def _of_ended(ended: Ended) -> Action:
    took = ended.job.changed - ended.stop.first
    reason = (
        f"terminated successfully after {in_words(took)}:"
        f" command {ended.job.ref.command_id} is {ended.job.stage}"
    )
    return ReportEnd(ended, reason)


def noted(misses: Misses | None, action: Action, now: datetime) -> Misses | None:
    """Return the count of 404s that a flow run carries after an action.

    Args:
        misses: The count before.
        action: The action.
        now: Prefect's time.
    """
    match action:
        case ForgetMisses():
            return replace(misses, count=0, at=now) if misses else None
        case CountMiss():
            return Misses(action.times, now, action.command_id)
        case _:
            return misses
