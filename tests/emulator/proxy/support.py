"""What the tests of the proxy share: a router that does as it is told, and servers behind it."""

import asyncio
import contextlib
import dataclasses
from pathlib import Path

import httpx

from cpln_flows.emulator import serving
from cpln_flows.emulator.proxy.conduct import DEFAULT_LIMITS
from cpln_flows.emulator.proxy.routes import Backend, Refused, Route
from cpln_flows.emulator.proxy.server import Proxy
from tests.patience import PATIENCE_SECONDS

HOST = "web.gvc.cpln.local"
SECRET = "replica-1:s3cret"
LONG = PATIENCE_SECONDS
_SERVING = Path(serving.__file__).parent
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class FakeRouter:
    """Routes by host; of a list of decisions, each request gets the next one."""

    def __init__(self, **hosts):
        self.hosts = {}
        self.edges = {}
        self.asked = []
        for name, decision in hosts.items():
            self.hosts[f"{name}.gvc.cpln.local"] = decision

    def internal(self, credentials, host, port):
        self.asked.append((credentials, host, port))
        return _next(self.hosts.get(host))

    def canonical(self, workload, address):
        self.asked.append((workload, address))
        return _next(self.edges.get(workload, Refused(404, "no such workload")))


def _next(decision):
    if isinstance(decision, list):
        return decision.pop(0) if len(decision) > 1 else decision[0]
    return decision


def route(*backends, seconds=LONG, is_raw=False):
    return Route(tuple(backends), seconds, is_raw)


class Upstream:
    """A server whose handler gets the streams of each connection; it remembers heads and ends."""

    def __init__(self, handler):
        self._handler = handler
        self.heads = []
        self.connections = 0
        self.failures = []
        self.ended = asyncio.Event()
        self.backend = Backend("127.0.0.1", 0)
        self._tasks = set()

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.backend = Backend("127.0.0.1", self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_):
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()
        assert self.failures == []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.backend.port}"

    def _connected(self, reader, writer):
        self.connections += 1
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader, writer):
        try:
            await self._handler(self, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        except Exception as error:  # noqa: BLE001 - the test fails with it at its end
            self.failures.append(error)
        finally:
            self.ended.set()
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def head(self, reader):
        """Read the head of a request: its first line, and its headers in lowercase."""
        raw = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = raw.strip().split("\r\n")
        headers = {}
        for line in lines:
            name, value = line.split(": ", 1)
            headers.setdefault(name.lower(), []).append(value)
        self.heads.append((first, headers))
        return first, headers


def upstream(answer=OK):
    """A server that answers each request without a body like this."""

    async def handler(server, reader, writer):
        await server.head(reader)
        writer.write(answer)
        await writer.drain()

    return Upstream(handler)


@contextlib.asynccontextmanager
async def behind_proxy(what, seconds=LONG, is_raw=False, **arguments):
    """A server that is given by its handler or its only answer, and a proxy in front of it.

    Of several timeouts, each request gets the next one.
    """
    times = seconds if isinstance(seconds, tuple) else (seconds,)
    async with Upstream(what) if callable(what) else upstream(what) as web:
        routes = [route(web.backend, seconds=each, is_raw=is_raw) for each in times]
        router = FakeRouter(web=routes)
        async with proxying(router, **arguments) as proxy:
            proxy.router = router
            yield web, proxy


@contextlib.asynccontextmanager
async def proxying(router, websocket_timeout=False, **limits):
    """A proxy and its URL; at the end nothing of it may be left."""
    before = asyncio.all_tasks()
    limits = dataclasses.replace(DEFAULT_LIMITS, **limits)
    proxy = Proxy(router, websocket_timeout=lambda: websocket_timeout, limits=limits)
    proxy.url = proxy.start()
    proxy.port = int(proxy.url.rsplit(":", 1)[1])
    try:
        yield proxy
    finally:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await proxy.aclose()
        assert [task for task in asyncio.all_tasks() - before if _is_of_the_proxy(task)] == []


def _is_of_the_proxy(task):
    return Path(task.get_coro().cr_code.co_filename).is_relative_to(_SERVING)


@contextlib.asynccontextmanager
async def client(proxy, credentials=SECRET, **arguments):
    """httpx behind the proxy, as a container would configure it."""
    user, _, password = credentials.partition(":")
    auth = (user, password) if credentials else None
    arguments = {"timeout": PATIENCE_SECONDS, "trust_env": False} | arguments
    async with httpx.AsyncClient(proxy=httpx.Proxy(proxy.url, auth=auth), **arguments) as found:
        yield found


@contextlib.asynccontextmanager
async def connected(port):
    """A bare connection, for what no client would send."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def response(reader):
    """Read one response with a length: its status, headers and body."""
    raw = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = raw.strip().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return int(first.split()[1]), headers, body


async def sent(port, data):
    """Send bytes on a connection of their own; return all that comes back."""
    async with connected(port) as (reader, writer):
        writer.write(data)
        return await reader.read()


async def within(awaitable):
    """Wait for something that has to happen."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        return await awaitable


async def until(holds):
    """Wait for what sets no event."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not holds():  # noqa: ASYNC110 - nothing here could set an event
            await asyncio.sleep(0.001)


async def refusing():
    """A backend that refuses connections."""
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return Backend("127.0.0.1", port)
