"""Stopping a job when its time is over or nobody needs it, whatever cannot be read meanwhile."""

import logging

import anyio
import pytest

from cpln_flows import JobCancelledError, JobError, JobFailedError, JobTimeoutError, sync_compat
from cpln_flows.blocks import job_run
from cpln_flows.emulator import Exit, Fault, Line, Script
from cpln_flows.local import local_platform
from cpln_flows.model.identifiers import Owner, Submission
from cpln_flows.orchestration import JobIdentity
from tests.manifests import kubernetes_job, texts
from tests.scenarios import programs, scripted
from tests.scenarios.scripted import ENDLESS, LINES, SUCCESS

STATUS = {"method": "GET", "path": "/-command/[^/]+$"}
AT_ONCE = Script([Line(0, "one"), Exit(0)])


def _commands(local) -> list[str]:
    """What was sent to the platform's workloads: starts and stops."""
    return [
        request.path
        for request in local.platform.requests
        if request.method == "POST" and request.path.endswith("-command")
    ]


def test_a_job_that_ended_in_time_is_no_late_one_although_that_could_not_be_seen_in_time() -> None:
    identity, fields = (
        JobIdentity(Owner(), Submission()),
        {"timeout_seconds": 1.0, "delete_after_completion": False},
    )
    with local_platform(scripted.platform(SUCCESS)) as local:
        first = scripted.run_of(local, identity=identity, **fields)
        anyio.run(first.start)
        programs.until(lambda: not local.platform.active_jobs)
        again = scripted.run_of(local, identity=identity, **fields | {"timeout_seconds": 0.001})
        local.platform.faults.add(Fault(**STATUS, status=503, times=1))
        assert texts(anyio.run(scripted.finish, again)) == LINES
        assert len(_commands(local)) == 1, "no stop was sent"


def test_a_job_whose_state_cannot_be_read_until_its_time_is_over_has_its_result() -> None:
    with local_platform(scripted.platform(AT_ONCE)) as local:
        fault = Fault(**STATUS, status=503, times=None)
        local.platform.faults.add(fault)
        run = scripted.run_of(local, timeout_seconds=1.5)

        async def main() -> str:
            async with anyio.create_task_group() as group:
                group.start_soon(_clear_after, local, 1.6)
                return await scripted.finish(run)

        assert texts(anyio.run(main)) == ["one"]


async def _clear_after(local, seconds: float) -> None:
    await anyio.sleep(seconds)
    local.platform.faults.clear()


@pytest.mark.parametrize(
    ("fault", "script", "settings"),
    [
        pytest.param(
            {"method": "POST", "path": "/-command/-query$"},
            ENDLESS,
            {"query_settle_seconds": 0.3},
            id="second-look",
        ),
        pytest.param(
            {"method": "GET", "path": "/deployment/[^/]+$"}, Script([]), {}, id="what-it-waits-for"
        ),
        pytest.param(
            {"method": "GET", "path": "/deployment/[^/]+$"},
            Script([]),
            {"waiting_report_seconds": 0.2},
            id="waiting-report",
        ),
    ],
)
def test_an_answer_that_never_comes_does_not_keep_a_job_running_past_its_time(
    fault, script, settings
) -> None:
    with local_platform(scripted.platform(script)) as local:
        local.platform.faults.add(Fault(**fault, timeout="before", times=None))
        # Whoever waited for the answer would wait longer than this test does.
        run = scripted.run_of(
            local,
            timeout_seconds=0.5,
            delete_after_completion=False,
            settings={"request_timeout_seconds": 100, **settings},
        )
        _cancelled_at(run, lambda: len(_commands(local)) > 1)
        assert local.platform.active_jobs == []


def _cancelled_at(run, look) -> None:
    """Interrupt a job as soon as something is so."""

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(scripted.finish, run)
            await programs.reached(look)
            group.cancel_scope.cancel()

    anyio.run(main)


def test_a_job_that_cannot_be_read_any_more_is_stopped_where_it_was_seen_last() -> None:
    with local_platform(scripted.platform(ENDLESS)) as local:
        local.platform.faults.add(Fault(**STATUS, status=503, times=None, skip=2))
        fields = {"timeout_seconds": 1.5, "delete_after_completion": False, "interval_seconds": 0.2}
        run = scripted.run_of(local, settings={"stop_grace_seconds": 1}, **fields)
        with pytest.raises(JobTimeoutError, match="503"):
            anyio.run(scripted.finish, run)
        programs.until(lambda: not local.platform.active_jobs)


def test_a_job_that_does_not_end_is_told_again_and_that_is_said(caplog) -> None:
    script = Script([Line(0, "one")], ignores_stop=True, ignores_kill=True)
    with local_platform(scripted.platform(script, stop_grace_seconds=0.1)) as local:
        run = scripted.run_of(
            local,
            timeout_seconds=0.5,
            delete_after_completion=False,
            settings={"stop_grace_seconds": 1},
        )
        with pytest.raises(
            JobTimeoutError, match="IT MAY STILL RUN, the sync flow stops it once it can be stopped"
        ):
            anyio.run(scripted.finish, run)
        assert len(_commands(local)) == 3
    assert [line for line in caplog.messages if "does not end, sending stopReplica again" in line]


def test_who_waits_for_a_job_that_is_cancelled_beside_learns_that_it_was() -> None:
    with local_platform(scripted.platform(ENDLESS)) as local:
        run = scripted.run_of(local, interval_seconds=0.2)
        errors: list[BaseException] = []

        async def wait() -> None:
            try:
                await run.wait_for_completion()
            except JobError as error:
                errors.append(error)

        async def main() -> None:
            await run.start()
            async with anyio.create_task_group() as group:
                group.start_soon(wait)
                await programs.reached(lambda: run.logs)
                await run.cancel()

        anyio.run(main)
        (error,) = errors
        assert isinstance(error, JobCancelledError | JobFailedError)
        assert "was its workload deleted" not in str(error)
        assert local.platform.workloads() == []


@pytest.mark.parametrize("code", [0, 3])
def test_the_platform_starts_a_main_container_again_beside_its_sidecar(code) -> None:
    manifest = kubernetes_job("main")
    manifest["spec"].pop("backoffLimit", None)
    pod = manifest["spec"]["template"]["spec"]
    pod["restartPolicy"] = "OnFailure"
    pod["containers"].append({"name": "side", "image": "proxy"})
    tries: list[int] = []

    def script(_) -> Script:
        tries.append(len(tries))
        last = Exit(0.2, code=0 if len(tries) > 2 else 1) if code == 0 else Exit(0.2, code=code)
        return Script(
            [
                Line(0, f"try {len(tries)}"),
                last,
                Line(0, "side", container="side"),
                Exit(2, container="side"),
            ]
        )

    with local_platform(
        scripted.platform(script, restart_delay_seconds=0.5, restart_limit=1)
    ) as local:
        run = scripted.run_of(
            local, v1_job=manifest, settings={"sidecar_grace_seconds": 0.2}, interval_seconds=0.2
        )
        if code == 0:
            assert len(texts(anyio.run(scripted.finish, run))) == 2
        else:
            with pytest.raises(JobFailedError, match=f"exit code {code}"):
                anyio.run(scripted.finish, run)


def test_a_clean_up_that_gets_no_answer_is_a_note_on_the_jobs_own_error(monkeypatch) -> None:
    monkeypatch.setattr(sync_compat, "CLEANUP_SECONDS", 1)
    with local_platform(scripted.platform(ENDLESS)) as local:
        local.platform.faults.add(
            Fault(method="DELETE", path="/workload/", timeout="before", times=None)
        )
        run = scripted.run_of(local, timeout_seconds=0.3, settings={"request_timeout_seconds": 60})
        with pytest.raises(JobTimeoutError) as caught:
            anyio.run(scripted.finish, run)
        (note,) = caught.value.__notes__
        assert "no answer within 1 s; the clean-up flow does that after 24 h without use" in note


PHASES = {
    "create": {"method": "POST", "path": "/workload$", "timeout": "after"},
    "readiness": {"method": "GET", "path": "/deployment$", "timeout": "before"},
    "start": {"method": "POST", "path": "/-command$", "timeout": "after"},
    "late-start": {"method": "POST", "path": "/-command$", "delay_seconds": 0.5},
    "pending": {"method": "GET", "path": "/-command/[^/]+$", "delay_seconds": 0.01},
    "drain": {"method": "GET", "path": "/query_range$", "timeout": "before"},
    "delete": {"method": "DELETE", "path": "/workload/", "status": 503, "times": 2},
}


@pytest.mark.parametrize(
    ("phase", "private"),
    [
        (phase, private)
        for phase in PHASES
        for private in (True, False)
        if private or phase != "delete"
    ],
)
def test_whoever_interrupts_a_job_at_whatever_moment_leaves_none_running(phase, private) -> None:
    config = {"start_delay_seconds": 1} if phase == "pending" else {}
    with local_platform(
        scripted.platform(SUCCESS if phase in {"drain", "delete"} else ENDLESS, **config)
    ) as local:
        local.platform.faults.add(Fault(**PHASES[phase]))
        run = scripted.run_of(
            local, settings={"request_timeout_seconds": 10}, delete_after_completion=private
        )
        _cancelled_at(run, lambda: local.platform.faults.as_documents()[0]["fired"])
        programs.until(lambda: not local.platform.active_jobs)
        assert len(local.platform.workloads()) == (0 if private else 1)


def test_an_interruption_that_is_noticed_twice_takes_its_time_once(monkeypatch) -> None:
    monkeypatch.setattr(sync_compat, "CLEANUP_SECONDS", 1)
    monkeypatch.setattr(job_run, "_CLEANUP_RESERVE_SECONDS", 0.2)
    with local_platform(scripted.platform(ENDLESS)) as local:
        run = scripted.run_of(local, settings={"request_timeout_seconds": 60})
        anyio.run(run.start)
        local.platform.faults.add(Fault(path="/workload/", timeout="before", times=None))
        anyio.run(run.abandon, "first")
        local.platform.faults.clear()
        anyio.run(run.abandon, "second")
        assert local.platform.active_jobs, (
            "it was not tried again, now that it could have been stopped"
        )


def test_a_kill_is_told_the_level_of_a_warning_when_it_cannot_be_done(caplog, monkeypatch) -> None:
    monkeypatch.setattr(sync_compat, "CLEANUP_SECONDS", 0.5)
    caplog.set_level(logging.WARNING)
    with local_platform(scripted.platform(ENDLESS)) as local:
        run = scripted.run_of(local, settings={"request_timeout_seconds": 60})
        anyio.run(run.start)
        local.platform.faults.add(Fault(path="/workload/", timeout="before", times=None))
        anyio.run(run.abandon, "the caller was interrupted")
    assert [
        line
        for line in caplog.messages
        if "could not be stopped within 0.5 s and may still be running" in line
    ]
