"""A client's TCP connection, as far as faults need it: it can be cut. No HTTP, no server."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Mapping
from typing import Any

STATE_KEY = "local_platform_connection"
_LINGER_NOT = struct.pack("ii", 1, 0)


class Connection:
    """One connection, by the number in which it was accepted.

    The server puts it into the ``state`` of every request's scope; in process there is none.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self._transport: asyncio.Transport | None = None
        self._lost = asyncio.Event()

    def opened(self, transport: asyncio.Transport) -> None:
        """Take hold of the connection."""
        self._transport = transport

    def closed(self) -> None:
        """Note that the connection is gone."""
        self._lost.set()

    async def wait_closed(self) -> None:
        """Wait until the connection is gone, by the client or by us."""
        await self._lost.wait()

    def abort(self) -> None:
        """Reset the connection: what is not sent yet is thrown away, and the client sees a reset, not an end."""
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
    """The connection that a request came on; ``None`` in process."""
    found = (scope.get("state") or {}).get(STATE_KEY)
    return found if isinstance(found, Connection) else None
