"""Measure what `run_namespaced_job` costs beyond the job itself, compared with three empty tasks.

Usage: python benchmarks/run_job.py [ROUNDS]

A job of two seconds runs on the local platform with 20 ms of latency on every request, under a
private Prefect server. The program prints for each round: the seconds that three empty Prefect
tasks take in the same run, the seconds of `run_namespaced_job` beyond the job's own two, the
difference of both, and the requests and connections that the platform saw.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from contextlib import contextmanager

LATENCY_SECONDS = 0.02
JOB_SECONDS = 2.0
SCRIPT = f"for n in 1 2 3 4; do echo line $n; sleep {JOB_SECONDS / 4}; done; echo done"


def main(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as home:
        os.environ |= {
            "PREFECT_HOME": home,
            "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
            "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
            "PREFECT_LOGGING_LEVEL": "WARNING",
            "DO_NOT_TRACK": "1",
        }
        from prefect.testing.utilities import prefect_test_harness

        with prefect_test_harness(server_startup_timeout=120):
            _measure(rounds)


def _measure(rounds: int) -> None:
    from prefect import flow, task

    from cpln_flows import CplnConfig, CplnCredentials, CplnJob, run_namespaced_job
    from cpln_flows.emulator import Platform, PlatformConfig
    from cpln_flows.local import local_platform

    @task
    def empty() -> None:
        return None

    @flow
    def three_tasks() -> None:
        for _ in range(3):
            empty()

    @flow(validate_parameters=False)
    def parent(job):
        return run_namespaced_job(job)

    extra = []
    for number in range(rounds + 1):
        with (
            local_platform(Platform(PlatformConfig(latency_seconds=LATENCY_SECONDS))) as local,
            _environment(local.environment),
        ):
            token = local.settings.token
            assert token is not None
            job = CplnJob(
                credentials=CplnCredentials(config=CplnConfig(token=token)), v1_job=_manifest()
            )
            with _clock() as tasks:
                three_tasks()
            with _clock() as whole:
                parent(job)
            requests, connections = list(local.platform.requests), local.platform.connections
        overhead = whole[0] - JOB_SECONDS
        if number == 0:
            continue  # the first round pays for imports and caches
        extra.append(overhead - tasks[0])
        asked = ", ".join(
            f"{request.method} {'/'.join(request.path.rsplit('/', 2)[-2:])}" for request in requests
        )
        print(
            f"round {number}: three empty tasks {tasks[0]:.2f} s,"
            f" run_namespaced_job beyond the job {overhead:.2f} s,"
            f" difference {extra[-1]:.2f} s, {len(requests)} requests, {connections} connections"
        )
        print(f"  {asked}")
    print(f"median difference {statistics.median(extra):.2f} s over {rounds} rounds")


@contextmanager
def _clock():
    taken = []
    begun = time.perf_counter()
    yield taken
    taken.append(time.perf_counter() - begun)


@contextmanager
def _environment(values: dict[str, str]):
    before = dict(os.environ)
    os.environ |= values
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _manifest() -> dict[str, object]:
    container = {"name": "main", "image": "busybox", "command": ["sh", "-c", SCRIPT]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "two-seconds"},
        "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [container]}}},
    }


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
