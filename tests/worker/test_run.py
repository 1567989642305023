"""One flow run's container from start to end: a worker in this process, scripts as its flows."""

import functools
import time

import anyio
import anyio.to_thread
import pytest
from prefect.exceptions import InfrastructureNotAvailable, InfrastructureNotFound
from prefect.states import Cancelled, Cancelling, Completed, Crashed, Pending, Running, Scheduled

from cpln_flows import CplnWorker
from cpln_flows.emulator import (
    Fault,
    ImagePullFailure,
    Platform,
    PlatformConfig,
    Script,
    ScriptedExecutor,
)
from tests.manifests import FOREVER, LINES
from tests.patience import PATIENCE_SECONDS
from tests.scenarios import pools, programs
from tests.scenarios.pools import Pool, Started

pytestmark = pytest.mark.xdist_group("worker-in-process")

_MANY = 15


def supervised(script: str) -> str:
    """Return a script that the worker takes for Prefect's supervisor; it ignores cancellation."""
    return f"{pools.command(script)} prefect flow-run execute"


def test_a_script_runs_streams_its_output_and_its_end_is_reported(pool) -> None:
    run_id = pool.start(pool.deploy(command=pools.command(LINES)), Pending())

    async def main():
        async with pools.in_process(pool) as worker:
            run, started = await worker.client.read_flow_run(run_id), Started()
            return await worker.run(run, await pools.configuration(worker, run), started), started

    result, started = anyio.run(main)
    assert started.pids == [result.identifier]
    assert result.status_code == 0
    assert pool.local.platform.jobs_started == 1
    run = pools.final(run_id)
    assert run.state.is_crashed()
    assert "without starting the flow" in run.state.message
    texts = programs.until(
        lambda: (
            [text for text in pools.messages(run_id) if " - line " in text][4:]
            and pools.messages(run_id)
        )
    )
    assert [text.split(" - ")[1] for text in texts if " - line " in text] == [
        f"line {n}" for n in range(5)
    ]


@pytest.mark.parametrize("code", [3, 137])
def test_the_exit_code_of_the_container_is_the_result(pool, code) -> None:
    script = (
        "import os; os.kill(os.getpid(), 9)"
        if code == 137
        else f"import sys; print('bad'); sys.exit({code})"
    )
    run_id = pool.start(pool.deploy(command=pools.command(script), stream_output=False), Pending())

    async def main():
        async with pools.in_process(pool) as worker:
            run = await worker.client.read_flow_run(run_id)
            return await worker.run(run, await pools.configuration(worker, run), Started())

    assert anyio.run(main).status_code == code
    run = pools.read(run_id)
    assert run.state.is_crashed()
    assert f"exit code {code}" in run.state.message
    if code == 3:
        assert programs.until(
            lambda: [text for text in pools.messages(run_id) if text.endswith(" - bad")]
        )


def test_failed_container_makes_the_chosen_state(pool, monkeypatch) -> None:
    monkeypatch.setenv("CPLN_FAILED_AS", "FAILED")
    run_id = pool.start(
        pool.deploy(command=pools.command("raise SystemExit(3)"), stream_output=False), Pending()
    )
    assert _run_and(pool, run_id, wait_for_container=False).status_code == 3
    run = pools.read(run_id)
    assert run.state.is_failed()
    assert "exit code 3" in run.state.message


def _run_and(pool: Pool, run_id, act=None, *, wait_for_container=True, prepare=None):
    """Run a flow run's container and do something once there is a job; return the result."""

    async def main():
        async with pools.in_process(pool) as worker:
            run, started, results = await worker.client.read_flow_run(run_id), Started(), []
            made = await pools.configuration(worker, run)
            if prepare is not None:
                prepare(made)

            async def one() -> None:
                results.append(await worker.run(run, made, started))

            with anyio.fail_after(PATIENCE_SECONDS):
                async with anyio.create_task_group() as group:
                    group.start_soon(one)
                    await started.event.wait()
                    if wait_for_container:
                        await anyio.to_thread.run_sync(
                            programs.until, lambda: programs.running_command(pool.local)
                        )
                    if act is not None:
                        await act(worker, started.pids[0])
        return results[0]

    return anyio.run(main)


async def _set(run_id, state, worker, _pid, *, force=False):
    await worker.client.set_flow_run_state(run_id, state, force=force)


def test_a_run_that_is_cancelled_before_its_flow_begins_has_its_job_stopped_and_is_cancelled(
    pool,
) -> None:
    run_id = pool.start(pool.deploy(command=supervised(FOREVER)), Pending())
    result = _run_and(pool, run_id, functools.partial(_set, run_id, Cancelling()))
    assert result.status_code != 0
    assert pools.read(run_id).state.is_cancelled()
    assert pool.local.platform.active_jobs == []
    assert any(
        "Sending stopReplica" in text for text in programs.until(lambda: pools.messages(run_id))
    )


@pytest.mark.parametrize(
    "local", [lambda: Platform(PlatformConfig(start_delay_seconds=2))], indirect=True
)
def test_a_run_that_is_cancelled_before_its_container_is_up_is_cancelled(pool) -> None:
    run_id = pool.start(pool.deploy(command=pools.command(FOREVER)), Pending())
    _run_and(pool, run_id, functools.partial(_set, run_id, Cancelling()), wait_for_container=False)
    assert pools.read(run_id).state.is_cancelled()
    assert pool.local.platform.active_jobs == []


def test_a_custom_command_that_is_cancelled_while_it_runs_is_stopped(pool) -> None:
    run_id = pool.start(pool.deploy(command=pools.command(FOREVER)), Pending())

    async def act(worker, pid) -> None:
        await worker.client.set_flow_run_state(run_id, Running())
        await worker.client.set_flow_run_state(run_id, Cancelling())

    _run_and(pool, run_id, act)
    assert pools.read(run_id).state.is_cancelled()


def test_a_supervised_flow_that_does_not_end_within_the_grace_is_stopped(pool, monkeypatch) -> None:
    monkeypatch.setenv("CPLN_CANCEL_GRACE", "1")
    run_id = pool.start(pool.deploy(command=supervised(FOREVER)), Pending())
    asked: list[float] = []

    async def act(worker, pid) -> None:
        await worker.client.set_flow_run_state(run_id, Running())
        asked.append(time.monotonic())
        await worker.client.set_flow_run_state(run_id, Cancelling())

    _run_and(pool, run_id, act)
    assert pools.read(run_id).state.is_cancelled()
    _, stop, *_ = [
        request.time
        for request in pool.local.platform.requests
        if request.path.endswith("/-command")
    ]
    assert stop - asked[0] >= 1, "the supervisor gets its time"


@pytest.mark.parametrize(
    "state", [Cancelled(), Completed(), Crashed()], ids=lambda state: state.name
)
def test_a_forced_final_state_stops_the_job_after_the_grace_and_stays(
    pool, state, monkeypatch
) -> None:
    monkeypatch.setenv("CPLN_FINAL_GRACE", "1")
    run_id = pool.start(pool.deploy(command=pools.command(FOREVER)), Pending())

    async def act(worker, pid) -> None:
        await worker.client.set_flow_run_state(run_id, Running())
        await worker.client.set_flow_run_state(run_id, state, force=True)

    result = _run_and(pool, run_id, act)
    assert result.status_code != 0
    assert pools.read(run_id).state.type == state.type
    assert pool.local.platform.active_jobs == []
    assert pool.local.platform.jobs_started == 1


def test_a_job_that_takes_too_long_is_stopped_and_its_run_crashes(pool) -> None:
    run_id = pool.start(
        pool.deploy(command=pools.command(FOREVER), job_watch_timeout_seconds=1), Pending()
    )
    assert _run_and(pool, run_id).status_code != 0
    state = pools.read(run_id).state
    assert state.is_crashed()
    assert "timeout_seconds=1" in state.message
    assert "it was stopped" in state.message
    assert pool.local.platform.active_jobs == []


@pytest.mark.parametrize("status", [429, 503])
def test_errors_of_the_platform_after_the_start_do_not_end_the_run(pool, status) -> None:
    run_id = pool.start(pool.deploy(command=pools.command(LINES)), Pending())

    async def act(worker, pid) -> None:
        pool.local.platform.faults.add(Fault(path="/-command", status=status, times=4))

    assert _run_and(pool, run_id, act, wait_for_container=False).status_code == 0


def test_a_job_that_is_deleted_on_the_platform_crashes_its_run(pool, monkeypatch) -> None:
    monkeypatch.setenv("CPLN_LOST_AFTER_SECONDS", "1")
    run_id = pool.start(pool.deploy(command=pools.command(FOREVER)), Pending())

    async def act(worker, pid) -> None:
        (shared,) = worker._sessions.values()
        await shared.client.delete(f"/org/local/gvc/quickstart/workload/{pid.split(':')[2]}")

    _run_and(pool, run_id, act)
    state = pools.read(run_id).state
    assert (
        state.is_crashed() or state.is_cancelled()
    )  # whichever is seen first: the stage or the 404


def test_the_state_says_that_the_platform_starts_the_container_and_why_it_does_not(
    prefect_api, monkeypatch
) -> None:
    for name, value in pools.QUICK.items():
        monkeypatch.setenv(name, value)
    script = Script([ImagePullFailure(message="no such image: nobody/nothing")])
    from cpln_flows.local import local_platform

    with local_platform(Platform(PlatformConfig(), executor=ScriptedExecutor(script))) as scripted:
        for name, value in scripted.environment.items():
            monkeypatch.setenv(name, value)
        pool = Pool(scripted, prefect_api)
        run_id = pool.start(
            pool.deploy(image="nobody/nothing", pod_watch_timeout_seconds=4), Pending()
        )
        _run_and(pool, run_id, wait_for_container=False)
        waiting = [
            state.message for state in pools.states(run_id) if state.name == "InfrastructurePending"
        ]
        assert "no such image" in " ".join(waiting)
        state = pools.read(run_id).state
        assert state.is_crashed()
        assert "no such image: nobody/nothing" in state.message
        assert scripted.platform.active_jobs == []


def test_killing_stops_the_job_and_a_second_time_finds_it_gone(pool) -> None:
    run_id = pool.start(pool.deploy(command=pools.command(FOREVER)), Pending())
    seen = []

    async def act(worker, pid) -> None:
        made = await pools.configuration(worker, await worker.client.read_flow_run(run_id))
        for wrong, says in (
            ("one:two", "not an infrastructure pid"),
            (pid.replace("local:", "other:", 1), "org other"),
        ):
            with pytest.raises(InfrastructureNotAvailable, match=says):
                await worker.kill_infrastructure(wrong, made, 10)
        await worker.kill_infrastructure(pid, made, 10)
        seen.append(list(pool.local.platform.active_jobs))
        for gone in (pid, pid[:-4] + "0000"):
            with pytest.raises(InfrastructureNotFound):
                await worker.kill_infrastructure(gone, made, 10)

    _run_and(pool, run_id, act)
    assert seen == [[]]


def test_killing_what_does_not_die_says_that_it_may_still_run(prefect_api, monkeypatch) -> None:
    from cpln_flows.local import local_platform

    script = Script((), ignores_stop=True)
    config = PlatformConfig(stop_grace_seconds=3)
    with local_platform(Platform(config, executor=ScriptedExecutor(script))) as stubborn:
        for name, value in stubborn.environment.items():
            monkeypatch.setenv(name, value)
        pool = Pool(stubborn, prefect_api)
        run_id = pool.start(pool.deploy(command="true"), Pending())

        async def act(worker, pid) -> None:
            made = await pools.configuration(worker, await worker.client.read_flow_run(run_id))
            with pytest.raises(InfrastructureNotAvailable, match="may still run"):
                await worker.kill_infrastructure(pid, made, 1)

        _run_and(pool, run_id, act)
        assert stubborn.platform.active_jobs == []


def test_a_run_that_is_run_again_gets_a_container_of_its_own_and_the_old_one_is_stopped(
    pool,
) -> None:
    deployment = pool.deploy(command=pools.command(FOREVER), job_watch_timeout_seconds=4)
    run_id = pool.start(deployment, Pending())

    async def main():
        async with pools.in_process(pool) as worker:
            for number in range(2):
                run = await worker.client.read_flow_run(run_id)
                await worker._initiate_run(run, await pools.configuration(worker, run))
                assert len(pool.local.platform.active_jobs) == 1
                assert (await worker.client.read_flow_run(run_id)).infrastructure_pid.endswith(
                    pool.local.platform.commands()[0 if not number else -1]["id"]
                )
                await worker.client.set_flow_run_state(run_id, Crashed(), force=True)
                await worker.client.set_flow_run_state(run_id, Scheduled(), force=True)
                await worker.client.set_flow_run_state(run_id, Pending())

    anyio.run(main)
    runs = [
        command
        for command in pool.local.platform.commands()
        if command["type"] == "runCronWorkload"
    ]
    assert [command["tags"]["cpln-flows/attempt"] for command in runs] == ["0", "1"]
    assert pool.local.platform.jobs_started == 2


async def _started_late(pool: Pool, run_id, meanwhile) -> Started:
    """Run a flow run of which something became while its worker prepared it."""
    async with pools.in_process(pool) as worker:
        run, started = await worker.client.read_flow_run(run_id), Started()
        made = await pools.configuration(worker, run)
        await meanwhile(worker.client)
        result = await worker.run(run, made, started)
        assert result.status_code == 0, "which would make Prefect propose Crashed"
        return started


@pytest.mark.parametrize(
    ("states", "ends_as"),
    [
        pytest.param([Cancelling()], "CANCELLED", id="cancelled"),
        pytest.param([Cancelled()], "CANCELLED", id="cancelled-by-force"),
        pytest.param([Running(), Completed()], "COMPLETED", id="done-elsewhere"),
        pytest.param([Running()], "RUNNING", id="running-elsewhere"),
        pytest.param([Scheduled()], "SCHEDULED", id="put-back"),
    ],
)
def test_no_job_is_started_for_a_run_that_needs_none_any_more(pool, states, ends_as) -> None:
    run_id = pool.start(
        pool.deploy(command=pools.command(FOREVER), job_watch_timeout_seconds=2), Pending()
    )

    async def meanwhile(client) -> None:
        for state in states:
            await client.set_flow_run_state(run_id, state, force=True)

    started = anyio.run(_started_late, pool, run_id, meanwhile)
    assert pool.local.platform.jobs_started == 0
    assert started.pids == [None], "told once, that there is no job"
    assert pools.read(run_id).state.type.value == ends_as
    assert any("No job is started: the flow run is " in text for text in pools.messages(run_id))


def test_no_job_is_started_for_a_run_that_was_deleted(pool) -> None:
    run_id = pool.start(
        pool.deploy(command=pools.command(FOREVER), job_watch_timeout_seconds=2), Pending()
    )
    started = anyio.run(_started_late, pool, run_id, lambda client: client.delete_flow_run(run_id))
    assert (started.pids, pool.local.platform.jobs_started) == ([None], 0)


def test_a_run_that_goes_on_after_a_state_that_asked_for_a_stop_keeps_its_job(
    pool, monkeypatch
) -> None:
    monkeypatch.setenv("CPLN_FINAL_GRACE", "0.6")
    script = "import time\nfor n in range(30): print('line', n, flush=True); time.sleep(0.1)"
    run_id = pool.start(pool.deploy(command=supervised(script)), Pending())

    async def act(worker, pid) -> None:
        await worker.client.set_flow_run_state(run_id, Running())
        await worker.client.set_flow_run_state(run_id, Crashed())
        entry = worker._flow_runs.watched[run_id]
        if entry.state is None:
            await entry.wait(10)
        answer = await worker.client.set_flow_run_state(run_id, Running())
        assert answer.status.value == "ACCEPT"

    assert _run_and(pool, run_id, act).status_code == 0
    assert pools.read(run_id).state.is_running()


@pytest.mark.parametrize(
    "local", [lambda: Platform(PlatformConfig(log_delay_seconds=0.8))], indirect=True
)
def test_the_last_lines_of_a_container_that_died_are_told_although_they_come_late(
    pool, monkeypatch
) -> None:
    monkeypatch.setenv("CPLN_LOG_SETTLE", "1.2")
    script = "import sys; print('why it died', flush=True); sys.exit(3)"
    run_id = pool.start(pool.deploy(command=pools.command(script), stream_output=False), Pending())
    assert _run_and(pool, run_id, wait_for_container=False).status_code == 3
    assert programs.until(
        lambda: [text for text in pools.messages(run_id) if text.endswith(" - why it died")]
    )


@pytest.mark.parametrize("stream_output", [True, False])
def test_image_without_the_package_is_the_cause_that_the_state_names(pool, stream_output) -> None:
    script = "import sys; sys.exit('ModuleNotFoundError: No module named ' + repr('cpln_flows'))"
    run_id = pool.start(
        pool.deploy(command=pools.command(script), stream_output=stream_output), Pending()
    )
    assert _run_and(pool, run_id, wait_for_container=False).status_code == 1
    state = pools.read(run_id).state
    assert state.is_crashed()
    assert "\nThe image has no cpln-flows, which the flow needs; build an image" in state.message


def test_image_is_named_where_the_engine_itself_has_failed_the_run(pool) -> None:
    run_id = pool.start(pool.deploy(entrypoint="cpln_flows.no_such.flow"), Pending())
    _run_and(pool, run_id, wait_for_container=False)
    assert pools.final(run_id).state.type.value in {"CRASHED", "FAILED"}
    (line,) = programs.until(
        lambda: [text for text in pools.messages(run_id) if "The image has" in text]
    )
    assert line.startswith("[CPLN] Init | ")
    assert "another version of cpln-flows than the flow needs; build an image" in line


def test_end_of_a_flow_that_failed_for_another_reason_names_no_image(pool) -> None:
    script = "import sys; sys.exit('ModuleNotFoundError: No module named ' + repr('pandas'))"
    run_id = pool.start(pool.deploy(command=pools.command(script)), Pending())
    _run_and(pool, run_id, wait_for_container=False)
    assert "The image" not in pools.final(run_id).state.message


class _Looks:
    """The looks of a board at its jobs: when each was, and which requests it made."""

    def __init__(self, board, platform) -> None:
        self.seen: list[tuple[float, int, int]] = []
        self._board, self._look, self._platform = board, board.look, platform
        board.look = self

    async def __call__(self) -> None:
        if self._board.looking:
            return
        begun, before = time.monotonic(), len(self._platform.requests)
        await self._look()
        self.seen.append((begun, before, len(self._platform.requests)))

    def were_all(self, number: int) -> bool:
        """Whether the last looks came in a row, with nothing else requested between them.

        Each is one request, or two when jobs are old.
        """
        last = self.seen[-number:]
        ends = [before for _, before, _ in last[1:]]
        return (
            len(last) == number
            and all(1 <= b - a <= 2 for _, a, b in last)
            and ends == [b for *_, b in last[:-1]]
        )

    def seconds(self, number: int) -> float:
        """How long the last looks took together."""
        return self.seen[-1][0] - self.seen[-number][0]


@pytest.mark.parametrize(
    "local",
    [lambda: Platform(PlatformConfig(), executor=ScriptedExecutor(Script(())))],
    indirect=True,
)
def test_many_jobs_share_client_and_looks(pool) -> None:
    deployment, platform = (
        pool.deploy(command="sleep 600", stream_output=False),
        pool.local.platform,
    )

    async def main() -> None:
        async with pools.in_process(pool) as worker:
            template = worker.work_pool.base_job_template
            values = {"command": "sleep 600", "stream_output": False}
            async with anyio.create_task_group() as group:

                async def one() -> None:
                    run = await worker.client.create_flow_run_from_deployment(
                        deployment, state=Pending()
                    )
                    made = await worker.job_configuration.from_template_and_values(
                        template, values, client=worker.client
                    )
                    made.prepare_for_flow_run(
                        run, work_pool=worker.work_pool, worker_name=worker.name
                    )
                    await worker.run(run, made, Started())

                for _ in range(_MANY):
                    group.start_soon(one)

                def watched() -> list[int]:
                    """How many jobs each board of the worker follows."""
                    return [
                        len(board.watched)
                        for shared in worker._sessions.values()
                        for board in shared.boards.values()
                    ]

                await anyio.to_thread.run_sync(programs.until, lambda: watched() == [_MANY])
                (shared,) = worker._sessions.values()
                (board,) = shared.boards.values()
                looks = _Looks(board, platform)
                await looks()
                await anyio.to_thread.run_sync(programs.until, lambda: looks.were_all(2))
                assert looks.seconds(2) > 0.7, "no more often than for one young job"
                group.cancel_scope.cancel()

    anyio.run(main)
    assert platform.jobs_started == _MANY
    assert platform.connections <= 2 * _MANY, "some for a moment, when all of them start"


def _with_a_sidecar(kind: str, said) -> dict:
    """A pool's template with two containers, as a Kubernetes Job and as a native workload."""
    template = CplnWorker.get_default_base_job_template()
    script = (
        "import pathlib, time; print('beside it', flush=True);"
        f" pathlib.Path({str(said)!r}).touch(); time.sleep(600)"
    )
    says = ["-c", script]
    if kind == "kubernetes":
        pod = template["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]
        pod["containers"].append(
            {"name": "sidecar", "image": "python", "command": ["python"], "args": says}
        )
        return template
    main = {
        "name": "prefect-job",
        "image": "{{ image }}",
        "args": "{{ command }}",
        "env": "{{ env }}",
    }
    size = {"cpu": "{{ cpu }}", "memory": "{{ memory }}"}
    sidecar = {
        "name": "sidecar",
        "image": "python",
        "command": "python",
        "args": says,
        "cpu": "50m",
        "memory": "64Mi",
    }
    spec = {"type": "cron", "containers": [main | size, sidecar]}
    template["job_configuration"]["job_manifest"] = {"kind": "workload", "spec": spec}
    return template


@pytest.mark.parametrize("kind", ["kubernetes", "native"])
def test_the_end_of_the_log_of_every_container_is_told_whatever_the_template(
    local, prefect_api, kind, monkeypatch, tmp_path
) -> None:
    for name, value in (
        pools.QUICK | {"CPLN_SIDECAR_GRACE": "0.2", "CPLN_LOG_SETTLE": "0.5"}
    ).items():
        monkeypatch.setenv(name, value)
    said = tmp_path / "said"
    pool = Pool(local, prefect_api, _with_a_sidecar(kind, said))
    script = f"""
import pathlib, sys, time
print("why it died", flush=True)
while not pathlib.Path({str(said)!r}).exists():
    time.sleep(0.05)
sys.exit(3)
"""
    run_id = pool.start(pool.deploy(command=pools.command(script), stream_output=False), Pending())
    assert _run_and(pool, run_id, wait_for_container=False).status_code == 3
    assert "exit code 3" in pools.read(run_id).state.message
    told = programs.until(
        lambda: (
            (texts := pools.messages(run_id)) and any("beside" in text for text in texts) and texts
        )
    )
    assert {text.split(" - ")[1] for text in told if " - [" in text} == {
        "[prefect-job] why it died",
        "[sidecar] beside it",
    }
    assert local.platform.active_jobs == []
