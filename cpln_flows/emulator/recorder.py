"""What clients have asked: one record for each request, for tests and for the curious. Changes nothing."""

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
        query: The query string as it came, if it is not endless.
        status: The status of the answer; ``None`` when none was sent.
        time: When it came, on the monotonic clock of the machine, in seconds.
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
    """The requests that came, in the order of their answers, and the connections they came on."""

    def __init__(self) -> None:
        self._requests: deque[RequestRecord] = deque(maxlen=_KEPT)
        self._numbers = itertools.count(1)
        self.connections: int = 0

    @property
    def requests(self) -> list[RequestRecord]:
        """The requests, oldest first."""
        return list(self._requests)

    def record(self, request: RequestRecord) -> None:
        """Note a request."""
        if len(request.query) > _QUERY_CUT:
            request = dataclasses.replace(request, query=request.query[:_QUERY_CUT])
        self._requests.append(request)

    def refused(
        self, head: Head, status: int, time: float, connection: Connection | None, kind: Kind
    ) -> None:
        """Note a request that was not let in: who has no token is not to fill the memory."""
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
        """Forget the requests; connections are counted on."""
        self._requests.clear()
