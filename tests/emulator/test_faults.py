import asyncio

import httpx
import orjson
import pytest

from cpln_flows.emulator import Fault, Platform, Server
from cpln_flows.emulator.answers import RefusedError
from cpln_flows.emulator.faults import Faults
from tests.logs import virtual_time
from tests.patience import PATIENCE_SECONDS

from .support import AUTH, FIXED, RANGE, W1, WORKLOADS, local, until, workload

pytestmark = pytest.mark.anyio


async def put(here, name="w-1"):
    return await here.client.put(WORKLOADS, json=workload(name))


@pytest.mark.parametrize(
    ("fault", "method", "path", "hit"),
    [
        pytest.param(Fault(), "GET", "/a", True, id="everything"),
        pytest.param(Fault(method="post"), "POST", "/a", True, id="method"),
        pytest.param(Fault(method="POST"), "GET", "/a", False, id="another-method"),
        pytest.param(Fault(path="/-command$"), "GET", "/w/-command", True, id="path"),
        pytest.param(Fault(path="/-command$"), "GET", "/w/-command/1", False, id="another-path"),
    ],
)
def test_a_fault_hits_what_it_names(fault, method, path, hit):
    faults = Faults()
    faults.add(fault)
    assert (faults.take(method, path) is fault) is hit


def test_a_fault_skips_and_ends_and_the_next_one_follows():
    faults = Faults()
    first, second = Fault(times=2, skip=1), Fault(times=None)
    faults.add(first)
    faults.add(second)
    assert [faults.take("GET", "/") for _ in range(5)] == [second, first, first, second, second]
    faults.clear()
    assert faults.take("GET", "/") is None


def test_chances_are_repeated_by_the_seed():
    def hits(seed):
        faults = Faults(seed)
        faults.add(Fault(times=None, probability=0.5))
        return [faults.take("GET", "/") is not None for _ in range(50)]

    assert hits(1) == hits(1) != hits(2)
    assert 10 < sum(hits(1)) < 40


def test_a_fault_from_json_has_known_fields_only():
    assert (
        Fault.from_document({"status": 429, "times": None, "truncate": True}).truncate == "length"
    )
    with pytest.raises(RefusedError, match="no field code"):
        Fault.from_document({"code": 1})
    with pytest.raises(RefusedError, match="regular expression"):
        Faults().add(Fault(path="("))


@pytest.mark.parametrize(("effect", "stored"), [("before", 404), ("after", 200)])
async def test_a_status_is_answered_before_or_after_the_effect(effect, stored):
    async with local() as here:
        here.platform.faults.add(
            Fault(method="PUT", status=503, message="try later", retry_after=2, effect=effect)
        )
        response = await put(here)
        assert (response.status_code, response.headers["retry-after"]) == (503, "2")
        assert response.json()["message"] == "try later"
        assert (await here.client.get(W1)).status_code == stored
        assert (await put(here)).status_code in (200, 201)


@pytest.mark.parametrize(
    ("fault", "stored"),
    [
        pytest.param(Fault(reset="before"), 404, id="reset-before"),
        pytest.param(Fault(reset="after"), 200, id="reset-after"),
        pytest.param(Fault(lose_answer=True), 200, id="answer-lost"),
    ],
)
async def test_a_reset_gives_no_answer_in_process(fault, stored):
    async with local() as here:
        here.platform.faults.add(fault)
        with pytest.raises(ConnectionResetError):
            await put(here)
        assert (await here.client.get(W1)).status_code == stored
        assert here.platform.requests[0].status is None


@pytest.mark.parametrize(("when", "stored"), [("before", 404), ("after", 200)])
async def test_a_timeout_is_raised_in_process(when, stored):
    async with local() as here:
        here.platform.faults.add(Fault(timeout=when))
        with pytest.raises(TimeoutError):
            await put(here)
        assert (await here.client.get(W1)).status_code == stored


async def test_an_answer_can_be_something_else():
    async with local() as here:
        here.platform.faults.add(Fault(body="<html>", content_type="text/html"))
        response = await here.client.get("/org/local")
        assert (response.status_code, response.text, response.headers["content-type"]) == (
            200,
            "<html>",
            "text/html",
        )


@pytest.mark.parametrize("truncate", ["length", "body"])
async def test_half_an_answer_is_no_json(truncate):
    async with local() as here:
        here.platform.faults.add(Fault(truncate=truncate))
        response = await here.client.get("/org/local")
        with pytest.raises(orjson.JSONDecodeError):
            orjson.loads(response.content)


async def test_a_stale_read_is_the_answer_before():
    async with local() as here:
        await put(here)
        old = (await here.client.get(W1)).json()
        await here.client.patch(W1, json={"tags": {"new": 1}})
        here.platform.faults.add(Fault(method="GET", stale=True, times=2))
        assert (await here.client.get(W1)).json() == old
        assert (await here.client.get("/org/local")).status_code == 200
        assert (await here.client.get(W1)).json()["tags"] == {
            "cpln/createdByPrefect": "true",
            "new": 1,
        }


async def test_control_routes_and_clean_requests_are_not_hit():
    async with local() as here:
        here.platform.faults.add(Fault(status=500, times=None))
        assert (await here.client.get("/_control/faults")).status_code == 200
        assert (await here.client.get("/org/local")).status_code == 500


@pytest.fixture
async def wire(anyio_backend):
    platform = Platform(FIXED)
    async with (
        Server(platform) as server,
        httpx.AsyncClient(base_url=server.url, headers=AUTH) as client,
    ):
        yield platform, client
    await platform.aclose()


@pytest.mark.parametrize(("when", "stored"), [("before", 404), ("after", 200)])
async def test_a_reset_aborts_the_connection(wire, when, stored):
    platform, client = wire
    platform.faults.add(Fault(method="PUT", reset=when))
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        await client.put(WORKLOADS, json=workload())
    assert (await client.get(W1)).status_code == stored
    assert platform.connections == 2


@pytest.mark.parametrize(("when", "stored"), [("before", 404), ("after", 200)])
async def test_a_timeout_lasts_until_the_client_gives_up(wire, when, stored):
    platform, client = wire
    platform.faults.add(Fault(method="PUT", timeout=when))
    with pytest.raises(httpx.ReadTimeout):
        await client.put(
            WORKLOADS, json=workload(), timeout=httpx.Timeout(PATIENCE_SECONDS, read=0.2)
        )
    assert (await client.get(W1)).status_code == stored


async def test_a_truncated_answer_ends_before_its_announced_length(wire):
    platform, client = wire
    platform.faults.add(Fault(truncate="length"))
    with pytest.raises(httpx.RemoteProtocolError):
        await client.get("/org/local")
    platform.faults.add(Fault(truncate="body"))
    assert (await client.get("/org/local")).content.startswith(b"{")


def test_delay_and_latency_hold_an_answer_back():
    moments = [0.0]

    async def ask_twice():
        async with local(latency_seconds=5) as here:
            here.platform.faults.add(Fault(delay_seconds=10))
            for _ in range(2):
                await here.client.get("/org/local")
                moments.append(asyncio.get_running_loop().time())

    virtual_time.run(ask_twice)
    assert moments == [0, 15, 20]


async def test_a_server_stops_although_a_request_waits_for_ever(anyio_backend):
    platform = Platform(FIXED)
    platform.faults.add(Fault(timeout="before"))
    async with httpx.AsyncClient(headers=AUTH) as client:
        async with Server(platform) as server:
            asking = asyncio.create_task(client.get(f"{server.url}/org/local"))

            async def connected():
                return platform.connections == 1

            await until(connected)
        with pytest.raises(httpx.HTTPError):
            await asking
    await platform.aclose()


@pytest.mark.anyio
@pytest.mark.fact("F056")
@pytest.mark.parametrize(
    ("message", "retry_after"),
    [("too many requests", 3), ("too many requests", None), ("quota exceeded", None)],
)
async def test_a_rate_or_a_quota_is_429_with_or_without_a_time_to_wait(message, retry_after):
    async with local() as here:
        here.platform.faults.add(Fault(status=429, message=message, retry_after=retry_after))
        answer = await here.client.get("/org/local")
        assert (answer.status_code, answer.json()["message"]) == (429, message)
        assert answer.headers.get("retry-after") == (
            None if retry_after is None else str(retry_after)
        )


@pytest.mark.anyio
@pytest.mark.fact("F057")
@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_a_fault_of_the_server_passes(status):
    async with local() as here:
        here.platform.faults.add(Fault(status=status, times=1))
        assert (await here.client.get("/org/local")).status_code == status
        assert (await here.client.get("/org/local")).status_code == 200


@pytest.mark.fact("F171")
@pytest.mark.parametrize(
    ("config", "delay", "status", "moment"),
    [
        pytest.param({}, 120, 200, 120, id="in-time"),
        pytest.param({}, 121, 504, 120, id="too-slow"),
        pytest.param({"latency_seconds": 100}, 21, 504, 120, id="with-latency"),
        pytest.param({"log_query_timeout_seconds": 5}, 6, 504, 5, id="another-limit"),
    ],
)
def test_slow_log_query_is_ended(config, delay, status, moment):
    async def ask():
        async with local(**config) as here:
            here.platform.faults.add(Fault(delay_seconds=delay))
            answer = await here.client.get(RANGE, params={"query": '{gvc="quickstart"}'})
            assert "json" in answer.headers["content-type"] or "timed out" in answer.text
            return answer.status_code, asyncio.get_running_loop().time()

    assert virtual_time.run(ask) == (status, moment)


def test_other_requests_may_be_slow():
    async def ask():
        async with local() as here:
            here.platform.faults.add(Fault(delay_seconds=1000))
            return (await here.client.get("/org/local")).status_code

    assert virtual_time.run(ask) == 200
