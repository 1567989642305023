import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpln_flows.model.presence import Absence, Sighting

SHOWN, ABSENT, UNREAD = Sighting.SHOWN, Sighting.ABSENT, Sighting.UNREAD
SEVEN = Absence(looks=7, since=10.0)


@pytest.mark.parametrize(
    ("command", "execution", "last_line", "then"),
    [
        pytest.param(ABSENT, ABSENT, None, Absence(8, 10.0), id="nothing-shows-it"),
        pytest.param(ABSENT, ABSENT, 9.0, Absence(8, 10.0), id="its-last-line-is-older"),
        pytest.param(ABSENT, ABSENT, 11.0, Absence(1, 20.0), id="it-has-written-a-line-since"),
        pytest.param(ABSENT, SHOWN, None, Absence(), id="its-execution-is-listed"),
        pytest.param(SHOWN, ABSENT, None, Absence(), id="its-command-is-found"),
        pytest.param(UNREAD, SHOWN, None, Absence(), id="presence-beside-what-cannot-be-read"),
        pytest.param(ABSENT, UNREAD, None, SEVEN, id="the-deployment-cannot-be-read"),
        pytest.param(UNREAD, ABSENT, None, SEVEN, id="the-command-cannot-be-read"),
        pytest.param(UNREAD, UNREAD, 11.0, Absence(), id="a-line-while-nothing-can-be-read"),
    ],
)
def test_presence_anywhere_outweighs_absence(command, execution, last_line, then) -> None:
    assert SEVEN.after(command=command, execution=execution, last_line=last_line, now=20.0) == then


@pytest.mark.parametrize(
    ("absence", "is_loss"),
    [
        pytest.param(Absence(), False, id="it-was-just-seen"),
        pytest.param(Absence(5, 20.0), True, id="long-and-often"),
        pytest.param(Absence(5, 20.1), False, id="often-but-not-long"),
        pytest.param(Absence(4, 0.0), False, id="long-but-by-few-looks"),
    ],
)
def test_loss_takes_time_and_looks(absence, *, is_loss) -> None:
    assert absence.is_loss(now=200.0, lost_after_seconds=180.0) is is_loss


@given(
    st.lists(
        st.tuples(st.sampled_from(Sighting), st.sampled_from(Sighting), st.booleans()), max_size=40
    )
)
def test_recent_sign_of_life_is_no_loss(looks) -> None:
    absence, last_line, seen_at = Absence(), None, 0.0
    for now, (command, execution, has_written) in enumerate(looks, 1):
        last_line = float(now) if has_written else last_line
        absence = absence.after(
            command=command, execution=execution, last_line=last_line, now=float(now)
        )
        if SHOWN in (command, execution) or has_written:
            seen_at = float(now)
        assert not absence.is_loss(now=now, lost_after_seconds=now - seen_at + 1)
