import asyncio
import contextlib
import json
import socket

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidMessage, InvalidStatus

from cpln_flows.emulator import (
    Exit,
    Fault,
    Line,
    ManualClock,
    Platform,
    PlatformConfig,
    Script,
    ScriptedExecutor,
    Server,
)
from tests.patience import PATIENCE_SECONDS

from .support import AUTH, TAIL, TOKEN, W1, WORKLOADS, run_body, until, workload

pytestmark = pytest.mark.anyio

LABELS = {
    "gvc": "quickstart",
    "workload": "w-1",
    "replica": "command-1-abcde",
    "container": "main",
    "stream": "stdout",
}
SELECTOR = '{gvc="quickstart", workload="w-1"}'


@contextlib.asynccontextmanager
async def served(script=None, **config):
    executor = ScriptedExecutor(script or Script())
    platform = Platform(
        PlatformConfig(token=TOKEN, **config), clock=ManualClock(), executor=executor
    )
    async with Server(platform) as server:
        yield platform, server
    await platform.aclose()


def tail(server, token=TOKEN, sock=None, max_queue=16, **params):
    query = httpx.QueryParams({"query": SELECTOR, **params})
    url = server.url.replace("http", "ws", 1) + f"{TAIL}?{query}"
    header = {"authorization": token} if token else {}
    more = {} if sock is None else {"sock": sock, "compression": None}
    return connect(
        url, additional_headers=header, open_timeout=PATIENCE_SECONDS, max_queue=max_queue, **more
    )


async def frame(socket):
    return json.loads(await asyncio.wait_for(socket.recv(), PATIENCE_SECONDS))


def lines(*frames):
    return [line for each in frames for stream in each["streams"] for _, line in stream["values"]]


async def read(socket, count):
    found = []
    while len(found) < count:
        found += lines(await frame(socket))
    return found


async def read_into(found, socket):
    while True:
        found += lines(await frame(socket))


async def connected(platform, count=1):
    async def as_many():
        return len(platform._parts.logs._subscriptions) == count

    await until(as_many)


async def test_new_lines_are_pushed_with_their_stamps_and_labels():
    async with served() as (platform, server), tail(server) as socket:
        await connected(platform)
        platform.append_lines(LABELS, [(5, "a"), (5, "b"), (4, "late")])
        assert await frame(socket) == {
            "streams": [{"stream": LABELS, "values": [["5", "a"], ["5", "b"], ["4", "late"]]}],
            "dropped_entries": None,
        }


async def test_a_tail_begins_with_the_newest_lines_since_the_start_in_order():
    async with served() as (platform, server):
        now = platform.clock.time_ns()
        for index in range(6):
            platform.append_lines(
                {**LABELS, "container": f"c{index % 2}"}, [(now - 10 + index, f"l{index}")]
            )
        platform.append_lines(LABELS, [(now - 100, "before the start")])
        async with tail(server, start=str(now - 10), limit="4") as socket:
            assert sorted(await read(socket, 4)) == ["l2", "l3", "l4", "l5"]
            platform.append_lines(LABELS, [(now - 50, "old stamp, new line")])
            assert await read(socket, 1) == ["old stamp, new line"]


async def test_a_run_is_followed_live():
    async with served(Script((Line(1, "one"), Line(2, "two"), Exit(3)))) as (platform, server):
        async with httpx.AsyncClient(base_url=server.url, headers=AUTH) as client:
            await client.post(WORKLOADS, json=workload())
            await client.post(f"{W1}/-command", json=run_body())
        async with tail(server) as socket:
            await connected(platform)
            platform.clock.advance(1)
            assert await read(socket, 1) == ["one"]
            platform.clock.advance(5)
            assert await read(socket, 1) == ["two"]


async def test_frames_hold_a_hundred_lines_at_most():
    async with served() as (platform, server), tail(server) as socket:
        await connected(platform)
        platform.append_lines(LABELS, [(index, str(index)) for index in range(250)])
        sizes = [len(lines(await frame(socket))) for _ in range(3)]
        assert sizes == [100, 100, 50]


async def test_what_a_slow_reader_has_no_room_for_is_dropped_and_announced():
    async with served(tail_buffer_entries=10) as (platform, server), tail(server) as socket:
        await connected(platform)
        platform.append_lines(LABELS, [(index, str(index)) for index in range(12)])
        found = await frame(socket)
        assert len(lines(found)) == 10
        assert found["dropped_entries"] == [
            {"labels": LABELS, "timestamp": str(stamp)} for stamp in (10, 11)
        ]


async def read_stamps(client, found, dropped):
    each = await frame(client)
    found += [int(stamp) for stream in each["streams"] for stamp, _ in stream["values"]]
    dropped += [int(entry["timestamp"]) for entry in each["dropped_entries"] or ()]


async def test_a_reader_that_stalls_loses_lines_in_the_middle_and_is_told_so():
    text, count = "x" * 1000, 40_000
    async with served(tail_buffer_entries=1000) as (platform, server):
        # The connection can hold much less than what is written while nobody reads.
        with socket.socket() as small:
            small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            small.connect(("127.0.0.1", int(server.url.rsplit(":", 1)[1])))
            small.setblocking(False)
            async with tail(server, sock=small, max_queue=1) as client:
                await connected(platform)
                for begin in range(0, count, 500):
                    platform.append_lines(
                        LABELS, [(stamp, text) for stamp in range(begin, begin + 500)]
                    )
                    await asyncio.sleep(0)
                found, dropped = [], []
                while not dropped:
                    await read_stamps(client, found, dropped)
                platform.append_lines(LABELS, [(count, "there is room again")])
                while found[-1] != count:
                    await read_stamps(client, found, dropped)
        assert found == sorted(set(found))
        assert not set(found) & set(dropped)
        assert found[: dropped[0]] == list(range(dropped[0]))


@pytest.mark.fact("F167")
async def test_a_delayed_tail_sends_its_lines_by_the_platforms_clock():
    async with (
        served() as (platform, server),
        tail(server, delay_for="5") as late,
        tail(server) as prompt,
    ):
        await connected(platform, 2)
        platform.append_lines(LABELS, [(1, "first")])
        assert await read(prompt, 1) == ["first"]
        platform.clock.advance(4)
        platform.append_lines(LABELS, [(2, "second")])
        assert await read(prompt, 1) == ["second"]
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(late.recv(), 0)
        platform.clock.advance(1)
        assert lines(await frame(late)) == ["first", "second"]


async def test_the_session_ends_after_its_time():
    async with served(tail_session_seconds=1800) as (platform, server), tail(server) as socket:
        await connected(platform)
        platform.clock.advance(1799)
        platform.append_lines(LABELS, [(1, "still there")])
        assert await read(socket, 1) == ["still there"]
        platform.clock.advance(1)
        with pytest.raises(ConnectionClosed) as closed:
            await asyncio.wait_for(socket.recv(), PATIENCE_SECONDS)
        assert closed.value.rcvd.code == 1011
        await connected(platform, 0)


@pytest.mark.fact("F170")
async def test_a_ping_is_answered():
    async with served() as (_, server), tail(server) as socket:
        await asyncio.wait_for(await socket.ping(), PATIENCE_SECONDS)


@pytest.mark.parametrize(
    ("token", "params", "status"),
    [
        pytest.param("", {}, 401, id="no-token"),
        pytest.param("w.token", {}, 401, id="nobodys-token"),
        pytest.param(TOKEN, {"query": "{}"}, 400, id="bad-selector"),
        pytest.param(TOKEN, {"delay_for": "9"}, 400, id="bad-delay"),
    ],
)
async def test_a_wrong_request_is_refused_at_the_upgrade(token, params, status):
    async with served() as (_, server):
        with pytest.raises(InvalidStatus) as refused:
            async with tail(server, token, **params):
                pass
        assert refused.value.response.status_code == status


async def test_an_unknown_path_is_refused():
    async with served() as (_, server):
        with pytest.raises(InvalidStatus) as refused:
            async with connect(
                server.url.replace("http", "ws", 1) + "/else", additional_headers=AUTH
            ):
                pass
        assert refused.value.response.status_code == 404


async def test_a_client_that_goes_is_forgotten():
    async with served() as (platform, server):
        async with tail(server):
            await connected(platform)
        await connected(platform, 0)
        platform.append_lines(LABELS, [(1, "nobody hears")])


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        pytest.param(Fault(path="tail", cut_after_lines=3), 3, id="lines"),
        pytest.param(Fault(path="tail", cut_after_frames=2), 200, id="frames"),
    ],
)
async def test_a_tail_can_be_cut_without_a_goodbye(fault, expected):
    async with served() as (platform, server):
        platform.faults.add(fault)
        async with tail(server) as socket:
            await connected(platform)
            platform.append_lines(LABELS, [(index, str(index)) for index in range(1000)])
            found = []
            with pytest.raises(ConnectionClosed) as closed:
                await read_into(found, socket)
            assert closed.value.rcvd is None
            assert found == [str(index) for index in range(expected)]
        async with tail(server) as socket:
            await connected(platform)
            platform.append_lines(LABELS, [(9999, "again")])
            assert await read(socket, 1) == ["again"]


@pytest.mark.parametrize("silently", [True, False])
async def test_lines_can_be_dropped_from_a_tail(silently):
    async with served() as (platform, server):
        platform.faults.add(Fault(path="tail", drop_lines=2, drop_silently=silently))
        async with tail(server) as socket:
            await connected(platform)
            platform.append_lines(LABELS, [(index, str(index)) for index in range(4)])
            found = await frame(socket)
            assert lines(found) == ["2", "3"]
            assert (found["dropped_entries"] is None) is silently


@pytest.mark.parametrize(
    "fault", [Fault(reset="before"), Fault(status=503), Fault(status=429, retry_after=1)]
)
async def test_a_tail_can_be_kept_from_beginning(fault):
    async with served() as (platform, server):
        platform.faults.add(fault)
        with pytest.raises((InvalidStatus, InvalidMessage, ConnectionError)) as refused:
            async with tail(server):
                pass
        if isinstance(refused.value, InvalidStatus):
            assert refused.value.response.status_code == fault.status
        assert [record.kind for record in platform.requests] == ["websocket"]
