import asyncio
import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpln_flows.emulator import Exit, Fault, PlatformConfig, RealClock, Script

from .support import RANGE, W1, WORKLOADS, local

pytestmark = pytest.mark.anyio


async def test_faults_are_added_listed_and_cleared():
    async with local() as here:
        made = await here.client.post(
            "/_control/faults", json={"path": "/org", "status": 429, "retry_after": 1}
        )
        assert made.status_code == 201
        assert (await here.client.get("/org/local")).status_code == 429
        fault = (await here.get("/_control/faults"))["faults"][0]
        assert (fault["id"], fault["fired"], fault["seen"]) == (made.json()["id"], 1, 1)
        assert (await here.client.delete("/_control/faults")).json() == {"faults": []}
        assert (await here.client.post("/_control/faults", json={"wrong": 1})).status_code == 400


async def test_the_clock_is_moved():
    async with local(Script((Exit(10),))) as here:
        await here.create()
        link = await here.start()
        moved = await here.client.post("/_control/clock", json={"advance_seconds": 10})
        assert moved.json()["now"] == "2026-01-10T10:00:10.000Z"
        assert await here.stage(link) == "completed"
        assert (
            await here.client.post("/_control/clock", json={"advance_seconds": -1})
        ).status_code == 400


async def test_real_time_cannot_be_moved():
    async with local(clock=RealClock()) as here:
        assert (
            await here.client.post("/_control/clock", json={"advance_seconds": 1})
        ).status_code == 400
        assert (await here.client.get("/_control/clock")).status_code == 200


async def test_requests_are_listed_without_those_of_the_control_routes():
    async with local() as here:
        await here.client.get("/org/local?a=1")
        body = await here.get("/_control/requests")
        assert [
            (each["method"], each["path"], each["query"], each["status"])
            for each in body["requests"]
        ] == [("GET", "/org/local", "a=1", 200)]
        assert (await here.client.delete("/_control/requests")).json()["requests"] == []


async def test_switches_are_changed_for_this_platform_only():
    async with local() as here, local() as other:
        await here.create()
        response = await here.client.patch(
            "/_control/config", json={"final_stage_after_stop": "cancelled", "page_size": 3}
        )
        assert (response.json()["page_size"], response.json()["final_stage_after_stop"]) == (
            3,
            "cancelled",
        )
        assert here.platform.config.page_size == 3
        assert other.platform.config.page_size == 100
        assert (await here.get("/_control/config"))["org"] == "local"


@pytest.mark.parametrize(
    "changes",
    [
        {"page_size": 0},
        {"tail_frame_entries": 0},
        {"latency_seconds": -1},
        {"none": 1},
        {"org": "x"},
        {"final_stage_after_stop": "gone"},
        {"page_size": "3"},
        {"page_size": True},
        {"tokens": {}},
    ],
)
async def test_a_wrong_switch_changes_nothing(changes):
    async with local() as here:
        response = await here.client.patch("/_control/config", json={"history_limit": 1, **changes})
        assert response.status_code == 400
        assert here.platform.config.history_limit == 5


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)
FIELDS = {
    "faults": [each.name for each in dataclasses.fields(Fault)],
    "config": [
        each.name
        for each in dataclasses.fields(PlatformConfig)
        if each.name not in ("delay_seconds", "latency_seconds")
    ],
    "clock": ["advance_seconds"],
    "lines": ["labels", "entries"],
}


@given(
    st.sampled_from(list(FIELDS)).flatmap(
        lambda name: st.tuples(st.just(name), st.sampled_from(FIELDS[name]), JSON)
    )
)
def test_no_value_of_a_control_route_breaks_the_platform(asked):
    name, field, value = asked

    async def scenario():
        async with local() as here:
            method = "PATCH" if name == "config" else "POST"
            answer = await here.client.request(method, f"/_control/{name}", json={field: value})
            assert answer.status_code in (200, 201, 400)
            if name == "faults" and answer.status_code == 201:
                await here.client.get("/_control/faults")
                return
            assert (await here.client.get(WORKLOADS)).status_code == 200
            assert (await here.client.get(RANGE, params={"query": '{gvc="g"}'})).status_code == 200

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("route", "body"),
    [
        pytest.param("faults", {"times": "x"}, id="times"),
        pytest.param("faults", {"probability": "y"}, id="probability"),
        pytest.param("faults", {"probability": 2}, id="no-probability"),
        pytest.param("faults", {"status": 99}, id="no-status"),
        pytest.param("faults", {"truncate": "all"}, id="truncate"),
        pytest.param("faults", {"path": "("}, id="path"),
        pytest.param("faults", {"content_type": "a\nb"}, id="header"),
        pytest.param("lines", {"entries": [["x", "y"]]}, id="stamp"),
        pytest.param("lines", {"entries": [1]}, id="entry"),
        pytest.param("lines", {"labels": {"a": 1}, "entries": [[1, "y"]]}, id="label"),
        pytest.param("clock", {"advance_seconds": True}, id="no-seconds"),
        pytest.param("clock", {"advance_seconds": 1e300}, id="too-many-seconds"),
    ],
)
async def test_a_wrong_request_to_a_control_route_is_refused_and_forgotten(route, body):
    async with local() as here:
        assert (await here.client.post(f"/_control/{route}", json=body)).status_code == 400
        assert (await here.client.get(WORKLOADS)).status_code == 200


async def test_tokens_are_not_shown():
    async with local(token="s.root", tokens={"s.root": "/org/local/group/superusers"}) as here:
        assert "s.root" not in (await here.client.get("/_control/config")).text


async def test_lines_can_be_written_with_any_stamp():
    async with local() as here:
        now = here.platform.clock.time_ns()
        body = {"labels": {"gvc": "g", "replica": "r"}, "entries": [[str(now - 5), "late"]]}
        assert (await here.client.post("/_control/lines", json=body)).json() == {"lines": 1}
        found = (await here.client.get(RANGE, params={"query": '{gvc="g"}'})).json()
        assert found["data"]["result"][0]["values"] == [[str(now - 5), "late"]]


async def test_other_control_routes_and_methods_are_refused():
    async with local() as here:
        assert (await here.client.get("/_control/none")).status_code == 404
        for name in ("faults", "clock", "requests", "config", "lines"):
            assert (await here.client.put(f"/_control/{name}", json={})).status_code == 405
        assert (await here.client.get(W1)).status_code == 404
