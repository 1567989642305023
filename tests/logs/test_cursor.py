import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpln_flows.errors import ConfigurationError
from cpln_flows.logs import cursor as module
from cpln_flows.logs.cursor import Cursor, Ledger
from cpln_flows.model.log_lines import Batch, StreamKey

KEY = StreamKey("r", "main", "stdout")
OTHER = StreamKey("r", "side", "stdout")


def _batch(*stamps: int, key: StreamKey = KEY) -> Batch:
    return Batch(key, list(stamps), [f"line {ns}" for ns in stamps])


def _ledger(*stamps: int, cursor: Cursor | None = None) -> Ledger:
    ledger = Ledger(cursor)
    ledger.look().new(_batch(*stamps))
    return ledger


def _new_after(cursor: Cursor, *stamps: int) -> list[int]:
    return Ledger(Cursor.parse(str(cursor))).look().new(_batch(*stamps)).stamps


@pytest.mark.parametrize(
    "place",
    [
        pytest.param([0, [[2**63, 1, 1]]], id="a-time-that-no-line-has"),
        pytest.param([0, [[-1, 1, 1]]], id="a-time-before-all"),
        pytest.param([0, [[1, 2**32, 1]]], id="a-mark-that-no-line-has"),
        pytest.param([0, [[1, -1, 1]]], id="a-mark-below-0"),
        pytest.param([0, [[1, 1, 10**12]]], id="so-many-lines-that-counting-them-would-not-end"),
        pytest.param([0, [[n, 1, 999_999] for n in range(9)]], id="so-many-in-all"),
        pytest.param([float("inf"), []], id="infinity"),
        pytest.param([2**63, []], id="a-begin-after-all"),
    ],
)
def test_a_cursor_with_numbers_that_no_log_has_is_refused(place) -> None:
    with pytest.raises(ConfigurationError, match="from_cursor: not a cursor"):
        Cursor.parse(json.dumps({"from_ns": 0, "places": [[KEY, *place]]}))


def test_a_cursor_holds_what_is_not_sure_and_at_least_the_last_lines(monkeypatch) -> None:
    monkeypatch.setattr(module, "_KEPT_LINES", 2)
    ledger = _ledger(*range(10, 20))
    assert _new_after(ledger.cursor(), *range(5, 20)) == [5, 6, 7, 8, 9]
    assert _new_after(ledger.cursor(15), *range(5, 20)) == []
    assert len(ledger.cursor(15).places[KEY].emitted) == 5
    assert len(ledger.cursor(99).places[KEY].emitted) == 2


def test_a_cursor_stays_small_unless_it_is_known_what_is_missing(monkeypatch) -> None:
    monkeypatch.setattr(module, "_KEPT_LINES", 2)
    monkeypatch.setattr(module, "_MOST_KEPT_LINES", 4)
    ledger = _ledger(*range(10, 20))
    assert len(ledger.cursor().places[KEY].emitted) == 4
    assert _new_after(ledger.cursor(12, is_sure=False), *range(10, 20), 20) == [20]
    assert len(ledger.cursor(12, is_sure=False).places[KEY].emitted) == 8


def test_a_look_tells_the_first_line_that_was_not_delivered_and_delivers_none() -> None:
    ledger = _ledger(1, 2, 4, 5)
    assert ledger.look().lacks(_batch(1, 2, 4, 5)) is None
    assert ledger.look().lacks(_batch(1, 2, 3, 4, 5)) == 3
    assert ledger.look().lacks(_batch(1, 1)) == 1
    assert ledger.look().lacks(_batch(9, key=OTHER)) == 9
    assert ledger.look().lacks(_batch()) is None
    assert ledger.total == 4


def test_who_goes_on_after_a_read_that_began_later_gets_nothing_older() -> None:
    first = _ledger(1000, cursor=Cursor(since_ns=900))
    assert first.cursor().since_ns == 900
    assert Ledger(Cursor.parse(str(first.cursor()))).since_ns == 900


def test_merged_cursors_of_readers_one_after_the_other_are_that_of_the_second() -> None:
    first = _ledger(*range(10, 20))
    second = _ledger(*range(20, 30), cursor=first.cursor())
    second.settle(25)
    assert _new_after(first.cursor().merge(second.cursor()), *range(10, 31)) == [30]
    assert first.cursor().merge(second.cursor()) == second.cursor().merge(first.cursor())


def test_merged_cursors_of_readers_of_two_parts_do_not_hide_the_lines_between() -> None:
    first = _ledger(1, 2)
    second = _ledger(1000, 1001, cursor=Cursor(since_ns=1000))
    second.settle(1001)
    merged = first.cursor().merge(second.cursor())
    assert _new_after(merged, 1, 2, 3, 500, 1001, 1002) == [3, 500, 1002]
    assert merged == second.cursor().merge(first.cursor())


STAMPS = st.lists(st.tuples(st.integers(1, 30), st.sampled_from("ab")), max_size=40)


@given(st.lists(STAMPS, max_size=4), st.booleans())
def test_many_late_lines_are_noted_as_each_of_them_alone(batches, is_ordered) -> None:
    together, alone = Ledger(), Ledger()
    for drawn in batches:
        lines = sorted(drawn, key=lambda line: line[0]) if is_ordered else drawn
        whole = Batch(KEY, [ns for ns, _ in lines], [text for _, text in lines])
        look, new = alone.look(), together.look().new(whole)
        each = [look.new(Batch(KEY, [ns], [text])) for ns, text in lines]
        assert [
            (ns, text) for one in each for ns, text in zip(one.stamps, one.lines, strict=True)
        ] == list(zip(new.stamps, new.lines, strict=True))
        assert together.cursor() == alone.cursor()
        assert together.newest_ns == alone.newest_ns
