"""When a container that has ended is started again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpln_flows.emulator.serving.restarts import delay_seconds


@pytest.mark.parametrize(
    ("restarts", "expected"),
    [(0, 0.0), (1, 10.0), (2, 20.0), (3, 40.0), (5, 160.0), (6, 300.0), (7, 300.0)],
)
def test_each_delay_doubles_the_last(restarts, expected) -> None:
    assert delay_seconds(restarts, 10.0) == expected


def test_no_first_delay_means_none_ever() -> None:
    assert [delay_seconds(restarts, 0.0) for restarts in (0, 1, 50)] == [0.0, 0.0, 0.0]


@given(st.integers(0, 10**9), st.floats(0, 1e9))
def test_delays_grow_within_five_minutes(restarts, first_seconds) -> None:
    now, later = (delay_seconds(number, first_seconds) for number in (restarts, restarts + 1))
    assert 0.0 <= now <= later <= 300.0
