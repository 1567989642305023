"""uvicorn's HTTP and WebSocket protocols, with limits on time and number of connections.

Each request also knows its connection. uvicorn waits forever for an incomplete request, and for a
client that does not read its response; here both have time limits. Data that is not a valid request
is refused in the platform's format, too.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from http import HTTPStatus
from typing import Any

from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from cpln_flows.emulator.answers import (
    BAD_REQUEST,
    REQUEST_TIMEOUT,
    SERVICE_UNAVAILABLE,
    error_answer,
)
from cpln_flows.emulator.config import PlatformConfig
from cpln_flows.emulator.connection import STATE_KEY, Connection
from cpln_flows.emulator.recorder import Recorder

# So that a client that is still sending finds the refusal instead of a reset connection.
_LINGER_SECONDS = 2.0
# A tail never has more than a few frames in flight; pongs for a client that does not read would
# pile up.
_UNREAD_LIMIT = 16 * 2**20

# The libraries log every connection, and at level DEBUG every header with its token; only problems
# are of interest.
_wire_logger = logging.getLogger(f"{__name__}.wire")
_wire_logger.setLevel(logging.WARNING)


class HttpProtocol(H11Protocol):
    """One connection, until it is upgraded to a WebSocket."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        platform_config: PlatformConfig,
        recorder: Recorder,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._connection = Connection(recorder.new_connection())
        super().__init__(config, server_state, {STATE_KEY: self._connection}, loop)
        self.logger: logging.Logger = _wire_logger
        self.access_log = False
        self._platform_config = platform_config
        self._head_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._is_done = False
        self._websocket_class: Any = self.ws_protocol_class
        vars(self)["ws_protocol_class"] = self._open_websocket

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accept a connection, or refuse it if there are too many."""
        if not isinstance(transport, asyncio.Transport):
            return
        is_full = len(self.connections) >= self._platform_config.connection_limit
        super().connection_made(transport)
        self._connection.opened(transport)
        if is_full:
            limit = self._platform_config.connection_limit
            self._refuse(
                SERVICE_UNAVAILABLE,
                f"the platform already has {limit} connections, which is its limit",
            )
        else:
            self._watch_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end of the connection."""
        self._is_done = True
        self._stop_timers()
        super().connection_lost(exc)
        self._connection.closed()

    def data_received(self, data: bytes) -> None:
        """Process received data."""
        if self._is_done:
            return
        super().data_received(data)
        self._watch_head()

    def on_response_complete(self) -> None:
        """Continue with the next request, which has its own time limit."""
        super().on_response_complete()
        self._watch_head()

    def send_400_response(self, msg: str) -> None:
        """Refuse data that is not HTTP, with the status that h11 suggests."""
        self._refuse(getattr(sys.exception(), "error_status_hint", BAD_REQUEST), msg)

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection, even if its client does not read the last response."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            super().timeout_keep_alive_handler()

    def pause_writing(self) -> None:
        """Start the timer for a client that does not read."""
        super().pause_writing()
        self._write_timer = self.loop.call_later(
            self._platform_config.write_timeout_seconds, self.transport.abort
        )

    def resume_writing(self) -> None:
        """Stop the timer for a client that does not read."""
        super().resume_writing()
        self._stop_write_timer()

    def _watch_head(self) -> None:
        """Limit the time of a request's head, from its first byte to its last."""
        is_serving = self.cycle is not None and not self.cycle.response_complete
        is_idle = self.timeout_keep_alive_task is not None and not self.conn.trailing_data[0]
        if self._is_done or is_serving or is_idle:
            self._stop_head_timer()
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(
                self._platform_config.read_timeout_seconds, self._head_is_late
            )

    def _head_is_late(self) -> None:
        self._head_timer = None
        if self.conn.trailing_data[0]:
            seconds = self._platform_config.read_timeout_seconds
            self._refuse(
                REQUEST_TIMEOUT,
                f"the head of the request did not arrive within {seconds:g} seconds",
            )
        else:
            self.transport.close()

    def _refuse(self, status: int, message: str) -> None:
        """Refuse an invalid request or a surplus connection, and close the connection."""
        if self.transport.is_closing():
            return
        is_answering = (
            self.cycle is not None
            and self.cycle.response_started
            and not self.cycle.response_complete
        )
        self._is_done = True
        self._stop_timers()
        if is_answering:
            self.transport.close()
            return
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.write(_raw_answer(status, message))
        self.transport.write_eof()
        self.loop.call_later(_LINGER_SECONDS, self.transport.abort)

    def _stop_timers(self) -> None:
        self._stop_head_timer()
        self._stop_write_timer()
        self._unset_keepalive_if_required()

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _stop_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def _open_websocket(self, **arguments: Any) -> asyncio.Protocol:
        self._is_done = True
        self._stop_timers()
        protocol: Any = self._websocket_class(**arguments)
        for each in (protocol, getattr(protocol, "conn", None)):
            if each is not None:
                each.logger = _wire_logger
                each.debug = False
        _WebSocketBounds(protocol, self.transport, self._connection, self._platform_config).attach()
        opened: asyncio.Protocol = protocol
        return opened


class _WebSocketBounds:
    """Adds limits to a WebSocket protocol, whichever of uvicorn's implementations it is."""

    def __init__(
        self,
        protocol: Any,
        transport: asyncio.Transport,
        connection: Connection,
        platform_config: PlatformConfig,
    ) -> None:
        self._protocol = protocol
        self._transport = transport
        self._connection = connection
        self._seconds = platform_config.write_timeout_seconds
        self._timer: asyncio.TimerHandle | None = None
        self._original = {
            name: getattr(protocol, name) for name in ("connection_lost", "data_received")
        }
        self._original |= {
            name: getattr(protocol, name) for name in ("pause_writing", "resume_writing")
        }

    def attach(self) -> None:
        """Wrap the protocol's methods."""
        for name in self._original:
            setattr(self._protocol, name, getattr(self, name))

    def connection_lost(self, error: Exception | None) -> None:
        """Pass on the end, and notify those who wait for it."""
        self._stop()
        self._original["connection_lost"](error)
        self._connection.closed()

    def data_received(self, data: bytes) -> None:
        """Pass on received data, unless the client does not read the responses."""
        if self._transport.get_write_buffer_size() > _UNREAD_LIMIT:
            self._transport.abort()
        else:
            self._original["data_received"](data)

    def pause_writing(self) -> None:
        """Start the timer for a client that does not read."""
        self._original["pause_writing"]()
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._transport.abort)

    def resume_writing(self) -> None:
        """Stop the timer for a client that does not read."""
        self._stop()
        self._original["resume_writing"]()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _raw_answer(status: int, message: str) -> bytes:
    answer = error_answer(status, message)
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: {answer.content_type}\r\n"
        f"content-length: {len(answer.body)}\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + answer.body
