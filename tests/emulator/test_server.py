import dataclasses
import logging
import socket
import threading
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx
import pytest

from cpln_flows.emulator import Fault, ManualClock, Platform, Server, serve_in_thread
from tests.scenarios import programs

from .support import AUTH, COMMANDS, FIXED, W1, WORKLOADS, run_body, workload


def test_a_platform_is_served_from_a_thread_and_leaves_nothing():
    before = threading.active_count()
    with serve_in_thread(Platform(FIXED)) as running:
        assert httpx.get(f"{running.url}/org/local", headers=AUTH).json()["name"] == "local"
        assert running.platform.connections == 1
    assert threading.active_count() == before
    with pytest.raises(httpx.ConnectError):
        httpx.get(running.url)


def test_an_error_in_the_body_ends_the_thread_and_passes():
    before = threading.active_count()
    with pytest.raises(ZeroDivisionError), serve_in_thread(Platform(FIXED)):
        1 / 0  # noqa: B018 - raises
    assert threading.active_count() == before


def test_a_taken_port_is_an_error_of_the_caller():
    with socket.create_server(("127.0.0.1", 0)) as taken:  # noqa: SIM117 - the port of the one is an argument of the other
        with (
            pytest.raises(OSError, match="address already in use"),
            serve_in_thread(Platform(), port=taken.getsockname()[1]),
        ):
            pass


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "example.com", "::"])
def test_only_loopback_is_served(host):
    with pytest.raises(ValueError, match="loopback only"):
        Server(Platform(), host)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1"])
def test_every_loopback_address_will_do(host):
    with serve_in_thread(Platform(FIXED), host) as running:
        assert httpx.get(f"{running.url}/discovery").status_code == 200


def test_discovery_needs_no_token_and_names_the_address_as_it_was_reached():
    with serve_in_thread(Platform(FIXED)) as running:
        port = running.url.rsplit(":", 1)[1]
        body = httpx.get(f"http://localhost:{port}/discovery").json()
        assert body["endpoints"]["logs"] == f"http://localhost:{port}"
        assert "{org}" in body["endpoints"]["registry"]


def test_requests_and_connections_are_counted():
    with (
        serve_in_thread(Platform(FIXED)) as running,
        httpx.Client(base_url=running.url, headers=AUTH) as client,
    ):
        client.get("/org/local")
        client.get("/org/local?x=1")
        programs.until(
            lambda: len(running.platform.requests) == 2
        )  # an answer is noted after it was sent
        records = running.platform.requests
        assert [
            (each.method, each.path, each.query, each.status, each.kind) for each in records
        ] == [
            ("GET", "/org/local", "", 200, "http"),
            ("GET", "/org/local", "x=1", 200, "http"),
        ]
        assert records[0].connection == records[1].connection == 1
        assert records[0].time < records[1].time
        assert running.platform.connections == 1


def test_a_job_runs_with_the_address_that_its_submitter_used():
    with (
        serve_in_thread(Platform(FIXED)) as running,
        httpx.Client(base_url=running.url, headers=AUTH) as client,
    ):
        client.put(WORKLOADS, json=workload())
        overrides = [
            {"name": "main", "command": "sh", "args": ["-c", "echo $CPLN_ENDPOINT; sleep 600"]}
        ]
        link = client.post(COMMANDS, json=run_body(overrides=overrides)).headers["location"]
        params = {"query": '{workload="w-1"}'}
        found = programs.until(
            lambda: client.get("/logs/org/local/loki/api/v1/query_range", params=params).json()[
                "data"
            ]["result"]
        )
        assert found[0]["values"][0][1] == running.url
        assert client.get(link).json()["lifecycleStage"] == "running"
        assert running.platform.active_jobs == [f"command-{link.rsplit('/', 1)[1]}"]
    assert running.platform.active_jobs == []


@pytest.mark.anyio
async def test_jobs_outlive_a_server_that_is_started_again():
    platform = Platform(FIXED)
    async with httpx.AsyncClient(headers=AUTH) as client:
        async with Server(platform) as server:
            await client.put(f"{server.url}{WORKLOADS}", json=workload())
        async with Server(platform) as server:
            assert (await client.get(f"{server.url}{W1}")).status_code == 200
    await platform.aclose()


def test_nothing_is_printed_and_nothing_logged_by_uvicorn(capfd, caplog):
    caplog.set_level(logging.INFO)
    with serve_in_thread(Platform(FIXED)) as running:
        httpx.get(f"{running.url}/org/local", headers=AUTH)
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")
    assert [
        record.name
        for record in caplog.records
        if record.name.startswith(("uvicorn", "cpln_flows"))
    ] == []


@pytest.mark.parametrize(
    "fault", [None, Fault(status=503), Fault(body="no"), Fault(truncate="body"), Fault(stale=True)]
)
def test_every_answer_has_one_date_and_it_is_that_of_the_platforms_clock(fault):
    clock = ManualClock(datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC))
    with (
        serve_in_thread(Platform(FIXED, clock=clock)) as running,
        httpx.Client(base_url=running.url, headers=AUTH) as client,
    ):
        client.post(WORKLOADS, json=workload())
        if fault is not None:
            running.platform.faults.add(dataclasses.replace(fault, times=None))
        asks = [
            ("GET", W1),
            ("POST", COMMANDS),
            ("GET", f"{WORKLOADS}/none"),
            ("GET", "/discovery"),
            ("GET", "/_control/clock"),
        ]
        for method, path in asks:
            clock.advance(86_400)
            answer = client.request(method, path, json=run_body() if method == "POST" else None)
            (date,) = answer.headers.get_list("date")
            assert parsedate_to_datetime(date) == clock.now().replace(microsecond=0), (method, path)
