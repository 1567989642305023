"""Whatever the logs service does, what is delivered is what was printed: the follower itself, on schedules of all kinds.

The long run: ``pytest -n 0 tests/jobs/test_stream_proof.py --hypothesis-profile=long``.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass

import anyio
from hypothesis import given
from hypothesis import strategies as st

from cpln_flows.jobs.journal import Journal
from cpln_flows.jobs.stream import LogStream
from cpln_flows.model.cursor import Cursor
from cpln_flows.model.log_lines import Batch, StreamKey
from tests.jobs import virtual_time
from tests.jobs.log_service import EPOCH_NS, Fate, Printed, Service

KEYS = [StreamKey("r", "main", "stdout"), StreamKey("r", "main", "stderr"), StreamKey("r", "side", "stdout")]
LATEST_SECONDS = 0.04
"""A line comes at most so long after the end: it is less than the follower waits at least."""


@dataclass(frozen=True)
class World:
    """What is printed, what befalls it, when the job ends, and when one process hands over to the next."""

    lines: tuple[Printed, ...]
    fates: tuple[Fate, ...]
    failing: tuple[bool, ...]
    limit: int
    frame_lines: int
    ends: float
    hands_over: tuple[float, ...]

    @property
    def printed(self) -> dict[StreamKey, list[tuple[int, str]]]:
        found = defaultdict(list)
        for line in self.lines:
            found[line.key].append((line.ns, line.text))
        return found


GAPS = st.sampled_from([0.0, 0.0, 0.001, 0.5, 3.0, 40.0, 400.0])


@st.composite
def worlds(draw: st.DrawFn, *, lags: st.SearchStrategy[float], fates: st.SearchStrategy[Fate], steady: bool) -> World:
    """Draw a world; with ``steady`` lags, the lines of one stream arrive in their order."""
    lines, now = [], 0.0
    lag_of = {key: draw(lags) for key in KEYS}
    for _ in range(draw(st.integers(0, 14))):
        now += draw(GAPS)
        key = draw(st.sampled_from(KEYS))
        lag = lag_of[key] if steady else draw(lags)
        lines.append((now, key, draw(st.sampled_from("ab")), now + lag))
    ends = now + draw(GAPS)
    printed = tuple(Printed(EPOCH_NS + int(at * 1e9), key, text, min(lag, ends + LATEST_SECONDS)) for at, key, text, lag in lines)
    hands_over = draw(st.lists(st.floats(0, ends), max_size=2).map(sorted))
    return World(
        printed,
        tuple(draw(st.lists(fates, max_size=10))),
        tuple(draw(st.lists(st.booleans(), max_size=4))) if not steady else (),
        draw(st.integers(1, 5)),
        draw(st.integers(1, 3)),
        ends,
        tuple(hands_over),
    )


HONEST = worlds(
    lags=st.sampled_from([0.0, 0.0, 0.02, 1.0, 1.9]),
    fates=st.sampled_from([fate for fate in Fate if fate is not Fate.SILENT]),
    steady=True,
)
"""Worlds in which the service says what it leaves out, and gives the lines of a stream in their order."""

WILD = worlds(lags=st.sampled_from([0.0, 0.02, 1.0, 30.0, 200.0]), fates=st.sampled_from(list(Fate)), steady=False)
"""Worlds in which lines are lost in silence, come late within their stream, and the store fails too."""


async def _live(world: World) -> tuple[dict[StreamKey, list[tuple[int, str]]], LogStream]:
    delivered = defaultdict(list)
    service = Service(world.lines, list(world.fates), list(world.failing), world.limit, world.frame_lines)

    def deliver(batch: Batch) -> None:
        delivered[batch.key] += zip(batch.stamps, batch.lines, strict=True)

    cursor = None
    for until in [*world.hands_over, None]:
        stream = LogStream(
            source=service,
            deliver=deliver,
            journal=Journal(),
            since_ns=EPOCH_NS,
            cursor=cursor,
            now_ns=service.now_ns,
        )
        tail = asyncio.create_task(stream.tail())
        await anyio.sleep_until(world.ends if until is None else until)
        if until is None:
            await stream.settle(anyio.current_time())
        tail.cancel()
        await asyncio.wait([tail])
        assert tail.cancelled() or tail.exception() is None, tail.exception()
        cursor = Cursor.parse(str(stream.receipt.cursor))
    await stream.drain()
    return delivered, stream


@given(HONEST)
def test_what_is_delivered_is_what_was_printed_in_the_order_of_each_stream(world) -> None:
    delivered, stream = virtual_time.run(_live, world)
    assert delivered == world.printed
    assert stream.receipt.complete, str(stream.receipt)


@given(WILD)
def test_what_is_lost_in_silence_or_comes_late_is_delivered_too_and_nothing_twice(world) -> None:
    delivered, stream = virtual_time.run(_live, world)
    assert {key: sorted(lines) for key, lines in delivered.items()} == {k: sorted(lines) for k, lines in world.printed.items()}
    assert stream.receipt.complete, str(stream.receipt)
