"""The log of one job while it runs and after its end: a tail for speed, range queries for truth, each line once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import anyio
import anyio.lowlevel

from cpln_flows.api.logs import Arrival, LogSource, Tail
from cpln_flows.api.retry import Repeat
from cpln_flows.errors import ApiError, CplnError, ForbiddenError, UnauthorizedError
from cpln_flows.jobs.journal import Journal
from cpln_flows.model.cursor import Cursor, Ledger, Look, in_order
from cpln_flows.model.identifiers import Area
from cpln_flows.model.log_lines import Batch, Frame
from cpln_flows.model.receipt import Gap, GapKind, LogReceipt, Tally
from cpln_flows.settings import CplnSettings

_NS = 1_000_000_000
_OVERLAP_NS = 2 * _NS
_CLOCK_SKEW_NS = 600 * _NS
_FIRST_RECONNECT_SECONDS = 0.1
_LONGEST_RECONNECT_SECONDS = 10.0
_LEAST_SETTLE_SECONDS = 0.05
_LONGEST_SETTLE_SECONDS = 15.0
_LONGEST_IDLE_SECONDS = 300.0
_TEND_SECONDS = 5.0
_VERIFY_SECONDS = 300.0
_LONGEST_PROGRESS_SECONDS = 900.0
_LATEST_NS = 600 * _NS
"""A line that comes later than this is not waited for while the job runs."""
_MOST_UNSETTLED = 1_000_000
_LATEST_OF_MANY_NS = 60 * _NS
_LAG_KEPT = 0.97
"""Of the longest lag so much is kept with each message: one stall long ago is no reason to wait at the end."""
_LONGEST_TURN_SECONDS = 0.02


def _time() -> float:
    return asyncio.get_running_loop().time()


@dataclass(frozen=True)
class Pace:
    """How long things take that have to do with the log, in seconds.

    Attributes:
        settle: Least time to wait for late lines of a job that has ended, when none was seen before.
        drain: How long the end of the log is read again at most.
        rotate: Age at which a connection is replaced; the platform cuts it after 30 minutes.
        idle: Silence after which it is asked whether the connection still tells everything.
        progress: Time until the first word on how far the log is; further ones come ever more seldom.
    """

    settle: float = 5.0
    drain: float = 60.0
    rotate: float = 1500.0
    idle: float = 30.0
    progress: float = 60.0

    @classmethod
    def of(cls, settings: CplnSettings) -> Pace:
        """Return the pace that the settings say."""
        return cls(
            settle=settings.log_settle_seconds,
            drain=settings.log_drain_seconds,
            rotate=settings.log_rotate_seconds,
            idle=settings.log_idle_seconds,
            progress=settings.log_progress_seconds,
        )


@dataclass
class _Session:
    """One connection to the live log, and what it has shown."""

    tail: Tail
    look: Look
    connected_ns: int
    rotate_at: float
    has_shown: bool = False


@dataclass
class LogStream:
    """Delivers the lines of one job.

    Args:
        source: The log.
        deliver: Gets each line once, in the order of its stream; what comes late comes when it comes.
        journal: What to tell the user.
        since_ns: No line that is wanted is older than this.
        pace: How long things take.
        wake: Called after lines were delivered.
        cursor: Where an earlier reader has stopped.
        until_ns: No line that is wanted is as new as this.
        is_full: Says after each line whether it was the last one that is wanted.
        now_ns: Tells the time, in nanoseconds since the epoch.
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
    last_line: float | None = None
    refused: bool = False
    unread: bool = False
    ended: bool = False
    ledger: Ledger = field(init=False)
    tally: Tally = field(default_factory=Tally)
    _lag_ns: int | None = None
    _newest_lag_ns: int = 0
    _said_refusal: bool = False

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.cursor)

    @property
    def receipt(self) -> LogReceipt:
        """What was delivered so far, and what is known to be missing."""
        return self.tally.receipt(self.ledger.cursor())

    async def tail(self) -> None:
        """Follow the live log until cancelled; a lost connection is made again from where it broke."""
        tender = asyncio.create_task(self._tend())
        try:
            await self._follow()
        finally:
            tender.cancel()

    async def settle(self, ended: float) -> None:
        """Give late lines their time after the job's end: twice the lag seen on this job's lines.

        The service gives no sign that it has everything. Run this while the tail still listens.

        Args:
            ended: Monotonic time at which the job was seen to have ended.
        """
        await anyio.sleep(self._settle_seconds() - (_time() - ended))

    async def drain(self) -> None:
        """Deliver what the tail has missed: range queries until one brings nothing new. The tail must have ended."""
        until, wait = _time() + self.pace.drain, _FIRST_RECONNECT_SECONDS
        while await self._pass(Repeat.ALWAYS):
            if self.ended:
                return
            if _time() >= until:
                self.tally.miss(Gap(GapKind.UNSETTLED))
                self.journal.warning(Area.LOGS, "the log does not come to rest; later lines are not shown here")
                return
            # Late lines had their time before, unless nothing was known of how late they are.
            await anyio.sleep(self.pace.settle if self._lag_ns is None else wait)
            wait *= 2

    async def read(self) -> None:
        """Deliver what is stored now."""
        await self._pass(Repeat.ALWAYS)

    # The live log

    async def _follow(self) -> None:
        wait = _FIRST_RECONNECT_SECONDS
        while not (self.refused or self.ended):
            before = self.ledger.total
            try:
                await self._sessions()
            except (UnauthorizedError, ForbiddenError) as error:
                self._refuse(error)
                return
            except CplnError as error:
                self.journal.debug(Area.LOGS, f"the live log is interrupted: {error}")
            wait = _FIRST_RECONNECT_SECONDS if self.ledger.total > before else min(wait * 2, _LONGEST_RECONNECT_SECONDS)
            self.tally.reconnects += not self.ended
            await anyio.sleep(0 if self.ended else wait)

    async def _sessions(self) -> None:
        """Read one connection after another, each opened before the one before it is closed, until one breaks."""
        current = AsyncExitStack()
        try:
            session = await self._connect(current)
            while await self._is_old_after_reading(session):
                following = AsyncExitStack()
                try:
                    session = await self._connect(following)
                except CplnError as error:
                    self.journal.debug(Area.LOGS, f"the live log is kept, a new connection could not be made: {error}")
                    session.rotate_at = _time() + self.pace.idle
                    continue
                replaced, current = current, following
                await replaced.aclose()
        finally:
            await current.aclose()

    async def _connect(self, stack: AsyncExitStack) -> _Session:
        tail = await stack.enter_async_context(self.source.open_tail(self._resume_ns()))
        return _Session(tail, self.ledger.look(), self.now_ns(), _time() + self.pace.rotate)

    async def _is_old_after_reading(self, session: _Session) -> bool:
        """Read a connection; return whether it is to be replaced, or is broken."""
        idle = self.pace.idle
        while not self.ended:
            try:
                arrival = await session.tail.receive(max(0.0, min(idle, session.rotate_at - _time())))
            except TimeoutError:
                if _time() >= session.rotate_at:
                    return True
                if await self._is_deaf():
                    return False
                idle = min(idle * 2, _LONGEST_IDLE_SECONDS)
                continue
            if arrival is None:
                return False
            began, idle = _time(), self.pace.idle
            await self._take(session, arrival)
            if _time() - began > _LONGEST_TURN_SECONDS:
                await anyio.lowlevel.checkpoint()  # messages that wait already would keep everybody else from running
            if _time() >= session.rotate_at:
                return True
        return False

    async def _take(self, session: _Session, arrival: Arrival) -> None:
        if session.look.repeats(arrival.id):
            await self._catch_up(self._resume_ns())  # the store knows whether these lines were printed once or twice
            return
        frame = arrival.frame
        if frame is None:
            self.journal.debug(Area.LOGS, "the live log sent what cannot be read")
            if await self._catch_up(self._resume_ns()) is None:
                self.tally.miss(Gap(GapKind.UNREADABLE))
            return
        batches = in_order(frame.batches)
        if frame.dropped:
            await self._fetch_dropped(frame)
        elif batches and not session.has_shown and batches[0].stamps[0] <= session.connected_ns:
            await self._catch_up(self._resume_ns())  # of what was stored before, a connection shows the newest lines alone
        session.has_shown = session.has_shown or bool(batches)
        if batches:
            self._note_lag(batches[-1].stamps[-1], session.connected_ns)
        self._deliver(session.look, batches)

    async def _fetch_dropped(self, frame: Frame) -> None:
        """Read what the service has left out before anything newer is delivered."""
        oldest_ns = max(self.since_ns, min(frame.dropped))
        self.tally.report(max(self.since_ns, ns) for ns in frame.dropped)
        self.journal.debug(Area.LOGS, f"the live log left out {len(frame.dropped)} lines, they are read from the store")
        await self._catch_up(min(oldest_ns, self._resume_ns()))

    async def _is_deaf(self) -> bool:
        """Ask the store whether the live log has kept something back; a line that is on its way is no proof of that."""
        before = self.ledger.total
        await self._catch_up(self._resume_ns(), self.now_ns() - _OVERLAP_NS)
        if self.ledger.total > before:
            self.journal.debug(Area.LOGS, "the live log has fallen silent, it is connected to again")
            return True
        return False

    # The store

    async def _catch_up(self, start_ns: int, end_ns: int | None = None) -> int | None:
        """Deliver what the store has from a time on; return how many lines were new, or nothing if it cannot be read."""
        try:
            found = await self._read(start_ns, end_ns or self.now_ns() + _CLOCK_SKEW_NS, Repeat.NEVER)
        except CplnError as error:  # who may not read at all learns it from the live log
            self.journal.debug(Area.LOGS, f"the stored log cannot be read now: {error}")
            return None
        if end_ns is None:
            self.tally.recover(start_ns)
        return found

    async def _pass(self, repeat: Repeat) -> int:
        """Read all that may have changed; return how many lines were new."""
        start_ns = self._floor_ns()
        try:
            found = await self._read(start_ns, self.now_ns() + _CLOCK_SKEW_NS, repeat)
        except (UnauthorizedError, ForbiddenError) as error:
            self._refuse(error)
            return 0
        except CplnError as error:
            self.journal.warning(Area.LOGS, f"the end of the log could not be read, lines may be missing: {error}")
            self.unread = True
            self.tally.miss(Gap(GapKind.UNREAD, reason=str(error)))
            return 0
        self.refused = self.unread = False
        self.tally.recover(start_ns)
        for kind in (GapKind.REFUSED, GapKind.UNREAD, GapKind.UNREADABLE):
            self.tally.found(kind)
        return found

    async def _read(self, start_ns: int, end_ns: int, repeat: Repeat) -> int:
        before = self.ledger.total
        end_ns = min(end_ns, self.until_ns or end_ns)
        async for page in self.source.query_range(start_ns, end_ns, repeat):
            shown = self.ledger.total
            self._deliver(self.ledger.look(), page.batches)
            lines = sum(len(batch.stamps) for batch in page.batches)
            # The page holds the last lines of that time; only if it joins up with the first ones, it holds all the rest.
            if page.crowded_ns is not None and self.ledger.total - shown == lines:
                self.tally.miss(Gap(GapKind.CROWDED, first_ns=page.crowded_ns))
            if self.ended:
                break
        return self.ledger.total - before

    # Both

    def _deliver(self, look: Look, batches: Sequence[Batch]) -> None:
        for batch in batches:
            for part in self._parts(batch):
                if self.ended:
                    return
                new = look.new(part)
                if not new.stamps:
                    continue
                self.tally.add(new)
                self.deliver(new)
                self.last_line = _time()
                self.ended = self.is_full is not None and self.is_full()
        self.wake()

    def _parts(self, batch: Batch) -> Sequence[Batch]:
        """Return the lines that are wanted: at once, or one by one if any of them may be the last."""
        key, stamps, lines = batch
        if self.until_ns is not None and max(stamps) >= self.until_ns:
            kept = [(ns, line) for ns, line in zip(stamps, lines, strict=True) if ns < self.until_ns]
            stamps, lines = [ns for ns, _ in kept], [line for _, line in kept]
        if self.is_full is None:
            return [Batch(key, stamps, lines)]
        return [Batch(key, [ns], [line]) for ns, line in zip(stamps, lines, strict=True)]

    def _floor_ns(self) -> int:
        return max(self.since_ns, self.ledger.from_ns)

    def _resume_ns(self) -> int:
        return max(self._floor_ns(), self.ledger.newest_ns - _OVERLAP_NS)

    async def _tend(self) -> None:
        """Beside the live log: read again what it may have missed, forget what is settled, and say how far the log is."""
        verified = said = _time()
        lines, pause = 0, self.pace.progress
        while True:
            await anyio.sleep(min(_TEND_SECONDS, pause))
            now = _time()
            if now - said >= pause and (count := self.ledger.total) > lines:
                self._say_progress(count, (count - lines) / (now - said))
                lines, said, pause = count, now, min(2 * pause, _LONGEST_PROGRESS_SECONDS)
            if self.ledger.unsettled > _MOST_UNSETTLED or now - verified >= _VERIFY_SECONDS:
                await self._verify()
                verified = _time()

    async def _verify(self) -> None:
        many = self.ledger.unsettled > _MOST_UNSETTLED
        newest_ns = min(self.ledger.newest_ns, self.now_ns())
        if await self._catch_up(self._floor_ns()) is not None:
            self.ledger.settle(newest_ns - (_LATEST_OF_MANY_NS if many else _LATEST_NS))

    def _say_progress(self, lines: int, rate: float) -> None:
        lag = self._newest_lag_ns / _NS
        self.journal.info(
            Area.LOGS, f"{lines:,} lines so far, {rate:,.1f} lines/s, the newest came {lag:.1f} s after it was printed"
        )

    def _note_lag(self, newest_ns: int, connected_ns: int) -> None:
        if newest_ns >= connected_ns:  # what is older was not late, we were
            self._newest_lag_ns = max(0, self.now_ns() - newest_ns)
            known = 0 if self._lag_ns is None else int(self._lag_ns * _LAG_KEPT)
            self._lag_ns = max(known, self._newest_lag_ns)

    def _settle_seconds(self) -> float:
        """Return how long after the end late lines may still come, in seconds."""
        if self._lag_ns is None:
            return self.pace.settle
        return min(_LONGEST_SETTLE_SECONDS, max(_LEAST_SETTLE_SECONDS, 2 * self._lag_ns / _NS))

    def _refuse(self, error: ApiError) -> None:
        self.refused = True
        self.tally.found(GapKind.REFUSED)
        self.tally.miss(Gap(GapKind.REFUSED, reason=str(error)))
        if not self._said_refusal:
            self._said_refusal = True
            self.journal.warning(
                Area.LOGS,
                f"the logs may not be read ({error}); bind the permission readLogs on the org to a service account and put"
                " its key into the credentials block. The job goes on",
            )
