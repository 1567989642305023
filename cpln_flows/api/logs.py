"""The logs service: a live tail and a range query. What was delivered already is not its business (model.log_lines)."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlencode

import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from cpln_flows.api import mapping
from cpln_flows.api.client import CplnClient
from cpln_flows.api.retry import Repeat
from cpln_flows.errors import LogStreamError, UnexpectedResponseError
from cpln_flows.model import log_lines
from cpln_flows.model.log_lines import Frame, LogEntry

PAGE_LIMIT = 999  # the vendor's CLI stays below 1000, and the service's maximum is not published
_WIDE_LIMIT = 5000
_PING_SECONDS = 20

# The library's debug log prints the headers of the handshake, and with them the token.
_quiet = logging.getLogger("cpln_flows.websocket")
_quiet.setLevel(logging.INFO)


@asynccontextmanager
async def open_tail(client: CplnClient, org: str, selector: str, start_ns: int) -> AsyncIterator[AsyncIterator[Frame]]:
    """Connect to the live log and hand out its frames; they end when the service closes the session.

    Args:
        client: An open client.
        org: The organisation, which is the tenant of the logs.
        selector: Which streams.
        start_ns: From this time on, in nanoseconds.

    Raises:
        UnauthorizedError, ForbiddenError: The token may not read logs.
        LogStreamError: There is no connection, for a reason that may pass.
    """
    path = f"/logs/org/{org}/loki/api/v1/tail"
    query = urlencode({"query": selector, "start": start_ns, "limit": PAGE_LIMIT, "direction": "forward", "delay_for": 0})
    endpoint = (await client.logs_endpoint()).replace("http", "ws", 1)
    headers = {"Authorization": client.settings.token.get_secret_value()}  # raw, as both known clients send it
    try:
        async with connect(
            f"{endpoint}{path}?{query}",
            additional_headers=headers,
            max_size=None,
            ping_interval=_PING_SECONDS,
            open_timeout=client.settings.request_timeout_seconds,
            close_timeout=1,
            logger=_quiet,
        ) as connection:
            yield _frames(connection)
    except InvalidStatus as error:
        answer = error.response
        raise mapping.error_of(
            status=answer.status_code, method="GET", path=path, body=bytes(answer.body or b""), headers=answer.headers
        ) from None
    except (OSError, WebSocketException) as error:
        raise LogStreamError(f"the live log at {endpoint} cannot be read ({error or type(error).__name__})") from None


async def _frames(connection: ClientConnection) -> AsyncIterator[Frame]:
    while True:
        try:
            message = await connection.recv(decode=False)
        except ConnectionClosed:
            return
        try:
            decoded = orjson.loads(message)
        except orjson.JSONDecodeError:
            raise LogStreamError("the live log sent a message that is not JSON") from None
        yield log_lines.parse_tail(decoded)


async def query_range(
    client: CplnClient, org: str, selector: str, *, start_ns: int, end_ns: int
) -> AsyncIterator[list[LogEntry]]:
    """Yield the lines of a span of time, oldest first, page by page; no line is shown twice.

    Args:
        client: An open client.
        org: The organisation.
        selector: Which streams.
        start_ns: From this time on.
        end_ns: Before this time.

    Raises:
        ApiError, TransportError, UnexpectedResponseError: The service did not answer, also when asked again.
    """
    limit, shown = PAGE_LIMIT, _Boundary()
    while start_ns < end_ns:
        page = await _page(client, org, selector, start_ns=start_ns, end_ns=end_ns, limit=limit)
        yield shown.without_shown(page)
        if len(page) < limit:
            return
        last_ns = page[-1].ns
        if last_ns > start_ns:
            start_ns, limit = last_ns, PAGE_LIMIT
        elif limit < _WIDE_LIMIT:
            limit = _WIDE_LIMIT  # a whole page at one nanosecond
        else:
            raise UnexpectedResponseError(f"more than {_WIDE_LIMIT} lines of the log carry the same time {last_ns}")


async def _page(client: CplnClient, org: str, selector: str, *, start_ns: int, end_ns: int, limit: int) -> list[LogEntry]:
    params = {
        "query": selector,
        "start": str(start_ns),
        "end": str(end_ns),
        "limit": str(limit),
        "direction": "forward",
        "delay_for": "0",
    }
    answer = await client.get_logs(f"/logs/org/{org}/loki/api/v1/query_range", params=params, repeat=Repeat.ALWAYS)
    return log_lines.parse_range(answer)


class _Boundary:
    """Pages overlap in their last nanosecond, because more lines of it may follow; this leaves out what was shown."""

    def __init__(self) -> None:
        self._view = log_lines.Ledger()

    def without_shown(self, page: list[LogEntry]) -> list[LogEntry]:
        new = list(self._view.view().new(page))
        last_ns = page[-1].ns if page else 0
        kept = log_lines.Ledger(newest_ns=last_ns)
        for line, count in self._view.delivered.items():
            if line[1] == last_ns:
                kept.delivered[line] = count
        self._view = kept
        return new
