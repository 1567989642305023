"""Measure what many jobs at once cost the process that runs them, compared with bare sleeps.

Usage: python benchmarks/many_jobs.py [JOBS]

The platform runs in a process of its own; its jobs print one line and end after 20 s. The program
prints for one and for ten workloads: requests per second while all jobs run and each has made its
one check for a duplicate (5 s after its start), connections, CPU seconds and memory of this
process.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

import anyio
import httpx
from pydantic import SecretStr

from cpln_flows import CplnConfig, CplnCredentials, CplnJob, CplnJobRun
from cpln_flows.emulator import (
    Exit,
    Line,
    Platform,
    PlatformConfig,
    Script,
    ScriptedExecutor,
    serve_in_thread,
)
from cpln_flows.orchestration import JobIdentity
from cpln_flows.settings import CplnSettings

JOB_SECONDS = 20.0
TOKEN = SecretStr("s.local-platform")


def main(jobs: int) -> None:
    began = _cpu_seconds()
    anyio.run(_sleeps, jobs)
    print(f"{jobs} bare sleeps of {JOB_SECONDS:g} s: {_cpu_seconds() - began:.2f} CPU s")
    for workloads in (1, 10):
        with _platform() as url:
            before, began = _megabytes(), _cpu_seconds()
            anyio.run(_run_all, url, jobs, workloads)
            requests = httpx.get(f"{url}/_control/requests").json()["requests"]
            print(
                _report(requests, jobs, workloads)
                + f"; {_cpu_seconds() - began:.2f} CPU s, {_megabytes() - before:.0f} MB more"
            )


async def _sleeps(jobs: int) -> None:
    async with anyio.create_task_group() as group:
        for _ in range(jobs):
            group.start_soon(anyio.sleep, JOB_SECONDS)


async def _run_all(url: str, jobs: int, workloads: int) -> None:
    settings = CplnSettings.load(
        token=TOKEN, endpoint=url, logs_endpoint=url.replace("http", "ws", 1)
    )

    async def run_job(number: int) -> None:
        container = {"name": "main", "image": "script", "workingDir": f"/data/{number % workloads}"}
        pod = {"restartPolicy": "Never", "containers": [container]}
        manifest = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "many"},
            "spec": {"template": {"spec": pod}},
        }
        job = CplnJob(
            credentials=CplnCredentials(config=CplnConfig(token=TOKEN)),
            org="local",
            namespace="quickstart",
            location="local-1",
            v1_job=manifest,
            delete_after_completion=False,
        )
        run = CplnJobRun(job, JobIdentity.anonymous(), settings)
        await run.start()
        await run.wait_for_completion()
        assert len(run.logs) == 1

    async with anyio.create_task_group() as group:
        for number in range(jobs):
            group.start_soon(run_job, number)


def _report(requests: list[dict[str, Any]], jobs: int, workloads: int) -> str:
    starts = [
        r["time"] for r in requests if r["method"] == "POST" and r["path"].endswith("/-command")
    ]
    begun, ended = max(starts) + 7, min(starts) + JOB_SECONDS
    quiet = [r for r in requests if begun < r["time"] < ended and r["kind"] == "http"]
    connections = len({r["connection"] for r in requests})
    return (
        f"{jobs} jobs of {workloads} workloads: {len(quiet) / (ended - begun):.2f} requests/s,"
        f" {connections} connections"
    )


def _serve(pipe: Connection) -> None:
    script = Script([Line(0.1, "one"), Exit(JOB_SECONDS)])
    platform = Platform(
        PlatformConfig(token=TOKEN.get_secret_value(), page_size=1000),
        executor=ScriptedExecutor(script),
    )
    with serve_in_thread(platform) as server:
        pipe.send(server.url)
        pipe.recv()


@contextmanager
def _platform() -> Iterator[str]:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs,))
    process.start()
    try:
        yield ours.recv()
    finally:
        ours.send("end")
        process.join()


def _cpu_seconds() -> float:
    return time.process_time()


def _megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
