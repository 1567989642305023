"""Lines of a job's log: parse messages, render lines, build the selector of one job.

Nothing here connects to anything. Times are nanoseconds since the epoch, as the logs service counts
them. The ``cursor`` module tracks which lines were delivered.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

from cpln_flows.errors import UnexpectedResponseError
from cpln_flows.model.links import CommandRef, GvcRef
from cpln_flows.model.time import NS

_LATEST_NS = 2**63 - 1
_STAMP = re.compile(r"[0-9]{1,19}")


class StreamKey(NamedTuple):
    """One stream of lines, in which the order is the program's own."""

    replica: str
    container: str
    stream: str


class Batch(NamedTuple):
    """Lines of one stream with their times in nanoseconds, in the order received."""

    key: StreamKey
    stamps: list[int]
    lines: list[str]

    def within(self, since_ns: int, until_ns: int | None) -> Batch:
        """Return the lines from one time up to, but excluding, another; ``None`` sets no end."""
        if not self.stamps or (
            min(self.stamps) >= since_ns and (until_ns is None or max(self.stamps) < until_ns)
        ):
            return self
        end_ns = _LATEST_NS + 1 if until_ns is None else until_ns
        kept = [
            (ns, line)
            for ns, line in zip(self.stamps, self.lines, strict=True)
            if since_ns <= ns < end_ns
        ]
        return Batch(self.key, [ns for ns, _ in kept], [line for _, line in kept])


class Frame(NamedTuple):
    """The content of one message of the live log.

    Attributes:
        batches: The lines by stream.
        dropped: Times of lines that the service reports as left out.
    """

    batches: list[Batch]
    dropped: list[int]


def selector(ref: CommandRef, location: str | None = None) -> str:
    """Return the LogQL selector of one job: all containers of the replica of its command."""
    place = f', location="{location}"' if location else ""
    return (
        f'{{gvc="{ref.gvc}"{place}, workload="{ref.workload}",'
        f' replica=~"command-{ref.command_id}.+"}}'
    )


def selector_of_id(gvc: GvcRef, command_id: str) -> str:
    """Return the selector of a job whose workload is not known."""
    return f'{{gvc="{gvc.gvc}", replica=~"command-{command_id}.+"}}'


def render(batch: Batch, label: str = "") -> list[str]:
    """Return lines as users see them, ``{timestamp} - {line}``, with the time in UTC.

    Args:
        batch: The lines.
        label: Prefix for the content of each line.

    >>> render(Batch(StreamKey("r", "c", "stdout"), [1_768_039_212_500_000_000], ["hello"]))
    ['2026-01-10T10:00:12.500000+00:00 - hello']
    """
    rendered: list[str] = []
    between = f"+00:00 - {label}"
    start, count = 0, len(batch.stamps)
    while start < count:
        seconds = batch.stamps[start] // NS
        end = _end_of_second(batch.stamps, start, seconds)
        # The expensive part is the same for all lines of a second.
        prefix = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.")
        stamps, lines = batch.stamps[start:end], batch.lines[start:end]
        digits = map(str, stamps) if seconds else (f"{ns:010}" for ns in stamps)
        rendered += [
            f"{prefix}{ns[-9:-3]}{between}{line}" for ns, line in zip(digits, lines, strict=True)
        ]
        start = end
    return rendered


def _end_of_second(stamps: list[int], start: int, seconds: int) -> int:
    """Return the position where the lines from ``start`` on leave this second, in any order."""
    low, high = seconds * NS, (seconds + 1) * NS
    if low <= stamps[-1] < high and max(stamps) < high and min(stamps) >= low:
        return len(stamps)
    return next(
        (place for place in range(start, len(stamps)) if not low <= stamps[place] < high),
        len(stamps),
    )


def parse_tail(message: object) -> Frame:
    """Parse one message of a tail: ``{"streams": [...], "dropped_entries": [...]}``.

    Raises:
        UnexpectedResponseError: The message does not have this form.
    """
    if not isinstance(message, Mapping):
        raise UnexpectedResponseError("the tail of the log sent a message that is not an object")
    return Frame(
        _batches(message.get("streams") or []), _dropped(message.get("dropped_entries") or [])
    )


def parse_range(answer: object) -> list[Batch]:
    """Parse the answer to a range query, ``{"data": {"result": [...]}}``.

    Raises:
        UnexpectedResponseError: The answer does not have this form.
    """
    data = answer.get("data") if isinstance(answer, Mapping) else None
    if not isinstance(data, Mapping):
        raise UnexpectedResponseError("the range query of the log answered without data")
    return _batches(data.get("result") or [])


def parse_labels(answer: object) -> dict[str, str] | None:
    """Return the labels of the first stream in the answer to a range query, if there is one."""
    try:
        result = answer["data"]["result"]  # type: ignore[index]
        return (
            {str(name): _scalar(value) for name, value in result[0]["stream"].items()}
            if result
            else None
        )
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise UnexpectedResponseError(
            f"the log sent labels that cannot be read ({type(error).__name__})"
        ) from None


def _batches(streams: Any) -> list[Batch]:
    try:
        return [_batch(stream["stream"], stream["values"]) for stream in streams]
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise UnexpectedResponseError(
            f"the log sent lines that cannot be read ({type(error).__name__})"
        ) from None


def _batch(labels: Any, values: Any) -> Batch:
    key = StreamKey(*(_scalar(labels.get(name, "")) for name in StreamKey._fields))
    texts, lines, *_ = map(list, zip(*values, strict=False)) if values else ([], [])
    stamps = list(map(int, texts))
    if stamps and not (
        min(stamps) >= 0 and max(stamps) <= _LATEST_NS and set(map(type, lines)) == {str}
    ):
        raise ValueError("a time out of bounds, or a line that is not a string")
    return Batch(key, stamps, lines)


def _scalar(value: Any) -> str:
    """Return a label as a string; reject a list or an object, however deep it is."""
    if isinstance(value, Mapping | list):
        raise TypeError("a label that is not a string")
    return str(value)


def _dropped(entries: Any) -> list[int]:
    """Parse the times of dropped lines.

    An unreadable time becomes 0, because it may belong to any line, even the first.
    """
    if not isinstance(entries, list):
        return [0]
    found = (entry.get("timestamp") if isinstance(entry, Mapping) else None for entry in entries)
    stamps = (str(stamp) if isinstance(stamp, str | int) else "" for stamp in found)
    return [int(stamp) if _STAMP.fullmatch(stamp) else 0 for stamp in stamps]


def in_order(batches: list[Batch]) -> list[Batch]:
    """Return the lines of several streams in chronological order, in as few batches as possible.

    Lines with equal times keep their order.
    """
    filled = [batch for batch in batches if batch.stamps]
    if len(filled) <= 1:
        return filled
    entries: list[tuple[int, StreamKey, str]] = [
        (ns, batch.key, line)
        for batch in filled
        for ns, line in zip(batch.stamps, batch.lines, strict=True)
    ]
    entries.sort(key=itemgetter(0))
    return [_joined(key, list(group)) for key, group in groupby(entries, key=itemgetter(1))]


def _joined(key: StreamKey, entries: list[tuple[Any, ...]]) -> Batch:
    return Batch(key, [entry[0] for entry in entries], [entry[2] for entry in entries])
