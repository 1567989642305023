"""Many jobs at once: the number of requests grows with workloads, not with jobs.

`benchmarks/many_jobs.py` runs more of them.
"""

from __future__ import annotations

from collections import Counter

import anyio
import pytest

from cpln_flows.emulator import Exit, Line, ManualClock, Script
from cpln_flows.emulator.recorder import RequestRecord
from cpln_flows.local import local_platform
from tests.manifests import kubernetes_job, texts
from tests.scenarios import programs, scripted

JOBS = 60
LOOKS = 3
SCRIPT = Script([Line(0, "one"), Exit(1)])


async def _run_all(
    local, workloads: int, clock: ManualClock
) -> tuple[list[str], list[RequestRecord]]:
    """Run the jobs at the same time.

    Returns:
        Their results, and the requests of some looks at all of them.
    """
    results: list[str] = []
    quiet: list[RequestRecord] = []
    runs = []
    for n in range(JOBS):
        manifest = kubernetes_job("x")
        # What a command cannot override makes another workload.
        manifest["spec"]["template"]["spec"]["containers"][0]["workingDir"] = (
            f"/data/{n % workloads}"
        )
        run = scripted.run_of(
            local,
            v1_job=manifest,
            location="local-1",
            delete_after_completion=False,
            interval_seconds=1,
            settings={"query_settle_seconds": 60},
        )
        runs.append(run)

    async def one(run) -> None:
        results.append(await scripted.finish(run))

    async with runs[0].connected(), anyio.create_task_group() as group:
        for run in runs:
            group.start_soon(one, run)
        await programs.reached(lambda: all(run.logs for run in runs))
        begun = len(local.platform.requests)
        await programs.reached(lambda: _looked(local.platform.requests[begun:], workloads))
        quiet += local.platform.requests[begun:]
        clock.advance(1)
    return results, quiet


def _looked(requests: list[RequestRecord], workloads: int) -> bool:
    """Whether the jobs of each workload were looked at some times."""
    times = Counter(poll.path for poll in _polls(requests))
    return len(times) == workloads and min(times.values()) >= LOOKS


def _polls(requests: list[RequestRecord]) -> list[RequestRecord]:
    return [
        request for request in requests if request.kind == "http" and "/-command" in request.path
    ]


@pytest.mark.parametrize("workloads", [pytest.param(1, marks=pytest.mark.proof), 10])
def test_the_polls_of_many_jobs_grow_with_their_workloads(workloads) -> None:
    clock = ManualClock()
    with local_platform(scripted.platform(SCRIPT, jobs_clock=clock, page_size=1000)) as local:
        results, quiet = anyio.run(_run_all, local, workloads, clock)
        assert [texts(result) for result in results] == [["one"]] * JOBS
        assert local.platform.jobs_started == JOBS
        assert len(local.platform.workloads()) == workloads
        polls = _polls(quiet)
        assert {poll.path.rsplit("/", 1)[1] for poll in polls} == {"-query"}, (
            "a look at all jobs of a workload is one query"
        )
        seconds = polls[-1].time - polls[0].time
        assert len(polls) <= workloads * (seconds / 0.75 + 2)
        # The pool holds 40; those that were idle for some seconds are made anew.
        assert len({r.connection for r in local.platform.requests if r.kind == "http"}) <= 3 * 40
