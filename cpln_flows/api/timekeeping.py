"""The platform's clock beside this machine's: what the platform says of its objects and lines is in its own time."""

from __future__ import annotations

from email.utils import parsedate_to_datetime

_NS = 1_000_000_000
_HALF_NS = _NS // 2
_AGREE_NS = 2 * _NS
"""The header has whole seconds, and an answer takes its time: clocks that are so close to each other count as equal."""


class PlatformTime:
    """How far the platform's clock is ahead of this machine's, learned from the ``Date`` of its answers.

    >>> clock = PlatformTime()
    >>> clock.learn("Sat, 10 Jan 2026 10:00:00 GMT", 1_768_039_190 * 10**9)
    >>> clock.offset_ns
    10500000000
    """

    def __init__(self) -> None:
        self.offset_ns = 0
        self._learned: str | None = None

    def learn(self, date: str | None, now_ns: int) -> None:
        """Take the ``Date`` of an answer.

        Args:
            date: The header; without one, or with one that is no date, nothing is learned.
            now_ns: This machine's time, in nanoseconds since the epoch.
        """
        if date is None or date == self._learned:
            return
        try:
            told_ns = int(parsedate_to_datetime(date).timestamp()) * _NS + _HALF_NS
        except (ValueError, OverflowError):
            return
        self._learned = date
        offset_ns = told_ns - now_ns
        self.offset_ns = offset_ns if abs(offset_ns) > _AGREE_NS else 0
