"""Following a job that does not go as it should: it waits, vanishes, ends in its own way, or cannot be stopped."""

import logging
import threading

import anyio
import httpx
import pytest

from cpln_flows import JobCancelledError, JobFailedError, JobTimeoutError
from cpln_flows.emulator import Exit, Fault, ImagePullFailure, Line, NeverStart, OutOfMemory, Script
from cpln_flows.errors import JobLostError
from cpln_flows.local import local_platform
from cpln_flows.model.links import CommandRef
from tests.manifests import kubernetes_job, texts
from tests.scenarios import programs, scripted
from tests.scenarios.scripted import ENDLESS, LINES, SUCCESS


def _error(script, kind, **fields):
    with local_platform(scripted.platform(script, **fields.pop("config", {}))) as local:
        run = scripted.run_of(local, **fields)
        with pytest.raises(kind) as caught:
            anyio.run(scripted.finish, run)
        assert local.platform.active_jobs == []
        assert local.platform.workloads() == []
        assert run.infrastructure_pid in str(caught.value)
        return caught.value


@pytest.mark.parametrize(
    ("script", "says"),
    [
        pytest.param(Script([ImagePullFailure("no such image")]), "no such image", id="image"),
        pytest.param(Script([NeverStart("no room at local-1")]), "no room at local-1", id="capacity"),
    ],
)
def test_a_job_that_does_not_begin_says_what_it_waits_for(script, says, caplog) -> None:
    caplog.set_level(logging.INFO)
    error = _error(
        script, JobTimeoutError, timeout_seconds=1.5, settings={"waiting_report_seconds": 0.5, "stop_grace_seconds": 2}
    )
    assert says in str(error)
    assert any("Without a line of log" in line and says in line for line in caplog.messages)


@pytest.mark.parametrize(
    ("script", "code", "says"),
    [
        pytest.param(Script([Line(0, "a"), Exit(0.1, code=7)]), 7, "exit code 7", id="code"),
        pytest.param(Script([Line(0, "a"), Exit(0.1, code=137)]), 137, "exit code 137 (SIGKILL)", id="signal"),
        pytest.param(Script([Line(0, "a"), OutOfMemory(0.1)]), 137, "OOMKilled", id="memory"),
    ],
)
def test_a_failure_carries_its_exit_code_its_reason_and_its_last_lines(script, code, says) -> None:
    error = _error(script, JobFailedError)
    assert error.exit_code == code
    assert says in str(error)
    assert error.last_lines[-1].endswith("- a")
    assert isinstance(error, RuntimeError)


def test_a_job_that_runs_into_the_platforms_deadline_says_so() -> None:
    manifest = kubernetes_job("x", activeDeadlineSeconds=1)
    assert "DeadlineExceeded" in str(_error(ENDLESS, JobFailedError, v1_job=manifest))


def _finish_while(run, act) -> str:
    """Finish a run while another thread does something to it as soon as it has printed a line."""

    def watch():
        programs.until(lambda: run.logs)
        act()

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        return anyio.run(scripted.finish, run)
    finally:
        thread.join()


def _request(local, method, path, **body):
    answer = httpx.request(method, f"{local.url}{path}", headers={"authorization": "Bearer x"}, **body)
    answer.raise_for_status()
    return answer


def test_a_job_whose_workload_is_deleted_is_lost_and_its_lines_are_kept() -> None:
    with local_platform(scripted.platform(ENDLESS)) as local:
        run = scripted.run_of(local, interval_seconds=0.2)
        with pytest.raises(JobLostError, match="404 5 times in a row; was its workload deleted"):
            _finish_while(run, lambda: _request(local, "DELETE", CommandRef.parse(run.infrastructure_pid).workload_ref.path))
        assert texts("\n".join(run.logs)) == ["one"]


def test_four_answers_of_404_are_not_a_lost_job() -> None:
    with local_platform(scripted.platform(SUCCESS)) as local:
        local.platform.faults.add(Fault(method="GET", path="/-command/[^/]+$", status=404, times=4))
        assert texts(anyio.run(scripted.finish, scripted.run_of(local, interval_seconds=0.2))) == LINES


def test_a_stage_that_nobody_knows_is_an_active_one() -> None:
    odd = '{"kind": "command", "id": "x", "type": "runCronWorkload", "lifecycleStage": "paused-by-the-moon"}'
    with local_platform(scripted.platform(SUCCESS)) as local:
        local.platform.faults.add(
            Fault(method="GET", path="/-command/[^/]+$", status=200, body=odd, content_type="application/json", times=2)
        )
        assert texts(anyio.run(scripted.finish, scripted.run_of(local))) == LINES


@pytest.mark.parametrize(("stage", "kind"), [("failed", JobFailedError), ("cancelled", JobCancelledError)])
def test_a_job_that_somebody_else_stops_is_not_a_success(stage, kind) -> None:
    with local_platform(scripted.platform(ENDLESS, final_stage_after_stop=stage)) as local:
        run = scripted.run_of(local)

        def stop_it():
            ref = CommandRef.parse(run.infrastructure_pid)
            replica = _request(local, "GET", ref.path).json()["status"]["replica"]
            body = {"type": "stopReplica", "spec": {"location": "local-1", "replica": replica}}
            _request(local, "POST", f"{ref.workload_ref.path}/-command", json=body)

        with pytest.raises(kind):
            _finish_while(run, stop_it)
        assert local.platform.workloads() == []


def test_the_result_of_the_main_container_is_said_while_sidecars_still_run(caplog) -> None:
    caplog.set_level(logging.INFO)
    manifest = kubernetes_job("main")
    manifest["spec"]["template"]["spec"]["containers"].append({"name": "side", "image": "proxy"})
    script = Script([Line(0, "one"), Exit(0.2), Line(0.1, "side", container="side")])
    with local_platform(scripted.platform(script)) as local:
        run = scripted.run_of(local, v1_job=manifest, settings={"sidecar_grace_seconds": 0.3})
        assert "one" in texts(anyio.run(scripted.finish, run))
        assert local.platform.active_jobs == []
    said = [line for line in caplog.messages if "main container has ended" in line]
    assert len(said) == 1
    assert "exit code 0" in said[0]
