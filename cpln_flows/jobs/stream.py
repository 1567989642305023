"""The log of one job while it runs and after its end: a tail for speed, range queries for truth, each line once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import anyio

from cpln_flows.api import logs
from cpln_flows.api.client import CplnClient
from cpln_flows.errors import ApiError, CplnError, ForbiddenError, UnauthorizedError
from cpln_flows.jobs.journal import Journal
from cpln_flows.model import log_lines
from cpln_flows.model.identifiers import Area
from cpln_flows.model.links import CommandRef
from cpln_flows.model.log_lines import Ledger, LogEntry

_NS = 1_000_000_000
_OVERLAP_NS = 2 * _NS
_CLOCK_SKEW_NS = 600 * _NS
_FIRST_RECONNECT_SECONDS = 0.1
_LONGEST_RECONNECT_SECONDS = 10.0
_LEAST_SETTLE_SECONDS = 0.05
_LONGEST_SETTLE_SECONDS = 15.0
_MOST_PASSES = 20


@dataclass
class LogStream:
    """Delivers the lines of one job.

    Args:
        client: An open client.
        ref: The job.
        location: Where it runs.
        deliver: Gets each line once.
        journal: What to tell the user.
        since_ns: No line of the job is older than this.
        settle_seconds: Least time to wait for late lines when none was seen.
        wake: Called after lines were delivered.
    """

    client: CplnClient
    ref: CommandRef
    location: str
    deliver: Callable[[LogEntry], None]
    journal: Journal
    since_ns: int
    settle_seconds: float
    wake: Callable[[], None]
    ledger: Ledger = field(default_factory=Ledger)
    last_line: float | None = None
    refused: bool = False
    incomplete: bool = False
    reconnects: int = 0
    _lag_ns: int | None = None

    @property
    def selector(self) -> str:
        """The streams of this job."""
        return log_lines.selector(self.ref, self.location)

    async def tail(self) -> None:
        """Follow the live log until cancelled; a lost connection is made again from where it broke."""
        wait = _FIRST_RECONNECT_SECONDS
        while not self.refused:
            before = self.ledger.total
            try:
                await self._tail_once()
            except (UnauthorizedError, ForbiddenError) as error:
                self._refuse(error)
                return
            except CplnError as error:
                self.journal.debug(Area.LOGS, f"the live log is interrupted: {error}")
            wait = _FIRST_RECONNECT_SECONDS if self.ledger.total > before else min(wait * 2, _LONGEST_RECONNECT_SECONDS)
            self.reconnects += 1
            await anyio.sleep(wait)

    async def settle(self, ended: float) -> None:
        """Give late lines their time after the job's end: twice the lag seen on this job's lines.

        The service gives no sign that it has everything. Run this while the tail still listens.

        Args:
            ended: Monotonic time at which the job was seen to have ended.
        """
        await anyio.sleep(self._settle_seconds() - (time.monotonic() - ended))

    async def drain(self) -> None:
        """Deliver what the tail has missed: range queries until one brings nothing new. The tail must have ended."""
        for _ in range(_MOST_PASSES):
            found = await self._pass()
            if self.refused or self.incomplete or not found:
                return
            await anyio.sleep(self._settle_seconds())
        self.journal.warning(Area.LOGS, "the log does not come to rest; later lines are not shown here")

    async def _tail_once(self) -> None:
        view, connected_ns = self.ledger.view(), time.time_ns()
        async with logs.open_tail(self.client, self.ref.org, self.selector, self._resume_ns()) as frames:
            async for frame in frames:
                self._note_lag(frame.entries, connected_ns)
                self._deliver(view.new(frame.entries))

    async def _pass(self) -> int:
        view, before = self.ledger.view(), self.ledger.total
        end_ns = time.time_ns() + _CLOCK_SKEW_NS
        try:
            async for page in logs.query_range(self.client, self.ref.org, self.selector, start_ns=self.since_ns, end_ns=end_ns):
                self._deliver(view.new(page))
        except (UnauthorizedError, ForbiddenError) as error:
            self._refuse(error)
        except CplnError as error:
            self.journal.warning(Area.LOGS, f"the end of the log could not be read, lines may be missing: {error}")
            self.incomplete = True
        return self.ledger.total - before

    def _deliver(self, entries: Iterable[LogEntry]) -> None:
        for entry in entries:
            self.deliver(entry)
            self.last_line = time.monotonic()
        self.wake()

    def _resume_ns(self) -> int:
        return max(self.since_ns, self.ledger.newest_ns - _OVERLAP_NS)

    def _note_lag(self, entries: list[LogEntry], connected_ns: int) -> None:
        if entries and entries[-1].ns >= connected_ns:  # what is older was not late, we were
            lag = max(0, time.time_ns() - entries[-1].ns)
            self._lag_ns = lag if self._lag_ns is None else max(self._lag_ns, lag)

    def _settle_seconds(self) -> float:
        """Return how long after the end late lines may still come, in seconds."""
        if self._lag_ns is None:
            return self.settle_seconds
        return min(_LONGEST_SETTLE_SECONDS, max(_LEAST_SETTLE_SECONDS, 2 * self._lag_ns / _NS))

    def _refuse(self, error: ApiError) -> None:
        if not self.refused:
            self.refused = True
            self.journal.warning(
                Area.LOGS,
                f"the logs may not be read ({error}); bind the permission readLogs on the org to a service account and put"
                " its key into the credentials block. The job goes on",
            )
