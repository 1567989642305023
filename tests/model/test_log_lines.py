import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpln_flows.errors import UnexpectedResponseError
from cpln_flows.model.links import CommandRef
from cpln_flows.model.log_lines import Ledger, LogEntry, StreamKey, parse_range, parse_tail, render, selector

KEY = StreamKey("command-9b38-x7k2p", "main", "stdout")
LABELS = {"replica": KEY.replica, "container": KEY.container, "stream": KEY.stream}


def _frame(*lines: tuple[int, str], **more: object) -> dict[str, object]:
    return {"streams": [{"stream": LABELS, "values": [[str(ns), line] for ns, line in lines]}], **more}


def _entries(*lines: tuple[int, str]) -> list[LogEntry]:
    return [LogEntry(ns, line, KEY) for ns, line in lines]


def test_the_selector_names_one_job_at_one_location() -> None:
    ref = CommandRef("acme", "dev", "w", "9b38")
    assert selector(ref, "aws-eu") == '{gvc="dev", location="aws-eu", workload="w", replica=~"command-9b38.+"}'


def test_a_frame_is_read_in_the_order_of_time_over_its_streams() -> None:
    other = {**LABELS, "container": "sidecar"}
    message = _frame((1, "a"), (3, "c"))
    message["streams"].append({"stream": other, "values": [["2", "b"]]})
    assert [entry.line for entry in parse_tail(message).entries] == ["a", "b", "c"]


@pytest.mark.parametrize(("dropped", "count"), [(None, 0), ([], 0), ([{}, {}], 2)])
def test_lines_that_the_service_left_out_are_counted(dropped, count) -> None:
    assert parse_tail(_frame(dropped_entries=dropped)).dropped == count


@pytest.mark.parametrize(
    "message",
    [
        None,
        [],
        "x",
        {"streams": "x"},
        {"streams": [1]},
        {"streams": [{"stream": {}}]},
        {"streams": [{"stream": {}, "values": [["x", "y"]]}]},
    ],
)
def test_a_message_of_another_form_is_an_error_of_ours(message) -> None:
    with pytest.raises(UnexpectedResponseError):
        parse_tail(message)


@pytest.mark.parametrize("answer", [None, {}, {"data": None}, {"data": {"result": [{"values": []}]}}])
def test_a_range_answer_of_another_form_is_an_error_of_ours(answer) -> None:
    with pytest.raises(UnexpectedResponseError):
        parse_range(answer)


def test_a_line_is_rendered_with_its_time_in_utc() -> None:
    assert render(LogEntry(1_768_039_212_000_000_001, "x - y", KEY)) == "2026-01-10T10:00:12.000000+00:00 - x - y"


def test_a_second_look_delivers_only_what_the_first_has_missed() -> None:
    ledger = Ledger()
    first = list(ledger.view().new(_entries((1, "a"), (3, "c"))))
    second = list(ledger.view().new(_entries((1, "a"), (2, "b"), (3, "c"), (4, "d"))))
    assert [entry.line for entry in first + second] == ["a", "c", "b", "d"]


def test_the_same_line_printed_twice_at_one_time_is_two_lines() -> None:
    ledger = Ledger()
    assert len(list(ledger.view().new(_entries((1, "x"), (1, "x"))))) == 2
    assert len(list(ledger.view().new(_entries((1, "x"), (1, "x"), (1, "x"))))) == 1


LINES = st.lists(st.tuples(st.integers(1, 6), st.sampled_from("ab")), max_size=12).map(sorted)


@given(LINES, st.lists(st.tuples(st.integers(0, 7), st.integers(0, 12)), max_size=5))
def test_whatever_was_seen_before_a_whole_look_makes_delivery_exactly_once(lines, looks) -> None:
    """A look shows the lines from some time on, up to some number of them, as a connection that breaks does."""
    ledger, delivered = Ledger(), []
    for since, count in looks:
        shown = [line for line in lines if line[0] >= since][:count]
        delivered += ledger.view().new(_entries(*shown))
    delivered += ledger.view().new(_entries(*lines))
    assert sorted((entry.ns, entry.line) for entry in delivered) == lines
    assert ledger.total == len(lines)
