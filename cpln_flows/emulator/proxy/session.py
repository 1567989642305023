"""One connection of a client: its requests one after the other, and the tunnel it may become."""

from __future__ import annotations

import asyncio
import contextlib
from typing import NoReturn

import h11

from cpln_flows.emulator.proxy.conduct import Conduct
from cpln_flows.emulator.proxy.entrances import Entrance, Outside, TunnelEntrance
from cpln_flows.emulator.proxy.exchange import Asked, Exchange
from cpln_flows.emulator.proxy.headers import announces_body, head_size
from cpln_flows.emulator.proxy.peer import HEAD_BYTES, Peer
from cpln_flows.emulator.proxy.pipes import pipe_until_both_end
from cpln_flows.emulator.proxy.racing import race
from cpln_flows.emulator.proxy.routes import Refused, Route
from cpln_flows.emulator.proxy.streams import ClientLostError
from cpln_flows.emulator.proxy.upstream import NO_BACKEND, FailedError, reach

_MALFORMED = "the request is not valid HTTP/1.1"
_NOT_HTTP = Refused(400, "this port does not speak HTTP; it is reached by CONNECT")
_BODY_OF_CONNECT = Refused(400, "CONNECT has no body")
_TOO_LARGE = Refused(431, f"the head of a request must have at most {HEAD_BYTES} bytes")
_TOO_SLOW = Refused(408, "the head of the request did not arrive in time")
_VERSION = Refused(505, "the proxy speaks HTTP/1.1 and HTTP/1.0")
_VERSIONS = (b"1.0", b"1.1")


class Session:
    """Serves one connection until it ends. Who starts it closes the stream afterwards."""

    def __init__(self, client: Peer, address: str, entrance: Entrance, conduct: Conduct) -> None:
        self._client = client
        self._address = address
        self._entrance = entrance
        self._conduct = conduct

    async def run(self, first_seconds: float) -> None:
        """Serve requests, the first of which must arrive within so many seconds.

        Raises:
            ClientLostError: The client is gone, or was cut off.
        """
        head = await self._next_head(first_seconds)
        while head is not None:
            await self._serve(head)
            if not await self._is_ready_again():
                return
            head = await self._next_head(self._conduct.limits.idle_seconds)

    async def _next_head(self, idle_seconds: float) -> h11.Request | None:
        """Wait for a request; answer what is none."""
        client = self._client
        try:
            async with asyncio.timeout(idle_seconds) as timeout:
                while not client.unread and not client.has_ended:
                    await client.fill()
                head_seconds = min(idle_seconds, self._conduct.limits.head_seconds)
                if head_seconds < idle_seconds:
                    timeout.reschedule(asyncio.get_running_loop().time() + head_seconds)
                event = await client.event()
        except TimeoutError:
            if client.unread:
                await self._answer(_TOO_SLOW, None)
            return None
        except h11.RemoteProtocolError as error:
            status = error.error_status_hint
            malformed = Refused(status, _MALFORMED)
            await self._answer(_TOO_LARGE if status == _TOO_LARGE.status else malformed, None)
            return None
        if not isinstance(event, h11.Request):
            return None
        refused = _unserved(event)
        if refused is not None:
            await self._answer(refused, event, is_last=True)
            return None
        return event

    async def _serve(self, head: h11.Request) -> None:
        arrived = asyncio.get_running_loop().time()
        asked = Asked(head, self._entrance.plan(head), self._address, arrived)
        try:
            await self._carry_out(asked)
        except FailedError as failed:
            if self._client.is_answered:
                self._cut()
            await self._answer(failed.refused, head)

    async def _carry_out(self, asked: Asked) -> None:
        plan = asked.plan
        if isinstance(plan.destination, Refused):
            raise FailedError(plan.destination)
        if plan.tunnel is not None:
            if announces_body(asked.head):
                raise FailedError(_BODY_OF_CONNECT)
            await self._tunnel(plan.destination, plan.tunnel)
            return
        if isinstance(plan.destination, Route) and plan.destination.is_raw:
            raise FailedError(_NOT_HTTP)
        websocket_timeout = self._conduct.websocket_timeout
        await Exchange(self._client, asked, plan.destination, websocket_timeout).run()

    async def _tunnel(self, destination: Route | Outside, inside: TunnelEntrance) -> None:
        # h11 switches to the tunnel only after the end of the request.
        await self._client.event()
        if isinstance(destination, Outside) or destination.is_raw:
            await self._tunnel_bytes(destination)
        elif not destination.backends:
            raise FailedError(NO_BACKEND)
        else:
            await self._accept_tunnel()
            client = Peer(self._client.stream, "client", self._client.unread)
            await Session(client, self._address, inside, self._conduct).run(
                self._conduct.limits.idle_seconds
            )

    async def _tunnel_bytes(self, destination: Route | Outside) -> None:
        client = self._client.stream
        with contextlib.ExitStack() as closing:
            upstream = await race(reach(destination, closing), client.hung_up())
            await self._accept_tunnel()
            await pipe_until_both_end(client, upstream, self._client.unread)

    async def _accept_tunnel(self) -> None:
        await self._client.send(
            h11.Response(status_code=200, headers=[], reason="Connection established")
        )

    async def _is_ready_again(self) -> bool:
        http = self._client.http
        if http.our_state is h11.DONE and http.their_state is h11.SEND_BODY:
            await self._discard_body()
        if http.our_state is not h11.DONE or http.their_state is not h11.DONE:
            return False
        http.start_next_cycle()
        return True

    async def _discard_body(self) -> None:
        """Read what is left of a request that was answered already, within limits."""
        rest = self._conduct.limits.linger_bytes
        with contextlib.suppress(TimeoutError, h11.RemoteProtocolError):
            async with asyncio.timeout(self._conduct.limits.linger_seconds):
                while rest > 0 and isinstance(event := await self._client.event(), h11.Data):
                    rest -= len(event.data)

    async def _answer(
        self, refused: Refused, request: h11.Request | None, *, is_last: bool = False
    ) -> None:
        try:
            async with asyncio.timeout(self._conduct.limits.head_seconds):
                await self._client.answer(refused, request, is_last=is_last)
        except TimeoutError as error:
            raise ClientLostError from error

    def _cut(self) -> NoReturn:
        """End the connection so that the client knows that its response is not complete."""
        if self._client.speaks_http_1_1:
            self._client.stream.close()
        else:
            # The response may have no other end than that of the connection.
            self._client.stream.reset()
        raise ClientLostError


def _unserved(head: h11.Request) -> Refused | None:
    if head.http_version not in _VERSIONS:
        return _VERSION
    return _TOO_LARGE if head_size(head) > HEAD_BYTES else None
