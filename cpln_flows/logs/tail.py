"""Follow the live log of a job: connections that push lines within milliseconds, but may lose some.

Lines are lost when the service drops them, when the connection breaks, when the service allows no
further connection, or when it falls silent. Each of these is detected here, and the store is read
from before the hole before anything newer is delivered. While there is no live log at all, the
store is polled every few seconds, and each time the connection is retried.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import anyio
import anyio.lowlevel

from cpln_flows.api.logs import Arrival, LogSource, Tail
from cpln_flows.errors import CplnError, ForbiddenError, UnauthorizedError
from cpln_flows.logger import Journal
from cpln_flows.logs.cursor import Look
from cpln_flows.logs.delivery import OVERLAP_NS, Delivery
from cpln_flows.logs.lag import Lag
from cpln_flows.logs.pace import Pace, loop_time
from cpln_flows.logs.receipt import Gap, GapKind
from cpln_flows.logs.store import StoredLog
from cpln_flows.model.identifiers import Area
from cpln_flows.model.log_lines import Frame, in_order

_FIRST_RECONNECT_SECONDS = 0.1
_LEAST_POLL_SECONDS = 1.0
_FUTILE_SESSIONS = 2  # after this many sessions in a row without a line, the store is read instead
_HISTORY_SECONDS = 2.0
_LONGEST_IDLE_SECONDS = 300.0
_LONGEST_TURN_SECONDS = 0.02


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
class LiveLog:
    """Follow the live log of one job.

    Args:
        source: The log.
        delivery: Receives the lines.
        store: Read wherever the live log has a hole.
        journal: Where to log for the user.
        pace: Time limits and intervals.
        now_ns: Returns the time, in nanoseconds since the epoch; it may differ from the platform's.

    Attributes:
        lag: How late lines arrive.
    """

    source: LogSource
    delivery: Delivery
    store: StoredLog
    journal: Journal
    pace: Pace = field(default_factory=Pace)
    now_ns: Callable[[], int] = time.time_ns
    lag: Lag = field(default_factory=Lag)

    async def follow(self) -> None:
        """Follow the live log until the last wanted line, or until the token is refused.

        A lost connection is reconnected where it broke.
        """
        delivery, wait, futile = self.delivery, _FIRST_RECONNECT_SECONDS, 0
        while not (self.store.refused or delivery.ended):
            before = delivery.ledger.total
            try:
                why = await self._sessions()
            except (UnauthorizedError, ForbiddenError) as error:
                self.store.refuse(error)
                return
            except CplnError as error:
                why = str(error)
            self.journal.debug(Area.LOGS, f"The live log is interrupted: {why}")
            futile = 0 if delivery.ledger.total > before else futile + 1
            wait = _FIRST_RECONNECT_SECONDS if not futile else min(wait * 2, self.pace.poll)
            if futile >= _FUTILE_SESSIONS and await self._polled(why):
                wait = min(_LEAST_POLL_SECONDS, self.pace.poll)
            delivery.tally.reconnects += not delivery.ended
            await anyio.sleep(0 if delivery.ended else wait)

    async def _polled(self, why: str) -> bool:
        """Read the stored log because there is no live one; return whether there were new lines.

        A logs service supports a limited number of live logs at a time and may close a further one
        at once. Fewer live logs than jobs are therefore not unusual. Each job without one polls the
        store, and checks each time whether there is room by now.
        """
        if self.source.report_once("no live log"):
            self.journal.warning(
                Area.LOGS,
                "There is no live log for this job now"
                f" ({why or 'the service closed it at once'}); its lines are read from the stored"
                f" log at least every {self.pace.poll:g} s. The same may apply to other jobs of"
                " this process",
            )
        return bool(await self.store.catch_up(self.delivery.resume_ns))

    async def _sessions(self) -> str:
        """Read one connection after another until one breaks; return why it broke.

        Each connection is opened before the previous one is closed.
        """
        current = AsyncExitStack()
        try:
            session = await self._connect(current)
            while await self._is_old_after_reading(session):
                following = AsyncExitStack()
                try:
                    session = await self._connect(following)
                except CplnError as error:
                    self.journal.debug(
                        Area.LOGS,
                        f"Keeping the live log, a new connection could not be made: {error}",
                    )
                    session.rotate_at = loop_time() + self.pace.idle
                    continue
                replaced, current = current, following
                await replaced.aclose()
            return session.tail.closed
        finally:
            await current.aclose()

    async def _connect(self, stack: AsyncExitStack) -> _Session:
        tail = await stack.enter_async_context(self.source.open_tail(self.delivery.resume_ns))
        now = loop_time()
        return _Session(
            tail, self.delivery.ledger.look(), now, self.now_ns(), now + self.pace.rotate
        )

    async def _is_old_after_reading(self, session: _Session) -> bool:
        """Read a connection; return true if it is due for replacement, false if it is over."""
        idle = self.pace.idle
        while not self.delivery.ended:
            try:
                arrival = await session.tail.receive(
                    max(0.0, min(idle, session.rotate_at - loop_time()))
                )
            except TimeoutError:
                if loop_time() >= session.rotate_at:
                    return True
                if await self._is_deaf():
                    return False
                idle = min(idle * 2, _LONGEST_IDLE_SECONDS)
                continue
            if arrival is None:
                return False
            began, idle = loop_time(), self.pace.idle
            await self._take(session, arrival)
            if loop_time() - began > _LONGEST_TURN_SECONDS:
                # Messages that are already waiting would keep every other task from running.
                await anyio.lowlevel.checkpoint()
            if loop_time() >= session.rotate_at:
                return True
        return False

    async def _take(self, session: _Session, arrival: Arrival) -> None:
        delivery = self.delivery
        if session.look.repeats(arrival.id):
            # The store knows whether these lines were printed once or twice.
            await self.store.catch_up(delivery.resume_ns)
            return
        frame = arrival.frame
        if frame is None:
            self.journal.debug(Area.LOGS, "The live log sent an unreadable message")
            if await self.store.catch_up(delivery.resume_ns) is None:
                delivery.tally.miss(Gap(GapKind.UNREADABLE))
            return
        batches = in_order(frame.batches)
        if frame.dropped:
            await self._fetch_dropped(frame)
        elif (
            batches
            and not session.has_shown
            and self._may_be_history(session, batches[0].stamps[0])
        ):
            # Of the lines stored before, a connection shows only the newest.
            await self.store.catch_up(delivery.resume_ns)
        session.has_shown = session.has_shown or bool(batches)
        if batches and (newest_ns := batches[-1].stamps[-1]) >= session.connected_ns:
            self.lag.note(self.now_ns() - newest_ns)  # an older line was not late, this reader was
        delivery.note_late(batches)
        delivery.take(session.look, batches)

    def _may_be_history(self, session: _Session, oldest_ns: int) -> bool:
        """Whether a line may be from before the connection; this machine's clock may be wrong."""
        return (
            oldest_ns <= session.connected_ns or loop_time() - session.connected < _HISTORY_SECONDS
        )

    async def _fetch_dropped(self, frame: Frame) -> None:
        """Read what the service left out before anything newer is delivered."""
        delivery = self.delivery
        oldest_ns = max(delivery.since_ns, min(frame.dropped))
        delivery.tally.report(max(delivery.since_ns, ns) for ns in frame.dropped)
        self.journal.debug(
            Area.LOGS,
            f"The live log left out {len(frame.dropped)} lines, they are read from the store",
        )
        await self.store.catch_up(max(delivery.floor_ns, min(oldest_ns, delivery.resume_ns)))

    async def _is_deaf(self) -> bool:
        """Ask the store whether the live log kept something back; lines in transit do not count."""
        before = self.delivery.ledger.total
        await self.store.catch_up(self.delivery.resume_ns, self.now_ns() - OVERLAP_NS)
        if self.delivery.ledger.total > before:
            self.journal.debug(Area.LOGS, "The live log has fallen silent, reconnecting")
            return True
        return False
