"""WebSockets through the proxy, with CONNECT as their client does it, and in absolute form."""

import asyncio
import contextlib

import httpx
import pytest
import websockets
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve

from cpln_flows.emulator.proxy.routes import Backend, Refused

from .support import (
    HOST,
    LONG,
    SECRET,
    FakeRouter,
    Upstream,
    behind_proxy,
    client,
    connected,
    proxying,
    refusing,
    response,
    route,
    within,
)
from .test_timeouts import GROWING, late, wait_for_the_end

pytestmark = pytest.mark.anyio

HANDSHAKE = (
    f"GET http://{HOST}/ws HTTP/1.1\r\nHost: {HOST}\r\nConnection: keep-alive, Upgrade\r\n"
    "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


@contextlib.asynccontextmanager
async def echoing(seconds=LONG, **arguments):
    """A WebSocket server that echoes, and a proxy; a request to ``slow`` waits for its timeout."""

    async def echo(socket):
        async for message in socket:
            await socket.send(message)

    async with serve(echo, "127.0.0.1", 0) as server, Upstream(wait_for_the_end) as slow:
        backend = Backend("127.0.0.1", server.sockets[0].getsockname()[1])
        router = FakeRouter(
            web=route(backend, seconds=seconds), slow=route(slow.backend, seconds=seconds)
        )
        async with proxying(router, **arguments) as proxy:
            proxy.router = router
            yield proxy


def websocket(proxy):
    address = f"http://{SECRET}@127.0.0.1:{proxy.port}"
    return connect(f"ws://{HOST}/ws", proxy=address, open_timeout=LONG, ping_interval=None)


async def test_websocket_echoes_through_connect():
    async with echoing() as proxy:
        async with websocket(proxy) as socket:
            for message in ("a", b"b" * 500_000):
                await socket.send(message)
                assert await socket.recv() == message
        # Once for the tunnel, and once for the handshake in it.
        assert proxy.router.asked == [(SECRET, HOST, 80)] * 2


async def test_handshake_passes_in_absolute_form():
    async with echoing() as proxy, connected(proxy.port) as (reader, writer):
        writer.write(HANDSHAKE.encode() + b"\x81\x82\0\0\0\0hi")
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
        assert b"\r\nConnection: Upgrade\r\n" in head
        assert b"\r\nUpgrade: websocket\r\n" in head
        assert await reader.readexactly(4) == b"\x81\x02hi"


async def test_first_frames_of_the_server_arrive():
    async def handler(server, reader, writer):
        _, headers = await server.head(reader)
        assert headers["connection"] == ["Upgrade"]
        assert headers["upgrade"] == ["websocket"]
        switch = b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
        writer.write(switch + b"first")
        assert await reader.readexactly(3) == b"mid"
        writer.write(b"last")

    async with behind_proxy(handler) as (_, proxy), connected(proxy.port) as (reader, writer):
        writer.write(HANDSHAKE.encode())
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(5) == b"first"
        writer.write(b"mid")
        assert await reader.read() == b"last"


async def test_client_that_closes_ends_the_websocket():
    async def handler(server, reader, writer):
        await server.head(reader)
        writer.write(b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
        assert await reader.read() == b"bye"

    async with behind_proxy(handler) as (web, proxy), connected(proxy.port) as (reader, writer):
        writer.write(HANDSHAKE.encode())
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"bye")
        writer.close()
        await within(web.ended.wait())


@contextlib.asynccontextmanager
async def opened_in_time(**arguments):
    """A proxy and a WebSocket whose handshake took less than the timeout of its route."""
    for seconds in GROWING:
        async with echoing(seconds, **arguments) as proxy:
            try:
                socket = await websocket(proxy)
            except websockets.InvalidStatus:
                continue
            async with socket:
                yield proxy, socket
            return


async def test_timeout_ends_a_websocket_if_switched_on():
    async with opened_in_time(websocket_timeout=True) as (_, socket):
        with pytest.raises(websockets.ConnectionClosedError):
            await within(socket.recv())


async def test_timeout_leaves_a_websocket_if_switched_off():
    async with opened_in_time(websocket_timeout=False) as (proxy, socket):
        async with client(proxy) as http:
            assert (await http.get("http://slow.gvc.cpln.local/")).status_code == 504
        await socket.send("still there")
        assert await socket.recv() == "still there"


async def test_late_handshake_is_504():
    async with late() as (_, proxy), connected(proxy.port) as (reader, writer):
        writer.write(HANDSHAKE.encode())
        assert (await response(reader))[0] == 504


async def test_refused_upgrade_is_an_ordinary_response():
    answer = b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno"
    async with behind_proxy(answer) as (web, proxy), connected(proxy.port) as (reader, writer):
        for _ in range(2):
            writer.write(HANDSHAKE.encode())
            assert (await response(reader))[::2] == (403, b"no")
        assert web.connections == 2


@pytest.mark.parametrize(
    "request_head",
    [
        f"GET http://{HOST}/ HTTP/1.1\r\nHost: a\r\n\r\n",
        f"GET http://{HOST}/ HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
        HANDSHAKE.replace("HTTP/1.1", "HTTP/1.0"),
        HANDSHAKE.replace("\r\n\r\n", "\r\nContent-Length: 5\r\n\r\n"),
    ],
    ids=["not-asked", "not-in-connection", "http-1.0", "unfinished"],
)
async def test_switch_out_of_turn_is_502(request_head):
    answer = b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    async with behind_proxy(answer) as (_, proxy), connected(proxy.port) as (reader, writer):
        writer.write(request_head.encode())
        assert (await response(reader))[0] == 502


@pytest.mark.parametrize("decision", [Refused(403, "no"), route()], ids=["refused", "none-ready"])
async def test_connect_gets_the_status_itself(decision):
    status = 503 if decision == route() else 403
    async with proxying(FakeRouter(web=decision)) as proxy:
        with pytest.raises(websockets.InvalidProxyStatus) as caught:
            await websocket(proxy)
        assert caught.value.response.status_code == status
        async with connected(proxy.port) as (reader, writer):
            for _ in range(2):
                writer.write(f"CONNECT {HOST}:80 HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
                assert (await response(reader))[0] == status


async def test_readiness_counts_inside_a_tunnel():
    async with Upstream(None) as unused:
        ready = route(unused.backend)
        router = FakeRouter(web=[ready, route(), Refused(403, "no"), route()])
        async with proxying(router) as proxy, tunnel(proxy) as (reader, writer):
            for expected in (503, 403, 503):
                writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                assert (await response(reader))[0] == expected
        assert router.asked == [(None, HOST, 80)] * 4


@contextlib.asynccontextmanager
async def tunnel(proxy, authority=f"{HOST}:80", early=b""):
    async with connected(proxy.port) as (reader, writer):
        writer.write(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode() + early)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        yield reader, writer


@pytest.mark.parametrize(
    ("first_line", "expected"),
    [
        ("GET /a?b HTTP/1.1", "GET /a?b HTTP/1.1"),
        ("GET http://elsewhere/a HTTP/1.1", "GET /a HTTP/1.1"),
        ("OPTIONS * HTTP/1.1", "OPTIONS * HTTP/1.1"),
    ],
)
async def test_tunnel_of_http_leads_to_its_host(first_line, expected):
    async with behind_proxy(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") as (web, proxy):
        early = f"{first_line}\r\nHost: named\r\n\r\n".encode()
        async with tunnel(proxy, early=early) as (reader, writer):
            assert (await response(reader))[0] == 200
            writer.write(early)
            assert (await response(reader))[0] == 200
        assert [first for first, _ in web.heads] == [expected] * 2
        assert web.heads[0][1]["host"] == ["named"]


@pytest.mark.parametrize(
    "data",
    [
        b"CONNECT b:1 HTTP/1.1\r\nHost: b\r\n\r\n",
        b"\x16\x03\x01\x02\r\n\r\n",
        b"GET a HTTP/1.0\r\n\r\n",
    ],
    ids=["connect", "tls", "target"],
)
async def test_tunnel_of_http_refuses_the_rest(data):
    async with behind_proxy(b"") as (web, proxy):
        async with tunnel(proxy, early=data) as (reader, _):
            assert (await response(reader))[0] == 400
        assert web.connections == 0


async def shout(_, reader, writer):
    """Read to the end, then answer: a protocol that needs the half-closed connection."""
    data = await reader.read()
    writer.write(data.upper())


@pytest.mark.parametrize("is_outside", [True, False], ids=["outside", "raw-port"])
async def test_bytes_pass_untouched_through_a_tunnel(is_outside):
    async with behind_proxy(shout, is_raw=True, seconds=0.0) as (web, proxy):
        authority = f"127.0.0.1:{web.backend.port}" if is_outside else f"{HOST}:5432"
        async with tunnel(proxy, authority, early=b"\x00ab\r\n\r\n") as (reader, writer):
            writer.write(b"c" * 1_000_000)
            await asyncio.gather(writer.drain(), asyncio.sleep(0))
            writer.write_eof()
            assert await reader.read() == b"\x00AB\r\n\r\n" + b"C" * 1_000_000


async def test_tunnel_ends_with_its_peers():
    async def handler(_, reader, writer):
        await reader.read(1)
        writer.transport.abort()

    async with behind_proxy(handler, is_raw=True) as (_, proxy), tunnel(proxy) as both:
        reader, writer = both
        writer.write(b"x")
        assert await within(reader.read()) == b""


async def test_failed_tunnels_are_answered():
    closed = await refusing()
    raw = route(closed, closed, is_raw=True)
    router = FakeRouter(web=raw, none=route(is_raw=True))
    async with proxying(router) as proxy, connected(proxy.port) as (reader, writer):
        for authority, expected in [
            (f"{HOST}:1", 503),
            ("none.gvc.cpln.local:1", 503),
            (f"127.0.0.1:{closed.port}", 502),
        ]:
            writer.write(f"CONNECT {authority} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert (await response(reader))[0] == expected


async def test_tunnel_tries_the_next_backend():
    async with Upstream(shout) as web:
        router = FakeRouter(web=route(await refusing(), web.backend, is_raw=True))
        async with proxying(router) as proxy, tunnel(proxy) as (reader, writer):
            writer.write(b"x")
            writer.write_eof()
            assert await reader.read() == b"X"


async def test_https_outside_is_tunneled():
    seen = []

    async def handler(_, reader, __):
        seen.append(await reader.readexactly(1))

    async with behind_proxy(handler) as (web, proxy), client(proxy) as http:
        with pytest.raises(httpx.TransportError):
            await http.get(f"https://127.0.0.1:{web.backend.port}/")
    assert seen == [b"\x16"]
