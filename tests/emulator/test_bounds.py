"""What a request may not hold: too much, too deep to be written, or too slow to work out.

A case that is not refused, or not quick, runs into the timeout of the test.
"""

import itertools
import json

import httpx
import pytest

from cpln_flows.emulator import Exit, Fault, ManualClock, Platform, PlatformConfig, Script
from cpln_flows.emulator.containers import _expand
from cpln_flows.emulator.lifecycle import Lifecycle
from cpln_flows.emulator.patch import apply_patch
from cpln_flows.emulator.remembered import BYTES_LIMIT
from cpln_flows.emulator.schedule import InvalidScheduleError, parse_schedule

from .support import COMMANDS, GVC, RANGE, TOKEN, W1, WORKLOADS, local, run_body, workload

pytestmark = pytest.mark.anyio


def deep(levels):
    return json.loads("[" * levels + "]" * levels)


# Queries


@pytest.mark.parametrize(
    "params",
    [
        pytest.param({"limit": str(10**12)}, id="limit"),
        pytest.param({"limit": "9" * 5000}, id="limit-of-5000-digits"),
        pytest.param({"start": "9" * 20}, id="start"),
        pytest.param({"end": "9" * 5000}, id="end"),
        pytest.param({"since": "999999999w"}, id="since"),
        pytest.param({"delay_for": "9" * 19}, id="delay"),
        pytest.param({"query": '{a="' + "b" * 20_000 + '"}'}, id="long-selector"),
        pytest.param({"query": "{" + ",".join(['a="b"'] * 101) + "}"}, id="matchers"),
        pytest.param({"query": '{a="b"}' + '|="x"' * 101}, id="filters"),
        pytest.param({f"p{number}": "" for number in range(101)}, id="parameters"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_log_query_is_bounded(params, method):
    async with local() as here:
        given = {"query": '{a="b"}', **params}
        answer = await here.client.request(
            method, RANGE, **({"params": given} if method == "GET" else {"data": given})
        )
        assert answer.status_code == 400, answer.text
        assert len(answer.content) < 10_000


@pytest.mark.parametrize(
    "query",
    [
        pytest.param({"spec": {"terms": [{"tag": "a", "value": "b"}] * 101}}, id="terms"),
        pytest.param({"spec": {"terms": [{"property": "a." * 1000, "value": "b"}]}}, id="property"),
        pytest.param({"spec": {"terms": deep(200)}}, id="depth"),
        pytest.param({"spec": {"terms": [1] * 200_000}}, id="values"),
        pytest.param(
            {"spec": {"terms": [{"op": "=~", "tag": "a", "value": "(" * 9000}]}}, id="expression"
        ),
    ],
)
async def test_a_query_of_objects_is_bounded(query):
    async with local() as here:
        await here.create()
        assert (await here.client.post("/org/local/workload/-query", json=query)).status_code == 400
        policy = {"name": "p-1", "targetKind": "workload", "targetQuery": query, "bindings": []}
        assert (await here.client.put("/org/local/policy", json=policy)).status_code == 400
        assert (
            await here.client.post(COMMANDS, json={**run_body(), "conflictQuery": query})
        ).status_code == 400


async def test_orders_of_a_list_are_not_kept_without_end():
    async with local() as here:
        await here.create()
        for number in range(100):
            spec = {"terms": [{"tag": "a", "op": "!=", "value": number}], "sort": {"by": "name"}}
            assert (
                await here.client.post("/org/local/workload/-query", json={"spec": spec})
            ).status_code == 200
        assert len(here.platform._parts.resources._pages._sorted) <= 32


# Bodies


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"[" * 100_000 + b"]" * 100_000, id="deep-array"),
        pytest.param(b'{"spec":' + b'{"a":' * 50_000 + b"1" + b"}" * 50_001, id="deep-object"),
        pytest.param(b'{"spec":' + b"[" * 500 + b"]" * 500 + b"}", id="too-deep-to-be-written"),
        pytest.param(b'{"spec":[' + b"[]," * 200_000 + b"[]]}", id="values"),
        pytest.param(b"{" + b"9" * 100_000 + b"}", id="digits"),
        pytest.param(b'{"name":"' + b"\\ud800" * 10 + b'"}', id="half-pairs"),
    ],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", WORKLOADS), ("PATCH", W1), ("POST", COMMANDS), ("POST", "/_control/lines")],
)
async def test_a_body_is_bounded(method, path, body):
    async with local() as here:
        await here.create()
        assert (await here.client.request(method, path, content=body)).status_code == 400


async def test_an_answer_does_not_repeat_every_fault_of_a_body():
    async with local() as here:
        broken = workload(containers=[[]] * 50_000)
        answer = await here.client.post(WORKLOADS, json=broken)
        assert answer.status_code == 400
        assert len(answer.json()["details"]) == 100
        odd = {**workload(), "x" * 100_000: 1}
        assert len((await here.client.post(WORKLOADS, json=odd)).content) < 10_000


# Patches


def test_a_long_list_is_dropped_from_a_long_list_in_time():
    many = [{"name": f"n{number}"} for number in range(70_000)]
    patched = apply_patch(
        {"a": many, "b": dict.fromkeys(map(str, range(70_000)))},
        {"$drop/a": many[1:], "$drop/b": list(map(str, range(69_999)))},
    )
    assert patched == {"a": many[:1], "b": {"69999": None}}


@pytest.mark.parametrize(
    ("current", "unwanted", "left"),
    [
        pytest.param([1, True, "1", 1.5], [1], [True, "1", 1.5], id="numbers-and-flags"),
        pytest.param([[1], [2], {"name": [3]}], [[2], [3]], [[1]], id="no-names"),
        pytest.param("text", ["text"], "text", id="no-list"),
    ],
)
def test_items_of_any_type_can_be_dropped(current, unwanted, left):
    assert apply_patch({"a": current}, {"$drop/a": unwanted}) == {"a": left}


@pytest.mark.parametrize(
    "patch",
    [
        pytest.param({"$replace/" + "a/" * 5000: 1}, id="long-path"),
        pytest.param({"$replace/": 1}, id="no-field"),
        pytest.param({"$drop": ["kind", "id", "name"]}, id="name"),
        pytest.param({"$drop": ["spec"]}, id="spec"),
        pytest.param({"$append/tags": [1]}, id="append-to-an-object"),
        pytest.param({"spec": {"$drop/containers": "main"}}, id="no-array"),
        pytest.param({"spec": {"$replace/containers": []}}, id="nothing-left"),
        pytest.param(
            {"spec": {"$patch/containers": [{"name": "main", "$replace/env": deep(60)}]}}, id="deep"
        ),
        pytest.param({"$replace/spec": None}, id="null"),
    ],
)
async def test_a_patch_cannot_break_an_object(patch):
    async with local() as here:
        await here.create()
        before = await here.get(W1)
        assert (await here.client.patch(W1, json=patch)).status_code == 400
        assert await here.get(W1) == before


async def test_an_object_does_not_grow_without_end():
    async with local(body_limit_bytes=50_000) as here:
        (
            await here.client.put("/org/local/agent", json={"name": "a-1", "spec": {"list": []}})
        ).raise_for_status()
        more = {"spec": {"$append/list": ["x" * 10_000]}}
        found = [
            (await here.client.patch("/org/local/agent/a-1", json=more)).status_code
            for _ in range(6)
        ]
        assert found == [200, 200, 200, 200, 400, 400]


# Schedules


@pytest.mark.parametrize(
    "schedule",
    [
        pytest.param("9" * 5000 + " * * * *", id="digits"),
        pytest.param("²" + " * * * *", id="another-digit"),
        pytest.param("*/" + "9" * 5000 + " * * * *", id="step"),
        pytest.param("*/0 * * * *", id="no-step"),
        pytest.param(",".join(["0-59"] * 100_000) + " * * * *", id="list"),
        pytest.param("* " * 100_000, id="fields"),
        pytest.param("0-" + "9" * 4000 + " * * * *", id="range"),
        pytest.param("\x00 * * * *", id="nul"),
    ],
)
async def test_a_schedule_is_bounded(schedule):
    with pytest.raises(InvalidScheduleError):
        parse_schedule(schedule)
    async with local() as here:
        answer = await here.client.post(WORKLOADS, json=workload(job={"schedule": schedule}))
        assert answer.status_code == 400
        assert len(answer.content) < 10_000


async def test_a_date_that_never_comes_is_a_schedule():
    async with local() as here:
        await here.create(
            workload(job={"schedule": "0 0 30 2 *"}, defaultOptions={"suspend": False})
        )


async def test_waiting_between_restarts_grows_to_a_bound():
    """However often it is doubled: 2 to the power of thousands is no number of seconds."""
    async with local(Script((Exit(0, code=1),)), restart_limit=10_000) as here:
        await here.create(workload(job={"schedule": "* * * * *", "restartPolicy": "OnFailure"}))
        await here.start()
        (run,) = here.platform._parts.deployments.active_runs()
        (state,) = run.containers.values()
        state.restarts = 5000
        await here.advance(300)
        assert state.restarts == 5001
        assert isinstance(here.platform._parts.lifecycle, Lifecycle)


# Variables


def test_a_variable_does_not_blow_up():
    env = {"A": "x" * 4096}
    assert len(_expand("$(A)" * 1_000_000, env)) == 128 * 1024 + 1
    assert _expand("$(A)" * 10, env) == "x" * 40_960
    assert _expand("a$(B)b$$(A)c$(", env) == "a$(B)b$(A)c$("


# Control routes


@pytest.mark.parametrize(
    ("route", "body"),
    [
        pytest.param("lines", {"labels": {f"l{number}": "x" for number in range(31)}}, id="labels"),
        pytest.param("lines", {"labels": {"l": "x" * 2049}}, id="label-value"),
        pytest.param("lines", {"labels": {"l" * 200: "x"}}, id="label-name"),
        pytest.param("lines", {"labels": {"a b": "x"}}, id="no-label"),
        pytest.param("lines", {"labels": {}, "entries": [[str(2**63), "x"]]}, id="stamp"),
        pytest.param(
            "lines", {"labels": {}, "entries": [["9" * 5000, "x"]]}, id="stamp-of-5000-digits"
        ),
        pytest.param("lines", {"labels": {}, "entries": [["1", "x" * 300_000]]}, id="line"),
        pytest.param("lines", {"labels": {}, "entries": [["1", "x"]] * 60_000}, id="entries"),
        pytest.param("clock", {"advance_seconds": 1e300}, id="advance"),
        pytest.param("faults", {"path": "(" * 5000}, id="fault-path"),
        pytest.param("faults", {"status": 503, "retry_after": "9" * 5000}, id="fault-header"),
        pytest.param("faults", {"delay_seconds": 1e300}, id="fault-delay"),
    ],
)
async def test_a_control_request_is_bounded(route, body):
    async with local() as here:
        answer = await here.client.post(f"/_control/{route}", json=body)
        assert answer.status_code == 400, answer.text
        assert (await here.client.get(WORKLOADS)).status_code == 200


@pytest.mark.parametrize(
    "name",
    ["page_size", "latency_seconds", "history_limit", "delete_delay_seconds", "tail_frame_entries"],
)
@pytest.mark.parametrize("value", [10**12, -1])
async def test_a_switch_is_bounded(name, value):
    async with local() as here:
        assert (await here.client.patch("/_control/config", json={name: value})).status_code == 400
        assert (await here.client.get(WORKLOADS)).status_code == 200


async def test_the_number_of_faults_is_bounded():
    async with local() as here:
        fault = {"path": "/nowhere", "status": 503}
        for _ in range(1000):
            here.platform.faults.add(Fault(**fault))
        assert (await here.client.post("/_control/faults", json=fault)).status_code == 400
        await here.client.delete("/_control/faults")
        assert (await here.client.post("/_control/faults", json=fault)).status_code == 201


async def test_the_clock_stops_where_too_much_falls_due():
    async with local() as here:
        ran = itertools.count()

        def again():
            next(ran)
            here.platform.clock.call_later(60, again)

        again()
        moved = await here.client.post("/_control/clock", json={"advance_seconds": 1e9})
        assert moved.status_code == 400
        assert "smaller steps" in moved.json()["message"]
        assert next(ran) == 10_001
        assert (
            await here.client.post("/_control/clock", json={"advance_seconds": 600})
        ).status_code == 200


async def test_the_clock_is_not_moved_out_of_the_calendar():
    async with local() as here:
        answers = [
            (await here.client.post("/_control/clock", json={"advance_seconds": 1e9})).status_code
            for _ in range(250)
        ]
        assert answers[0] == 200
        assert answers[-1] == 400
        assert (await here.client.get("/org/local")).status_code == 200


# What the platform remembers


async def test_retention_of_logs_is_bounded():
    async with local() as here:
        observability = {"logsRetentionDays": 1e300}
        assert (
            await here.client.patch("/org/local", json={"spec": {"observability": observability}})
        ).status_code == 400
        assert (await here.client.get(RANGE, params={"query": '{a="b"}'})).status_code == 200


async def test_answers_are_remembered_up_to_a_bound():
    async with local() as here:
        here.platform.append_lines(
            {"gvc": "quickstart"}, [(here.platform.clock.time_ns() - 1, "x" * 500_000)]
        )
        for number in range(60):
            await here.client.get(RANGE, params={"query": '{gvc="quickstart"}', "n": number})
        remembered = here.platform.app._remembered
        assert 0 < sum(len(answer.body) for answer in remembered._answers.values()) <= BYTES_LIMIT
        assert len(remembered._answers) < 40


async def test_a_recorded_query_is_cut():
    platform = Platform(PlatformConfig(token=TOKEN), clock=ManualClock())
    transport = httpx.ASGITransport(app=platform.app)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://local", headers={"authorization": TOKEN}
    ) as client:
        await client.get(GVC, params={"x": "y" * 20_000})
    assert len(platform.requests[0].query) == 4096
