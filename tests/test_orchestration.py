"""What the history of a flow run tells of its containers."""

from datetime import UTC, datetime, timedelta

import pytest
from prefect.client.schemas.objects import State, StateType

from cpln_flows import orchestration

BEGUN = datetime(2026, 1, 10, 12, tzinfo=UTC)
NAMES = {"S": "SCHEDULED", "P": "PENDING", "R": "RUNNING", "F": "FAILED", "X": "CRASHED", "Z": "PAUSED", "C": "CANCELLING"}


def _history(letters: str) -> list[State]:
    states = [State(type=StateType[NAMES[x]], timestamp=BEGUN + timedelta(seconds=n)) for n, x in enumerate(letters)]
    return states[::-1]


@pytest.mark.parametrize(
    ("letters", "number", "has_begun"),
    [
        pytest.param("SP", 0, False, id="the-first-container"),
        pytest.param("SPPP", 0, False, id="submitting-and-waiting-are-pending-too"),
        pytest.param("SPPR", 0, True, id="it-runs"),
        pytest.param("SPRSR", 0, True, id="a-retry-inside-of-the-container"),
        pytest.param("SPRSRC", 0, True, id="cancelled-after-such-a-retry"),
        pytest.param("SPX", 0, False, id="it-crashed-before-the-flow"),
        pytest.param("SPXSP", 1, False, id="run-again-after-that"),
        pytest.param("SPRXSPP", 1, False, id="run-again-after-a-crash"),
        pytest.param("SPRXSPC", 1, False, id="cancelled-before-it-begins-again"),
        pytest.param("SPRZSPR", 1, True, id="resumed-after-a-suspension"),
        pytest.param("SPRFP", 1, False, id="made-pending-by-force"),
        pytest.param("SPSP", 1, False, id="sent-back-and-taken-again"),
        pytest.param("R", 0, True, id="a-run-without-a-worker"),
        pytest.param("", 0, False, id="nothing-is-known"),
    ],
)
def test_the_history_of_a_run_tells_its_container(letters, number, has_begun) -> None:
    assert orchestration.container_attempt(_history(letters)) == number
    assert orchestration.has_begun(_history(letters)) is has_begun
