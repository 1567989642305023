"""The sync beside a real worker that is killed.

Every run that the worker had started ends as the platform or Prefect reports.
"""

import pytest
from prefect.states import Cancelling, Running

from cpln_flows import SyncOptions, sync
from cpln_flows.api import commands, workloads
from cpln_flows.api.client import CplnClient
from cpln_flows.model.links import CommandRef
from tests.manifests import FOREVER
from tests.scenarios import pools, programs
from tests.scenarios.pools import Pool

pytestmark = [pytest.mark.proof, pytest.mark.xdist_group("prefect"), pytest.mark.anyio]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def runs(local, prefect_api, tmp_path):
    """Return flow runs whose worker was killed once their containers ran, and their pool.

    The runs are keyed by what is to become of them.
    """
    pool = Pool(local, prefect_api)
    signal = tmp_path / "fail"
    fails = (
        f"import pathlib, sys, time\nwhile not pathlib.Path({str(signal)!r}).exists():"
        " time.sleep(0.05)\nsys.exit(3)"
    )
    forever = pool.deploy(command=pools.command(FOREVER), stream_output=False)
    deployments = {
        "fails": pool.deploy(command=pools.command(fails), stream_output=False),
        "vanishes": pool.deploy(
            command=pools.command(FOREVER), name="of-its-own", stream_output=False
        ),
        "is cancelled": forever,
        "is stopped": forever,
        "goes on": forever,
    }
    started = {name: pool.start(deployment) for name, deployment in deployments.items()}
    worker = pool.worker(log=tmp_path / "worker.log")
    try:
        for run_id in started.values():
            programs.until(lambda run_id=run_id: pools.read(run_id).infrastructure_pid)
        programs.until(lambda: len(local.platform.active_jobs) == len(started))
    finally:
        worker.kill()
        worker.wait()
    for run_id in started.values():
        pools.set_state(run_id, Running())
    signal.touch()
    yield started, pool
    pools.delete(started.values())


async def test_every_run_of_a_worker_that_was_killed_ends_as_it_should(
    local, runs, monkeypatch
) -> None:
    started, pool = runs
    jobs = {
        name: CommandRef.parse(pools.read(run_id).infrastructure_pid)
        for name, run_id in started.items()
    }
    async with CplnClient(local.settings.api()) as client:
        await workloads.delete(client, jobs["vanishes"].workload_ref)
        stopped = await commands.read(client, jobs["is stopped"])
        await commands.stop(
            client,
            jobs["is stopped"].workload_ref,
            location="local-1",
            replica=stopped.status.replica or "",
        )
    pools.set_state(started["is cancelled"], Cancelling())
    monkeypatch.setenv("PREFECT_AGENT_CPLN_MONITOR_INTERVAL", "0.5")
    at_once = {"completed_grace_seconds": 0, "cancel_grace_seconds": 0, "stop_grace_seconds": 0}
    await sync(cycles=8, options=SyncOptions(work_pool=pool.name, **at_once))
    states = {name: pools.read(run_id).state for name, run_id in started.items()}
    assert {name: state.type.value for name, state in states.items()} == {
        "fails": "CRASHED",
        "vanishes": "CRASHED",
        "is cancelled": "CANCELLED",
        "is stopped": "CRASHED",
        "goes on": "RUNNING",
    }
    assert "exit code 3" in states["fails"].message
    assert "no longer exists" in states["vanishes"].message
    assert local.platform.active_jobs == [f"command-{jobs['goes on'].command_id}"]
