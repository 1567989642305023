"""A client's TCP connection, which faults can cut. No HTTP, no server."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Mapping
from typing import Any

STATE_KEY = "local_platform_connection"
_LINGER_NOT = struct.pack("ii", 1, 0)


class Connection:
    """One connection, numbered in the order of acceptance.

    The server puts it into the ``state`` of every request's scope; in process, there is none.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self._transport: asyncio.Transport | None = None
        self._lost = asyncio.Event()

    def opened(self, transport: asyncio.Transport) -> None:
        """Keep the transport of the opened connection."""
        self._transport = transport

    def closed(self) -> None:
        """Note that the connection is closed."""
        self._lost.set()

    async def wait_closed(self) -> None:
        """Wait until the client or the platform has closed the connection."""
        await self._lost.wait()

    def abort(self) -> None:
        """Reset the connection.

        Unsent data is discarded, and the client sees a reset instead of a regular close.
        """
        if self._transport is None:
            return
        raw: socket.socket | None = self._transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
        self._transport.abort()

    def close(self) -> None:
        """Close the connection once everything is sent."""
        if self._transport is not None:
            self._transport.close()


def connection_of(scope: Mapping[str, Any]) -> Connection | None:
    """Return the connection of a request; ``None`` in process."""
    found = (scope.get("state") or {}).get(STATE_KEY)
    return found if isinstance(found, Connection) else None
