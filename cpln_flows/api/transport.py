"""The connections of a client, with one request at a time on each."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator

import anyio
import httpx

from cpln_flows.errors import ConfigurationError
from cpln_flows.model.proxies import Proxies, Proxy

_ONE = httpx.Limits(max_connections=1, max_keepalive_connections=1)


class _Body(httpx.AsyncByteStream):
    """The body of an answer, which keeps its connection busy until it is read or abandoned."""

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
    """A pool of connections that uses the most recently used one next.

    For each request, the pool of httpcore inspects all of its connections, and for each of these
    all of them again: with 20 of them, that takes more time than everything else in a request.
    Also, if a task is cancelled while it closes an answer, that pool counts the connection as busy
    forever. Here, a connection on which anything went wrong is discarded.

    Args:
        most: The maximum number of connections; further requests wait.
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
        assert isinstance(response.stream, httpx.AsyncByteStream)  # noqa: S101 - true of async transports
        response.stream = _Body(response.stream, self, connection)
        return response

    def release(self, connection: httpx.AsyncHTTPTransport) -> None:
        """Take back a connection that can be used again."""
        self._free.append(connection)
        self._room.release()

    async def discard(self, connection: httpx.AsyncHTTPTransport) -> None:
        """Close a connection that may not be usable again."""
        self._room.release()
        with anyio.CancelScope(shield=True):
            await connection.aclose()

    async def aclose(self) -> None:
        """Close every connection."""
        while self._free:
            await self._free.pop().aclose()


class Routed(httpx.AsyncBaseTransport):
    """Send each request through the proxy that the environment names for it, or else directly.

    Args:
        most: The maximum number of connections to each proxy, and of direct ones; further requests
            wait.
        verify: How the server's certificate is verified; false for none.
        proxies: The proxies that the environment names.
    """

    def __init__(self, most: int, verify: ssl.SSLContext | bool, proxies: Proxies) -> None:
        self._limits = httpx.Limits(max_connections=most, max_keepalive_connections=most)
        self._verify = verify
        self._proxies = proxies
        self._transports: dict[Proxy | None, httpx.AsyncBaseTransport] = {
            None: Connections(most, verify)
        }

    def route(self, url: str) -> httpx.AsyncBaseTransport:
        """Return the transport for a request to this address.

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
