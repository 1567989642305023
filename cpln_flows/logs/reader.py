"""Read any job's log between two positions, or follow it until the job ends."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field, replace
from datetime import datetime

import anyio

from cpln_flows.api import commands, workloads
from cpln_flows.api.client import CplnClient
from cpln_flows.api.logs import LogSource
from cpln_flows.errors import (
    ApiError,
    CplnError,
    ForbiddenError,
    LogStreamError,
    NotFoundError,
    UnauthorizedError,
)
from cpln_flows.logger import Journal
from cpln_flows.logs.cursor import Cursor
from cpln_flows.logs.lookup import Located
from cpln_flows.logs.pace import Pace
from cpln_flows.logs.receipt import Gap, GapKind, LogReceipt
from cpln_flows.logs.sink import Rendering
from cpln_flows.logs.stream import LogStream
from cpln_flows.model import lifecycle
from cpln_flows.model.identifiers import Area
from cpln_flows.model.log_lines import Batch
from cpln_flows.model.time import LOG_CLOCK_SKEW_NS, NS, to_ns

_INTERVAL_SECONDS = 5.0
_AT_REST_NS = 600 * NS
OLDEST_NS = 31 * 86_400 * NS
"""The platform keeps logs for 30 days, unless the organization configures another period."""


@dataclass(frozen=True)
class Wanted:
    """Which lines of a job are wanted.

    Attributes:
        cursor: Where an earlier reader has stopped.
        since: Start of the wanted time. Default: the job's start.
        until: End of the wanted time, exclusive. Default: the job's end.
        follow: Whether to wait for more lines while the job runs.
        containers: Names of the wanted containers. Default: the first one, or all if the platform
            no longer knows which one that is.
        include: Only lines that match this regular expression are wanted.
        exclude: Lines that match this regular expression are not wanted.
        limit: Maximum number of wanted lines.
    """

    cursor: Cursor | None = None
    since: datetime | None = None
    until: datetime | None = None
    follow: bool = True
    containers: Collection[str] | None = None
    include: re.Pattern[str] | None = None
    exclude: re.Pattern[str] | None = None
    limit: int | None = None

    @property
    def has_filters(self) -> bool:
        """Whether some lines may be left out because of their text."""
        return self.include is not None or self.exclude is not None

    def passes(self, line: str) -> bool:
        """Whether the filters let a line pass."""
        if self.include is not None and not self.include.search(line):
            return False
        return self.exclude is None or not self.exclude.search(line)


@dataclass
class LogReading:
    """Read the log of one job.

    Args:
        client: An open client.
        org: The organization.
        job: What is known of the job.
        wanted: Which lines are wanted.
        show: Receives the lines as text.
        journal: Where to log for the user.
        pace: Time limits and intervals.
        look_again: Looks up again a job that was not found so far.
        unknown_seconds: How long a job that was not found may take to print its first line.
        now_ns: Returns the time, in nanoseconds since the epoch.
    """

    client: CplnClient
    org: str
    job: Located
    wanted: Wanted
    show: Callable[[list[str]], None]
    journal: Journal
    pace: Pace
    look_again: Callable[[], Awaitable[Located]] | None = None
    unknown_seconds: float = 60.0
    now_ns: Callable[[], int] = time.time_ns
    stream: LogStream = field(init=False)
    _shown: int = 0
    _refusal: ApiError | None = None

    def __post_init__(self) -> None:
        until, since = self.wanted.until, self.wanted.since
        now_ns = self.now_ns()
        cursor = self.wanted.cursor or Cursor()
        if since is not None:
            cursor = replace(cursor, since_ns=max(cursor.since_ns, to_ns(since)))
        self.stream = LogStream(
            source=LogSource(self.client, self.org, self.job.selector),
            deliver=self._deliver,
            journal=self.journal,
            since_ns=self._since_ns(now_ns),
            pace=self.pace,
            cursor=cursor,
            until_ns=to_ns(until) if until else None if self.wanted.follow else now_ns,
            is_full=None if self.wanted.limit is None else self._is_full,
            now_ns=self.now_ns,
        )

    async def read(self) -> LogReceipt:
        """Show the lines; return what was read of the log, including filtered lines.

        Raises:
            LogStreamError: The token may not read the log, or reading it failed.
        """
        if self.wanted.limit == 0:
            return self.stream.receipt
        await self._read()
        await self.stream.confirm()
        receipt = self.stream.receipt
        if self.stream.refused or self.stream.unread:
            raise LogStreamError(f"the log of {self._name()} could not be read: {receipt}")
        if self.job.ref is None and not receipt.lines:
            raise LogStreamError(
                f"no job is known for {self._name()}: the log has no line of it, and no workload"
                " has such a command; check the id, org and namespace"
            )
        return receipt

    async def _read(self) -> None:
        if not self.wanted.follow or self._is_at_rest():
            await self.stream.read()
            return
        if self._is_forgotten():
            await self.stream.read()  # as a rule, only its log shows when it ended
            if self.stream.ended or 0 < self.stream.ledger.newest_ns < self.now_ns() - _AT_REST_NS:
                return
        else:
            await self._follow()
        if not self.stream.ended:
            await self.stream.drain()

    async def _follow(self) -> None:
        tail = asyncio.create_task(self.stream.tail())
        end = asyncio.create_task(self._end_and_settle())
        try:
            await asyncio.wait([tail, end], return_when=asyncio.FIRST_COMPLETED)
            if tail.done() and not tail.cancelled() and (error := tail.exception()):
                self.journal.warning(
                    Area.LOGS,
                    f"the live log broke off; the rest is read when the job ends: {error!r}",
                )
                await asyncio.wait([end])
        finally:
            tail.cancel()
            end.cancel()
        await asyncio.wait([tail, end])
        if not end.cancelled():
            end.result()

    async def _end_and_settle(self) -> None:
        await self._end()
        command = self.job.command
        ended_ns = command.ended_ns if command else None
        ago = max(0.0, (self.now_ns() - ended_ns) / NS) if ended_ns else 0.0
        await self.stream.settle(anyio.current_time() - ago, ended_ns)

    async def _end(self) -> None:
        """Wait for the job's end, or for the end of the wanted time."""
        until, began = self.wanted.until, anyio.current_time()
        seconds = None if until is None else max(0.0, (to_ns(until) - self.now_ns()) / NS)
        with anyio.move_on_after(seconds):
            while not await self._has_ended(began):
                command = self.job.command
                age = (self.now_ns() - to_ns(command.created)) / NS if command else 0.0
                await anyio.sleep(lifecycle.poll_delay(age, _INTERVAL_SECONDS))

    async def _has_ended(self, began: float) -> bool:
        try:
            if self.job.ref is None:
                return await self._stays_unknown(began)
            try:
                command = await commands.read(self.client, self.job.ref)
            except NotFoundError:  # a single answer: an active execution outweighs it
                found = await workloads.execution_of(self.client, self.job.ref)
                return found is None or not found[1].is_active
        except (UnauthorizedError, ForbiddenError) as error:
            return self._ends_without_state(error, began)
        except CplnError as error:
            self.journal.debug(Area.LOGS, f"Cannot read the job's state, will look again: {error}")
            return False
        self.job = replace(self.job, command=command)
        return command.is_terminal

    async def _stays_unknown(self, began: float) -> bool:
        """Whether to give up on a job whose workload is unknown: until then it may still print."""
        if self.look_again is not None:
            self.job = await self.look_again()
        return (
            self.job.ref is None
            and anyio.current_time() - (self.stream.last_line or began) >= self.unknown_seconds
        )

    def _ends_without_state(self, error: ApiError, began: float) -> bool:
        """Whether a quiet log counts as ended, because the token may not read the job's state."""
        if self._refusal is None:
            self._refusal = error
            self.journal.warning(
                Area.LOGS,
                f"the token may not read whether the job has ended ({error}); give the service"
                " account the permission view on its workload. The log is followed until it is"
                f" quiet for {self.pace.drain:g} s",
            )
        if anyio.current_time() - (self.stream.last_line or began) < self.pace.drain:
            return False
        self.stream.tally.miss(Gap(GapKind.STATE_UNREAD, reason=str(error)))
        return True

    def _is_at_rest(self) -> bool:
        """Whether no more late lines can arrive."""
        command = self.job.command
        if command is None or not command.is_terminal:
            return False
        return self.now_ns() - (command.ended_ns or to_ns(command.created)) > _AT_REST_NS

    def _is_forgotten(self) -> bool:
        """Whether the platform has forgotten a job of a known workload.

        Such a job has ended, but nobody knows when.
        """
        return self.job.command is None and self.job.ref is not None

    def _since_ns(self, now_ns: int) -> int:
        if self.wanted.since is not None:
            return to_ns(self.wanted.since)
        if self.job.command is not None:
            # The container's clock may differ from the API's.
            return to_ns(self.job.command.created) - LOG_CLOCK_SKEW_NS
        return now_ns - OLDEST_NS

    def _deliver(self, batch: Batch) -> None:
        containers = self.wanted.containers
        if containers is None and self.job.main is not None:
            containers = [self.job.main]
        lines = Rendering.of(
            containers, self.wanted.passes if self.wanted.has_filters else None
        ).lines(batch)
        self._shown += len(lines)
        self.show(lines)

    def _is_full(self) -> bool:
        return self.wanted.limit is not None and self._shown >= self.wanted.limit

    def _name(self) -> str:
        return self.job.ref.pid if self.job.ref else self.job.selector


def span_of(wanted: Wanted, now_ns: int) -> tuple[int, int]:
    """Return the time span in which to look for a job of which only the id is known."""
    since_ns = to_ns(wanted.since) if wanted.since else now_ns - OLDEST_NS
    return since_ns, to_ns(wanted.until) if wanted.until else now_ns + LOG_CLOCK_SKEW_NS
