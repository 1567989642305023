"""One end of an HTTP connection: h11's state, and the stream that it belongs to."""

from __future__ import annotations

from typing import Literal, NoReturn

import h11

from cpln_flows.emulator.proxy.routes import Refused
from cpln_flows.emulator.proxy.streams import READ_BYTES, ClientLostError, Stream

HEAD_BYTES = 64 * 1024
_PROXY_AUTHENTICATION_REQUIRED = 407

Event = h11.Event | type[h11.PAUSED]


class Peer:
    """A client or a server that speaks HTTP with the proxy."""

    def __init__(
        self, stream: Stream, is_a: Literal["client", "server"], received: bytes = b""
    ) -> None:
        self.stream = stream
        self.http = h11.Connection(
            h11.SERVER if is_a == "client" else h11.CLIENT, max_incomplete_event_size=HEAD_BYTES
        )
        if received:
            self.http.receive_data(received)

    @property
    def unread(self) -> bytes:
        """What was received but not processed."""
        return self.http.trailing_data[0]

    @property
    def has_ended(self) -> bool:
        """Whether the other side has sent everything."""
        return self.http.trailing_data[1]

    @property
    def speaks_http_1_1(self) -> bool:
        """Whether the other side knows chunks and interim responses."""
        version = self.http.their_http_version
        return version is not None and version >= b"1.1"

    @property
    def is_answered(self) -> bool:
        """Whether the head of a response was sent to this client."""
        return self.http.our_state not in (h11.IDLE, h11.SEND_RESPONSE)

    async def fill(self) -> None:
        """Receive more."""
        self.http.receive_data(await self.stream.read())

    async def event(self) -> Event:
        """Return the next event; raise ``h11.RemoteProtocolError`` for what is not HTTP."""
        while True:
            event = self.http.next_event()
            # h11 types its sentinels as classes without a common type.
            if isinstance(event, h11.Event) or event is h11.PAUSED:
                return event
            await self.fill()

    async def send(self, event: h11.Event) -> None:
        """Send an event."""
        await self.stream.write(self.http.send(event) or b"")

    async def respond(self, response: h11.Response) -> None:
        """Send the head of a response to this client.

        A client that still waits for ``100 Continue`` may send its body or leave it out, and
        nobody could tell the body from the next request: that connection closes.
        """
        if self.http.they_are_waiting_for_100_continue:
            response = h11.Response(
                status_code=response.status_code,
                reason=response.reason,
                headers=[*response.headers.raw_items(), (b"Connection", b"close")],
            )
        await self.send(response)

    async def answer(
        self, refused: Refused, request: h11.Request | None, *, is_last: bool = False
    ) -> None:
        """Send a response of the proxy itself to this client.

        Args:
            refused: What it is to be told.
            request: The request; ``None`` if it was none.
            is_last: The connection closes afterwards, as it does without a request.
        """
        body = refused.message.encode()
        headers = [
            (b"Content-Type", b"text/plain; charset=utf-8"),
            (b"Content-Length", str(len(body)).encode()),
        ]
        if refused.status == _PROXY_AUTHENTICATION_REQUIRED:
            headers.append((b"Proxy-Authenticate", b'Basic realm="local platform"'))
        if is_last or request is None:
            headers.append((b"Connection", b"close"))
        await self.respond(h11.Response(status_code=refused.status, headers=headers))
        if request is None or request.method != b"HEAD":
            await self.send(h11.Data(data=body))
        await self.send(h11.EndOfMessage())

    async def wait_until_gone(self) -> NoReturn:
        """Wait until this client closes, then raise; keep what it sends meanwhile, within limits.

        A client that only shuts down its sending side cannot be told from one that closed.
        """
        while not self.has_ended:
            if len(self.unread) >= READ_BYTES:
                await self.stream.hung_up()
            await self.fill()
        raise ClientLostError
