from hypothesis import given
from hypothesis import strategies as st

from cpln_flows.logs.transcript import Transcript


def _of(most, *batches) -> Transcript:
    transcript = Transcript(most)
    for lines in batches:
        transcript.add(list(lines))
    return transcript


def test_without_a_cap_everything_is_kept() -> None:
    assert _of(None, ["a"] * 1000, ["b"]).text == "\n".join(["a"] * 1000 + ["b"])


def test_past_the_cap_head_and_tail_are_kept_and_the_cut_is_said() -> None:
    lines = [f"{n:03}" for n in range(100)]
    transcript = _of(40, lines)
    assert transcript.lines[:5] == lines[:5]
    assert transcript.lines[-5:] == lines[-5:]
    assert "90 lines, 360 characters, are left out here" in transcript.lines[5]
    assert "capped at 40 characters" in transcript.text
    assert transcript.last(3) == lines[-3:]
    assert len(transcript) == 100


def test_a_transcript_can_be_begun_again() -> None:
    transcript = _of(4, ["aaaa", "b"])
    transcript.clear()
    assert (transcript.lines, transcript.text, len(transcript), transcript.left_out) == (
        [],
        "",
        0,
        0,
    )


LINES = st.lists(st.lists(st.text(alphabet="ab", max_size=6), max_size=8), max_size=8)


@given(LINES, st.integers(1, 60))
def test_what_is_kept_is_a_head_and_a_tail_of_the_whole_and_not_longer_than_the_cap(
    batches, most
) -> None:
    whole = [line for lines in batches for line in lines]
    transcript = _of(most, *batches)
    assert len(transcript) == len(whole)
    kept = len(transcript.lines) - (1 if transcript.left_out else 0)
    head = next(
        (place for place, line in enumerate(transcript.lines) if line.startswith("[...")),
        len(whole),
    )
    tail = kept - head
    assert transcript.lines[:head] == whole[:head]
    assert transcript.lines[len(transcript.lines) - tail :] == whole[len(whole) - tail :]
    longest = max(map(len, whole), default=0) + 1
    assert (
        sum(len(line) + 1 for line in whole[:head] + whole[len(whole) - tail :]) <= most + longest
    )


def test_the_last_lines_are_taken_from_tail_and_head() -> None:
    lines = [str(n) for n in range(8)]
    assert _of(None, lines).last(3) == _of(100, lines).last(3) == ["5", "6", "7"]
    assert _of(None, lines).last(20) == lines
    assert _of(16, lines[:5], lines[5:]).last(6) == lines[2:]
