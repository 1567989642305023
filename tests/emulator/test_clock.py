import asyncio
import threading
from datetime import UTC, datetime, timedelta

import pytest

from cpln_flows.emulator.clock import ManualClock, RealClock, datetime_to_ns, iso, ns_to_datetime
from tests.patience import PATIENCE_SECONDS

START = datetime(2026, 1, 10, 10, 0, tzinfo=UTC)


def test_timers_fire_in_order_each_at_its_own_moment():
    clock = ManualClock(START)
    seen = []
    clock.call_later(2, lambda: seen.append(("two", clock.now())))
    clock.call_later(1, lambda: seen.append(("one", clock.now())))
    clock.advance(3)
    assert seen == [("one", START + timedelta(seconds=1)), ("two", START + timedelta(seconds=2))]
    assert clock.now() == START + timedelta(seconds=3)


def test_a_timer_set_by_a_timer_fires_in_the_same_advance():
    clock = ManualClock(START)
    seen = []
    clock.call_later(1, lambda: clock.call_later(1, lambda: seen.append(clock.now())))
    clock.advance(5)
    assert seen == [START + timedelta(seconds=2)]


def test_a_cancelled_timer_never_fires():
    clock = ManualClock(START)
    timer = clock.call_at(START + timedelta(seconds=1), lambda: pytest.fail("fired"))
    timer.cancel()
    clock.advance(2)


def test_advance_from_another_thread_runs_timers_in_their_loop():
    clock = ManualClock(START)
    threads = []

    async def main():
        clock.call_later(1, lambda: threads.append(threading.current_thread()))
        await asyncio.to_thread(clock.advance, 1)

    asyncio.run(main())
    assert threads == [threading.main_thread()]


def test_timers_of_a_closed_loop_are_forgotten():
    clock = ManualClock(START)

    async def main():
        clock.call_later(1, lambda: pytest.fail("fired"))

    asyncio.run(main())
    clock.advance(2)


def test_an_error_in_a_timer_reaches_who_moved_the_time():
    clock = ManualClock(START)

    async def main():
        clock.call_later(1, lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(clock.advance, 1)

    asyncio.run(main())


def test_real_clock_calls_back_in_the_running_loop():
    async def main():
        done = asyncio.Event()
        clock = RealClock()
        clock.call_at(clock.now() - timedelta(seconds=1), done.set)
        await asyncio.wait_for(done.wait(), PATIENCE_SECONDS)

    asyncio.run(main())


def test_moments_keep_their_microseconds():
    moment = datetime(2026, 1, 10, 21, 50, 46, 156789, tzinfo=UTC)
    assert ns_to_datetime(datetime_to_ns(moment)) == moment
    assert iso(datetime_to_ns(moment)) == "2026-01-10T21:50:46.156Z"
