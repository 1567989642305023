"""The platform as an ASGI application: reads requests, applies faults, sends responses.

It makes no other decisions.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import time
from email.utils import format_datetime

from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from cpln_flows.emulator.admission import Admission
from cpln_flows.emulator.answers import NOT_FOUND, Answer, RefusedError, error_answer
from cpln_flows.emulator.clock import Clock
from cpln_flows.emulator.config import PlatformConfig
from cpln_flows.emulator.connection import Connection, connection_of
from cpln_flows.emulator.control import PREFIX, Control
from cpln_flows.emulator.faults import Fault, Faults, When
from cpln_flows.emulator.head import Head
from cpln_flows.emulator.permissions import Principal
from cpln_flows.emulator.recorder import Recorder, RequestRecord
from cpln_flows.emulator.remembered import Remembered
from cpln_flows.emulator.request_body import ClientGoneError, RequestBodies, drain, has_body
from cpln_flows.emulator.routes.call import Call
from cpln_flows.emulator.routes.log_service import TIMED_OUT, LogRequest
from cpln_flows.emulator.routes.paths import Paths
from cpln_flows.emulator.tail import Tails, refuse_tail
from cpln_flows.emulator.terminal import Terminals

_SWITCHING = 101


class NoAnswerError(Exception):
    """The client is to get no response."""


class HttpApp:
    """The ASGI application.

    In process, there is no connection to cut. There, a reset is raised as ``ConnectionResetError``,
    and a response that never comes as ``TimeoutError``.
    """

    def __init__(
        self,
        *,
        config: PlatformConfig,
        clock: Clock,
        faults: Faults,
        recorder: Recorder,
        admission: Admission,
        paths: Paths,
        tails: Tails,
        terminals: Terminals,
        control: Control,
    ) -> None:
        self._config = config
        self._clock = clock
        self._faults = faults
        self._recorder = recorder
        self._admission = admission
        self._bodies = RequestBodies(config)
        self._paths = paths
        self._tails = tails
        self._terminals = terminals
        self._control = control
        self._remembered = Remembered()
        self._date: tuple[int, bytes] = (-1, b"")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, one tail, or the server's startup and shutdown."""
        if scope["type"] == "http":
            try:
                await self._http(scope, receive, send)
            except asyncio.CancelledError:
                # A server that stops has already closed the connection; in process, the caller
                # gives up.
                if connection_of(scope) is None:
                    raise
        elif scope["type"] == "websocket":
            await self._websocket(WebSocket(scope, receive, send))
        else:
            await _lifespan(receive, send)

    # HTTP

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.monotonic()
        head = Head.of(scope)
        connection = connection_of(scope)
        try:
            principal = self._admission.admit(head)
            body = await self._bodies.read(head, receive)
        except RefusedError as refusal:
            self._recorder.refused(head, refusal.status, began, connection, "http")
            await self._turn_away(head, receive, send, refusal)
            return
        except ClientGoneError:
            return
        call = Call(head.method, head.path, head.query, body, principal, head.base_url)
        if call.path.startswith(PREFIX):
            await self._send(send, self._control.answer(call))
            return
        await self._carry_out(call, send, connection, began)

    async def _turn_away(
        self, head: Head, receive: Receive, send: Send, refusal: RefusedError
    ) -> None:
        """Refuse a request whose body, if any, was not read."""
        answer = refusal.answer()
        if not has_body(head):
            await self._send(send, answer)
            return
        await send(
            self._start(
                dataclasses.replace(answer, headers=(*answer.headers, ("connection", "close")))
            )
        )
        await send({"type": "http.response.body", "body": answer.body, "more_body": True})
        await drain(receive)
        await send({"type": "http.response.body"})

    async def _carry_out(
        self, call: Call, send: Send, connection: Connection | None, began: float
    ) -> None:
        fault = self._faults.take(call.method, call.path)
        delay = self._config.latency_seconds + (0.0 if fault is None else fault.delay_seconds)
        status: int | None = None
        try:
            if not await self._wait(call, delay):
                answer = TIMED_OUT
            elif fault is None:
                answer = self._answer(call)
            else:
                answer = self._spoiled(call, fault, connection)
            status = answer.status
            if fault is not None and fault.truncate is not None:
                await self._send_half(send, answer, fault, connection)
            else:
                await self._send(send, answer)
        except NoAnswerError:
            # The server must see that the connection is gone, or it would respond in our place.
            if connection is not None:
                await connection.wait_closed()
        finally:
            number = None if connection is None else connection.number
            record = RequestRecord(
                call.method, call.path, call.query, status, began, number, "http"
            )
            self._recorder.record(record)

    async def _wait(self, call: Call, seconds: float) -> bool:
        """Take some time over a request; return whether it was not ended for that."""
        most = self._paths.timeout_seconds(call)
        allowed = seconds if most is None else min(seconds, most)
        # Even without latency: in process, nothing else lets the jobs run between the requests of a
        # busy client.
        await asyncio.sleep(allowed)
        return allowed == seconds

    def _answer(self, call: Call) -> Answer:
        answer = self._paths.answer(call)
        if call.method == "GET" or call.path.endswith("/-query"):
            self._remembered.keep(call, answer)
        return answer

    def _spoiled(self, call: Call, fault: Fault, connection: Connection | None) -> Answer:
        if fault.reset_when is not None:
            self._take_effect(call, fault.reset_when)
            _reset(connection)
        if fault.timeout is not None:
            self._take_effect(call, fault.timeout)
            if connection is None:
                raise TimeoutError("injected fault: no answer")
            raise NoAnswerError
        if fault.status is not None or fault.body is not None:
            self._take_effect(call, fault.effect)
            return _wrong_answer(fault)
        if fault.stale:
            return self._remembered.find(call) or self._answer(call)
        return self._answer(call)

    def _take_effect(self, call: Call, when: When) -> None:
        if when == "after":
            self._paths.answer(call)

    async def _send(self, send: Send, answer: Answer) -> None:
        await send(self._start(answer))
        await send({"type": "http.response.body", "body": answer.body})

    async def _send_half(
        self, send: Send, answer: Answer, fault: Fault, connection: Connection | None
    ) -> None:
        half = answer.body[: len(answer.body) // 2]
        if fault.truncate == "body":
            await self._send(send, Answer(answer.status, half, answer.content_type, answer.headers))
            return
        await send(self._start(answer))
        await send(
            {"type": "http.response.body", "body": half, "more_body": connection is not None}
        )
        if connection is not None:
            connection.close()
            await connection.wait_closed()

    def _start(self, answer: Answer) -> dict[str, object]:
        headers = [
            (b"content-type", answer.content_type.encode()),
            (b"content-length", str(len(answer.body)).encode()),
            (b"date", self._date_header()),
        ]
        headers += [(name.encode(), value.encode()) for name, value in answer.headers]
        return {"type": "http.response.start", "status": answer.status, "headers": headers}

    def _date_header(self) -> bytes:
        """Return the time by the platform's clock, which the vendor's CLI uses as a job's start."""
        now = self._clock.now()
        second = int(now.timestamp())
        if second != self._date[0]:
            self._date = (second, format_datetime(now, usegmt=True).encode())
        return self._date[1]

    # WebSocket

    async def _websocket(self, websocket: WebSocket) -> None:
        began = time.monotonic()
        head = Head.of(websocket.scope)
        connection = connection_of(websocket.scope)
        await websocket.receive()
        try:
            if await self._open(websocket, head, began):
                return
        except RefusedError as refusal:
            self._recorder.refused(head, refusal.status, began, connection, "websocket")
            await refuse_tail(websocket, refusal.answer())
        if connection is not None:
            # Otherwise, uvicorn logs the refused upgrade as unfinished.
            await connection.wait_closed()

    async def _open(self, websocket: WebSocket, head: Head, began: float) -> bool:
        """Serve a WebSocket to its end, or refuse it; return whether it was served."""
        match head.path.strip("/").split("/"):
            case ["location", location, "exec"]:
                self._admission.admit_terminal(head)
                self._note(websocket.scope, head, _SWITCHING, began)
                await self._terminals.serve(websocket, location)
                return True
        return await self._tail(websocket, head, self._admission.admit(head), began)

    async def _tail(
        self, websocket: WebSocket, head: Head, principal: Principal, began: float
    ) -> bool:
        """Serve a tail to its end, or refuse it; return whether it was served."""
        connection = connection_of(websocket.scope)
        note = functools.partial(self._note, websocket.scope, head, began=began)
        fault = self._faults.take("GET", head.path)
        wait = self._config.latency_seconds + (0.0 if fault is None else fault.delay_seconds)
        if wait:
            await asyncio.sleep(wait)
        if fault is not None and await _refused_by(fault, websocket, connection):
            note(fault.status)
            return False
        found = self._read_tail(head, principal)
        if isinstance(found, Answer):
            note(found.status)
            await refuse_tail(websocket, found)
            return False
        note(_SWITCHING)
        await self._tails.serve(websocket, found, connection, fault)
        return True

    def _note(self, scope: Scope, head: Head, status: int | None, began: float) -> None:
        connection = connection_of(scope)
        number = None if connection is None else connection.number
        self._recorder.record(
            RequestRecord("GET", head.path, head.query, status, began, number, "websocket")
        )

    def _read_tail(self, head: Head, principal: Principal) -> LogRequest | Answer:
        match head.path.strip("/").split("/"):
            case ["logs", "org", org, "loki", "api", "v1", "tail"]:
                return self._tails.check(principal, org, head.query)
        return error_answer(NOT_FOUND, f"{head.path} was not found")


async def _refused_by(fault: Fault, websocket: WebSocket, connection: Connection | None) -> bool:
    """Return whether a fault kept a tail from beginning."""
    if fault.reset_when is not None:
        if connection is None:
            raise ConnectionResetError("injected fault: connection reset")
        connection.abort()
        return True
    if fault.timeout is not None:
        await websocket.receive()
        return True
    if fault.status is not None:
        await refuse_tail(websocket, _wrong_answer(fault))
        return True
    return False


def _wrong_answer(fault: Fault) -> Answer:
    headers = () if fault.retry_after is None else (("retry-after", str(fault.retry_after)),)
    status = fault.status or 200
    if fault.body is not None:
        return Answer(status, fault.body.encode(), fault.content_type, headers)
    return error_answer(status, fault.message, None, headers)


def _reset(connection: Connection | None) -> None:
    if connection is None:
        raise ConnectionResetError("injected fault: connection reset")
    connection.abort()
    raise NoAnswerError


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
