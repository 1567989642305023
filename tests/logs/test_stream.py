"""The follower against a service that does just what one test needs, in virtual time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import anyio
import pytest

from cpln_flows.errors import TransportError
from cpln_flows.logger import Journal
from cpln_flows.logs import cursor as cursor_module
from cpln_flows.logs.cursor import Cursor
from cpln_flows.logs.pace import Pace
from cpln_flows.logs.receipt import GapKind, Tally
from cpln_flows.logs.stream import LogStream
from cpln_flows.model.log_lines import Batch, StreamKey
from tests.logs import virtual_time
from tests.logs.log_service import EPOCH_NS, Fate, Printed, Room, Service

KEY = StreamKey("r", "main", "stdout")


def _printed(at: float, text: str, lag: float = 0.0) -> Printed:
    return Printed(EPOCH_NS + int(at * 1e9), KEY, text, at + lag)


def _read(
    lines: Sequence[Printed],
    ends: float,
    *,
    fates: Sequence[Fate] = (),
    hands_over: float | None = None,
    skew: float = 0.0,
    pace: Pace | None = None,
    knows_end: bool = True,
) -> tuple[list[str], LogStream, float]:
    """Follow a job to its end.

    Returns:
        What was delivered, the last follower, and how long after the end it was done.
    """

    async def main() -> tuple[list[str], LogStream, float]:
        service = Service(lines, list(fates), limit=999, frame_lines=1)
        delivered: list[str] = []
        cursor = None
        for until in [hands_over, None] if hands_over is not None else [None]:
            stream = LogStream(
                source=service,
                deliver=lambda batch: delivered.extend(batch.lines),
                journal=Journal(),
                since_ns=EPOCH_NS,
                pace=pace or Pace(),
                cursor=cursor,
                now_ns=lambda: service.now_ns() + int(skew * 1e9),
            )
            tail = asyncio.create_task(stream.tail())
            await anyio.sleep_until(ends if until is None else until)
            if until is None:
                await stream.settle(
                    anyio.current_time(), EPOCH_NS + int(ends * 1e9) if knows_end else None
                )
            tail.cancel()
            await asyncio.wait([tail])
            await stream.confirm()
            cursor = Cursor.parse(str(stream.receipt.cursor))
        await stream.drain()
        return delivered, stream, anyio.current_time() - ends

    return virtual_time.run(main)


EARLY = [_printed(0.3 * n, f"early {n}") for n in range(8)]


@pytest.mark.parametrize("late", [0.3, 1.0, 4.9])
def test_a_last_burst_is_waited_for_that_is_later_than_all_lines_before_it(late) -> None:
    burst = [_printed(3.0, f"late {n}", late) for n in range(100)]
    delivered, stream, _ = _read([*EARLY, *burst], 3.1)
    assert len(delivered) == 108
    assert stream.receipt.complete


def test_a_job_that_prints_to_its_end_on_a_platform_without_lag_costs_a_moment() -> None:
    assert _read([*EARLY, _printed(3.0, "done")], 3.1)[2] < 0.3


def test_a_job_that_was_silent_before_its_end_costs_the_whole_time_for_late_lines_and_no_more() -> (
    None
):
    assert 5.0 <= _read(EARLY, 9.0)[2] < 5.1
    assert _read(EARLY, 9.0, pace=Pace(settle=0.5))[2] < 0.6
    assert 5.0 <= _read(EARLY, 2.2, knows_end=False)[2] < 5.1


@pytest.mark.parametrize("skew", [-10.0, -3.0, -2.0, 0.0, 3.0, 10.0])
def test_the_clock_of_this_machine_has_no_part_in_what_is_delivered(skew) -> None:
    lines = [_printed(1 + 0.1 * n, f"{n}", 2.0) for n in range(50)]
    delivered, stream, _ = _read(lines, 6.0, skew=skew)
    assert delivered == [line.text for line in lines]
    assert stream.receipt.complete


def test_a_log_that_was_not_followed_is_given_the_time_for_late_lines_too() -> None:
    async def main() -> list[str]:
        delivered: list[str] = []
        source = Service([_printed(0, "first"), _printed(0, "last", 3.0)])
        stream = LogStream(
            source,
            lambda batch: delivered.extend(batch.lines),
            Journal(),
            EPOCH_NS,
            now_ns=source.now_ns,
        )
        await stream.drain()
        return delivered

    assert virtual_time.run(main) == ["first", "last"]


def test_where_the_store_has_brought_something_more_of_it_is_waited_for() -> None:
    lines = [*EARLY, _printed(3.0, "dropped", 1.0), _printed(3.0, "late", 8.0)]
    delivered, _, _ = _read(lines, 3.1, fates=[Fate.PASS] * len(EARLY) + [Fate.SILENT])
    assert delivered == [line.text for line in lines]


@pytest.mark.parametrize(
    "fates", [[], [Fate.PASS, Fate.SILENT]], ids=["late", "dropped-in-silence"]
)
def test_the_next_reader_gets_what_the_one_before_it_has_missed_however_long_ago(
    fates, monkeypatch
) -> None:
    monkeypatch.setattr(cursor_module, "_KEPT_LINES", 5)
    lines = [
        _printed(1 + 0.01 * n, f"{n}", 5.0 if n == 100 and not fates else 0.0) for n in range(500)
    ]
    delivered, _, _ = _read(lines, 20, fates=fates, hands_over=6.5)
    assert sorted(delivered) == sorted(line.text for line in lines)


def test_a_line_that_comes_after_its_time_was_settled_is_declared() -> None:
    lines = [_printed(float(n), f"{n}") for n in range(0, 2000, 10)]
    lines.append(_printed(5.0, "much too late", 1500.0))
    delivered, stream, _ = _read(sorted(lines), 1995.0)
    assert len(delivered) == 200
    assert "1 line too late to distinguish from those delivered before at 10:00:17" in str(
        stream.receipt
    )


def test_lines_that_cannot_be_shown_cost_those_after_them_nothing() -> None:
    seen: list[str] = []

    def deliver(batch: Batch) -> None:
        if "1" in batch.lines:
            raise ValueError("once")
        seen.extend(batch.lines)

    async def main() -> LogStream:
        source = Service([_printed(0, "0"), _printed(1, "1"), _printed(2, "2")], frame_lines=1)
        stream = LogStream(source, deliver, Journal(), EPOCH_NS, now_ns=source.now_ns)
        tail = asyncio.create_task(stream.tail())
        await anyio.sleep(3)
        assert not tail.done()
        tail.cancel()
        await stream.drain()
        return stream

    stream = virtual_time.run(main)
    assert seen == ["0", "2"]
    (gap,) = stream.receipt.gaps
    assert (gap.kind, gap.lines) == (GapKind.UNSHOWN, 1)


def test_a_drop_that_is_older_than_what_was_settled_stays_declared() -> None:
    lines = [_printed(float(n), f"{n}") for n in range(0, 2000, 10)]
    lines.append(_printed(5.0, "much too late", 1000.0))
    _, stream, _ = _read(sorted(lines), 1995.0, fates=[Fate.PASS] * 101 + [Fate.DROP])
    assert "incomplete: 1 line dropped at 10:00:17" in str(stream.receipt)


def test_a_store_that_cannot_be_asked_leaves_all_lines_in_the_cursor(monkeypatch) -> None:
    monkeypatch.setattr(cursor_module, "_KEPT_LINES", 5)

    async def main() -> Cursor:
        source = Service([_printed(0.01 * n, f"{n}") for n in range(50)], limit=99)
        stream = LogStream(source, lambda _: None, Journal(), EPOCH_NS, now_ns=source.now_ns)
        await anyio.sleep(1)
        await stream.read()

        async def fails(*_args):
            raise TransportError("no answer")
            yield

        monkeypatch.setattr(source, "query_range", fails)
        await stream.confirm()
        return stream.receipt.cursor

    assert len(virtual_time.run(main).places[KEY].emitted) == 50


@pytest.mark.parametrize("refuses", [False, True], ids=["closed-at-once", "refused"])
@pytest.mark.parametrize("most", [0, 2, 5])
def test_lines_come_without_live_log(most, refuses, caplog) -> None:
    caplog.set_level(logging.WARNING)
    room, jobs = Room(most, refuses=refuses), 5
    lines = [_printed(0.5 * n, f"{n}") for n in range(60)] + [_printed(50.0, "after a silence")]
    seen: list[list[tuple[str, float]]] = [[] for _ in range(jobs)]

    async def follow(number: int) -> LogStream:
        service = Service(lines, limit=999, frame_lines=1, room=room)

        def deliver(batch: Batch) -> None:
            seen[number] += [
                (line, anyio.current_time() - (ns - EPOCH_NS) / 1e9)
                for ns, line in zip(*batch[1:], strict=True)
            ]

        stream = LogStream(service, deliver, Journal(), EPOCH_NS, now_ns=service.now_ns)
        tail = asyncio.create_task(stream.tail())
        await anyio.sleep_until(60)
        tail.cancel()
        await asyncio.wait([tail])
        return stream

    async def main() -> list[LogStream]:
        return await asyncio.gather(*(follow(number) for number in range(jobs)))

    assert all(stream.receipt.complete for stream in virtual_time.run(main))
    for job in seen:
        assert [line for line, _ in job] == [line.text for line in lines]
        assert max(late for _, late in job) <= 6
    assert len([line for line in caplog.messages if "no live log" in line]) == (most < jobs)


def test_freed_live_log_is_taken() -> None:
    room = Room(1, taken=1)
    late: list[float] = []

    async def main() -> None:
        lines = [_printed(float(n), f"{n}") for n in range(60)]
        service = Service(lines, limit=999, frame_lines=1, room=room)

        def deliver(batch: Batch) -> None:
            late.extend(anyio.current_time() - (ns - EPOCH_NS) / 1e9 for ns in batch.stamps)

        stream = LogStream(service, deliver, Journal(), EPOCH_NS, now_ns=service.now_ns)
        tail = asyncio.create_task(stream.tail())
        await anyio.sleep_until(30)
        room.taken -= 1
        await anyio.sleep_until(60)
        tail.cancel()
        await asyncio.wait([tail])

    virtual_time.run(main)
    assert max(late[-20:]) < 0.1 < max(late[:20])


def test_line_that_cannot_be_counted_is_delivered(monkeypatch) -> None:
    def fails(self, batch) -> None:
        raise ValueError("too many digits")

    monkeypatch.setattr(Tally, "add", fails)
    delivered, stream, _ = _read([*EARLY, _printed(3.0, "done")], 3.1)
    assert delivered == [*(line.text for line in EARLY), "done"]
    (gap,) = stream.receipt.gaps
    assert (gap.kind, gap.lines) == (GapKind.UNCOUNTED, 9)
