"""Decide how long to wait for late lines of a job that has ended. Pure.

The logs service gives no sign that it has everything. Two observations replace such a sign. The
first is a line with a time right before the job's end, which shows that the log has come that far.
Both times are the platform's own, so the clock of this machine does not matter. The second is how
late the job's lines have been so far.
"""

from __future__ import annotations

from dataclasses import dataclass

from cpln_flows.model.time import NS

MOMENT_SECONDS = 0.3
"""A line at most this old at the job's end shows that the log has come that far."""
MARGIN_SECONDS = 0.1
"""How much the lateness of lines of the same moment may differ."""
_LEAST_SECONDS = 0.05
_LONGEST_SECONDS = 15.0
_LAG_KEPT = 0.97
"""The share of the longest lag that each message keeps.

One stall long ago is no reason to wait at the end.
"""


@dataclass(frozen=True)
class End:
    """A job's end: when it was seen, on a monotonic clock, and its platform time if known."""

    seen: float
    ns: int | None = None

    def seconds_after(self, line_ns: int) -> float | None:
        """Return how long before the end a line was printed, if in the job's last moment."""
        if self.ns is None or line_ns < self.ns - MOMENT_SECONDS * NS:
            return None
        return max(0.0, (self.ns - line_ns) / NS)


@dataclass
class Lag:
    """How late lines arrive: the newest, and roughly the latest so far; 0 before the first line."""

    newest_ns: int = 0
    longest_ns: int = 0

    def note(self, lag_ns: int) -> None:
        """Record how late a line was.

        A line from the future shows that the clocks differ, but nothing about the lag.
        """
        if lag_ns >= 0:
            self.newest_ns = lag_ns
            self.longest_ns = max(int(self.longest_ns * _LAG_KEPT), lag_ns)


def rests_at(
    end: End, *, newest_ns: int, last_arrival: float | None, lag: Lag, settle: float
) -> float:
    """Return the monotonic time after which no late line is expected.

    Args:
        end: The job's end.
        newest_ns: Time of the newest line that was delivered.
        last_arrival: When the last line was delivered.
        lag: How late the lines have been.
        settle: How long to wait if nothing shows that the end of the log has arrived.

    If the end of the log has arrived, the lines printed after the newest one follow within the same
    time, provided that they are equally late. Any other log gets the whole time. The observed lag
    can lengthen both times but never shorten them: the last lines may be later than all before
    them.
    """
    of_lag = end.seen + min(_LONGEST_SECONDS, max(_LEAST_SECONDS, 2 * lag.longest_ns / NS))
    if last_arrival is not None and (left := end.seconds_after(newest_ns)) is not None:
        return max(of_lag, last_arrival + min(left + MARGIN_SECONDS, settle))
    return max(of_lag, end.seen + settle)
