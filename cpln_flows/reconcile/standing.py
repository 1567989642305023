"""Whether an active job may keep running, and how many escalations of its stop are due.

Pure; the order of the checks counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from cpln_flows.jobs import decide as table
from cpln_flows.jobs.decide import KeepJob, StopJob
from cpln_flows.model.identifiers import Role
from cpln_flows.model.policy import Policy
from cpln_flows.model.run_states import RunState
from cpln_flows.reconcile.snapshot import (
    Clocks,
    JobCase,
    JobView,
    NotRead,
    RunView,
    Scope,
    Stop,
    UnknownRun,
)

MOST_ESCALATIONS = 10


def must_end(
    case: JobCase, installation: UUID | None, scope: Scope, policy: Policy, clocks: Clocks
) -> bool:
    """Whether an active job must end."""
    return not isinstance(of_job(case, installation, scope, policy, clocks), Leave)


@dataclass(frozen=True)
class Leave:
    """A job may keep running, and why; ``report`` means that somebody should know."""

    reason: str
    report: bool = False


def of_job(  # noqa: PLR0911 - a row each
    case: JobCase, installation: UUID | None, scope: Scope, policy: Policy, clocks: Clocks
) -> str | Leave:
    """Return why a job must end, or why it may keep running.

    Args:
        case: The job, its flow run, and what else bears on it.
        installation: The Prefect installation that the flow runs on.
        scope: What the flow looks at.
        policy: The thresholds.
        clocks: What both servers' clocks show.
    """
    job, run = case.job, case.run
    match run:
        case _ if not job.is_active or job.run_id is None:
            return Leave("it is not an active job of a flow run")
        case NotRead(why):
            return Leave(f"unknown is not gone: {why}")
        case UnknownRun():
            return _of_unknown_run(job, installation, scope, policy, clocks)
        case RunView() if job.role is None and run.pid != job.ref.pid and not scope.adopt:
            return Leave(
                "the command carries no role and no flow run's pid names it, so nobody owns it",
                report=True,
            )
        case RunView() if run.is_final and case.successor:
            return Leave(
                f"flow run {run.name} is {run.state_name}; another run of the same submission"
                " adopts the job"
            )
        case RunView() if case.ancestor is not None and job.role is Role.JOB:
            return of_dead_ancestor(
                case.ancestor, ended=case.ancestor_ended, policy=policy, clocks=clocks
            )
        case RunView() if run.state is RunState.CANCELLING and job.role is Role.JOB:
            return Leave(f"flow run {run.name} is {run.state_name}; its process stops the job")
        case RunView():
            return _of_its_run(run, job, policy, clocks)


def _of_unknown_run(
    job: JobView, installation: UUID | None, scope: Scope, policy: Policy, clocks: Clocks
) -> str | Leave:
    ours = job.installation is not None and job.installation == installation
    if not ours and not (scope.adopt and job.installation is None):
        whose = (
            "carries no installation"
            if job.installation is None
            else f"is of installation {job.installation}"
        )
        return Leave(
            f"Prefect does not know flow run {job.run_id}, and the command {whose}: left alone",
            report=True,
        )
    age = clocks.platform_age(job.created)
    if age <= policy.stop_grace:
        return Leave(f"Prefect does not know flow run {job.run_id}; its job is {in_words(age)} old")
    return (
        f"flow run {job.run_id} was deleted in Prefect while command {job.ref.command_id}"
        f" is {job.stage}"
    )


def _of_its_run(run: RunView, job: JobView, policy: Policy, clocks: Clocks) -> str | Leave:
    age = clocks.prefect_age(run.since)
    said = f"flow run {run.name} has been {run.state_name} for {in_words(age)}"
    match table.job_after(run.state, age, policy):
        case StopJob():
            return f"{said} while command {job.ref.command_id} is {job.stage}"
        case KeepJob():
            return Leave(
                f"{said}; its hooks may still run"
                if run.is_final
                else f"flow run {run.name} is {run.state_name}"
            )


def of_dead_ancestor(
    ancestor: RunView, *, ended: bool, policy: Policy, clocks: Clocks
) -> str | Leave:
    """Return why what an ended flow run started must end, or why it may keep running.

    Args:
        ancestor: The run that is over.
        ended: Whether its container was seen to be over.
        policy: The thresholds.
        clocks: What both servers' clocks show.
    """
    age = clocks.prefect_age(ancestor.since)
    said = (
        f"flow run {ancestor.name}, which it belongs to, has been {ancestor.state_name}"
        f" for {in_words(age)}"
    )
    if ended:
        return f"{said} and its container is over"
    if isinstance(table.job_after(ancestor.state, age, policy), KeepJob):
        return Leave(f"{said}; its hooks may still run")
    return said


def escalations(stop: Stop, policy: Policy, now: datetime) -> int:
    """Return how many reports that a stopped job does not end are due by now.

    The wait before each further report is four times as long.

    Args:
        stop: The stops that were sent.
        policy: The thresholds.
        now: The platform's time.
    """
    age, due, number = now - stop.last, policy.escalate_after, 0
    while age >= due and number < MOST_ESCALATIONS:
        due, number = 4 * due, number + 1
    return number


def in_words(age: timedelta) -> str:
    """Return a duration in few words, such as ``3 min``."""
    seconds = max(0, round(age.total_seconds()))
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
