"""What a client may not do: too much, too slowly, too often, or not in HTTP."""

import asyncio
import base64
import contextlib
import logging
import socket

import h11
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cpln_flows.emulator.proxy.entrances import ProxyEntrance
from cpln_flows.emulator.proxy.exchange import Asked
from tests.patience import PATIENCE_SECONDS

from .support import (
    HOST,
    SECRET,
    FakeRouter,
    behind_proxy,
    client,
    connected,
    proxying,
    response,
    route,
    sent,
    upstream,
    within,
)

pytestmark = pytest.mark.anyio

GET = f"GET http://{HOST}/ HTTP/1.1\r\nHost: {HOST}\r\n"


@contextlib.asynccontextmanager
async def connected_proxy(**limits):
    """A bare connection to a proxy that has no ready backend for any host."""
    router = FakeRouter(web=route())
    async with proxying(router, **limits) as proxy, connected(proxy.port) as both:
        yield both


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET http://a/ HTTP/1.1\r\n\r\n", 400),
        (b"GET http://a/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 2\r\n\r\n", 400),
        (b"GET http://a/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"GET http://a/ HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        (b"GET / HTTP/1.0\r\n\r\n", 400),
        (b"OPTIONS * HTTP/1.0\r\n\r\n", 400),
        (b"GET https://a/ HTTP/1.0\r\n\r\n", 400),
        (b"GET ftp://a/ HTTP/1.0\r\n\r\n", 400),
        (b"GET http:///path HTTP/1.0\r\n\r\n", 400),
        (b"GET http://user:secret@a/ HTTP/1.0\r\n\r\n", 400),
        (b"GET http://a:0/ HTTP/1.0\r\n\r\n", 400),
        (b"GET http://a:65536/ HTTP/1.0\r\n\r\n", 400),
        (b"CONNECT a HTTP/1.0\r\n\r\n", 400),
        (b"CONNECT http://a/ HTTP/1.0\r\n\r\n", 400),
        (b"CONNECT [::1 HTTP/1.0\r\n\r\n", 400),
        pytest.param(
            b"GET http://a/ HTTP/1.1\r\nHost: a\r\nX: %s\r\n\r\n" % (b"x" * 65_600),
            431,
            id="long-head",
        ),
        pytest.param(b"GET http://a/ HTTP/1.1\r\nX: " + b"x" * 3_000_000, 431, id="long-line"),
        pytest.param(b"GET http://a/ HTTP/1.1\r\n" + b"X: 1\r\n" * 500_000, 431, id="many-lines"),
    ],
)
async def test_what_cannot_be_served_is_refused(data, status):
    router = FakeRouter()
    async with proxying(router) as proxy, connected(proxy.port) as (reader, writer):
        writer.write(data)
        assert (await response(reader))[0] == status
    assert router.asked == []


async def test_refusal_is_found_by_a_late_reader():
    async with proxying(FakeRouter()) as proxy:

        def send_then_read():
            with socket.create_connection(("127.0.0.1", proxy.port), PATIENCE_SECONDS) as link:
                link.sendall(b"GET http://a/ HTTP/1.1\r\nX: " + b"x" * 20_000_000)
                return link.recv(12)

        assert await asyncio.to_thread(send_then_read) == b"HTTP/1.1 431"


async def test_connect_with_a_body_is_refused():
    head = f"CONNECT {HOST}:80 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx"
    async with connected_proxy() as (reader, writer):
        writer.write(head.encode())
        assert (await response(reader))[0] == 400


@pytest.mark.parametrize("prefix", ["", f"{GET}\r\n"], ids=["first", "second"])
async def test_slow_head_is_408(prefix):
    async with connected_proxy(head_seconds=0.05) as (reader, writer):
        writer.write(prefix.encode())
        if prefix:
            assert (await response(reader))[0] == 503
        writer.write(GET.encode())
        status, headers, _ = await response(reader)
        assert (status, headers["connection"]) == (408, "close")
        assert await reader.read() == b""


async def test_silent_connection_is_closed():
    async with connected_proxy(head_seconds=0.05) as (reader, _):
        assert await reader.read() == b""


async def test_idle_connection_is_closed():
    async with connected_proxy(idle_seconds=0.05) as (reader, writer):
        writer.write(f"{GET}\r\n".encode())
        assert (await response(reader))[0] == 503
        assert await reader.read() == b""


async def test_idle_tunnel_is_closed():
    behind = behind_proxy(b"", idle_seconds=0.05)
    async with behind as (_, proxy), connected(proxy.port) as (reader, writer):
        writer.write(f"CONNECT {HOST}:80 HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        assert (await response(reader))[0] == 200
        assert await reader.read() == b""


async def test_one_connection_too_many_is_503():
    router = FakeRouter(web=route())
    router.edges["/w"] = route()
    async with proxying(router, connections=2) as proxy:
        edge = int((proxy.open_edge("/w")).rsplit(":", 1)[1])
        async with connected(proxy.port) as (first, one), connected(edge) as (second, two):
            one.write(f"{GET}\r\n".encode())
            two.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await response(first)
            await response(second)
            for port in (proxy.port, edge):
                found = await sent(port, f"{GET}\r\n".encode())
                assert found.startswith(b"HTTP/1.1 503 ")
                assert found.endswith(b"the proxy already has 2 connections, which is its limit")
            one.close()
            assert await first.read() == b""
        async with client(proxy) as http:
            assert (await http.get(f"http://{HOST}/")).text == "no healthy upstream"


async def test_refused_connections_have_a_limit_too():
    limits = {"connections": 1, "linger_seconds": PATIENCE_SECONDS}
    async with (
        proxying(FakeRouter(), **limits) as proxy,
        connected(proxy.port),
        connected(proxy.port) as (refused, _),
    ):
        assert (await response(refused))[0] == 503
        assert await sent(proxy.port, b"") == b""


async def test_half_a_head_of_a_gone_client_is_nothing():
    async with proxying(FakeRouter(web=route())) as proxy:
        async with connected(proxy.port) as (_, writer):
            writer.write(GET.encode())
        async with client(proxy) as http:
            assert (await http.get(f"http://{HOST}/")).status_code == 503


async def test_nothing_is_logged_of_requests(caplog):
    caplog.set_level(logging.DEBUG, "cpln_flows")
    async with upstream() as web, proxying(FakeRouter(web=route(web.backend))) as proxy:
        async with client(proxy) as http:
            await http.get(f"http://{HOST}/", headers={"X-Key": "s3cret"})
        await sent(proxy.port, b"GET http://a/ HTTP/1.1\r\nX: s3cret\r\n\r\n")
    assert [each for each in caplog.records if each.name.startswith("cpln_flows")] == []


def test_no_repr_holds_a_secret():
    credentials = base64.b64encode(SECRET.encode())
    for method, target in (("GET", f"http://{HOST}/?key=s3cret"), ("CONNECT", f"{HOST}:80")):
        headers = [("Host", HOST), ("Proxy-Authorization", b"Basic " + credentials)]
        head = h11.Request(method=method, target=target, headers=headers)
        plan = ProxyEntrance(FakeRouter()).plan(head)
        shown = repr(Asked(head, plan, "127.0.0.1", 0.0))
        assert "s3cret" not in shown
        assert credentials.decode() not in shown
        assert HOST in shown


PIECES = st.sampled_from(
    [
        b"GET ",
        b"CONNECT ",
        f"http://{HOST}/".encode(),
        f"{HOST}:80".encode(),
        b" HTTP/1.1\r\n",
        b" HTTP/1.0\r\n",
        b"Host: a\r\n",
        b"Content-Length: 5\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Connection: upgrade\r\nUpgrade: websocket\r\n",
        b"Expect: 100-continue\r\n",
        b"\r\n",
        b"5\r\nhello\r\n0\r\n\r\n",
    ]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(PIECES, st.binary(max_size=20)), max_size=12).map(b"".join))
@example(f"{GET}Content-Length: 5\r\n\r\nhell".encode())
@example(f"{GET}Transfer-Encoding: chunked\r\n\r\n-1\r\n".encode())
@example(f"CONNECT {HOST}:80 HTTP/1.1\r\nHost: a\r\n\r\nCONNECT".encode())
async def test_any_bytes_leave_the_proxy_serving(data):
    async with upstream() as web, proxying(FakeRouter(web=route(web.backend))) as proxy:
        async with connected(proxy.port) as (reader, writer):
            writer.write(data)
            writer.write_eof()
            with contextlib.suppress(ConnectionResetError):
                answer = await within(reader.read())
                assert answer == b"" or answer[:10] in (b"HTTP/1.1 2", b"HTTP/1.1 4", b"HTTP/1.1 5")
        assert b" 200 " in await sent(proxy.port, f"GET http://{HOST}/ HTTP/1.0\r\n\r\n".encode())
