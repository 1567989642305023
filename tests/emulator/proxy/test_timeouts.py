"""The timeout of a route: from the head of a request to the last byte of its response."""

import asyncio

import httpx
import pytest

from .support import (
    HOST,
    OK,
    FakeRouter,
    Upstream,
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

SHORT = 0.05
# For what has to begin before the time is over: a slow machine gets a longer time.
GROWING = (SHORT, 0.5, 5.0, 50.0)


async def wait_for_the_end(server, reader, writer):
    await server.head(reader)
    await reader.read()


def late():
    """A server that never answers, and a proxy that does not wait for it long."""
    return behind_proxy(wait_for_the_end, seconds=SHORT)


async def ask_until_in_time(ask):
    """Ask once for each timeout, the last of which even a slow machine meets."""
    for _ in GROWING:
        await ask()


async def test_late_head_is_504():
    async with late() as (web, proxy):
        async with client(proxy) as http:
            answer = await http.get(f"http://{HOST}/")
            assert (answer.status_code, answer.text) == (504, "upstream request timeout")
            assert answer.headers["content-type"].startswith("text/plain")
        await within(web.ended.wait())


async def test_connection_survives_a_504():
    async with upstream() as web, Upstream(wait_for_the_end) as slow:
        router = FakeRouter(web=[route(slow.backend, seconds=SHORT), route(web.backend)])
        async with proxying(router) as proxy, connected(proxy.port) as (reader, writer):
            for expected in (504, 200):
                writer.write(f"GET http://{HOST}/ HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
                assert (await response(reader))[0] == expected


async def test_body_that_never_ends_is_504():
    async with late() as (web, proxy):
        async with connected(proxy.port) as (reader, writer):
            writer.write(
                f"POST http://{HOST}/ HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx".encode()
            )
            assert (await response(reader))[0] == 504
        await within(web.ended.wait())


@pytest.mark.parametrize("framing", ["Content-Length: 9", "Transfer-Encoding: chunked"])
async def test_late_end_cuts_the_response(framing):
    async def handler(server, reader, writer):
        await server.head(reader)
        writer.write(f"HTTP/1.1 200 OK\r\n{framing}\r\n\r\n3\r\nabc\r\n".encode())
        await reader.read()

    async with behind_proxy(handler, seconds=GROWING) as (web, proxy):
        async with client(proxy) as http:
            with pytest.raises(httpx.RemoteProtocolError, match=r"incomplete|without sending"):
                await ask_until_in_time(lambda: http.get(f"http://{HOST}/"))
        await within(web.ended.wait())


async def test_late_end_resets_an_old_client():
    async def handler(server, reader, writer):
        await server.head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nabc")
        await reader.read()

    head = f"GET http://{HOST}/ HTTP/1.0\r\n\r\n".encode()
    async with behind_proxy(handler, seconds=GROWING) as (_, proxy):
        with pytest.raises(ConnectionResetError):
            await ask_until_in_time(lambda: sent(proxy.port, head))


async def test_timeout_ends_a_response_nobody_reads():
    async def handler(server, reader, writer):
        await server.head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"x" * 65_536)
            await writer.drain()

    behind = behind_proxy(handler, seconds=SHORT)
    async with behind as (web, proxy), connected(proxy.port) as (_, writer):
        writer.transport.pause_reading()
        writer.write(f"GET http://{HOST}/ HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        await within(web.ended.wait())


async def test_outside_world_has_no_timeout():
    going = asyncio.Event()

    async def handler(server, reader, writer):
        await server.head(reader)
        await going.wait()
        writer.write(OK)

    async with Upstream(handler) as outside, Upstream(wait_for_the_end) as slow:
        router = FakeRouter(web=route(slow.backend, seconds=SHORT))
        async with proxying(router) as proxy, client(proxy) as http:
            waiting = asyncio.ensure_future(http.get(f"{outside.url}/"))
            assert (await http.get(f"http://{HOST}/")).status_code == 504
            going.set()
            assert (await waiting).status_code == 200
