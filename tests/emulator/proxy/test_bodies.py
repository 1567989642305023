"""Bodies through the proxy: each framing, back pressure, early answers, and who disappears."""

import asyncio
import contextlib
import select
import socket
import struct

import httpx
import pytest

from cpln_flows.emulator.proxy.streams import Stream, UpstreamLostError, connect

from .support import (
    HOST,
    OK,
    Upstream,
    behind_proxy,
    client,
    connected,
    response,
    sent,
    until,
    within,
)

pytestmark = pytest.mark.anyio

CHUNK = b"x" * 65_536
TOTAL = 1200 * len(CHUNK)
# The buffers of the kernel on the way, of four sockets, hold some megabytes each.
MOST_ON_THE_WAY = TOTAL // 2
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
POST = f"POST http://{HOST}/ HTTP/1.1\r\nHost: {HOST}\r\n"


async def read_body(headers, reader):
    """Read the body of a request in either framing."""
    if "transfer-encoding" not in headers:
        return await reader.readexactly(int(headers.get("content-length", ["0"])[0]))
    body = b""
    while size := int((await reader.readuntil(b"\n")).split(b";")[0], 16):
        body += (await reader.readexactly(size + 2))[:-2]
    while (await reader.readuntil(b"\n")) != b"\r\n":
        pass
    return body


async def echo(server, reader, writer):
    _, headers = await server.head(reader)
    body = await read_body(headers, reader)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    await writer.drain()


async def chunks(*parts):
    for part in parts:
        yield part


@pytest.mark.parametrize(
    ("body", "framing"),
    [
        pytest.param({"content": b"abc"}, "content-length", id="length"),
        pytest.param({"content": chunks(b"ab", b"c")}, "transfer-encoding", id="chunked"),
        pytest.param({"content": b""}, "content-length", id="empty"),
    ],
)
async def test_request_keeps_its_framing(body, framing):
    async with behind_proxy(echo) as (web, proxy), client(proxy) as http:
        answer = await http.post(f"http://{HOST}/", **body)
        assert answer.content == (b"" if body["content"] == b"" else b"abc")
        _, headers = web.heads[0]
        assert {"content-length", "transfer-encoding"} & set(headers) == {framing}


async def test_two_framings_become_one():
    async with behind_proxy(echo) as (web, proxy), connected(proxy.port) as (reader, writer):
        head = f"{POST}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"
        writer.write(head.encode() + b"5\r\nhello\r\n0\r\nX-Trailer: 1\r\n\r\n")
        assert (await response(reader))[2] == b"hello"
        assert "content-length" not in web.heads[0][1]


@pytest.mark.parametrize(
    ("method", "answer", "status", "body"),
    [
        ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, b"hello"),
        (
            "GET",
            CHUNKED + b"2;x=y\r\nhe\r\n3\r\nllo\r\n0\r\nX-Trailer: 1\r\n\r\n",
            200,
            b"hello",
        ),
        ("GET", b"HTTP/1.1 200 OK\r\n\r\nhello", 200, b"hello"),
        ("GET", b"HTTP/1.0 200 OK\r\n\r\nhello", 200, b"hello"),
        ("GET", b"HTTP/1.1 200 OK\r\n\r\n", 200, b""),
        (
            "GET",
            CHUNKED.replace(b"\r\n", b"\r\nContent-Length: 2\r\n", 1) + b"5\r\nhello\r\n0\r\n\r\n",
            200,
            b"hello",
        ),
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", 200, b""),
        ("HEAD", b"HTTP/1.1 200 OK\r\n\r\n", 200, b""),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", 304, b""),
        ("DELETE", b"HTTP/1.1 599 Odd\r\nContent-Length: 1\r\n\r\nx", 599, b"x"),
    ],
    ids=[
        "length", "chunked", "close", "http-1.0", "close-empty", "both", "head-length", "head",
        "204", "304", "599",
    ],
)  # fmt: skip
async def test_each_framing_of_a_response(method, answer, status, body):
    async with behind_proxy(answer) as (_, proxy), client(proxy) as http:
        for _ in range(2):
            found = await http.request(method, f"http://{HOST}/")
            assert (found.status_code, found.content) == (status, body)


async def test_trailers_of_a_response_arrive(caplog):
    answer = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n"
        b"2\r\nok\r\n0\r\nX-Sum: 7\r\n\r\n"
    )
    async with behind_proxy(answer) as (_, proxy):
        head = f"GET http://{HOST}/ HTTP/1.%d\r\nHost: x\r\nConnection: close\r\n\r\n"
        new = await sent(proxy.port, (head % 1).encode())
        assert new.endswith(b"\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 7\r\n\r\n")
        old = await sent(proxy.port, (head % 0).encode())
        assert old.endswith(b"\r\n\r\nok")
        assert b"ransfer-" not in old
    assert caplog.records == []


async def test_interim_responses_are_for_http_1_1():
    answer = b"HTTP/1.1 103 Early Hints\r\nLink: a\r\nConnection: x\r\nX: 1\r\n\r\n" + OK
    async with behind_proxy(answer) as (_, proxy):
        head = f"GET http://{HOST}/ HTTP/1.%d\r\nHost: x\r\nConnection: close\r\n\r\n"
        new = await sent(proxy.port, (head % 1).encode())
        assert new.startswith(b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\n")
        old = await sent(proxy.port, (head % 0).encode())
        assert old.startswith(b"HTTP/1.1 200 OK\r\n")


async def test_large_request_does_not_pile_up():
    lag = Lag()

    async def handler(server, reader, writer):
        await server.head(reader)
        await lag.receive(reader, TOTAL)
        writer.write(OK)

    async with behind_proxy(handler) as (_, proxy), connected(proxy.port) as (reader, writer):
        writer.write(f"{POST}Content-Length: {TOTAL}\r\n\r\n".encode())
        await lag.send(writer)
        assert (await response(reader))[0] == 200
    assert lag.most < MOST_ON_THE_WAY


async def test_large_response_does_not_pile_up():
    lag = Lag()

    async def handler(server, reader, writer):
        await server.head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % TOTAL)
        await lag.send(writer)

    async with behind_proxy(handler) as (_, proxy), connected(proxy.port) as (reader, writer):
        writer.write(f"GET http://{HOST}/ HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        await lag.receive(reader, TOTAL)
    assert lag.most < MOST_ON_THE_WAY


class Lag:
    """Counts the bytes that were sent and not yet received; the receiver is the slower one."""

    def __init__(self):
        self.most = 0
        self._sent = 0

    async def send(self, writer):
        while self._sent < TOTAL:
            writer.write(CHUNK)
            await writer.drain()
            self._sent += len(CHUNK)
            await asyncio.sleep(0)

    async def receive(self, reader, total):
        received = 0
        while received < total:
            received += len(await reader.readexactly(len(CHUNK)))
            self.most = max(self.most, self._sent - received)
            for _ in range(4):
                await asyncio.sleep(0)


async def test_continue_is_asked_upstream():
    async def handler(server, reader, writer):
        _, headers = await server.head(reader)
        assert headers["expect"] == ["100-continue"]
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert await reader.readexactly(5) == b"hello"
        writer.write(OK)

    async with behind_proxy(handler) as (_, proxy), connected(proxy.port) as (reader, writer):
        for _ in range(2):
            writer.write(f"{POST}Content-Length: 5\r\nExpect: 100-continue\r\n\r\n".encode())
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(b"hello")
            assert (await response(reader))[2] == b"ok"


async def test_refused_continue_ends_the_connection():
    answer = b"HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n"
    async with behind_proxy(answer) as (_, proxy), connected(proxy.port) as (reader, writer):
        writer.write(f"{POST}Content-Length: 5\r\nExpect: 100-continue\r\n\r\n".encode())
        status, headers, _ = await response(reader)
        assert (status, headers["connection"]) == (417, "close")
        assert await reader.read() == b""


async def test_early_answer_reaches_a_sender():
    refusal = b"HTTP/1.1 413 Long\r\nContent-Length: 3\r\n\r\nnot"
    async with behind_proxy(refusal) as (_, proxy), client(proxy) as http:
        for body in (b"x" * 8_000_000, chunks(*[CHUNK] * 120)):
            answer = await http.post(f"http://{HOST}/", content=body)
            assert (answer.status_code, answer.content) == (413, b"not")


async def test_both_directions_flow_together():
    async def handler(server, reader, writer):
        await server.head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n")
        for _ in range(3):
            writer.write(await reader.readexactly(2))

    async with behind_proxy(handler) as (_, proxy), connected(proxy.port) as (reader, writer):
        writer.write(f"{POST}Content-Length: 6\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        for part in (b"ab", b"cd", b"ef"):
            writer.write(part)
            assert await reader.readexactly(2) == part


async def test_connection_lives_after_an_early_answer():
    async with behind_proxy(answer_at_once) as (web, proxy):
        async with connected(proxy.port) as (reader, writer):
            writer.write(f"{POST}Content-Length: 5\r\n\r\nab".encode())
            assert (await response(reader))[2] == b"ok"
            writer.write(f"cde{POST}Content-Length: 0\r\n\r\n".encode())
            assert (await response(reader))[2] == b"ok"
        assert [first for first, _ in web.heads] == ["POST / HTTP/1.1"] * 2


async def answer_at_once(server, reader, writer):
    await server.head(reader)
    writer.write(OK)
    await writer.drain()


async def test_pipelined_requests_are_served_in_turn():
    async with behind_proxy(echo) as (_, proxy), connected(proxy.port) as (reader, writer):
        writer.write(b"".join(f"{POST}Content-Length: 1\r\n\r\n{n}".encode() for n in range(3)))
        assert [(await response(reader))[2] for _ in range(3)] == [b"0", b"1", b"2"]


def close(writer):
    writer.close()


def reset(writer):
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"Content-Length: 0\r\n\r\n", id="waiting"),
        pytest.param(b"Content-Length: 9\r\n\r\nhalf", id="sending"),
    ],
)
@pytest.mark.parametrize("how", [close, reset])
async def test_client_that_disappears_ends_the_exchange(body, how):
    asked = asyncio.Event()

    async def handler(server, reader, writer):
        await server.head(reader)
        asked.set()
        await end_of(writer)

    async with behind_proxy(handler) as (web, proxy), connected(proxy.port) as (_, writer):
        writer.write(POST.encode() + body)
        await within(asked.wait())
        how(writer)
        await within(web.ended.wait())


async def test_client_that_disappears_frees_a_stuck_upstream():
    async def handler(server, reader, writer):
        await server.head(reader)
        await end_of(writer)

    async with behind_proxy(handler) as (web, proxy), connected(proxy.port) as (_, writer):
        writer.write(f"{POST}Content-Length: 99999999\r\n\r\n".encode() + b"x" * 30_000_000)
        await until(lambda: web.heads)
        await until_stuck(writer)
        reset(writer)
        await within(web.ended.wait())


async def until_stuck(writer):
    """Wait until the proxy takes no more, as far as a glance can tell."""
    before, calm = None, 0
    while calm < 50:
        await asyncio.sleep(0.001)
        size = writer.transport.get_write_buffer_size()
        before, calm = size, calm + 1 if size == before else 0


async def test_answer_after_a_failed_write_counts(monkeypatch):
    tried = asyncio.Event()
    write = Stream.write

    async def fail_upstream(stream, data):
        if data == b"body":
            tried.set()
            raise UpstreamLostError
        await write(stream, data)

    async def handler(server, reader, writer):
        await server.head(reader)
        await tried.wait()
        writer.write(OK)

    monkeypatch.setattr(Stream, "write", fail_upstream)
    async with behind_proxy(handler) as (_, proxy), client(proxy) as http:
        assert (await http.post(f"http://{HOST}/", content=b"body")).status_code == 200


async def write_on(stream):
    while True:
        await stream.write(CHUNK)
        await asyncio.sleep(0)


async def test_failed_write_leaves_what_was_received():
    async def handler(_, reader, writer):
        writer.write(b"answer")
        await writer.drain()
        await reader.readexactly(1)
        # Closed with unread data, the connection is reset.
        writer.get_extra_info("socket").shutdown(socket.SHUT_WR)
        writer.transport.abort()

    async with Upstream(handler) as web:
        stream = await connect(web.backend.host, web.backend.port)
        with pytest.raises(UpstreamLostError):
            await write_on(stream)
        assert await stream.read() == b"answer"
        with pytest.raises(UpstreamLostError):
            await stream.read()
        stream.close()


async def end_of(writer):
    """Wait until the other side has closed, without reading what it sent."""
    sock = writer.get_extra_info("socket")
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLRDHUP | select.POLLHUP | select.POLLERR)
    await until(lambda: poll.poll(0))


async def test_client_that_disappears_ends_a_download():
    async def handler(server, reader, writer):
        await server.head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(CHUNK)
                await writer.drain()

    async with behind_proxy(handler) as (web, proxy), connected(proxy.port) as (reader, writer):
        writer.write(f"GET http://{HOST}/ HTTP/1.0\r\n\r\n".encode())
        await reader.readexactly(100_000)
        writer.transport.abort()
        await within(web.ended.wait())


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
        CHUNKED + b"4\r\nhalf\r\n",
        CHUNKED + b"4\r\nhalf\r\nnonsense\r\n",
    ],
    ids=["length", "chunked", "nonsense"],
)
async def test_half_a_response_is_no_whole_one(answer):
    async with behind_proxy(answer) as (_, proxy):
        async with client(proxy) as http:
            with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
                await http.get(f"http://{HOST}/")
        with contextlib.suppress(ConnectionResetError):
            found = await sent(proxy.port, f"GET http://{HOST}/ HTTP/1.0\r\n\r\n".encode())
            assert b"Content-Length: 9" in found


async def test_reset_upstream_resets_an_old_client():
    async def handler(server, reader, writer):
        await server.head(reader)
        writer.write(CHUNKED + b"4\r\nhalf\r\n")
        await writer.drain()

    async with behind_proxy(handler) as (_, proxy):
        with pytest.raises(ConnectionResetError):
            await sent(proxy.port, f"GET http://{HOST}/ HTTP/1.0\r\n\r\n".encode())


async def test_malformed_body_is_400():
    async with behind_proxy(echo) as (web, proxy):
        found = await sent(
            proxy.port, f"{POST}Transfer-Encoding: chunked\r\n\r\nnonsense\r\n".encode()
        )
        assert found.startswith(b"HTTP/1.1 400 ")
        await within(web.ended.wait())
