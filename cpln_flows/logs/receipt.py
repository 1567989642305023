"""What was received of a job's log, and what is known to be missing.

A receipt holds lines, bytes, times, a digest and declared gaps.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from cpln_flows.logs.cursor import Cursor
from cpln_flows.model.log_lines import Batch, StreamKey
from cpln_flows.model.time import from_ns

_RATE_LIMITED = "#### Replica logs were rate-limited"
_COUNT = re.compile(
    r"(?<![\d,])([0-9][0-9,]{0,17}) (?:log )?lines? (?:were |was )?"
    r"(?:dropped|lost|discarded|suppressed|skipped)"
)
_LEAST_TRUNCATED = 16 * 1024 // 4  # characters of up to four bytes
_TRUNCATED = re.compile(r"\.\.\. \[truncated ([0-9]{1,15}) bytes\]\Z")
_REPLACEMENT = "\ufffd"


class GapKind(StrEnum):
    """Why lines, or parts of them, are missing."""

    RATE_LIMITED = "rate-limited"
    """The platform capped the lines per second, and reported that in the log."""
    TRUNCATED = "truncated"
    """The platform cut long lines, and marked their ends."""
    DROPPED = "dropped"
    """The live log reported lines that it left out, and no range query has returned them since."""
    UNREADABLE = "unreadable"
    """The service sent something that is not a log."""
    CROWDED = "crowded"
    """More lines carry the same time than the service returns at once."""
    REFUSED = "refused"
    """The token may not read logs."""
    UNREAD = "unread"
    """The service did not answer when the log was reread after the job's end."""
    UNSETTLED = "unsettled"
    """Lines were still arriving when the wait for late ones ended."""
    LATE = "late"
    """Lines came so late that it was unknown whether they had been delivered, so they were not."""
    UNSHOWN = "unshown"
    """The receiver of the lines raised an error."""
    UNCOUNTED = "uncounted"
    """Lines were delivered but could not be counted."""
    STATE_UNREAD = "state-unread"
    """Whether the job has ended could not be read, and its log was quiet."""


@dataclass(frozen=True)
class Gap:
    """What is known to be missing for one reason.

    Attributes:
        kind: The reason.
        times: How often it occurred.
        lines: How many lines are missing or cut, as far as is known; ``None`` if nothing is known.
        bytes: How many bytes were cut off.
        first_ns: Time of the first occurrence; ``None`` if it is unknown.
        reason: The service's message.
        uncounted: How many times the number of lines was unknown.
    """

    kind: GapKind
    times: int = 1
    lines: int | None = None
    bytes: int = 0
    first_ns: int | None = None
    reason: str = ""
    uncounted: int = 0

    def __str__(self) -> str:
        at = f" at {_clock(self.first_ns)}" if self.first_ns is not None else ""
        lines = (
            "lines"
            if self.lines is None
            else f"{'at least ' if self.uncounted else ''}{_lines(self.lines)}"
        )
        often = f" {self.times} times, first" if self.times > 1 else ""
        texts = {
            GapKind.RATE_LIMITED: f"{lines} rate-limited{often}{at}",
            GapKind.TRUNCATED: f"{lines} cut by the platform, {self.bytes:,} bytes in all",
            GapKind.DROPPED: f"{lines} dropped{at}",
            GapKind.UNREADABLE: f"{self.times} messages of the logs service could not be read",
            GapKind.CROWDED: f"more lines{at} than the service gives of one time",
            GapKind.REFUSED: f"the logs may not be read ({self.reason})",
            GapKind.UNREAD: f"the end of the log could not be read ({self.reason})",
            GapKind.UNSETTLED: "the log had not come to rest",
            GapKind.LATE: (
                f"{lines} too late to distinguish from those delivered before{often}{at}"
            ),
            GapKind.UNSHOWN: f"{lines} could not be shown ({self.reason})",
            GapKind.UNCOUNTED: f"{lines} could not be counted ({self.reason})",
            GapKind.STATE_UNREAD: f"it is not known whether the job has ended ({self.reason})",
        }
        return texts[self.kind]


@dataclass(frozen=True)
class StreamReceipt:
    """What was received of one stream.

    Attributes:
        key: Replica, container and stdout or stderr.
        lines: How many lines.
        bytes: Their length in UTF-8, including a line end for each.
        first_ns: Time of the oldest line.
        last_ns: Time of the newest line.
        sha256: Digest of these bytes in order of delivery; it equals the digest of the program's
            output.
    """

    key: StreamKey
    lines: int
    bytes: int
    first_ns: int
    last_ns: int
    sha256: str


@dataclass(frozen=True)
class LogReceipt:
    """What was received of a job's log, and where the next reader resumes.

    Attributes:
        streams: One for each replica, container and stdout or stderr.
        gaps: What is known to be missing.
        reconnects: How often the live log was reconnected.
        recovered: How many lines that the live log reported as left out were returned by a range
            query.
        replaced: How many replacement characters the lines contain; each stands for bytes that are
            not UTF-8, or was printed as such by the program.
        cursor: The position from which on nothing was delivered.
    """

    streams: tuple[StreamReceipt, ...] = ()
    gaps: tuple[Gap, ...] = ()
    reconnects: int = 0
    recovered: int = 0
    replaced: int = 0
    cursor: Cursor = field(default_factory=Cursor)

    @property
    def lines(self) -> int:
        """How many lines were delivered."""
        return sum(stream.lines for stream in self.streams)

    @property
    def bytes(self) -> int:
        """Their length in UTF-8, including a line end for each."""
        return sum(stream.bytes for stream in self.streams)

    @property
    def complete(self) -> bool:
        """Whether nothing is known to be missing."""
        return not self.gaps

    @property
    def first(self) -> datetime | None:
        """Time of the oldest line."""
        return _datetime(min((stream.first_ns for stream in self.streams), default=None))

    @property
    def last(self) -> datetime | None:
        """Time of the newest line."""
        return _datetime(max((stream.last_ns for stream in self.streams), default=None))

    @property
    def digest(self) -> str:
        """One digest for all streams.

        It is equal for two readers that received the same lines in the same order per stream.
        """
        parts = (f"{'/'.join(stream.key)} {stream.sha256}\n" for stream in self.streams)
        return hashlib.sha256("".join(parts).encode()).hexdigest()

    def __str__(self) -> str:
        """Return the receipt in words.

        For example, ``complete: 48,211 lines``, or
        ``incomplete: 312 lines rate-limited at 12:01:07; ...``.
        """
        replaced = (
            f", {self.replaced:,} bytes or characters replaced by {_REPLACEMENT}"
            if self.replaced
            else ""
        )
        if self.complete:
            return f"complete: {_lines(self.lines)}{replaced}"
        return (
            f"incomplete: {'; '.join(map(str, self.gaps))};"
            f" {_lines(self.lines)} delivered{replaced}"
        )


@dataclass
class _StreamTally:
    lines: int = 0
    bytes: int = 0
    first_ns: int = 1 << 63
    last_ns: int = 0
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)

    def add(self, batch: Batch) -> str:
        """Count lines; return their text."""
        text = "\n".join(batch.lines) + "\n"
        content = text.encode("utf-8", "surrogatepass")
        self.lines += len(batch.lines)
        self.bytes += len(content)
        self.digest.update(content)
        self.first_ns = min(self.first_ns, min(batch.stamps))  # noqa: PLW3301 - many times faster than unpacked
        self.last_ns = max(self.last_ns, max(batch.stamps))  # noqa: PLW3301
        return text


class Tally:
    """Count what is delivered, and record what is missing."""

    def __init__(self) -> None:
        self._streams: dict[StreamKey, _StreamTally] = {}
        self._gaps: dict[GapKind, Gap] = {}
        self._reported: Counter[int] = Counter()
        self.recovered: int = 0
        self.replaced: int = 0
        self.reconnects = 0

    def add(self, batch: Batch) -> None:
        """Count delivered lines, and record the gaps that the platform reports in them."""
        tally = self._streams.get(batch.key)
        if tally is None:
            tally = self._streams[batch.key] = _StreamTally()
        # Hardly any line carries a mark of the platform, and ruling it out for all of them at once
        # costs next to nothing.
        text = tally.add(batch)
        self.replaced += text.count(_REPLACEMENT)
        if "#" in text or max(map(len, batch.lines)) >= _LEAST_TRUNCATED:
            for gap in _declared(batch):
                self.miss(gap)

    def miss(self, gap: Gap) -> None:
        """Record what is missing; merge gaps of one kind."""
        known = self._gaps.get(gap.kind)
        if known is not None:
            counted = [each.lines for each in (known, gap) if each.lines is not None]
            gap = replace(
                known,
                times=known.times + gap.times,
                lines=sum(counted) if counted else None,
                uncounted=known.uncounted + gap.uncounted,
                bytes=known.bytes + gap.bytes,
            )
        self._gaps[gap.kind] = gap

    def found(self, kind: GapKind) -> None:
        """Record that nothing is missing for this reason anymore."""
        self._gaps.pop(kind, None)

    def report(self, dropped: Iterable[int]) -> None:
        """Record the times of lines that the live log has left out."""
        self._reported.update(dropped)

    def recover(self, from_ns: int) -> None:
        """Record that all lines from this time on were read from the store."""
        back = [ns for ns in self._reported if ns >= from_ns]
        self.recovered += sum(self._reported.pop(ns) for ns in back)

    def receipt(self, cursor: Cursor) -> LogReceipt:
        """Return what was counted so far."""
        gaps = list(self._gaps.values())
        if self._reported:
            gaps.append(
                Gap(
                    GapKind.DROPPED,
                    lines=self._reported.total(),
                    first_ns=min(self._reported) or None,
                )
            )
        return LogReceipt(
            tuple(self._receipts()),
            tuple(gaps),
            self.reconnects,
            self.recovered,
            self.replaced,
            cursor,
        )

    def _receipts(self) -> Iterator[StreamReceipt]:
        for key, tally in sorted(self._streams.items()):
            yield StreamReceipt(
                key,
                tally.lines,
                tally.bytes,
                tally.first_ns,
                tally.last_ns,
                tally.digest.hexdigest(),
            )


def _declared(batch: Batch) -> Iterator[Gap]:
    """Yield the lost or cut lines that the platform reports in the log itself."""
    for ns, line in zip(batch.stamps, batch.lines, strict=True):
        if line.startswith(_RATE_LIMITED):
            found = _COUNT.search(line)
            lines = int(found[1].replace(",", "")) if found else None
            yield Gap(GapKind.RATE_LIMITED, lines=lines, uncounted=int(lines is None), first_ns=ns)
        elif len(line) >= _LEAST_TRUNCATED and (found := _TRUNCATED.search(line)):
            yield Gap(GapKind.TRUNCATED, lines=1, bytes=int(found[1]), first_ns=ns)


def _lines(count: int) -> str:
    return f"{count:,} line{'' if count == 1 else 's'}"


def _clock(ns: int) -> str:
    return f"{from_ns(ns):%H:%M:%S}"


def _datetime(ns: int | None) -> datetime | None:
    return None if ns is None else from_ns(ns)
