"""Decide whether a missing job is lost: presence anywhere outweighs absence elsewhere. Pure.

The platform shows a job in three places: as a command, as an execution in the deployment of its
workload, and by its log. Queries can be stale, and a command can answer 404 while its job runs, so
one place alone proves nothing. A check counts as an absence only if it read both the command and
the deployment, found the job in neither, and no log line arrived in between. The job is lost after
minutes of consecutive absences. A check that could not read a place neither counts nor resets the
count.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

# A process that was suspended for an hour must not judge by a single answer.
_LEAST_LOOKS = 5


class Sighting(Enum):
    """What one place shows of a job."""

    SHOWN = auto()
    """The place shows the job."""
    ABSENT = auto()
    """The place was read and does not show the job."""
    UNREAD = auto()
    """The place could not be read."""


@dataclass(frozen=True)
class Absence:
    """An uninterrupted series of checks in which nothing showed the job.

    Attributes:
        looks: Number of checks.
        since: Time of the first check, in seconds of a monotonic clock.
    """

    looks: int = 0
    since: float = 0.0

    def after(
        self, *, command: Sighting, execution: Sighting, last_line: float | None, now: float
    ) -> Absence:
        """Return the series after one more check.

        Args:
            command: Whether the command was found.
            execution: Whether the deployment lists the job's execution, or its container.
            last_line: When the last line of the job's log arrived.
            now: When the check was made, on the same clock.
        """
        if Sighting.SHOWN in (command, execution):
            return Absence()
        has_written = self.looks > 0 and last_line is not None and last_line >= self.since
        so_far = Absence() if has_written else self
        if Sighting.UNREAD in (command, execution):
            return so_far
        return Absence(so_far.looks + 1, so_far.since if so_far.looks else now)

    def is_loss(self, *, now: float, lost_after_seconds: float) -> bool:
        """Whether the series is long enough for the job to count as lost.

        >>> Absence(looks=5, since=0.0).is_loss(now=180.0, lost_after_seconds=180.0)
        True
        """
        return self.looks >= _LEAST_LOOKS and now - self.since >= lost_after_seconds
