import contextlib

import httpx
import pytest
from pydantic import SecretStr
from websockets.asyncio.server import serve
from websockets.datastructures import Headers
from websockets.http11 import Response

from cpln_flows.api import body as bodies
from cpln_flows.api.client import CplnClient
from cpln_flows.api.logs import LogSource, join_up, read_frame
from cpln_flows.errors import ApiError, LogStreamError
from cpln_flows.model.log_lines import Batch, StreamKey
from cpln_flows.settings import ApiSettings

OUT, SIDE = StreamKey("r", "main", "stdout"), StreamKey("r", "side", "stdout")


def _of(key: StreamKey, *lines: str) -> Batch:
    return Batch(key, [1] * len(lines), list(lines))


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        pytest.param(
            [_of(OUT, "a", "b", "c")], [_of(OUT, "c", "d")], True, id="one-line-is-among-both"
        ),
        pytest.param(
            [_of(OUT, "a", "b")], [_of(OUT, "c", "d")], False, id="there-may-be-more-between"
        ),
        pytest.param(
            [_of(OUT, "x", "x")],
            [_of(OUT, "x", "x")],
            False,
            id="lines-alike-may-be-any-of-their-like",
        ),
        pytest.param(
            [_of(OUT, "a", "b", "a")], [_of(OUT, "b", "c")], False, id="a-text-that-repeats-itself"
        ),
        pytest.param([_of(OUT, "a", "b")], [_of(OUT, "b", "c", "c")], False, id="or-does-later"),
        pytest.param(
            [_of(OUT, "a"), _of(SIDE, "b")],
            [_of(OUT, "a"), _of(SIDE, "c")],
            False,
            id="each-stream-for-itself",
        ),
        pytest.param(
            [_of(OUT, "a"), _of(SIDE, "b")],
            [_of(OUT, "a"), _of(SIDE, "b", "c")],
            True,
            id="both-streams",
        ),
        pytest.param(
            [_of(OUT, "b"), _of(SIDE, "b")],
            [_of(SIDE, "b")],
            False,
            id="a-stream-that-only-one-shows",
        ),
    ],
)
def test_whether_the_first_and_the_last_lines_of_one_time_are_all(first, last, expected) -> None:
    assert join_up(first, last) is expected


@pytest.fixture
def anyio_backend():
    return "asyncio"


@contextlib.asynccontextmanager
async def live_log(messages=(), redirect=""):
    """A live log that sends messages, or redirects; the requests it got."""
    asked = []

    async def send(connection) -> None:
        for message in messages:
            await connection.send(message)
        await connection.wait_closed()

    def answer(connection, request) -> Response | None:
        asked.append(request)
        return Response(302, "Found", Headers({"Location": redirect})) if redirect else None

    async with serve(send, "127.0.0.1", 0, process_request=answer) as server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}", asked


def source(endpoint: str, transport=None) -> LogSource:
    settings = ApiSettings(
        token=SecretStr("s.canary"),
        endpoint="http://127.0.0.1:9",
        logs_endpoint=endpoint,
        retry_seconds=0,
    )
    return LogSource(CplnClient(settings, transport=transport), "acme", "{}")


@pytest.mark.anyio
async def test_live_log_follows_no_redirect() -> None:
    async with (
        live_log() as (other, asked),
        live_log(redirect=f"{other}/elsewhere") as (endpoint, _),
    ):
        with pytest.raises(ApiError, match="redirects are not followed"):
            async with source(endpoint).open_tail(0):
                pass
        assert asked == []


@pytest.mark.anyio
async def test_message_of_the_live_log_is_bounded(monkeypatch) -> None:
    monkeypatch.setattr(bodies, "MOST_LOG_BYTES", 2**20)
    messages = ['{"streams":[]}', b" " * 2**20, b" " * (2**20 + 1)]
    async with live_log(messages) as (endpoint, _), source(endpoint).open_tail(0) as tail:
        assert (await tail.receive(10)).frame is not None
        assert (await tail.receive(10)).frame is None
        with pytest.raises(LogStreamError, match="more than 1 MiB, the limit"):
            await tail.receive(10)


@pytest.mark.anyio
async def test_proxy_of_the_live_log_is_named(monkeypatch) -> None:
    """The package that SOCKS needs is not there, and a password is no use without a user."""
    for proxy in ("socks5://me:hush@127.0.0.1:9", "http://hush@127.0.0.1:9"):
        monkeypatch.setenv("ALL_PROXY", proxy)
        with pytest.raises(LogStreamError, match="proxy of ALL_PROXY cannot be used") as caught:
            async with source("ws://logs.test").open_tail(0):
                pass
        assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(b'{"streams":' + b"[" * 1000 + b"]" * 1000 + b"}", id="deep"),
        pytest.param(
            b'{"streams":[{"stream":{"replica":' + b"[" * 990 + b"]" * 990 + b'},"values":[]}]}',
            id="deep-label",
        ),
        pytest.param(
            b'{"streams":[{"stream":{"replica":["a"]},"values":[]}]}', id="list-as-a-label"
        ),
        pytest.param(b'{"streams":[' + b"{}," * 600_000 + b"{}]}", id="many"),
        pytest.param(
            b'{"streams":[{"stream":{},"values":[["' + b"9" * 100_000 + b'","a"]]}]}',
            id="endless-time",
        ),
    ],
)
def test_hostile_message_is_no_frame(message) -> None:
    assert read_frame(message) is None


@pytest.mark.anyio
async def test_lines_too_large_for_one_answer_come_in_several(monkeypatch) -> None:
    """The service gives as many lines as are asked for, however long they are."""
    monkeypatch.setattr(bodies, "MOST_LOG_BYTES", 10_000)
    lines = [(number // 3, f"{number}") for number in range(40)]
    most = 7

    def answer(request: httpx.Request) -> httpx.Response:
        asked = {name: int(request.url.params[name]) for name in ("start", "end", "limit")}
        found = [line for line in lines if asked["start"] <= line[0] < asked["end"]]
        if request.url.params["direction"] == "backward":
            found.reverse()
        found = found[: asked["limit"]]
        if len(found) > most:
            return httpx.Response(200, stream=httpx.ByteStream(b" " * (bodies.MOST_LOG_BYTES + 1)))
        values = [[str(ns), text] for ns, text in found]
        return httpx.Response(200, json={"data": {"result": [{"stream": {}, "values": values}]}})

    of = source("http://127.0.0.1:9", httpx.MockTransport(answer))
    async with of.client:
        got = [
            line
            for part in [page async for page in of.query_range(0, 100)]
            for batch in part.batches
            for line in batch.lines
        ]
    assert list(dict.fromkeys(got)) == [text for _, text in lines]
