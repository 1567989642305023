"""A TCP connection without buffers of its own.

asyncio's transports drop what was received but not yet read when a write fails. A server that
refuses a long body answers and closes, so a proxy must be able to read after a failed write. Here,
the kernel's buffers are the only ones, and with them back pressure comes by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import select
import socket
import struct
from collections.abc import Callable
from typing import NoReturn

READ_BYTES = 64 * 1024
_POLL_SECONDS = 0.25
_LINGER_NOT = struct.pack("ii", 1, 0)
# Linux reports the end of a connection even behind data that was not read yet.
_HANG_UP = select.POLLERR | select.POLLHUP | getattr(select, "POLLRDHUP", 0)


class LostError(Exception):
    """A connection ended, or broke, before everything was done."""


class ClientLostError(LostError):
    """The connection of a client ended."""


class UpstreamLostError(LostError):
    """The connection to a server ended."""


class Stream:
    """One TCP connection; at most one task reads at a time, and one writes.

    A read or write that is canceled has taken no data that would be lost.
    """

    def __init__(self, sock: socket.socket, lost: type[LostError]) -> None:
        sock.setblocking(False)
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock = sock
        self._lost = lost
        self._is_broken = False

    async def read(self) -> bytes:
        """Read what has arrived; nothing if the other side has sent everything."""
        loop = asyncio.get_running_loop()
        # A fast sender and a fast receiver would otherwise keep the loop from everything else.
        await asyncio.sleep(0)
        while True:
            try:
                data = self._sock.recv(READ_BYTES)
            except (BlockingIOError, InterruptedError):
                await self._ready(loop.add_reader, loop.remove_reader)
            except OSError as error:
                raise self._lost from error
            else:
                if not data and self._is_broken:
                    raise self._lost
                return data

    async def write(self, data: bytes) -> None:
        """Write everything; wait while the other side does not read."""
        loop = asyncio.get_running_loop()
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[self._sock.send(rest) :]
            except (BlockingIOError, InterruptedError):
                await self._ready(loop.add_writer, loop.remove_writer)
            except OSError as error:
                self._is_broken = True
                raise self._lost from error

    async def hung_up(self) -> NoReturn:
        """Wait until the other side has closed or reset the connection; then raise."""
        await self._polled(_HANG_UP)

    async def was_reset(self) -> NoReturn:
        """Wait until the connection is broken in both directions; then raise."""
        await self._polled(select.POLLERR)

    def write_eof(self) -> None:
        """Tell the other side that nothing more will come."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)

    async def linger(self, seconds: float, limit: int) -> None:
        """Let the other side read everything before the connection is closed.

        To close a connection with unread data resets it, and a client that is still sending would
        lose the response.
        """
        self.write_eof()
        with contextlib.suppress(TimeoutError, LostError):
            async with asyncio.timeout(seconds):
                while limit > 0 and (data := await self.read()):
                    limit -= len(data)

    def close(self) -> None:
        """Close the connection."""
        self._sock.close()

    def reset(self) -> None:
        """Close the connection so that the other side takes it for no regular end."""
        with contextlib.suppress(OSError):
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
        self._sock.close()

    async def _ready(
        self,
        add: Callable[[int, Callable[[asyncio.Future[None]], None], asyncio.Future[None]], None],
        remove: Callable[[int], bool],
    ) -> None:
        number = self._sock.fileno()
        ready = asyncio.get_running_loop().create_future()
        add(number, _wake, ready)
        try:
            await ready
        finally:
            remove(number)

    async def _polled(self, events: int) -> NoReturn:
        poll = select.poll()
        poll.register(self._sock, events)
        # It reports POLLHUP even if it was not asked for.
        while not any(found & events for _, found in poll.poll(0)):  # noqa: ASYNC110
            # No event can be awaited: a reader would be called for all the data that waits.
            await asyncio.sleep(_POLL_SECONDS)
        raise self._lost


async def connect(host: str, port: int) -> Stream:
    """Connect to a server at the first of its addresses that accepts; raise ``OSError`` if none."""
    failure = OSError("the host has no address")
    for family, address in await _addresses(host, port):
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            await asyncio.get_running_loop().sock_connect(sock, address)
        except OSError as error:
            sock.close()
            failure = error
        except BaseException:
            sock.close()
            raise
        else:
            return Stream(sock, UpstreamLostError)
    raise failure


async def _addresses(
    host: str, port: int
) -> list[tuple[int, tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]]]:
    with contextlib.suppress(ValueError):
        is_ipv6 = ipaddress.ip_address(host).version == 6  # noqa: PLR2004
        return [(socket.AF_INET6 if is_ipv6 else socket.AF_INET, (host, port))]
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:
        raise OSError("the host is no valid name") from error
    return [(family, address) for family, _, _, _, address in found]


def _wake(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
