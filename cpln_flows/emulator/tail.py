"""A tail: lines pushed over a WebSocket as they arrive, as Grafana Loki does.

A tail with a start in the past first sends stored lines: the newest ``limit`` lines since the
start, in order of time. (Loki queries its store backwards and reverses the result, so older lines
are not sent.) Then it sends every new line that matches, however old its stamp. ``limit`` does not
bound the live part. A reader that is too slow loses lines: what does not fit into the buffer is
dropped and announced in ``dropped_entries`` of the next frame.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Sequence

import orjson
from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketDisconnect

from cpln_flows.emulator.answers import (
    BAD_REQUEST,
    Answer,
    Document,
    RefusedError,
    text_answer,
)
from cpln_flows.emulator.clock import Clock, Timer
from cpln_flows.emulator.config import PlatformConfig
from cpln_flows.emulator.connection import Connection
from cpln_flows.emulator.faults import Fault
from cpln_flows.emulator.logs import Entry, Logs, Stream
from cpln_flows.emulator.permissions import Principal
from cpln_flows.emulator.routes.call import read_params
from cpln_flows.emulator.routes.log_service import (
    BadLogRequestError,
    LogRequest,
    LogService,
    stream_document,
)

_DROPPED_MAX = 1000
_FOREVER_NS = 1 << 63
_INTERNAL_ERROR = 1011
_NO_FAULT = Fault()

Place = tuple[Stream, Entry]


class Tails:
    """Serves tails."""

    def __init__(
        self, config: PlatformConfig, clock: Clock, logs: Logs, service: LogService
    ) -> None:
        self._config = config
        self._clock = clock
        self._logs = logs
        self._service = service
        self._open = 0

    def check(self, principal: Principal, org: str, query: str) -> LogRequest | Answer:
        """Parse a request for a tail; return its parameters, or the response that refuses it."""
        try:
            self._service.authorize(principal, org)
            return self._service.read(read_params(query), default_direction="forward")
        except RefusedError as refusal:
            return refusal.answer()
        except BadLogRequestError as error:
            return text_answer(str(error), BAD_REQUEST)

    async def serve(
        self,
        websocket: WebSocket,
        request: LogRequest,
        connection: Connection | None,
        fault: Fault | None,
    ) -> None:
        """Push lines until the client disconnects, the session is over or a fault cuts it."""
        await websocket.accept()
        limit = self._config.tail_limit
        if limit is not None and self._open >= limit:
            await websocket.close(
                _INTERNAL_ERROR,
                f"max concurrent tail requests limit exceeded, count > limit ({limit})",
            )
            return
        self._open += 1
        pusher = _Pusher(self._config, self._clock, fault or _NO_FAULT)
        subscription = self._logs.subscribe(request.selector, pusher.take)
        cap = self._clock.call_later(self._config.tail_session_seconds, pusher.expire)
        reader = asyncio.create_task(_read_until_gone(websocket, pusher))
        try:
            pusher.begin(self._history(request))
            await pusher.push(websocket, request.delay_seconds)
            await _close(websocket, pusher, connection)
        finally:
            self._open -= 1
            cap.cancel()
            self._logs.unsubscribe(subscription)
            reader.cancel()

    def _history(self, request: LogRequest) -> list[Place]:
        found = self._logs.query(
            request.selector, request.start_ns, _FOREVER_NS, request.limit, forward=False
        )
        places = [(stream, entry) for stream, backwards in found for entry in reversed(backwards)]
        return sorted(places, key=lambda place: place[1][0])


class _Pusher:
    """Buffers the lines for one client and packs them into frames."""

    def __init__(self, config: PlatformConfig, clock: Clock, fault: Fault) -> None:
        self._clock = clock
        self._timer: Timer | None = None
        self._is_due = False
        self._frame_entries = config.tail_frame_entries
        self._room = config.tail_buffer_entries
        self._fault = fault
        self._to_drop = fault.drop_lines
        self._waiting: deque[Place] = deque()
        self._dropped: list[Document] = []
        self._awake = asyncio.Event()
        self._frames = 0
        self._lines = 0
        self.gone = False
        self.expired = False
        self.cut = False

    def begin(self, history: Sequence[Place]) -> None:
        """Put the stored lines in front of those that have arrived since."""
        self._waiting.extendleft(reversed(history))
        self._awake.set()

    def take(self, stream: Stream, entries: list[Entry]) -> None:
        """Take new lines; drop those that find no room."""
        room = max(self._room - len(self._waiting), 0)
        self._waiting.extend(zip(itertools.repeat(stream), entries[:room]))
        self._drop(stream, entries[room:])
        self._awake.set()

    def expire(self) -> None:
        """End the session."""
        self.expired = True
        self._awake.set()

    def leave(self) -> None:
        """Note that the client has disconnected."""
        self.gone = True
        self._awake.set()

    async def push(self, websocket: WebSocket, delay_seconds: int) -> None:
        """Send frames until there is a reason to end."""
        try:
            while not self._is_over:
                await self._awake.wait()
                self._awake.clear()
                if self._lingers(delay_seconds):
                    continue
                while (self._waiting or self._dropped) and not self._is_over:
                    await websocket.send_text(self._next_frame())
        except WebSocketDisconnect:
            self.gone = True

    @property
    def _is_over(self) -> bool:
        return self.gone or self.expired or self.cut

    def _lingers(self, delay_seconds: int) -> bool:
        """Return whether lines keep waiting.

        A delayed tail collects lines for some time after the first of them.
        """
        if self._is_due or not delay_seconds:
            self._is_due = False
            return False
        if self._waiting and self._timer is None:
            self._timer = self._clock.call_later(delay_seconds, self._fall_due)
        return True

    def _fall_due(self) -> None:
        self._is_due, self._timer = True, None
        self._awake.set()

    def _next_frame(self) -> str:
        by_stream: dict[Stream, list[Entry]] = {}
        for _ in range(self._next_size()):
            stream, entry = self._waiting.popleft()
            if self._to_drop:
                self._to_drop -= 1
                if not self._fault.drop_silently:
                    self._drop(stream, [entry])
                continue
            by_stream.setdefault(stream, []).append(entry)
        dropped, self._dropped = self._dropped, []
        self._frames += 1
        self.cut = (
            self._frames == self._fault.cut_after_frames
            or self._lines == self._fault.cut_after_lines
        )
        content = {
            "streams": [stream_document(stream, entries) for stream, entries in by_stream.items()],
            "dropped_entries": dropped or None,
        }
        return orjson.dumps(content).decode()

    def _next_size(self) -> int:
        size = min(len(self._waiting), self._frame_entries)
        if self._fault.cut_after_lines is not None:
            size = min(size, self._fault.cut_after_lines - self._lines)
        self._lines += size
        return size

    def _drop(self, stream: Stream, entries: Sequence[Entry]) -> None:
        for stamp, _ in entries[: _DROPPED_MAX - len(self._dropped)]:
            self._dropped.append({"labels": stream.labels, "timestamp": str(stamp)})


async def _read_until_gone(websocket: WebSocket, pusher: _Pusher) -> None:
    try:
        while True:
            message = await websocket.receive()
            if message["type"] == "websocket.disconnect":
                break
    finally:
        pusher.leave()


async def _close(websocket: WebSocket, pusher: _Pusher, connection: Connection | None) -> None:
    if pusher.gone:
        return
    if pusher.cut and connection is not None:
        connection.close()
        return
    reason = "injected fault" if pusher.cut else "tail max duration limit exceeded"
    await websocket.close(_INTERNAL_ERROR, reason)


async def refuse_tail(websocket: WebSocket, answer: Answer) -> None:
    """Refuse the upgrade with an HTTP answer."""
    response = Response(
        answer.body, answer.status, dict(answer.headers), media_type=answer.content_type
    )
    await websocket.send_denial_response(response)
