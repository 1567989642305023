"""What a client may not do on the wire: send too much, too slowly or for nobody, and not read."""

import contextlib
import dataclasses
import gzip
import http.client
import json
import socket

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from cpln_flows.emulator import Platform, PlatformConfig, serve_in_thread
from tests.patience import PATIENCE_SECONDS

from .support import AUTH, RANGE, TAIL, TOKEN, W1, WORKLOADS, workload

LIMITS = PlatformConfig(
    token=TOKEN, body_limit_bytes=100_000, read_timeout_seconds=100, write_timeout_seconds=100
)


@pytest.fixture
def served():
    with serve_in_thread(Platform(LIMITS)) as running:
        yield running


@pytest.fixture
def impatient():
    """A platform on which time runs out soon, but not for a test that is merely slow."""
    config = dataclasses.replace(LIMITS, read_timeout_seconds=1, write_timeout_seconds=1)
    with serve_in_thread(Platform(config)) as running:
        yield running


@contextlib.contextmanager
def connected(served):
    host, port = served.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE_SECONDS) as link:
        yield link


def head(served, method="POST", path=WORKLOADS, token=TOKEN, **headers):
    given = {"host": served.url.removeprefix("http://"), "authorization": token, **headers}
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in given.items())
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode()


def read_to_the_end(link):
    """Everything that comes until the platform closes the connection."""
    found = b""
    with contextlib.suppress(ConnectionResetError):
        while data := link.recv(65_536):
            found += data
    return found


def refusal(link):
    """The next answer of a connection: its status, and the error that it holds."""
    response = http.client.HTTPResponse(link)
    response.begin()
    return response.status, json.loads(response.read())


@pytest.mark.parametrize(
    ("token", "status"),
    [pytest.param("s.wrong", 401, id="no-token"), pytest.param(TOKEN, 413, id="with-the-token")],
)
@pytest.mark.parametrize(
    "form", [{"content_length": "40000000"}, {"content_length": "9" * 19}], ids=["40-mb", "endless"]
)
def test_a_long_body_is_refused_before_it_is_sent(served, token, status, form):
    with connected(served) as link:
        link.sendall(head(served, token=token, **form))
        found, error = refusal(link)
        assert (found, error["status"]) == (status, status)


@pytest.mark.parametrize(("token", "status"), [("s.wrong", 401), (TOKEN, 413)])
def test_a_client_that_sends_first_and_reads_later_finds_the_refusal(served, token, status):
    for body in (b"x" * 10_000_000, iter([b"x" * 100_000] * 100)):
        answer = httpx.post(
            f"{served.url}{WORKLOADS}",
            content=body,
            headers={"authorization": token},
            timeout=PATIENCE_SECONDS,
        )
        assert answer.status_code == status


def test_a_chunked_body_without_end_is_refused(served):
    with connected(served) as link:
        link.sendall(head(served, transfer_encoding="chunked"))
        with contextlib.suppress(OSError):
            while True:
                link.sendall(b"1000\r\n" + b"x" * 4096 + b"\r\n")
        assert refusal(link)[0] == 413


@pytest.mark.parametrize("encoding", ["gzip", "br", "gzip, identity"])
def test_an_encoded_body_is_refused(served, encoding):
    bomb = gzip.compress(b"[" * 10_000_000)
    headers = {**AUTH, "content-encoding": encoding}
    answer = httpx.post(f"{served.url}{WORKLOADS}", content=bomb, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (415, "UNSUPPORTED_MEDIA_TYPE")


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(lambda s: b"GET /org/local HTTP/1.1\r\nhost: x\r\n", id="head"),
        pytest.param(lambda s: b"G", id="first-byte"),
        pytest.param(lambda s: head(s, content_length="100") + b"{", id="body"),
        pytest.param(lambda s: head(s, transfer_encoding="chunked") + b"5\r\nab", id="chunk"),
        pytest.param(
            lambda s: head(s, transfer_encoding="chunked") + b"1\r\n{\r\n", id="last-chunk"
        ),
    ],
)
def test_a_request_that_never_ends_is_given_up(impatient, sent):
    with connected(impatient) as link:
        link.sendall(sent(impatient))
        status, error = refusal(link)
        assert (status, error["code"]) == (408, "REQUEST_TIMEOUT")
        assert read_to_the_end(link) == b""


def test_a_connection_that_says_nothing_is_closed(impatient):
    with connected(impatient) as link:
        assert read_to_the_end(link) == b""


def test_the_second_request_of_a_connection_has_its_time_too(impatient):
    with connected(impatient) as link:
        link.sendall(head(impatient, "GET", "/org/local") + b"GET /org")
        answers = read_to_the_end(link)
        assert [answers.count(b"HTTP/1.1 200"), answers.count(b"HTTP/1.1 408")] == [1, 1]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        pytest.param(
            lambda s: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, id="tls"
        ),
        pytest.param(lambda s: b"nonsense\r\n\r\n", 400, id="no-http"),
        pytest.param(lambda s: b"GET / HTTP/1.1\r\n\r\n", 400, id="no-host"),
        pytest.param(
            lambda s: b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", 400, id="two-hosts"
        ),
        pytest.param(
            lambda s: head(s, content_length="1", transfer_encoding="chunked") + b"0\r\n\r\n",
            400,
            id="two-lengths",
        ),
        pytest.param(lambda s: head(s, content_length="-1"), 400, id="negative-length"),
        pytest.param(lambda s: head(s, content_length="9" * 5000), 400, id="length-of-5000-digits"),
        pytest.param(
            lambda s: head(s, transfer_encoding="chunked") + b"xyz\r\n", 400, id="no-chunk"
        ),
        pytest.param(lambda s: head(s, path="/" + "x" * 40_000), 414, id="long-path"),
        pytest.param(lambda s: head(s, path=f"{W1}?{'x' * 40_000}"), 414, id="long-query"),
        pytest.param(lambda s: head(s, x="y" * 50_000), 431, id="long-header"),
        pytest.param(
            lambda s: head(s, **{f"x{number}": "" for number in range(20_000)}),
            431,
            id="many-headers",
        ),
        pytest.param(
            lambda s: b"GET / HTTP/1.1\r\nx: " + b"y" * 200_000, 431, id="head-without-end"
        ),
    ],
)
def test_what_is_no_request_is_refused_in_the_platforms_form(served, sent, status):
    with connected(served) as link:
        link.sendall(sent(served))
        found, error = refusal(link)
        assert (found, error["status"]) == (status, status)


def test_nothing_takes_effect_of_a_request_that_breaks_off(served):
    body = json.dumps(workload()).encode()
    with connected(served) as link:
        link.sendall(head(served, content_length=str(len(body) + 1)) + body)
    with httpx.Client(base_url=served.url, headers=AUTH) as client:
        assert client.get(W1).status_code == 404


def test_requests_that_come_at_once_are_answered_in_order(served):
    many = 300
    with connected(served) as link:
        asked = [head(served, "GET", f"/org/local?n={number}") for number in range(many)]
        link.sendall(b"".join(asked) + head(served, "GET", "/nowhere", connection="close"))
        answers = read_to_the_end(link)
    assert answers.count(b"HTTP/1.1 200") == many
    assert answers.rindex(b"HTTP/1.1 200") < answers.index(b"HTTP/1.1 404")
    recorded = [record.query for record in served.platform.requests if record.status == 200]
    assert recorded == [f"n={number}" for number in range(many)]


def test_connections_beyond_the_limit_are_turned_away_until_others_end():
    config = PlatformConfig(token=TOKEN, connection_limit=3)
    with serve_in_thread(Platform(config)) as served, contextlib.ExitStack() as stack:
        links = [stack.enter_context(connected(served)) for _ in range(3)]
        for link in links:
            link.sendall(head(served, "GET", "/org/local"))
            assert link.recv(65_536).startswith(b"HTTP/1.1 200")
        with connected(served) as one_more:
            status, error = refusal(one_more)
            assert (status, error["code"]) == (503, "SERVICE_UNAVAILABLE")
        assert "3 connections" in error["message"]
        links[0].sendall(head(served, "GET", "/org/local", connection="close"))
        read_to_the_end(links[0])
        with connected(served) as instead:
            instead.sendall(head(served, "GET", "/org/local", connection="close"))
            while not (answer := read_to_the_end(instead)).startswith(b"HTTP/1.1 200"):
                assert answer.startswith(b"HTTP/1.1 503")


def _fill_log(served, lines):
    now = served.platform.clock.time_ns()
    entries = [(now - number, "x" * 10_000) for number in range(lines)]
    served.platform.append_lines({"gvc": "quickstart", "workload": "w"}, entries)


QUERY = httpx.QueryParams({"query": '{gvc="quickstart"}', "limit": "5000"})


def test_a_client_that_does_not_read_its_answer_is_dropped(impatient):
    _fill_log(impatient, 2_000)
    with connected(impatient) as link:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        link.sendall(head(impatient, "GET", f"{RANGE}?{QUERY}") * 3)
        _wait_for_end(link)


def test_a_tail_whose_lines_are_not_read_is_dropped(impatient):
    url = impatient.url.replace("http", "ws", 1)
    sock = socket.create_connection(tuple(impatient.url.removeprefix("http://").split(":")))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    # Nothing is read from it: no thread of the library's takes frames out of a full queue.
    with connect(
        f"{url}{TAIL}?{QUERY}",
        additional_headers=AUTH,
        sock=sock,
        compression=None,
        max_queue=1,
        close_timeout=1,
    ):
        _fill_log(impatient, 2_000)
        while impatient.platform._parts.logs._subscriptions:
            pass
        assert not impatient.platform._parts.logs._subscriptions


def _wait_for_end(link):
    """Wait until the other side has reset the connection, without reading from it."""
    link.settimeout(60)
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
        while True:
            link.send(b"\r\n")


@pytest.mark.parametrize("message", ["x" * 70_000, b"x" * 70_000], ids=["text", "bytes"])
def test_a_message_to_a_tail_is_bounded(served, message):
    url = served.url.replace("http", "ws", 1)
    with connect(f"{url}{TAIL}?{QUERY}", additional_headers=AUTH, compression=None) as tail:
        tail.send("short ones are ignored")
        tail.send(message)
        with pytest.raises(ConnectionClosed) as closed:
            tail.recv(timeout=PATIENCE_SECONDS)
        assert closed.value.rcvd.code == 1009
