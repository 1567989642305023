"""Units of time, and how far clocks may be apart."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

NS = 1_000_000_000
"""Nanoseconds of a second, in which the logs service counts."""

CLOCK_SKEW = timedelta(minutes=1)
"""How far the clocks of Prefect and the platform may seem apart: answers bear whole seconds and take their time."""

LOG_CLOCK_SKEW_NS = 24 * 3600 * NS
"""How far the clock that stamps log lines may be from the one in the API's ``Date`` header.

Lines are stamped by the machine that runs the container, and nothing ties its clock to the API's. Only the lines of one job
match its selector, so a wide bound costs no foreign lines, and a narrow one would silently lose the first or the last of them.
"""


def to_ns(moment: datetime) -> int:
    """Return a time in nanoseconds since the epoch; one without a zone is in UTC.

    >>> to_ns(datetime(1970, 1, 1, 0, 0, 1, 500_000))
    1500000000
    """
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int(aware.timestamp()) * NS + aware.microsecond * 1000


def from_ns(ns: int) -> datetime:
    """Return the time of so many nanoseconds since the epoch, in UTC and with whole microseconds.

    >>> from_ns(1_500_000_999)
    datetime.datetime(1970, 1, 1, 0, 0, 1, 500000, tzinfo=datetime.timezone.utc)
    """
    seconds, rest = divmod(ns, NS)
    return datetime.fromtimestamp(seconds, UTC) + timedelta(microseconds=rest // 1000)
