"""What follows from a snapshot: every row of the table of both directions. Pure and total; the order of the checks counts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from cpln_flows.jobs import decide as table
from cpln_flows.jobs.decide import Fate, KeepJob, StopJob
from cpln_flows.model.identifiers import Area, Role
from cpln_flows.model.lifecycle import Stage
from cpln_flows.model.links import WorkloadRef
from cpln_flows.model.policy import Policy
from cpln_flows.model.run_states import RunState
from cpln_flows.reconcile.plan import Action, Kind, Plan, plan_of
from cpln_flows.reconcile.snapshot import (
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
    Stop,
    UnknownRun,
)

TO_PREFECT = Area.SYNC_TO_PREFECT
TO_CPLN = Area.SYNC_TO_CPLN
BOTH = frozenset({TO_PREFECT, TO_CPLN})


def decide(snapshot: Snapshot, scope: Scope, policy: Policy, areas: Iterable[Area] = BOTH) -> Plan:
    """Return what both sides need, now that both were looked at.

    Args:
        snapshot: What was seen.
        scope: What is looked at.
        policy: The thresholds.
        areas: Which directions; default both.
    """
    wanted = frozenset(areas)
    actions: list[Action] = []
    if TO_PREFECT in wanted:
        actions += [of_run(case.run, case.job, scope, policy, snapshot.clocks) for case in snapshot.runs]
        actions += [of_caller(case, scope, policy, snapshot.clocks) for case in snapshot.callers]
    if TO_CPLN in wanted:
        for job in snapshot.jobs:
            actions += of_job(job, snapshot.installation, scope, policy, snapshot.clocks)
        actions += [of_child(child, policy, snapshot.clocks) for child in snapshot.children]
        actions += [_of_ended(ended) for ended in snapshot.ended]
    runs = {case.run.id for case in (*snapshot.runs, *snapshot.callers)} | {case.run.id for case in snapshot.children}
    judged = len(runs | {case.job.run_id for case in snapshot.jobs})
    return plan_of(actions, now=snapshot.clocks.prefect, judged=judged, limits=policy.limits, unread=snapshot.unread)


# The platform is right: what its job makes of a flow run.


def of_run(run: RunView, job: Lookup, scope: Scope, policy: Policy, clocks: Clocks) -> Action:  # noqa: PLR0911 - a row each
    """Say what a flow run needs, now that its job was looked for."""

    def act(kind: Kind, reason: str, times: int = 0) -> Action:
        known = job if isinstance(job, JobView) else None
        ref = job.ref if isinstance(job, JobView | NotFound) else None
        return Action(kind, reason, TO_PREFECT, run=run, job=known, ref=ref, times=times)

    match job:
        case _ if not run.is_under_way:
            return act(Kind.KEEP, f"the flow run {'is' if run.is_final else 'waits: it is'} {run.state_name}")
        case _ if foreign := _foreign_pid(run, scope):
            return act(Kind.REPORT, foreign)
        case NotRead(why):
            return act(Kind.KEEP, f"unknown is not gone: {why}")
        case JobView() | NotFound() if unknown := _unknown(run, job):
            return act(Kind.KEEP, f"unknown is not gone: {unknown}")
        case NotFound():
            return act(*_of_missing(run, job, scope, policy, clocks))
        case NoJob():
            return act(*_of_none(run, job, policy, clocks))
        case JobView() if job.is_active:
            return act(*_of_active(run, job, policy, clocks))
        case JobView():
            return act(*_of_ended_job(run, job, policy, clocks))


def _unknown(run: RunView, job: JobView | NotFound) -> str | None:
    """Say why the command that was looked up tells nothing about the container of a run, if so."""
    match job:
        case JobView(role=Role.JOB):
            return f"command {job.ref.command_id} is a job that the run has started, not its container"
        case NotFound() if not (run.in_pool or run.is_of_worker or run.is_deployed):
            return f"nothing says that command {job.ref.command_id} was its container"
        case _:
            return None


def of_caller(case: RunCase, scope: Scope, policy: Policy, clocks: Clocks) -> Action:
    """Say what a run of ``run_namespaced_job`` needs that no container stands for, now that the job which it follows was read.

    Its process reports by itself as long as it lives, and reads the log to its end before.
    """
    run, job = case.run, case.job
    kind, reason, times = _of_caller(run, job, scope, policy, clocks)
    known = job if isinstance(job, JobView) else None
    ref = job.ref if isinstance(job, JobView | NotFound) else None
    return Action(kind, reason, TO_PREFECT, run=run, job=known, ref=ref, times=times, caller=case)


def _of_caller(  # noqa: PLR0911 - a row each
    run: RunView, job: Lookup, scope: Scope, policy: Policy, clocks: Clocks
) -> tuple[Kind, str, int]:
    match job:
        case _ if run.state not in {RunState.RUNNING, RunState.CANCELLING}:
            return Kind.KEEP, f"the flow run is {run.state_name}", 0
        case NotRead() | NoJob():
            return Kind.KEEP, "unknown is not gone: its job was not read", 0
        case NotFound() if run.run_count > 1:
            return Kind.KEEP, f"unknown is not gone: command {job.ref.command_id} may not be its present one", 0
        case NotFound():
            return _of_missing(run, job, scope, policy, clocks)
        case JobView() if job.role is not Role.JOB or not scope.is_of_agent(job):
            return Kind.KEEP, f"command {job.ref.command_id} is not its job", 0
        case JobView() if job.is_active:
            return _read(run), f"command {job.ref.command_id} is {job.stage}", 0
        case JobView() if run.state is RunState.RUNNING and clocks.in_prefect(job.created) < run.since:
            return Kind.KEEP, f"command {job.ref.command_id} is of an attempt before", 0
        case JobView() if clocks.platform_age(job.changed) <= policy.stop_grace:
            return _read(run), f"command {job.ref.command_id} is {job.stage}; the process that follows it reports first", 0
        case JobView():
            return *_of_ended_job(run, job, policy, clocks), 0


def _read(run: RunView) -> Kind:
    """Return what follows when a job was read, and nothing else is to be done."""
    return Kind.RESET if run.misses and run.misses.count else Kind.KEEP


def _foreign_pid(run: RunView, scope: Scope) -> str | None:
    if run.pid is None:
        return None
    if run.command is None and WorkloadRef.of_pid(run.pid):
        return f"its infrastructure pid {run.pid!r}, one of prefect-cpln, names no job; cancel the flow run and run it again"
    if run.command is None:
        return f"its infrastructure pid {run.pid!r} is malformed: expected org:gvc:workload:command_id"
    if run.command.org != scope.org:
        return f"its infrastructure pid {run.pid!r} is of another org than {scope.org}"
    return None


def _of_missing(run: RunView, job: NotFound, scope: Scope, policy: Policy, clocks: Clocks) -> tuple[Kind, str, int]:
    if scope.agent is not None:
        return Kind.KEEP, f"unknown is not gone: command {job.ref.command_id} may be another agent's", 0
    seen = f"Got 404 for command {job.ref.command_id} of workload {job.ref.workload}"
    return _counted(run, job.ref.command_id, seen, policy, clocks)


def _counted(run: RunView, command_id: str, seen: str, policy: Policy, clocks: Clocks) -> tuple[Kind, str, int]:
    before = run.misses if run.misses and run.misses.command_id == command_id else None
    if before and before.count and clocks.prefect_age(before.at) < policy.interval / 2:
        return Kind.KEEP, f"{seen}, already counted {before.count} of {policy.misses} in this interval", before.count
    times = (before.count if before else 0) + 1
    said = f"{seen}, {times} of {policy.misses} in a row"
    if times < policy.misses:
        return Kind.COUNT, said, times
    kind = Kind.CANCEL if run.state is RunState.CANCELLING else Kind.CRASH
    return kind, f"{said}: the job no longer exists", times


def _of_none(run: RunView, job: NoJob, policy: Policy, clocks: Clocks) -> tuple[Kind, str] | tuple[Kind, str, int]:
    if not job.complete:
        return Kind.KEEP, "unknown is not gone: not every list of commands was read"
    age = clocks.prefect_age(run.since)
    if run.state is RunState.CANCELLING and age > policy.cancel_grace:
        return Kind.CANCEL, f"no command of this attempt exists, and the run is cancelling for {_words(age)}"
    if run.state is RunState.PENDING and age > policy.submission_limit:
        return Kind.CRASH, f"the worker died before it started the job: no command of this attempt after {_words(age)}"
    if run.state is RunState.RUNNING and age > policy.submission_limit:
        # It has begun in some container, which nobody has named on the run and which is gone with its workload.
        return _counted(
            run, NO_COMMAND, f"No command of this attempt exists, and the run is running for {_words(age)}", policy, clocks
        )
    return Kind.KEEP, f"no command of this attempt yet; the run is {run.state_name} for {_words(age)}"


NO_COMMAND = "none"
"""Stands for the command in the count of a run that has none."""


def _of_active(run: RunView, job: JobView, policy: Policy, clocks: Clocks) -> tuple[Kind, str]:
    seen = f"command {job.ref.command_id} is {job.stage}"
    if run.state is RunState.CANCELLING:
        age = clocks.prefect_age(run.since)
        if age > policy.cancel_grace and job.replica is None:
            return Kind.CANCEL, f"{seen} without a container for {_words(age)} of cancelling"
        return Kind.KEEP, f"{seen}; the run is cancelling for {_words(age)}"
    if run.misses and run.misses.count:
        return Kind.RESET, f"{seen} again after {run.misses.count} times 404"
    age = clocks.platform_age(job.created)
    if run.pid != job.ref.pid and age > policy.record_after:
        return Kind.RECORD_PID, f"{seen} and found by its tags; nobody has named it on the run for {_words(age)}"
    waiting = job.stage == Stage.PENDING and job.replica is None
    if run.state is RunState.PENDING and waiting and run.state_name != INFRASTRUCTURE_PENDING:
        return Kind.PEND, f"{seen} and has no container yet"
    return Kind.KEEP, f"both are under way: {seen}"


INFRASTRUCTURE_PENDING = "InfrastructurePending"


_OF_FATE = {
    Fate.KEEP: Kind.KEEP,
    Fate.COMPLETED: Kind.COMPLETE,
    Fate.FAILED: Kind.FAIL,
    Fate.CANCELLED: Kind.CANCEL,
    Fate.CRASHED: Kind.CRASH,
}


def _of_ended_job(run: RunView, job: JobView, policy: Policy, clocks: Clocks) -> tuple[Kind, str]:
    seen = f"command {job.ref.command_id} is {job.stage} since {job.changed.isoformat(timespec='seconds')}"
    if job.ending:
        seen = f"{seen} ({job.ending})"
    fate, why = table.run_after(run.state, job.stage, clocks.platform_age(job.changed), policy)
    return (_read(run) if fate is Fate.REPORT_FIRST else _OF_FATE[fate]), f"{why}: {seen}"


# Prefect is right: which jobs must end.


def of_job(case: JobCase, installation: UUID | None, scope: Scope, policy: Policy, clocks: Clocks) -> tuple[Action, ...]:
    """Say what an active job needs, now that its flow run was looked for."""
    job, run = case.job, case.run
    known = run if isinstance(run, RunView) else None
    why = _must_end(case, installation, scope, policy, clocks)
    if isinstance(why, Leave):
        return (Action(Kind.REPORT if why.report else Kind.KEEP, why.reason, TO_CPLN, known, job, case=case),)
    kind, reason, times = _stop(case, why, policy, clocks)
    stop = Action(kind, reason, TO_CPLN, known, job, times=times, case=case)
    if known is None or known.is_final or case.ancestor is None:
        return (stop,)
    # The run is ended first: should this cycle break off in between, the next one finds a job whose own run is over.
    return (Action(_ends(case.ancestor), why, TO_CPLN, known, job, case=case), stop)


def of_child(case: ChildCase, policy: Policy, clocks: Clocks) -> Action:
    """Say what a run needs whose job is over, now that a run above it is over."""
    run, ancestor = case.run, case.ancestor
    if run.is_final or not ancestor.is_final:
        return Action(Kind.KEEP, f"flow run {run.name} is {run.state_name}", TO_CPLN, run, child=case)
    why = _of_dead_ancestor(ancestor, ended=case.ancestor_ended, policy=policy, clocks=clocks)
    if isinstance(why, Leave):
        return Action(Kind.KEEP, why.reason, TO_CPLN, run, child=case)
    return Action(_ends(ancestor), f"{why}, and no job of it runs", TO_CPLN, run, child=case)


def _ends(ancestor: RunView) -> Kind:
    return Kind.CANCEL if ancestor.state is RunState.CANCELLED else Kind.CRASH


def must_end(case: JobCase, installation: UUID | None, scope: Scope, policy: Policy, clocks: Clocks) -> bool:
    """Whether an active job may not go on."""
    return not isinstance(_must_end(case, installation, scope, policy, clocks), Leave)


@dataclass(frozen=True)
class Leave:
    """A job may go on, and why; ``report`` says that somebody should know."""

    reason: str
    report: bool = False


def _must_end(  # noqa: PLR0911 - a row each
    case: JobCase, installation: UUID | None, scope: Scope, policy: Policy, clocks: Clocks
) -> str | Leave:
    job, run = case.job, case.run
    match run:
        case _ if not job.is_active or job.run_id is None:
            return Leave("it is no active job of a flow run")
        case NotRead(why):
            return Leave(f"unknown is not gone: {why}")
        case UnknownRun():
            return _of_unknown_run(job, installation, scope, policy, clocks)
        case RunView() if job.role is None and run.pid != job.ref.pid and not scope.adopt:
            return Leave("the command carries no role and no flow run's pid names it: nobody's", report=True)
        case RunView() if run.is_final and case.successor:
            return Leave(f"flow run {run.name} is {run.state_name}; another of the same submission goes on with the job")
        case RunView() if case.ancestor is not None and job.role is Role.JOB:
            return _of_dead_ancestor(case.ancestor, ended=case.ancestor_ended, policy=policy, clocks=clocks)
        case RunView() if run.state is RunState.CANCELLING and job.role is Role.JOB:
            return Leave(f"flow run {run.name} is {run.state_name}; its process stops the job")
        case RunView():
            return _of_its_run(run, job, policy, clocks)


def _of_unknown_run(job: JobView, installation: UUID | None, scope: Scope, policy: Policy, clocks: Clocks) -> str | Leave:
    ours = job.installation is not None and job.installation == installation
    if not ours and not (scope.adopt and job.installation is None):
        whose = "carries no installation" if job.installation is None else f"is of installation {job.installation}"
        return Leave(f"Prefect does not know flow run {job.run_id}, and the command {whose}: left alone", report=True)
    age = clocks.platform_age(job.created)
    if age <= policy.stop_grace:
        return Leave(f"Prefect does not know flow run {job.run_id}; its job is {_words(age)} old")
    return f"flow run {job.run_id} was deleted in Prefect while command {job.ref.command_id} is {job.stage}"


def _of_its_run(run: RunView, job: JobView, policy: Policy, clocks: Clocks) -> str | Leave:
    age = clocks.prefect_age(run.since)
    said = f"flow run {run.name} is {run.state_name} for {_words(age)}"
    match table.job_after(run.state, age, policy):
        case StopJob():
            return f"{said} while command {job.ref.command_id} is {job.stage}"
        case KeepJob():
            return Leave(f"{said}; its hooks may still run" if run.is_final else f"flow run {run.name} is {run.state_name}")


def _of_dead_ancestor(ancestor: RunView, *, ended: bool, policy: Policy, clocks: Clocks) -> str | Leave:
    age = clocks.prefect_age(ancestor.since)
    said = f"flow run {ancestor.name}, which it belongs to, is {ancestor.state_name} for {_words(age)}"
    if ended:
        return f"{said} and its container is over"
    if isinstance(table.job_after(ancestor.state, age, policy), KeepJob):
        return Leave(f"{said}; its hooks may still run")
    return said


def _stop(case: JobCase, why: str, policy: Policy, clocks: Clocks) -> tuple[Kind, str, int]:
    job, stop = case.job, case.stop
    if job.replica is None:
        return Kind.KEEP, f"{why}; it has no container yet that could be stopped", 0
    if stop is None:
        return Kind.STOP, why, 0
    due = escalations(stop, policy, clocks.platform)
    if due <= case.escalations:
        return Kind.KEEP, f"{why}; told to stop {_words(clocks.platform_age(stop.first))} ago", 0
    times = f"{stop.times} time{'s' if stop.times > 1 else ''}"
    ref = job.ref
    first = _words(clocks.platform_age(stop.first))
    said = f"{why}; told to stop {times}, first {first} ago, and still {job.stage}"
    delete = f"cpln workload delete {ref.workload} --gvc {ref.gvc} --org {ref.org}"
    return Kind.ESCALATE, f"{said}; if nothing else helps, delete its workload: {delete}", due


def escalations(stop: Stop, policy: Policy, now: datetime) -> int:
    """Return how often it should have been said by now that a stopped job does not end: each time after four times as long.

    Args:
        stop: The stops that were sent.
        policy: The thresholds.
        now: The platform's time.
    """
    age, due, number = now - stop.last, policy.escalate_after, 0
    while age >= due and number < MOST_ESCALATIONS:
        due, number = 4 * due, number + 1
    return number


MOST_ESCALATIONS = 10


def _of_ended(ended: Ended) -> Action:
    took = ended.job.changed - ended.stop.first
    reason = f"terminated successfully after {_words(took)}: command {ended.job.ref.command_id} is {ended.job.stage}"
    return Action(Kind.STOPPED, reason, TO_CPLN, job=ended.job)


def noted(misses: Misses | None, action: Action, now: datetime) -> Misses | None:
    """Return the count of 404s that a flow run carries after an action.

    Args:
        misses: The count before.
        action: What is done.
        now: Prefect's time.
    """
    if action.kind is Kind.RESET:
        return replace(misses, count=0, at=now) if misses else None
    if action.kind is Kind.COUNT:
        return Misses(action.times, now, action.command.command_id if action.command else NO_COMMAND)
    return misses


def _words(age: timedelta) -> str:
    seconds = max(0, round(age.total_seconds()))
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
