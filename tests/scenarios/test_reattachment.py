"""A job survives its caller: the next execution of its flow run adopts it, or takes its result."""

from dataclasses import replace
from datetime import UTC, datetime
from uuid import uuid4

import anyio
import pytest
from prefect import flow

from cpln_flows import CplnJob, run_namespaced_job
from cpln_flows.api import commands
from cpln_flows.api.client import CplnClient
from cpln_flows.emulator import Exit, Fault, Line, Script
from cpln_flows.errors import SubmissionUnknownError
from cpln_flows.jobs.reattach import EarlierAttempt, Outcome
from cpln_flows.local import local_platform
from cpln_flows.model.identifiers import Owner, Submission
from cpln_flows.model.links import WorkloadRef
from cpln_flows.orchestration import JobIdentity
from tests.manifests import kubernetes_job, texts
from tests.patience import PATIENCE_SECONDS
from tests.scenarios import programs, scripted
from tests.scenarios.deployed import Deployed

pytestmark = [pytest.mark.usefixtures("prefect_api")]

SLOW = "import time\nfor n in range(25):\n    print('line', n, flush=True)\n    time.sleep(0.2)"
QUICK = "print('line 0')"
PARENT = """
import time
from pathlib import Path
from prefect import flow, get_run_logger
from cpln_flows import CplnJob, run_namespaced_job

@flow(name="parent-that-dies")
def parent():
    job = CplnJob(v1_job=MANIFEST, delete_after_completion=PRIVATE)
    result = run_namespaced_job.with_options(persist_result=PERSIST)(job, print_func=PRINT)
    while Path(FOLDER, "hold").exists():
        Path(FOLDER, "held").touch()
        time.sleep(0.1)
    Path(FOLDER, "result").write_text(result)
"""


class Parent(Deployed):
    """A parent flow that runs a job, and leaves its result in a file."""

    def __init__(
        self, local, url, folder, script, *, private=True, print_func="print", persist=False
    ) -> None:
        source = PARENT.replace("MANIFEST", repr(kubernetes_job(script))).replace(
            "PRIVATE", repr(private)
        )
        source = source.replace("PRINT", print_func).replace("PERSIST", repr(persist))
        source = source.replace("FOLDER", repr(str(folder)))
        super().__init__(url, folder, source, "parent-that-dies", environment=local.environment)

    def finish(self) -> tuple[str, str]:
        process = self.execute()
        try:
            output, _ = process.communicate(timeout=PATIENCE_SECONDS)
        finally:
            process.kill()
        assert (self.folder / "result").exists(), output
        return (self.folder / "result").read_text(), output


@pytest.mark.parametrize(
    ("private", "print_func"),
    [
        pytest.param(True, "get_run_logger().info", id="private-into-the-parents-log"),
        pytest.param(False, "None", id="shared-into-the-childs-log", marks=pytest.mark.proof),
    ],
)
def test_a_killed_process_that_is_executed_again_goes_on_with_its_job(
    private, print_func, local, prefect_api_url, tmp_path
) -> None:
    parent = Parent(local, prefect_api_url, tmp_path, SLOW, private=private, print_func=print_func)
    process = parent.execute()
    programs.until(lambda: programs.running_command(local))
    programs.until(lambda: "line 3" in parent.lines())
    parent.kill(process)
    assert len(local.platform.active_jobs) == 1
    result, output = parent.finish()
    assert local.platform.jobs_started == 1, output
    assert "Reattached" in output
    assert texts(result) == parent.lines() == [f"line {n}" for n in range(25)]
    assert len(local.platform.workloads()) == (0 if private else 1)


@pytest.mark.proof
def test_a_result_that_nobody_took_is_taken_and_the_job_not_run_again(
    local, prefect_api_url, tmp_path
) -> None:
    held = Fault(method="DELETE", path="/workload/", times=1, delay_seconds=600)
    local.platform.faults.add(held)
    parent = Parent(local, prefect_api_url, tmp_path, QUICK)
    process = parent.execute()
    programs.until(lambda: local.platform.faults.as_documents()[0]["fired"])
    parent.kill(process)
    result, output = parent.finish()
    assert local.platform.jobs_started == 1, output
    assert texts(result) == ["line 0"]
    assert local.platform.workloads() == []


@pytest.mark.proof
def test_a_result_that_was_reported_is_kept_for_a_parent_that_is_executed_again_if_it_is_persisted(
    local, prefect_api_url, tmp_path
) -> None:
    (tmp_path / "hold").touch()
    parent = Parent(local, prefect_api_url, tmp_path, QUICK, persist=True)
    process = parent.execute()
    programs.until((tmp_path / "held").exists)
    parent.kill(process)
    (tmp_path / "hold").unlink()
    result, output = parent.finish()
    assert local.platform.jobs_started == 1, output
    assert texts(result) == ["line 0"]


def test_a_parent_that_is_retried_in_its_process_goes_on_with_its_job(local, monkeypatch) -> None:
    monkeypatch.setenv("CPLN_RETRY_SECONDS", "0.1")
    job = CplnJob(v1_job=kubernetes_job(SLOW), delete_after_completion=False)
    run_namespaced_job(CplnJob(v1_job=kubernetes_job(QUICK), delete_after_completion=False))
    attempts: list[BaseException | None] = []
    children: set[str] = set()

    @flow(retries=1)
    def parent() -> str:
        if not attempts:
            local.platform.faults.add(Fault(method="POST", path="/-command$", reset="after"))
            local.platform.faults.add(
                Fault(method="POST", path="/-command/-query$", status=503, times=None, skip=2)
            )
        else:
            local.platform.faults.clear()
        try:
            state = run_namespaced_job(job, return_state=True)
            children.add(str(state.state_details.flow_run_id))
            return state.result()
        except SubmissionUnknownError as error:
            attempts.append(error)
            raise

    assert texts(parent()) == [f"line {n}" for n in range(25)]
    assert len(attempts) == 1
    assert len(children) == 2
    assert local.platform.jobs_started == 2, "one to make the workload, one for both attempts"


def test_a_parent_that_runs_the_same_job_twice_gets_two_jobs(local) -> None:
    job = CplnJob(v1_job=kubernetes_job(QUICK), delete_after_completion=False)

    @flow
    def parent() -> list[str]:
        return [run_namespaced_job(job) for _ in range(2)]

    assert [texts(result) for result in parent()] == [["line 0"]] * 2
    assert local.platform.jobs_started == 2


@pytest.mark.parametrize(
    ("stopped", "jobs"),
    [
        pytest.param(False, 1, id="sidecar-alone-failed"),
        pytest.param(True, 2, id="job-was-stopped"),
    ],
)
def test_success_beside_failed_sidecar_is_kept(stopped, jobs) -> None:
    manifest = kubernetes_job("main")
    manifest["spec"]["template"]["spec"]["containers"].append({"name": "side", "image": "proxy"})
    script = Script([Line(0, "one"), Exit(0), Exit(0, code=1, container="side")])
    identity = JobIdentity(Owner(), Submission(uuid4(), 0))
    with local_platform(scripted.platform(script)) as local:
        first = scripted.run_of(
            local, identity=identity, v1_job=manifest, delete_after_completion=False
        )
        anyio.run(first.start)
        programs.until(lambda: not local.platform.active_jobs)
        (command,) = local.platform.commands()
        assert command["lifecycleStage"] == "failed"
        if stopped:
            _send_stop(local, command)
        crashed = EarlierAttempt(datetime.now(UTC), Outcome.CRASHED)
        again = replace(
            identity, submission=replace(identity.submission, attempt=1), earlier=(crashed,)
        )
        second = scripted.run_of(
            local, identity=again, v1_job=manifest, delete_after_completion=False
        )
        assert texts(anyio.run(scripted.finish, second)) == ["one"]
        assert local.platform.jobs_started == jobs


def _send_stop(local, command) -> None:
    workload = WorkloadRef("local", "quickstart", local.platform.workloads()[0]["name"])

    async def send() -> None:
        async with CplnClient(local.settings) as client:
            replica = command["status"]["replica"]
            await commands.stop(client, workload, location="local-1", replica=replica)

    anyio.run(send)
