import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cpln_flows.api.logs import read_frame
from cpln_flows.errors import UnexpectedResponseError
from cpln_flows.model.links import CommandRef
from cpln_flows.model.log_lines import (
    Batch,
    Frame,
    StreamKey,
    parse_range,
    parse_tail,
    render,
    selector,
)

KEY = StreamKey("command-9b38-x7k2p", "main", "stdout")
LABELS = {"replica": KEY.replica, "container": KEY.container, "stream": KEY.stream}


def _frame(*lines: tuple[int, str], **more: object) -> dict[str, object]:
    return {
        "streams": [{"stream": LABELS, "values": [[str(ns), line] for ns, line in lines]}],
        **more,
    }


def test_the_selector_names_one_job_at_one_location() -> None:
    ref = CommandRef("acme", "dev", "w", "9b38")
    assert (
        selector(ref, "aws-eu")
        == '{gvc="dev", location="aws-eu", workload="w", replica=~"command-9b38.+"}'
    )


def test_a_frame_is_read() -> None:
    assert parse_tail(_frame((1, "a"), (3, "c"))) == Frame([Batch(KEY, [1, 3], ["a", "c"])], [])


@pytest.mark.parametrize(
    ("dropped", "stamps"),
    [
        pytest.param(None, [], id="none"),
        pytest.param([], [], id="an-empty-list"),
        pytest.param([{"labels": {}, "timestamp": "7"}], [7], id="one"),
        pytest.param(
            [{}, 1, {"timestamp": "x"}, {"timestamp": "9" * 99}],
            [0, 0, 0, 0],
            id="unreadable-ones-may-be-any",
        ),
        pytest.param("many", [0], id="another-form"),
    ],
)
def test_lines_that_the_service_left_out_are_known_by_their_times(dropped, stamps) -> None:
    assert parse_tail(_frame(dropped_entries=dropped)).dropped == stamps


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
        {"streams": [{"stream": {}, "values": [["1", 2]]}]},
        {"streams": [{"stream": {}, "values": [["-1", "before the epoch"]]}]},
        {"streams": [{"stream": {}, "values": [["9223372036854775808", "after the end of time"]]}]},
    ],
)
def test_a_message_of_another_form_is_an_error_of_ours(message) -> None:
    with pytest.raises(UnexpectedResponseError):
        parse_tail(message)


@pytest.mark.parametrize(
    "answer", [None, {}, {"data": None}, {"data": {"result": [{"values": []}]}}]
)
def test_a_range_answer_of_another_form_is_an_error_of_ours(answer) -> None:
    with pytest.raises(UnexpectedResponseError):
        parse_range(answer)


def test_lines_are_rendered_with_their_times_in_utc() -> None:
    batch = Batch(
        KEY,
        [1_768_039_212_000_000_001, 1_768_039_212_999_999_999, 1_768_039_213_000_000_000],
        ["x - y", "", "z"],
    )
    assert render(batch, "[main] ") == [
        "2026-01-10T10:00:12.000000+00:00 - [main] x - y",
        "2026-01-10T10:00:12.999999+00:00 - [main] ",
        "2026-01-10T10:00:13.000000+00:00 - [main] z",
    ]


def test_bytes_that_are_no_utf8_cost_their_characters_and_not_the_frame() -> None:
    message = orjson.dumps(_frame((1, "caf_"), (2, "b"))).replace(b"_", b"\xe9")
    frame = read_frame(message)
    assert frame is not None
    assert frame.batches[0].lines == ["caf�", "b"]


def test_a_line_of_many_megabytes_is_read() -> None:
    line = "x" * 8_000_000
    frame = read_frame(orjson.dumps(_frame((1, line))))
    assert frame is not None
    assert frame.batches[0].lines == [line]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
ODD_FRAMES = st.fixed_dictionaries(
    {
        "streams": JSON
        | st.lists(
            st.fixed_dictionaries({"stream": JSON, "values": JSON | st.lists(st.lists(JSON))})
        ),
        "dropped_entries": JSON | st.lists(st.fixed_dictionaries({"timestamp": JSON})),
    }
)


@given(st.binary() | (JSON | ODD_FRAMES).map(orjson.dumps))
@example(b'{"streams":[{"stream":{},"values":[[1e400,"x"]]}]}')
@example(b'{"streams":[{"stream":{},"values":[["\xff","x"]]}]}')
@example(b"[" * 100_000)
@example(b'{"streams":[{"stream":{},"values":[["' + b"9" * 5000 + b'","x"]]}]}')
def test_whatever_the_live_log_sends_is_a_frame_that_can_be_rendered_or_none(message) -> None:
    frame = read_frame(message)
    for batch in frame.batches if frame else []:
        assert len(render(batch)) == len(batch.lines)
        assert all(isinstance(line, str) for line in batch.lines)


@given(JSON | st.fixed_dictionaries({"data": JSON | st.fixed_dictionaries({"result": JSON})}))
def test_whatever_a_range_query_answers_is_lines_or_an_error_of_ours(answer) -> None:
    try:
        batches = parse_range(answer)
    except UnexpectedResponseError:
        return
    assert all(len(batch.stamps) == len(batch.lines) for batch in batches)
