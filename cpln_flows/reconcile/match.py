"""Which job is a flow run's container, and which runs and jobs need a closer look. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta

from cpln_flows.model.identifiers import Role, attempt_starts
from cpln_flows.model.run_states import RunState
from cpln_flows.reconcile.snapshot import Attempt, Clocks, JobView, RunView, Scope, StateView

_PENDING = "Pending"


def attempt_of(states: Sequence[StateView]) -> Attempt | None:
    """Return the present attempt of a flow run.

    Args:
        states: Every state that the run has had, oldest first.
    """
    starts = attempt_starts([state.type for state in states])
    return Attempt(len(starts) - 1, states[starts[-1]].at) if starts else None


def is_of_attempt(job: JobView, run: RunView, clocks: Clocks) -> bool:
    """Whether a job is a container of a run's present attempt; without knowledge of the attempt, of any.

    A command that says which attempt it is of is believed; one that does not, the fork's, counts when it was created since
    the attempt began.
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
    """Return the newest container of a run's present attempt."""
    mine = [job for job in jobs if is_of_attempt(job, run, clocks)]
    return max(mine, key=lambda job: (job.created, job.ref.command_id), default=None)


def needs_history(run: RunView, job: JobView | None, clocks: Clocks) -> bool:
    """Whether it must be looked up which attempt a run is in, given the active job that its tags found.

    A job that is active, and named by the pid of a run that has begun or never had another attempt, needs no look. Of a run
    that has never begun the count of runs does not tell; but its job is younger than its state.
    """
    if job is None or job.ref.pid != (run.pid or job.ref.pid):
        return True
    if run.state is not RunState.PENDING:
        return False
    return run.run_count > 0 or (
        clocks.in_prefect(job.created) < run.since and run.state_name == _PENDING
    )


def needs_search(run: RunView, clocks: Clocks, patience: timedelta) -> bool:
    """Whether ended commands of a run are searched for in all lists: it takes a request for each workload."""
    return clocks.prefect_age(run.since) > patience


def is_outside(run: RunView, scope: Scope, *, was_seen: bool = False) -> bool:
    """Whether a run in no work pool is judged as those in a pool are: a worker of ours had it, or its pid is ours.

    Prefect takes a run's pool away when the pool is deleted.

    Args:
        run: The run.
        scope: What is looked at.
        was_seen: Whether it was judged before, in its pool or without.
    """
    if run.in_pool or not run.is_under_way:
        return False
    if was_seen:
        return True
    if not scope.is_of_pool(run):
        return False
    return run.is_of_worker or (run.command is not None and run.command.org == scope.org)
