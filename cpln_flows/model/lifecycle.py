"""The lifecycle of a job as the platform reports it: stages and what they imply. Pure."""

from __future__ import annotations

from enum import StrEnum


class Stage(StrEnum):
    """Lifecycle stage of a command."""

    PENDING = "pending"
    RUNNING = "running"
    CANCELLATION_REQUESTED = "cancellation-requested"
    CANCELLED = "cancelled"
    COMPLETED = "completed"
    FAILED = "failed"


TERMINAL_STAGES = frozenset({Stage.COMPLETED, Stage.FAILED, Stage.CANCELLED})


def is_terminal(stage: str) -> bool:
    """Whether a command in this stage is over; an unknown stage counts as active."""
    return stage in TERMINAL_STAGES


def poll_delay(age_seconds: float, ceiling_seconds: float) -> float:
    """Return how long to wait before polling a job of this age again, in seconds.

    The delay is a third of the age, at least 0.75 s and at most the ceiling: short jobs are polled
    often, long ones rarely. The end of a job is thus noticed within a third of its duration, while
    the number of polls grows slowly.

    >>> [poll_delay(age, 5) for age in (0, 3, 60)]
    [0.75, 1.0, 5]
    """
    return min(ceiling_seconds, max(0.75, age_seconds / 3))


def hinted_delay(age_seconds: float, ceiling_seconds: float) -> float:
    """Return the minimum delay before polling a job that just logged a line, in seconds.

    Programs tend to print and then end, so a line followed by silence is a reason to poll sooner.
    A chatty job must not cost more requests for it.
    """
    return min(ceiling_seconds, max(0.7, age_seconds / 6))
