"""Record the requests of clients, for tests and for inspection. Changes nothing."""

from __future__ import annotations

import dataclasses
import itertools
from collections import deque
from dataclasses import dataclass
from typing import Literal

from cpln_flows.emulator.connection import Connection
from cpln_flows.emulator.head import Head

_KEPT = 100_000
_CUT = 256
_QUERY_CUT = 4096

Kind = Literal["http", "websocket"]


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One request.

    Attributes:
        method: The method; a tail's upgrade is a GET.
        path: The path, without the query.
        query: The query string as received, cut if it is very long.
        status: The status of the response; ``None`` if none was sent.
        time: When it arrived, on the machine's monotonic clock, in seconds.
        connection: The number of its TCP connection; ``None`` in process.
        kind: Plain HTTP, or the upgrade to a WebSocket.
    """

    method: str
    path: str
    query: str
    status: int | None
    time: float
    connection: int | None
    kind: Kind


class Recorder:
    """The received requests in the order of their responses, and the number of connections."""

    def __init__(self) -> None:
        self._requests: deque[RequestRecord] = deque(maxlen=_KEPT)
        self._numbers = itertools.count(1)
        self.connections: int = 0

    @property
    def requests(self) -> list[RequestRecord]:
        """The requests, oldest first."""
        return list(self._requests)

    def record(self, request: RequestRecord) -> None:
        """Record a request."""
        if len(request.query) > _QUERY_CUT:
            request = dataclasses.replace(request, query=request.query[:_QUERY_CUT])
        self._requests.append(request)

    def refused(
        self, head: Head, status: int, time: float, connection: Connection | None, kind: Kind
    ) -> None:
        """Record a request that was not admitted.

        Long values are cut, so that a client without a token cannot fill the memory.
        """
        number = None if connection is None else connection.number
        self.record(
            RequestRecord(
                head.method[:_CUT], head.path[:_CUT], head.query[:_CUT], status, time, number, kind
            )
        )

    def new_connection(self) -> int:
        """Number a new connection."""
        self.connections = next(self._numbers)
        return self.connections

    def clear(self) -> None:
        """Forget the requests; the count of connections continues."""
        self._requests.clear()
