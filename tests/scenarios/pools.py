"""Work pools of type cpln on the tests' Prefect server.

With their deployments, flow runs, and workers in this process or their own.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import anyio
import anyio.to_thread
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import FlowRun, State
from prefect.logging.handlers import APILogHandler

from cpln_flows.worker import CplnWorker, CplnWorkerJobConfiguration
from cpln_flows.worker.roster import Identity
from tests.scenarios import programs

QUICK = {
    "CPLN_FLOW_RUN_POLL": "0.3",
    "CPLN_REPORT_GRACE": "0.5",
    "CPLN_QUERY_SETTLE": "0.3",
    "CPLN_LOG_SETTLE": "0.2",
}
"""Waits that the local platform does not need."""


def command(script: str) -> str:
    """A command line that runs a Python script, without Prefect in the container."""
    return shlex.join(["python", "-c", script])


class Pool:
    """One work pool."""

    def __init__(self, local, url: str, template: dict[str, Any] | None = None) -> None:
        self.local, self.url, self.name = local, url, f"cpln-{uuid4().hex[:8]}"
        with get_client(sync_client=True) as client:
            made = template or CplnWorker.get_default_base_job_template()
            self.pool = client.create_work_pool(
                WorkPoolCreate(name=self.name, type="cpln", base_job_template=made)
            )

    def deploy(
        self, flow: str = "script", entrypoint: str = "no.such:flow", **job_variables: Any
    ) -> UUID:
        """Make a deployment."""
        with get_client(sync_client=True) as client:
            return client.create_deployment(
                client.create_flow_from_name(flow),
                name=f"{flow}-{uuid4().hex[:8]}",
                entrypoint=entrypoint,
                pull_steps=[],
                work_pool_name=self.name,
                job_variables=job_variables,
            )

    def start(self, deployment: UUID, state: State | None = None, **kwargs: Any) -> UUID:
        """Make a flow run."""
        with get_client(sync_client=True) as client:
            return client.create_flow_run_from_deployment(deployment, state=state, **kwargs).id

    def worker(self, *arguments: str, log: Path, **environment: str) -> subprocess.Popen[str]:
        """Start a worker as a user does."""
        with log.open("a") as output:
            return subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "prefect",
                    "worker",
                    "start",
                    "--pool",
                    self.name,
                    "--type",
                    "cpln",
                    *arguments,
                ],
                env=os.environ
                | self.local.environment
                | QUICK
                | {
                    "PREFECT_API_URL": self.url,
                    "PREFECT_WORKER_QUERY_SECONDS": "1",
                    "PREFECT_WORKER_HEARTBEAT_SECONDS": "2",
                }
                | environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
            )


def end(process: subprocess.Popen[str]) -> None:
    """End a worker as a user does, with the first signal."""
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(5)


def read(run_id: UUID) -> FlowRun:
    """Read a flow run."""
    with get_client(sync_client=True) as client:
        return client.read_flow_run(run_id)


def states(run_id: UUID) -> list[State]:
    """The states that a flow run has had, oldest first."""
    with get_client(sync_client=True) as client:
        return sorted(client.read_flow_run_states(run_id), key=lambda state: state.timestamp)


def final(run_id: UUID) -> FlowRun:
    """Wait until a flow run is over."""

    def look() -> FlowRun | None:
        run = read(run_id)
        return run if run.state.is_final() else None

    return programs.until(look)


def messages(run_id: UUID) -> list[str]:
    """The messages of a flow run's log, oldest first."""
    with get_client(sync_client=True) as client:
        wanted = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run_id]))
        found = []
        while page := client.read_logs(wanted, limit=200, offset=len(found)):
            found += page
    return [log.message for log in sorted(found, key=lambda log: log.timestamp)]


def lines(run_id: UUID, count: int) -> list[str]:
    """Return a job's lines in the flow run's log, once there are this many.

    Prefect sends them in its own time.
    """

    def look() -> list[str] | None:
        found = [text.split(" - ")[1] for text in messages(run_id) if " - line " in text]
        return found if len(found) >= count else None

    return programs.until(look)


def delete(run_ids: Iterable[UUID]) -> None:
    """Delete flow runs, so that the syncs of other tests do not see them."""
    with get_client(sync_client=True) as client:
        for run_id in run_ids:
            client.delete_flow_run(run_id)


def set_state(run_id: UUID, state: State, *, force: bool = False) -> None:
    """Set the state of a flow run, as people and other programs do."""
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run_id, state, force=force)


class Started:
    """What `run` tells, once there is a job."""

    def __init__(self) -> None:
        self.pids: list[str] = []
        self.event = anyio.Event()
        self._future = self

    def started(self, pid: str) -> None:
        self.pids.append(pid)
        self.event.set()

    def done(self) -> bool:
        return bool(self.pids)


@asynccontextmanager
async def in_process(
    pool: Pool, name: str | None = None, **kwargs: Any
) -> AsyncIterator[CplnWorker]:
    """A worker in this process that polls nothing by itself."""
    worker = CplnWorker(
        work_pool_name=pool.name, name=name or f"worker-{uuid4().hex[:8]}", **kwargs
    )
    worker._serves = True
    async with worker:
        yield worker
    await APILogHandler.aflush()  # as the end of a process does


def label_as_left_behind(run_id: UUID, name: str = "dead") -> None:
    """Label a run as a worker process does that is not heard of any more."""
    with get_client(sync_client=True) as client:
        client.update_flow_run_labels(run_id, dict(Identity.of(name, is_given=True).labels))


async def idle(worker: CplnWorker) -> None:
    """Wait until a worker follows nothing."""
    await anyio.to_thread.run_sync(programs.until, lambda: not worker._followed)


async def configuration(worker: CplnWorker, run: FlowRun) -> CplnWorkerJobConfiguration:
    """What Prefect makes for a flow run before it calls `run`."""
    return await CplnWorkerJobConfiguration.resolve_for_flow_run(
        run,
        client=worker.client,
        work_pool=worker.work_pool,
        worker_name=worker.name,
        worker_id=worker.backend_id,
    )


def environment(local, **more: str) -> Mapping[str, str]:
    """The environment of a program that uses this platform with short waits."""
    return local.environment | QUICK | more
