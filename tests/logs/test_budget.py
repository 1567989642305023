import logging
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpln_flows.logs.budget import Budget, Forwarding, Shown
from cpln_flows.model.log_lines import Batch, StreamKey, render

KEY = StreamKey("r", "main", "stdout")
NOON_NS = 1_768_046_467_000_000_000
AMPLE = Budget(records=1000, burst=1000, per_second=0)


def _lines(*texts: str, start: int = 0) -> list[str]:
    return render(
        Batch(KEY, [NOON_NS + (start + n) * 1_000_000 for n in range(len(texts))], list(texts))
    )


def _texts(records) -> list[str]:
    return [line.split(" - ", 1)[1] for record in records for line in record.text.split("\n")]


@pytest.mark.parametrize(
    ("line", "level"),
    [
        ("2026-01-10 ERROR it failed", logging.ERROR),
        ("WARN: soon", logging.WARNING),
        ("[WARNING] soon", logging.WARNING),
        ("FATAL", logging.CRITICAL),
        ("DEBUG x=1", logging.DEBUG),
        ("all is well, no ERRORS", logging.INFO),
        ("CRITICAL ERROR", logging.CRITICAL),
    ],
)
def test_the_level_is_in_the_line(line, level) -> None:
    (record,) = Forwarding(AMPLE, 0).take(_lines(line), 0)
    assert record.level == level


def test_what_means_a_level_can_be_said() -> None:
    budget = replace(AMPLE, levels={"(?i)oops": "ERROR"})
    records = Forwarding(budget, 0).take(_lines("Oops", "ERROR"), 0)
    assert [record.level for record in records] == [logging.ERROR, logging.INFO]


def test_with_an_ample_budget_each_line_is_a_record() -> None:
    assert [record.text for record in Forwarding(AMPLE, 0).take(_lines("a", "b"), 0)] == _lines(
        "a", "b"
    )


def test_repeats_are_folded_and_counted() -> None:
    forwarding = Forwarding(AMPLE, 0)
    records = forwarding.take(_lines("a", "a", "a", "b", "b"), 0) + forwarding.flush(0)
    assert _texts(records) == [
        "a",
        (
            "[the same line 2 more times"
            " (from 2026-01-10T12:01:07.001000+00:00 to 2026-01-10T12:01:07.002000+00:00)]"
        ),
        "b",
        (
            "[the same line once more"
            " (from 2026-01-10T12:01:07.004000+00:00 to 2026-01-10T12:01:07.004000+00:00)]"
        ),
    ]


def test_repeats_without_an_end_are_told_now_and_then() -> None:
    forwarding = Forwarding(AMPLE, 0)
    forwarding.take(_lines("a", "a"), 0)
    assert len(forwarding.take(_lines("a", start=2), 31)) == 1
    assert "once more" in forwarding.flush(31)[0].text


def test_a_line_that_is_too_long_is_split_and_its_parts_are_numbered() -> None:
    records = Forwarding(replace(AMPLE, characters=100), 0).take(_lines("x" * 120), 0)
    assert [text[:6] for text in _texts(records)] == ["(1/3) ", "(2/3) ", "(3/3) "]
    assert sum(text.count("x") for text in _texts(records)) == 120
    assert all(len(record.text) <= 100 for record in records)


def test_when_the_budget_runs_low_lines_share_a_record() -> None:
    budget = Budget(records=100, burst=10, per_second=0)
    lines = _lines(*map(str, range(200)))
    records = Forwarding(budget, 0).take(lines, 0)
    assert len(records) <= 10
    assert _texts(records) == [str(n) for n in range(200)]


def test_past_the_budget_a_summary_says_how_many_and_where_they_are() -> None:
    budget = Budget(records=5, burst=5, per_second=0, where="over there")
    forwarding = Forwarding(budget, 0)
    records = [record for n in range(50) for record in forwarding.take(_lines(str(n), start=n), 0)]
    assert _texts(records) == ["0", "1", "2", "3", "4"]
    (summary,) = forwarding.flush(0)
    assert "[45 lines are not shown here" in summary.text
    assert "whole log: over there" in summary.text
    assert _texts([summary])[-2:] == ["48", "49"]
    assert forwarding.flush(0) == []


def test_a_budget_that_has_filled_again_goes_on_after_a_summary() -> None:
    forwarding = Forwarding(Budget(records=100, burst=2, per_second=1), 0)
    assert len([r for n in range(5) for r in forwarding.take(_lines(f"{n}", start=n), 0)]) == 2
    summary, line = forwarding.take(_lines("later", start=9), 10)
    assert "[3 lines are not shown here" in summary.text
    assert _texts([line]) == ["later"]


TEXTS = st.lists(st.sampled_from(["a", "b", "ERROR c", "x" * 150]), max_size=40)


@given(TEXTS, st.integers(1, 6), st.integers(1, 12), st.sampled_from([0, 0.5, 3]))
def test_every_line_is_shown_or_counted_and_the_budget_holds(
    texts, burst, total, per_second
) -> None:
    budget = Budget(records=total, burst=burst, per_second=per_second, characters=100)
    forwarding, records = Forwarding(budget, 0), []
    for now, line in enumerate(_lines(*texts)):
        sent = forwarding.take([line], now)
        records += sent
        assert len(sent) <= max(budget.burst, 1) + 2
    assert len(records) <= total + 4
    records += forwarding.flush(len(texts))
    assert accounted(records) == len(texts)


def accounted(records) -> int:
    """How many lines the records stand for; the last ones of a summary are told twice."""
    count = 0
    for record in records:
        first, *more = record.text.split("\n")
        if "lines are not shown" in first:
            count += int(first.split("[")[1].split(" ")[0].replace(",", ""))
            continue
        for line in [first, *more]:
            text = line.split(" - ", 1)[1]
            if "the same line" in text:
                count += (
                    1
                    if "once" in text
                    else int(text.split("line ")[1].split(" ")[0].replace(",", ""))
                )
            else:
                count += not text.startswith(("(2/", "(3/"))
    return count


@given(TEXTS, st.integers(0, 40))
def test_whoever_goes_on_shows_neither_gap_nor_repeat(texts, died_after) -> None:
    lines = _lines(*texts)
    first = Forwarding(AMPLE, 0)
    before = [record for line in lines[:died_after] for record in first.take([line], 0)]
    second = Forwarding(AMPLE, 0, Shown([record.text for record in before]))
    after = second.take(lines, 0) + second.flush(0)
    assert accounted([*before, *after]) == len(lines)


def test_the_oldest_line_that_was_shown() -> None:
    assert Shown(["x", *_lines("b", "a")]).oldest == "2026-01-10T12:01:07.000000+00:00"
    assert Shown().oldest is None
