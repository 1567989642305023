"""Accept connections on a port, and serve each in a task of its own.

All listeners of a proxy share one limit on the number of connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import traceback
from collections.abc import Callable

from cpln_flows.emulator.proxy.conduct import Conduct
from cpln_flows.emulator.proxy.entrances import Entrance
from cpln_flows.emulator.proxy.peer import Peer
from cpln_flows.emulator.proxy.routes import Refused
from cpln_flows.emulator.proxy.session import Session
from cpln_flows.emulator.proxy.streams import ClientLostError, Stream

_logger = logging.getLogger(__name__)
_BACKLOG = 512
_PAUSE_SECONDS = 1.0
_SERVICE_UNAVAILABLE = 503


class Connections:
    """The connections of all clients, each with its task."""

    def __init__(self, conduct: Conduct) -> None:
        self._conduct = conduct
        self._served: set[asyncio.Task[None]] = set()
        self._refused: set[asyncio.Task[None]] = set()

    def add(
        self, sock: socket.socket, address: str, entrance: Entrance
    ) -> asyncio.Task[None] | None:
        """Serve a connection, or refuse it if there are too many."""
        stream = Stream(sock, ClientLostError)
        limit = self._conduct.limits.connections
        if len(self._served) < limit:
            tasks, serving = self._served, self._serve(stream, address, entrance)
        elif len(self._refused) < limit:
            tasks, serving = self._refused, self._refuse(stream)
        else:
            stream.close()
            return None
        task = asyncio.get_running_loop().create_task(serving)
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        # A task that is canceled before it has begun closes nothing itself.
        task.add_done_callback(lambda _: stream.close())
        return task

    async def aclose(self) -> None:
        """End all connections."""
        tasks = [*self._served, *self._refused]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, stream: Stream, address: str, entrance: Entrance) -> None:
        session = Session(Peer(stream, "client"), address, entrance, self._conduct)
        limits = self._conduct.limits
        try:
            with contextlib.suppress(ClientLostError):
                await session.run(limits.head_seconds)
                await stream.linger(limits.linger_seconds, limits.linger_bytes)
        except Exception as error:  # noqa: BLE001 - a defect ends its own connection only
            # The message of an error of h11 may quote a header.
            places = "".join(traceback.format_tb(error.__traceback__))
            _logger.error(  # noqa: TRY400
                "%s ended a connection of the proxy:\n%s", type(error).__name__, places
            )

    async def _refuse(self, stream: Stream) -> None:
        limits = self._conduct.limits
        message = f"the proxy already has {limits.connections} connections, which is its limit"
        with contextlib.suppress(ClientLostError):
            client = Peer(stream, "client")
            await client.answer(Refused(_SERVICE_UNAVAILABLE, message), None)
            await stream.linger(limits.linger_seconds, limits.linger_bytes)


class Listener:
    """One port that accepts connections, from its creation until it is closed."""

    def __init__(
        self,
        sock: socket.socket,
        entrance_for: Callable[[str], Entrance],
        connections: Connections,
    ) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._entrance_for = entrance_for
        self._connections = connections
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._pause: asyncio.TimerHandle | None = None
        self._resume()

    def close(self) -> None:
        """Stop to listen, and end the connections that came in here."""
        if self._pause is not None:
            self._pause.cancel()
        if self._sock.fileno() >= 0:
            self._loop.remove_reader(self._sock)
        self._sock.close()
        for task in self._tasks:
            task.cancel()

    def _resume(self) -> None:
        self._pause = None
        self._loop.add_reader(self._sock, self._accept)

    def _accept(self) -> None:
        for _ in range(_BACKLOG):
            try:
                sock, address = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:
                # There are no more file descriptors, and the socket would stay readable.
                self._loop.remove_reader(self._sock)
                self._pause = self._loop.call_later(_PAUSE_SECONDS, self._resume)
                return
            caller = str(address[0])
            task = self._connections.add(sock, caller, self._entrance_for(caller))
            if task is not None:
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)


def listen(host: str) -> tuple[socket.socket, str]:
    """Open a port of an address that the system chooses; return its authority, too."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.create_server((host, 0), family=family, backlog=_BACKLOG)
    port = sock.getsockname()[1]
    return sock, f"[{host}]:{port}" if family == socket.AF_INET6 else f"{host}:{port}"
