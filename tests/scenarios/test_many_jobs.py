"""Many jobs at once: what they ask for grows with workloads, not with jobs (`benchmarks/many_jobs.py` runs more of them)."""

from __future__ import annotations

from collections import Counter

import anyio
import pytest

from cpln_flows.emulator import Exit, Line, Script
from cpln_flows.local import local_platform
from tests.manifests import kubernetes_job, texts
from tests.scenarios import scripted

JOBS = 60
SCRIPT = Script([Line(0.1, "one"), Exit(8)])


async def _run_all(local, workloads: int) -> list[str]:
    results: list[str] = []
    runs = []
    for n in range(JOBS):
        manifest = kubernetes_job("x")
        # What a command cannot override makes another workload.
        manifest["spec"]["template"]["spec"]["containers"][0]["workingDir"] = f"/data/{n % workloads}"
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
    return results


@pytest.mark.parametrize("workloads", [1, 10])
def test_the_polls_of_many_jobs_grow_with_their_workloads(workloads) -> None:
    with local_platform(scripted.platform(SCRIPT, page_size=1000)) as local:
        results = anyio.run(_run_all, local, workloads)
        assert [texts(result) for result in results] == [["one"]] * JOBS
        assert local.platform.jobs_started == JOBS
        assert len(local.platform.workloads()) == workloads
        starts = [r.time for r in local.platform.requests if r.method == "POST" and r.path.endswith("/-command")]
        # All jobs run from the last start on, and none has ended until the script's end after the first.
        quiet = [r for r in local.platform.requests if max(starts) < r.time < min(starts) + 8]
        polls = Counter(r.path for r in quiet if r.kind == "http" and "/-command" in r.path)
        seconds = min(starts) + 8 - max(starts)
        assert seconds > 1, "the jobs did not run at the same time"
        assert sum(polls.values()) <= workloads * (seconds / 0.75 + 2)
        # The pool holds 40; those that were idle for some seconds are made anew.
        assert len({r.connection for r in local.platform.requests if r.kind == "http"}) <= 3 * 40
