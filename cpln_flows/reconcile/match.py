"""Which job is a flow run's container, and which runs and jobs need a closer look. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta

from cpln_flows.model.identifiers import Role, attempt_starts
from cpln_flows.model.run_states import RunState
from cpln_flows.reconcile.snapshot import Attempt, Clocks, JobView, RunView, Scope, StateView

_PENDING = "Pending"


def attempt_of(states: Sequence[StateView]) -> Attempt | None:
    """Return the current attempt of a flow run.

    Args:
        states: Every state that the run has had, oldest first.
    """
    starts = attempt_starts([state.type for state in states])
    return Attempt(len(starts) - 1, states[starts[-1]].at) if starts else None


def is_of_attempt(job: JobView, run: RunView, clocks: Clocks) -> bool:
    """Whether a job is a container of a run's current attempt, or of any if that is not known.

    A command that carries its attempt is believed. One that does not, the fork's, counts if it was
    created since the attempt began.
    """
    if job.role is Role.JOB or (job.run_id != run.id and job.ref.pid != run.pid):
        return False
    if job.role is None and job.ref.pid != run.pid:
        return False
    if run.attempt is None:
        return True
    if job.attempt is not None:
        return job.attempt >= run.attempt.number
    return clocks.in_prefect(job.created) >= run.attempt.since


def newest(jobs: Iterable[JobView], run: RunView, clocks: Clocks) -> JobView | None:
    """Return the newest container of a run's current attempt."""
    mine = [job for job in jobs if is_of_attempt(job, run, clocks)]
    return max(mine, key=lambda job: (job.created, job.ref.command_id), default=None)


def needs_history(run: RunView, job: JobView | None, clocks: Clocks) -> bool:
    """Whether the attempt of a run must be looked up, given the active job that its tags found.

    No look-up is needed for an active job that is named by the pid of a run that has begun or never
    had another attempt. For a run that has never begun, the run count shows nothing, but its job is
    younger than its state.
    """
    if job is None or job.ref.pid != (run.pid or job.ref.pid):
        return True
    if run.state is not RunState.PENDING:
        return False
    return run.run_count > 0 or (
        clocks.in_prefect(job.created) < run.since and run.state_name == _PENDING
    )


def needs_search(run: RunView, clocks: Clocks, patience: timedelta) -> bool:
    """Whether to search all lists for ended commands of a run, at a request per workload."""
    return clocks.prefect_age(run.since) > patience


def is_outside(run: RunView, scope: Scope, *, was_seen: bool = False) -> bool:
    """Whether a run in no work pool is judged like those in a pool.

    It is if a worker of ours had it or its pid is ours: when a pool is deleted, Prefect removes it
    from the runs.

    Args:
        run: The run.
        scope: What the flow looks at.
        was_seen: Whether it was judged before, with or without its pool.
    """
    if run.in_pool or not run.is_under_way:
        return False
    if was_seen:
        return True
    if not scope.is_of_pool(run):
        return False
    return run.is_of_worker or (run.command is not None and run.command.org == scope.org)
