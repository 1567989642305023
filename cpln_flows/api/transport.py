"""The connections of a client: one request on each at a time."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator

import anyio
import httpx

_ONE = httpx.Limits(max_connections=1, max_keepalive_connections=1)


class _Body(httpx.AsyncByteStream):
    """The body of an answer, which keeps its connection busy until it is read or given up."""

    def __init__(self, stream: httpx.AsyncByteStream, pool: Connections, connection: httpx.AsyncHTTPTransport) -> None:
        self._stream = stream
        self._pool = pool
        self._connection = connection

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._stream:
            yield chunk

    async def aclose(self) -> None:
        try:
            await self._stream.aclose()
        except BaseException:
            await self._pool.discard(self._connection)
            raise
        self._pool.release(self._connection)


class Proxied(httpx.AsyncBaseTransport):
    """The connections that httpx makes by way of the proxies of the environment.

    Args:
        most: The most connections; further requests wait.
        verify: How the server's certificate is verified; false for none.
    """

    def __init__(self, most: int, verify: ssl.SSLContext | bool) -> None:
        limits = httpx.Limits(max_connections=most, max_keepalive_connections=most)
        self._client = httpx.AsyncClient(limits=limits, verify=verify)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return the answer as soon as it begins."""
        return await self._client.send(request, stream=True)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._client.aclose()


class Connections(httpx.AsyncBaseTransport):
    """A pool of connections, of which the last used one is used next.

    The pool of httpcore looks for each request at all of its connections, and for each of these at all of them again: with 20 of
    them that takes more time than everything else that a request needs. And a task that is cancelled while it closes an answer
    makes it count that connection as busy for ever; here a connection on which anything went wrong is thrown away.

    Args:
        most: The most connections; further requests wait.
        verify: How the server's certificate is verified; false for none.
    """

    def __init__(self, most: int, verify: ssl.SSLContext | bool) -> None:
        self._verify = verify
        self._free: list[httpx.AsyncHTTPTransport] = []
        self._room = anyio.Semaphore(most, fast_acquire=True)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return the answer as soon as it begins."""
        await self._room.acquire()
        connection = self._free.pop() if self._free else httpx.AsyncHTTPTransport(verify=self._verify, limits=_ONE)
        try:
            response = await connection.handle_async_request(request)
        except BaseException:
            await self.discard(connection)
            raise
        assert isinstance(response.stream, httpx.AsyncByteStream)  # noqa: S101 - what an async transport answers with
        response.stream = _Body(response.stream, self, connection)
        return response

    def release(self, connection: httpx.AsyncHTTPTransport) -> None:
        """Take back a connection that can be used again."""
        self._free.append(connection)
        self._room.release()

    async def discard(self, connection: httpx.AsyncHTTPTransport) -> None:
        """Close a connection of which it is not known whether it can be used again."""
        self._room.release()
        with anyio.CancelScope(shield=True):
            await connection.aclose()

    async def aclose(self) -> None:
        """Close every connection."""
        while self._free:
            await self._free.pop().aclose()
