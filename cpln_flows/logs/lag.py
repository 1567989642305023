"""How long late lines of a job that has ended are waited for. Pure.

The logs service gives no sign that it has everything. What there is instead: a line with a time right before the job's end shows
that the log has come that far, and how late the job's lines were so far. Both times of the first are the platform's own, so the
clock of this machine has no part in it.
"""

from __future__ import annotations

from dataclasses import dataclass

from cpln_flows.model.time import NS

MOMENT_SECONDS = 0.3
"""A line that is not older than this at the job's end shows that the log has come that far."""
MARGIN_SECONDS = 0.1
"""By so much lines of the same moment may differ in how late they are."""
_LEAST_SECONDS = 0.05
_LONGEST_SECONDS = 15.0
_LAG_KEPT = 0.97
"""Of the longest lag so much is kept with each message: one stall long ago is no reason to wait at the end."""


@dataclass(frozen=True)
class End:
    """A job's end: when it was seen, on a monotonic clock, and when it was, on the platform's, if that is known."""

    seen: float
    ns: int | None = None

    def seconds_after(self, line_ns: int) -> float | None:
        """Return how long before the end a line was printed, if that was in the job's last moment."""
        if self.ns is None or line_ns < self.ns - MOMENT_SECONDS * NS:
            return None
        return max(0.0, (self.ns - line_ns) / NS)


@dataclass
class Lag:
    """How late lines come: the newest one, and about the latest so far; 0 as long as none was seen."""

    newest_ns: int = 0
    longest_ns: int = 0

    def note(self, lag_ns: int) -> None:
        """Take how late a line was. A line from the future says that the clocks differ, and nothing about the lag."""
        if lag_ns >= 0:
            self.newest_ns = lag_ns
            self.longest_ns = max(int(self.longest_ns * _LAG_KEPT), lag_ns)


def rests_at(
    end: End, *, newest_ns: int, last_arrival: float | None, lag: Lag, settle: float
) -> float:
    """Return the monotonic time from which on no late line is expected.

    Args:
        end: The job's end.
        newest_ns: Time of the newest line that was delivered.
        last_arrival: When a line was delivered for the last time.
        lag: How late the lines were.
        settle: How long is waited if nothing shows that the end of the log has come.

    Of a log whose end has come, what was printed after its newest line follows that in the same time, if it is equally late; any
    other one is given the whole time. The lag that was seen can make both longer and never shorter: the last lines may be later
    than all before them.
    """
    of_lag = end.seen + min(_LONGEST_SECONDS, max(_LEAST_SECONDS, 2 * lag.longest_ns / NS))
    if last_arrival is not None and (left := end.seconds_after(newest_ns)) is not None:
        return max(of_lag, last_arrival + min(left + MARGIN_SECONDS, settle))
    return max(of_lag, end.seen + settle)
