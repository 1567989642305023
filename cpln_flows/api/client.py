"""A client of the platform: pooled connections, the token, retries and pages.

The other modules of the package define the individual requests.
"""

from __future__ import annotations

import logging
import math
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar, overload
from urllib.parse import urlsplit

import anyio
import httpx
import orjson
from pydantic import SecretStr

from cpln_flows.api import body as bodies
from cpln_flows.api import mapping
from cpln_flows.api.retry import Repeat, retrying
from cpln_flows.api.timekeeping import ServerTime
from cpln_flows.api.transport import Connections, Routed
from cpln_flows.errors import (
    AnswerTooLargeError,
    CplnError,
    ForbiddenError,
    LogStreamError,
    NotFoundError,
    UnauthorizedError,
    UnexpectedResponseError,
)
from cpln_flows.model import addresses
from cpln_flows.model.resources import Resource
from cpln_flows.settings import DEFAULT_LOGS_ENDPOINT, ApiSettings, is_public, proxies

T = TypeVar("T")
R = TypeVar("R", bound=Resource)

_MOST_CONNECTIONS = 40
_MOST_PAGES = 10_000
_MOST_ITEMS = 1_000_000
_FIRST_ERROR_STATUS = 300
_HEADERS = {
    "accept": "application/json",
    "accept-encoding": bodies.ENCODING,
    "user-agent": "cpln_flows",
}
_SHOWN_LINK = 60
_MOST_WAITS = 4  # for the head of an answer and all chunks of its body together
_RENEW_SECONDS = 10.0  # a refused token is reread no more often than this
_LOGGER = logging.getLogger("cpln_flows")


class _Answer(NamedTuple):
    """An answer that was received completely; ``source`` is what was requested, for errors."""

    source: str
    status: int
    headers: httpx.Headers
    body: bytes


class _Request(NamedTuple):
    """A request; ``make`` builds it anew for each attempt, with the token of that moment."""

    method: str
    path: str
    endpoint: str
    make: Callable[[str], httpx.Request]
    read: Callable[[_Answer], Any]
    most: int


class _NoAddressError(UnexpectedResponseError):
    """The answer of the discovery has no usable address of the logs service."""


class CplnClient:
    """Async client of the platform's API; open it with ``async with``.

    Args:
        settings: Endpoint, token and limits.
        transport: How requests are sent; tests and the local platform pass their own.
        sleep: How to wait between two attempts.
        renew_token: Returns the currently configured token; called when the platform refuses the
            token in use.

    Example:
        >>> import anyio
        >>> from cpln_flows.local import local_platform
        >>> async def read_org(settings):
        ...     async with CplnClient(settings.api()) as client:
        ...         return (await client.get(f"/org/{settings.org}"))["name"]
        >>> with local_platform() as local:
        ...     anyio.run(read_org, local.settings)
        'local'
    """

    def __init__(
        self,
        settings: ApiSettings,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
        renew_token: Callable[[], Awaitable[SecretStr]] | None = None,
    ) -> None:
        self.settings = settings
        self.token: SecretStr = settings.token
        self._renew_token = renew_token
        self._renewed_at = -math.inf
        self._reported: set[str] = set()
        self._transport = transport
        self._sleep = sleep
        self._open: httpx.AsyncBaseTransport | None = None
        self._extensions = {"timeout": httpx.Timeout(settings.request_timeout_seconds).as_dict()}
        self._logs_endpoint = settings.logs_endpoint
        self._time = ServerTime()

    def __repr__(self) -> str:
        return f"CplnClient(endpoint={self.settings.endpoint!r})"

    async def __aenter__(self) -> Self:
        self._open = self._transport or self._connections()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        transport, self._open = self._open, None
        if transport is not None:
            await transport.aclose()

    def report_once(self, what: str) -> bool:
        """Return whether this is the first such report among all who share this client."""
        is_new = what not in self._reported
        self._reported.add(what)
        return is_new

    def now_ns(self) -> int:
        """Return the platform's time, as far as its answers reveal it, in ns since the epoch."""
        return time.time_ns() + self._time.offset_ns

    def now(self) -> datetime:
        """Return the platform's time, as far as its answers reveal it.

        The times that the platform gives for its objects are in this time.
        """
        return datetime.now(UTC) + timedelta(microseconds=self._time.offset_ns / 1000)

    async def get(
        self, path: str, *, params: Mapping[str, str] | None = None, repeat: Repeat = Repeat.ALWAYS
    ) -> Any:
        """Read one object.

        Raises:
            ApiError: The platform answered with an error status; there is a class for each that
                needs different handling.
            TransportError: No answer arrived.
            UnexpectedResponseError: The answer is not JSON.
        """
        return await self._send("GET", path, params=params, repeat=repeat, read=_json)

    async def read(self, path: str, form: type[R], *, repeat: Repeat = Repeat.ALWAYS) -> R:
        """Read one object as a type of this package.

        An answer of another form is retried like one that never arrived.

        Raises:
            ApiError, TransportError: As for ``get``.
            UnexpectedResponseError: The answer does not have the documented form.
        """
        found: R = await self._send(
            "GET", path, repeat=repeat, read=lambda answer: form.parse(_json(answer), source=path)
        )
        return found

    async def post(self, path: str, body: Mapping[str, Any], *, repeat: Repeat) -> str:
        """Create an object and return its ``Location``; the body of the answer is never read."""
        location: str = await self._send("POST", path, body=body, repeat=repeat, read=_location)
        return location

    async def put(self, path: str, body: Mapping[str, Any]) -> None:
        """Create or replace an object."""
        await self._send("PUT", path, body=body, repeat=Repeat.ALWAYS, read=_nothing)

    async def patch(self, path: str, body: Mapping[str, Any]) -> Any:
        """Merge into an object; return the result."""
        return await self._send("PATCH", path, body=body, repeat=Repeat.ALWAYS, read=_json)

    async def delete(self, path: str) -> None:
        """Request the deletion of an object; the platform carries it out later."""
        await self._send("DELETE", path, repeat=Repeat.ALWAYS, read=_nothing)

    @overload
    def pages(
        self,
        path: str,
        query: Mapping[str, Any] | None = None,
        *,
        form: type[R],
        repeat: Repeat = Repeat.ALWAYS,
    ) -> AsyncIterator[list[R]]: ...

    @overload
    def pages(
        self, path: str, query: Mapping[str, Any] | None = None, *, repeat: Repeat = Repeat.ALWAYS
    ) -> AsyncIterator[list[Any]]: ...

    async def pages(
        self,
        path: str,
        query: Mapping[str, Any] | None = None,
        *,
        form: type[Resource] | None = None,
        repeat: Repeat = Repeat.ALWAYS,
    ) -> AsyncIterator[list[Any]]:
        """Yield the items of a list or a query, page by page, up to the last page.

        Args:
            path: A collection, or its ``-query``.
            query: The body of a query; further pages are always read with GET.
            form: Type of the items. Default: they are returned as the platform sent them.
            repeat: When a request may be repeated.

        Raises:
            UnexpectedResponseError: A page cannot be read, or the pages do not end.
        """
        seen, count = {path}, 0
        for _ in range(_MOST_PAGES):
            parse = partial(form.parse, source=path) if form else _as_it_is
            items, following = await self._page(path, query, parse, repeat)
            count += len(items)
            if count > _MOST_ITEMS:
                raise AnswerTooLargeError(path, f"{_MOST_ITEMS:,} items")
            yield items
            if following is None:
                return
            if following in seen:
                raise UnexpectedResponseError(f"{path}: the pages of this list go in a circle")
            seen.add(following)
            path, query = following, None
        raise AnswerTooLargeError(path, f"{_MOST_PAGES:,} pages")

    async def page(
        self, path: str, query: Mapping[str, Any] | None = None, *, repeat: Repeat = Repeat.ALWAYS
    ) -> tuple[list[Any], str | None]:
        """Return the items of one page of a list or a query, and the next page's path, if any."""
        return await self._page(path, query, _as_it_is, repeat)

    async def _page(
        self, path: str, query: Mapping[str, Any] | None, parse: Callable[[Any], T], repeat: Repeat
    ) -> tuple[list[T], str | None]:
        def read(answer: _Answer) -> tuple[list[T], str | None]:
            items, following = _page(_json(answer), path)
            return [parse(item) for item in items], following

        method = "GET" if query is None else "POST"
        items, following = await self._send(method, path, body=query, repeat=repeat, read=read)
        return items, None if following is None else self._path_of(following, path)

    async def logs_endpoint(self) -> str:
        """Return the URL of the logs service, with the scheme ``http`` or ``https``.

        It is the configured one, else the one that the platform names, else the default.

        Raises:
            LogStreamError: The platform at the endpoint does not name its logs service.
        """
        found = self._logs_endpoint or await self._discover_logs()
        return found.replace("ws://", "http://", 1).replace("wss://", "https://", 1)

    async def get_logs(
        self,
        path: str,
        *,
        params: Mapping[str, str],
        parse: Callable[[Any], T],
        repeat: Repeat = Repeat.ALWAYS,
    ) -> T:
        """Read from the logs service; retry an unparsable answer like one that never arrived."""
        endpoint = await self.logs_endpoint()
        found: T = await self._send(
            "GET",
            path,
            params=params,
            repeat=repeat,
            read=lambda answer: _parsed_log(answer, parse),
            endpoint=endpoint,
            most=bodies.MOST_LOG_BYTES,
        )
        return found

    def _path_of(self, href: str, source: str) -> str:
        """Return the path of a link in an answer.

        A link is content of the answer, and the token is sent to wherever it leads.

        Raises:
            UnexpectedResponseError: The link leads to another origin than the endpoint.
        """
        endpoint = self.settings.endpoint
        if href.startswith("/") and not href.startswith("//"):
            return href
        if (
            (found := addresses.origin(href)) is not None
            and found == addresses.origin(endpoint)
            and "@" not in href
        ):
            path = urlsplit(href)._replace(scheme="", netloc="", fragment="").geturl()
            prefix = urlsplit(endpoint).path
            return path.removeprefix(prefix) if path.startswith(f"{prefix}/") else path
        shown = addresses.without_credentials(href.partition("?")[0])[:_SHOWN_LINK]
        raise UnexpectedResponseError(
            f"{source}: the link to the next page leads to {shown!r}, which is not a path of"
            f" {endpoint}; it is not followed"
        )

    def _connections(self) -> httpx.AsyncBaseTransport:
        named, direct = proxies(), Connections(_MOST_CONNECTIONS, self._verify())
        if not named.by_scheme:
            return direct
        routed = Routed(_MOST_CONNECTIONS, self._verify(), named)
        for endpoint in filter(None, (self.settings.endpoint, self._logs_endpoint)):
            routed.route(endpoint)  # reports a wrong proxy now, not with the first request
        return routed

    def _verify(self) -> ssl.SSLContext | bool:
        """Return how certificates are verified.

        If nothing uses TLS, none are loaded: that would take longer than a request.
        """
        endpoints = (self.settings.endpoint, self.settings.logs_endpoint or "https:")
        uses_tls = self._transport is None and any(
            url.lower().startswith(("https:", "wss:")) for url in endpoints
        )
        return ssl.create_default_context() if uses_tls else False

    async def _discover_logs(self) -> str:
        """Ask the platform for its logs service.

        Whoever answers at the endpoint is trusted to choose the host, but not to have the token
        sent unencrypted.
        """
        endpoint = self.settings.endpoint
        try:
            answer = await self._send(
                "GET", "/discovery", repeat=Repeat.ALWAYS, read=_json, authorized=False
            )
            self._logs_endpoint = _logs_address(answer, endpoint)
        except CplnError as error:
            if not is_public(endpoint):
                # The token of one installation must not go to the logs service of another.
                raise LogStreamError(
                    f"{endpoint}/discovery does not state where the logs are ({error});"
                    " set CPLN_LOGS_ENDPOINT"
                ) from error
            # The vendor documents this host; discovery is a convenience that some proxies block.
            if isinstance(error, NotFoundError | _NoAddressError):
                self._logs_endpoint = DEFAULT_LOGS_ENDPOINT
            return DEFAULT_LOGS_ENDPOINT
        return self._logs_endpoint

    async def _send(
        self,
        method: str,
        path: str,
        *,
        read: Callable[[_Answer], Any],
        repeat: Repeat,
        body: Mapping[str, Any] | None = None,
        params: Mapping[str, str] | None = None,
        endpoint: str | None = None,
        authorized: bool = True,
        most: int = bodies.MOST_BYTES,
    ) -> Any:
        headers = dict(_HEADERS)
        content = None
        if body is not None:
            headers["content-type"] = "application/json"
            content = orjson.dumps(body)
        base = endpoint or self.settings.endpoint
        # Before the first attempt: waiting does not make an invalid path valid.
        url = _url(base, path)

        def make(token: str) -> httpx.Request:
            own = headers | ({"authorization": f"Bearer {token}"} if authorized else {})
            return httpx.Request(
                method,
                url,
                content=content,
                params=params,
                headers=own,
                extensions=self._extensions,
            )

        request = _Request(method, path, base, make, read, most)
        try:
            return await self._attempts(request, repeat)
        except (UnauthorizedError, ForbiddenError):
            if not authorized or not await self._renew():
                raise
        return await self._attempts(request, repeat)  # the first one was refused without any effect

    async def _attempts(self, request: _Request, repeat: Repeat) -> Any:
        attempts = retrying(repeat, budget_seconds=self.settings.retry_seconds, sleep=self._sleep)
        # Whether any attempt may have arrived: a later one that surely did not proves nothing then.
        arrived = False
        async for attempt in attempts:
            with attempt:
                token = self.token.get_secret_value()
                try:
                    answer = await self._exchange(request.make(token), request.most)
                except httpx.RequestError as error:
                    failure = mapping.transport_error(
                        error, method=request.method, path=request.path, endpoint=request.endpoint
                    )
                    failure.sent = arrived = failure.sent or arrived
                    raise failure from error
                arrived = True
                if answer.status >= _FIRST_ERROR_STATUS:
                    raise mapping.error_of(
                        status=answer.status,
                        method=request.method,
                        path=request.path,
                        body=answer.body,
                        headers=answer.headers,
                        token=token,
                    )
                return request.read(answer)
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _renew(self) -> bool:
        """Adopt the currently configured token; return whether it differs from the refused one."""
        if self._renew_token is None or time.monotonic() - self._renewed_at < _RENEW_SECONDS:
            return False
        self._renewed_at = time.monotonic()
        try:
            found = await self._renew_token()
        except Exception as error:  # noqa: BLE001 - the refusal of the token is raised instead
            _LOGGER.debug("The token cannot be read again: %r", error)
            return False
        if found.get_secret_value() == self.token.get_secret_value():
            return False
        self.token = found
        return True

    async def _exchange(self, request: httpx.Request, most: int) -> _Answer:
        """Send a request and read the answer, without the rest of httpx's client.

        That rest takes half the time of a small request. A redirect is an answer like any other:
        the token goes to the endpoint and to no host that the answer names.
        """
        if self._open is None:
            raise RuntimeError("the client is not open; use it in `async with`")
        # httpx bounds the wait for each chunk of an answer, but not for an answer in many chunks.
        longest = _MOST_WAITS * self.settings.request_timeout_seconds
        try:
            with anyio.fail_after(longest):
                answer = await self._open.handle_async_request(request)
                self._time.learn(answer.headers.get("date"), time.time_ns())
                source = f"{request.method} {request.url.path}"
                is_error = answer.status_code >= _FIRST_ERROR_STATUS
                content = await (
                    bodies.read_error(answer, source)
                    if is_error
                    else bodies.read(answer, most, source)
                )
        except TimeoutError as error:
            raise httpx.ReadTimeout(
                f"the answer was not complete after {longest:g} s", request=request
            ) from error
        return _Answer(source, answer.status_code, answer.headers, content)


def _logs_address(answer: Any, endpoint: str) -> str:
    endpoints = answer.get("endpoints") if isinstance(answer, Mapping) else None
    found = endpoints.get("logs") if isinstance(endpoints, Mapping) else None
    if not isinstance(found, str) or not addresses.is_endpoint(found):
        raise _NoAddressError(
            "expected the address of the logs service in endpoints.logs, found none"
        )
    if not addresses.keeps_secrets(found) and addresses.host(found) != addresses.host(endpoint):
        raise _NoAddressError(f"{found!r} is not encrypted, and the token is not sent there")
    return found.rstrip("/")


def _url(endpoint: str, path: str) -> httpx.URL:
    """Return the URL of a path, which may come from an answer.

    A path that does not begin with a slash could extend the name of the endpoint's host.
    """
    try:
        if path.startswith("/"):
            return httpx.URL(endpoint + path)
    except httpx.InvalidURL:
        pass
    raise UnexpectedResponseError(f"{path[:_SHOWN_LINK]!r} is not a path of {endpoint}")


def _json(answer: _Answer, decode: Callable[[bytes, str], Any] = bodies.decode) -> Any:
    try:
        return decode(answer.body, answer.source)
    except orjson.JSONDecodeError as error:
        what = answer.headers.get("content-type", "no content type")
        raise UnexpectedResponseError(
            f"{answer.source}: the answer is not JSON ({what}, {len(answer.body)} bytes:"
            f" {error.msg}); is CPLN_ENDPOINT the platform's API?"
        ) from None


def _parsed_log(answer: _Answer, parse: Callable[[Any], T]) -> T:
    try:
        return parse(_json(answer, bodies.decode_log))
    except RecursionError:
        raise UnexpectedResponseError(f"{answer.source}: the answer is nested too deeply") from None


def _as_it_is(item: Any) -> Any:
    return item


def _location(answer: _Answer) -> str:
    return str(answer.headers.get("location", ""))


def _nothing(answer: _Answer) -> None:  # noqa: ARG001 - one signature for all readers
    return None


def _page(page: Any, path: str) -> tuple[list[Any], str | None]:
    if not isinstance(page, Mapping) or not isinstance(page.get("items"), list):
        raise UnexpectedResponseError(f"{path}: expected a list with items")
    links = page.get("links") or []
    if not isinstance(links, list):
        raise UnexpectedResponseError(
            f"{path}: expected a list of links, found a {type(links).__name__}"
        )
    following = next(
        (
            link.get("href")
            for link in links
            if isinstance(link, Mapping) and link.get("rel") == "next"
        ),
        None,
    )
    if not isinstance(following, str | None):
        raise UnexpectedResponseError(
            f"{path}: expected the link of the next page, found a {type(following).__name__}"
        )
    return page["items"], following
