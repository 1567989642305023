"""One probe of a running container, on a clock that is moved by hand."""

import asyncio

import pytest

from cpln_flows.emulator import ManualClock
from cpln_flows.emulator.executors.base import Check
from cpln_flows.emulator.serving.health import Health, Probe
from cpln_flows.emulator.serving.probing import Probing

pytestmark = pytest.mark.anyio

CHECK = Check("tcp", port=80)


class Container:
    """Answers as it is told to; remembers when it was asked, and what was found."""

    def __init__(self, *answers, passing=False, **probe):
        numbers = {"initial_delay": 5.0, "period": 10.0, "failures": 2, "successes": 1, **probe}
        self.clock = ManualClock()
        self.answers = list(answers)
        self.asked = []
        self.found = []
        self.hangs = False
        self.gave_up = False
        self.stops_at_once = False
        self._start_ns = self.clock.time_ns()
        self.probing = Probing(
            Probe(CHECK, **numbers), Health(passing), self._ask, self._found, self.clock
        )

    def _found(self, health):
        self.found.append(health)
        if self.stops_at_once:
            self.probing.stop()

    async def _ask(self, check):
        assert check == CHECK
        self.asked.append((self.clock.time_ns() - self._start_ns) / 1e9)
        if self.hangs:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.gave_up = True
                raise
        return self.answers.pop(0) if self.answers else None

    async def advance(self, seconds, times=1):
        for _ in range(times):
            self.clock.advance(seconds)
            await settle()

    @property
    def passes(self):
        return [each.is_passing for each in self.found]


async def settle():
    for _ in range(5):
        await asyncio.sleep(0)


async def test_first_check_waits_for_its_delay() -> None:
    container = Container()
    await container.advance(4.9)
    assert container.asked == []
    await container.advance(0.1)
    assert container.asked == [5.0]
    assert container.found == [Health(True, 1)]


async def test_no_delay_asks_at_once() -> None:
    container = Container(initial_delay=0)
    await settle()
    assert container.asked == [0.0]


async def test_checks_are_a_period_apart() -> None:
    container = Container()
    await container.advance(1, times=26)
    assert container.asked == [5.0, 15.0, 25.0]


async def test_row_of_failures_is_found() -> None:
    container = Container(None, "a", "b", "c", None, initial_delay=0)
    await settle()
    await container.advance(10, times=4)
    assert container.passes == [True, True, False, False, True]
    assert [each.reason for each in container.found] == ["", "a", "b", "c", ""]


async def test_successes_are_counted_to_threshold() -> None:
    container = Container(initial_delay=0, successes=3)
    await settle()
    await container.advance(10, times=2)
    assert container.passes == [False, False, True]


async def test_liveness_starts_as_passing() -> None:
    container = Container("a", "b", passing=True, initial_delay=0)
    await settle()
    await container.advance(10)
    assert container.passes == [True, False]


async def test_unready_container_is_asked_eagerly() -> None:
    container = Container("a", "b", None, initial_delay=0, eager_period=1.0)
    await settle()
    await container.advance(1, times=12)
    assert container.asked == [0.0, 1.0, 2.0, 12.0]


async def test_slow_check_delays_the_next() -> None:
    container = Container(initial_delay=0)
    container.hangs = True
    await settle()
    await container.advance(10, times=3)
    assert container.asked == [0.0]
    container.probing.stop()
    await container.probing.wait_ended()


async def test_stop_before_the_first_check() -> None:
    container = Container()
    container.probing.stop()
    await container.probing.wait_ended()
    await container.advance(60)
    assert container.asked == []


async def test_stop_between_two_checks() -> None:
    container = Container(initial_delay=0)
    await settle()
    container.probing.stop()
    await container.probing.wait_ended()
    await container.advance(60)
    assert container.asked == [0.0]


async def test_stop_gives_up_a_check() -> None:
    container = Container(initial_delay=0)
    container.hangs = True
    await settle()
    container.probing.stop()
    await container.probing.wait_ended()
    await container.advance(60)
    assert container.gave_up
    assert container.found == []
    assert container.asked == [0.0]


async def test_what_is_found_may_stop_it() -> None:
    container = Container("broken", initial_delay=0, failures=1, passing=True)
    container.stops_at_once = True
    await settle()
    await container.advance(60)
    await container.probing.wait_ended()
    assert container.found == [Health(False, -1, "broken")]
    assert container.asked == [0.0]
