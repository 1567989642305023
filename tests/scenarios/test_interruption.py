"""What interrupts a caller stops its job: real processes, signals, and Prefect's cancellation."""

import os
import signal
import subprocess
import sys
import time

import pytest
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound

from tests.manifests import FOREVER, kubernetes_job
from tests.patience import PATIENCE_SECONDS
from tests.scenarios import programs

SYNC = f"""
from prefect import flow
from cpln_flows import CplnJob, run_namespaced_job

@flow(name="NAME")
def parent():
    run_namespaced_job(CplnJob(v1_job={kubernetes_job(FOREVER)!r}), print_func=print)

if __name__ == "__main__":
    START
"""
ASYNC = SYNC.replace("def parent", "async def parent").replace(
    "    run_namespaced_job(", "    await run_namespaced_job("
)
CALL = {"sync": "parent()", "async": "import asyncio; asyncio.run(parent())"}
PARENTS = {"sync": SYNC, "async": ASYNC}


def _environment(local, url: str) -> dict[str, str]:
    return local.environment | {"PREFECT_API_URL": url, "PYTHONUNBUFFERED": "1"}


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        pytest.param("sync", signal.SIGINT, id="ctrl-c-sync", marks=pytest.mark.proof),
        pytest.param("async", signal.SIGINT, id="ctrl-c-async"),
        pytest.param("sync", signal.SIGTERM, id="terminated-sync"),
        pytest.param("async", signal.SIGTERM, id="terminated-async", marks=pytest.mark.proof),
    ],
)
def test_a_signal_to_the_caller_stops_the_job_and_ends_the_child_run(
    kind, number, local, prefect_api, tmp_path
) -> None:
    source = PARENTS[kind].replace("START", CALL[kind]).replace("NAME", f"{kind}-{number.name}")
    process = programs.start(source, tmp_path, _environment(local, prefect_api))
    try:
        command = programs.until(lambda: programs.running_command(local))
        time.sleep(0.3)  # the flow shall be in the middle of following, whatever it does there
        process.send_signal(number)
        output, _ = process.communicate(timeout=PATIENCE_SECONDS)
    finally:
        process.kill()
    assert local.platform.active_jobs == [], output
    assert local.platform.workloads() == [], output
    assert "Sending stopReplica" in output
    assert "terminated successfully" in output
    with get_client(sync_client=True) as client:
        child = client.read_flow_run(command["tags"]["prefect.io/flow-run-id"])
        parent = client.read_flow_run(command["tags"]["cpln-flows/root-flow-run-id"])
    assert child.state.is_final(), child.state
    assert parent.state.is_final(), parent.state
    assert process.returncode != 0


@pytest.mark.parametrize("kind", ["sync", pytest.param("async", marks=pytest.mark.proof)])
def test_cancelling_the_flow_run_stops_the_job_and_ends_the_child_run(
    kind, local, prefect_api, tmp_path
) -> None:
    name = f"cancelled-{kind}"
    source = PARENTS[kind].replace("START", f"parent.serve(name={name!r})").replace("NAME", name)
    environment = _environment(local, prefect_api) | {"PREFECT_RUNNER_POLL_FREQUENCY": "1"}
    process = programs.start(source, tmp_path, environment)
    try:
        with get_client(sync_client=True) as client:
            deployment = programs.until(lambda: _deployment(client, f"{name}/{name}"))
            run = client.create_flow_run_from_deployment(deployment.id)
            command = programs.until(lambda: programs.running_command(local))
            subprocess.run(
                [sys.executable, "-m", "prefect", "flow-run", "cancel", str(run.id)],
                check=True,
                env=os.environ | environment,
            )
            child_id = command["tags"]["prefect.io/flow-run-id"]
            parent = programs.until(lambda: _final(client, run.id))
            child = programs.until(lambda: _final(client, child_id))
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.communicate(timeout=PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
    assert parent.state.is_cancelled(), parent.state
    assert child.state.is_final(), child.state
    assert local.platform.active_jobs == []
    assert local.platform.workloads() == []


def _deployment(client, name: str):
    try:
        return client.read_deployment_by_name(name)
    except ObjectNotFound:
        return None


def _final(client, run_id):
    run = client.read_flow_run(run_id)
    return run if run.state.is_final() else None
