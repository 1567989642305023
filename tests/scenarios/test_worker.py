"""The worker as users run it.

A server, a local platform, `prefect deploy`, `prefect worker start`, and real flows in containers.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.states import Cancelled, Completed, Crashed, Running, Scheduled

from cpln_flows import CplnConfig, CplnCredentials, CplnJob, SyncOptions, sync
from cpln_flows.emulator import Fault, Platform, PlatformConfig, Script, ScriptedExecutor
from cpln_flows.local import local_platform
from tests.manifests import FOREVER, LINES, kubernetes_job
from tests.patience import PATIENCE_SECONDS
from tests.scenarios import pools, programs
from tests.scenarios.pools import Pool

pytestmark = [pytest.mark.usefixtures("prefect_api"), pytest.mark.xdist_group("worker")]
ROOT = Path(__file__).parents[2]
CANARY = "s.canary-worker-0123456789"


@pytest.fixture(scope="module")
def settings(prefect_api_url):
    from tests.conftest import _settings

    with _settings(prefect_api_url):
        yield prefect_api_url


@pytest.fixture(scope="module")
def local():
    with local_platform(Platform(PlatformConfig(token=CANARY))) as running:
        yield running


@pytest.fixture(scope="module")
def pool(local, settings) -> Pool:
    return Pool(local, settings)


@pytest.fixture(scope="module")
def worker(pool, tmp_path_factory):
    log = tmp_path_factory.mktemp("worker") / "worker.log"
    process = pool.worker(log=log)
    yield log
    pools.end(process)


def _prefect(
    pool: Pool, *arguments: str, folder: Path = ROOT, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "prefect", *arguments],
        env=os.environ | pool.local.environment | {"PREFECT_API_URL": pool.url} | environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


def _jobs(local, run_id, role: str = "container") -> list[dict]:
    tags = {"prefect.io/flow-run-id": str(run_id), "cpln-flows/role": role}
    return [
        command for command in local.platform.commands() if tags.items() <= command["tags"].items()
    ]


def _job(local, run_id, role: str = "container", number: int = 1) -> dict:
    """Wait for a job of a flow run that has a container."""

    def look():
        found = [
            job for job in _jobs(local, run_id, role) if (job.get("status") or {}).get("replica")
        ]
        return found[number - 1] if len(found) >= number else None

    return programs.until(look)


def _active(local, run_id) -> list[str]:
    return [
        job["id"]
        for job in _jobs(local, run_id)
        if f"command-{job['id']}" in local.platform.active_jobs
    ]


@pytest.fixture(scope="module")
def deployed(pool, worker, tmp_path_factory):
    """What `prefect deploy --all` makes of the project's own file, for this test's pool."""
    folder = tmp_path_factory.mktemp("project")
    text = (ROOT / "prefect.yaml").read_text().replace("name: cpln\n", f"name: {pool.name}\n")
    (folder / "prefect.yaml").write_text(text)
    without = _prefect(pool, "deploy", "--all", "--no-prompt", folder=folder)
    assert without.returncode == 1
    assert without.stderr.startswith(
        "Error: CPLN_FLOWS_IMAGE: not set, and the deployments of this file need it. Set it and"
    )
    assert (without.returncode, len(without.stderr.splitlines())) == (1, 1), without.stderr
    done = _prefect(
        pool, "deploy", "--all", "--no-prompt", folder=folder, CPLN_FLOWS_IMAGE="//image/flows:1.0"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    with get_client(sync_client=True) as client:
        found = {d.name: d for d in client.read_deployments() if d.work_pool_name == pool.name}
    assert {"run-namespaced-job", "fan-out", "retrying", "sync", "cleanup"} <= set(found)
    with get_client(sync_client=True) as client:  # nothing of it shall run by itself in the tests
        for name in ("sync", "cleanup"):
            client.pause_deployment(found[name].id)
    return found


def test_maintenance_is_deployed_once_at_a_time_with_an_identity_and_no_key(deployed) -> None:
    (often,), (hourly,) = deployed["sync"].schedules, deployed["cleanup"].schedules
    assert often.schedule.interval.total_seconds() == 600
    assert (hourly.schedule.cron, hourly.schedule.timezone) == ("23 * * * *", "UTC")
    assert deployed["sync"].parameters == {"cycles": 10}
    assert deployed["cleanup"].parameters == {"idle_hours": 24}
    for name, slug in (("sync", "every-ten-minutes"), ("cleanup", "hourly")):
        deployment = deployed[name]
        interval = {"env": {"PREFECT_AGENT_CPLN_MONITOR_INTERVAL": "60"}} if name == "sync" else {}
        assert [schedule.slug for schedule in deployment.schedules] == [slug]
        assert deployment.global_concurrency_limit.limit == 1
        assert deployment.concurrency_options.collision_strategy.value == "ENQUEUE"
        assert deployment.concurrency_options.grace_period_seconds > 38, (
            "a start of a container takes so long"
        )
        assert deployment.job_variables == {
            "image": "//image/flows:1.0",
            "name": f"cpln-flows-{name}",
            "service_account_name": f"cpln-flows-{name}",
            **interval,
        }
    for deployment in deployed.values():
        assert deployment.pull_steps == []
        assert deployment.version == version("cpln-flows")
        assert deployment.tags[0] == "cpln"
        assert deployment.description


@pytest.mark.proof
def test_one_process_serves_all_flows(local, settings, tmp_path) -> None:
    _save_job(local, LINES, "served")
    environment = local.environment | {
        "PREFECT_API_URL": settings,
        "PREFECT_RUNNER_POLL_FREQUENCY": "1",
    }
    process = programs.start(
        (ROOT / "deployments/serve.py").read_text(), tmp_path, environment, "serve.py"
    )
    names = ["run-namespaced-job", "fan-out", "retrying", "sync", "cleanup-orphaned-workloads"]
    try:
        with get_client(sync_client=True) as client:

            def served():
                found = {
                    d.id: d
                    for d in client.read_deployments()
                    if d.name == "served" and not d.paused
                }
                return found if len(found) == len(names) else None

            found = programs.until(served)
            for (
                deployment
            ) in found.values():  # maintenance shall not run by itself beside other tests
                if deployment.schedules:
                    client.pause_deployment(deployment.id)
            job = client.read_deployment_by_name("run-namespaced-job/served")
            own = {"cpln_job": {"$ref": {"block_document_slug": "cpln-job/served"}}}
            run = pools.final(client.create_flow_run_from_deployment(job.id, parameters=own).id)
            assert run.state.is_completed(), pools.messages(run.id)
            assert pools.lines(run.id, 5) == [f"line {n}" for n in range(5)]
            for deployment in found:
                client.delete_deployment(deployment)
    finally:
        process.terminate()
        output, _ = process.communicate(timeout=PATIENCE_SECONDS)
    for name in names:
        assert f"{name}/served" in output


def _save_job(local, script: str, name: str = "my-cpln-job") -> None:
    credentials = CplnCredentials(config=CplnConfig(token=CANARY))
    job = CplnJob(
        credentials=credentials,
        org="local",
        namespace="quickstart",
        location="local-1",
        v1_job=kubernetes_job(script),
    )
    job.save(name, overwrite=True)


def test_the_job_flow_runs_in_a_container_and_starts_a_job_of_the_same_run(
    pool, deployed, local
) -> None:
    _save_job(local, LINES)
    deployment = deployed["run-namespaced-job"]
    run_id = pool.start(deployment.id)
    run = pools.final(run_id)
    assert run.state.is_completed(), pools.messages(run_id)
    (container,) = _jobs(local, run_id)
    assert run.infrastructure_pid.endswith(container["id"])
    programs.until(lambda: not _jobs(local, run_id, "job"))  # gone with its private workload
    programs.until(
        lambda: any("Completed; log complete: 5 lines" in text for text in pools.messages(run_id))
    )
    assert sum("Creating Control Plane job..." in text for text in pools.messages(run_id)) == 2
    with get_client(sync_client=True) as client:
        stored = client.read_deployment(deployment.id).model_dump_json() + run.model_dump_json()
        stored += json.dumps(client.read_work_pool(pool.name).model_dump(mode="json"))
    assert CANARY not in stored + json.dumps(local.platform.commands()) + json.dumps(
        local.platform.workloads()
    )
    assert deployment.pull_steps == []
    assert deployment.parameters == {
        "cpln_job": {"$ref": {"block_document_slug": "cpln-job/my-cpln-job"}}
    }


@pytest.mark.proof
def test_next_run_resumes_the_job_of_a_killed_container(pool, deployed, local) -> None:
    _save_job(local, FOREVER)
    run_id = pool.start(deployed["run-namespaced-job"].id)
    job = _job(local, run_id, "job")
    _kill_container(local, _job(local, run_id))
    run = pools.final(run_id)
    assert run.state.is_crashed()
    assert "exit code 137" in run.state.message
    assert len(_jobs(local, run_id, "job")) == 1
    _sync_would_stop(pool, local, job)
    pools.set_state(run_id, Scheduled(), force=True)
    _job(local, run_id, number=2)
    programs.until(lambda: any("Reattached" in text for text in pools.messages(run_id)))
    assert [found["id"] for found in _jobs(local, run_id, "job")] == [job["id"]]
    assert [found["tags"]["cpln-flows/attempt"] for found in _jobs(local, run_id)] == ["0", "1"]
    done = _prefect(pool, "flow-run", "cancel", str(run_id))
    assert done.returncode == 0, done.stderr
    assert pools.final(run_id).state.is_cancelled()
    programs.until(lambda: not local.platform.active_jobs)
    assert _jobs(local, run_id, "job") == []


def _sync_would_stop(pool: Pool, local, job: dict) -> None:
    """Check that the sync, if nobody runs the flow again, stops the job of the dead container."""
    with pytest.MonkeyPatch.context() as patched:
        for name, value in local.environment.items():
            patched.setenv(name, value)
        plan = sync(
            dry_run=True, options=SyncOptions(work_pool=pool.name, stop_grace_seconds=0)
        ).planned
    (row,) = [row for row in plan if job["id"] in str(row)]
    assert row["action"] == "stop the job"


def _kill_container(local, container: dict) -> None:
    """Kill the first process of a container, as the kernel does for want of memory."""
    marker = f"{container['status']['replica']}".encode()
    for entry in Path("/proc").iterdir():
        try:
            is_first = (
                entry.name.isdigit() and b"flow-run\0execute" in (entry / "cmdline").read_bytes()
            )
            if is_first and marker in (entry / "environ").read_bytes():
                os.kill(int(entry.name), signal.SIGKILL)
                return
        except OSError:
            continue
    raise AssertionError("the container has no first process")


def _cancelled(pool: Pool, run_id) -> None:
    assert _prefect(pool, "flow-run", "cancel", str(run_id)).returncode == 0


def test_a_pending_run_that_is_cancelled_has_its_job_stopped_at_once(pool, worker, local) -> None:
    run_id = pool.start(pool.deploy(command=pools.command(FOREVER)))
    _job(local, run_id)
    _cancelled(pool, run_id)
    assert pools.final(run_id).state.is_cancelled()
    assert _active(local, run_id) == []


@pytest.mark.proof
def test_a_running_run_with_a_command_of_its_own_that_is_cancelled_has_its_job_stopped_at_once(
    pool, worker, local
) -> None:
    run_id = pool.start(pool.deploy(command=pools.command(FOREVER)))
    _job(local, run_id)
    pools.set_state(run_id, Running())
    _cancelled(pool, run_id)
    assert pools.final(run_id).state.is_cancelled()
    assert _active(local, run_id) == []
    programs.until(
        lambda: any(
            "nothing in the container would do that" in text for text in pools.messages(run_id)
        )
    )


STOPPED = """
import time
from prefect import flow

@flow
def sleeper():
    print("begun", flush=True)
    time.sleep(120)
"""


@pytest.mark.proof
def test_a_container_that_somebody_stops_starts_no_second_one_whatever_the_state(
    pool, worker, local, tmp_path
) -> None:
    (tmp_path / "sleeper.py").write_text(STOPPED)
    deployment = pool.deploy("sleeper", f"{tmp_path}/sleeper.py:sleeper")
    wanted = {
        "Running": None,
        "Crashed": Crashed(),
        "Cancelled": Cancelled(),
        "Completed": Completed(),
    }
    runs = {name: pool.start(deployment) for name in wanted}
    for name, run_id in runs.items():
        programs.until(lambda run_id=run_id: pools.read(run_id).state.is_running())
        if (state := wanted[name]) is not None:
            pools.set_state(run_id, state, force=True)
    for run_id in runs.values():
        _stop_on_platform(local, _job(local, run_id))
    programs.until(lambda: not any(_active(local, run_id) for run_id in runs.values()))
    assert pools.final(runs["Running"]).state.is_crashed()
    for name in wanted.keys() - {"Running"}:
        assert pools.read(runs[name]).state.name == name
    assert [len(_jobs(local, run_id)) for run_id in runs.values()] == [1] * len(runs)


def _stop_on_platform(local, command: dict) -> None:
    import httpx

    workload = command["links"][0]["href"].split("/-command")[0]
    body = {
        "type": "stopReplica",
        "spec": {"location": "local-1", "replica": command["status"]["replica"]},
    }
    headers = {"authorization": f"Bearer {local.platform.token}"}
    answer = httpx.post(
        f"{local.url}{workload}/-command", json=body, headers=headers, timeout=PATIENCE_SECONDS
    )
    assert answer.status_code == 201, answer.text


class _Stars(BaseHTTPRequestHandler):
    """Answers only when the test lets it, and then that there is no such repository."""

    def do_GET(self) -> None:
        self.server.asked.set()
        self.server.may_answer.wait(PATIENCE_SECONDS)
        self.send_error(404)

    def log_message(self, *_) -> None:
        return


@pytest.mark.proof
def test_a_worker_that_is_killed_and_started_again_takes_up_its_run_whose_flow_then_fails(
    local, settings, tmp_path
) -> None:
    """The flow comes from a git repository, as the first of the example programs deploys it."""
    pool, log = Pool(local, settings), tmp_path / "worker.log"
    repository = tmp_path / "repository"
    repository.mkdir()
    (repository / "show_stars.py").write_text(
        (ROOT / "deployments/examples/show_stars.py").read_text()
    )
    for arguments in (
        ["init", "-q"],
        ["add", "."],
        ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "x"],
    ):
        subprocess.run(["git", *arguments], cwd=repository, check=True)
    program = (
        (ROOT / "deployments/examples/create_deployment.py")
        .read_text()
        .replace('"cpln"', repr(pool.name))
    )
    (tmp_path / "create_deployment.py").write_text(program)
    done = subprocess.run(
        [sys.executable, "create_deployment.py", str(repository), "show_stars.py:show_stars"],
        env=os.environ | {"PREFECT_API_URL": pool.url},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name("show-stars/show-stars-deployment")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Stars)
    server.asked, server.may_answer = threading.Event(), threading.Event()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    run_id = pool.start(deployment.id, parameters={"github_repos": ["one/repo"], "api_url": url})
    first = pool.worker("--name", "steady", log=log)
    try:
        assert server.asked.wait(PATIENCE_SECONDS), log.read_text()
        first.kill()
        first.wait()
        second = pool.worker("--name", "steady", log=log)
        try:
            programs.until(
                lambda: any(
                    "Taken over by worker steady" in text for text in pools.messages(run_id)
                )
            )
            server.may_answer.set()
            state = pools.final(run_id).state
            programs.until(
                lambda: any(
                    "Ended: the platform reports completed" in text
                    for text in pools.messages(run_id)
                )
            )
        finally:
            pools.end(second)
    finally:
        first.kill()
        server.shutdown()
        server.server_close()
    assert state.is_failed(), state
    assert "404" in state.message
    assert len(_jobs(local, run_id)) == 1


@pytest.mark.proof
def test_a_worker_that_is_killed_before_it_stores_the_pid_leaves_one_job_and_no_lost_run(
    local, settings, tmp_path
) -> None:
    pool, log = Pool(local, settings), tmp_path / "worker.log"
    fault = Fault(method="POST", path="/-command$", timeout="after")
    local.platform.faults.add(fault)
    run_id = pool.start(pool.deploy(command=pools.command(LINES)))
    first = pool.worker("--name", "steady", log=log)
    try:
        _job(local, run_id)
        first.kill()
        first.wait()
        assert pools.read(run_id).infrastructure_pid is None
        local.platform.faults.clear()
        second = pool.worker("--name", "steady", log=log)
        try:
            run = pools.final(run_id)
        finally:
            pools.end(second)
    finally:
        first.kill()
    assert "without starting the flow" in run.state.message
    (job,) = _jobs(local, run_id)
    assert run.infrastructure_pid.endswith(job["id"])
    assert pools.lines(run_id, 5) == [f"line {n}" for n in range(5)]


@pytest.mark.proof
def test_two_workers_share_a_pool_and_start_each_run_once(local, settings, tmp_path) -> None:
    pool = Pool(local, settings)
    deployment = pool.deploy(command=pools.command("print('once')"))
    runs = [pool.start(deployment) for _ in range(12)]
    workers = [pool.worker(log=tmp_path / f"{number}.log") for number in range(2)]
    try:
        for run_id in runs:
            pools.final(run_id)
    finally:
        for process in workers:
            pools.end(process)
    assert [len(_jobs(local, run_id)) for run_id in runs] == [1] * len(runs)


def _only_queries(requests, count: int) -> bool:
    """Whether there are so many requests, and a look at all jobs is one query."""
    return len(requests) == count and all(
        request.path.endswith("/-command/-query") for request in requests
    )


@pytest.mark.proof
def test_many_runs_at_once_share_one_client_and_one_poll(settings, tmp_path) -> None:
    platform = Platform(PlatformConfig(), executor=ScriptedExecutor(Script(())))
    with local_platform(platform) as scripted:
        pool = Pool(scripted, settings)
        deployment = pool.deploy(command="sleep 600", stream_output=False)
        runs = [pool.start(deployment) for _ in range(20)]
        process = pool.worker(log=tmp_path / "worker.log")
        try:
            programs.until(lambda: len(platform.active_jobs) == len(runs))
            begun = len(platform.requests)
            programs.until(lambda: _only_queries(platform.requests[begun:][-6:], 6))
        finally:
            pools.end(process)
        assert [len(_jobs(scripted, run_id)) for run_id in runs] == [1] * len(runs)
        assert len(platform.workloads()) == 1
        assert platform.connections <= 40
        assert len(platform.active_jobs) == len(runs), "the end of a worker must not stop its jobs"
