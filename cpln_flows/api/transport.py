"""The connections of a client: one request on each at a time."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator

import anyio
import httpx

from cpln_flows.errors import ConfigurationError
from cpln_flows.model.proxies import Proxies, Proxy

_ONE = httpx.Limits(max_connections=1, max_keepalive_connections=1)


class _Body(httpx.AsyncByteStream):
    """The body of an answer, which keeps its connection busy until it is read or given up."""

    def __init__(
        self, stream: httpx.AsyncByteStream, pool: Connections, connection: httpx.AsyncHTTPTransport
    ) -> None:
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
        connection = (
            self._free.pop()
            if self._free
            else httpx.AsyncHTTPTransport(verify=self._verify, limits=_ONE)
        )
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


class Routed(httpx.AsyncBaseTransport):
    """Sends each request by way of the proxy that the environment names for it, or directly if it names none.

    Args:
        most: The most connections to each proxy, and without; further requests wait.
        verify: How the server's certificate is verified; false for none.
        proxies: What the environment names.
    """

    def __init__(self, most: int, verify: ssl.SSLContext | bool, proxies: Proxies) -> None:
        self._limits = httpx.Limits(max_connections=most, max_keepalive_connections=most)
        self._verify = verify
        self._proxies = proxies
        self._transports: dict[Proxy | None, httpx.AsyncBaseTransport] = {
            None: Connections(most, verify)
        }

    def route(self, url: str) -> httpx.AsyncBaseTransport:
        """Return what a request for this address travels by.

        Raises:
            ConfigurationError: The proxy that the environment names for it cannot be used.
        """
        proxy = self._proxies.proxy_of(url)
        if proxy is not None and proxy not in self._transports:
            self._transports[proxy] = self._through(proxy)
        return self._transports[proxy]

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return the answer as soon as it begins."""
        return await self.route(str(request.url)).handle_async_request(request)

    async def aclose(self) -> None:
        """Close every connection."""
        for transport in self._transports.values():
            await transport.aclose()

    def _through(self, proxy: Proxy) -> httpx.AsyncBaseTransport:
        try:
            return httpx.AsyncHTTPTransport(
                verify=self._verify, limits=self._limits, proxy=proxy.url
            )
        except (ImportError, ValueError, httpx.InvalidURL) as error:
            what = (
                str(error) if isinstance(error, ImportError) else "it is not the address of a proxy"
            )
            raise ConfigurationError(
                f"the proxy that the environment names cannot be used: {proxy.variable}: {what}"
            ) from None
