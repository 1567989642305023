"""Compare a server's clock to this machine's: a server dates its objects in its own time."""

from __future__ import annotations

from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from time import time_ns

from cpln_flows.model.time import NS, from_ns

_HALF_NS = NS // 2
_AGREE_NS = 2 * NS
"""Clocks that differ by no more than this count as equal.

The header has whole seconds, and an answer takes its time.
"""
_CREDIBLE_YEARS = range(2000, 2200)


class ServerTime:
    """How far a server's clock is ahead of this machine's, learned from its ``Date`` headers.

    >>> clock = ServerTime()
    >>> clock.learn("Sat, 10 Jan 2026 10:00:00 GMT", 1_768_039_190 * 10**9)
    >>> clock.offset_ns
    10500000000
    """

    def __init__(self) -> None:
        self.offset_ns: int = 0
        self._learned: str | None = None

    @property
    def ahead(self) -> timedelta:
        """How far the server's clock is ahead of this machine's; negative when it is behind."""
        return timedelta(microseconds=self.offset_ns / 1000)

    def now_ns(self) -> int:
        """Return the server's time, as far as its answers reveal it, in ns since the epoch."""
        return time_ns() + self.offset_ns

    def now(self) -> datetime:
        """Return the server's time, as far as its answers reveal it."""
        return from_ns(time_ns()) + self.ahead

    def learn(self, date: str | None, now_ns: int | None = None) -> None:
        """Learn from the ``Date`` of an answer.

        Args:
            date: The header; if it is missing or not a date, nothing is learned.
            now_ns: This machine's time, in nanoseconds since the epoch. Default: now.
        """
        if date is None or date == self._learned:
            return
        try:
            stamped = parsedate_to_datetime(date)
            if stamped.year not in _CREDIBLE_YEARS:
                return
            told_ns = int(stamped.timestamp()) * NS + _HALF_NS
        except (ValueError, OverflowError):
            return
        self._learned = date
        offset_ns = told_ns - (time_ns() if now_ns is None else now_ns)
        self.offset_ns = offset_ns if abs(offset_ns) > _AGREE_NS else 0
