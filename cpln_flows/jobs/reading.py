"""Reading the log of a job that somebody else runs, or that has ended: from a place on, to a place, or as long as it runs."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime

import anyio

from cpln_flows.api import commands
from cpln_flows.api.client import CplnClient
from cpln_flows.api.logs import LogSource
from cpln_flows.errors import CplnError, LogStreamError, NotFoundError
from cpln_flows.jobs.journal import Journal
from cpln_flows.jobs.locate import Located
from cpln_flows.jobs.stream import LogStream, Pace
from cpln_flows.model import lifecycle, log_lines
from cpln_flows.model.cursor import Cursor
from cpln_flows.model.identifiers import Area
from cpln_flows.model.log_lines import Batch
from cpln_flows.model.receipt import LogReceipt

_NS = 1_000_000_000
_INTERVAL_SECONDS = 5.0
_CLOCK_SKEW_NS = 600 * _NS
_AT_REST_SECONDS = 600.0
OLDEST_NS = 31 * 86_400 * _NS
"""The platform keeps logs for 30 days, unless the organization says otherwise."""


@dataclass(frozen=True)
class Wanted:
    """Which lines of a job are wanted.

    Attributes:
        cursor: Where an earlier reader has stopped.
        since: From this time on. Default: the job's start.
        until: Before this time. Default: the job's end.
        follow: Whether lines are waited for while the job runs.
        containers: Of these containers. Default: the first one, or all if the platform has forgotten which that is.
        include: Only lines in which this regular expression is found.
        exclude: Only lines in which this one is not.
        limit: So many at most.
    """

    cursor: Cursor | None = None
    since: datetime | None = None
    until: datetime | None = None
    follow: bool = True
    containers: Collection[str] | None = None
    include: re.Pattern[str] | None = None
    exclude: re.Pattern[str] | None = None
    limit: int | None = None

    def passes(self, line: str) -> bool:
        """Whether the filters let a line pass."""
        if self.include is not None and not self.include.search(line):
            return False
        return self.exclude is None or not self.exclude.search(line)


@dataclass
class LogReading:
    """Reads the log of one job.

    Args:
        client: An open client.
        org: The organisation.
        job: What is known of the job.
        wanted: Which lines are wanted.
        show: Gets the lines as text.
        journal: What to tell the user.
        pace: How long things take.
    """

    client: CplnClient
    org: str
    job: Located
    wanted: Wanted
    show: Callable[[list[str]], None]
    journal: Journal
    pace: Pace
    stream: LogStream = field(init=False)
    _shown: int = 0

    def __post_init__(self) -> None:
        until = self.wanted.until
        now_ns = time.time_ns()
        self.stream = LogStream(
            source=LogSource(self.client, self.org, self.job.selector),
            deliver=self._deliver,
            journal=self.journal,
            since_ns=self._since_ns(now_ns),
            pace=self.pace,
            cursor=self.wanted.cursor,
            until_ns=to_ns(until) if until else None if self.wanted.follow else now_ns,
            is_full=None if self.wanted.limit is None else self._is_full,
        )

    async def read(self) -> LogReceipt:
        """Show the lines; return what was read of the log, also lines that filters have left out.

        Raises:
            LogStreamError: The log may not be read, or could not be.
        """
        if self.wanted.limit == 0:
            return self.stream.receipt
        if self.wanted.follow and not self._is_at_rest():
            await self._follow()
        if not self.stream.ended:
            await (self.stream.drain() if self.wanted.follow and not self._is_at_rest() else self.stream.read())
        receipt = self.stream.receipt
        if self.stream.refused or self.stream.unread:
            raise LogStreamError(f"the log of {self._name()} could not be read: {receipt}")
        return receipt

    async def _follow(self) -> None:
        tail = asyncio.create_task(self.stream.tail())
        end = asyncio.create_task(self._end_and_settle())
        try:
            await asyncio.wait([tail, end], return_when=asyncio.FIRST_COMPLETED)
        finally:
            tail.cancel()
            end.cancel()
        await asyncio.wait([tail, end])
        if not tail.cancelled() and (error := tail.exception()):
            self.journal.warning(Area.LOGS, f"the live log broke off: {error!r}")

    async def _end_and_settle(self) -> None:
        await self._end()
        command = self.job.command
        ended = (command.last_modified or command.created) if command and command.is_terminal else datetime.now(UTC)
        await self.stream.settle(anyio.current_time() - max(0.0, (datetime.now(UTC) - ended).total_seconds()))

    async def _end(self) -> None:
        """Wait for the job's end, or for the time until which lines are wanted."""
        until = self.wanted.until
        seconds = None if until is None else max(0.0, (until - datetime.now(UTC)).total_seconds())
        with anyio.move_on_after(seconds):
            while not await self._has_ended():
                command = self.job.command
                age = (datetime.now(UTC) - command.created).total_seconds() if command else 0.0
                await anyio.sleep(lifecycle.poll_delay(age, _INTERVAL_SECONDS))

    async def _has_ended(self) -> bool:
        if self.job.ref is None:
            return False  # nobody knows its workload: it may still come to print something
        try:
            return (await commands.read(self.client, self.job.ref)).is_terminal
        except NotFoundError:
            return True
        except CplnError as error:
            self.journal.debug(Area.LOGS, f"The job's state cannot be read, looking again: {error}")
            return False

    def _is_at_rest(self) -> bool:
        """Whether no late line can come any more."""
        command = self.job.command
        if command is None:
            return self.job.ref is not None
        changed = command.last_modified or command.created
        return command.is_terminal and (datetime.now(UTC) - changed).total_seconds() > _AT_REST_SECONDS

    def _since_ns(self, now_ns: int) -> int:
        if self.wanted.since is not None:
            return to_ns(self.wanted.since)
        if self.job.command is not None:
            return int(self.job.command.created.timestamp()) * _NS
        return now_ns - OLDEST_NS

    def _deliver(self, batch: Batch) -> None:
        containers = self.wanted.containers
        if containers is None and self.job.main is not None:
            containers = [self.job.main]
        if containers is not None and batch.key.container not in containers:
            return
        label = "" if containers is not None and len(containers) == 1 else f"[{batch.key.container}] "
        kept = [place for place, line in enumerate(batch.lines) if self.wanted.passes(line)]
        self._shown += len(kept)
        self.show(log_lines.render(Batch(batch.key, [batch.stamps[n] for n in kept], [batch.lines[n] for n in kept]), label))

    def _is_full(self) -> bool:
        return self.wanted.limit is not None and self._shown >= self.wanted.limit

    def _name(self) -> str:
        return self.job.ref.pid if self.job.ref else self.job.selector


def span_of(wanted: Wanted) -> tuple[int, int]:
    """Return the time in which a job is looked for of which nothing but the id is known."""
    now_ns = time.time_ns()
    since_ns = to_ns(wanted.since) if wanted.since else now_ns - OLDEST_NS
    return since_ns, to_ns(wanted.until) if wanted.until else now_ns + _CLOCK_SKEW_NS


def to_ns(moment: datetime) -> int:
    """Return a time in nanoseconds; one without a zone is in UTC."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int(aware.timestamp()) * _NS + aware.microsecond * 1000
