"""A token that must show up nowhere goes through a good job, a failing one and a refused one.

Everything is logged.
"""

import os
import sqlite3
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterParentFlowRunId,
)
from prefect.client.schemas.sorting import FlowRunSort

from cpln_flows import CplnJob, run_namespaced_job
from cpln_flows.emulator import Fault, Platform, PlatformConfig
from tests.conftest import DATABASE, SHARED
from tests.manifests import FAILING, LINES, kubernetes_job
from tests.scenarios import programs

pytestmark = [pytest.mark.usefixtures("prefect_api")]

CANARY = "s.canary-of-every-output-0123456789"
PROGRAM = f"""
import logging
logging.basicConfig(level=logging.DEBUG)
for name in (
    "", "httpx", "httpcore", "h11", "websockets", "websockets.client", "cpln_flows",
    "cpln_flows.websocket", "prefect",
):
    logging.getLogger(name).setLevel(logging.DEBUG)

from prefect import flow
from cpln_flows import CplnConfig, CplnCredentials, CplnJob, run_namespaced_job

@flow(name="canary", persist_result=True)
def parent(script, refused=False):
    job = CplnJob(
        credentials=CplnCredentials(config=CplnConfig(token={CANARY!r})),
        v1_job={kubernetes_job("SCRIPT")!r},
        **({{"namespace": "unknown"}} if refused else {{}}),
    )
    job.v1_job["spec"]["template"]["spec"]["containers"][0]["command"][-1] = script
    job.save("canary", overwrite=True)
    print(job, repr(job), job.model_dump(), job.credentials.config)
    run_namespaced_job.with_options(persist_result=True)(job, print_func=print)

for script, refused in [
    ({LINES!r}, False), ({FAILING!r}, False), ({LINES!r}, True), ({LINES!r}, False),
]:
    state = parent(script, refused, return_state=True)
    with open("ends", "a") as ends:
        print(state.state_details.flow_run_id, state.type.value, file=ends)
    try:
        state.result()
    except Exception:
        import traceback
        traceback.print_exc()
"""


@pytest.mark.parametrize("local", [lambda: Platform(PlatformConfig(token=CANARY))], indirect=True)
def test_the_token_is_in_no_log_result_run_or_block(local, prefect_api, tmp_path) -> None:
    results = tmp_path / "storage"
    # The first job's live log is refused; so is the last job itself, with the token quoted in the
    # refusal.
    echo = f"the token {CANARY} is unknown"
    local.platform.faults.add(Fault(path="/tail$", status=403, message=echo, times=1))
    local.platform.faults.add(
        Fault(method="POST", path="/workload$", status=401, message=echo, times=None, skip=2)
    )
    environment = local.environment | {
        "PREFECT_API_URL": prefect_api,
        "PREFECT_LOCAL_STORAGE_PATH": str(results),
        "PREFECT_LOGGING_LEVEL": "DEBUG",
        "PREFECT_LOGGING_TO_API_ENABLED": "true",
        "PREFECT_TASKS_DEFAULT_PERSIST_RESULT": "true",
    }
    code, output = programs.run(PROGRAM, tmp_path, environment)
    assert code == 0, output
    ends = [line.split() for line in (tmp_path / "ends").read_text().splitlines()]
    assert [end[1] for end in ends] == ["COMPLETED", "FAILED", "FAILED", "FAILED"], output
    assert "the token (the token) is unknown" in output
    assert "DEBUG:httpcore" in output, "the debug log is on"
    assert CANARY not in output
    kept = [path for path in results.rglob("*") if path.is_file()]
    assert kept, "results are persisted"
    for path in kept:
        assert CANARY.encode() not in path.read_bytes(), path
    with get_client(sync_client=True) as client:
        parents = [end[0] for end in ends]
        wanted = [
            FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=parents)),
            FlowRunFilter(id=FlowRunFilterId(any_=parents)),
        ]
        children, runs = [
            client.read_flow_runs(flow_run_filter=each, sort=FlowRunSort.ID_DESC, limit=9)
            for each in wanted
        ]
        assert len(children) == len(runs) == 4
        block = client.request("GET", "/block_types/slug/cpln-job/block_documents/name/canary").text
        assert CANARY not in "".join(run.model_dump_json() for run in [*children, *runs]) + block

    _assert_not_in_database()


@pytest.mark.parametrize("by", ["block_document_slug", "block_document_id"])
def test_reference_to_a_saved_job_is_all_that_is_stored(local, by) -> None:
    """As README has it, beside a job that is given as it is."""
    manifest = kubernetes_job("import os; print(os.environ['PLAIN'])")
    manifest["spec"]["template"]["spec"]["containers"][0]["env"] = [
        {"name": "PLAIN", "value": "hush"}
    ]
    job = CplnJob(v1_job=manifest)
    document = job.save("plain-values", overwrite=True)
    reference = {"$ref": {by: "cpln-job/plain-values" if by.endswith("slug") else str(document)}}
    stored = []
    for given in (reference, job):
        state = run_namespaced_job.with_options(persist_result=True)(given, return_state=True)
        assert "hush" in state.result()
        with get_client(sync_client=True) as client:
            stored.append(
                client.read_flow_run(state.state_details.flow_run_id).parameters["cpln_job"]
            )
    assert stored[0] == reference
    assert "hush" in str(stored[1]["v1_job"])


def _assert_not_in_database() -> None:
    """Check all that the runs of these tests have stored.

    Parameters, logs, artifacts, events and results, and the documents of blocks.
    """
    database = Path(os.environ[SHARED]) / DATABASE
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        tables = [
            name
            for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        ]
        assert "log" in tables
        for table in tables:
            for row in connection.execute(f'SELECT * FROM "{table}"'):  # noqa: S608 - a name that the database itself gave
                assert CANARY not in str(row), table
