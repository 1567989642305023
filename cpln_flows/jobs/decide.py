"""The table that keeps Prefect and the platform in agreement.

It states what the end of a job asks of its flow run, and what the state of a flow run asks of its
job. A worker consults it for the runs it follows, as soon as something happens to them. The sync
flows consult it for all runs, a cycle later. Both pass the same thresholds, so a run ends in the
same state whoever sees it first. Pure: values in, a decision out.
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
    """Nothing: the run is over, or waits for something other than its job."""
    REPORT_FIRST = "report-first"
    """Nothing yet: the engine in the container reports first, and may still be about to."""
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    CRASHED = "CRASHED"


def run_after(  # noqa: PLR0911 - a row each
    state: RunState, stage: str, ended_for: timedelta, policy: Policy
) -> tuple[Fate, str]:
    """Return what becomes of a flow run whose job has ended, and why.

    Args:
        state: The run's current state.
        stage: How the job ended, judged by its main container.
        ended_for: How long ago that was.
        policy: The thresholds.

    Example:
        >>> run_after(RunState.RUNNING, "failed", timedelta(0), Policy())[0]
        <Fate.CRASHED: 'CRASHED'>
    """
    match state, stage:
        case _ if state not in UNDER_WAY:
            return Fate.KEEP, "the flow run is over or waiting"
        case RunState.CANCELLING, _:
            return Fate.CANCELLED, "the flow run is cancelling, and its job has ended as asked"
        case _, Stage.CANCELLED:
            return Fate.CANCELLED, "the job was cancelled on the platform"
        case _, Stage.FAILED:
            return Fate(policy.failed_as), "the job of the flow run failed"
        case _ if ended_for <= policy.completed_grace:
            return Fate.REPORT_FIRST, "the engine reports first"
        case RunState.PENDING, _:
            return Fate.CRASHED, "the container ended without starting the flow"
        case _:
            return Fate.COMPLETED, "the job completed, but the engine has not reported it"


@dataclass(frozen=True)
class KeepJob:
    """The job may keep running: for ``at_most``, or without a limit."""

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
        state: The run's current state.
        lasted: How long the run has been in it.
        policy: The thresholds.
        has_begun: Whether the flow has begun in this container. A caller that cannot know passes
            true, which gives the flow its grace period.
        has_supervisor: Whether Prefect's own supervisor runs in the container; it cancels a flow
            that has begun.

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
    return StopJob(f"the flow run has been {said} for more than {grace.total_seconds():g} s")


def no_start(state: RunState | None) -> str | None:
    """Return why no job is to be started for a flow run in this state, or ``None`` if one may be.

    >>> no_start(RunState.CANCELLED)
    'the flow run is CANCELLED by now'
    """
    return None if state in (None, RunState.PENDING) else f"the flow run is {state} by now"
