"""Thresholds shared by the worker, the block and the sync flows: durations and change limits."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal


@dataclass(frozen=True)
class Limits:
    """How much one cycle may change.

    Attributes:
        most: Maximum number of changes.
        share: Maximum share of the examined objects that may change.
        handful: Number of changes up to which the share does not apply.
    """

    most: int = 500
    share: float = 0.5
    handful: int = 10

    def exceeded_by(self, changes: int, judged: int, causes: int | None = None) -> str | None:
        """Describe which limit a number of changes exceeds, if any.

        Args:
            changes: Number of changes.
            judged: Number of examined objects.
            causes: Number of changes with a cause of their own, to which the share applies.
                Default: all.
        """
        if changes > self.most:
            return f"{changes} changes are more than the limit of {self.most}"
        of_their_own = changes if causes is None else causes
        if of_their_own > self.handful and of_their_own > self.share * judged:
            return (
                f"{changes} changes among {judged} examined objects are more than the limit of"
                f" {self.share:.0%}"
            )
        return None


@dataclass(frozen=True)
class Policy:
    """How patient the worker, the block and the sync flows are with flow runs and their jobs.

    Attributes:
        completed_grace: How long a job must have been over before it decides the state of its run;
            the engine gets to report first.
        cancel_grace: How long a run may be cancelling before its job is stopped; a supervisor in
            the container cancels the flow by itself.
        stop_grace: How long a run must have been over before its job is stopped; until then, hooks
            and uploads may still run.
        submission_limit: How long a run may be pending without any command.
        record_after: How long a worker may take to record the job on its run.
        escalate_after: How long a job may take to stop after it was asked to.
        misses: Number of consecutive 404s after which a job counts as lost.
        interval: Time between two cycles; a 404 counts once per interval, however many flows look.
        failed_as: State type that a failed job gives its run.
        limits: How much one cycle may change.
    """

    completed_grace: timedelta = timedelta(seconds=30)
    cancel_grace: timedelta = timedelta(seconds=60)
    stop_grace: timedelta = timedelta(seconds=120)
    submission_limit: timedelta = timedelta(minutes=15)
    record_after: timedelta = timedelta(seconds=60)
    escalate_after: timedelta = timedelta(seconds=300)
    misses: int = 5
    interval: timedelta = timedelta(seconds=60)
    failed_as: Literal["CRASHED", "FAILED"] = "CRASHED"
    limits: Limits = field(default_factory=Limits)
