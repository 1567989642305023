"""The canonical endpoint of a workload, and what is left when it or the proxy is closed."""

import asyncio
import gc
import socket

import httpx
import pytest
from websockets.asyncio.client import connect

from cpln_flows.emulator.proxy.routes import Refused
from cpln_flows.emulator.proxy.server import Proxy

from .support import (
    HOST,
    LONG,
    FakeRouter,
    Upstream,
    client,
    connected,
    proxying,
    response,
    route,
    sent,
    upstream,
    within,
)
from .test_timeouts import wait_for_the_end

pytestmark = pytest.mark.anyio

LINK = "/org/local/gvc/quickstart/workload/web"
OTHER = "/org/local/gvc/quickstart/workload/other"


def port_of(url):
    return int(url.rsplit(":", 1)[1])


async def test_edge_asks_for_each_request():
    async with upstream() as web:
        router = FakeRouter()
        router.edges[LINK] = [route(web.backend), route(), Refused(403, "not from here")]
        async with proxying(router) as proxy:
            url = proxy.open_edge(LINK)
            async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=LONG) as http:
                found = [await http.get("/a?b", headers={"X-A": "1"}) for _ in range(3)]
        assert [(each.status_code, each.text) for each in found] == [
            (200, "ok"),
            (503, "no healthy upstream"),
            (403, "not from here"),
        ]
        assert router.asked == [(LINK, "127.0.0.1")] * 3
        ((first, headers),) = web.heads
        assert first == "GET /a?b HTTP/1.1"
        assert headers["host"] == [url.removeprefix("http://")]
        assert headers["x-forwarded-for"] == ["127.0.0.1"]


async def test_each_workload_has_its_edge():
    async with upstream() as web:
        router = FakeRouter()
        router.edges = {LINK: Refused(403, "no"), OTHER: route(web.backend)}
        async with proxying(router) as proxy:
            one, two = proxy.open_edge(LINK), proxy.open_edge(OTHER)
            assert len({proxy.url, one, two}) == 3
            assert proxy.open_edge(LINK) == one
            proxy.close_edge(LINK)
            proxy.close_edge(LINK)
            proxy.close_edge("/never/opened")
            with pytest.raises(ConnectionRefusedError):
                await sent(port_of(one), b"")
            assert b" 200 " in await sent(port_of(two), b"GET / HTTP/1.0\r\n\r\n")
            again = proxy.open_edge(LINK)
            assert b" 403 " in await sent(port_of(again), b"GET / HTTP/1.0\r\n\r\n")


async def test_closed_edge_ends_its_connections():
    async with Upstream(wait_for_the_end) as web:
        router = FakeRouter(web=route(web.backend))
        router.edges[LINK] = route(web.backend)
        async with proxying(router) as proxy:
            url = proxy.open_edge(LINK)
            async with connected(port_of(url)) as (reader, writer):
                writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                async with connected(port_of(url)) as (idle, _), connected(proxy.port) as (kept, _):
                    proxy.close_edge(LINK)
                    assert await reader.read() == b""
                    assert await idle.read() == b""
                    assert not kept.at_eof()


async def test_edge_serves_origin_form_only():
    router = FakeRouter()
    router.edges[LINK] = route()
    async with proxying(router) as proxy:
        port = port_of(proxy.open_edge(LINK))
        found = await sent(port, b"CONNECT a:1 HTTP/1.0\r\nHost: a\r\n\r\n")
        assert found.startswith(b"HTTP/1.1 400 ")
        assert router.asked == []
        assert b" 503 " in await sent(port, b"GET http://a/ HTTP/1.0\r\n\r\n")


async def test_websocket_passes_the_edge():
    async def handler(server, reader, writer):
        await server.head(reader)
        writer.write(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")

    async with Upstream(handler) as web:
        router = FakeRouter()
        router.edges[LINK] = route(web.backend)
        async with proxying(router) as proxy:
            url = proxy.open_edge(LINK)
            with pytest.raises(Exception, match="HTTP 403"):
                await connect(url.replace("http", "ws"), proxy=None, open_timeout=LONG)
        assert web.heads[0][1]["upgrade"] == ["websocket"]


async def test_aclose_ends_everything():
    async with Upstream(wait_for_the_end) as web:
        router = FakeRouter(web=route(web.backend), raw=route(web.backend, is_raw=True))
        router.edges[LINK] = route(web.backend)
        async with proxying(router) as proxy:
            edge = port_of(proxy.open_edge(LINK))
            async with (
                connected(proxy.port) as (idle, _),
                connected(proxy.port) as (asking, ask),
                connected(proxy.port) as (tunnel, connect_),
                connected(edge) as (outside, request),
            ):
                ask.write(f"GET http://{HOST}/ HTTP/1.1\r\nHost: a\r\n\r\n".encode())
                connect_.write(b"CONNECT raw.gvc.cpln.local:1 HTTP/1.1\r\nHost: a\r\n\r\n")
                request.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                assert (await response(tunnel))[0] == 200
                await proxy.aclose()
                for reader in (idle, asking, tunnel, outside):
                    assert await within(reader.read()) == b""
            for port in (proxy.port, edge):
                with pytest.raises(ConnectionRefusedError):
                    await sent(port, b"")


async def test_aclose_leaves_no_socket():
    before = open_sockets()
    async with Upstream(wait_for_the_end) as web:
        proxy = Proxy(FakeRouter(web=route(web.backend)), websocket_timeout=lambda: False)
        url = proxy.start()
        assert proxy.start() == url
        proxy.open_edge(LINK)
        async with connected(port_of(url)) as (_, writer), connected(port_of(url)):
            writer.write(f"GET http://{HOST}/ HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            await writer.drain()
            await proxy.aclose()
        await proxy.aclose()
    await asyncio.sleep(0)
    assert open_sockets() <= before


def open_sockets():
    gc.collect()
    found = [each for each in gc.get_objects() if type(each) is socket.socket]
    return {each.fileno() for each in found if each.fileno() >= 0}


async def test_proxy_listens_where_it_is_told():
    proxy = Proxy(FakeRouter(), websocket_timeout=lambda: False)
    url = proxy.start("::1")
    assert url.startswith("http://[::1]:")
    async with httpx.AsyncClient(trust_env=False) as http:
        assert (await http.get(url)).status_code == 400
    await proxy.aclose()


async def test_defect_ends_its_own_connection(caplog):
    class Broken(FakeRouter):
        def internal(self, credentials, host, port):
            raise LookupError(credentials)

    async with proxying(Broken()) as proxy, client(proxy) as http:
        for _ in range(2):
            with pytest.raises(httpx.RemoteProtocolError):
                await http.get(f"http://{HOST}/")
    (first, _) = caplog.records
    assert first.getMessage().startswith("LookupError ended a connection of the proxy:")
    assert "s3cret" not in caplog.text
