"""What was delivered of a job's log, so that every further look at it, by whichever process, adds only what is new.

The logs service has no line numbers. A line is known by its stream, its time and its text, and the same text printed twice at
the same nanosecond is two lines. So a look at the log, a tail's connection or a page of a range query, counts for itself, and
a line is new when one look has shown it more often than it was delivered.
"""

from __future__ import annotations

import json
from array import array
from bisect import bisect_left, bisect_right
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import Any, Self
from zlib import crc32

from cpln_flows.errors import ConfigurationError
from cpln_flows.model.log_lines import Batch, StreamKey

_KEPT_LINES = 200
_REMEMBERED_FRAMES = 64

Emitted = tuple[tuple[int, int, int], ...]
"""Time, mark and number of lines, in the order of time."""


def marks_of(lines: Iterable[str]) -> array[int]:
    """Return a short stand-in for the text of each line, the same in every process."""
    lines = list(lines)
    try:
        return array("I", map(crc32, map(str.encode, lines)))
    except UnicodeEncodeError:
        return array("I", [crc32(line.encode("utf-8", "surrogatepass")) for line in lines])


@dataclass(frozen=True)
class Place:
    """How far one stream was delivered: all before ``from_ns``, and of what is not older, the lines in ``emitted``."""

    from_ns: int
    emitted: Emitted = ()

    def merge(self, other: Place) -> Place:
        """Return the place of a reader who has got both."""
        from_ns = max(self.from_ns, other.from_ns)
        counts = _counts(self) | _counts(other)
        kept = ((ns, mark, count) for (ns, mark), count in counts.items() if ns >= from_ns)
        return Place(from_ns, tuple(sorted(kept)))


@dataclass(frozen=True)
class Cursor:
    """A place in the log of one job from which anybody can go on with the very next line.

    ``from_ns`` is where to begin to read: everything older was delivered, of every stream.

    >>> cursor = Cursor(5, {StreamKey("r", "main", "stdout"): Place(5, ((5, 12, 1),))})
    >>> Cursor.parse(str(cursor)) == cursor == cursor.merge(Cursor())
    True
    """

    from_ns: int = 0
    places: Mapping[StreamKey, Place] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the text form of a cursor.

        Raises:
            ConfigurationError: The text is none.
        """
        try:
            content = json.loads(text)
            places = {
                StreamKey(*map(str, key)): Place(int(from_ns), tuple((int(n), int(m), int(c)) for n, m, c in emitted))
                for key, from_ns, emitted in content["places"]
            }
            return cls(int(content["from_ns"]), places)
        except (ValueError, TypeError, KeyError) as error:
            raise ConfigurationError(f"from_cursor: not a cursor of a log ({error}); give the one that a receipt has") from None

    def __str__(self) -> str:
        places = [(key, place.from_ns, place.emitted) for key, place in sorted(self.places.items())]
        return json.dumps({"from_ns": self.from_ns, "places": places}, separators=(",", ":"))

    def merge(self, other: Cursor) -> Cursor:
        """Return the cursor of a reader who has got both."""
        nowhere = Place(0)
        keys = {*self.places, *other.places}
        places = {key: self.places.get(key, nowhere).merge(other.places.get(key, nowhere)) for key in keys}
        return Cursor(max(self.from_ns, other.from_ns), places)


def _counts(place: Place) -> Counter[tuple[int, int]]:
    return Counter({(ns, mark): count for ns, mark, count in place.emitted})


class _Stream:
    """What was delivered of one stream: all before ``from_ns``, and since then these lines, in the order of time."""

    __slots__ = ("from_ns", "marks", "newest_ns", "stamps")

    def __init__(self, place: Place) -> None:
        self.from_ns = place.from_ns
        self.newest_ns = place.from_ns - 1
        # Twelve bytes for a line: millions of them fit where their texts would not.
        self.stamps = array("q")
        self.marks = array("I")
        for ns, mark, count in place.emitted:
            for _ in range(count):
                self.add(ns, mark)

    def append(self, stamps: list[int], marks: array[int]) -> None:
        """Note lines that are all newer than what is known, in the order of time."""
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

    def has(self, ns: int, mark: int, times: int) -> bool:
        """Whether a line was delivered so many times."""
        if ns > self.newest_ns:
            return False
        if ns < self.from_ns:
            return True
        low = bisect_left(self.stamps, ns)
        return self.marks[low : bisect_right(self.stamps, ns, low)].count(mark) >= times

    def equals(self, stamps: list[int], marks: array[int]) -> bool:
        """Whether just these lines were delivered of the time that they take up."""
        low = bisect_left(self.stamps, stamps[0])
        high = low + len(stamps)
        return stamps[0] >= self.from_ns and self.stamps[low:high] == array("q", stamps) and self.marks[low:high] == marks

    def settle(self, before_ns: int) -> None:
        if before_ns > self.from_ns:
            place = bisect_left(self.stamps, before_ns)
            del self.stamps[:place], self.marks[:place]
            self.from_ns = before_ns
            self.newest_ns = max(self.newest_ns, before_ns - 1)

    def place(self, most: int) -> Place:
        from_ns = self.stamps[-most] if len(self.stamps) > most else self.from_ns
        low = bisect_left(self.stamps, from_ns)
        counts = Counter(zip(self.stamps[low:], self.marks[low:], strict=True))
        return Place(from_ns, tuple(sorted((ns, mark, count) for (ns, mark), count in counts.items())))


class Ledger:
    """What was delivered of one job.

    Args:
        cursor: Where an earlier reader has stopped.
    """

    def __init__(self, cursor: Cursor | None = None) -> None:
        start = cursor or Cursor()
        self.from_ns = start.from_ns
        self.total = 0
        self._streams = {key: _Stream(place) for key, place in start.places.items()}

    @property
    def newest_ns(self) -> int:
        """Time of the newest line that was delivered; 0 if there is none."""
        return max((stream.newest_ns for stream in self._streams.values() if stream.stamps), default=0)

    @property
    def unsettled(self) -> int:
        """How many lines are held in memory."""
        return sum(len(stream.stamps) for stream in self._streams.values())

    def look(self) -> Look:
        """Begin a further look at the log."""
        return Look(self)

    def settle(self, before_ns: int) -> None:
        """Take it that nothing older than this will come any more, and forget what was delivered of it."""
        self.from_ns = max(self.from_ns, before_ns)
        for stream in self._streams.values():
            stream.settle(before_ns)

    def cursor(self) -> Cursor:
        """Return where the next reader goes on; it holds few lines, and knows a late line only among those."""
        return Cursor(self.from_ns, {key: stream.place(_KEPT_LINES) for key, stream in self._streams.items()})

    def stream(self, key: StreamKey) -> _Stream:
        """Return what was delivered of one stream."""
        found = self._streams.get(key)
        if found is None:
            found = self._streams[key] = _Stream(Place(self.from_ns))
        return found


@dataclass
class _Position:
    """Where a look is in one stream, and what it has shown at that time."""

    ns: int
    shown: Counter[int]

    def show(self, ns: int, mark: int) -> int:
        """Take a line; return how often the look has shown it here."""
        if ns != self.ns:  # also when it goes back: then it shows again what it has shown, or what has come late
            self.ns, self.shown = ns, Counter()
        self.shown[mark] += 1
        return self.shown[mark]


class Look:
    """One look at the log; give it all that this look shows, as it shows it.

    Args:
        ledger: What was delivered.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._positions: dict[StreamKey, _Position] = {}
        self._frames: deque[int] = deque(maxlen=_REMEMBERED_FRAMES)

    def repeats(self, frame: int) -> bool:
        """Whether the look has shown the very same frame shortly before; say each frame's hash here first.

        Two frames alike can be the same lines sent twice or as many lines printed twice. Ask the store: what is left out
        wrongly can still be delivered, and what is delivered wrongly cannot be taken back.
        """
        if frame in self._frames:
            return True
        self._frames.append(frame)
        return False

    def new(self, batch: Batch) -> Batch:
        """Return the lines that were not delivered yet; they count as delivered now."""
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
        self._positions[batch.key] = _Position(last_ns, Counter(marks[bisect_left(batch.stamps, last_ns) :]))

    def _one_by_one(self, stream: _Stream, batch: Batch, marks: Iterable[int]) -> Batch:
        position = self._positions.setdefault(batch.key, _Position(-1, Counter()))
        new = Batch(batch.key, [], [])
        for ns, line, mark in zip(batch.stamps, batch.lines, marks, strict=True):
            if not stream.has(ns, mark, position.show(ns, mark)):
                stream.add(ns, mark)
                new.stamps.append(ns)
                new.lines.append(line)
        self._ledger.total += len(new.stamps)
        return new


def in_order(batches: list[Batch]) -> list[Batch]:
    """Return the lines of several streams in the order of time, as few batches as that takes; equal times keep their order."""
    filled = [batch for batch in batches if batch.stamps]
    if len(filled) <= 1:
        return filled
    entries: list[tuple[int, StreamKey, str]] = [
        (ns, batch.key, line) for batch in filled for ns, line in zip(batch.stamps, batch.lines, strict=True)
    ]
    entries.sort(key=itemgetter(0))
    return [_batch(key, list(group)) for key, group in groupby(entries, key=itemgetter(1))]


def _batch(key: StreamKey, entries: list[tuple[Any, ...]]) -> Batch:
    return Batch(key, [entry[0] for entry in entries], [entry[2] for entry in entries])
