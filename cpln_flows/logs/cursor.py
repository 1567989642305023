"""What was delivered of a job's log, so that every further read adds only new lines.

This holds for any process that reads the log. The logs service has no line numbers. A line is
identified by its stream, its time and its text, and the same text printed twice at the same
nanosecond is two lines. So each look at the log, a tail's connection or a page of a range query,
keeps its own counts. A line is new when one look has shown it more often than it was delivered.
"""

from __future__ import annotations

import json
from array import array
from bisect import bisect_left, bisect_right
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from operator import itemgetter
from typing import Any, Self
from zlib import crc32

from cpln_flows.errors import ConfigurationError
from cpln_flows.model.log_lines import Batch, StreamKey

_KEPT_LINES = 200
_MOST_KEPT_LINES = 10_000
_MOST_PARSED_LINES = 1_000_000
_END_NS = 2**63 - 1
_END_MARK = 2**32 - 1
_REMEMBERED_FRAMES = 64
_FEW = 4

Emitted = tuple[tuple[int, int, int], ...]
"""Time, mark and number of lines, in order of time."""


def marks_of(lines: Iterable[str]) -> array[int]:
    """Return a short stand-in for the text of each line, the same in every process."""
    lines = list(lines)
    try:
        return array("I", map(crc32, map(str.encode, lines)))
    except UnicodeEncodeError:
        return array("I", [crc32(line.encode("utf-8", "surrogatepass")) for line in lines])


@dataclass(frozen=True)
class Place:
    """How far one stream was delivered.

    Everything before ``from_ns`` was delivered. Of the rest, the lines in ``emitted`` were.
    """

    from_ns: int
    emitted: Emitted = ()

    def merge(self, other: Place) -> Place:
        """Return the place of a reader who has received both."""
        from_ns = max(self.from_ns, other.from_ns)
        counts = _counts(self) | _counts(other)
        kept = ((ns, mark, count) for (ns, mark), count in counts.items() if ns >= from_ns)
        return Place(from_ns, tuple(sorted(kept)))


@dataclass(frozen=True)
class Cursor:
    """A position in the log of one job from which any reader can resume with the very next line.

    ``from_ns`` is where to start reading: everything older was delivered, for every stream, except
    for lines older than ``since_ns``, which were not wanted.

    >>> cursor = Cursor(5, {StreamKey("r", "main", "stdout"): Place(5, ((5, 12, 1),))})
    >>> Cursor.parse(str(cursor)) == cursor == cursor.merge(Cursor())
    True
    """

    from_ns: int = 0
    places: Mapping[StreamKey, Place] = field(default_factory=dict)
    since_ns: int = 0

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the text form of a cursor.

        Raises:
            ConfigurationError: The text is not a cursor.
        """
        try:
            content = json.loads(text)
            places = {
                StreamKey(*map(str, key)): Place(_within(from_ns, _END_NS), _emitted(emitted))
                for key, from_ns, emitted in content["places"]
            }
            return cls(
                _within(content["from_ns"], _END_NS),
                places,
                _within(content.get("since_ns", 0), _END_NS),
            )
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            raise ConfigurationError(
                f"from_cursor: not a cursor of a log ({error}); pass the one from a receipt"
            ) from None

    def __str__(self) -> str:
        places = [(key, place.from_ns, place.emitted) for key, place in sorted(self.places.items())]
        content = {"from_ns": self.from_ns, "since_ns": self.since_ns, "places": places}
        return json.dumps(content, separators=(",", ":"))

    def merge(self, other: Cursor) -> Cursor:
        """Return the cursor of a reader who has received both.

        Where one begins after the point that the other has reached, nobody received the lines in
        between. The earlier place is kept there, so that the next reader may receive some lines
        again but misses none.
        """
        if Cursor() in (self, other):
            return other if self == Cursor() else self
        first, second = sorted((self, other), key=lambda cursor: cursor.since_ns)
        keys = {*first.places, *second.places}
        places = {
            key: _merged(first.place(key), second.place(key), first.since_ns, second.since_ns)
            for key in keys
        }
        from_ns = _merged(
            Place(first.from_ns), Place(second.from_ns), first.since_ns, second.since_ns
        ).from_ns
        return Cursor(from_ns, places, first.since_ns)

    def place(self, key: StreamKey) -> Place:
        """Return how far one stream was delivered."""
        return self.places.get(key, Place(self.from_ns))


def _merged(place: Place, later: Place, since_ns: int, later_since_ns: int) -> Place:
    """Merge two places; the later one holds no information from before its own beginning."""
    joins_up = later_since_ns <= max(place.from_ns, since_ns)
    return place.merge(later if joins_up else replace(later, from_ns=place.from_ns))


def _within(value: Any, most: int) -> int:
    number = int(value)
    if not 0 <= number <= most:
        raise ValueError(f"{number} is out of bounds")
    return number


def _emitted(content: Any) -> Emitted:
    emitted = tuple(
        (_within(n, _END_NS), _within(m, _END_MARK), _within(c, _MOST_PARSED_LINES))
        for n, m, c in content
    )
    if sum(count for _, _, count in emitted) > _MOST_PARSED_LINES:
        raise ValueError("more lines than a cursor can hold")
    return tuple(sorted(emitted))


def _counts(place: Place) -> Counter[tuple[int, int]]:
    return Counter({(ns, mark): count for ns, mark, count in place.emitted})


class _Stream:
    """The delivered lines of one stream: all before ``from_ns``, and the listed ones since then.

    The list is in order of time.
    """

    __slots__ = ("from_ns", "marks", "newest_ns", "stamps")

    def __init__(self, place: Place) -> None:
        self.from_ns: int = place.from_ns
        self.newest_ns: int = place.from_ns - 1
        # Twelve bytes per line: millions of them fit where their text would not.
        self.stamps: array[int] = array("q")
        self.marks: array[int] = array("I")
        for ns, mark, count in place.emitted:
            for _ in range(count):
                self.add(ns, mark)

    def append(self, stamps: list[int], marks: array[int]) -> None:
        """Record lines that are all newer than the known ones, in order of time."""
        self.stamps.extend(array("q", stamps))
        self.marks.extend(marks)
        self.newest_ns = stamps[-1]

    def add(self, ns: int, mark: int) -> None:
        if ns >= self.newest_ns:
            self.stamps.append(ns)
            self.marks.append(mark)
            self.newest_ns = ns
            return
        place = bisect_right(self.stamps, ns)
        self.stamps.insert(place, ns)
        self.marks.insert(place, mark)

    def add_all(self, entries: list[tuple[int, int]]) -> None:
        """Record lines of any times together: adding one alone would move all newer ones."""
        if len(entries) < _FEW or min(entries)[0] >= self.newest_ns:
            for ns, mark in entries:
                self.add(ns, mark)
            return
        entries = sorted(entries, key=itemgetter(0))
        start = low = bisect_right(self.stamps, entries[0][0])
        stamps, marks = array("q"), array("I")
        for ns, mark in entries:
            place = bisect_right(self.stamps, ns, low)
            stamps.extend(self.stamps[low:place])
            marks.extend(self.marks[low:place])
            stamps.append(ns)
            marks.append(mark)
            low = place
        self.stamps[start:low], self.marks[start:low] = stamps, marks
        self.newest_ns = max(self.newest_ns, self.stamps[-1])

    def has(self, ns: int, mark: int, times: int) -> bool:
        """Whether a line was delivered at least ``times`` times."""
        if times <= 0 or ns < self.from_ns:
            return True
        if ns > self.newest_ns:
            return False
        low = bisect_left(self.stamps, ns)
        return self.marks[low : bisect_right(self.stamps, ns, low)].count(mark) >= times

    def equals(self, stamps: list[int], marks: array[int]) -> bool:
        """Whether exactly these lines were delivered in the span of time that they cover."""
        low = bisect_left(self.stamps, stamps[0])
        high = low + len(stamps)
        return (
            stamps[0] >= self.from_ns
            and self.stamps[low:high] == array("q", stamps)
            and self.marks[low:high] == marks
        )

    def settle(self, before_ns: int) -> None:
        if before_ns > self.from_ns:
            place = bisect_left(self.stamps, before_ns)
            del self.stamps[:place], self.marks[:place]
            self.from_ns = before_ns
            self.newest_ns = max(self.newest_ns, before_ns - 1)

    def place(self, since_ns: int, *, is_sure: bool) -> Place:
        """Return the place with the lines delivered since then, and at least the last few lines."""
        from_ns = self.from_ns
        if len(self.stamps) > _KEPT_LINES:
            from_ns = max(from_ns, min(since_ns, self.stamps[-_KEPT_LINES]))
        if is_sure and len(self.stamps) > _MOST_KEPT_LINES:
            from_ns = max(from_ns, self.stamps[-_MOST_KEPT_LINES])
        low = bisect_left(self.stamps, from_ns)
        counts = Counter(zip(self.stamps[low:], self.marks[low:], strict=True))
        return Place(
            from_ns, tuple(sorted((ns, mark, count) for (ns, mark), count in counts.items()))
        )


class Ledger:
    """The record of what was delivered of one job's log.

    Args:
        cursor: Where an earlier reader has stopped.
    """

    def __init__(self, cursor: Cursor | None = None) -> None:
        start = cursor or Cursor()
        self.from_ns: int = start.from_ns
        self.since_ns: int = start.since_ns
        self.total = 0
        self._streams = {key: _Stream(place) for key, place in start.places.items()}

    @property
    def newest_ns(self) -> int:
        """Time of the newest delivered line; 0 if there is none."""
        return max(
            (stream.newest_ns for stream in self._streams.values() if stream.stamps), default=0
        )

    @property
    def unsettled(self) -> int:
        """How many lines are held in memory."""
        return sum(len(stream.stamps) for stream in self._streams.values())

    def look(self) -> Look:
        """Begin another look at the log."""
        return Look(self)

    def settle(self, before_ns: int) -> None:
        """Assume that nothing older than this will arrive, and forget what was delivered of it."""
        self.from_ns = max(self.from_ns, before_ns)
        for stream in self._streams.values():
            stream.settle(before_ns)

    def is_long(self) -> bool:
        """Whether there are more lines than a cursor always holds."""
        return any(len(stream.stamps) > _KEPT_LINES for stream in self._streams.values())

    def cursor(self, since_ns: int = 0, *, is_sure: bool = True) -> Cursor:
        """Return where the next reader resumes.

        Args:
            since_ns: The store holds nothing older that was not delivered, and nothing older will
                arrive.
            is_sure: Whether nothing newer is known to be missing either; if so, the number of lines
                in the cursor is capped to keep it small.
        """
        places = {
            key: stream.place(since_ns, is_sure=is_sure) for key, stream in self._streams.items()
        }
        return Cursor(self.from_ns, places, self.since_ns)

    def stream(self, key: StreamKey) -> _Stream:
        """Return what was delivered of one stream."""
        found = self._streams.get(key)
        if found is None:
            found = self._streams[key] = _Stream(Place(self.from_ns))
        return found


@dataclass
class _Position:
    """The current time of a look in one stream, and the lines that it has shown at that time."""

    ns: int
    shown: Counter[int]

    def show(self, ns: int, mark: int) -> int:
        """Record a line; return how often the look has shown it at its time."""
        # The time also changes when it goes back: the look then repeats lines, or shows late ones.
        if ns != self.ns:
            self.ns, self.shown = ns, Counter()
        self.shown[mark] += 1
        return self.shown[mark]


class Look:
    """One look at the log; pass it everything that the look shows, in the order it is shown.

    Args:
        ledger: What was delivered.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._positions: dict[StreamKey, _Position] = {}
        self._frames: deque[int] = deque(maxlen=_REMEMBERED_FRAMES)

    def repeats(self, frame: int) -> bool:
        """Whether the look has just shown the very same frame; call this first for each frame.

        Two equal frames can be the same lines sent twice, or lines that were printed twice. Ask the
        store: lines that are wrongly left out can still be delivered, but lines that are wrongly
        delivered cannot be taken back.

        Args:
            frame: Hash of the frame.
        """
        if frame in self._frames:
            return True
        self._frames.append(frame)
        return False

    def new(self, batch: Batch) -> Batch:
        """Return the lines that were not delivered yet, and count them as delivered."""
        if not batch.stamps:
            return batch
        stream = self._ledger.stream(batch.key)
        marks = marks_of(batch.lines)
        is_ordered = sorted(batch.stamps) == batch.stamps
        if is_ordered and batch.stamps[0] > stream.newest_ns:
            stream.append(batch.stamps, marks)
            self._stand(batch, marks)
            self._ledger.total += len(batch.stamps)
            return batch
        if is_ordered and self._is_fresh(batch) and stream.equals(batch.stamps, marks):
            self._stand(batch, marks)
            return Batch(batch.key, [], [])
        return self._one_by_one(stream, batch, marks)

    def _is_fresh(self, batch: Batch) -> bool:
        position = self._positions.get(batch.key)
        return position is None or position.ns != batch.stamps[0]

    def _stand(self, batch: Batch, marks: array[int]) -> None:
        last_ns = batch.stamps[-1]
        self._positions[batch.key] = _Position(
            last_ns, Counter(marks[bisect_left(batch.stamps, last_ns) :])
        )

    def _one_by_one(self, stream: _Stream, batch: Batch, marks: Iterable[int]) -> Batch:
        position = self._positions.setdefault(batch.key, _Position(-1, Counter()))
        new, entries = Batch(batch.key, [], []), []
        added: Counter[tuple[int, int]] = Counter()
        for ns, line, mark in zip(batch.stamps, batch.lines, marks, strict=True):
            if not stream.has(ns, mark, position.show(ns, mark) - added[ns, mark]):
                added[ns, mark] += 1
                entries.append((ns, mark))
                new.stamps.append(ns)
                new.lines.append(line)
        stream.add_all(entries)
        self._ledger.total += len(new.stamps)
        return new

    def lacks(self, batch: Batch) -> int | None:
        """Return the time of the first undelivered line, if any; count nothing as delivered."""
        if not batch.stamps:
            return None
        stream, marks = self._ledger.stream(batch.key), marks_of(batch.lines)
        if self._is_fresh(batch) and stream.equals(batch.stamps, marks):
            self._stand(batch, marks)
            return None
        position = self._positions.setdefault(batch.key, _Position(-1, Counter()))
        shown = zip(batch.stamps, marks, strict=True)
        return next(
            (ns for ns, mark in shown if not stream.has(ns, mark, position.show(ns, mark))), None
        )
