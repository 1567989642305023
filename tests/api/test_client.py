import itertools
import logging
import time
import zlib
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import anyio
import httpx
import orjson
import pytest
from pydantic import SecretStr

from cpln_flows.api.client import CplnClient
from cpln_flows.api.retry import Repeat
from cpln_flows.errors import (
    AnswerTooLargeError,
    ApiError,
    ConflictError,
    CplnError,
    ForbiddenError,
    LogStreamError,
    NotFoundError,
    RateLimitedError,
    ServerError,
    TransportError,
    UnauthorizedError,
    UnexpectedResponseError,
)
from cpln_flows.model import log_lines
from cpln_flows.model.resources import Workload
from cpln_flows.settings import ApiSettings

CANARY = "s.canary-0123456789"
pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio"


class Server:
    """Answers in turn; remembers what it was asked and how long the client waited."""

    def __init__(self, *answers) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []
        self.waits: list[float] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer(request) if callable(answer) else answer

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)

    def client(self, **settings) -> CplnClient:
        api = ApiSettings(
            **{"token": SecretStr(CANARY), "endpoint": "https://api.test", **settings}
        )
        return CplnClient(api, transport=httpx.MockTransport(self), sleep=self.sleep)


def problem(status: int, message: str = "no", **headers: str) -> httpx.Response:
    body = {"status": status, "message": message, "code": "X", "id": "1"}
    return httpx.Response(
        status,
        json=body,
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )


OK = httpx.Response(200, json={"name": "acme"})


async def test_the_token_travels_as_bearer_and_shows_nowhere() -> None:
    server = Server(OK)
    async with server.client() as client:
        await client.get("/org/acme")
        assert server.requests[0].headers["authorization"] == f"Bearer {CANARY}"
        assert CANARY not in f"{client!r} {client} {client.settings!r}"


@pytest.mark.parametrize(
    ("answer", "kind", "says"),
    [
        (problem(400, "bad name"), ApiError, "bad name"),
        (problem(400, "command already exists"), ConflictError, "already exists"),
        (problem(401, "who"), UnauthorizedError, "CPLN_TOKEN"),
        (problem(403, 'requires permission "exec"'), ForbiddenError, 'requires permission "exec"'),
        (problem(404), NotFoundError, "GET /org/acme"),
        (problem(409, "taken"), ConflictError, "taken"),
        (problem(429, "quota exceeded"), RateLimitedError, "quota"),
        (httpx.Response(418, text="<html>teapot</html>"), ApiError, "teapot"),
    ],
)
async def test_an_error_answer_becomes_the_error_that_says_what_to_do(answer, kind, says) -> None:
    async with Server(answer).client() as client:
        with pytest.raises(kind, match=says) as caught:
            await client.get("/org/acme")
    assert caught.value.status == answer.status_code


@pytest.mark.parametrize(
    "trouble",
    [
        problem(500),
        problem(502),
        problem(503),
        problem(504),
        problem(429, "slow"),
        httpx.ReadTimeout("late"),
        httpx.ConnectError("refused"),
        httpx.RemoteProtocolError("reset"),
        httpx.Response(200, text='{"name": "ac'),
        httpx.Response(200, text="<html>"),
    ],
    ids=lambda trouble: str(getattr(trouble, "status_code", "")) + type(trouble).__name__,
)
async def test_reading_is_repeated_until_an_answer_comes(trouble) -> None:
    server = Server(trouble, trouble, OK)
    async with server.client() as client:
        assert await client.get("/org/acme") == {"name": "acme"}
    assert len(server.requests) == 3
    assert len(server.waits) == 2


@pytest.mark.parametrize(
    ("trouble", "kind"),
    [
        (problem(503), ServerError),
        (httpx.ReadTimeout("late"), TransportError),
        (problem(409), ConflictError),
    ],
)
async def test_what_must_not_happen_twice_is_not_repeated_in_doubt(trouble, kind) -> None:
    server = Server(trouble)
    async with server.client() as client:
        with pytest.raises(kind):
            await client.post("/x/-command", {}, repeat=Repeat.WHEN_REFUSED)
    assert len(server.requests) == 1


@pytest.mark.parametrize("trouble", [problem(429, "slow"), httpx.ConnectError("refused")])
async def test_what_was_surely_refused_is_sent_again(trouble) -> None:
    server = Server(
        trouble, httpx.Response(201, text="Created", headers={"location": "/x/-command/9b38"})
    )
    async with server.client() as client:
        assert (
            await client.post("/x/-command", {}, repeat=Repeat.WHEN_REFUSED) == "/x/-command/9b38"
        )
    assert len(server.requests) == 2


async def test_retry_after_is_honoured_and_capped() -> None:
    server = Server(problem(429, "slow", retry_after="7"), problem(503, retry_after="3600"), OK)
    async with server.client() as client:
        await client.get("/org/acme")
    asked, capped = server.waits
    assert 7 <= asked <= 8
    assert capped == 60


@pytest.mark.parametrize(
    ("after", "date", "waits"),
    [
        pytest.param(
            "Fri, 27 Nov 2026 10:00:09 GMT", "Fri, 27 Nov 2026 10:00:02 GMT", 7, id="date"
        ),
        pytest.param(
            "Fri, 27 Nov 2026 10:00:00 GMT",
            "Fri, 27 Nov 2026 10:00:02 GMT",
            0,
            id="date-that-has-passed",
        ),
        pytest.param("Fri, 27 Nov 2026 10:00:09 GMT", "", None, id="date-of-an-unknown-clock"),
        pytest.param("soon", "Fri, 27 Nov 2026 10:00:02 GMT", None, id="no-date"),
        pytest.param("nan", "Fri, 27 Nov 2026 10:00:02 GMT", None, id="no-number"),
    ],
)
async def test_date_of_retry_is_by_the_platforms_clock(after, date, waits) -> None:
    async with Server(problem(429, retry_after=after, date=date)).client() as client:
        with pytest.raises(RateLimitedError) as caught:
            await client.get("/org/acme", repeat=Repeat.NEVER)
    assert caught.value.retry_after == waits


class Dripping(httpx.AsyncByteStream):
    """A body whose next piece always comes in time."""

    async def __aiter__(self):
        while True:
            yield b" "
            await anyio.sleep(0.001)


async def test_answer_that_never_ends_is_given_up() -> None:
    server = Server(lambda _: httpx.Response(200, stream=Dripping()))
    async with server.client(request_timeout_seconds=0.05, retry_seconds=0) as client:
        with pytest.raises(TransportError, match="not complete after") as caught:
            await client.get("/org/acme")
    assert caught.value.sent


async def test_repeating_ends_with_the_budget() -> None:
    server = Server(problem(503))
    async with server.client(retry_seconds=0) as client:
        with pytest.raises(ServerError):
            await client.get("/org/acme")
    assert len(server.requests) == 1


def page(items, following=None) -> httpx.Response:
    links = [{"rel": "self", "href": "/"}] + (
        [{"rel": "next", "href": following}] if following else []
    )
    return httpx.Response(200, json={"kind": "list", "items": items, "links": links})


async def test_a_query_is_read_to_its_last_page_the_rest_with_get() -> None:
    server = Server(
        page([1, 2], "/org/acme/workload?next=a"), page([3], "/org/acme/workload?next=b"), page([])
    )
    async with server.client() as client:
        pages = [items async for items in client.pages("/org/acme/workload/-query", {"spec": {}})]
    assert pages == [[1, 2], [3], []]
    assert [(request.method, request.url.raw_path) for request in server.requests] == [
        ("POST", b"/org/acme/workload/-query"),
        ("GET", b"/org/acme/workload?next=a"),
        ("GET", b"/org/acme/workload?next=b"),
    ]


@pytest.mark.parametrize(
    "answers",
    [
        [page([1], "/a?next=x"), page([2], "/a?next=x")],
        [httpx.Response(200, json={"items": "x"})],
        [httpx.Response(200, json=[])],
    ],
    ids=["circle", "items-of-another-form", "no-list"],
)
async def test_pages_that_are_no_list_or_never_end_are_an_error(answers) -> None:
    async with Server(*answers).client(retry_seconds=0) as client:
        with pytest.raises(UnexpectedResponseError):
            _ = [items async for items in client.pages("/a")]


def linked(links) -> httpx.Response:
    return httpx.Response(200, json={"items": [1], "links": links})


def to(href) -> httpx.Response:
    return linked([{"rel": "next", "href": href}])


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(to("@evil.test/x"), id="user-of-another-host"),
        pytest.param(to(".evil.test/x"), id="rest-of-the-host"),
        pytest.param(to(":8443/x"), id="another-port-glued"),
        pytest.param(to("//evil.test/x"), id="without-scheme"),
        pytest.param(to("https://evil.test/x"), id="another-host"),
        pytest.param(to("http://api.test/x"), id="another-scheme"),
        pytest.param(to("https://api.test:444/x"), id="another-port"),
        pytest.param(to("https://api.test@evil.test/x"), id="endpoint-as-user"),
        pytest.param(to("https://me@api.test/x"), id="with-user"),
        pytest.param(to("\\\\evil.test/x"), id="backslashes"),
        pytest.param(to("https://[/x"), id="no-url"),
        pytest.param(to("/x?next=a\nb"), id="line-break"),
        pytest.param(to("/x?next=" + "a" * 70_000), id="endless"),
        pytest.param(to(""), id="empty"),
        pytest.param(to(5), id="number"),
        pytest.param(to({"a": 1}), id="object"),
        pytest.param(linked(7), id="links-are-a-number"),
        pytest.param(linked({"next": "/x"}), id="links-are-an-object"),
    ],
)
async def test_strange_next_link_is_not_followed(answer) -> None:
    server = Server(answer)
    async with server.client(retry_seconds=0) as client:
        with pytest.raises(UnexpectedResponseError):
            _ = [items async for items in client.pages("/a")]
    assert len(server.requests) == 1


async def test_refused_next_link_is_named() -> None:
    async with Server(to("https://me:hush@evil.test/x?token=hush")).client() as client:
        with pytest.raises(
            UnexpectedResponseError, match=r"evil\.test/x.*not a path of https://api\.test"
        ) as caught:
            await client.page("/a")
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    "links", [[7, None, {"rel": "next"}], None, [], [{"rel": "self", "href": 5}]], ids=str
)
async def test_list_without_next_link_ends(links) -> None:
    async with Server(linked(links)).client() as client:
        assert [items async for items in client.pages("/a")] == [[1]]


@pytest.mark.parametrize(
    ("endpoint", "href", "path"),
    [
        ("https://api.test", "https://api.test/a?next=x", "/a?next=x"),
        ("https://api.test", "https://API.test:443/a?next=x#y", "/a?next=x"),
        ("https://api.test/cpln", "https://api.test/cpln/a?next=x", "/cpln/a?next=x"),
        ("https://api.test/cpln", "/a?next=x", "/cpln/a?next=x"),
    ],
)
async def test_absolute_link_of_same_origin_is_followed(endpoint, href, path) -> None:
    server = Server(to(href), page([2]))
    async with server.client(endpoint=endpoint) as client:
        assert [items async for items in client.pages("/a")] == [[1], [2]]
    assert (server.requests[1].url.host, server.requests[1].url.raw_path.decode()) == (
        "api.test",
        path,
    )


async def test_endless_pages_are_bounded(monkeypatch) -> None:
    monkeypatch.setattr("cpln_flows.api.client._MOST_ITEMS", 5)
    numbers = itertools.count()
    async with Server(lambda _: page([1, 2], f"/a?next={next(numbers)}")).client() as client:
        with pytest.raises(AnswerTooLargeError, match="5 items"):
            _ = [items async for items in client.pages("/a")]


@pytest.mark.parametrize("link", ["@evil.test/x", "x", "", "https://evil.test/x"])
async def test_link_of_an_answer_is_no_host(link) -> None:
    server = Server(OK)
    async with server.client() as client:
        for send in (client.get, client.delete):
            with pytest.raises(UnexpectedResponseError, match="is not a path"):
                await send(link)
    assert server.requests == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirect_is_not_followed(status) -> None:
    server = Server(httpx.Response(status, headers={"location": "https://evil.test/x"}))
    async with server.client() as client:
        with pytest.raises(ApiError, match="redirects are not followed"):
            await client.get("/org/acme")
        with pytest.raises(ApiError):
            await client.post("/x", {}, repeat=Repeat.ALWAYS)
    assert {request.url.host for request in server.requests} == {"api.test"}
    assert len(server.requests) == 2


async def test_bomb_is_refused_and_not_asked_for_again() -> None:
    packer = zlib.compressobj(9, wbits=zlib.MAX_WBITS | 16)
    packed = b"".join([packer.compress(b" " * 2**20) for _ in range(40)]) + packer.flush()
    server = Server(
        httpx.Response(200, stream=httpx.ByteStream(packed), headers={"content-encoding": "gzip"})
    )
    async with server.client() as client:
        with pytest.raises(
            AnswerTooLargeError, match="GET /org/acme: the answer has more than 32 MiB"
        ):
            await client.get("/org/acme")
    assert len(server.requests) == 1


async def test_deep_log_is_unexpected() -> None:
    deep = (
        b'{"data":{"result":[{"stream":{"replica":'
        + b"[" * 1000
        + b"]" * 1000
        + b'},"values":[]}]}}'
    )
    async with Server(httpx.Response(200, content=deep)).client(
        logs_endpoint="https://logs.test", retry_seconds=0
    ) as client:
        with pytest.raises(UnexpectedResponseError):
            await client.get_logs("/x", params={}, parse=log_lines.parse_range)


LOGS = httpx.Response(200, json={"endpoints": {"logs": "https://logs.test/"}})


@pytest.mark.parametrize(
    ("answer", "endpoint"),
    [
        (LOGS, "https://logs.test"),
        (problem(404), "https://logs.cpln.io"),
        (httpx.Response(200, json={}), "https://logs.cpln.io"),
    ],
)
async def test_the_logs_service_is_discovered_without_the_token_or_has_its_default(
    answer, endpoint
) -> None:
    server = Server(answer)
    async with server.client(endpoint="https://api.cpln.io") as client:
        assert await client.logs_endpoint() == endpoint
        assert await client.logs_endpoint() == endpoint
    assert [request.url.path for request in server.requests] == ["/discovery"]
    assert "authorization" not in server.requests[0].headers


async def test_a_discovery_that_failed_for_once_is_made_again() -> None:
    server = Server(problem(503), LOGS)
    async with server.client(endpoint="http://api.cpln.io", retry_seconds=0) as client:
        assert await client.logs_endpoint() == "https://logs.cpln.io"
        assert await client.logs_endpoint() == "https://logs.test"


@pytest.mark.parametrize(
    "answer",
    [problem(503), problem(404), httpx.Response(200, json={}), httpx.ConnectError("refused")],
)
async def test_the_token_of_another_installation_does_not_go_to_the_vendors_logs(answer) -> None:
    server = Server(answer)
    async with server.client(retry_seconds=0) as client:
        with pytest.raises(LogStreamError, match="set CPLN_LOGS_ENDPOINT"):
            await client.get_logs("/logs/org/acme/loki/api/v1/query_range", params={}, parse=dict)
    assert {request.url.host for request in server.requests} == {"api.test"}


def discovery(logs) -> httpx.Response:
    return httpx.Response(200, json={"endpoints": {"logs": logs}})


@pytest.mark.parametrize(
    ("endpoint", "logs", "found"),
    [
        pytest.param(
            "https://api.test", "wss://logs.other", "https://logs.other", id="tls-to-another-host"
        ),
        pytest.param(
            "http://127.0.0.1:1", "http://127.0.0.1:2", "http://127.0.0.1:2", id="loopback"
        ),
        pytest.param(
            "http://cpln:8080",
            "http://cpln:8081",
            "http://cpln:8081",
            id="host-that-has-the-token-already",
        ),
        pytest.param(
            "https://api.cpln.io",
            "http://logs.evil",
            "https://logs.cpln.io",
            id="clear-has-the-vendors-default",
        ),
    ],
)
async def test_discovered_logs_keep_the_token(endpoint, logs, found) -> None:
    async with Server(discovery(logs)).client(endpoint=endpoint) as client:
        assert await client.logs_endpoint() == found


@pytest.mark.parametrize(
    "logs",
    [
        "http://logs.test",
        "ws://logs.test",
        "https://me:hush@logs.test",
        "https://@logs.test",
        "https://logs.test?x",
        "ftp://logs.test",
        "//logs.test",
        "logs.test",
        "",
        5,
        None,
        {"a": "b"},
    ],
    ids=str,
)
async def test_discovered_address_without_tls_is_refused(logs) -> None:
    server = Server(discovery(logs))
    async with server.client(retry_seconds=0) as client:
        with pytest.raises(LogStreamError, match="set CPLN_LOGS_ENDPOINT") as caught:
            await client.get_logs("/x", params={}, parse=dict)
    assert len(server.requests) == 1
    assert "hush" not in "".join(map(str, _chain(caught.value)))


async def test_a_set_logs_endpoint_is_not_discovered() -> None:
    server = Server(OK)
    async with server.client(logs_endpoint="ws://127.0.0.1:1") as client:
        assert await client.logs_endpoint() == "http://127.0.0.1:1"
    assert server.requests == []


def _chain(error: BaseException | None):
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


ECHOES = [
    problem(401, f"unknown token Bearer {CANARY}"),
    httpx.Response(502, text=f"<html>{CANARY}</html>"),
]


@pytest.mark.parametrize(
    "answer",
    [problem(401), httpx.ConnectError("refused"), httpx.ReadTimeout("late"), problem(503), *ECHOES],
)
async def test_no_error_carries_the_token(answer, caplog) -> None:
    caplog.set_level(logging.DEBUG)
    async with Server(answer).client(retry_seconds=0) as client:
        with pytest.raises(CplnError) as caught:
            await client.get("/org/acme")
    for error in _chain(caught.value):
        request = getattr(error, "_request", None)
        assert (
            CANARY not in f"{error!r} {error} {error.__dict__} {request.headers if request else ''}"
        )
    assert CANARY not in caplog.text


async def test_a_client_that_is_not_open_says_so() -> None:
    with pytest.raises(RuntimeError, match="async with"):
        await Server(OK).client().get("/org/acme")


async def test_a_body_is_sent_as_json() -> None:
    server = Server(httpx.Response(200))
    async with server.client() as client:
        await client.put("/org/acme/gvc", {"name": "dev"})
    assert orjson.loads(server.requests[0].content) == {"name": "dev"}
    assert server.requests[0].headers["content-type"] == "application/json"


async def test_two_requests_at_once_share_one_client() -> None:
    server = Server(OK)
    async with server.client() as client, anyio.create_task_group() as tasks:
        tasks.start_soon(client.get, "/a")
        tasks.start_soon(client.get, "/b")
    assert {request.url.path for request in server.requests} == {"/a", "/b"}


@pytest.mark.parametrize(
    ("ahead_seconds", "told"),
    [(0, 0), (1, 0), (-1, 0), (3600, 3600), (-1200, -1200)],
    ids=["equal", "within-what-can-be-told", "within-what-can-be-told-behind", "ahead", "behind"],
)
async def test_the_time_is_the_platforms(ahead_seconds, told) -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        date = format_datetime(datetime.now(UTC) + timedelta(seconds=ahead_seconds), usegmt=True)
        return httpx.Response(200, json={}, headers={"date": date})

    async with Server(answer).client() as client:
        await client.get("/org/acme")
        offset = (client.now() - datetime.now(UTC)).total_seconds()
        assert offset == pytest.approx(told, abs=1.5)
        assert (client.now_ns() - time.time_ns()) / 1e9 == pytest.approx(offset, abs=0.1)


@pytest.mark.parametrize("date", ["", "yesterday", "Sat, 99 Jan 2026 10:00:00 GMT"])
async def test_a_date_that_is_none_changes_no_time(date) -> None:
    async with Server(httpx.Response(200, json={}, headers={"date": date})).client() as client:
        await client.get("/org/acme")
        assert abs((client.now() - datetime.now(UTC)).total_seconds()) < 1


async def test_a_token_that_is_part_of_other_words_changes_no_answer() -> None:
    async with Server(problem(400, "it already exists")).client(token=SecretStr("t")) as client:
        with pytest.raises(ConflictError, match="it already exists"):
            await client.get("/org/acme")


async def test_a_token_in_a_long_answer_is_not_cut_in_two() -> None:
    async with Server(problem(400, f"{'x' * 490}{CANARY}")).client() as client:
        with pytest.raises(ApiError) as caught:
            await client.get("/org/acme")
    assert CANARY[:8] not in str(caught.value)


async def test_timed_out_request_has_unknown_effect() -> None:
    server = Server(httpx.Response(408), httpx.Response(200, json={"name": "a"}))
    async with server.client() as client:
        assert await client.get("/a") == {"name": "a"}
        server.answers = [httpx.Response(408)]
        with pytest.raises(ServerError):
            await client.post("/a", {}, repeat=Repeat.WHEN_REFUSED)
    assert len(server.requests) == 3


@pytest.mark.parametrize("odd", [[], {"name": 7}, {"name": []}, "text", None])
async def test_read_repeats_answer_of_wrong_shape(odd) -> None:
    server = Server(httpx.Response(200, json=odd), httpx.Response(200, json={"name": "a"}))
    async with server.client() as client:
        assert (await client.read("/a", Workload)).name == "a"
    assert len(server.requests) == 2


async def test_page_repeats_items_of_wrong_shape() -> None:
    good = {"items": [{"name": "a"}]}
    server = Server(
        *(
            httpx.Response(200, json=answer)
            for answer in ({"items": [{}]}, {"items": [3]}, {}, good)
        )
    )
    async with server.client() as client:
        assert [
            found.name async for page in client.pages("/a", form=Workload) for found in page
        ] == ["a"]
    assert len(server.requests) == 4


async def test_refused_token_is_replaced_by_renewed() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(
            200 if request.headers["authorization"] == "Bearer s.renewed" else 401,
            json={"name": "a"},
        )

    tokens = iter([SecretStr(CANARY), SecretStr("s.renewed")])

    async def renew() -> SecretStr:
        return next(tokens)

    server = Server(answer)
    async with server.client() as plain:
        plain._renew_token = renew
        with pytest.raises(UnauthorizedError):
            await plain.get("/a")
        with pytest.raises(UnauthorizedError):  # not asked again at once
            await plain.get("/a")
        plain._renewed_at -= 60
        assert await plain.post("/a", {}, repeat=Repeat.WHEN_REFUSED) == ""
        assert await plain.get("/a") == {"name": "a"}
    assert [request.method for request in server.requests] == ["GET", "GET", "POST", "POST", "GET"]


async def test_renewal_that_fails_keeps_refusal() -> None:
    async def renew() -> SecretStr:
        raise OSError("the server of the block does not answer")

    async with Server(httpx.Response(401)).client() as client:
        client._renew_token = renew
        with pytest.raises(UnauthorizedError):
            await client.get("/a")
