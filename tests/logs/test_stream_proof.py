"""Whatever the logs service does, the follower delivers what was printed: schedules of all kinds.

The long run takes about ten minutes, and prints its seed, the number of worlds and the CPU seconds:
``pytest -n 0 tests/logs/test_stream_proof.py --hypothesis-profile=long --timeout=3600``.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cpln_flows.api import logs
from cpln_flows.logger import Journal
from cpln_flows.logs import cursor as cursor_module
from cpln_flows.logs.cursor import Cursor
from cpln_flows.logs.lag import MARGIN_SECONDS, MOMENT_SECONDS
from cpln_flows.logs.pace import Pace
from cpln_flows.logs.stream import LogStream
from cpln_flows.model.log_lines import Batch, StreamKey
from tests.logs import virtual_time
from tests.logs.log_service import EPOCH_NS, Answer, Fate, Printed, Service

KEYS = [
    StreamKey("r", "main", "stdout"),
    StreamKey("r", "main", "stderr"),
    StreamKey("r", "side", "stdout"),
]
LATEST_SECONDS = Pace().settle - 0.1
"""A line comes at most so long after the end of a job that was silent before it."""
CLOSE_SECONDS = MARGIN_SECONDS - 0.02
"""And this much later than the newest line of the job's last moment, if printed at the end."""


@pytest.fixture(autouse=True, scope="module")
def _cursors_and_pages_are_short() -> Iterator[None]:
    """Let a cursor and a page hold few lines, so that these worlds have more of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cursor_module, "_KEPT_LINES", 2)
        patch.setattr(logs, "PAGE_LIMIT", 3)
        patch.setattr(logs, "_WIDE_LIMIT", 30)
        yield


@dataclass(frozen=True)
class World:
    """What is printed, what happens to it, when the job ends, and when processes hand over."""

    lines: tuple[Printed, ...]
    fates: tuple[Fate, ...]
    answers: tuple[Answer, ...]
    limit: int
    frame_lines: int
    ends: float
    hands_over: tuple[float, ...]
    skew: float = 0.0

    @property
    def printed(self) -> dict[StreamKey, list[tuple[int, str]]]:
        found = defaultdict(list)
        for line in self.lines:
            found[line.key].append((line.ns, line.text))
        return found


GAPS = st.sampled_from([0.0, 0.0, 0.001, 0.5, 3.0, 40.0, 400.0])


@st.composite
def worlds(
    draw: st.DrawFn, *, lags: st.SearchStrategy[float], fates: st.SearchStrategy[Fate], steady: bool
) -> World:
    """Draw a world; with ``steady`` lags, the lines of one stream arrive in their order."""
    lines, now = [], 0.0
    lag_of = {key: draw(lags) for key in KEYS}
    for _ in range(draw(st.integers(0, 24))):
        now += draw(GAPS)
        key = draw(st.sampled_from(KEYS))
        lag = lag_of[key] if steady else draw(lags)
        lines.append((now, key, draw(st.sampled_from("ab")), now + lag))
    ends = now + draw(GAPS)
    latest = _latest([(at, arrives) for at, _, _, arrives in lines], ends)
    printed = tuple(
        Printed(EPOCH_NS + int(at * 1e9), key, text, min(arrives, latest))
        for at, key, text, arrives in lines
    )
    hands_over = draw(st.lists(st.floats(0, ends), max_size=2).map(sorted))
    return World(
        printed,
        tuple(draw(st.lists(fates, max_size=10))),
        tuple(draw(st.lists(st.sampled_from(Answer), max_size=4))) if not steady else (),
        draw(st.integers(1, 5)),
        draw(st.integers(1, 3)),
        ends,
        tuple(hands_over),
        draw(st.sampled_from([0.0, 0.0, -10.0, -2.0, -1.0, 0.5, 2.0, 10.0])),
    )


def _latest(lines: list[tuple[float, float]], ends: float) -> float:
    """Return how long the follower promises to wait for lines.

    It depends on the lines that the job printed last.
    """
    close = [arrives + ends - at for at, arrives in lines if at >= ends - MOMENT_SECONDS]
    return min(
        [ends + LATEST_SECONDS, *(max(ends + 0.04, reached + CLOSE_SECONDS) for reached in close)]
    )


HONEST = worlds(
    lags=st.sampled_from([0.0, 0.0, 0.02, 1.0, 1.9]),
    fates=st.sampled_from([fate for fate in Fate if fate is not Fate.SILENT]),
    steady=True,
)
"""Worlds in which the service reports what it leaves out, and keeps each stream in order."""

WILD = worlds(
    lags=st.sampled_from([0.0, 0.02, 1.0, 30.0, 200.0]),
    fates=st.sampled_from(list(Fate)),
    steady=False,
)
"""Worlds in which lines are lost silently or come late within a stream, and the store fails too."""


ONE_COUNTER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
"""It counts the examples of a test together, as it should."""


async def _live(world: World) -> tuple[dict[StreamKey, list[tuple[int, str]]], LogStream]:
    delivered = defaultdict(list)
    service = Service(
        world.lines, list(world.fates), list(world.answers), world.limit, world.frame_lines
    )

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
            now_ns=lambda: service.now_ns() + int(world.skew * 1e9),
        )
        tail = asyncio.create_task(stream.tail())
        await anyio.sleep_until(world.ends if until is None else until)
        if until is None:
            await stream.settle(anyio.current_time(), EPOCH_NS + int(world.ends * 1e9))
        tail.cancel()
        await asyncio.wait([tail])
        assert tail.cancelled() or tail.exception() is None, tail.exception()
        await stream.confirm()
        cursor = Cursor.parse(str(stream.receipt.cursor))
    await stream.drain()
    return delivered, stream


@ONE_COUNTER
@given(world=HONEST)
def test_what_is_delivered_is_what_was_printed_in_the_order_of_each_stream(
    world, count_example
) -> None:
    count_example()
    delivered, stream = virtual_time.run(_live, world)
    assert delivered == world.printed
    assert stream.receipt.complete, str(stream.receipt)


@ONE_COUNTER
@given(world=WILD)
def test_what_is_lost_in_silence_or_comes_late_is_delivered_too_and_nothing_twice(
    world, count_example
) -> None:
    count_example()
    delivered, stream = virtual_time.run(_live, world)
    assert {key: sorted(lines) for key, lines in delivered.items()} == {
        k: sorted(lines) for k, lines in world.printed.items()
    }
    assert stream.receipt.complete, str(stream.receipt)
