import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpln_flows.model.lifecycle import Stage, hinted_delay, is_terminal, poll_delay


@pytest.mark.parametrize(
    ("stage", "terminal"),
    [
        ("pending", False),
        ("running", False),
        ("cancellation-requested", False),
        ("cancelled", True),
        ("completed", True),
        ("failed", True),
        pytest.param("something-new", False, id="an-unknown-stage-is-active"),
    ],
)
def test_only_known_ends_are_ends(stage, *, terminal) -> None:
    assert is_terminal(stage) is terminal


def test_every_stage_of_the_platform_is_known() -> None:
    assert {str(stage) for stage in Stage} == {
        "pending",
        "running",
        "cancellation-requested",
        "cancelled",
        "completed",
        "failed",
    }


@given(st.floats(0, 1e6), st.floats(0.5, 600))
def test_a_look_is_never_later_than_the_ceiling_and_a_hint_never_makes_it_later(
    age, ceiling
) -> None:
    assert 0 < hinted_delay(age, ceiling) <= poll_delay(age, ceiling) <= ceiling


def test_a_long_job_costs_one_look_for_each_interval() -> None:
    assert poll_delay(3600, 5) == hinted_delay(3600, 5) == 5
