"""When a flow run of several cycles looks next, and when it makes way for its successor. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

SPARE = timedelta(seconds=1)


@dataclass(frozen=True)
class Cadence:
    """The rhythm of one flow run.

    A scheduled run on the platform costs a container start, so one run covers several cycles; a
    concurrency limit of one keeps two from overlapping. A run that has a successor ends one
    interval before the successor is to start, whatever its own count of cycles says, and looks once
    more at that very moment. So the successor, whose start may take up to an interval, begins at
    most two intervals after the last look. A run that starts with its successor already waiting
    looks once.

    Attributes:
        started: When this run began its first cycle.
        interval: Time between the beginnings of two cycles.
        cycles: How many cycles to run if there is no successor; ``None`` is no limit.
    """

    started: datetime
    interval: timedelta
    cycles: int | None = None

    def next_cycle(
        self, last: datetime, done: int, now: datetime, successor: datetime | None
    ) -> datetime | None:
        """Return when to begin the next cycle, which may be now; ``None`` when the run ends.

        Args:
            last: When the last cycle began.
            done: How many cycles are done.
            now: The current time.
            successor: When the next run of the same deployment is to start, if there is one.
        """
        due = max(last + self.interval, now)
        if successor is None:
            return due if self.cycles is None or done < self.cycles else None
        end = successor - self.interval
        if due <= end:
            return due
        return end if end > max(last, now) + SPARE else None

    def overrun(self, began: datetime, now: datetime) -> timedelta | None:
        """Return how much longer than an interval a cycle took, if it did."""
        late = now - began - self.interval
        return late if late > timedelta(0) else None
