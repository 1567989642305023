"""Units of time and bounds on clock skew."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

NS = 1_000_000_000
"""Nanoseconds per second; the logs service counts in nanoseconds."""

CLOCK_SKEW = timedelta(minutes=1)
"""How far apart the clocks of Prefect and the platform may appear.

Answers carry whole seconds only, and they take time to arrive.
"""

LOG_CLOCK_SKEW_NS = 24 * 3600 * NS
"""How far the clock that stamps log lines may be from the one in the API's ``Date`` header.

The machine that runs the container stamps the lines, and nothing ties its clock to the API's. Only
the lines of one job match its selector, so a wide bound lets in no foreign lines. A narrow one
would silently lose the first or the last lines.
"""


def to_ns(moment: datetime) -> int:
    """Return a time in nanoseconds since the epoch; a time without a zone counts as UTC.

    >>> to_ns(datetime(1970, 1, 1, 0, 0, 1, 500_000))
    1500000000
    """
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int(aware.timestamp()) * NS + aware.microsecond * 1000


def from_ns(ns: int) -> datetime:
    """Return the UTC time of nanoseconds since the epoch, truncated to whole microseconds.

    >>> from_ns(1_500_000_999)
    datetime.datetime(1970, 1, 1, 0, 0, 1, 500000, tzinfo=datetime.timezone.utc)
    """
    seconds, rest = divmod(ns, NS)
    return datetime.fromtimestamp(seconds, UTC) + timedelta(microseconds=rest // 1000)
