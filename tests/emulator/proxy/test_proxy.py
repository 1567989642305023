"""Requests and responses through the forward proxy: whom they reach and what is changed."""

import asyncio
import base64
import urllib.request

import httpx
import pytest

from cpln_flows.emulator.proxy.routes import Refused

from .support import (
    HOST,
    SECRET,
    FakeRouter,
    behind_proxy,
    client,
    connected,
    proxying,
    refusing,
    response,
    route,
    sent,
    upstream,
)

pytestmark = pytest.mark.anyio


async def test_request_reaches_the_backend():
    async with upstream() as web, proxying(FakeRouter(web=route(web.backend))) as proxy:
        async with client(proxy) as http:
            answer = await http.get(f"http://{HOST}:8080/a/b?c=d%20e#f", headers={"X-Own": "1"})
        assert (answer.status_code, answer.text) == (200, "ok")
        ((first, headers),) = web.heads
        assert first == "GET /a/b?c=d%20e HTTP/1.1"
        assert headers["host"] == [f"{HOST}:8080"]
        assert headers["x-own"] == ["1"]
        assert headers["connection"] == ["close"]
        assert headers["x-forwarded-for"] == ["127.0.0.1"]
        assert headers["x-forwarded-proto"] == ["http"]
        assert "proxy-authorization" not in headers


async def test_router_gets_credentials_and_port():
    router = FakeRouter(web=Refused(403, "no"))
    async with proxying(router) as proxy:
        async with client(proxy) as http:
            await http.get(f"http://{HOST.upper()}/")
            await http.get(f"http://{HOST}:8080/")
        async with client(proxy, credentials="") as http:
            await http.get(f"http://{HOST}/")
    assert router.asked == [(SECRET, HOST, 80), (SECRET, HOST, 8080), (None, HOST, 80)]


@pytest.mark.parametrize(
    "header",
    [
        pytest.param("Bearer x", id="scheme"),
        pytest.param("Basic %%%", id="base64"),
        pytest.param(f"Basic {base64.b64encode(b'no-colon').decode()}", id="colon"),
        pytest.param(f"Basic {base64.b64encode(b'a:' + bytes([255])).decode()}", id="utf-8"),
        pytest.param("Basic YTpi\r\nProxy-Authorization: Basic YTpi", id="twice"),
    ],
)
async def test_malformed_credentials_count_as_none(header):
    router = FakeRouter(web=Refused(403, "no"))
    async with proxying(router) as proxy:
        head = f"GET http://{HOST}/ HTTP/1.0\r\nProxy-Authorization: {header}\r\n\r\n"
        assert b" 403 " in await sent(proxy.port, head.encode())
    assert router.asked == [(None, HOST, 80)]


async def test_urllib_and_httpx_share_the_way(monkeypatch):
    async with upstream() as web, proxying(FakeRouter(web=route(web.backend))) as proxy:
        address = f"http://{SECRET}@127.0.0.1:{proxy.port}"
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({"http": address}))

        def fetch():
            with opener.open(f"http://{HOST}/") as answer:
                return answer.status, answer.read()

        assert await asyncio.to_thread(fetch) == (200, b"ok")
        monkeypatch.setenv("HTTP_PROXY", address)
        async with httpx.AsyncClient() as http:
            assert (await http.get(f"http://{HOST}/")).text == "ok"


@pytest.mark.parametrize(
    ("refused", "challenge"),
    [
        (Refused(403, "RBAC: access denied"), None),
        (Refused(407, "who are you?"), 'Basic realm="local platform"'),
    ],
)
async def test_refusal_is_passed_on(refused, challenge):
    async with proxying(FakeRouter(web=refused)) as proxy, client(proxy) as http:
        answer = await http.post(f"http://{HOST}/", content=b"x" * 100_000)
        assert (answer.status_code, answer.text) == (refused.status, refused.message)
        assert answer.headers["content-type"].startswith("text/plain")
        assert answer.headers.get("proxy-authenticate") == challenge
        head = await http.head(f"http://{HOST}/")
        assert (head.status_code, head.content) == (refused.status, b"")


async def test_no_ready_backend_is_503():
    async with proxying(FakeRouter(web=route())) as proxy, client(proxy) as http:
        answer = await http.get(f"http://{HOST}/")
        assert (answer.status_code, answer.text) == (503, "no healthy upstream")


async def test_next_backend_is_tried_after_refusal():
    async with upstream() as web:
        router = FakeRouter(web=route(await refusing(), web.backend))
        async with proxying(router) as proxy, client(proxy) as http:
            answer = await http.post(f"http://{HOST}/", content=b"")
            assert answer.text == "ok"
        assert web.connections == 1


async def test_first_backend_alone_is_asked():
    async with upstream() as first, upstream() as second:
        router = FakeRouter(web=route(first.backend, second.backend))
        async with proxying(router) as proxy, client(proxy) as http:
            await http.get(f"http://{HOST}/")
        assert (first.connections, second.connections) == (1, 0)


async def test_all_backends_refuse():
    router = FakeRouter(web=route(await refusing(), await refusing()))
    async with proxying(router) as proxy, client(proxy) as http:
        answer = await http.get(f"http://{HOST}/")
        assert answer.status_code == 503
        assert answer.text == (
            "upstream connect error or disconnect/reset before headers."
            " reset reason: connection failure"
        )


@pytest.mark.parametrize("rest", [b"", b"HTTP/1.1 200 OK\r\nContent-"], ids=["none", "half"])
async def test_closing_backend_is_not_asked_twice(rest):
    async with upstream(rest) as web:
        router = FakeRouter(web=route(web.backend, web.backend))
        async with proxying(router) as proxy, client(proxy) as http:
            answer = await http.get(f"http://{HOST}/")
        assert answer.status_code == 503
        assert answer.text.endswith("reset reason: connection termination")
        assert web.connections == 1


async def test_nonsense_of_a_backend_is_502():
    async with upstream(b"SSH-2.0-OpenSSH\r\n\r\n") as web:
        async with proxying(FakeRouter(web=route(web.backend))) as proxy, client(proxy) as http:
            answer = await http.get(f"http://{HOST}/")
        assert answer.status_code == 502
        assert answer.text.endswith("reset reason: protocol error")


async def test_one_connection_serves_several_hosts():
    one, two = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", b"HTTP/1.1 404 No\r\n\r\n"
    async with upstream(one + b"one") as first, upstream(two + b"two") as second:
        router = FakeRouter(one=route(first.backend), two=route(second.backend), no=route())
        async with proxying(router) as proxy, connected(proxy.port) as (reader, writer):
            for name, expected in [
                ("one", b"one"),
                ("no", b"no healthy upstream"),
                ("one", b"one"),
            ]:
                host = f"{name}.gvc.cpln.local"
                writer.write(f"GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
                assert (await response(reader))[2] == expected
            host = "two.gvc.cpln.local"
            writer.write(f"GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            writer.write(
                f"GET http://one.gvc.cpln.local/ HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
            )
            answer = await reader.readuntil(b"0\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 404 No\r\n")
            assert (await response(reader))[2] == b"one"


async def test_router_decides_each_request_anew():
    async with upstream() as web:
        router = FakeRouter(web=[route(web.backend), route(), route(web.backend)])
        async with proxying(router) as proxy, client(proxy) as http:
            found = [(await http.get(f"http://{HOST}/")).status_code for _ in range(3)]
        assert found == [200, 503, 200]


async def test_hop_by_hop_headers_end_here():
    answer = (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nKeep-Alive: timeout=5\r\nX-Hop: 1\r\n"
        b"Connection: x-hop\r\nProxy-Authenticate: Basic\r\n"
        b"Set-Cookie: a\r\nSet-Cookie: b\r\n\r\nok"
    )
    async with upstream(answer) as web, proxying(FakeRouter(web=route(web.backend))) as proxy:
        request = (
            f"GET http://{HOST}/ HTTP/1.1\r\nHost: other\r\nConnection: close, x-mine, host\r\n"
            "X-Mine: 1\r\nTE: trailers\r\nKeep-Alive: 1\r\nProxy-Connection: keep-alive\r\n"
            "Proxy-Anything: 1\r\nUpgrade: h2c\r\nX-Forwarded-For: 10.0.0.1\r\n"
            "X-Forwarded-Proto: https\r\nX-Yours: 1\r\n\r\n"
        )
        found = await sent(proxy.port, request.encode())
        assert found.lower().count(b"set-cookie: ") == 2
        for gone in (b"keep-alive", b"x-hop", b"proxy-auth"):
            assert gone not in found.lower()
        _, headers = web.heads[0]
        assert headers == {
            "host": ["other"],
            "x-yours": ["1"],
            "x-forwarded-for": ["10.0.0.1, 127.0.0.1"],
            "x-forwarded-proto": ["http"],
            "connection": ["close"],
        }


async def test_names_keep_their_case():
    answer = b"HTTP/1.1 200 Fine\r\nX-CaSe: 1\r\nContent-Length: 0\r\n\r\n"
    async with behind_proxy(answer) as (_, proxy):
        found = await sent(proxy.port, f"GET http://{HOST}/ HTTP/1.0\r\n\r\n".encode())
    assert found.startswith(b"HTTP/1.1 200 Fine\r\n")
    assert b"\r\nX-CaSe: 1\r\n" in found


async def test_http_1_0_client_gets_a_host():
    async with upstream() as web, proxying(FakeRouter(web=route(web.backend))) as proxy:
        head = f"GET http://{HOST}:81/ HTTP/1.0\r\nExpect: 100-continue\r\n\r\n"
        assert (await sent(proxy.port, head.encode())).endswith(b"\r\n\r\nok")
        assert "expect" not in web.heads[0][1]
        assert web.heads[0][1]["host"] == [f"{HOST}:81"]


async def test_outside_world_is_reached_unmarked():
    async with upstream() as web, proxying(FakeRouter()) as proxy, client(proxy) as http:
        answer = await http.get(f"{web.url}/path")
        assert answer.text == "ok"
        ((first, headers),) = web.heads
        assert first == "GET /path HTTP/1.1"
        assert "x-forwarded-for" not in headers
        assert "proxy-authorization" not in headers


async def test_outside_failure_is_502():
    closed = await refusing()
    async with proxying(FakeRouter()) as proxy, client(proxy) as http:
        answer = await http.get(f"http://127.0.0.1:{closed.port}/")
        assert answer.status_code == 502
        assert answer.text == f"cannot connect to 127.0.0.1:{closed.port}: Connection refused"
        answer = await http.get("http://no-such-host.invalid/")
        assert answer.status_code == 502
        assert answer.text.startswith("cannot connect to no-such-host.invalid:80: ")


async def test_raw_port_speaks_no_http():
    async with upstream() as web:
        router = FakeRouter(web=route(web.backend, is_raw=True))
        async with proxying(router) as proxy, client(proxy) as http:
            assert (await http.get(f"http://{HOST}/")).status_code == 400
        assert web.connections == 0
