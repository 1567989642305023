"""Read the stored log of a job: it has every line, some of them a moment late.

Everything that may have fallen into a hole in the live log is read here: the lines since the last
one after a break, the lines that the service reports as dropped, the recent past after a silence,
and the whole log once more after the job's end. Older lines are reread every few minutes and then
forgotten.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from cpln_flows.api.logs import LogSource
from cpln_flows.api.retry import Repeat
from cpln_flows.errors import ApiError, CplnError, ForbiddenError, UnauthorizedError
from cpln_flows.logger import Journal
from cpln_flows.logs.cursor import Cursor
from cpln_flows.logs.delivery import Delivery
from cpln_flows.logs.receipt import Gap, GapKind
from cpln_flows.model.identifiers import Area
from cpln_flows.model.time import LOG_CLOCK_SKEW_NS, NS

_LATEST_NS = 600 * NS
"""Lines later than this are not awaited while the job runs."""
_MOST_UNSETTLED = 1_000_000
_LATEST_OF_MANY_NS = 60 * NS


@dataclass
class StoredLog:
    """Read the stored log of one job.

    Args:
        source: The log.
        delivery: Receives the lines.
        journal: Where to log for the user.
        now_ns: Returns the time, in nanoseconds since the epoch; it may differ from the platform's.

    Attributes:
        refused: Whether the token may not read logs.
        unread: Whether the last pass over the whole log failed.
    """

    source: LogSource
    delivery: Delivery
    journal: Journal
    now_ns: Callable[[], int] = time.time_ns
    refused: bool = False
    unread: bool = False
    _read_ns: int = 0
    _hole_ns: int | None = None
    _crowded: set[int] = field(default_factory=set)
    _has_reported: bool = False

    @property
    def has_many_unsettled(self) -> bool:
        """Whether so many lines are remembered that old ones are to be verified and forgotten."""
        return self.delivery.ledger.unsettled > _MOST_UNSETTLED

    def cursor(self, *, has_settled: bool) -> Cursor:
        """Return where the next reader begins.

        Args:
            has_settled: Whether late lines had their time to arrive after the job's end.
        """
        known = self._read_ns if self._hole_ns is None else min(self._read_ns, self._hole_ns)
        latest_ns = _LATEST_OF_MANY_NS if has_settled else _LATEST_NS
        return self.delivery.ledger.cursor(known - latest_ns, is_sure=self._hole_ns is None)

    async def catch_up(self, start_ns: int, end_ns: int | None = None) -> int | None:
        """Deliver what the store has from a time on.

        Returns:
            How many lines were new, or ``None`` if the store cannot be read.
        """
        try:
            found = await self._read(
                start_ns, end_ns or self.now_ns() + LOG_CLOCK_SKEW_NS, Repeat.NEVER
            )
        except CplnError as error:  # the live log reports a token that may not read at all
            self.journal.debug(Area.LOGS, f"The stored log cannot be read now: {error}")
            return None
        if end_ns is None:
            self.delivery.tally.recover(start_ns)
        return found

    async def read_all(self) -> int:
        """Read all that may have changed, retrying while it may help; return how many were new."""
        start_ns, tally = self.delivery.floor_ns, self.delivery.tally
        try:
            found = await self._read(start_ns, self.now_ns() + LOG_CLOCK_SKEW_NS, Repeat.ALWAYS)
        except (UnauthorizedError, ForbiddenError) as error:
            self.refuse(error)
            return 0
        except CplnError as error:
            self.journal.warning(
                Area.LOGS, f"The end of the log could not be read, lines may be missing: {error}"
            )
            self.unread = True
            tally.miss(Gap(GapKind.UNREAD, reason=str(error)))
            return 0
        self.refused = self.unread = False
        tally.recover(start_ns)
        if not self.delivery.ended:
            self._read_ns = self.delivery.ledger.newest_ns
        for kind in (GapKind.REFUSED, GapKind.UNREAD, GapKind.UNREADABLE):
            tally.found(kind)
        return found

    async def confirm(self) -> None:
        """Look for older undelivered lines, so that the next reader gets them.

        Call this before the next reader begins. A short log needs no check: the cursor holds all
        its lines, so the next reader sees what is missing.
        """
        ledger = self.delivery.ledger
        if not ledger.is_long():
            return
        look, newest_ns = ledger.look(), ledger.newest_ns
        try:
            async for page in self.source.query_range(self.delivery.floor_ns, newest_ns + 1):
                lacking = [ns for batch in page.batches if (ns := look.lacks(batch)) is not None]
                if lacking:
                    self._hole_ns = min(lacking)
                    break
        except CplnError as error:
            self.journal.debug(Area.LOGS, f"The stored log cannot be read now: {error}")
            self._hole_ns = self.delivery.floor_ns
        self._read_ns = newest_ns

    async def verify(self) -> None:
        """Reread what may have come late, and forget what is older than that."""
        ledger, many = self.delivery.ledger, self.has_many_unsettled
        newest_ns = min(ledger.newest_ns, self.now_ns())
        if await self.catch_up(self.delivery.floor_ns) is not None and not self.delivery.ended:
            self._read_ns = newest_ns
            ledger.settle(newest_ns - (_LATEST_OF_MANY_NS if many else _LATEST_NS))

    def refuse(self, error: ApiError) -> None:
        """Record that the token may not read logs."""
        self.refused = True
        self.delivery.tally.found(GapKind.REFUSED)
        self.delivery.tally.miss(Gap(GapKind.REFUSED, reason=str(error)))
        if not self._has_reported:
            self._has_reported = True
            self.journal.warning(
                Area.LOGS,
                f"the logs may not be read ({error}); bind the permission readLogs on the org to a"
                " service account and put its key into the credentials block. The job keeps"
                " running",
            )

    async def _read(self, start_ns: int, end_ns: int, repeat: Repeat) -> int:
        delivery = self.delivery
        before = delivery.ledger.total
        end_ns = min(end_ns, delivery.until_ns or end_ns)
        async for page in self.source.query_range(start_ns, end_ns, repeat):
            delivery.take(delivery.ledger.look(), page.batches)
            if page.crowded_ns is not None and page.crowded_ns not in self._crowded:
                self._crowded.add(page.crowded_ns)
                delivery.tally.miss(Gap(GapKind.CROWDED, first_ns=page.crowded_ns))
            if delivery.ended:
                break
        return delivery.ledger.total - before
