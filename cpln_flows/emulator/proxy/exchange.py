"""Pass one request on, and its response back.

Both directions run at the same time: a server may answer before it has read the request. Each
chunk is written before the next one is read, so that nothing piles up here.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NoReturn

import h11

from cpln_flows.emulator.proxy.entrances import Outside, Plan
from cpln_flows.emulator.proxy.headers import (
    informational_head,
    request_head,
    response_head,
)
from cpln_flows.emulator.proxy.peer import Event, Peer
from cpln_flows.emulator.proxy.pipes import pipe_until_one_ends
from cpln_flows.emulator.proxy.racing import race
from cpln_flows.emulator.proxy.routes import Refused, Route
from cpln_flows.emulator.proxy.streams import UpstreamLostError
from cpln_flows.emulator.proxy.upstream import (
    CONNECTION_TERMINATION,
    PROTOCOL_ERROR,
    TIMEOUT,
    FailedError,
    reach,
)

_SWITCHING_PROTOCOLS = 101


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it arrived.

    Attributes:
        head: Its head.
        plan: What is to become of it.
        address: The IP address of its sender.
        arrived: When its head had arrived, by the clock of the loop.
    """

    head: h11.Request = field(repr=False)
    plan: Plan
    address: str
    arrived: float


class Exchange:
    """One request and its response, between a client and a server that is connected for it."""

    def __init__(
        self,
        client: Peer,
        asked: Asked,
        destination: Route | Outside,
        websocket_timeout: Callable[[], bool],
    ) -> None:
        self._client = client
        self._asked = asked
        self._destination = destination
        self._websocket_timeout = websocket_timeout

    async def run(self) -> None:
        """Carry the exchange out.

        Raises:
            FailedError: The response did not arrive, or not all of it.
            ClientLostError: The client is gone.
        """
        until = None
        if isinstance(self._destination, Route):
            until = self._asked.arrived + self._destination.timeout_seconds
        try:
            async with asyncio.timeout_at(until) as bound:
                await self._run(bound)
        except TimeoutError as error:
            raise FailedError(TIMEOUT) from error
        except UpstreamLostError as error:
            raise FailedError(CONNECTION_TERMINATION) from error

    async def _run(self, bound: asyncio.Timeout) -> None:
        hung_up = self._client.stream.hung_up
        with contextlib.ExitStack() as closing:
            stream = await race(reach(self._destination, closing), hung_up())
            upstream = Peer(stream, "server")
            closing.callback(_give_up_unsent, upstream)
            is_upgraded = await race(
                self._receive(upstream, bound), self._transmit(upstream), hung_up()
            )
            if is_upgraded:
                await self._pipe(upstream)

    async def _transmit(self, upstream: Peer) -> NoReturn:
        """Send the request, then wait until the client is gone."""
        plan, head = self._asked.plan, self._asked.head
        is_outside = isinstance(self._destination, Outside)
        event: Event = request_head(
            head, plan.target, plan.host, None if is_outside else self._asked.address
        )
        is_read = True
        while isinstance(event, h11.Request | h11.Data | h11.EndOfMessage):
            if is_read:
                try:
                    await upstream.send(event)
                except UpstreamLostError:
                    # It may have answered before it closed: the response is still to be read.
                    is_read = False
            if isinstance(event, h11.EndOfMessage):
                break
            event = await self._next_of_client()
        await self._client.wait_until_gone()

    async def _receive(self, upstream: Peer, bound: asyncio.Timeout) -> bool:
        """Pass the response to the client; return whether the connection was upgraded."""
        while True:
            event = await self._next_of_server(upstream)
            if isinstance(event, h11.InformationalResponse):
                if event.status_code == _SWITCHING_PROTOCOLS:
                    await self._switch(event, bound)
                    return True
                if self._client.speaks_http_1_1:
                    await self._client.send(informational_head(event))
            elif isinstance(event, h11.Response):
                await self._client.respond(response_head(event))
            elif isinstance(event, h11.Data):
                await self._client.send(h11.Data(data=bytes(event.data)))
            elif isinstance(event, h11.EndOfMessage):
                await self._end(event)
                return False
            else:
                raise FailedError(CONNECTION_TERMINATION)

    async def _switch(self, event: h11.InformationalResponse, bound: asyncio.Timeout) -> None:
        if self._client.http.their_state is h11.SEND_BODY:
            raise FailedError(PROTOCOL_ERROR)
        # Once the client knows that it has a WebSocket, the time must not run out any more.
        if not self._websocket_timeout():
            bound.reschedule(None)
        await self._client.send(informational_head(event))

    async def _end(self, event: h11.EndOfMessage) -> None:
        has_trailers = self._client.speaks_http_1_1
        trailers = event.headers.raw_items() if has_trailers else []
        await self._client.send(h11.EndOfMessage(headers=trailers))

    async def _pipe(self, upstream: Peer) -> None:
        await pipe_until_one_ends(
            self._client.stream, upstream.stream, self._client.unread, upstream.unread
        )

    async def _next_of_client(self) -> Event:
        try:
            return await self._client.event()
        except h11.RemoteProtocolError as error:
            message = "the body of the request is not valid HTTP/1.1"
            raise FailedError(Refused(error.error_status_hint, message)) from error

    async def _next_of_server(self, upstream: Peer) -> Event:
        try:
            return await upstream.event()
        except h11.RemoteProtocolError as error:
            is_cut = upstream.has_ended
            raise FailedError(CONNECTION_TERMINATION if is_cut else PROTOCOL_ERROR) from error


def _give_up_unsent(upstream: Peer) -> None:
    """Reset the connection if the request was not sent whole.

    A regular close would arrive behind the data, which a server that does not read never reaches.
    """
    if upstream.http.our_state is h11.SEND_BODY:
        upstream.stream.reset()
