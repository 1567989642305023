import pytest

from cpln_flows.logs.lag import End, Lag, rests_at
from cpln_flows.model.time import NS

ENDED_NS = 1000 * NS
SETTLE = 5.0


@pytest.mark.parametrize(
    ("newest", "last_arrival", "lag", "expected"),
    [
        pytest.param(None, None, 0, 105.0, id="no-line-at-all-gets-the-whole-time"),
        pytest.param(
            -1.0,
            99.2,
            0.01,
            105.0,
            id="silent-before-its-end-gets-the-whole-time-however-quick-its-lines-were",
        ),
        pytest.param(-0.31, 99.8, 0.01, 105.0, id="just-not-the-last-moment"),
        pytest.param(
            -0.1,
            99.95,
            0.01,
            100.15,
            id="after-a-line-of-the-last-moment-as-long-as-it-was-before-the-end",
        ),
        pytest.param(-0.1, 99.5, 0.0, 100.05, id="which-may-be-over"),
        pytest.param(-0.1, 102.0, 0.01, 102.2, id="also-if-that-line-has-come-late"),
        pytest.param(-0.1, 99.95, 1.0, 102.0, id="a-lag-makes-it-longer"),
        pytest.param(-1.0, 99.2, 4.0, 108.0, id="and-the-whole-time-too"),
        pytest.param(-1.0, 99.2, 60.0, 115.0, id="but-not-without-end"),
        pytest.param(0.2, 99.98, 0.0, 100.08, id="the-platforms-clocks-differ-a-little"),
    ],
)
def test_how_long_late_lines_are_waited_for(newest, last_arrival, lag, expected) -> None:
    newest_ns = 0 if newest is None else ENDED_NS + int(newest * NS)
    end, known = End(100.0, ENDED_NS), Lag(longest_ns=int(lag * NS))
    found = rests_at(end, newest_ns=newest_ns, last_arrival=last_arrival, lag=known, settle=SETTLE)
    assert found == pytest.approx(expected)


def test_where_the_platform_does_not_say_when_the_job_ended_nothing_shows_that_its_log_has() -> (
    None
):
    assert (
        rests_at(End(100.0), newest_ns=ENDED_NS, last_arrival=99.9, lag=Lag(), settle=SETTLE)
        == 105.0
    )


def test_a_shorter_time_for_late_lines_shortens_the_moment_too() -> None:
    found = rests_at(
        End(100.0, ENDED_NS), newest_ns=ENDED_NS, last_arrival=100.0, lag=Lag(), settle=0.06
    )
    assert found == pytest.approx(100.06)


def test_a_stall_long_ago_is_forgotten_and_a_line_from_the_future_says_nothing() -> None:
    lag = Lag()
    lag.note(3 * NS)
    lag.note(-10 * NS)
    assert (lag.newest_ns, lag.longest_ns) == (3 * NS, 3 * NS)
    for _ in range(200):
        lag.note(0)
    assert (lag.newest_ns, lag.longest_ns < NS // 100) == (0, True)
