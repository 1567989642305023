import itertools
from datetime import timedelta

import pytest

from cpln_flows.reconcile.cadence import Cadence
from tests.reconcile.views import NOW

MINUTE = timedelta(seconds=60)


def run_once(started, *, interval, cycles, successor, cycle_takes):
    """The beginnings of the cycles of one run, and its end."""
    cadence = Cadence(started, interval, cycles)
    began, now = [started], started + cycle_takes
    while (due := cadence.next_cycle(began[-1], len(began), now, successor)) is not None:
        began.append(due)
        now = due + cycle_takes
    return began, now


@pytest.mark.parametrize("minutes", [1, 2, 5, 10, 15])
@pytest.mark.parametrize("cycles", [1, 3, 10, 100])
@pytest.mark.parametrize("start_seconds", [0, 14, 38, 55])
@pytest.mark.parametrize("cycle_seconds", [0.5, 4])
def test_over_an_hour_no_two_cycles_lie_more_than_two_intervals_apart(
    minutes, cycles, start_seconds, cycle_seconds
) -> None:
    """Begin each scheduled run when it is due and the last one is over; then start a container."""
    began, free = [], NOW
    every = timedelta(minutes=minutes)
    for number in range(60 // minutes):
        scheduled = NOW + number * every
        started = max(scheduled, free) + timedelta(seconds=start_seconds)
        cycle = timedelta(seconds=cycle_seconds)
        beginnings, free = run_once(
            started, interval=MINUTE, cycles=cycles, successor=scheduled + every, cycle_takes=cycle
        )
        began += beginnings
    gaps = [later - earlier for earlier, later in itertools.pairwise(began)]
    assert max(gaps) <= 2 * MINUTE
    assert min(gaps) > timedelta(0)


def test_without_a_successor_the_count_of_cycles_says_when_it_ends() -> None:
    began, _ = run_once(
        NOW, interval=MINUTE, cycles=3, successor=None, cycle_takes=timedelta(seconds=1)
    )
    assert began == [NOW, NOW + MINUTE, NOW + 2 * MINUTE]


def test_a_run_whose_successor_waits_looks_once() -> None:
    began, _ = run_once(
        NOW, interval=MINUTE, cycles=10, successor=NOW - MINUTE, cycle_takes=timedelta(seconds=1)
    )
    assert began == [NOW]


def test_a_cycle_that_takes_longer_than_the_interval_is_an_overrun() -> None:
    cadence = Cadence(NOW, MINUTE, 10)
    assert cadence.overrun(NOW, NOW + MINUTE) is None
    assert cadence.overrun(NOW, NOW + 2 * MINUTE) == MINUTE
    assert cadence.next_cycle(NOW, 1, NOW + 2 * MINUTE, None) == NOW + 2 * MINUTE
