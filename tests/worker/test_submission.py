"""Prefect's own submission of a flow from a program.

Its bundle goes into a store; its container comes from our worker class.
"""

import importlib
import sys
from datetime import timedelta

import anyio
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolUpdate
from prefect.client.schemas.objects import WorkPoolStorageConfiguration
from prefect.flows import bind_flow_to_infrastructure

from cpln_flows import CplnWorker
from cpln_flows.worker import left_behind
from tests.patience import PATIENCE_SECONDS
from tests.scenarios import pools, programs

pytestmark = [
    pytest.mark.xdist_group("worker-in-its-pool"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

# A folder that both sides see, as a bucket is. The container reports what the engine would report,
# without Prefect.
STORE = """
import json, os, pathlib, shutil, sys, time, urllib.request

def say(run, state):
    body = json.dumps({"state": {"type": state, "name": state.title()}}).encode()
    url = f"{os.environ['PREFECT_API_URL']}/flow_runs/{run['id']}/set_state"
    urllib.request.urlopen(urllib.request.Request(url, body, {"content-type": "application/json"}))

_, _, folder, _, key, *uploaded = sys.argv
if uploaded:
    shutil.copy(uploaded[0], pathlib.Path(folder, key))
else:
    bundle = json.loads(pathlib.Path(folder, key).read_text())
    assert bundle["function"]
    say(bundle["flow_run"], "RUNNING")
    while not pathlib.Path(folder, "end").exists():
        time.sleep(0.05)
    print("parameters", json.dumps(bundle["flow_run"]["parameters"]), flush=True)
    say(bundle["flow_run"], "COMPLETED")
"""


# A module of its own: Prefect packs what a flow's module imports from a source folder, and in its
# own tests this library is in one.
FLOW = """
from prefect import flow

@flow
def add(x: int, y: int) -> int:
    return x + y
"""


@pytest.fixture
def store(pool, tmp_path, monkeypatch) -> None:
    (tmp_path / "bundle_store.py").write_text(STORE)
    (tmp_path / "flow_that_adds.py").write_text(FLOW)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    step = {"bundle_store": {"folder": str(tmp_path)}}
    made = WorkPoolStorageConfiguration(bundle_upload_step=step, bundle_execution_step=step)
    with get_client(sync_client=True) as client:
        client.update_work_pool(pool.name, WorkPoolUpdate(storage_configuration=made))


@pytest.mark.usefixtures("store")
def test_a_flow_that_a_program_submits_runs_in_a_container_which_the_pools_worker_follows(
    pool, tmp_path, monkeypatch
) -> None:
    bound = bind_flow_to_infrastructure(
        importlib.import_module("flow_that_adds").add,
        work_pool=pool.name,
        worker_cls=CplnWorker,
        job_variables={"env": {"PYTHONPATH": str(tmp_path)}},
        launcher={"upload": [sys.executable], "execution": ["python"]},
    )
    future = bound.submit(1, y=2)
    run = programs.until(
        lambda: (found := pools.read(future.flow_run_id)).infrastructure_pid and found
    )
    (command,) = pool.local.platform.commands()
    assert run.infrastructure_pid.endswith(command["id"])
    assert command["tags"]["cpln-flows/role"] == "container"
    # Prefect tells its time to the second, so a state may seem to be of the future.
    monkeypatch.setattr(left_behind, "_YOUNG", timedelta(seconds=-5))

    async def main() -> None:
        async with pools.in_process(pool) as worker:
            assert future.flow_run_id in worker._followed, (
                "the program that has submitted it may be gone"
            )
            (tmp_path / "end").touch()
            await pools.idle(worker)

    anyio.run(main)
    future.wait(timeout=PATIENCE_SECONDS)
    assert future.state.is_completed()
    assert pool.local.platform.jobs_started == 1
    said = programs.until(lambda: [text for text in pools.messages(run.id) if "parameters" in text])
    assert said[0].endswith('parameters {"x": 1, "y": 2}')
