"""Ask a gRPC server for its health: ``grpc.health.v1.Health/Check`` over HTTP/2 without TLS.

Needs no gRPC library: the request is empty, and one number of the answer counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)

_STREAM = 1
_CHUNK = 1 << 14
_BODY_LIMIT = 1 << 12
_EMPTY_MESSAGE = bytes(5)
_PREFIX = len(_EMPTY_MESSAGE)
_SERVING = 1
_STATUSES = {0: "UNKNOWN", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}
_UNIMPLEMENTED = b"12"
_CONTINUES = 0x80
_VARINT_BYTES = 10
_VARINT, _FIXED_64, _BYTES, _FIXED_32 = 0, 1, 2, 5


async def unhealthy(
    authority: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> str | None:
    """Return why a server is not serving, or ``None``.

    Args:
        authority: Host and port of the server.
        reader: What the server sends.
        writer: What is sent to the server.

    Raises:
        h2.exceptions.H2Error: The server does not speak HTTP/2.
    """
    connection = H2Connection(H2Configuration(client_side=True, header_encoding=None))
    connection.initiate_connection()
    connection.send_headers(
        _STREAM,
        [
            (":method", "POST"),
            (":scheme", "http"),
            (":authority", authority),
            (":path", "/grpc.health.v1.Health/Check"),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
        ],
    )
    connection.send_data(_STREAM, _EMPTY_MESSAGE, end_stream=True)
    answer = _Answer()
    while not answer.is_over:
        writer.write(connection.data_to_send())
        await writer.drain()
        data = await reader.read(_CHUNK)
        if not data:
            return "gRPC probe failed: the connection was closed without an answer"
        answer.add(connection.receive_data(data))
    return answer.problem()


class _Answer:
    """What has arrived of an answer."""

    def __init__(self) -> None:
        self._headers: dict[bytes, bytes] = {}
        self._body = bytearray()
        self._failure = ""
        self.is_over = False

    def add(self, events: Iterable[Event]) -> None:
        """Note what has arrived."""
        for event in events:
            match event:
                case ResponseReceived() | TrailersReceived():
                    self._headers |= {bytes(name): bytes(value) for name, value in event.headers}
                case DataReceived():
                    self._body += event.data
                    if len(self._body) > _BODY_LIMIT:
                        self._fail("the answer is too long")
                case StreamEnded():
                    self.is_over = True
                case StreamReset() | ConnectionTerminated():
                    self._fail(f"the request was ended with error {event.error_code}")

    def problem(self) -> str | None:
        """Return what is wrong with a complete answer, or ``None``."""
        failure = self._failure or self._refusal()
        if not failure:
            status = _status(bytes(self._body))
            if status == _SERVING:
                return None
            name = "no valid message" if status is None else _STATUSES.get(status, str(status))
            failure = f"service unhealthy (responded with {name})"
        return f"gRPC probe failed: {failure}"

    def _refusal(self) -> str:
        code = self._headers.get(b"grpc-status")
        if code == _UNIMPLEMENTED:
            return "the server does not implement grpc.health.v1.Health"
        if self._headers.get(b":status") != b"200" or code != b"0":
            shown = self._headers.get(b":status", b"") if code is None else b"gRPC " + code
            return f"status {shown.decode(errors='replace')}"
        return ""

    def _fail(self, failure: str) -> None:
        self._failure = failure
        self.is_over = True


def _status(body: bytes) -> int | None:
    """Return the status in a message of gRPC that is not compressed; ``None`` if it is not one."""
    if len(body) < _PREFIX or body[0] or int.from_bytes(body[1:_PREFIX]) != len(body) - _PREFIX:
        return None
    message, status = body[_PREFIX:], 0
    try:
        while message:
            key, message = _varint(message)
            value, message = _field(key & 7, message)
            if key == 1 << 3:
                status = value
    except ValueError:
        return None
    return status


def _field(kind: int, message: bytes) -> tuple[int, bytes]:
    """Read the value of one field; only a number's is of interest."""
    if kind == _VARINT:
        return _varint(message)
    if kind == _BYTES:
        size, message = _varint(message)
    elif kind in (_FIXED_32, _FIXED_64):
        size = 4 if kind == _FIXED_32 else 8
    else:
        raise ValueError(f"wire type {kind}")
    if size > len(message):
        raise ValueError("the message ends within a field")
    return 0, message[size:]


def _varint(message: bytes) -> tuple[int, bytes]:
    value = 0
    for index, byte in enumerate(message[:_VARINT_BYTES]):
        value |= (byte & ~_CONTINUES) << 7 * index
        if not byte & _CONTINUES:
            return value, message[index + 1 :]
    raise ValueError("the message ends within a number")
