"""The connections of a client: one request on each at a time."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import httpx


@dataclass
class _Lane:
    """One connection, opened when it is first needed, and the requests that are under way on it."""

    transport: httpx.AsyncHTTPTransport
    under_way: int = 0


class _Body(httpx.AsyncByteStream):
    """The body of an answer, which keeps its lane busy until it is read or given up."""

    def __init__(self, stream: httpx.AsyncByteStream, lane: _Lane) -> None:
        self._stream = stream
        self._lane = lane

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._stream:
            yield chunk

    async def aclose(self) -> None:
        self._lane.under_way -= 1
        await self._stream.aclose()


class Lanes(httpx.AsyncBaseTransport):
    """A pool of connections, of which each request takes the least busy one, and of those the first.

    The pool of httpcore looks for each request at all of its connections, and for each of these at all of them again: with 20 of
    them that takes more time than everything else that a request needs.

    Args:
        connections: The most connections.
        verify: How the server's certificate is verified; false for none.
    """

    def __init__(self, connections: int, verify: ssl.SSLContext | bool) -> None:
        one = httpx.Limits(max_connections=1, max_keepalive_connections=1)
        self._lanes = [_Lane(httpx.AsyncHTTPTransport(verify=verify, limits=one)) for _ in range(connections)]

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return the answer as soon as it begins."""
        lane = min(self._lanes, key=lambda one: one.under_way)
        lane.under_way += 1
        try:
            response = await lane.transport.handle_async_request(request)
        except BaseException:
            lane.under_way -= 1
            raise
        assert isinstance(response.stream, httpx.AsyncByteStream)  # noqa: S101 - what an async transport answers with
        response.stream = _Body(response.stream, lane)
        return response

    async def __aenter__(self) -> Self:
        """Open no connection yet."""
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        """Close every connection."""
        await self.aclose()

    async def aclose(self) -> None:
        """Close every connection."""
        for lane in self._lanes:
            await lane.transport.aclose()
