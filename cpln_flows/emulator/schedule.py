"""Cron expressions: parse five fields and find the next matching minute.

Pure; in UTC, as on the platform.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_FIELD_COUNT = 5
_STARS = ("*", "?")
TEXT_LIMIT = 1000
_DIGITS = re.compile(r"[0-9]{1,4}")
_SUNDAY_AS_SEVEN = 7
# A leap day falls on a given weekday within 28 years, and 2100 is not a leap year.
_SEARCH_DAYS = 366 * 41


class InvalidScheduleError(ValueError):
    """The string is not a valid cron expression."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """A cron expression.

    Day of month and day of week are alternatives if both are restricted. ``*/2`` is a restriction,
    a plain ``*`` is none.
    """

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    any_day: bool
    any_weekday: bool

    def next_after(self, moment: datetime) -> datetime | None:
        """Return the first matching minute after a moment.

        The result is ``None`` for a date that never comes, such as February 30.
        """
        start = moment.replace(second=0, microsecond=0) + timedelta(minutes=1)
        day = start.replace(hour=0, minute=0)
        for _ in range(_SEARCH_DAYS):
            if self._fits_day(day):
                found = self._first_in_day(day, start)
                if found is not None:
                    return found
            day += timedelta(days=1)
        return None

    def _first_in_day(self, day: datetime, start: datetime) -> datetime | None:
        for hour in sorted(self.hours):
            for minute in sorted(self.minutes):
                candidate = day.replace(hour=hour, minute=minute)
                if candidate >= start:
                    return candidate
        return None

    def _fits_day(self, day: datetime) -> bool:
        if day.month not in self.months:
            return False
        by_day = day.day in self.days
        by_weekday = (day.weekday() + 1) % 7 in self.weekdays
        if self.any_day or self.any_weekday:
            return by_day and by_weekday
        return by_day or by_weekday


def parse_schedule(text: str) -> Schedule:
    """Parse a cron expression of five fields, or one of the usual names such as ``@hourly``."""
    if len(text) > TEXT_LIMIT:
        raise InvalidScheduleError(f"it is longer than {TEXT_LIMIT} characters")
    fields = _MACROS.get(text.strip().lower(), text).split()
    if len(fields) != _FIELD_COUNT:
        raise InvalidScheduleError(f"{text!r} has {len(fields)} fields, not {_FIELD_COUNT}")
    minute, hour, day, month, weekday = fields
    days = _field(day, 1, 31)
    weekdays = _field(weekday, 0, _SUNDAY_AS_SEVEN, _DAYS, 0)
    return Schedule(
        minutes=_field(minute, 0, 59),
        hours=_field(hour, 0, 23),
        days=days,
        months=_field(month, 1, 12, _MONTHS, 1),
        weekdays=frozenset(each % _SUNDAY_AS_SEVEN for each in weekdays),
        any_day=_is_star(day),
        any_weekday=_is_star(weekday),
    )


def _is_star(text: str) -> bool:
    """Return whether a day field has a star without a step, as Kubernetes' parser reads it."""
    parts = (part.partition("/") for part in text.split(","))
    return any(values in _STARS and (not slash or int(step) == 1) for values, slash, step in parts)


def _field(
    text: str, low: int, high: int, names: tuple[str, ...] = (), first: int = 0
) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        values, slash, step_text = part.partition("/")
        start, end = _range(values, low, high, names, first)
        if slash and "-" not in values and values not in _STARS:
            end = high
        step = _number(step_text, 1, high, (), 0) if slash else 1
        found.update(range(start, end + 1, step))
    return frozenset(found)


def _range(text: str, low: int, high: int, names: tuple[str, ...], first: int) -> tuple[int, int]:
    if text in _STARS:
        return low, high
    start_text, dash, end_text = text.partition("-")
    start = _number(start_text, low, high, names, first)
    end = _number(end_text, low, high, names, first) if dash else start
    if end < start:
        raise InvalidScheduleError(f"the range {text!r} ends before it begins")
    return start, end


def _number(text: str, low: int, high: int, names: tuple[str, ...], first: int) -> int:
    if text.upper() in names:
        return names.index(text.upper()) + first
    if not _DIGITS.fullmatch(text) or not low <= int(text) <= high:
        raise InvalidScheduleError(f"{text!r} is not a number from {low} to {high}")
    return int(text)
