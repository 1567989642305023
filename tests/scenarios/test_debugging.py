"""The lines that the seed's "Debugging & Troubleshooting" names are in the agent's default log."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import anyio
import anyio.to_thread
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Completed, Pending, Running

from cpln_flows import (
    CplnJob,
    SyncOptions,
    cleanup_orphaned_workloads,
    run_namespaced_job,
    sync_cpln_to_prefect,
    sync_prefect_to_cpln,
)
from cpln_flows.emulator import (
    Exit,
    Fault,
    ImagePullFailure,
    Line,
    Platform,
    PlatformConfig,
    Script,
    ScriptedExecutor,
)
from cpln_flows.local.pytest_plugin import pointed_at
from tests.contract.vendor_cli import VendorCli, install
from tests.manifests import changed, kubernetes_job
from tests.scenarios import agent_log, pools, programs
from tests.scenarios.agent_log import Reader
from tests.scenarios.hands import Hands
from tests.scenarios.pools import Pool

pytestmark = [pytest.mark.xdist_group("debugging"), pytest.mark.timeout(300)]

MAIN = "spec.template.spec.containers[0]"
NO_IMAGE = "nobody/nothing"
STAYS = "it runs until it is stopped"


@dataclass(frozen=True)
class Failure:
    """A job that does not start, and what the seed's two queries find of it.

    Args:
        job: What ``[CPLN] Job`` finds.
        workload: What ``[CPLN] Workload`` finds.
        faults: What the platform answers.
        fields: Fields of the job's block.
        variables: Job variables of the deployment, for the same through a worker.
        not_ready: Whether workloads do not become ready.
    """

    job: str
    workload: str
    faults: tuple[Fault, ...] = ()
    fields: dict[str, Any] = field(default_factory=dict)
    variables: dict[str, Any] = field(default_factory=dict)
    not_ready: bool = False


def refused(status: int, message: str, job: str | None = None) -> Failure:
    fault = Fault(method="POST", path="/workload$", status=status, message=message, times=None)
    return Failure(
        job or re.escape(message), rf"No job was started: .*{re.escape(message)}", (fault,)
    )


FAILURES = {
    "wrong-manifest": Failure(
        r"cannot be run on Control Plane: .*CPLN_X' is reserved",
        r"No job was started: .*CPLN_X' is reserved",
        fields={
            "v1_job": changed(
                kubernetes_job(""), (f"{MAIN}.env", [{"name": "CPLN_X", "value": "1"}])
            )
        },
        variables={"env": {"CPLN_X": "1"}},
    ),
    "400": refused(400, "spec.containers[0].cpu is invalid"),
    "403": refused(
        403,
        "requires permission create on workload",
        "requires permission create .*; grant the permission",
    ),
    "404": refused(
        404, "org 'local' was not found", "org: there is no organization 'local'.*check the org"
    ),
    "429": refused(429, "slow down"),
    "may-not-start": Failure(
        "requires permission exec.runCronWorkload.*; grant the permission",
        "No job was started: .*requires permission exec.runCronWorkload",
        (
            Fault(
                method="POST",
                path="-command$",
                status=403,
                message="requires permission exec.runCronWorkload",
                times=None,
            ),
        ),
    ),
    "not-ready": Failure(
        "did not become ready at local-1 within 0.3 s: .*CPLN_READY_TIMEOUT",
        r"not ready at local-1, waiting up to 0.3 s: \S",
        not_ready=True,
    ),
    "unknown-location": Failure(
        "'mars' is not a location of the GVC quickstart, which has local-1; check",
        "No job was started: location: 'mars'",
        fields={"location": "mars"},
        variables={"location": "mars"},
    ),
}
IMAGE = Failure(
    f"no such image: {NO_IMAGE}",
    "ready at local-1",
    fields={
        "v1_job": changed(kubernetes_job(""), (f"{MAIN}.image", NO_IMAGE)),
        "timeout_seconds": 1,
    },
    variables={"image": NO_IMAGE, "pod_watch_timeout_seconds": 1},
)
WAYS = ("flow", "worker")


def _script(run: Any) -> Script:
    if run.containers[0].image == NO_IMAGE:
        return Script([ImagePullFailure(message=f"no such image: {NO_IMAGE}")])
    return Script(
        [Line(0, "one")] if STAYS in str(run.containers[0]) else [Line(0, "one"), Exit(0.1, code=3)]
    )


@dataclass
class Told:
    """A platform whose logs service has an agent's log, and the flow runs that the log is about."""

    reader: Reader
    runs: dict[tuple[str, str], str] = field(default_factory=dict)
    pid: str = ""

    def find(self, way: str, name: str, *filters: str) -> list[str]:
        return self.reader.find(*filters, self.runs[way, name])


def _in_flows(local: Any, told: Told) -> None:
    """Each failure in a flow that runs the job."""
    for name, failure in {**FAILURES, "image": IMAGE}.items():
        with _armed(local, failure):
            state = run_namespaced_job(
                CplnJob(**{"v1_job": kubernetes_job(""), **failure.fields}), return_state=True
            )
        assert state.is_failed(), name
        told.runs["flow", name] = str(state.state_details.flow_run_id)
    state = run_namespaced_job(CplnJob(v1_job=kubernetes_job("")), return_state=True)
    told.runs["flow", "failed"] = str(state.state_details.flow_run_id)


def _in_a_worker(local: Any, told: Told, url: str) -> None:
    """Each failure as a worker meets it that submits a flow run."""
    pool = Pool(local, url)
    deployment = pool.deploy(command="true", stream_output=False)

    async def main() -> None:
        async with pools.in_process(pool) as worker:
            for name, failure in {**FAILURES, "image": IMAGE}.items():
                run = await worker.client.create_flow_run_from_deployment(
                    deployment, job_variables=failure.variables
                )
                told.runs["worker", name] = str(run.id)
                with _armed(local, failure):
                    worker._submitting_flow_run_ids.add(run.id)
                    await worker._submit_run(run)
                    await pools.idle(worker)
                run = await anyio.to_thread.run_sync(pools.final, run.id)
                assert run.state.is_crashed(), name

    anyio.run(main)


@contextmanager
def _armed(local: Any, failure: Failure) -> Iterator[None]:
    local.platform.switch(ready_delay_seconds=60 if failure.not_ready else 0)
    for fault in failure.faults:
        local.platform.faults.add(fault)
    yield
    local.platform.faults.clear()


def _in_the_sync(local: Any, told: Told) -> None:
    """A job that outlives its run, and a run whose job is gone."""

    async def main() -> None:
        async with Hands(local) as hands:
            over, gone = (
                await hands.run(Pending(), Running()),
                await hands.run(Pending(), Running()),
            )
            workloads = [await hands.workload(STAYS) for _ in range(2)]
            refs = [
                await hands.container(run, workload)
                for run, workload in zip((over, gone), workloads, strict=True)
            ]
            for ref in refs:
                await programs.reached(
                    lambda ref=ref: ref.command_id in str(local.platform.active_jobs)
                )
            await hands.become(over, Completed())
            await hands.client.delete(workloads[1].path)
            options = SyncOptions(work_pool=hands.pool, stop_grace_seconds=0, misses=2)
            await sync_prefect_to_cpln(options=options, cycles=3)
            while not (
                await hands.state(gone)
            ).is_crashed():  # a slow cycle's successor counts in the same interval
                await sync_cpln_to_prefect(options=options, cycles=2)
            told.runs["sync", "over"], told.runs["sync", "gone"] = str(over.id), str(gone.id)
            told.pid = refs[0].pid
        await cleanup_orphaned_workloads(idle_hours=0)

    anyio.run(main)


@pytest.fixture(scope="module")
def told(prefect_api_url: str) -> Iterator[Told]:
    """Every scenario of the seed, played once."""
    platform = Platform(PlatformConfig(delete_delay_seconds=0), executor=ScriptedExecutor(_script))
    with pytest.MonkeyPatch.context() as monkeypatch, pointed_at(platform, monkeypatch) as local:
        waits = {
            "CPLN_READY_TIMEOUT": "0.3",
            "CPLN_RETRY_SECONDS": "0",
            "CPLN_WAITING_REPORT": "0.2",
            "CPLN_MONITOR_INTERVAL": "0.2",
        }
        for name, value in {**pools.QUICK, **waits}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("cpln_flows.worker.startup._ANNOUNCE_SECONDS", 0.1)
        found = Told(Reader(local.url, local.settings.token.get_secret_value()))
        with temporary_settings({PREFECT_API_URL: prefect_api_url}), agent_log.kept(local):
            _in_flows(local, found)
            _in_a_worker(local, found, prefect_api_url)
            _in_the_sync(local, found)
        yield found


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", [*FAILURES, "image"])
def test_failed_start_is_found_by_both_queries(told, way, name) -> None:
    failure = {**FAILURES, "image": IMAGE}[name]
    first, *others = told.find(way, name, "[CPLN] Job")
    assert "Creating Control Plane job..." in first
    assert any("ERROR" in line for line in others)
    assert re.search(failure.job, "\n".join(others)), others
    workload = told.find(way, name, "[CPLN] Workload")
    assert re.search(failure.workload, "\n".join(workload)), workload


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", FAILURES)
def test_failed_start_is_logged_once_without_a_traceback(told, way, name) -> None:
    errors = [line for line in told.find(way, name, "[CPLN] Job") if "ERROR" in line]
    assert len(errors) == 1, errors
    assert told.reader.find("Traceback (most recent call last):") == []


@pytest.mark.parametrize(
    ("way", "name", "area", "phrase"),
    [
        pytest.param(
            "sync", "over", "[CPLN] Sync Prefect→CPLN", "Sending stopReplica", id="the-stop"
        ),
        pytest.param(
            "sync",
            "over",
            "[CPLN] Sync Prefect→CPLN",
            "terminated successfully",
            id="the-end-of-the-stop",
        ),
        pytest.param(
            "sync", "gone", "[CPLN] Sync CPLN→Prefect", "Got 404", id="a-job-that-is-gone"
        ),
        pytest.param(
            "sync", "gone", "[CPLN] Sync CPLN→Prefect", "CRASHED", id="a-run-that-is-crashed"
        ),
        pytest.param(
            "flow", "image", "[CPLN] Kill", "Sending stopReplica", id="the-stop-of-a-timeout"
        ),
        pytest.param(
            "flow", "image", "[CPLN] Kill", "terminated successfully", id="the-end-of-a-timeout"
        ),
        pytest.param("flow", "failed", "[CPLN] Job", "exit code 3", id="a-job-that-failed"),
        pytest.param("flow", "failed", "[CPLN] Logs", "complete: 1 line", id="the-log"),
    ],
)
def test_phrase_of_the_seed_is_found_for_its_run(told, way, name, area, phrase) -> None:
    assert told.find(way, name, area, phrase)


@pytest.mark.parametrize(
    ("area", "phrase"),
    [
        pytest.param("[CPLN]", "", id="everything"),
        pytest.param(
            "[CPLN] Init",
            "Ready: token, organization local and GVC quickstart are valid",
            id="init",
        ),
        pytest.param("[CPLN] Cleanup", "Deleted /org/local/gvc/quickstart/workload/", id="cleanup"),
        pytest.param("[CPLN] Sync", "", id="sync"),
    ],
)
def test_area_of_the_seed_is_found(told, area, phrase) -> None:
    assert told.reader.find(area, phrase)


@pytest.mark.parametrize("part", [2, 3], ids=["workload", "command"])
def test_cross_filter_finds_a_job_by_its_pid(told, part) -> None:
    assert told.reader.find("[CPLN]", told.pid.split(":")[part])


@pytest.fixture(scope="module")
def cli(
    told: Told, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> VendorCli:
    program = install(request.config)
    target = SimpleNamespace(
        url=told.reader.url, token=told.reader.token, org="local", gvc="quickstart"
    )
    return VendorCli(program, target, tmp_path_factory.mktemp("cpln-home"))


def test_vendors_command_line_shows_the_same(told, cli) -> None:
    run = told.runs["sync", "over"]
    for filters in (["[CPLN]"], ["[CPLN] Sync Prefect→CPLN", run]):
        command = [
            "logs",
            agent_log.query(filters),
            "--org",
            "local",
            "--since",
            "1h",
            "--limit",
            "0",
            "-o",
            "raw",
        ]
        shown = cli.run(*command)
        assert shown.returncode == 0, shown.stderr
        assert sorted(shown.stdout.splitlines()) == sorted(told.reader.find(*filters))


def test_command_of_a_report_shows_the_whole_log(told, cli) -> None:
    *_, report = told.find(
        "flow", "failed", "[CPLN] Job", "exit code 3"
    )  # a slow look also tells what it waits for
    command_id = re.search(r"Cmd: (\S+)", report)[1]
    (command,) = told.reader.find("cpln logs '{", command_id)
    shown = cli.run(*shlex.split(command)[1:])
    assert (shown.returncode, shown.stdout.split()) == (0, ["one"]), shown.stderr
