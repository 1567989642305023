import asyncio
import contextlib
import http.server
import threading

import anyio
import pytest
from pydantic import SecretStr

from cpln_flows.api.client import CplnClient
from cpln_flows.emulator import Platform, PlatformConfig, serve_in_thread
from cpln_flows.errors import ConfigurationError, TransportError
from cpln_flows.settings import ApiSettings
from tests.patience import PATIENCE_SECONDS

pytestmark = pytest.mark.anyio

TOKEN = "t"


@pytest.fixture
def anyio_backend():
    return "asyncio"


def client(url: str) -> CplnClient:
    return CplnClient(ApiSettings(token=SecretStr(TOKEN), endpoint=url, retry_seconds=0))


async def test_requests_one_after_the_other_share_a_connection() -> None:
    with serve_in_thread(Platform(PlatformConfig(token=TOKEN))) as server:
        async with client(server.url) as api:
            for _ in range(5):
                await api.get("/org/local")
        assert server.platform.connections == 1


async def test_many_requests_at_once_have_a_bounded_number_of_connections() -> None:
    with serve_in_thread(Platform(PlatformConfig(token=TOKEN, latency_seconds=0.02))) as server:
        async with client(server.url) as api, anyio.create_task_group() as tasks:
            for _ in range(200):
                tasks.start_soon(api.get, "/org/local")
        assert len(server.platform.requests) == 200
        assert 1 < server.platform.connections <= 40


async def test_a_connection_that_the_server_has_closed_is_replaced() -> None:
    with serve_in_thread(Platform(PlatformConfig(token=TOKEN))) as server:
        api = client(server.url)
        async with api:
            await api.get("/org/local")
            port = server.url.rsplit(":", 1)[1]
    with serve_in_thread(Platform(PlatformConfig(token=TOKEN)), port=int(port)):
        async with api:
            assert (await api.get("/org/local"))["name"] == "local"


async def test_an_answer_whose_body_takes_long_holds_up_no_other_request() -> None:
    released = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                writer.write(
                    b"HTTP/1.1 200 OK\r\n"
                    b"content-type: application/json\r\ncontent-length: 2\r\n\r\n"
                )
                await writer.drain()
                if b"/slow" in head:
                    await released.wait()
                writer.write(b"{}")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with client(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as api:
        slow = asyncio.create_task(api.get("/slow"))
        with anyio.fail_after(PATIENCE_SECONDS):
            for _ in range(3):
                await asyncio.sleep(0.02)  # until the head of the slow answer has come
                await api.get("/quick")
        assert not slow.done()
        released.set()
        assert await slow == {}
    server.close()


async def test_a_request_that_is_cancelled_at_any_point_holds_up_no_other_one() -> None:
    """Without our care, httpcore counts a connection as busy forever if its close is cancelled."""
    with serve_in_thread(Platform(PlatformConfig(token=TOKEN))) as server:
        async with client(server.url) as api:
            await api.get("/org/local")
            done = 0
            for steps in range(1000):
                request = asyncio.create_task(api.get("/org/local"))
                for _ in range(steps):
                    await asyncio.sleep(0)
                done += request.done()
                request.cancel()
                await asyncio.wait([request])
                with anyio.fail_after(PATIENCE_SECONDS):
                    await api.get("/org/local")
                if done > 5:
                    return
    pytest.fail("no request came to its end")


class Proxy(http.server.BaseHTTPRequestHandler):
    """Answers every request itself and remembers what it was asked for."""

    asked: list[str] = []  # noqa: RUF012 - of the one class that the test makes

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(b'{"name": "by-proxy"}')

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def proxy(monkeypatch):
    handler = type("Asked", (Proxy,), {"asked": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_port}")
    yield handler.asked
    server.shutdown()
    server.server_close()


@pytest.fixture
def no_proxies(monkeypatch):
    for scheme in ("http", "https", "all", "no"):
        monkeypatch.delenv(f"{scheme}_proxy", raising=False)
        monkeypatch.delenv(f"{scheme.upper()}_PROXY", raising=False)
    return monkeypatch


@pytest.mark.parametrize(
    "no_proxy",
    ["127.0.0.1,fd00:1234::/64", "[::1]", "[fd00::1]:80", "http://[::1", "%%,[,]:x,://", "a/b"],
    ids=str,
)
async def test_strange_exceptions_change_nothing(no_proxies, no_proxy) -> None:
    no_proxies.setenv("NO_PROXY", no_proxy)
    with serve_in_thread(Platform(PlatformConfig(token=TOKEN))) as server:
        async with client(server.url) as api:
            assert (await api.get("/org/local"))["name"] == "local"
        no_proxies.setenv("HTTPS_PROXY", "http://127.0.0.1:9")  # for others
        async with client(server.url) as api:
            assert (await api.get("/org/local"))["name"] == "local"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        *(
            ("HTTP_PROXY", value)
            for value in (
                "http://[::1",
                "http://me:hush@proxy:99999",
                "ftp://proxy",
                "http://proxy/x",
            )
        ),
        *(
            ("ALL_PROXY", value)
            for value in ("socks9://me:hush@proxy", "socks5://me:hush@proxy:1080", "http://")
        ),
    ],
)
async def test_unusable_proxy_is_named(no_proxies, variable, value) -> None:
    """The packages that SOCKS needs are not there."""
    no_proxies.setenv(variable, value)
    with pytest.raises(ConfigurationError, match=variable) as caught:
        await client("http://platform.test").__aenter__()
    assert "hush" not in str(caught.value)
    no_proxies.setenv("NO_PROXY", "platform.test")
    async with client("http://platform.test"):
        pass  # it is for others


async def test_password_of_a_proxy_is_in_no_error(no_proxies) -> None:
    no_proxies.setenv("HTTP_PROXY", "http://me:hush@127.0.0.1:9")
    async with client("http://platform.test") as api:
        with pytest.raises(TransportError) as caught:
            await api.get("/org/acme")
    assert "hush" not in f"{caught.value} {caught.value.__cause__}"


async def test_the_proxy_of_the_environment_is_used(proxy) -> None:
    async with client("http://platform.test") as api:
        assert (await api.get("/org/acme"))["name"] == "by-proxy"
    assert proxy == ["http://platform.test/org/acme"]
