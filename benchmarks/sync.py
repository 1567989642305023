"""Measure what a sync cycle and a clean-up cost, compared with a bare sequential client.

Usage: python benchmarks/sync.py [--prefect]

The platform runs in a process of its own, with 20 ms of latency on every request. The program
prints:

1. For 5,000, 10,000 and 20,000 running flow runs over 20 workloads: the seconds, platform requests
   and CPU seconds of a quiet cycle of both directions (the median of five), compared with a bare
   client that reads one command for each run, sequentially (1,000 of them, scaled to all).
2. The same for a clean-up of 1,000 workloads of which 100 are orphaned, compared with a bare client
   that reads each workload's commands sequentially and deletes the orphans.

Prefect's side is in memory. With --prefect, a third part reads 5,000 flow runs from a real Prefect
server.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import anyio
import httpx
from pydantic import SecretStr

sys.path.insert(0, str(Path(__file__).parents[1]))

from cpln_flows.api import commands, workloads
from cpln_flows.api.client import CplnClient
from cpln_flows.cleanup import decide as orphans
from cpln_flows.cleanup.delete import Deleter
from cpln_flows.cleanup.observe import Observer as WorkloadObserver
from cpln_flows.concurrency import each, gathering
from cpln_flows.emulator import (
    Exit,
    ManualClock,
    Platform,
    PlatformConfig,
    Script,
    ScriptedExecutor,
    serve_in_thread,
)
from cpln_flows.model.identifiers import Owner, Role, Submission, workload_tags
from cpln_flows.model.links import CommandRef, GvcRef
from cpln_flows.model.policy import Limits, Policy
from cpln_flows.model.run_states import RunState
from cpln_flows.reconcile import decide
from cpln_flows.reconcile.act import Actor
from cpln_flows.reconcile.flow_runs import FlowRuns, PrefectFlowRuns
from cpln_flows.reconcile.observe import Observer
from cpln_flows.reconcile.snapshot import Clocks, Memory, RunView, Scope
from cpln_flows.settings import ApiSettings
from tests.simulation.prefect_side import PrefectSide

LATENCY_SECONDS = 0.02
WORKLOADS = 20
SAMPLE = 1000
GVC = GvcRef("local", "quickstart")
INSTALLATION = UUID(int=1)
TOKEN = "s.local"
HEADERS = {"authorization": f"Bearer {TOKEN}"}


@dataclass
class Cost:
    """What a measured action cost."""

    seconds: float
    cpu_seconds: float
    requests: int


def main(*, with_prefect: bool) -> None:
    few, _, many = [_apart(_sync, runs) for runs in (5000, 10_000, 20_000)]
    print(f"20,000 runs take {many.seconds / few.seconds:.1f} times the time of 5,000")
    _apart(_cleanup, 1000, 100)
    if with_prefect:
        _with_prefect(5000)


def _apart(measure: Callable[..., Awaitable[Any]], *arguments: int) -> Any:
    """Measure in a process of its own, as each flow run has one.

    What another measurement left behind costs nothing there.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(anyio.run, measure, *arguments).result()


# The sync


class Running(PrefectSide):
    """Flow runs that are all running.

    They are kept as plain strings: a server's memory is not that of the program that queries it.

    Args:
        pids: The pid of each run, by its id.
    """

    def __init__(self, pids: dict[str, str]) -> None:
        super().__init__(INSTALLATION, lambda: datetime.now(UTC))
        self._pids = pids
        self._since = datetime.now(UTC)

    async def under_way(self, work_pool: str | None) -> list[RunView]:  # noqa: ARG002 - the protocol's
        return [
            RunView(
                UUID(run_id),
                run_id,
                RunState.RUNNING,
                "Running",
                self._since,
                pid,
                1,
                is_deployed=True,
            )
            for run_id, pid in self._pids.items()
        ]


async def _sync(runs: int) -> Cost:
    with _platform(idle_hours=0) as url:
        async with CplnClient(ApiSettings(token=SecretStr(TOKEN), endpoint=url)) as client:
            refs = await _containers(client, [uuid4() for _ in range(runs)])
            side = Running({str(run_id): ref.pid for run_id, ref in refs.items()})
            _control("PATCH", url, "config", {"latency_seconds": LATENCY_SECONDS})
            sequential = (
                await _sequential(url, [ref.path for ref in list(refs.values())[:SAMPLE]])
                * runs
                / SAMPLE
            )
            costs = [await _measured(url, lambda: _cycle(client, side, runs)) for _ in range(5)]
            cost = sorted(costs, key=lambda cost: cost.seconds)[2]
        print(
            f"{runs} runs over {WORKLOADS} workloads: {cost.seconds:.2f} s and {cost.requests}"
            f" requests a cycle, {cost.cpu_seconds:.2f} CPU s; sequential {sequential:.0f} s:"
            f" {sequential / cost.seconds:.0f} times as long"
        )
        return cost


async def _cycle(client: CplnClient, runs: FlowRuns, expected: int) -> None:
    observer = Observer(client, runs, Scope("local"), Policy())
    snapshot = await observer.snapshot(Clocks.alike(datetime.now(UTC)), Memory())
    with gathering():
        plan = decide.decide(snapshot, observer.scope, observer.policy)
    assert (plan.judged, plan.actions, plan.unread) == (expected, (), ()), plan
    await Actor(observer, lambda: Clocks.alike(datetime.now(UTC))).act(plan)


async def _containers(client: CplnClient, run_ids: list[UUID]) -> dict[UUID, CommandRef]:
    refs = [GVC.workload(f"w-{number}") for number in range(WORKLOADS)]
    for ref in refs:
        await _workload(client, ref.name)

    async def start(numbered: tuple[int, UUID]) -> CommandRef:
        number, run_id = numbered
        tags = (
            Owner(run_id, "etl", installation=INSTALLATION, agent="w").tags(Role.CONTAINER)
            | Submission(run_id, 0).tags
        )
        return await commands.start(
            client, refs[number % WORKLOADS], location="local-1", overrides=[], tags=tags
        )

    return dict(zip(run_ids, await each(start, enumerate(run_ids)), strict=True))


def _with_prefect(runs: int) -> None:
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        anyio.run(_sync_with_prefect, runs)


async def _sync_with_prefect(runs: int) -> None:
    from prefect import flow
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.states import Running

    with _platform(idle_hours=0) as url:
        async with (
            CplnClient(ApiSettings(token=SecretStr(TOKEN), endpoint=url)) as client,
            get_client() as prefect,
        ):
            await prefect.create_work_pool(
                WorkPoolCreate(name="cpln", type="cpln", base_job_template={})
            )
            flow_id = await prefect.create_flow(flow(lambda: None, name="empty"))
            deployment = await prefect.create_deployment(
                flow_id, "empty", work_pool_name="cpln", entrypoint="x.py:x"
            )
            side = PrefectFlowRuns(prefect)

            async def make(_: int) -> UUID:
                return (
                    await prefect.create_flow_run_from_deployment(deployment, state=Running())
                ).id

            run_ids = await each(make, range(runs), at_once=10)
            for run_id, ref in (await _containers(client, run_ids)).items():
                await prefect.update_flow_run(run_id, infrastructure_pid=ref.pid)
            _control("PATCH", url, "config", {"latency_seconds": LATENCY_SECONDS})
            reading = time.perf_counter()
            await side.under_way(None)
            reading = time.perf_counter() - reading
            cost = await _measured(url, lambda: _cycle(client, side, runs))
            print(
                f"{runs} runs of a real Prefect server: {cost.seconds:.2f} s a cycle,"
                f" {cost.cpu_seconds:.2f} CPU s here; reading its {runs} runs alone takes"
                f" {reading:.2f} s"
            )


# The clean-up


async def _cleanup(total: int, orphaned: int) -> None:
    ours = await _clean(total, orphaned, _ours)
    bare = await _clean(total, orphaned, _bare)
    print(f"the bare client takes {bare / ours:.0f} times as long")


async def _clean(
    total: int, orphaned: int, clean_up: Callable[[CplnClient], Awaitable[int]]
) -> float:
    with _platform(idle_hours=50) as url:
        async with CplnClient(ApiSettings(token=SecretStr(TOKEN), endpoint=url)) as client:
            await each(lambda number: _workload(client, f"w-{number}"), range(total))
            await each(lambda number: _job(client, f"w-{number}"), range(total))
            _control("POST", url, "clock", {"advance_seconds": 50 * 3600})
            await each(lambda number: _job(client, f"w-{number}"), range(orphaned, total))
            _control("PATCH", url, "config", {"latency_seconds": LATENCY_SECONDS})

            async def act() -> None:
                deleted = await clean_up(client)
                assert deleted == orphaned, deleted

            cost = await _measured(url, act)
            assert (
                len([workload async for workload in workloads.ours(client, "local")])
                == total - orphaned
            )
    print(
        f"clean-up of {total} workloads, {clean_up.__name__[1:]}: {cost.seconds:.2f} s,"
        f" {cost.requests} requests"
    )
    return cost.seconds


async def _ours(client: CplnClient) -> int:
    observer = WorkloadObserver(
        client, "local", None, timedelta(hours=24), lambda: datetime.now(UTC)
    )
    sweep = orphans.sweep(await observer.inventory(), Limits(share=1))
    return sum(deleted.done for deleted in await Deleter(observer).delete(sweep))


async def _bare(client: CplnClient) -> int:
    refs = [workload.ref async for workload in workloads.ours(client, "local")]
    limit = datetime.now(UTC) - timedelta(hours=24)
    deleted = 0
    async with httpx.AsyncClient(base_url=client.settings.endpoint, headers=HEADERS) as http:
        for ref in refs:
            body = json.loads((await http.get(f"{ref.path}/-command")).content)
            if all(datetime.fromisoformat(job["lastModified"]) < limit for job in body["items"]):
                await http.delete(ref.path)
                deleted += 1
    return deleted


async def _workload(client: CplnClient, name: str) -> None:
    tags = workload_tags(spec_hash="0", job_type="standard")
    spec = {
        "type": "cron",
        "containers": [{"name": "main", "image": "script"}],
        "job": {"schedule": "* * * * *"},
        "defaultOptions": {"suspend": True},
    }
    await workloads.create(
        client, GVC, {"kind": "workload", "name": name, "tags": tags, "spec": spec}
    )


async def _job(client: CplnClient, name: str) -> None:
    await commands.start(client, GVC.workload(name), location="local-1", overrides=[], tags={})


# Measuring


async def _sequential(url: str, paths: list[str]) -> float:
    async with httpx.AsyncClient(base_url=url, headers=HEADERS) as http:
        began = time.perf_counter()
        for path in paths:
            json.loads((await http.get(path)).content)
        return time.perf_counter() - began


async def _measured(url: str, act: Callable[[], Awaitable[None]]) -> Cost:
    before = _requests(url)
    began, cpu = time.perf_counter(), time.process_time()
    await act()
    return Cost(time.perf_counter() - began, time.process_time() - cpu, _requests(url) - before)


def _requests(url: str) -> int:
    return len(httpx.get(f"{url}/_control/requests", timeout=60).json()["requests"])


def _control(method: str, url: str, route: str, content: dict[str, float]) -> None:
    httpx.request(method, f"{url}/_control/{route}", json=content, timeout=60).raise_for_status()


@contextmanager
def _platform(*, idle_hours: float) -> Iterator[str]:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs, idle_hours))
    process.start()
    try:
        yield ours.recv()
    finally:
        ours.send("end")
        process.join()


def _serve(pipe: Connection, idle_hours: float) -> None:
    clock = ManualClock(datetime.now(UTC) - timedelta(hours=idle_hours)) if idle_hours else None
    script = Script((Exit(0),)) if idle_hours else Script(())
    with serve_in_thread(
        Platform(
            PlatformConfig(token=TOKEN, delete_delay_seconds=0),
            clock=clock,
            executor=ScriptedExecutor(script),
        )
    ) as server:
        pipe.send(server.url)
        pipe.recv()


if __name__ == "__main__":
    main(with_prefect="--prefect" in sys.argv[1:])
