"""The life of one job as the platform tells it: stages, and what follows from them. Pure; reads nothing."""

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
    """Whether a command in this stage is over; a stage nobody has heard of counts as active, never as an end."""
    return stage in TERMINAL_STAGES


def poll_delay(age_seconds: float, ceiling_seconds: float) -> float:
    """Return how long to wait before the next look at a job of this age, in seconds.

    Short jobs are looked at often, long ones seldom: a third of the age, at least 0.75 s, at most the ceiling.
    The end of a job is so noticed within a third of its length, while the number of looks grows slowly.

    >>> [poll_delay(age, 5) for age in (0, 3, 60)]
    [0.75, 1.0, 5]
    """
    return min(ceiling_seconds, max(0.75, age_seconds / 3))


def hinted_delay(age_seconds: float, ceiling_seconds: float) -> float:
    """Return the least time between two looks at a job that has just printed a line and fallen silent, in seconds.

    Programs tend to print and then end, so a line is a reason to look sooner; a chatty job must not cost more for it.
    """
    return min(ceiling_seconds, max(0.7, age_seconds / 6))
