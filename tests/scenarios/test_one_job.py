"""The life of one job, and of several at once, on the local platform."""

import time

import anyio
import pytest
from prefect import flow, task
from prefect.client.orchestration import get_client

from cpln_flows import CplnJob, JobFailedError, JobTimeoutError, run_namespaced_job
from cpln_flows.emulator import Fault
from tests.manifests import FAILING, FOREVER, LINES, goes_on_with, kubernetes_job, texts
from tests.patience import PATIENCE_SECONDS

pytestmark = [pytest.mark.usefixtures("prefect_api")]


def test_a_job_runs_streams_its_log_and_leaves_nothing_behind(local, tmp_path) -> None:
    seen: list[str] = []
    shown = tmp_path / "shown"
    script = (
        f"print('line 0', flush=True)\n{goes_on_with(shown)}\n"
        "for n in range(1, 5): print('line', n, flush=True)"
    )

    def show(line: str) -> None:
        seen.append(line)
        # The job waits until its first line is shown: if lines came only at the end, none would.
        shown.touch()

    result = run_namespaced_job(
        CplnJob(v1_job=kubernetes_job(script), timeout_seconds=PATIENCE_SECONDS), print_func=show
    )
    assert texts(result) == [f"line {n}" for n in range(5)]
    assert seen == result.splitlines()
    assert local.platform.jobs_started == 1
    assert local.platform.workloads() == []
    assert local.platform.active_jobs == []


def test_the_same_in_an_async_flow(local) -> None:
    @flow
    async def parent() -> str:
        return await run_namespaced_job(CplnJob(v1_job=kubernetes_job(LINES)))

    assert len(texts(anyio.run(parent))) == 5
    assert local.platform.workloads() == []


def test_a_command_carries_the_tags_of_the_run_that_started_it(local) -> None:
    job = CplnJob(v1_job=kubernetes_job(LINES), delete_after_completion=False)

    @flow(name="parent")
    def parent() -> None:
        run_namespaced_job(job)

    state = parent(return_state=True)
    (command,) = local.platform.commands()
    (workload,) = local.platform.workloads()
    tags = command["tags"]
    with get_client(sync_client=True) as client:
        child = client.read_flow_run(tags["prefect.io/flow-run-id"])
        installation = client.request("GET", "/variables/name/cpln_installation").json()["value"]
    assert child.name
    assert tags["prefect.io/flow-name"] == "run-namespaced-job"
    assert tags["cpln-flows/role"] == "job"
    assert tags["cpln-flows/submission"] == str(child.parent_task_run_id)
    assert tags["cpln-flows/attempt"] == "0"
    assert tags["cpln-flows/root-flow-run-id"] == str(state.state_details.flow_run_id)
    assert tags["cpln-flows/installation"] == installation
    assert workload["tags"]["cpln/createdByPrefect"] == "true"
    assert workload["tags"]["cpln/prefectJobType"] == "standard"
    assert len(workload["tags"]["cpln/specHash"]) == 64
    assert workload["spec"]["defaultOptions"]["suspend"] is True
    assert child.infrastructure_pid == f"local:quickstart:{workload['name']}:{command['id']}"


def test_a_failed_job_raises_with_exit_code_last_lines_and_pid(local) -> None:
    with pytest.raises(JobFailedError) as caught:
        run_namespaced_job(CplnJob(v1_job=kubernetes_job(FAILING)))
    error = caught.value
    assert error.exit_code == 3
    assert error.infrastructure_pid.startswith("local:quickstart:test-job-")
    assert error.last_lines[-1].endswith("about to fail")
    assert all(
        part in str(error) for part in ("exit code 3", error.infrastructure_pid, "about to fail")
    )
    assert local.platform.workloads() == []


def test_a_timeout_stops_the_job_and_says_that_it_stopped(local) -> None:
    job = CplnJob(v1_job=kubernetes_job(FOREVER), timeout_seconds=1)
    with pytest.raises(JobTimeoutError, match="it was stopped"):
        run_namespaced_job(job)
    assert local.platform.active_jobs == []
    assert local.platform.workloads() == []


def test_ten_jobs_of_one_block_at_once_do_not_disturb_one_another(local) -> None:
    job = CplnJob(
        v1_job=kubernetes_job(
            "import os, time; time.sleep(0.3); print(os.environ['CPLN_WORKLOAD'])"
        )
    )

    @flow
    async def parent() -> list[str]:
        results: list[str] = []

        async def one() -> None:
            results.append(await run_namespaced_job(job))

        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(one)
        return results

    results = anyio.run(parent)
    assert len({texts(result)[0] for result in results}) == 10
    assert local.platform.jobs_started == 10
    assert local.platform.workloads() == []


def test_several_jobs_of_the_threads_of_a_sync_flow_share_a_workload(local) -> None:
    job = CplnJob(
        v1_job=kubernetes_job("import time; time.sleep(0.5); print('x')"),
        delete_after_completion=False,
    )

    @task
    def one() -> str:
        return run_namespaced_job(job)

    @flow
    def parent() -> list[str]:
        return [future.result() for future in [one.submit() for _ in range(4)]]

    assert [texts(result) for result in parent()] == [["x"]] * 4
    assert len(local.platform.workloads()) == 1
    assert len({command["id"] for command in local.platform.commands()}) == 4


def test_a_live_log_that_breaks_loses_and_doubles_nothing(local) -> None:
    local.platform.faults.add(Fault(method="GET", path=".*/tail", times=1, cut_after_lines=2))
    result = run_namespaced_job(CplnJob(v1_job=kubernetes_job(LINES)))
    assert texts(result) == [f"line {n}" for n in range(5)]
    tails = [request for request in local.platform.requests if request.kind == "websocket"]
    assert len(tails) == 2


def test_a_print_function_that_raises_does_not_stop_the_job(local, caplog) -> None:
    def fail(line: str) -> None:
        raise ValueError(line)

    assert (
        len(texts(run_namespaced_job(CplnJob(v1_job=kubernetes_job(LINES)), print_func=fail))) == 5
    )
    assert len([line for line in caplog.messages if "print_func raised ValueError" in line]) == 1


def test_jobs_of_one_specification_share_a_workload_that_stays(local) -> None:
    job = CplnJob(v1_job=kubernetes_job("print('x')"), delete_after_completion=False)
    for _ in range(2):
        run_namespaced_job(job)
    assert len(local.platform.workloads()) == 1
    assert len(local.platform.commands()) == 2


def test_sidecars_do_not_keep_a_job_running(local, monkeypatch) -> None:
    monkeypatch.setenv("CPLN_SIDECAR_GRACE", "0.1")
    manifest = kubernetes_job("print('main is done')")
    sidecar = {"name": "sidecar", "image": "python", "command": ["python", "-c", FOREVER]}
    manifest["spec"]["template"]["spec"]["containers"].append(sidecar)
    result = run_namespaced_job(CplnJob(v1_job=manifest))
    assert "main is done" in texts(result)
    assert local.platform.active_jobs == []


def test_an_option_of_the_flow_works(local) -> None:
    marker = f"import pathlib, sys\np = pathlib.Path('/tmp/cpln-flows-test-{time.time_ns()}')\n"
    script = (
        marker
        + "if p.exists(): p.unlink(); print('second time'); sys.exit(0)\np.touch(); sys.exit(1)"
    )
    result = run_namespaced_job.with_options(retries=1)(CplnJob(v1_job=kubernetes_job(script)))
    assert texts(result) == ["second time"]
    assert local.platform.jobs_started == 2
    assert local.platform.workloads() == []


def test_a_native_cron_workload_runs(local) -> None:
    manifest = {
        "kind": "workload",
        "name": "native",
        "spec": {
            "type": "cron",
            "containers": [
                {"name": "main", "image": "python", "command": "python", "args": ["-c", "print(1)"]}
            ],
        },
    }
    assert texts(run_namespaced_job(CplnJob(v1_job=manifest))) == ["1"]
