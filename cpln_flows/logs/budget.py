"""Decide which lines of a job's log go into Prefect's logs, within a budget. Pure.

Prefect's logs take a thousandth of the lines that a job can print: the API is slow, and Prefect
Cloud counts every line and caps its length. So there is a budget, which refills with time. While it
is ample, each line is a record of its own. When it runs low, lines that arrive together become one
record. When it is used up, lines are counted, and a summary reports how many there were and where
the whole log is.
"""

from __future__ import annotations

import logging
import re
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from cpln_flows.model.levels import LEVELS

_STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00"
_LINE = re.compile(rf"^({_STAMP}) - ", re.MULTILINE)
_SPAN = re.compile(rf"\(from ({_STAMP}) to ({_STAMP})\)")
_STAMP_LENGTH = len("2026-01-10T10:00:12.500000+00:00")
_MOST_JOINED = 50
_LAST_LINES = 20
_LONGEST_FOLD_SECONDS = 30.0


class Record(NamedTuple):
    """One record for Prefect's logs."""

    level: int
    text: str


@dataclass(frozen=True)
class Budget:
    """How much may be forwarded.

    Attributes:
        records: Records of one job in all.
        burst: Records that may be sent at once.
        per_second: Records per second in the long run.
        characters: Length of the longest record; a longer line is split.
        levels: Regular expressions to search for in a line, and the level that each one stands for.
        where: Where to find the whole log, in words.
    """

    records: int = 10_000
    burst: int = 1_000
    per_second: float = 100.0
    characters: int = 20_000
    levels: Mapping[str, str] = field(default_factory=lambda: LEVELS)
    where: str = "the job's log on the platform"


class Shown:
    r"""What an earlier process has forwarded, read from the messages in a flow run's log.

    >>> stamp = "2026-01-10T10:00:12.500000+00:00"
    >>> shown = Shown([f"{stamp} - a\n{stamp} - b", "Created task run"])
    >>> [shown.take(f"{stamp} - {line}") for line in "aabc"]
    [True, False, True, False]
    """

    def __init__(self, messages: Iterable[str] = ()) -> None:
        self._lines: Counter[str] = Counter()
        self._spans: list[tuple[str, str]] = []
        for message in messages:
            starts = [match.start() for match in _LINE.finditer(message)]
            for start, end in pairwise([*starts, len(message) + 1]):
                self._lines[message[start : end - 1]] += 1
            self._spans += [(first, last) for first, last in _SPAN.findall(message) if starts]

    @property
    def oldest(self) -> str | None:
        """Time of the oldest line."""
        return min((line[:_STAMP_LENGTH] for line in self._lines), default=None)

    @property
    def newest(self) -> str | None:
        """Time of the newest line."""
        return max((line[:_STAMP_LENGTH] for line in self._lines), default=None)

    def take(self, line: str) -> bool:
        """Whether a line was forwarded; each call uses up one of the lines with the same text."""
        if self._lines[line] > 0:
            self._lines[line] -= 1
            return True
        return any(first <= line[:_STAMP_LENGTH] <= last for first, last in self._spans)


@dataclass
class _Skipped:
    """Lines that were not forwarded, one after another."""

    count: int = 0
    first: str = ""
    last: str = ""

    def add(self, line: str) -> None:
        self.count += 1
        self.last = line[:_STAMP_LENGTH]
        self.first = self.first or self.last

    @property
    def span(self) -> str:
        return f"(from {self.first} to {self.last})"


class Forwarding:
    """Turn lines into records.

    Args:
        budget: How much may be forwarded.
        now: Monotonic time in seconds.
        shown: What was forwarded before.
    """

    def __init__(self, budget: Budget, now: float, shown: Shown | None = None) -> None:
        self._budget = budget
        self._shown = shown
        self._levels = [
            (re.compile(pattern), logging.getLevelName(level))
            for pattern, level in budget.levels.items()
        ]
        self._left = budget.records
        self._tokens, self._filled = float(budget.burst), now
        self._before, self._said = "", now
        self._repeated, self._omitted = _Skipped(), _Skipped()
        self._last: deque[str] = deque(maxlen=_LAST_LINES)
        self._records: list[Record] = []

    def take(self, lines: Sequence[str], now: float) -> list[Record]:
        """Take lines, each with its time in front; return the records to send now."""
        self._fill(now)
        if now - self._said >= _LONGEST_FOLD_SECONDS:
            self._said = now
            self._say_repeats()
        for line in lines:
            self._take(line)
        return self._sent()

    def flush(self, now: float) -> list[Record]:
        """Return the records for the end of the log; they may exceed the budget a little."""
        self._fill(now)
        self._say_repeats()
        if self._omitted.count:
            last = "".join(f"\n{line}" for line in self._last)[-self._budget.characters :]
            self._say_omitted(f"; the last {len(self._last)} of them:{last}")
        return self._sent()

    def _fill(self, now: float) -> None:
        more = max(0.0, now - self._filled) * self._budget.per_second
        self._tokens, self._filled = min(self._tokens + more, self._budget.burst), now

    def _sent(self) -> list[Record]:
        records, self._records = self._records, []
        return records

    def _take(self, line: str) -> None:
        parts = self._parts(line)
        if self._shown is not None and self._shown.take(parts[0]):
            return
        text = line[_STAMP_LENGTH:]
        if text == self._before:
            self._repeated.add(line)
            return
        self._say_repeats()
        self._before = text
        if self._omitted.count and self._affords(2):
            self._say_omitted()
        if self._omitted.count or not self._affords(len(parts)):
            self._omitted.add(line)
            self._last.append(line)
            return
        for part in parts:
            self._send(self._level(line), part)

    def _affords(self, records: int) -> bool:
        return min(self._tokens, self._left) >= records

    def _send(self, level: int, text: str) -> None:
        previous = self._records[-1] if self._records else None
        is_low = self._tokens < self._budget.burst / 2
        if (
            is_low
            and previous is not None
            and previous.level == level
            and self._joins(previous.text, text)
        ):
            self._records[-1] = Record(level, f"{previous.text}\n{text}")
            return
        self._tokens -= 1
        self._left -= 1
        self._records.append(Record(level, text))

    def _joins(self, previous: str, text: str) -> bool:
        return (
            previous.count("\n") < _MOST_JOINED
            and len(previous) + len(text) < self._budget.characters
        )

    def _say_repeats(self) -> None:
        skipped, self._repeated = self._repeated, _Skipped()
        if skipped.count and not self._omitted.count:
            times = f"{skipped.count:,} more times" if skipped.count > 1 else "once more"
            self._send(logging.INFO, f"{skipped.last} - [the same line {times} {skipped.span}]")
        elif skipped.count:
            self._omitted.count += skipped.count
            self._omitted.last = skipped.last

    def _say_omitted(self, more: str = "") -> None:
        skipped, self._omitted = self._omitted, _Skipped()
        text = (
            f"[{skipped.count:,} lines are not shown here {skipped.span}:"
            " they exceed the log budget for Prefect"
        )
        self._records.append(
            Record(logging.INFO, f"{skipped.last} - {text}; whole log: {self._budget.where}]{more}")
        )
        self._tokens -= 1
        self._left -= 1
        self._last.clear()

    def _level(self, line: str) -> int:
        text = line[_STAMP_LENGTH:]
        return next(
            (level for pattern, level in self._levels if pattern.search(text)), logging.INFO
        )

    def _parts(self, line: str) -> list[str]:
        """Split a line that is too long; each part starts with the time and its own number."""
        most = self._budget.characters
        if len(line) <= most:
            return [line]
        stamp, text = line[:_STAMP_LENGTH], line[_STAMP_LENGTH + len(" - ") :]
        room = max(1, most - _STAMP_LENGTH - len(" - (1000/1000) "))
        pieces = [text[start : start + room] for start in range(0, len(text), room)]
        return [
            f"{stamp} - ({number}/{len(pieces)}) {piece}" for number, piece in enumerate(pieces, 1)
        ]
