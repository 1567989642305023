"""The platform's time: real, or moved by hand.

Everything on the platform that waits uses a clock of this module.

Timers call plain functions in the event loop that was running when they were set, because that loop
owns the platform's state. They never block and start no thread.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import heapq
import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

NANOSECONDS = 1_000_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DEFAULT_START = datetime(2026, 1, 10, 10, 0, tzinfo=UTC)


def to_ns(seconds: float) -> int:
    """Convert seconds to nanoseconds."""
    return round(seconds * NANOSECONDS)


def datetime_to_ns(moment: datetime) -> int:
    """Convert an aware moment to nanoseconds since 1970, without the rounding of a float."""
    delta = moment - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * NANOSECONDS + delta.microseconds * 1000


def ns_to_datetime(moment_ns: int) -> datetime:
    """Convert nanoseconds since 1970 to an aware moment, truncated to microseconds."""
    seconds, rest = divmod(moment_ns, NANOSECONDS)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest // 1000)


def iso(moment_ns: int) -> str:
    """Format a moment as the platform does: ISO 8601 with milliseconds and ``Z``."""
    return ns_to_datetime(moment_ns).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class TooManyTimersError(RuntimeError):
    """More timers fell due in a span of time than was allowed."""


class Timer(Protocol):
    """A pending call."""

    def cancel(self) -> None:
        """Cancel the call; harmless when it has happened."""


class Clock(Protocol):
    """The interface of the platform's time."""

    def now(self) -> datetime:
        """Return the current time, aware and in UTC."""

    def time_ns(self) -> int:
        """Return the current time in nanoseconds since 1970."""

    def call_at(self, when: datetime, callback: Callable[[], None]) -> Timer:
        """Call back at a moment; immediately, from the loop, if it has passed."""

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Call back after some seconds."""


class RealClock:
    """The machine's time. Timers need a running event loop."""

    def now(self) -> datetime:
        """Return the current time, aware and in UTC."""
        return datetime.now(UTC)

    def time_ns(self) -> int:
        """Return the current time in nanoseconds since 1970."""
        return time.time_ns()

    def call_at(self, when: datetime, callback: Callable[[], None]) -> Timer:
        """Call back at a moment; immediately, from the loop, if it has passed."""
        return self.call_later((when - self.now()).total_seconds(), callback)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Call back after some seconds."""
        return asyncio.get_running_loop().call_later(max(seconds, 0.0), callback)


@dataclass(slots=True)
class _ManualTimer:
    callback: Callable[[], None]
    loop: asyncio.AbstractEventLoop | None
    cancelled: bool = field(default=False)

    def cancel(self) -> None:
        self.cancelled = True

    def fire(self) -> None:
        if not self.cancelled:
            self.callback()


class ManualClock:
    """A time that stands still until ``advance`` moves it.

    ``advance`` fires the timers in order, each at its own moment, and returns when they have run.
    It may be called from any thread: a timer runs in the event loop in which it was set.
    """

    def __init__(self, start: datetime = _DEFAULT_START) -> None:
        self._now_ns = datetime_to_ns(start)
        self._timers: list[tuple[int, int, _ManualTimer]] = []
        self._order = itertools.count()
        self._lock = threading.Lock()
        self._advancing = False

    def now(self) -> datetime:
        """Return the current time, aware and in UTC."""
        return ns_to_datetime(self._now_ns)

    def time_ns(self) -> int:
        """Return the current time in nanoseconds since 1970."""
        return self._now_ns

    def call_at(self, when: datetime, callback: Callable[[], None]) -> Timer:
        """Call back when the clock is moved to a moment or past it."""
        return self._set(datetime_to_ns(when), callback)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Call back when the clock has been moved by some seconds."""
        return self._set(self._now_ns + to_ns(max(seconds, 0.0)), callback)

    def advance(self, seconds: float, *, most: int | None = None) -> None:
        """Move the time forward and run what falls due, in order.

        After ``most`` timers, stop with an error.
        """
        target_ns = self._now_ns + to_ns(seconds)
        self._advancing = True
        ran = 0
        while (due := self._pop(target_ns)) is not None:
            moment_ns, timer = due
            self._now_ns = max(self._now_ns, moment_ns)
            _run_in_its_loop(timer)
            ran += 1
            if ran == most:
                self._advancing = False
                raise TooManyTimersError(
                    f"{most} timers have fallen due by {self.now().isoformat()}"
                )
        self._now_ns = target_ns

    def _set(self, moment_ns: int, callback: Callable[[], None]) -> Timer:
        timer = _ManualTimer(callback, running_loop())
        with self._lock:
            if moment_ns > self._now_ns or timer.loop is None or self._advancing:
                heapq.heappush(self._timers, (moment_ns, next(self._order), timer))
                return timer
        # As on a real clock: what is due happens soon, even if nobody moves the time.
        timer.loop.call_soon(timer.fire)
        return timer

    def _pop(self, target_ns: int) -> tuple[int, _ManualTimer] | None:
        with self._lock:
            if not self._timers or self._timers[0][0] > target_ns:
                self._advancing = False
                return None
            moment_ns, _, timer = heapq.heappop(self._timers)
            return moment_ns, timer


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the event loop that runs in this thread, if there is one."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _run_in_its_loop(timer: _ManualTimer) -> None:
    loop = timer.loop
    if loop is not None and loop.is_closed():
        return
    if loop is None or not loop.is_running() or loop is running_loop():
        timer.fire()
        return
    done: concurrent.futures.Future[None] = concurrent.futures.Future()

    def fire() -> None:
        try:
            timer.fire()
        except BaseException as error:  # noqa: BLE001 - raised in the caller of advance
            done.set_exception(error)
        else:
            done.set_result(None)

    loop.call_soon_threadsafe(fire)
    done.result()
