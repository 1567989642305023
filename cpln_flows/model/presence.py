"""Whether a job that cannot be found is lost: presence anywhere outweighs absence elsewhere. Pure.

The platform shows a job in three places: as a command, as an execution of the workload's deployment, and by its log. Queries
can be stale and a command can answer 404 while its job runs, so one place alone proves nothing. A job counts as absent only in
looks that read both the command and the deployment and found it in neither, without a line of its log in between. It is lost
once such looks have followed one another for minutes. What could not be read neither counts nor starts the count anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

_LEAST_LOOKS = (
    5  # so that a process that was suspended for an hour does not judge by a single answer
)


class Sighting(Enum):
    """What one place says about a job."""

    SHOWN = auto()
    """The place shows the job."""
    ABSENT = auto()
    """The place was read and does not show the job."""
    UNREAD = auto()
    """The place could not be read."""


@dataclass(frozen=True)
class Absence:
    """An uninterrupted series of looks in which nothing showed the job.

    Attributes:
        looks: How many looks there were.
        since: Time of the first one, in seconds of a monotonic clock.
    """

    looks: int = 0
    since: float = 0.0

    def after(
        self, *, command: Sighting, execution: Sighting, last_line: float | None, now: float
    ) -> Absence:
        """Return the series after one more look.

        Args:
            command: Whether the command was found.
            execution: Whether the deployment lists the job's execution, or its container.
            last_line: When the last line of its log arrived.
            now: When the look was made, on the same clock.
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
