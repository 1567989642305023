"""The logs service's memory: lines by stream, subscriptions of tails, and range queries.

A stream is a set of labels. Its lines are kept in order of their time stamps; a line that arrives
late is inserted in its place, and equal stamps keep the order of arrival. (Loki would drop a line
that equals another line of the same stream and nanosecond; here both stay.) Everything is called
from the platform's event loop.
"""

from __future__ import annotations

import bisect
import heapq
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from operator import itemgetter

from cpln_flows.emulator.clock import NANOSECONDS, Clock
from cpln_flows.emulator.config import PlatformConfig
from cpln_flows.emulator.selector import Matcher, Predicate, Selector, line_predicate

Entry = tuple[int, str]
Labels = Mapping[str, str]
Listener = Callable[["Stream", list[Entry]], None]

_DAY_NS = 86_400 * NANOSECONDS
_SWEEP_NS = 3_600 * NANOSECONDS
_stamp: Callable[[Entry], int] = itemgetter(0)


@dataclass(slots=True, eq=False)
class Stream:
    """The lines of one set of labels, and their listeners."""

    labels: dict[str, str]
    entries: list[Entry] = field(default_factory=list)
    listeners: list[Subscription] = field(default_factory=list)

    def insert(self, new: list[Entry]) -> None:
        """Insert lines in order."""
        entries = self.entries
        last = entries[-1][0] if entries else 0
        if (
            all(entry[0] <= following[0] for entry, following in itertools.pairwise(new))
            and new[0][0] >= last
        ):
            entries += new
            return
        for entry in new:
            bisect.insort_right(entries, entry, key=_stamp)

    def forget_before(self, oldest_ns: int) -> None:
        """Drop the lines that are older than a moment."""
        del self.entries[: bisect.bisect_left(self.entries, oldest_ns, key=_stamp)]

    def between(self, start_ns: int, end_ns: int) -> tuple[int, int]:
        """Return the index range of the lines from one moment up to, but not including, another."""
        low = bisect.bisect_left(self.entries, start_ns, key=_stamp)
        return low, bisect.bisect_left(self.entries, end_ns, lo=low, key=_stamp)


@dataclass(slots=True, eq=False)
class Subscription:
    """A tail's subscription to new lines."""

    selector: Selector
    listener: Listener
    predicate: Predicate | None


@dataclass(slots=True)
class _Rate:
    """The number of lines that one container has written in the current second."""

    limit: int
    second: int = -1
    lines: int = 0

    def allow(self, stamp: int, line: str) -> str | None:
        """Return the line, a marker in place of the first surplus line, or ``None``."""
        if not line:
            return None
        second = stamp // NANOSECONDS
        if second != self.second:
            self.second, self.lines = second, 0
        self.lines += 1
        if self.lines <= self.limit:
            return line
        if self.lines == self.limit + 1:
            return (
                f"#### Replica logs were rate-limited: only {self.limit} lines per second are kept"
            )
        return None


class Logs:
    """Everything the logs service knows."""

    def __init__(
        self,
        config: PlatformConfig,
        clock: Clock,
        retention_days: Callable[[], float] | None = None,
    ) -> None:
        self._config = config
        self._retention_days = retention_days or (lambda: config.log_retention_days)
        self._clock = clock
        self._streams: dict[tuple[tuple[str, str], ...], Stream] = {}
        self._by_replica: dict[str, list[Stream]] = {}
        self._replicas: list[str] = []
        self._by_workload: dict[str, list[Stream]] = {}
        self._subscriptions: list[Subscription] = []
        self._rates: dict[tuple[str, str], _Rate] = {}
        self._swept_ns = clock.time_ns()

    def stream(self, labels: Labels) -> Stream:
        """Find or create the stream of a set of labels."""
        key = tuple(sorted(labels.items()))
        found = self._streams.get(key)
        if found is None:
            found = self._streams[key] = Stream(dict(labels))
            found.listeners += [
                each for each in self._subscriptions if each.selector.matches(found.labels)
            ]
            self._index(found)
        return found

    def write(self, stream: Stream, lines: Iterable[str]) -> None:
        """Take lines that a container writes now, already cut to what is kept of them."""
        entries = self._stamped(lines, self._rate(stream))
        if not entries:
            return
        if self._config.log_delay_seconds:
            self._clock.call_later(
                self._config.log_delay_seconds,
                lambda: self.append(self.stream(stream.labels), entries),
            )
        else:
            self.append(stream, entries)

    def _stamped(self, lines: Iterable[str], rate: _Rate | None) -> list[Entry]:
        now = self._clock.time_ns
        if rate is None:
            return [(now(), line) for line in lines if line]
        entries: list[Entry] = []
        for line in lines:
            stamp = now()
            kept = rate.allow(stamp, line)
            if kept:
                entries.append((stamp, kept))
        return entries

    def append(self, stream: Stream, entries: list[Entry]) -> None:
        """Store lines that arrive now, whatever their stamps are, and notify the tails."""
        stream.insert(entries)
        for subscription in stream.listeners:
            predicate = subscription.predicate
            passed = (
                entries
                if predicate is None
                else [entry for entry in entries if predicate(entry[1])]
            )
            if passed:
                subscription.listener(stream, passed)
        if self._clock.time_ns() - self._swept_ns > _SWEEP_NS:
            self._sweep()

    def subscribe(self, selector: Selector, listener: Listener) -> Subscription:
        """Have a function called with every new line that matches."""
        subscription = Subscription(selector, listener, line_predicate(selector))
        self._subscriptions.append(subscription)
        for stream in self.select(selector):
            stream.listeners.append(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """End a subscription."""
        self._subscriptions.remove(subscription)
        for stream in self.select(subscription.selector):
            stream.listeners.remove(subscription)

    def select(self, selector: Selector) -> list[Stream]:
        """Find the streams that match."""
        return [stream for stream in self._candidates(selector) if selector.matches(stream.labels)]

    def query(
        self, selector: Selector, start_ns: int, end_ns: int, limit: int, *, forward: bool
    ) -> list[tuple[Stream, list[Entry]]]:
        """Find lines from ``start_ns`` up to, but not including, ``end_ns``.

        The result is the first, or the last, ``limit`` lines of all streams.
        """
        start_ns = max(start_ns, self._oldest_ns())
        predicate = line_predicate(selector)
        streams = self.select(selector)
        walks = [_walk(stream, start_ns, end_ns, predicate, forward=forward) for stream in streams]
        marked = [zip(walk, itertools.repeat(index)) for index, walk in enumerate(walks)]
        merged = heapq.merge(*marked, key=_place_stamp, reverse=not forward)
        found: dict[int, list[Entry]] = {}
        for entry, index in itertools.islice(merged, limit):
            found.setdefault(index, []).append(entry)
        return [(streams[index], entries) for index, entries in found.items()]

    def _candidates(self, selector: Selector) -> Iterable[Stream]:
        replica = _narrowest(selector, "replica")
        if replica is not None:
            return self._of_replicas(replica)
        workload = _narrowest(selector, "workload")
        if workload is not None and workload.op == "=":
            return self._by_workload.get(workload.value, ())
        return list(self._streams.values())

    def _of_replicas(self, matcher: Matcher) -> list[Stream]:
        prefix = matcher.literal_prefix
        if matcher.op == "=":
            return self._by_replica.get(prefix, [])
        found: list[Stream] = []
        for index in range(bisect.bisect_left(self._replicas, prefix), len(self._replicas)):
            name = self._replicas[index]
            if not name.startswith(prefix):
                break
            found += self._by_replica[name]
        return found

    def _oldest_ns(self) -> int:
        """Return the moment before which lines have expired."""
        return self._clock.time_ns() - round(self._retention_days() * _DAY_NS)

    def _sweep(self) -> None:
        """Drop expired lines.

        Queries no longer find them, and they would occupy memory forever.
        """
        self._swept_ns = self._clock.time_ns()
        oldest_ns = self._oldest_ns()
        for stream in self._streams.values():
            stream.forget_before(oldest_ns)
        self._streams = {key: stream for key, stream in self._streams.items() if stream.entries}
        self._rates = {
            key: rate
            for key, rate in self._rates.items()
            if rate.second >= self._swept_ns // NANOSECONDS
        }
        self._by_replica.clear()
        self._by_workload.clear()
        self._replicas.clear()
        for stream in self._streams.values():
            self._index(stream)

    def _index(self, stream: Stream) -> None:
        replica = stream.labels.get("replica", "")
        if replica not in self._by_replica:
            bisect.insort(self._replicas, replica)
        self._by_replica.setdefault(replica, []).append(stream)
        self._by_workload.setdefault(stream.labels.get("workload", ""), []).append(stream)

    def _rate(self, stream: Stream) -> _Rate | None:
        limit = self._config.log_rate_limit
        if limit is None:
            return None
        key = (stream.labels.get("replica", ""), stream.labels.get("container", ""))
        found = self._rates.get(key)
        if found is None:
            found = self._rates[key] = _Rate(limit)
        found.limit = limit
        return found


def _place_stamp(place: tuple[Entry, int]) -> int:
    return place[0][0]


def _narrowest(selector: Selector, label: str) -> Matcher | None:
    return next(
        (each for each in selector.matchers if each.label == label and each.literal_prefix), None
    )


def _walk(
    stream: Stream, start_ns: int, end_ns: int, predicate: Predicate | None, *, forward: bool
) -> Iterator[Entry]:
    low, high = stream.between(start_ns, end_ns)
    for place in range(low, high) if forward else range(high - 1, low - 1, -1):
        entry = stream.entries[place]
        if predicate is None or predicate(entry[1]):
            yield entry
