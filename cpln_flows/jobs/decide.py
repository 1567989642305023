"""The table that Prefect and the platform are kept in agreement by: what an end asks of a run, what a state asks of a job.

A worker reads it for the runs it follows, as soon as something happens to them; the sync flows read it for all runs, a cycle
later. Both pass the same thresholds, so a run ends in the same state whoever sees it first. Pure: values in, a decision out.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from cpln_flows.model.lifecycle import Stage
from cpln_flows.model.policy import Policy
from cpln_flows.model.run_states import FINAL, UNDER_WAY, RunState


class Fate(StrEnum):
    """What becomes of a flow run whose job has ended."""

    KEEP = "keep"
    """Nothing: the run is over, or waits for something else than its job."""
    REPORT_FIRST = "report-first"
    """Nothing yet: the engine in the container reports before the platform does, and may still be about to."""
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    CRASHED = "CRASHED"


def run_after(  # noqa: PLR0911 - a row each
    state: RunState, stage: str, ended_for: timedelta, policy: Policy
) -> tuple[Fate, str]:
    """Return what becomes of a flow run whose job has ended, and why.

    Args:
        state: The run's present state.
        stage: How the job ended, as its main container did.
        ended_for: How long ago that was.
        policy: The thresholds.

    Example:
        >>> run_after(RunState.RUNNING, "failed", timedelta(0), Policy())[0]
        <Fate.CRASHED: 'CRASHED'>
    """
    match state, stage:
        case _ if state not in UNDER_WAY:
            return Fate.KEEP, "the flow run is over, or waits"
        case RunState.CANCELLING, _:
            return Fate.CANCELLED, "the flow run is cancelling, and its job is over as asked"
        case _, Stage.CANCELLED:
            return Fate.CANCELLED, "the job was cancelled on the platform"
        case _, Stage.FAILED:
            return Fate(policy.failed_as), "the job of the flow run failed"
        case _ if ended_for <= policy.completed_grace:
            return Fate.REPORT_FIRST, "the engine reports first"
        case RunState.PENDING, _:
            return Fate.CRASHED, "the container ended without starting the flow"
        case _:
            return Fate.COMPLETED, "the job is completed, and the engine has not reported that"


@dataclass(frozen=True)
class KeepJob:
    """The job may go on: for so long at most, or without an end."""

    at_most: timedelta | None = None


@dataclass(frozen=True)
class StopJob:
    """The job is to be stopped."""

    reason: str


def job_after(
    state: RunState,
    lasted: timedelta,
    policy: Policy,
    *,
    has_begun: bool = True,
    has_supervisor: bool = True,
) -> KeepJob | StopJob:
    """Return what a flow run's state asks of its job, which has not ended.

    Args:
        state: The run's present state.
        lasted: How long the run has been in it.
        policy: The thresholds.
        has_begun: Whether the flow has begun in this container; who cannot tell says so and gives it its time.
        has_supervisor: Whether Prefect's own supervisor runs in the container, which cancels a flow that has begun.

    Example:
        >>> job_after(RunState.CANCELLING, timedelta(seconds=20), Policy())
        KeepJob(at_most=datetime.timedelta(seconds=40))
    """
    if state is RunState.CANCELLING:
        if not has_begun:
            return StopJob("the flow run is cancelled before its flow has begun")
        if not has_supervisor:
            return StopJob("the flow run is cancelled, and nothing in the container would do that")
        return _after(policy.cancel_grace, lasted, "cancelling")
    if state not in FINAL:
        return KeepJob()
    if not has_begun:
        return StopJob(f"the flow run is {state} and its flow has not begun")
    return _after(policy.stop_grace, lasted, state)


def _after(grace: timedelta, lasted: timedelta, said: str) -> KeepJob | StopJob:
    if lasted <= grace:
        return KeepJob(grace - lasted)
    return StopJob(f"the flow run is {said} for more than {grace.total_seconds():g} s")


def no_start(state: RunState | None) -> str | None:
    """Return why no job is started for a flow run in this state, if so.

    >>> no_start(RunState.CANCELLED)
    'the flow run is CANCELLED by now'
    """
    return None if state in (None, RunState.PENDING) else f"the flow run is {state} by now"
