import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpln_flows.emulator.lines import LINE_LIMIT, LineSplitter, cut_text


@given(st.lists(st.binary(max_size=20), max_size=20), st.data())
def test_lines_do_not_depend_on_how_bytes_arrive(lines, data):
    whole = b"\n".join(lines)
    places = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=5)))
    splitter = LineSplitter()
    found = []
    for start, end in zip([0, *places], [*places, len(whole)], strict=True):
        found += splitter.feed(whole[start:end])
    found += splitter.finish()
    assert found == [line.decode("utf-8", errors="replace") for line in whole.split(b"\n") if line]


@pytest.mark.parametrize("pieces", [pytest.param(1, id="at-once"), pytest.param(7, id="in-pieces")])
def test_a_long_line_is_cut_with_its_marker(pieces):
    line = b"x" * (LINE_LIMIT + 100)
    step = len(line) // pieces + 1
    splitter = LineSplitter()
    for start in range(0, len(line), step):
        assert splitter.feed(line[start : start + step]) == []
    assert splitter.feed(b"\nnext\n") == ["x" * LINE_LIMIT + "... [truncated 100 bytes]", "next"]


def test_text_is_cut_by_its_bytes_and_never_within_a_character():
    cut = cut_text("€" * LINE_LIMIT)
    assert cut.endswith(f"... [truncated {LINE_LIMIT * 2} bytes]")
    assert set(cut.partition("...")[0]) == {"€"}


def test_empty_lines_are_dropped_and_blank_ones_kept():
    assert LineSplitter().feed(b"\n\na\n \n\n") == ["a", " "]
