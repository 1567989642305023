"""The thresholds that the worker, the block and the sync flows share: how long things may take, and how much may change."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal


@dataclass(frozen=True)
class Limits:
    """How much one cycle may change: a count, and a share of what it looked at once that is more than a handful."""

    most: int = 500
    share: float = 0.5
    handful: int = 10

    def exceeded_by(self, changes: int, judged: int, causes: int | None = None) -> str | None:
        """Say in words which limit so many changes exceed, if any.

        Args:
            changes: How many.
            judged: Of how many.
            causes: How many of them have a cause of their own, which is what the share is about; default: all.
        """
        if changes > self.most:
            return f"{changes} changes are more than the limit of {self.most}"
        of_their_own = changes if causes is None else causes
        if of_their_own > self.handful and of_their_own > self.share * judged:
            return f"{changes} changes of {judged} looked at are more than the limit of {self.share:.0%}"
        return None


@dataclass(frozen=True)
class Policy:
    """How patient everybody is who looks after flow runs and their jobs.

    Attributes:
        completed_grace: How long a job must have been over before it speaks for its run; the engine reports first.
        cancel_grace: How long a run may be cancelling before its job is stopped; a supervisor in the container cancels the
            flow by itself.
        stop_grace: How long a run must have been over before its job is stopped; hooks and uploads run then.
        submission_limit: How long a run may be pending without any command.
        record_after: How long a worker may take to name the job on its run.
        escalate_after: How long a job that was told to stop may take.
        misses: So many 404s in a row make a job lost.
        interval: Time between two cycles; a 404 is counted once in it, however many flows look.
        failed_as: What a failed job makes of its run.
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
