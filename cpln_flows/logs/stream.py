"""Deliver the log of one job while it runs and after its end, each line once.

The live log (``tail``) pushes lines within milliseconds, but may lose some. The stored log
(``store``) has every line, some of them a moment late. So the ledger (``cursor``) remembers what
was delivered, by time and content, and everything that may have fallen into a hole is read from the
store. Both deliver through one place (``delivery``), which passes on each line once. After the
job's end, late lines get their time to arrive (settle, ``lag``), and the store is read until it
returns nothing new (drain).

Lines are passed on at the moment they count as delivered, and are not queued for an iterator: a
reader that is interrupted has received exactly the lines of the receipt.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import anyio

from cpln_flows.api.logs import LogSource
from cpln_flows.logger import Journal
from cpln_flows.logs import lag
from cpln_flows.logs.cursor import Cursor, Ledger
from cpln_flows.logs.delivery import Delivery
from cpln_flows.logs.lag import End
from cpln_flows.logs.pace import Pace, loop_time
from cpln_flows.logs.receipt import Gap, GapKind, LogReceipt, Tally
from cpln_flows.logs.store import StoredLog
from cpln_flows.logs.tail import LiveLog
from cpln_flows.model.identifiers import Area
from cpln_flows.model.log_lines import Batch
from cpln_flows.model.time import NS

_FIRST_DRAIN_SECONDS = 0.1
_TEND_SECONDS = 5.0
_VERIFY_SECONDS = 300.0
_LONGEST_PROGRESS_SECONDS = 900.0


@dataclass
class LogStream:
    """Deliver the lines of one job.

    Args:
        source: The log.
        deliver: Receives each line once, in the order of its stream; late lines come when they
            arrive.
        journal: Where to log for the user.
        since_ns: Start of the log to read.
        pace: Time limits and intervals.
        wake: Called after lines were delivered.
        cursor: Where an earlier reader has stopped; lines older than its ``since_ns`` are not
            delivered.
        until_ns: End of the wanted lines, exclusive.
        is_full: Returns, after each line, whether it was the last wanted one.
        now_ns: Returns the time, in nanoseconds since the epoch; it may differ from the platform's.
    """

    source: LogSource
    deliver: Callable[[Batch], None]
    journal: Journal
    since_ns: int
    pace: Pace = field(default_factory=Pace)
    wake: Callable[[], None] = lambda: None
    cursor: Cursor | None = None
    until_ns: int | None = None
    is_full: Callable[[], bool] | None = None
    now_ns: Callable[[], int] = time.time_ns
    _delivery: Delivery = field(init=False)
    _store: StoredLog = field(init=False)
    _live: LiveLog = field(init=False)
    _has_settled: bool = False

    def __post_init__(self) -> None:
        self._delivery = Delivery(
            self.deliver,
            self.journal,
            self.since_ns,
            self.until_ns,
            self.is_full,
            self.wake,
            self.cursor,
        )
        self._store = StoredLog(self.source, self._delivery, self.journal, self.now_ns)
        self._live = LiveLog(
            self.source, self._delivery, self._store, self.journal, self.pace, self.now_ns
        )

    @property
    def receipt(self) -> LogReceipt:
        """What was delivered so far and what is known to be missing."""
        return self.tally.receipt(self._store.cursor(has_settled=self._has_settled))

    @property
    def ledger(self) -> Ledger:
        """What was delivered, by time and content."""
        return self._delivery.ledger

    @property
    def tally(self) -> Tally:
        """What the receipt counts."""
        return self._delivery.tally

    @property
    def last_line(self) -> float | None:
        """When the last line was delivered, in seconds of the event loop's time."""
        return self._delivery.last_line

    @property
    def ended(self) -> bool:
        """Whether the last wanted line was delivered."""
        return self._delivery.ended

    @property
    def refused(self) -> bool:
        """Whether the token may not read logs."""
        return self._store.refused

    @property
    def unread(self) -> bool:
        """Whether the end of the log could not be read."""
        return self._store.unread

    async def tail(self) -> None:
        """Follow the live log until cancelled; reconnect a lost connection where it broke."""
        tender = asyncio.create_task(self._tend())
        try:
            await self._live.follow()
        finally:
            tender.cancel()

    async def settle(self, ended: float, ended_ns: int | None = None) -> None:
        """Give late lines time to arrive after the job's end (``lag``).

        Run this while the tail still listens.

        Args:
            ended: Monotonic time at which the job's end was seen.
            ended_ns: When the job ended, in the platform's time, if known. Without it, nothing
                shows that the log has ended too.
        """
        end = End(ended, ended_ns)
        last = ended + max(self.pace.settle, self.pace.drain)
        while (
            not (self.ended or self.refused)
            and (left := min(self._rests_at(end), last) - loop_time()) > 0
        ):
            await self._delivery.next_arrival(left)
        self._has_settled = True

    async def drain(self) -> None:
        """Deliver what the tail missed: read the store until it returns nothing new.

        The tail must have ended. New lines from the store may have come late, so more of them may
        follow: the store is then read once more after the time that late lines get. It is also read
        once more if they did not get that time before.
        """
        until, wait = loop_time() + self.pace.drain, _FIRST_DRAIN_SECONDS
        while True:
            found = await self._store.read_all()
            if self.ended or self.refused or self.unread or (self._has_settled and not found):
                return
            if found and loop_time() >= until:
                self.tally.miss(Gap(GapKind.UNSETTLED))
                self.journal.warning(
                    Area.LOGS, "The log does not come to rest; later lines are not shown here"
                )
                return
            await anyio.sleep(max(self.pace.settle, wait))
            self._has_settled = True
            wait *= 2

    async def read(self) -> None:
        """Deliver what is currently stored."""
        await self._store.read_all()

    async def confirm(self) -> None:
        """Look in the store for older undelivered lines, so that the next reader gets them."""
        await self._store.confirm()

    async def _tend(self) -> None:
        """Tend the log while the live log runs.

        Reread what the live log may have missed, forget what is settled, and log the progress.
        """
        verified = reported = loop_time()
        lines, pause = 0, self.pace.progress
        while True:
            await anyio.sleep(min(_TEND_SECONDS, pause))
            now = loop_time()
            if now - reported >= pause and (count := self.ledger.total) > lines:
                self._report_progress(count, (count - lines) / (now - reported))
                lines, reported, pause = count, now, min(2 * pause, _LONGEST_PROGRESS_SECONDS)
            if self._store.has_many_unsettled or now - verified >= _VERIFY_SECONDS:
                await self._store.verify()
                verified = loop_time()

    def _report_progress(self, lines: int, rate: float) -> None:
        late = self._live.lag.newest_ns / NS
        self.journal.info(
            Area.LOGS,
            f"{lines:,} lines so far, {rate:,.1f} lines/s, the newest came {late:.1f} s after it"
            " was printed",
        )

    def _rests_at(self, end: End) -> float:
        known, settle = self._live.lag, self.pace.settle
        return lag.rests_at(
            end,
            newest_ns=self.ledger.newest_ns,
            last_arrival=self.last_line,
            lag=known,
            settle=settle,
        )
