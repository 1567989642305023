"""Lines of a job's log: frames parsed, the selector of one job, and the ledger that keeps delivery exactly once.

Nothing here connects to anything; times are nanoseconds since the epoch, as the logs service counts them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any, NamedTuple

from cpln_flows.errors import UnexpectedResponseError
from cpln_flows.model.links import CommandRef

_NS = 1_000_000_000


class StreamKey(NamedTuple):
    """One stream of lines: within it the order is the program's own."""

    replica: str
    container: str
    stream: str


class LogEntry(NamedTuple):
    """One line, with its time in nanoseconds."""

    ns: int
    line: str
    key: StreamKey


class Frame(NamedTuple):
    """What one message of the logs service holds; ``dropped`` counts lines that the service says it left out."""

    entries: list[LogEntry]
    dropped: int


def selector(ref: CommandRef, location: str) -> str:
    """Return the LogQL selector of one job: every container of the replica that its command started."""
    labels = f'gvc="{ref.gvc}", location="{location}", workload="{ref.workload}"'
    return f'{{{labels}, replica=~"command-{ref.command_id}.+"}}'


def render(entry: LogEntry) -> str:
    """Return the line as users get it, ``{timestamp} - {line}``, the time in UTC.

    >>> render(LogEntry(1_768_039_212_500_000_000, "hello", StreamKey("r", "c", "stdout")))
    '2026-01-10T10:00:12.500000+00:00 - hello'
    """
    seconds, rest = divmod(entry.ns, _NS)
    moment = datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest // 1000)
    return f"{moment.isoformat(timespec='microseconds')} - {entry.line}"


def parse_tail(message: object) -> Frame:
    """Read one message of a tail: ``{"streams": [...], "dropped_entries": [...]}``.

    Raises:
        UnexpectedResponseError: The message does not have this form.
    """
    if not isinstance(message, Mapping):
        raise UnexpectedResponseError("the tail of the log sent a message that is not an object")
    dropped = message.get("dropped_entries") or []
    return Frame(_entries(message.get("streams") or []), len(dropped) if isinstance(dropped, list) else 0)


def parse_range(answer: object) -> list[LogEntry]:
    """Read the answer of a range query, ``{"data": {"result": [...]}}``, in the order of time.

    Raises:
        UnexpectedResponseError: The answer does not have this form.
    """
    data = answer.get("data") if isinstance(answer, Mapping) else None
    if not isinstance(data, Mapping):
        raise UnexpectedResponseError("the range query of the log answered without data")
    return _entries(data.get("result") or [])


def _entries(streams: Any) -> list[LogEntry]:
    try:
        entries: list[LogEntry] = []
        for stream in streams:
            labels = stream["stream"]
            key = StreamKey(labels.get("replica", ""), labels.get("container", ""), labels.get("stream", ""))
            entries.extend(LogEntry(int(value[0]), str(value[1]), key) for value in stream["values"])
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise UnexpectedResponseError(f"the log sent lines that cannot be read ({type(error).__name__})") from None
    if len(streams) > 1:
        entries.sort(key=attrgetter("ns"))  # stable: equal times keep the order of their stream
    return entries


_Line = tuple[StreamKey, int, str]


@dataclass
class Ledger:
    """What was delivered of one job, so that every further look at the log adds only what is new.

    The logs service has no line numbers. A line is known by stream, time and text, and the same text printed twice at the
    same nanosecond is two lines. So each look at the log, a tail's connection or a range query, counts for itself, and a
    line is new when one look has shown it more often than it was delivered.
    """

    delivered: Counter[_Line] = field(default_factory=Counter)
    newest_ns: int = 0

    def view(self) -> View:
        """Begin a further look at the log."""
        return View(self)

    @property
    def total(self) -> int:
        """How many lines were delivered."""
        return self.delivered.total()


@dataclass
class View:
    """One look at the log; give it all that this look shows, in order."""

    ledger: Ledger
    _seen: Counter[_Line] = field(default_factory=Counter)
    _known_until_ns: int = field(init=False)

    def __post_init__(self) -> None:
        self._known_until_ns = self.ledger.newest_ns

    def new(self, entries: Iterable[LogEntry]) -> Iterator[LogEntry]:
        """Yield the entries that were not delivered yet; each counts as delivered once it is yielded."""
        delivered = self.ledger.delivered
        for entry in entries:
            line = (entry.key, entry.ns, entry.line)
            # Only what is not newer than all that was known when the look began can have been delivered by another look.
            if entry.ns <= self._known_until_ns:
                self._seen[line] += 1
                if self._seen[line] <= delivered[line]:
                    continue
            delivered[line] += 1
            self.ledger.newest_ns = max(self.ledger.newest_ns, entry.ns)
            yield entry
