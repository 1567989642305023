"""Serve a platform on loopback, in the running event loop or in a separate thread.

uvicorn's own server would install signal handlers, log its actions, and wait a tenth of a second
for its end. Therefore asyncio's server uses uvicorn's protocols directly, with the extensions in
``protocol``.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from uvicorn import Config
from uvicorn.server import ServerState

from cpln_flows.emulator.app import Platform
from cpln_flows.emulator.organizations import Organizations
from cpln_flows.emulator.protocol import HttpProtocol

_KEEP_ALIVE_SECONDS = 75
_STOP_SECONDS = 0.5
_JOIN_SECONDS = 30.0
_HEAD_LIMIT = 64 * 1024
_MESSAGE_LIMIT = 64 * 1024


class Server:
    """Serves a platform in the running event loop.

    Use it as ``async with Server(platform) as server``, with the address in ``server.url``. It can
    be stopped, and another can be started for the same platform. Jobs keep running meanwhile, as
    they would if only the API were down. ``others`` are the platforms of further organizations at
    the same address (``organizations``).
    """

    def __init__(
        self,
        platform: Platform,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        others: Sequence[Platform] = (),
    ) -> None:
        self.platform = platform
        self._platforms = (platform, *others)
        self._app = Organizations(self._platforms) if others else platform.app
        self._host = _loopback(host)
        self._port = port
        self._state = ServerState()
        self._listener: asyncio.Server | None = None
        self.url: str = ""

    async def __aenter__(self) -> Self:
        """Begin to listen."""
        loop = asyncio.get_running_loop()
        config = Config(
            self._app,
            log_config=None,
            lifespan="off",
            proxy_headers=False,
            # uvicorn's default once was the deprecated interface of websockets.
            ws="websockets-sansio",
            h11_max_incomplete_event_size=_HEAD_LIMIT,
            ws_max_size=_MESSAGE_LIMIT,
            ws_per_message_deflate=False,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        )
        config.load()
        for platform in self._platforms:
            platform.loop = loop
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        self._listener = await loop.create_server(
            lambda: HttpProtocol(
                config, self._state, self.platform.config, self.platform.recorder, loop
            ),
            self._host,
            self._port,
            family=family,
        )
        port = self._listener.sockets[0].getsockname()[1]
        self.url = (
            f"http://[{self._host}]:{port}"
            if family == socket.AF_INET6
            else f"http://{self._host}:{port}"
        )
        try:
            for platform in self._platforms:
                platform.base_url = self.url
                platform.open_gateway(self._host)
                platform.start()
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop listening, give requests a moment to end, and close every connection."""
        if self._listener is None:
            return
        self._listener.close()
        for connection in list(self._state.connections):
            connection.shutdown()
        await self._wait_for_requests()
        for connection in list(self._state.connections):
            connection.transport.abort()
        await self._wait_for_requests()
        late = list(self._state.tasks)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        await self._listener.wait_closed()

    async def _wait_for_requests(self) -> None:
        tasks = list(self._state.tasks)
        if tasks:
            await asyncio.wait(tasks, timeout=_STOP_SECONDS)


@dataclass(frozen=True, slots=True)
class Running:
    """A platform that is served in another thread, and those of further organizations."""

    url: str
    platform: Platform
    others: tuple[Platform, ...] = ()


@contextlib.contextmanager
def serve_in_thread(
    platform: Platform,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    others: Sequence[Platform] = (),
) -> Iterator[Running]:
    """Serve a platform from a thread with its own event loop; at the end, kill every job.

    ``others`` are the platforms of further organizations at the same address.
    """
    started: threading.Event = threading.Event()
    outcome: list[Running | BaseException] = []
    stop: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def serve() -> None:
        ended = asyncio.Event()
        async with contextlib.AsyncExitStack() as stack:
            for each in (platform, *others):
                stack.push_async_callback(each.aclose)
            async with Server(platform, host, port, others=others) as server:
                stop.append((asyncio.get_running_loop(), ended))
                outcome.append(Running(server.url, platform, tuple(others)))
                started.set()
                await ended.wait()

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
            outcome.append(error)
        finally:
            started.set()

    thread = threading.Thread(target=run, name="local-platform", daemon=True)
    thread.start()
    started.wait()
    first = outcome[0]
    if isinstance(first, BaseException):
        raise first
    try:
        yield first
    finally:
        loop, ended = stop[0]
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(ended.set)
        thread.join(_JOIN_SECONDS)


def _loopback(host: str) -> str:
    """Return the address of a loopback host.

    Anything else is refused, because anybody who can connect might run programs.
    """
    if host == "localhost":
        return "127.0.0.1"
    try:
        is_loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback:
        raise ValueError(f"the local platform listens on loopback only, not on {host!r}")
    return host
