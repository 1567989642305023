import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpln_flows.logs.cursor import Cursor
from cpln_flows.logs.receipt import Gap, GapKind, LogReceipt, Tally
from cpln_flows.model.log_lines import Batch, StreamKey

OUT, ERR, SIDE = (
    StreamKey("r", *parts) for parts in (("main", "stdout"), ("main", "stderr"), ("side", "stdout"))
)
NOON_NS = 1_768_046_467_000_000_000  # 12:01:07


def _tally(*batches: Batch) -> Tally:
    tally = Tally()
    for batch in batches:
        tally.add(batch)
    return tally


def _receipt(*batches: Batch) -> LogReceipt:
    return _tally(*batches).receipt(Cursor())


def test_lines_bytes_times_and_a_digest_of_each_stream() -> None:
    receipt = _receipt(
        Batch(OUT, [2, 3], ["a", "é"]), Batch(ERR, [1], ["x"]), Batch(OUT, [2], ["late"])
    )
    err, out = receipt.streams
    assert (out.key, out.lines, out.bytes, out.first_ns, out.last_ns) == (OUT, 3, 10, 2, 3)
    assert out.sha256 == hashlib.sha256("a\né\nlate\n".encode()).hexdigest()
    assert err.lines == 1
    assert (receipt.lines, receipt.bytes, receipt.complete) == (4, 12, True)
    assert receipt.first <= receipt.last
    assert str(receipt) == "complete: 4 lines"


def test_a_receipt_of_nothing() -> None:
    receipt = LogReceipt()
    assert (str(receipt), receipt.first, receipt.last, receipt.lines) == (
        "complete: 0 lines",
        None,
        None,
        0,
    )


@pytest.mark.parametrize(
    ("gaps", "says"),
    [
        pytest.param(
            [Gap(GapKind.RATE_LIMITED, lines=312, first_ns=NOON_NS)],
            "312 lines rate-limited at 12:01:07",
            id="counted",
        ),
        pytest.param(
            [Gap(GapKind.RATE_LIMITED, first_ns=NOON_NS)],
            "lines rate-limited at 12:01:07",
            id="uncounted",
        ),
        pytest.param(
            [
                Gap(GapKind.RATE_LIMITED, lines=1, first_ns=NOON_NS),
                Gap(GapKind.RATE_LIMITED, lines=2, first_ns=NOON_NS + 10**9),
            ],
            "3 lines rate-limited 2 times, first at 12:01:07",
            id="of-one-kind-together",
        ),
        pytest.param(
            [Gap(GapKind.TRUNCATED, lines=1, bytes=1234)],
            "1 line cut by the platform, 1,234 bytes in all",
            id="cut",
        ),
        pytest.param(
            [Gap(GapKind.UNREADABLE, times=2)],
            "2 messages of the logs service could not be read",
            id="unreadable",
        ),
        pytest.param(
            [Gap(GapKind.CROWDED, first_ns=NOON_NS)],
            "more lines at 12:01:07 than the service gives",
            id="crowded",
        ),
        pytest.param([Gap(GapKind.REFUSED, reason="403")], "may not be read (403)", id="refused"),
        pytest.param([Gap(GapKind.UNREAD, reason="503")], "could not be read (503)", id="unread"),
        pytest.param([Gap(GapKind.UNSETTLED)], "not come to rest", id="unsettled"),
        pytest.param(
            [
                Gap(GapKind.RATE_LIMITED, uncounted=1, first_ns=NOON_NS),
                Gap(GapKind.RATE_LIMITED, lines=2, first_ns=NOON_NS + 10**9),
            ],
            "at least 2 lines rate-limited 2 times, first at 12:01:07",
            id="of-some-marks-the-number-is-not-known",
        ),
        pytest.param(
            [
                Gap(GapKind.LATE, lines=1, first_ns=NOON_NS),
                Gap(GapKind.LATE, lines=2, first_ns=NOON_NS + 1),
            ],
            "3 lines too late to distinguish from those delivered before 2 times,"
            " first at 12:01:07",
            id="late",
        ),
        pytest.param(
            [Gap(GapKind.UNSHOWN, lines=2, reason="ValueError()")],
            "2 lines could not be shown (Value",
            id="unshown",
        ),
        pytest.param(
            [Gap(GapKind.STATE_UNREAD, reason="403")],
            "not known whether the job has ended (403)",
            id="state",
        ),
    ],
)
def test_what_is_missing_is_said(gaps, says) -> None:
    tally = _tally(Batch(OUT, [1], ["x"]))
    for gap in gaps:
        tally.miss(gap)
    text = str(tally.receipt(Cursor()))
    assert text.startswith("incomplete: ")
    assert says in text
    assert text.endswith("; 1 line delivered")


@pytest.mark.parametrize(
    ("line", "gap"),
    [
        pytest.param(
            "#### Replica logs were rate-limited: 312 lines were dropped",
            (GapKind.RATE_LIMITED, 312, 0),
            id="counted",
        ),
        pytest.param(
            "#### Replica logs were rate-limited: only 10000 lines per second are kept",
            (GapKind.RATE_LIMITED, None, 0),
            id="not",
        ),
        pytest.param(
            "x" * 16384 + "... [truncated 99 bytes]", (GapKind.TRUNCATED, 1, 99), id="cut"
        ),
        pytest.param(
            "é" * 8192 + "... [truncated 99 bytes]",
            (GapKind.TRUNCATED, 1, 99),
            id="cut-where-characters-are-wide",
        ),
        pytest.param("# rate-limited", None, id="a-comment"),
        pytest.param("quoted: ... [truncated 99 bytes]", None, id="too-short-to-have-been-cut"),
    ],
)
def test_the_platforms_own_marks_in_the_log_are_gaps(line, gap) -> None:
    found = [
        (each.kind, each.lines, each.bytes)
        for each in _receipt(Batch(OUT, [1, 2], ["a", line])).gaps
    ]
    assert found == ([gap] if gap else [])


def test_reported_drops_are_a_gap_until_the_store_was_read_from_there_on() -> None:
    tally = _tally()
    tally.report([NOON_NS, NOON_NS, NOON_NS + 5])
    assert (
        str(tally.receipt(Cursor())) == "incomplete: 3 lines dropped at 12:01:07; 0 lines delivered"
    )
    tally.recover(NOON_NS + 1)
    assert (
        str(tally.receipt(Cursor())) == "incomplete: 2 lines dropped at 12:01:07; 0 lines delivered"
    )
    tally.recover(NOON_NS)
    assert (tally.receipt(Cursor()).complete, tally.recovered) == (True, 3)


BATCHES = st.lists(
    st.tuples(
        st.sampled_from([OUT, ERR, SIDE]),
        st.lists(st.tuples(st.integers(1, 9), st.text(max_size=5)), min_size=1),
    )
)


@given(BATCHES)
def test_the_digest_does_not_depend_on_how_the_lines_came(given_batches) -> None:
    whole = [
        Batch(key, [ns for ns, _ in lines], [text for _, text in lines])
        for key, lines in given_batches
    ]
    single = [
        Batch(key, [ns], [line])
        for key, stamps, lines in whole
        for ns, line in zip(stamps, lines, strict=True)
    ]
    by_stream = sorted(single, key=lambda batch: batch.key)
    assert _receipt(*whole) == _receipt(*single) == _receipt(*by_stream)
    assert _receipt(*whole).digest == _receipt(*single).digest


@pytest.mark.parametrize(
    "line",
    [
        "#### Replica logs were rate-limited " + "9" * 5000 + " lines were dropped",
        "#### Replica logs were rate-limited " + "9," * 5000,
        "x" * 5000 + "... [truncated " + "9" * 5000 + " bytes]",
        "x" * 5000 + "... [truncated \u0663 bytes]",
        "\ud800" * 5000,
        "\0" * 5000,
    ],
)
def test_no_line_ends_the_count(line) -> None:
    tally = Tally()
    tally.add(Batch(OUT, [1], [line]))
    assert tally.receipt(Cursor()).lines == 1


def test_replaced_characters_are_counted() -> None:
    tally = Tally()
    tally.add(Batch(OUT, [1, 2], ["torn \ufffd\ufffd", "whole"]))
    receipt = tally.receipt(Cursor())
    assert receipt.replaced == 2
    assert str(receipt) == "complete: 2 lines, 2 bytes or characters replaced by \ufffd"
