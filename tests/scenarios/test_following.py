"""Following a job that misbehaves: it waits, vanishes, ends in an odd way, or cannot be stopped."""

import logging
import threading

import anyio
import httpx
import pytest

from cpln_flows import JobAccessLostError, JobCancelledError, JobFailedError, JobTimeoutError
from cpln_flows.emulator import Exit, Fault, ImagePullFailure, Line, NeverStart, OutOfMemory, Script
from cpln_flows.errors import JobLostError
from cpln_flows.local import local_platform
from cpln_flows.model.links import CommandRef
from tests.manifests import kubernetes_job, texts
from tests.scenarios import programs, scripted
from tests.scenarios.scripted import ENDLESS, FAILURE, LINES, SUCCESS


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
        pytest.param(
            Script([NeverStart("no room at local-1")]), "no room at local-1", id="capacity"
        ),
    ],
)
def test_a_job_that_does_not_begin_says_what_it_waits_for(script, says, caplog) -> None:
    caplog.set_level(logging.INFO)
    error = _error(
        script,
        JobTimeoutError,
        timeout_seconds=1.5,
        settings={"waiting_report_seconds": 0.5, "stop_grace_seconds": 2},
    )
    assert says in str(error)
    assert any("No log lines for" in line and says in line for line in caplog.messages)


@pytest.mark.parametrize(
    ("script", "code", "says"),
    [
        pytest.param(Script([Line(0, "a"), Exit(0.1, code=7)]), 7, "exit code 7", id="code"),
        pytest.param(
            Script([Line(0, "a"), Exit(0.1, code=137)]), 137, "exit code 137 (SIGKILL)", id="signal"
        ),
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
    answer = httpx.request(
        method,
        f"{local.url}{path}",
        headers={"authorization": f"Bearer {local.platform.token}"},
        **body,
    )
    answer.raise_for_status()
    return answer


def test_a_job_whose_workload_is_deleted_is_lost_and_its_lines_are_kept() -> None:
    with local_platform(scripted.platform(ENDLESS)) as local:
        run = scripted.run_of(local, interval_seconds=0.2, settings={"lost_after_seconds": 0.1})
        with pytest.raises(JobLostError, match="was its workload deleted"):
            _finish_while(
                run,
                lambda: _request(
                    local, "DELETE", CommandRef.parse(run.infrastructure_pid).workload_ref.path
                ),
            )
        assert texts("\n".join(run.logs)) == ["one"]


def test_listed_execution_keeps_job_from_loss() -> None:
    with local_platform(scripted.platform(SUCCESS)) as local:
        local.platform.faults.add(Fault(method="GET", path="/-command/[^/]+$", status=404, times=9))
        run = scripted.run_of(local, interval_seconds=0.1, settings={"lost_after_seconds": 0})
        assert texts(anyio.run(scripted.finish, run)) == LINES


def test_lost_job_that_runs_keeps_its_workload() -> None:
    nothing = '{"name": "local-1", "status": {"ready": true, "jobExecutions": []}}'
    with local_platform(scripted.platform(ENDLESS)) as local:
        run = scripted.run_of(local, interval_seconds=0.1, settings={"lost_after_seconds": 0})

        def hide() -> None:
            local.platform.faults.add(
                Fault(method="GET", path="/-command/[^/]+$", status=404, times=None)
            )
            local.platform.faults.add(
                Fault(
                    method="GET",
                    path="/deployment/local-1$",
                    body=nothing,
                    content_type="application/json",
                    times=None,
                )
            )

        with pytest.raises(JobLostError) as caught:
            _finish_while(run, hide)
        assert "could not be deleted: command-" in caught.value.__notes__[0]
        anyio.run(run.abandon, "the flow run was interrupted")
        assert len(local.platform.active_jobs) == 1


def test_stop_looks_at_execution_of_hidden_command() -> None:
    with local_platform(scripted.platform(ENDLESS)) as local:
        run = scripted.run_of(local, interval_seconds=0.1)

        async def main() -> None:
            await run.start()
            local.platform.faults.add(
                Fault(method="GET", path="/-command/[^/]+$", status=404, times=None)
            )
            await run.cancel()

        anyio.run(main)
        posted = [request.path for request in local.platform.requests if request.method == "POST"]
        assert (
            len([path for path in posted if path.endswith("/-command")]) == 2
        )  # the start and the stop
        assert local.platform.active_jobs == []


@pytest.mark.parametrize("status", [401, 403])
def test_lasting_refusal_ends_the_wait(status) -> None:
    with local_platform(scripted.platform(ENDLESS)) as local:
        run = scripted.run_of(local, interval_seconds=0.1, settings={"lost_access_seconds": 0.2})
        with pytest.raises(JobAccessLostError, match="MAY STILL RUN") as caught:
            _finish_while(
                run, lambda: local.platform.faults.add(Fault(path=".", status=status, times=None))
            )
        assert caught.value.infrastructure_pid == run.infrastructure_pid
        assert len(local.platform.active_jobs) == 1


def test_late_deployment_is_read_again_for_exit_code() -> None:
    script = Script([Line(0, "one"), Exit(1, code=3)])
    with local_platform(scripted.platform(script)) as local:
        run = scripted.run_of(local, settings={"query_settle_seconds": 10})

        def make_late() -> None:
            # What was answered while the job ran is answered once more at its end.
            _request(
                local,
                "GET",
                f"{CommandRef.parse(run.infrastructure_pid).workload_ref.path}/deployment/local-1",
            )
            local.platform.faults.add(
                Fault(method="GET", path="/deployment/local-1$", times=2, stale=True)
            )

        with pytest.raises(JobFailedError) as caught:
            _finish_while(run, make_late)
        assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    "body", ["[]", '{"id": 7}', '{"id": "x", "lifecycleStage": []}', "no JSON"]
)
def test_answers_of_wrong_shape_are_asked_again(body) -> None:
    with local_platform(scripted.platform(FAILURE)) as local:
        odd = {"method": "GET", "body": body, "content_type": "application/json", "times": 2}
        local.platform.faults.add(Fault(path="/-command/[^/]+$", **odd))
        local.platform.faults.add(Fault(path="/deployment/local-1$", skip=1, **odd))
        with pytest.raises(JobFailedError) as caught:
            anyio.run(scripted.finish, scripted.run_of(local))
        assert caught.value.exit_code == 3


def test_a_stage_that_nobody_knows_is_an_active_one() -> None:
    odd = (
        '{"kind": "command", "id": "x", "type": "runCronWorkload",'
        ' "lifecycleStage": "paused-by-the-moon"}'
    )
    with local_platform(scripted.platform(SUCCESS)) as local:
        local.platform.faults.add(
            Fault(
                method="GET",
                path="/-command/[^/]+$",
                status=200,
                body=odd,
                content_type="application/json",
                times=2,
            )
        )
        assert texts(anyio.run(scripted.finish, scripted.run_of(local))) == LINES


@pytest.mark.parametrize(
    ("stage", "kind"), [("failed", JobFailedError), ("cancelled", JobCancelledError)]
)
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
