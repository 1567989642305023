"""The logs service: a live tail and a range query.

What was delivered already is the concern of ``logs.cursor``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlencode

import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidProxy, InvalidStatus, WebSocketException

from cpln_flows.api import body as bodies
from cpln_flows.api import mapping
from cpln_flows.api.client import CplnClient
from cpln_flows.api.retry import Repeat
from cpln_flows.errors import AnswerTooLargeError, LogStreamError, UnexpectedResponseError
from cpln_flows.model import log_lines
from cpln_flows.model.log_lines import Batch, Frame
from cpln_flows.model.time import NS
from cpln_flows.settings import proxies

PAGE_LIMIT = 999  # the vendor's CLI stays below 1000, and the service's maximum is not published
_WIDE_LIMIT = 5000
_FEWER = 4
_PING_SECONDS = 20
_TOO_LARGE = 1009  # the code that closes a connection because of a message over the limit
_EDGE = 512  # covers the labels, and the times and texts of some lines
_DAY_NS = 86_400 * NS
_SPAN_NS = 30 * _DAY_NS  # the service answers for at most 31 days
_Answer = TypeVar("_Answer")

# The library's debug log prints the headers of the handshake, which include the token.
_quiet = logging.getLogger("cpln_flows.websocket")
_quiet.setLevel(logging.INFO)


class Arrival(NamedTuple):
    """A message of the live log; ``frame`` is ``None`` if it is unreadable.

    Messages with the same content have the same ``id``, and other messages hardly ever do.
    """

    id: int
    frame: Frame | None


class Page(NamedTuple):
    """The lines of one answer in order of time.

    ``crowded_ns`` is a time that has more lines than an answer can hold.
    """

    batches: list[Batch]
    crowded_ns: int | None = None


class _Connect(connect):
    """A connection that follows no redirects: the token is only for the logs service itself."""

    def process_redirect(self, exc: Exception) -> Exception:
        """Return the answer as the error that it is."""
        return exc


class Tail:
    """A connection to the live log."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self.closed: str = ""
        """How the service closed the session, once it has."""

    async def receive(self, seconds: float) -> Arrival | None:
        """Return the next message, or ``None`` once the service has closed the session.

        Raises:
            TimeoutError: No message arrived in this time.
            LogStreamError: The message is larger than this client accepts, which ends the
                connection.
        """
        try:
            async with asyncio.timeout(seconds):
                message = await self._connection.recv(decode=False)
        except ConnectionClosed as error:
            if error.sent is not None and error.sent.code == _TOO_LARGE:
                limit = f"{bodies.MOST_LOG_BYTES // 2**20} MiB"
                raise LogStreamError(
                    f"a message of the live log has more than {limit}, the limit of this client"
                ) from None
            told = error.rcvd
            self.closed = (
                f"{told.code} {told.reason}".strip()
                if told is not None
                else "without a close frame"
            )
            return None
        return Arrival(hash((len(message), message[:_EDGE], message[-_EDGE:])), read_frame(message))


def read_frame(message: bytes) -> Frame | None:
    """Read any message of the live log; return ``None`` if it is not a frame."""
    try:
        return log_lines.parse_tail(bodies.decode_log(message, "the live log"))
    except (orjson.JSONDecodeError, UnexpectedResponseError, RecursionError):
        return None


@dataclass(frozen=True)
class LogSource:
    """The log of one job in the logs service.

    Args:
        client: An open client.
        org: The organization, which is the tenant of the logs.
        selector: Selector of the job's streams.
    """

    client: CplnClient
    org: str
    selector: str

    def report_once(self, what: str) -> bool:
        """Return whether this is the first such report among the jobs that share the client."""
        return self.client.report_once(what)

    @asynccontextmanager
    async def open_tail(self, start_ns: int) -> AsyncIterator[Tail]:
        """Connect to the live log.

        Args:
            start_ns: Start of the log, in nanoseconds. Of the stored lines, the service shows the
                newest ``PAGE_LIMIT``.

        Raises:
            UnauthorizedError, ForbiddenError: The token may not read logs.
            LogStreamError: There is no connection, for a reason that may be temporary.
        """
        path = f"{self._path}/tail"
        query = {
            "query": self.selector,
            "start": start_ns,
            "limit": PAGE_LIMIT,
            "direction": "forward",
            "delay_for": 0,
        }
        endpoint = (await self.client.logs_endpoint()).replace("http", "ws", 1)
        # The raw token, as both known clients send it.
        headers = {"Authorization": self.client.token.get_secret_value()}
        proxy = proxies().proxy_of(endpoint)
        try:
            async with _Connect(
                f"{endpoint}{path}?{urlencode(query)}",
                additional_headers=headers,
                proxy=proxy.url if proxy else None,
                # The library's own limit, 1 MiB, is less than the first message may have.
                max_size=bodies.MOST_LOG_BYTES,
                compression=None,
                ping_interval=_PING_SECONDS,
                open_timeout=self.client.settings.request_timeout_seconds,
                close_timeout=1,
                logger=_quiet,
            ) as connection:
                yield Tail(connection)
        except InvalidStatus as error:
            answer = error.response
            raise mapping.error_of(
                status=answer.status_code,
                method="GET",
                path=path,
                body=bytes(answer.body or b""),
                headers=answer.headers,
                token=headers["Authorization"],
            ) from None
        except (ImportError, InvalidProxy) as error:
            why = str(error) if isinstance(error, ImportError) else "its address is wrong"
            raise LogStreamError(
                f"the proxy of {proxy.variable if proxy else 'none'} cannot be used: {why}"
            ) from None
        except (OSError, WebSocketException) as error:
            raise LogStreamError(
                f"the live log at {endpoint} cannot be read ({error or type(error).__name__})"
            ) from None

    async def query_range(
        self, start_ns: int, end_ns: int, repeat: Repeat = Repeat.ALWAYS
    ) -> AsyncIterator[Page]:
        """Yield the lines of a time span, oldest first.

        Each page is a look of its own and begins with the end of the previous page.

        Args:
            start_ns: Start of the time span.
            end_ns: End of the time span, exclusive.
            repeat: Whether a request that failed is sent again.

        Raises:
            ApiError, TransportError, UnexpectedResponseError: The service did not answer, not even
                to a repeated request.
        """
        for start, end in _windows(start_ns, end_ns):
            async for page in self._pages(start, end, repeat):
                yield page

    async def labels(self, start_ns: int, end_ns: int) -> dict[str, str] | None:
        """Return the labels of the first line's stream in a time span, if there is a line."""
        for start, end in _windows(start_ns, end_ns):
            found = await self._ask(start, end, 1, Repeat.ALWAYS, log_lines.parse_labels)
            if found is not None:
                return found
        return None

    async def _pages(self, start_ns: int, end_ns: int, repeat: Repeat) -> AsyncIterator[Page]:
        limit, most = PAGE_LIMIT, _WIDE_LIMIT
        while start_ns < end_ns:
            try:
                batches = await self._read(start_ns, end_ns, limit, repeat)
            except AnswerTooLargeError:
                if limit == 1:
                    raise
                # The lines are long: never ask for so many of them again.
                limit = most = max(1, limit // _FEWER)
                continue
            yield Page(batches)
            if sum(len(batch.stamps) for batch in batches) < limit:
                return
            last_ns = batches[-1].stamps[-1]
            if last_ns > start_ns:
                start_ns, limit = last_ns, min(PAGE_LIMIT, most)
            elif limit < most:
                limit = most  # a whole page at one nanosecond
            else:
                last = await self._read(last_ns, last_ns + 1, limit, repeat, backward=True)
                yield Page(last, None if join_up(batches, last) else last_ns)
                start_ns, limit = last_ns + 1, min(PAGE_LIMIT, most)

    async def _read(
        self, start_ns: int, end_ns: int, limit: int, repeat: Repeat, *, backward: bool = False
    ) -> list[Batch]:
        """Return the first lines of a time span, or the last ones, in order of time."""
        batches = await self._ask(
            start_ns, end_ns, limit, repeat, log_lines.parse_range, backward=backward
        )
        if backward:
            batches = [Batch(batch.key, batch.stamps[::-1], batch.lines[::-1]) for batch in batches]
        return log_lines.in_order(batches)

    async def _ask(
        self,
        start_ns: int,
        end_ns: int,
        limit: int,
        repeat: Repeat,
        parse: Callable[[Any], _Answer],
        *,
        backward: bool = False,
    ) -> _Answer:
        params = {
            "query": self.selector,
            "start": str(start_ns),
            "end": str(end_ns),
            "limit": str(limit),
            "direction": "backward" if backward else "forward",
            "delay_for": "0",
        }
        return await self.client.get_logs(
            f"{self._path}/query_range", params=params, parse=parse, repeat=repeat
        )

    @property
    def _path(self) -> str:
        return f"/logs/org/{self.org}/loki/api/v1"


def join_up(first: list[Batch], last: list[Batch]) -> bool:
    """Whether the first and the last lines of one time are certainly all of its lines.

    They are if, for each stream, both parts share a line. This is certain only if no text repeats
    itself: a repeated text may stand for any of its copies, with more of them in between.
    """
    of_first, of_last = (
        [(batch.key, line) for batch in part for line in batch.lines] for part in (first, last)
    )
    common = set(of_first) & set(of_last)
    repeats = len(set(of_first)) < len(of_first) or len(set(of_last)) < len(of_last)
    return not repeats and {key for key, _ in common} == {key for key, _ in (*of_first, *of_last)}


def _windows(start_ns: int, end_ns: int) -> Iterator[tuple[int, int]]:
    while start_ns < end_ns:
        yield start_ns, min(start_ns + _SPAN_NS, end_ns)
        start_ns += _SPAN_NS
