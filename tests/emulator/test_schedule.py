from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpln_flows.emulator.schedule import InvalidScheduleError, parse_schedule

START = datetime(2026, 1, 10, 10, 7, 30, tzinfo=UTC)  # a Saturday

FIRST, LAST = datetime(2024, 1, 1), datetime(2030, 1, 1)  # noqa: DTZ001 - Hypothesis adds the zone


@pytest.mark.parametrize(
    ("text", "following"),
    [
        pytest.param("* * * * *", datetime(2026, 1, 10, 10, 8, tzinfo=UTC), id="every-minute"),
        pytest.param("*/15 * * * *", datetime(2026, 1, 10, 10, 15, tzinfo=UTC), id="steps"),
        pytest.param(
            "0 6 * * MON-FRI", datetime(2026, 1, 12, 6, 0, tzinfo=UTC), id="names-and-ranges"
        ),
        pytest.param("30 9 1 * *", datetime(2026, 2, 1, 9, 30, tzinfo=UTC), id="day-of-month"),
        pytest.param(
            "0 0 13 * FRI", datetime(2026, 1, 13, 0, 0, tzinfo=UTC), id="either-day-field-fits"
        ),
        pytest.param("0 0 29 2 *", datetime(2028, 2, 29, 0, 0, tzinfo=UTC), id="leap-day"),
        pytest.param(
            "0 0 * * 7", datetime(2026, 1, 11, 0, 0, tzinfo=UTC), id="sunday-is-seven-too"
        ),
        pytest.param("@hourly", datetime(2026, 1, 10, 11, 0, tzinfo=UTC), id="macro"),
        pytest.param("0 0 30 2 *", None, id="a-day-that-never-comes"),
    ],
)
def test_the_next_minute_fits(text, following):
    assert parse_schedule(text).next_after(START) == following


@pytest.mark.fact("F197")
@pytest.mark.parametrize(
    ("text", "following"),
    [
        # From Saturday the 10th on: either the Sunday, an odd day, or the Monday.
        pytest.param("0 0 */2 * MON", datetime(2026, 1, 11, tzinfo=UTC), id="stepped-day"),
        pytest.param("0 0 14 * */3", datetime(2026, 1, 11, tzinfo=UTC), id="stepped-weekday"),
        pytest.param("0 0 */1 * MON", datetime(2026, 1, 12, tzinfo=UTC), id="step-of-one"),
        pytest.param("0 0 ? * MON", datetime(2026, 1, 12, tzinfo=UTC), id="question-mark"),
        pytest.param("0 0 5,* * MON", datetime(2026, 1, 12, tzinfo=UTC), id="star-in-a-list"),
        pytest.param("0 0 * * MON", datetime(2026, 1, 12, tzinfo=UTC), id="plain-star"),
        pytest.param("0 0 */2 * *", datetime(2026, 1, 11, tzinfo=UTC), id="beside-a-star"),
    ],
)
def test_step_in_a_day_field_restricts(text, following):
    assert parse_schedule(text).next_after(START) == following


@pytest.mark.parametrize(
    "text",
    [
        "",
        "* * * *",
        "60 * * * *",
        "* * 0 * *",
        "5-1 * * * *",
        "*/0 * * * *",
        "a * * * *",
        "* * * * * *",
    ],
)
def test_no_cron_expression_is_refused(text):
    with pytest.raises(InvalidScheduleError):
        parse_schedule(text)


@given(
    st.integers(0, 59),
    st.integers(0, 23),
    st.datetimes(FIRST, LAST, timezones=st.just(UTC)),
)
def test_a_daily_schedule_comes_within_a_day(minute, hour, moment):
    following = parse_schedule(f"{minute} {hour} * * *").next_after(moment)
    assert (following.minute, following.hour) == (minute, hour)
    assert 0 < (following - moment).total_seconds() <= 86_400
