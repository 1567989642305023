"""`run_namespaced_job` as the entrypoint of a deployment, in a process of its own."""

import os
import subprocess
import sys

from prefect.client.orchestration import get_client

from cpln_flows import CplnConfig, CplnCredentials, CplnJob, run_namespaced_job
from tests.manifests import LINES, kubernetes_job

CANARY = "s.canary-deployment-0123456789"


def test_a_deployment_runs_the_job_of_a_saved_block_and_shows_no_token(local, prefect_api, tmp_path) -> None:
    credentials = CplnCredentials(config=CplnConfig(token=CANARY))
    CplnJob(credentials=credentials, v1_job=kubernetes_job(LINES)).save("deployed", overwrite=True)
    with get_client(sync_client=True) as client:
        flow_id = client.create_flow(run_namespaced_job)
        deployment_id = client.create_deployment(
            flow_id,
            name="deployed",
            entrypoint="cpln_flows.flows.run_job.run_namespaced_job",
            pull_steps=[],
            parameters={"cpln_job": {"$ref": {"block_document_slug": "cpln-job/deployed"}}},
        )
        run = client.create_flow_run_from_deployment(deployment_id)
        done = subprocess.run(
            [sys.executable, "-m", "prefect", "flow-run", "execute", str(run.id)],
            env=os.environ | local.environment | {"PREFECT_API_URL": prefect_api, "PREFECT_LOGGING_LEVEL": "DEBUG"},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        run = client.read_flow_run(run.id)
        stored = client.read_deployment(deployment_id).model_dump_json() + run.model_dump_json()
    assert run.state.is_completed(), done.stdout + done.stderr
    assert local.platform.jobs_started == 1
    assert local.platform.workloads() == []
    assert CANARY not in stored + done.stdout + done.stderr
