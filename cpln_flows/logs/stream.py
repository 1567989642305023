"""The log of one job while it runs and after its end: a tail for speed, range queries for truth, each line once.

The live log (tail) pushes lines within milliseconds, and may lose some: when the service drops them, when the connection breaks,
when the service allows no further connection, or when it falls silent. The stored log (range query) has every line, some of them
a moment late. So the ledger remembers what was delivered, by time and content, and everything that may have fallen into a hole is
read from the store: the lines since the last one after each break, what the service says it dropped, and the recent past after a
silence. While there is no live log at all, the store is polled every few seconds and the connection is tried again each time.
Every few minutes older lines are read once more and then forgotten. After the job's end, late lines get their time (settle), and
the store is read until it brings nothing new (drain). Lines are handed over first and counted then: nothing that a line holds can
end its log.
"""

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
from cpln_flows.logger import Journal
from cpln_flows.logs import lag
from cpln_flows.logs.cursor import Cursor, Ledger, Look
from cpln_flows.logs.lag import End, Lag
from cpln_flows.logs.receipt import Gap, GapKind, LogReceipt, Tally
from cpln_flows.model.identifiers import Area
from cpln_flows.model.log_lines import Batch, Frame, in_order
from cpln_flows.model.time import LOG_CLOCK_SKEW_NS, NS
from cpln_flows.settings import CplnSettings

_OVERLAP_NS = 2 * NS
_FIRST_RECONNECT_SECONDS = 0.1
_LEAST_POLL_SECONDS = 1.0
_FUTILE_SESSIONS = 2  # so many sessions in a row without a line: then the store is read instead
_HISTORY_SECONDS = 2.0
_LONGEST_IDLE_SECONDS = 300.0
_TEND_SECONDS = 5.0
_VERIFY_SECONDS = 300.0
_LONGEST_PROGRESS_SECONDS = 900.0
_LATEST_NS = 600 * NS
"""A line that comes later than this is not waited for while the job runs."""
_MOST_UNSETTLED = 1_000_000
_LATEST_OF_MANY_NS = 60 * NS
_LONGEST_TURN_SECONDS = 0.02


def _time() -> float:
    return asyncio.get_running_loop().time()


@dataclass(frozen=True)
class Pace:
    """How long things take that have to do with the log, in seconds.

    Attributes:
        settle: How long late lines of a job that has ended are waited for, unless one from its last moment was seen.
        drain: How long the end of the log is read again at most.
        rotate: Age at which a connection is replaced; the platform cuts it after 30 minutes.
        idle: Silence after which it is asked whether the connection still tells everything.
        progress: Time until the first word on how far the log is; further ones come ever more seldom.
        poll: Longest time between two looks at the stored log while there is no live one, and so about how late a line is.
    """

    settle: float = 5.0
    drain: float = 60.0
    rotate: float = 1500.0
    idle: float = 30.0
    progress: float = 60.0
    poll: float = 5.0

    @classmethod
    def of(cls, settings: CplnSettings) -> Pace:
        """Return the pace that the settings say."""
        return cls(
            settle=settings.log_settle_seconds,
            drain=settings.log_drain_seconds,
            rotate=settings.log_rotate_seconds,
            idle=settings.log_idle_seconds,
            progress=settings.log_progress_seconds,
            poll=settings.log_poll_seconds,
        )


@dataclass
class _Session:
    """One connection to the live log, and what it has shown."""

    tail: Tail
    look: Look
    connected: float
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
        since_ns: The log is read from this time on.
        pace: How long things take.
        wake: Called after lines were delivered.
        cursor: Where an earlier reader has stopped; no line that is older than its ``since_ns`` is delivered.
        until_ns: No line that is wanted is as new as this.
        is_full: Says after each line whether it was the last one that is wanted.
        now_ns: Tells the time, in nanoseconds since the epoch; it may differ from the platform's.
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
    _lag: Lag = field(default_factory=Lag)
    _arrived: anyio.Event | None = None
    _has_settled: bool = False
    _read_ns: int = 0
    _hole_ns: int | None = None
    _crowded: set[int] = field(default_factory=set)
    _said_refusal: bool = False
    _said_failure: bool = False

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.cursor)
        self.since_ns = max(self.since_ns, self.ledger.since_ns)

    @property
    def receipt(self) -> LogReceipt:
        """What was delivered so far, and what is known to be missing."""
        known = self._read_ns if self._hole_ns is None else min(self._read_ns, self._hole_ns)
        cursor = self.ledger.cursor(
            known - (_LATEST_OF_MANY_NS if self._has_settled else _LATEST_NS), is_sure=self._hole_ns is None
        )
        return self.tally.receipt(cursor)

    async def tail(self) -> None:
        """Follow the live log until cancelled; a lost connection is made again from where it broke."""
        tender = asyncio.create_task(self._tend())
        try:
            await self._follow()
        finally:
            tender.cancel()

    async def settle(self, ended: float, ended_ns: int | None = None) -> None:
        """Give late lines their time after the job's end (model.lateness). Run this while the tail still listens.

        Args:
            ended: Monotonic time at which the job was seen to have ended.
            ended_ns: When it ended, in the platform's time, if that is known: without, nothing shows that the log has ended too.
        """
        end = End(ended, ended_ns)
        last = ended + max(self.pace.settle, self.pace.drain)
        while not (self.ended or self.refused) and (left := min(self._rests_at(end), last) - _time()) > 0:
            self._arrived = anyio.Event()
            with anyio.move_on_after(left):
                await self._arrived.wait()
        self._has_settled = True

    async def drain(self) -> None:
        """Deliver what the tail has missed: read the store until it brings nothing new. The tail must have ended.

        What it brings may have come late, so there may be more of it to come: then it is read once more after the time that late
        lines are given, and so it is if they were not given that time before.
        """
        until, wait = _time() + self.pace.drain, _FIRST_RECONNECT_SECONDS
        while True:
            found = await self._pass(Repeat.ALWAYS)
            if self.ended or self.refused or self.unread or (self._has_settled and not found):
                return
            if found and _time() >= until:
                self.tally.miss(Gap(GapKind.UNSETTLED))
                self.journal.warning(Area.LOGS, "the log does not come to rest; later lines are not shown here")
                return
            await anyio.sleep(max(self.pace.settle, wait))
            self._has_settled = True
            wait *= 2

    async def read(self) -> None:
        """Deliver what is stored now."""
        await self._pass(Repeat.ALWAYS)

    async def confirm(self) -> None:
        """Look in the store for older lines that were not delivered: the next reader is to get them. Do this before it begins.

        Few lines are all in the cursor, and it is seen from them which are missing.
        """
        if not self.ledger.is_long():
            return
        look, newest_ns = self.ledger.look(), self.ledger.newest_ns
        try:
            async for page in self.source.query_range(self._floor_ns(), newest_ns + 1):
                lacking = [ns for batch in page.batches if (ns := look.lacks(batch)) is not None]
                if lacking:
                    self._hole_ns = min(lacking)
                    break
        except CplnError as error:
            self.journal.debug(Area.LOGS, f"the stored log cannot be read now: {error}")
            self._hole_ns = self._floor_ns()
        self._read_ns = newest_ns

    # The live log

    async def _follow(self) -> None:
        wait, futile = _FIRST_RECONNECT_SECONDS, 0
        while not (self.refused or self.ended):
            before = self.ledger.total
            try:
                why = await self._sessions()
            except (UnauthorizedError, ForbiddenError) as error:
                self._refuse(error)
                return
            except CplnError as error:
                why = str(error)
            self.journal.debug(Area.LOGS, f"the live log is interrupted: {why}")
            futile = 0 if self.ledger.total > before else futile + 1
            wait = _FIRST_RECONNECT_SECONDS if not futile else min(wait * 2, self.pace.poll)
            if futile >= _FUTILE_SESSIONS and await self._polled(why):
                wait = min(_LEAST_POLL_SECONDS, self.pace.poll)
            self.tally.reconnects += not self.ended
            await anyio.sleep(0 if self.ended else wait)

    async def _polled(self, why: str) -> bool:
        """Read the stored log because there is no live one; return whether there were new lines.

        A logs service has only so many live logs at a time and may close a further one at once, so fewer live logs than jobs
        are nothing unusual. Each job without one polls the store, and tries again each time whether there is room by now.
        """
        if self.source.report_once("no live log"):
            self.journal.warning(
                Area.LOGS,
                f"There is no live log for this job now ({why or 'the service closed it at once'}); its lines are read from the"
                f" stored log at least every {self.pace.poll:g} s. The same may hold for further jobs of this process",
            )
        return bool(await self._catch_up(self._resume_ns()))

    async def _sessions(self) -> str:
        """Read one connection after another, each opened before the one before it is closed, until one breaks; return why."""
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
            return session.tail.closed
        finally:
            await current.aclose()

    async def _connect(self, stack: AsyncExitStack) -> _Session:
        tail = await stack.enter_async_context(self.source.open_tail(self._resume_ns()))
        return _Session(tail, self.ledger.look(), _time(), self.now_ns(), _time() + self.pace.rotate)

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
        elif batches and not session.has_shown and self._may_be_history(session, batches[0].stamps[0]):
            await self._catch_up(self._resume_ns())  # of what was stored before, a connection shows the newest lines alone
        session.has_shown = session.has_shown or bool(batches)
        if batches and (newest_ns := batches[-1].stamps[-1]) >= session.connected_ns:
            self._lag.note(self.now_ns() - newest_ns)  # what is older was not late, we were
        self._note_late(batches)
        self._deliver(session.look, batches)

    def _may_be_history(self, session: _Session, oldest_ns: int) -> bool:
        """Whether a line may be from before the connection; by the clock of this machine alone that could not be told."""
        return oldest_ns <= session.connected_ns or _time() - session.connected < _HISTORY_SECONDS

    def _note_late(self, batches: Sequence[Batch]) -> None:
        """Declare lines that come after what was delivered of their time was forgotten: it is not known whether they are new."""
        settled_ns = self.ledger.from_ns
        for _, stamps, _ in batches if settled_ns > self.since_ns else ():
            if min(stamps) < settled_ns and (late := [ns for ns in stamps if self.since_ns <= ns < settled_ns]):
                self.tally.miss(Gap(GapKind.LATE, lines=len(late), first_ns=min(late)))

    async def _fetch_dropped(self, frame: Frame) -> None:
        """Read what the service has left out before anything newer is delivered."""
        oldest_ns = max(self.since_ns, min(frame.dropped))
        self.tally.report(max(self.since_ns, ns) for ns in frame.dropped)
        self.journal.debug(Area.LOGS, f"the live log left out {len(frame.dropped)} lines, they are read from the store")
        await self._catch_up(max(self._floor_ns(), min(oldest_ns, self._resume_ns())))

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
            found = await self._read(start_ns, end_ns or self.now_ns() + LOG_CLOCK_SKEW_NS, Repeat.NEVER)
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
            found = await self._read(start_ns, self.now_ns() + LOG_CLOCK_SKEW_NS, repeat)
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
        if not self.ended:
            self._read_ns = self.ledger.newest_ns
        for kind in (GapKind.REFUSED, GapKind.UNREAD, GapKind.UNREADABLE):
            self.tally.found(kind)
        return found

    async def _read(self, start_ns: int, end_ns: int, repeat: Repeat) -> int:
        before = self.ledger.total
        end_ns = min(end_ns, self.until_ns or end_ns)
        async for page in self.source.query_range(start_ns, end_ns, repeat):
            self._deliver(self.ledger.look(), page.batches)
            if page.crowded_ns is not None and page.crowded_ns not in self._crowded:
                self._crowded.add(page.crowded_ns)
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
                self._hand_over(new)
                self._count(new)
                self.last_line = _time()
                self.ended = self.is_full is not None and self.is_full()
        if self._arrived is not None:
            self._arrived.set()
        self.wake()

    def _hand_over(self, batch: Batch) -> None:
        """Give lines away; whoever cannot take some of them gets the others all the same."""
        try:
            self.deliver(batch)
        except Exception as error:  # noqa: BLE001 - the tail would end with it, or the job's result be lost
            self.tally.miss(Gap(GapKind.UNSHOWN, lines=len(batch.stamps), first_ns=batch.stamps[0], reason=repr(error)))
            if not self._said_failure:
                self._said_failure = True
                self.journal.warning(Area.LOGS, f"lines could not be shown, which is not said again: {error!r}")

    def _count(self, batch: Batch) -> None:
        """Count lines that were given away; nothing that a job prints may end its log."""
        try:
            self.tally.add(batch)
        except Exception as error:  # noqa: BLE001 - the lines are delivered, only their count is not known
            self.tally.miss(Gap(GapKind.UNCOUNTED, lines=len(batch.stamps), first_ns=batch.stamps[0], reason=repr(error)))

    def _parts(self, batch: Batch) -> Sequence[Batch]:
        """Return the lines that are wanted: at once, or one by one if any of them may be the last."""
        batch = batch.within(self.ledger.since_ns, self.until_ns)
        if self.is_full is None:
            return [batch]
        return [Batch(batch.key, [ns], [line]) for ns, line in zip(batch.stamps, batch.lines, strict=True)]

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
        if await self._catch_up(self._floor_ns()) is not None and not self.ended:
            self._read_ns = newest_ns
            self.ledger.settle(newest_ns - (_LATEST_OF_MANY_NS if many else _LATEST_NS))

    def _say_progress(self, lines: int, rate: float) -> None:
        lag = self._lag.newest_ns / NS
        self.journal.info(
            Area.LOGS, f"{lines:,} lines so far, {rate:,.1f} lines/s, the newest came {lag:.1f} s after it was printed"
        )

    def _rests_at(self, end: End) -> float:
        newest_ns = self.ledger.newest_ns
        return lag.rests_at(end, newest_ns=newest_ns, last_arrival=self.last_line, lag=self._lag, settle=self.pace.settle)

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
