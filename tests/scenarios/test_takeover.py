"""What becomes of the flow runs of a worker that is killed, at every instant of their way."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import AsyncExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from uuid import UUID

import anyio
import httpx
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.client.schemas.objects import FlowRun
from prefect.logging import handlers
from prefect.logging.handlers import APILogWorker

from cpln_flows.jobs.board import StatusBoard
from cpln_flows.worker import CplnWorker
from tests.proof import is_long
from tests.scenarios import pools, programs, stand_in
from tests.scenarios.pools import Pool

pytestmark = [pytest.mark.xdist_group("takeover"), pytest.mark.timeout(300)]

_LINES = 3
_LONGEST_SECONDS = 150


@pytest.fixture
def pool(local, prefect_api, monkeypatch) -> Pool:
    for name, value in pools.QUICK.items():
        monkeypatch.setenv(name, value)
    return Pool(local, prefect_api)


@dataclass
class _Life:
    """What a worker still does for one flow run: so many requests, and then nothing any more.

    What it has logged since its last request dies with it: Prefect sends logs in its own time.
    """

    left: int | None
    made: int = 0
    is_over: bool = False
    logged: list[dict] = field(default_factory=list)

    def log(self, record: dict) -> None:
        if not self.is_over:
            self.logged.append(record)

    def deliver(self) -> None:
        for record in self.logged:
            APILogWorker.instance().send(record)
        self.logged.clear()

    async def spend(self) -> None:
        if self.is_over or self.made == self.left:
            self.is_over = True
            await anyio.sleep_forever()
        self.made += 1
        self.deliver()


_LIFE: ContextVar[_Life | None] = ContextVar("life", default=None)


def _life() -> _Life | None:
    """Return the life that this costs, or None for threads of Prefect.

    These have its context and serve the whole process.
    """
    return _LIFE.get() if threading.current_thread() is threading.main_thread() else None


def _at_no_cost(function):
    """Do for all flow runs of a worker what only happens to be done by one of them."""

    async def done(*args):
        life = _LIFE.get()
        _LIFE.set(None)
        try:
            return await function(*args)
        finally:
            _LIFE.set(life)

    return done


@contextmanager
def _mortal(monkeypatch) -> Iterator[None]:
    """Have the requests of both clients cost what a life has left."""
    send = httpx.AsyncHTTPTransport.handle_async_request

    async def spend_and_send(self, request):
        if (life := _life()) is not None:
            await life.spend()
        return await send(self, request)

    def log(record) -> None:
        life = _life()
        if life is not None:
            life.log(record)
        else:
            APILogWorker.instance().send(record)

    monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", spend_and_send)
    monkeypatch.setattr(StatusBoard, "look", _at_no_cost(StatusBoard.look))
    handlers.set_api_log_sink(log)
    try:
        yield
    finally:
        handlers.set_api_log_sink(None)


async def _serve(
    pool: Pool, name: str, deployment: UUID, lives: dict[UUID, _Life], step: int
) -> None:
    """Have a worker submit flow runs, as if it had found them.

    One runs to its end, and each further one is allowed some requests more.
    """
    worker = CplnWorker(work_pool_name=pool.name, name=name, heartbeat_interval_seconds=1)
    worker._serves, worker._preparing = True, anyio.CapacityLimiter(1000)
    await worker.__aenter__()
    finished: set[UUID] = set()

    async def start() -> UUID:
        return (await worker.client.create_flow_run_from_deployment(deployment)).id

    async def submit(run_id: UUID, life: _Life) -> None:
        run = await worker.client.read_flow_run(run_id)
        _LIFE.set(life)
        worker._submitting_flow_run_ids.add(run_id)
        await worker._submit_run(run)
        await programs.reached(lambda: run_id not in worker._followed, _LONGEST_SECONDS)
        finished.add(run_id)
        life.deliver()

    first, whole = await start(), _Life(None)
    await asyncio.create_task(submit(first, whole))
    for left in range(0, whole.made + 1, step):
        lives[await start()] = _Life(left)
    tasks = [asyncio.create_task(submit(run_id, life)) for run_id, life in lives.items()]
    await programs.reached(
        lambda: all(life.is_over or run_id in finished for run_id, life in lives.items()),
        _LONGEST_SECONDS,
    )
    assert all(not task.done() or task.exception() is None for task in tasks)
    lives[first] = whole


@contextmanager
def _killed_after(pool: Pool, name: str, lives: dict[UUID, _Life], step: int) -> Iterator[None]:
    """Run a worker until its lives are used up; its event loop then stops, as after SIGKILL."""
    loop, deployment = asyncio.new_event_loop(), pool.deploy(command=stand_in.command(_LINES, 0.02))
    try:
        loop.run_until_complete(_serve(pool, name, deployment, lives, step))
        yield
    finally:
        for life in lives.values():
            life.is_over = True
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.wait(tasks, timeout=5)) if tasks else None
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


async def _succeed(pool: Pool, names: Iterable[str], runs: list[UUID]) -> None:
    """Have other workers do together all that is left to be done."""
    wanted = FlowRunFilter(id=FlowRunFilterId(any_=runs))
    async with AsyncExitStack() as stack:
        successors = [
            await stack.enter_async_context(
                pools.in_process(pool, name, heartbeat_interval_seconds=1)
            )
            for name in names
        ]

        async def is_over() -> bool:
            for worker in successors:
                await worker.get_and_submit_flow_runs()
                await worker.sync_with_backend()
            found = await successors[0].client.read_flow_runs(flow_run_filter=wanted)
            idle = [
                not worker._followed and not worker._submitting_flow_run_ids
                for worker in successors
            ]
            settled = [bool(worker._others._settled) for worker in successors]
            return all(run.state.is_final() for run in found) and all(idle) and all(settled)

        with anyio.fail_after(_LONGEST_SECONDS):
            while not await is_over():  # noqa: ASYNC110 - other workers do it, which set no event here
                await anyio.sleep(0.5)


def _read(runs: Iterable[UUID]) -> tuple[dict[UUID, FlowRun], dict[UUID, list[str]]]:
    """Read flow runs and their logs."""
    wanted, logs, messages = list(runs), [], defaultdict(list)
    with get_client(sync_client=True) as client:
        found = client.read_flow_runs(
            flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=wanted))
        )
        of_runs = LogFilter(flow_run_id=LogFilterFlowRunId(any_=wanted))
        while page := client.read_logs(of_runs, limit=200, offset=len(logs)):
            logs += page
    for log in logs:
        messages[log.flow_run_id].append(log.message)
    return {run.id: run for run in found}, messages


def _lines(messages: Iterable[str]) -> list[str]:
    return [text.split(" - ")[1] for text in sorted(messages) if " - line " in text]


_NAMES = [
    pytest.param(("steady", "another"), id="two-successors-one-of-the-same-name"),
    pytest.param(("steady",), id="same-name", marks=pytest.mark.proof),
    pytest.param(("another",), id="another-name", marks=pytest.mark.proof),
]


@pytest.mark.parametrize("names", _NAMES)
def test_run_of_killed_worker_ends_whenever_it_was_killed(
    pool, names, monkeypatch, request
) -> None:
    lives: dict[UUID, _Life] = {}
    step = 1 if is_long(request.config) else 2
    with _mortal(monkeypatch), _killed_after(pool, "steady", lives, step):
        anyio.run(_succeed, pool, names, list(lives))
    runs, messages = _read(lives)
    jobs = Counter(job["tags"]["prefect.io/flow-run-id"] for job in pool.local.platform.commands())
    found = {
        life.left: (runs[i].state.name, jobs[str(i)], _lines(messages[i]))
        for i, life in lives.items()
    }
    assert len(found) * step > 15, "a run's way has that many requests"
    assert found == dict.fromkeys(found, ("Completed", 1, stand_in.expected(_LINES)))
    taken_up = {
        life.left: sum("Taken over by" in text for text in messages[i]) for i, life in lives.items()
    }
    assert taken_up[None] == 0, "its log was whole"
    assert any(taken_up.values())
