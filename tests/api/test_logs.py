import pytest

from cpln_flows.api.logs import join_up
from cpln_flows.model.log_lines import Batch, StreamKey

OUT, SIDE = StreamKey("r", "main", "stdout"), StreamKey("r", "side", "stdout")


def _of(key: StreamKey, *lines: str) -> Batch:
    return Batch(key, [1] * len(lines), list(lines))


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        pytest.param([_of(OUT, "a", "b", "c")], [_of(OUT, "c", "d")], True, id="one-line-is-among-both"),
        pytest.param([_of(OUT, "a", "b")], [_of(OUT, "c", "d")], False, id="there-may-be-more-between"),
        pytest.param([_of(OUT, "x", "x")], [_of(OUT, "x", "x")], False, id="lines-alike-may-be-any-of-their-like"),
        pytest.param([_of(OUT, "a", "b", "a")], [_of(OUT, "b", "c")], False, id="a-text-that-repeats-itself"),
        pytest.param([_of(OUT, "a", "b")], [_of(OUT, "b", "c", "c")], False, id="or-does-later"),
        pytest.param([_of(OUT, "a"), _of(SIDE, "b")], [_of(OUT, "a"), _of(SIDE, "c")], False, id="each-stream-for-itself"),
        pytest.param([_of(OUT, "a"), _of(SIDE, "b")], [_of(OUT, "a"), _of(SIDE, "b", "c")], True, id="both-streams"),
        pytest.param([_of(OUT, "b"), _of(SIDE, "b")], [_of(SIDE, "b")], False, id="a-stream-that-only-one-shows"),
    ],
)
def test_whether_the_first_and_the_last_lines_of_one_time_are_all(first, last, expected) -> None:
    assert join_up(first, last) is expected
