"""The health check of gRPC, against servers that speak HTTP/2 and against some that do not."""

import asyncio
import contextlib

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived, StreamEnded
from hypothesis import given
from hypothesis import strategies as st

from cpln_flows.emulator.executors.base import Check
from cpln_flows.emulator.executors.checks import connects
from cpln_flows.emulator.executors.grpc_health import _status
from tests.patience import PATIENCE_SECONDS

pytestmark = pytest.mark.anyio

OK = (("grpc-status", "0"),)


def message(content):
    return b"\0" + len(content).to_bytes(4) + content


class Server:
    """Answers every request in the same way, and notes what it was asked."""

    def __init__(self, body=b"", trailers=OK, status="200", *, resets=False):
        self.body, self.trailers, self.status, self.resets = body, trailers, status, resets
        self.asked = []

    async def serve(self, reader, writer):
        connection = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        connection.initiate_connection()
        writer.write(connection.data_to_send())
        while data := await reader.read(1 << 14):
            for event in connection.receive_data(data):
                if isinstance(event, RequestReceived):
                    self.asked.append(dict(event.headers))
                elif isinstance(event, StreamEnded):
                    self.answer(connection)
            writer.write(connection.data_to_send())

    def answer(self, connection):
        if self.resets:
            connection.reset_stream(1, error_code=2)
            return
        head = [(":status", self.status), ("content-type", "application/grpc")]
        connection.send_headers(1, head)
        connection.send_data(1, self.body)
        connection.send_headers(1, list(self.trailers), end_stream=True)


async def ask(serve, seconds=PATIENCE_SECONDS):
    left = asyncio.Event()

    async def served(reader, writer):
        try:
            with contextlib.suppress(OSError):
                await serve(reader, writer)
        finally:
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            left.set()

    server = await asyncio.start_server(served, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        problem = await connects(Check("grpc", port=port, timeout_seconds=seconds))
        await left.wait()
        return port, problem


@pytest.mark.parametrize(
    ("server", "problem"),
    [
        pytest.param(Server(message(b"\x08\x01")), None, id="serving"),
        pytest.param(Server(message(b"\x12\x01x\x08\x01")), None, id="unknown-field-first"),
        pytest.param(Server(message(b"\x08\x02")), "responded with NOT_SERVING", id="not-serving"),
        pytest.param(Server(message(b"")), "responded with UNKNOWN", id="unknown"),
        pytest.param(Server(message(b"\x08\x09")), "responded with 9", id="unknown-number"),
        pytest.param(Server(b"\0\0"), "responded with no valid message", id="cut"),
        pytest.param(Server(message(bytes(5000))), "the answer is too long", id="too-long"),
        pytest.param(
            Server(trailers=[("grpc-status", "12")]),
            "does not implement grpc.health.v1.Health",
            id="unimplemented",
        ),
        pytest.param(Server(trailers=[("grpc-status", "14")]), "status gRPC 14", id="unavailable"),
        pytest.param(Server(trailers=[("x", "y")], status="404"), "status 404", id="no-grpc"),
        pytest.param(Server(resets=True), "ended with error 2", id="reset"),
    ],
)
async def test_only_serving_passes(server, problem) -> None:
    port, found = await ask(server.serve)
    assert found is None if problem is None else problem in found
    (asked,) = server.asked
    assert asked == {
        ":method": "POST",
        ":scheme": "http",
        ":authority": f"127.0.0.1:{port}",
        ":path": "/grpc.health.v1.Health/Check",
        "te": "trailers",
        "content-type": "application/grpc",
    }


async def _hangs_up(reader, writer):
    await reader.read(1)


async def _speaks_http_1(reader, writer):
    await reader.read(1)
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await writer.drain()


@pytest.mark.parametrize("serve", [_hangs_up, _speaks_http_1])
async def test_server_of_another_kind_fails(serve) -> None:
    _, found = await ask(serve)
    assert found


async def test_silent_server_fails_after_the_timeout() -> None:
    async def silent(reader, writer):
        await reader.read()

    _, found = await ask(silent, seconds=0.05)
    assert found == "no answer within 0.05 s"


@given(st.binary(max_size=40))
def test_any_body_has_a_status_or_none(content) -> None:
    for body in (content, message(content)):
        found = _status(body)
        assert found is None or found >= 0
