"""Measure what the cpln worker costs, compared with Prefect's own process worker.

Usage: python benchmarks/worker.py [ROUNDS]

Under a private Prefect server, the program prints:

1. The seconds from a flow run's scheduled time to Running, for our worker on a warm workload of the
   local platform with 20 ms of latency on every request, and for Prefect's process worker, one
   after the other in each round; and how much of ours passes until the platform has accepted the
   job. The container runs Prefect's supervisor, which starts the engine. The process worker is the
   supervisor itself, so its figure has one start of Python less.
2. The requests per second that the platform receives while 50 and 200 jobs run, which are scripts
   without Prefect in the container.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

LATENCY_SECONDS = 0.02
WINDOW_SECONDS = 20
LONGEST_SECONDS = 300
FLOW = "from prefect import flow\n\n@flow\ndef empty():\n    pass\n"


def main(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as home:
        os.environ |= {
            "PREFECT_HOME": home,
            "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "PREFECT_LOGGING_LEVEL": "WARNING",
            "DO_NOT_TRACK": "1",
        }
        from prefect.testing.utilities import prefect_test_harness

        with prefect_test_harness(server_startup_timeout=120):
            _compare(rounds, Path(home))
            for jobs in (50, 200):
                _load(jobs, Path(home))


def _compare(rounds: int, home: Path) -> None:
    from cpln_flows.emulator import Platform, PlatformConfig
    from cpln_flows.local import local_platform

    (home / "empty.py").write_text(FLOW)
    with local_platform(Platform(PlatformConfig(latency_seconds=LATENCY_SECONDS))) as local:
        ours, theirs = _pool("cpln"), _pool("process")
        deployments = [_deployment(pool, f"{home}/empty.py:empty") for pool in (ours, theirs)]
        with _worker(ours, "cpln", home, local.environment), _worker(theirs, "process", home, {}):
            rows = []
            for number in range(rounds + 1):
                row = [_seconds_to_running(deployment) for deployment in deployments]
                created = datetime.fromisoformat(local.platform.commands()[-1]["created"])
                (mine, pending, scheduled), (other, *_) = row
                accepted = (created - scheduled).total_seconds()
                if number == 0:
                    continue  # the first round creates the workload and fills caches
                rows.append((mine, other, accepted - pending))
                print(
                    f"round {number}: scheduled to Running, cpln {mine:.2f} s, process {other:.2f}"
                    " s; cpln from Pending to the platform's acceptance"
                    f" {accepted - pending:.2f} s"
                )
    mine, other, ours = (statistics.median(each) for each in zip(*rows, strict=True))
    print(
        f"median: cpln {mine:.2f} s, process {other:.2f} s, ratio {mine / other:.2f},"
        f" difference {mine - other:+.2f} s; from Pending to acceptance {ours:.2f} s"
    )


def _load(jobs: int, home: Path) -> None:
    from cpln_flows.emulator import Platform, PlatformConfig, Script, ScriptedExecutor
    from cpln_flows.local import local_platform

    platform = Platform(
        PlatformConfig(latency_seconds=LATENCY_SECONDS), executor=ScriptedExecutor(Script(()))
    )
    with local_platform(platform) as local:
        pool = _pool("cpln")
        deployment = _deployment(pool, "no.such:flow", command="sleep 600")
        runs = [_start(deployment) for _ in range(jobs)]
        begun = time.perf_counter()
        with _worker(pool, "cpln", home, local.environment):
            while (
                len(platform.active_jobs) < jobs and time.perf_counter() - begun < LONGEST_SECONDS
            ):
                time.sleep(0.2)
            started = time.perf_counter() - begun
            time.sleep(10)  # until no job is young any more
            before, seconds = len(platform.requests), WINDOW_SECONDS
            time.sleep(seconds)
            seen = list(platform.requests)[before:]
        kinds = Counter(f"{request.method} {request.path.rsplit('/', 2)[-1]}" for request in seen)
        most = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(4))
        workloads = len(platform.workloads())
        print(
            f"{len(platform.active_jobs)} of {jobs} jobs on {workloads} workload(s), running after"
            f" {started:.1f} s: {len(seen) / seconds:.2f} requests/s ({most}),"
            f" {platform.connections} connections"
        )
        _delete(runs)


def _pool(kind: str) -> str:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.workers.base import BaseWorker

    worker = BaseWorker.get_worker_class_from_type(kind)
    assert worker is not None
    name = f"{kind}-{time.time_ns()}"
    with get_client(sync_client=True) as client:
        template = worker.get_default_base_job_template()
        client.create_work_pool(WorkPoolCreate(name=name, type=kind, base_job_template=template))
    return name


def _deployment(pool: str, entrypoint: str, **job_variables: object):
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        return client.create_deployment(
            client.create_flow_from_name("empty"),
            name=pool,
            entrypoint=entrypoint,
            pull_steps=[],
            work_pool_name=pool,
            job_variables=job_variables,
        )


@contextmanager
def _worker(pool: str, kind: str, home: Path, environment: dict[str, str]):
    from prefect.settings import PREFECT_API_URL

    with (home / f"{pool}.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool, "--type", kind],
            env=os.environ | environment | {"PREFECT_API_URL": str(PREFECT_API_URL.value())},
            stdout=log,
            stderr=log,
        )
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


def _start(deployment):
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        return client.create_flow_run_from_deployment(deployment).id


def _seconds_to_running(deployment) -> tuple[float, float, datetime]:
    """Return the seconds from a run's scheduled time to Running and to Pending, and that time."""
    from prefect.client.orchestration import get_client

    run_id = _start(deployment)
    with get_client(sync_client=True) as client:
        while True:
            run = client.read_flow_run(run_id)
            if (
                run.state is not None
                and run.state.is_final()
                and run.start_time
                and run.expected_start_time
            ):
                states = client.read_flow_run_states(run_id)
                pending = min(state.timestamp for state in states if state.type.value == "PENDING")
                begun = run.expected_start_time
                return (
                    (run.start_time - begun).total_seconds(),
                    (pending - begun).total_seconds(),
                    begun,
                )
            time.sleep(0.2)


def _delete(runs) -> None:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        for run_id in runs:
            client.delete_flow_run(run_id)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
