"""What a flow run's state asks of its job, and what a job's end asks of its flow run. Pure: values in, a decision out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from prefect.client.schemas.objects import State, StateType

from cpln_flows.model.ending import Ending
from cpln_flows.model.lifecycle import Stage

NOTEWORTHY = frozenset({StateType.CANCELLING, StateType.CANCELLED, StateType.COMPLETED, StateType.FAILED, StateType.CRASHED})
"""The types of state that may ask something of a job."""


@dataclass(frozen=True)
class Graces:
    """How long a container may go on: after the wish to cancel it, and after the final state of its run."""

    cancel: timedelta
    final: timedelta


@dataclass(frozen=True)
class Wait:
    """Nothing is to be done until this time."""

    until: datetime


@dataclass(frozen=True)
class Stop:
    """The job is to be stopped."""

    reason: str


def job_after(state: State, *, has_begun: bool, has_supervisor: bool, graces: Graces, now: datetime) -> Wait | Stop:
    """Say what a noteworthy state of a flow run asks of its job, which has not ended.

    Args:
        state: The state.
        has_begun: Whether the flow has begun in this container.
        has_supervisor: Whether Prefect's own supervisor runs in it, which cancels a flow that has begun.
        graces: How long things may take.
        now: The time.
    """
    if state.type is StateType.CANCELLING:
        if not has_begun:
            return Stop("the flow run is cancelled before its flow has begun")
        if not has_supervisor:
            return Stop("the flow run is cancelled, and nothing in the container would do that")
        reason = f"the flow run is cancelling for more than {graces.cancel.total_seconds():g} s"
        return _after(state, graces.cancel, now, reason)
    if not has_begun:
        return Stop(f"the flow run is {state.type.value} and its flow has not begun")
    reason = f"the flow run is {state.type.value} for more than {graces.final.total_seconds():g} s"
    return _after(state, graces.final, now, reason)


def _after(state: State, grace: timedelta, now: datetime, reason: str) -> Wait | Stop:
    due = state.timestamp + grace
    return Stop(reason) if now >= due else Wait(due)


def no_start(state: State | None) -> str | None:
    """Say why no job is started for a flow run in this state; nothing if one is.

    >>> no_start(State(type=StateType.CANCELLED))
    'the flow run is CANCELLED by now'
    """
    if state is None or state.type is StateType.PENDING:
        return None
    return f"the flow run is {state.type.value} by now"


class Verdict(StrEnum):
    """What becomes of a flow run whose job has ended."""

    KEEP = "keep"
    """The state stays: it is final, or the run waits for something else."""
    CANCELLED = "cancelled"
    CRASHED = "crashed"
    LOOK_AGAIN = "look-again"
    """The engine reports before the platform does, and may still be about to."""


def run_after(state: State | None, end: Ending, *, has_waited: bool) -> tuple[Verdict, str]:
    """Say what becomes of a flow run whose job has ended, and why in words.

    Args:
        state: The run's present state.
        end: How the job ended.
        has_waited: Whether it was waited for the engine's report already.
    """
    if state is not None and state.type is StateType.CANCELLING:
        return Verdict.CANCELLED, f"the flow run was cancelled and its job is over: {end.describe()}"
    if state is None or state.type not in (StateType.PENDING, StateType.RUNNING):
        return Verdict.KEEP, "the flow run is over, or waits"
    if not end.succeeded:
        return _after_failure(end)
    if not has_waited:
        return Verdict.LOOK_AGAIN, "the job has ended; the engine reports first"
    if state.type is StateType.PENDING:
        return Verdict.CRASHED, "the container ended without starting the flow"
    return Verdict.KEEP, "the sync flow completes what the engine has not reported"


def _after_failure(end: Ending) -> tuple[Verdict, str]:
    if end.stage == Stage.CANCELLED and end.stopped_by_us is None:
        return Verdict.CANCELLED, f"the job was cancelled on the platform: {end.describe()}"
    return Verdict.CRASHED, f"the job of the flow run failed: {end.stopped_by_us or end.describe()}"
