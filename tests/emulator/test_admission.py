"""Which requests are admitted: by address, origin and token, before any of the body is read."""

import asyncio
import json
import logging

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from cpln_flows.emulator import Platform, PlatformConfig, Server, serve_in_thread

from .support import AUTH, FIXED, TAIL, TOKEN, local

pytestmark = pytest.mark.anyio

SELECTOR = {"query": '{gvc="quickstart"}'}
CONTROL = ["faults", "clock", "requests", "config", "lines", "none"]


async def answer_of(method="GET", *, headers=(), platform=None):
    """Return status and headers of the answer to a request given in full, Host and Origin too."""
    sent = []

    async def send(message):
        sent.append(message)

    async def nothing_more():
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {
        "type": "http",
        "scheme": "http",
        "method": method,
        "path": "/org/local",
        "query_string": b"",
    }
    scope["headers"] = [(name.encode(), value.encode()) for name, value in headers]
    await (platform or Platform(FIXED)).app(
        {**scope, "server": ("127.0.0.1", 8000)}, nothing_more, send
    )
    return sent[0]["status"], dict(sent[0]["headers"])


def with_host(host, **more):
    return [("authorization", TOKEN), ("host", host), *more.items()]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        pytest.param("127.0.0.1:8000", 200, id="loopback"),
        pytest.param("127.8.9.1:8000", 200, id="another-loopback"),
        pytest.param("[::1]:8000", 200, id="loopback-6"),
        pytest.param("localhost:8000", 200, id="name"),
        pytest.param("LOCALHOST:8000", 200, id="upper-case"),
        pytest.param("app.localhost:8000", 200, id="below-localhost"),
        pytest.param("box:8000", 200, id="configured"),
        pytest.param("proxy:443", 200, id="configured-with-port"),
        pytest.param("proxy:8000", 403, id="configured-for-another-port"),
        pytest.param("box:443", 403, id="configured-without-this-port"),
        pytest.param("evil.example:8000", 403, id="another-name"),
        pytest.param("evil.example", 403, id="another-name-without-port"),
        pytest.param("127.0.0.1.evil.example:8000", 403, id="looks-like-loopback"),
        pytest.param("localhost.evil.example:8000", 403, id="looks-like-localhost"),
        pytest.param("localhost:80", 403, id="another-port"),
        pytest.param("localhost", 403, id="default-port"),
        pytest.param("0.0.0.0:8000", 403, id="any-address"),
        pytest.param("192.168.1.2:8000", 403, id="another-address"),
        pytest.param("", 403, id="empty"),
        pytest.param("localhost:8000:8000", 403, id="two-ports"),
        pytest.param("evil@localhost:8000", 403, id="user"),
        pytest.param("localhost:8000/evil", 403, id="path"),
    ],
)
async def test_only_names_of_this_machine_are_served(host, status):
    platform = Platform(PlatformConfig(token=TOKEN, hosts=("box", "proxy:443")))
    assert (await answer_of(headers=with_host(host), platform=platform))[0] == status


async def test_a_request_without_a_host_is_refused():
    assert (await answer_of(headers=[("authorization", TOKEN)]))[0] == 400


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param({"origin": "http://localhost:8000"}, 200, id="own"),
        pytest.param({"origin": "http://127.0.0.1:8000"}, 200, id="own-by-address"),
        pytest.param({"sec-fetch-site": "same-origin"}, 200, id="same-origin"),
        pytest.param({"sec-fetch-site": "none"}, 200, id="typed-in"),
        pytest.param({"origin": "https://evil.example"}, 403, id="foreign"),
        pytest.param({"origin": "http://localhost:3000"}, 403, id="another-port"),
        pytest.param({"origin": "https://localhost:8000"}, 403, id="another-scheme"),
        pytest.param({"origin": "null"}, 403, id="null"),
        pytest.param({"origin": ""}, 403, id="empty"),
        pytest.param({"origin": "http://localhost:8000@evil.example"}, 403, id="user"),
        pytest.param({"sec-fetch-site": "cross-site"}, 403, id="another-site"),
        pytest.param({"sec-fetch-site": "same-site"}, 403, id="another-port-of-the-site"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
async def test_pages_of_other_origins_are_refused(headers, status, method):
    found, answered = await answer_of(method, headers=with_host("localhost:8000", **headers))
    assert found == (status if method == "GET" or status == 403 else 405)
    assert not [name for name in answered if name.startswith(b"access-control")]


@pytest.mark.parametrize(
    "path", ["/org", "/org/local", "/nowhere", "/", "/logs/org/local/loki/api/v1/query_range"]
)
@pytest.mark.parametrize(
    "authorization", ["", "Bearer", "s.wrong", "Bearer s.wrong", f"Basic {TOKEN}", "ä"]
)
async def test_every_path_needs_the_token(path, authorization):
    async with local() as here:
        given = {"authorization": authorization.encode()}
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
            answer = await here.client.request(method, path, headers=given)
            assert (answer.status_code, answer.json()["code"]) == (401, "UNAUTHORIZED"), method


@pytest.mark.parametrize("name", CONTROL)
async def test_control_routes_need_the_platforms_own_token(name):
    async with local(tokens={"s.root": "/org/local/group/superusers"}) as here:
        for token, status in (("", 401), ("s.wrong", 401), ("s.root", 403)):
            for method in ("GET", "POST", "PATCH", "DELETE"):
                answer = await here.client.request(
                    method, f"/_control/{name}", json={}, headers={"authorization": token}
                )
                assert answer.status_code == status, (method, token)
        assert (await here.client.get("/_control/config")).status_code == 200


async def test_nothing_of_a_body_is_read_without_a_token():
    read = []

    async def receive():
        read.append(1)
        return {"type": "http.request", "body": b"x" * 1000, "more_body": len(read) < 5}

    order = []
    platform = Platform(FIXED)

    async def send(message):
        order.append((message["type"], len(read)))

    headers = [
        (b"host", b"localhost"),
        (b"content-length", b"5000"),
        (b"authorization", b"s.wrong"),
    ]
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/org/local/gvc",
        "query_string": b"",
        "server": ("localhost", None),
    }
    await platform.app({**scope, "headers": headers}, receive, send)
    assert order[:2] == [("http.response.start", 0), ("http.response.body", 0)]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param({}, 101, id="no-browser"),
        pytest.param({"authorization": ""}, 401, id="no-token"),
        pytest.param({"authorization": "s.wrong"}, 401, id="wrong-token"),
        pytest.param({"origin": "https://evil.example"}, 403, id="foreign-origin"),
        pytest.param({"origin": "null"}, 403, id="null-origin"),
        pytest.param({"host": "evil.example"}, 403, id="foreign-host"),
    ],
)
async def test_an_upgrade_is_let_in_by_the_same_rules(headers, status):
    platform = Platform(FIXED)
    async with Server(platform) as server:
        url = server.url.replace("http", "ws", 1)
        given = {**AUTH, **headers}
        if "host" in given:
            port = int(url.rsplit(":", 1)[1])
            url, arguments = f"ws://{given.pop('host')}:{port}", {"host": "127.0.0.1", "port": port}
        else:
            arguments = {}
        request = connect(
            f"{url}{TAIL}?{httpx.QueryParams(SELECTOR)}", additional_headers=given, **arguments
        )
        if status == 101:
            async with request:
                pass
        else:
            with pytest.raises(InvalidStatus) as refused:
                async with request:
                    pass
            assert refused.value.response.status_code == status
            assert json.loads(refused.value.response.body)["status"] == status
    await platform.aclose()


def test_refused_requests_are_recorded_in_short():
    with serve_in_thread(Platform()) as running:
        httpx.get(f"{running.url}/{'x' * 9000}", headers=AUTH)
        (record,) = running.platform.requests
        assert (record.status, len(record.path)) == (401, 256)


async def test_no_token_is_in_any_log(caplog, capfd):
    """The WebSocket library would log every header at level DEBUG."""
    for name, level in (
        ("of-the-client", logging.CRITICAL),
        ("uvicorn.error", logging.DEBUG),
        (None, logging.DEBUG),
    ):
        caplog.set_level(level, name)
    platform = Platform(FIXED)
    async with Server(platform) as server:
        async with httpx.AsyncClient(base_url=server.url, headers=AUTH) as client:
            await client.get("/org/local")
            await client.get("/org/local", headers={"authorization": TOKEN[:-1]})
        url = f"{server.url.replace('http', 'ws', 1)}{TAIL}?{httpx.QueryParams(SELECTOR)}"
        async with connect(url, additional_headers=AUTH, logger=logging.getLogger("of-the-client")):
            await asyncio.sleep(0)
    await platform.aclose()
    ours = [
        record.getMessage()
        for record in caplog.records
        if not record.name.startswith(("httpx", "httpcore"))
    ]
    assert caplog.records
    assert TOKEN[:-1] not in f"{ours} {capfd.readouterr()}"
