"""What Prefect 2 has left on a server, migrated and run.

With a real Prefect server, a local platform and real workers.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import httpx
import pytest
from prefect.client.base import PrefectHttpxAsyncClient
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.states import Pending
from prefect.utilities.dockerutils import get_prefect_image_name

from cpln_flows import ConfigurationError, CplnCredentials, CplnInfrastructure, CplnJob
from cpln_flows.local import local_platform
from cpln_flows.migration import report
from cpln_flows.migration.plan import Item, Plan
from cpln_flows.migration.run import migrate
from cpln_flows.worker import CplnWorkerJobConfiguration
from tests import conftest
from tests.manifests import LINES, kubernetes_job
from tests.patience import PATIENCE_SECONDS
from tests.scenarios import pools, prefect_2, programs
from tests.scenarios.pools import Pool
from tests.scenarios.prefect_2 import Prefect2

pytestmark = pytest.mark.xdist_group("migration")
CANARY = "s.canary-migration-0123456789"
CLI = str(Path(sys.executable).parent / "cpln-flows")
FLOW = """
from prefect import flow

@flow(name="repo_info")
def repo_info(name: str = "prefect"):
    print("about", name)
    return name
"""
DEPLOYING = """
from prefect.deployments import Deployment
from prefect.infrastructure import CplnInfrastructure

# Define CplnJob infrastructure
control_plane_infrastructure_block = CplnInfrastructure.load("{block}")

deployment = Deployment(
    name="from-a-program",
    flow_name="repo_info",
    path="{folder}",
    entrypoint="repo_info.py:repo_info",
    infrastructure=control_plane_infrastructure_block,
    work_pool_name="cpln-agent-work-pool",
)

# Apply the deployment
deployment.apply()
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[str]:
    """Run a Prefect server for this module: a migration reads everything that a server holds."""
    folder, port = tmp_path_factory.mktemp("server"), conftest._free_port()
    url = f"http://127.0.0.1:{port}/api"
    environment = conftest._SERVER | {
        "PREFECT_HOME": str(folder / "home"),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": (
            f"sqlite+aiosqlite:///{folder / conftest.DATABASE}"
        ),
    }
    with (folder / "server.log").open("w") as log:
        command = [
            sys.executable,
            "-m",
            "prefect",
            "server",
            "start",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
        ]
        process = subprocess.Popen(command, env=os.environ | environment, stdout=log, stderr=log)
    try:
        programs.until(lambda: conftest._answers(f"{url}/health"))
        yield url
    finally:
        pools.end(process)


@pytest.fixture
def client(server) -> Iterator[SyncPrefectClient]:
    with conftest._settings(server), get_client(sync_client=True) as found:
        yield found


class Left:
    """What one user of Prefect 2 has left.

    A job block, an infrastructure block, an agent pool, a deployment and a pool.
    """

    def __init__(self, client: SyncPrefectClient, local, url: str, folder: Path) -> None:
        self.client, self.name = client, f"left-{uuid4().hex[:8]}"
        self.made, self.folder = Prefect2(client), folder
        (folder / "repo_info.py").write_text(FLOW)
        config = self.made.document(prefect_2.CONFIG, self.name, {"token": CANARY})
        credentials = self.made.document(prefect_2.CREDENTIALS, self.name, {}, config=config)
        job = {"org": None, "namespace": None, "location": "", "v1_job": self._job()}
        self.made.document(
            prefect_2.JOB,
            self.name,
            job | {"delete_after_completion": True},
            credentials=credentials,
        )
        token = self.made.document(prefect_2.INFRASTRUCTURE_CONFIG, self.name, {"token": CANARY})
        fields = prefect_2.infrastructure(
            env={"PREFECT_API_URL": url}, org="local", namespace="quickstart"
        )
        block = self.made.document(prefect_2.INFRASTRUCTURE, self.name, fields, config=token)
        self.made.pool(f"{self.name}-agents", concurrency_limit=7)
        self.deployment = self.made.deployment(
            "repo_info",
            self.name,
            f"{self.name}-agents",
            infrastructure_document_id=block,
            path=str(folder),
            entrypoint="repo_info.py:repo_info",
            parameters={"name": "migrated"},
            work_queue_name="urgent",
            job_variables={"env.COLOR": "red"},
        )
        template = prefect_2.fork_template(
            org="local", namespace="quickstart", env={"PREFECT_API_URL": url}
        )
        self.made.pool(f"{self.name}-ui", "cpln", template)

    def _job(self) -> dict[str, Any]:
        found = kubernetes_job(LINES)
        found["spec"]["template"]["spec"] |= {"parallelism": 1, "completions": 1}
        return found

    def seen(self) -> str:
        """Return all that this user has on the server, without what differs between servers."""
        found = {
            path: [entry for entry in self._all(path) if self.name in json.dumps(entry)]
            for path in ("/block_documents/filter", "/work_pools/filter", "/deployments/filter")
        }
        runs = [
            (run["state_type"], run["auto_scheduled"])
            for run in self._all("/flow_runs/filter")
            if run["deployment_id"] == str(self.deployment)
        ]
        text = (
            json.dumps([found, sorted(runs)], sort_keys=True)
            .replace(self.name, "NAME")
            .replace(str(self.folder), "FOLDER")
        )
        return re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|\d{4}-\d\d-\d\dT[\d:.]+Z?(?:\+00:00)?", "*", text)

    def _all(self, path: str) -> list[dict[str, Any]]:
        body = {"include_secrets": True} if "block" in path else {}
        response = self.client._client.post(path, json=body | {"limit": 200})
        return list(response.raise_for_status().json())


@pytest.fixture
def local():
    from cpln_flows.emulator import Platform, PlatformConfig

    with local_platform(Platform(PlatformConfig(token=CANARY))) as running:
        yield running


@pytest.fixture
def leave(client, local, server, tmp_path_factory) -> Callable[[], Left]:
    return lambda: Left(client, local, server, tmp_path_factory.mktemp("left"))


@pytest.fixture
def left(leave) -> Left:
    return leave()


def cli(url: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [CLI, "migrate", *arguments],
        env=os.environ | {"PREFECT_API_URL": url, "COLUMNS": "200"} | environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


def migrated(*paths: Path, apply: bool = True) -> Plan:
    return anyio.run(lambda: migrate(paths, apply=apply))


def of(left: Left, plan: Plan) -> dict[tuple[str, str], Item]:
    """The items of one user, by kind and name."""
    return {
        (item.kind, item.name.replace(left.name, "NAME")): item
        for item in plan.items
        if left.name in item.name
    }


def test_without_apply_nothing_changes(left, server) -> None:
    before = left.seen()
    done = cli(server, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert CANARY not in done.stdout
    items = [item for item in json.loads(done.stdout)["items"] if left.name in item["name"]]
    assert {
        (item["kind"], item["name"].replace(left.name, "NAME")): item["becomes"] for item in items
    } == {
        ("block", "control-plane-configuration/NAME"): "stored again",
        ("block", "control-plane-infrastructure-config/NAME"): "stored again",
        ("block", "control-plane-credentials/NAME"): "stored again",
        ("block", "cpln-job/NAME"): "stored again",
        ("block", "control-plane-infrastructure/NAME"): "stored again",
        ("work pool", "NAME"): "created",
        ("work pool", "NAME-ui"): "put right",
        ("deployment", "repo_info/NAME"): f"moved to {left.name}",
        ("work pool", "NAME-agents"): "paused",
    }
    assert left.seen() == before


def test_twice_is_once_and_nothing_is_lost(left, client) -> None:
    plan = migrated()
    assert plan.is_complete
    after = left.seen()
    assert {item.verdict for item in of(left, migrated()).values()} == {"keep"}
    assert left.seen() == after
    _check_documents(left)
    deployment = client.read_deployment(left.deployment)
    assert (deployment.work_pool_name, deployment.work_queue_name) == (left.name, "urgent")
    assert (deployment.infrastructure_document_id, deployment.parameters) == (
        None,
        {"name": "migrated"},
    )
    assert [schedule.schedule.interval.total_seconds() for schedule in deployment.schedules] == [
        3600
    ]
    assert (deployment.path, deployment.job_variables) == (
        str(left.folder),
        {"env": {"COLOR": "red"}},
    )
    assert client.read_work_pool(f"{left.name}-agents").is_paused
    assert client.read_work_pool(left.name).concurrency_limit == 7
    late = [
        run
        for run in left._all("/flow_runs/filter")
        if run["deployment_id"] == str(left.deployment)
    ]
    assert {(run["state_type"], run["auto_scheduled"]) for run in late} == {("CANCELLED", True)}
    assert "No agent of Prefect 2 will start this run" in late[0]["state"]["message"]


@pytest.mark.anyio
async def test_moved_deployment_runs_in_its_new_pool(
    left, client, local, server, monkeypatch
) -> None:
    for name, value in (pools.QUICK | local.environment).items():
        monkeypatch.setenv(name, value)
    await migrate(apply=True)
    pool = pool_of(left.name, local, server)
    async with pools.in_process(pool) as worker:
        for found in (pool, pool_of(f"{left.name}-ui", local, server)):
            deployment = left.deployment if found is pool else found.deploy()
            variables = {
                "command": pools.command("import os; print(os.environ['PREFECT_API_URL'])")
            }
            with get_client(sync_client=True) as sync_client:
                run = sync_client.create_flow_run_from_deployment(
                    deployment, state=Pending(), job_variables=variables
                )
            configuration = await CplnWorkerJobConfiguration.resolve_for_flow_run(
                run,
                client=worker.client,
                work_pool=client.read_work_pool(found.name),
                worker_name=worker.name,
                worker_id=worker.backend_id,
            )
            result = await worker.run(run, configuration)
            assert result.status_code == 0
            assert (
                configuration.config is None
                or configuration.config.token.get_secret_value() == CANARY
            )
            (command,) = [
                job for job in local.platform.commands() if job["id"] in result.identifier
            ]
            (override,) = command["spec"]["containerOverrides"]
            assert (override["image"], override["cpu"], override["memory"]) == (
                get_prefect_image_name(),
                "500m",
                "512Mi",
            )


def pool_of(name: str, local, url: str) -> Pool:
    """A pool that exists already."""
    found = Pool.__new__(Pool)
    found.local, found.url, found.name = local, url, name
    return found


@pytest.mark.proof
def test_everything_runs_after_the_migration(left, server, local) -> None:
    done = cli(server, "--apply", "--json", "--report", str(left.folder / "report.md"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert CANARY not in done.stdout + done.stderr + (left.folder / "report.md").read_text()
    _check_runs(left, server, local)


def _check_documents(left: Left) -> None:
    masked = left.client._client.post("/block_documents/filter", json={"limit": 200}).json()
    assert CANARY not in json.dumps(masked)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("CPLN_ORG", "elsewhere")
        patched.setenv("CPLN_GVC", "dev")
        job, block = CplnJob.load(left.name), CplnInfrastructure.load(left.name)
        assert (job.org, block.org, block.image) == ("elsewhere", "local", None)
        assert CplnCredentials.load(left.name).config.token.get_secret_value() == CANARY


def _check_runs(left: Left, server: str, local) -> None:
    pool, ui = pool_of(left.name, local, server), pool_of(f"{left.name}-ui", local, server)
    workers = [found.worker(log=left.folder / f"{found.name}.log") for found in (pool, ui)]
    try:
        runs = [
            pool.start(left.deployment),
            ui.start(ui.deploy("of_the_pool", f"{left.folder}/repo_info.py:repo_info")),
        ]
        runs.append(pool.start(_deployed_by_program(left, server)))
        for run_id in runs:
            state = pools.final(run_id).state
            assert state.is_completed(), (
                state,
                [path.read_text() for path in left.folder.glob("*.log")],
            )
    finally:
        for worker in workers:
            pools.end(worker)
    program = programs.run(
        _SECOND_PROGRAM.format(block=left.name),
        left.folder,
        local.environment | {"PREFECT_API_URL": server},
    )
    assert program[0] == 0, program[1]
    assert program[1].count(" - line 4\n") == 1


_SECOND_PROGRAM = """
from prefect import flow, get_run_logger
from prefect_cpln.flows import run_namespaced_job  # this is a flow
from prefect_cpln.jobs import CplnJob

cpln_job_block = CplnJob.load("{block}")

@flow
def cpln_orchestrator():
    logger = get_run_logger()
    run_namespaced_job(cpln_job_block, print_func=logger.info)


if __name__ == "__main__":
    cpln_orchestrator()
"""


def _deployed_by_program(left: Left, server: str):
    path = left.folder / "deploying.py"
    path.write_text(DEPLOYING.format(block=left.name, folder=left.folder))
    shown = cli(server, str(path))
    assert '+deployment.deploy(name="from-a-program"' in shown.stdout
    assert path.read_text() == DEPLOYING.format(block=left.name, folder=left.folder)
    assert cli(server, str(path), "--apply").returncode == 0
    code, output = programs.run(path.read_text(), left.folder, {"PREFECT_API_URL": server})
    assert code == 0, output
    return left.client.read_deployment_by_name("repo_info/from-a-program").id


class LostAnswerError(Exception):
    """The process dies here."""


@pytest.mark.parametrize(
    "every",
    [
        pytest.param(8, id="one-request"),
        pytest.param(1, id="any-request", marks=pytest.mark.proof),
    ],
)
def test_interrupted_migration_can_be_repeated(every, leave, monkeypatch) -> None:
    whole = leave()
    writes = _writes(monkeypatch, stop_after=None)
    anyio.run(lambda: migrate(apply=True))
    expected, count = whole.seen(), len(writes)
    assert count >= 12
    for number in range(every, count, every):
        left = leave()
        _writes(monkeypatch, stop_after=number)
        with pytest.raises(LostAnswerError):
            anyio.run(lambda: migrate(apply=True))
        monkeypatch.undo()
        anyio.run(lambda: migrate(apply=True))
        assert left.seen() == expected, f"interrupted after request {number}, {writes[number - 1]}"


def _writes(monkeypatch, stop_after: int | None) -> list[str]:
    """Note each request that changes something; the answer of one of them is lost."""
    done: list[str] = []
    send = PrefectHttpxAsyncClient.send

    async def counted(self, request: httpx.Request, *args: Any, **kwargs: Any) -> httpx.Response:
        response = await send(self, request, *args, **kwargs)
        reads = request.method == "GET" or request.url.path.endswith("/filter")
        if not reads:
            done.append(f"{request.method} {request.url.path}")
            if len(done) == stop_after:
                raise LostAnswerError
        return response

    monkeypatch.setattr(PrefectHttpxAsyncClient, "send", counted)
    return done


@pytest.mark.proof
def test_two_migrations_at_once_do_it_once(left, server) -> None:
    commands = [
        subprocess.Popen(
            [CLI, "migrate", "--apply", "--json"],
            env=os.environ | {"PREFECT_API_URL": server},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for command in commands:
        command.communicate(timeout=PATIENCE_SECONDS)
    assert {item.verdict for item in of(left, migrated()).values()} == {"keep"}


def test_document_that_no_version_wrote_is_refused(left) -> None:
    name = f"{left.name}-odd"
    left.made.document(prefect_2.CONFIG, name, {"token": CANARY, "tokn": "x"})
    left.made.document(
        prefect_2.INFRASTRUCTURE,
        name,
        prefect_2.infrastructure(customizations=[{"op": "grow"}], job=[CANARY]),
    )
    before = left._all("/block_documents/filter")
    plan = migrated()
    assert not plan.is_complete
    items = of(left, plan)
    odd = items["block", "control-plane-configuration/NAME-odd"]
    assert odd.refused == ("tokn: is not a field of control-plane-configuration",)
    (refused,) = items["block", "control-plane-infrastructure/NAME-odd"].refused
    assert "job: expected a valid dictionary" in refused
    assert "customizations: " in refused
    assert items["work pool", "NAME-odd"].verdict == "refused"
    assert CANARY not in report.as_json(plan, applied=True) + repr(plan)
    after = left._all("/block_documents/filter")
    odd = {entry["id"]: entry["updated"] for entry in before if entry["name"] == name}
    assert odd == {entry["id"]: entry["updated"] for entry in after if entry["name"] == name}
    for entry in after:
        if entry["name"] == name:
            left.client.delete_block_document(entry["id"])


def test_pool_of_the_same_name_is_left_alone(left, client) -> None:
    template = prefect_2.fork_template(org="someone-elses")
    left.made.pool(left.name, "cpln", template)
    items = of(left, migrated())
    assert "was not made of" in items["work pool", "NAME"].refused[0]
    assert items["deployment", "repo_info/NAME"].verdict == "refused"
    assert client.read_work_pool(left.name).base_job_template == template
    assert client.read_deployment(left.deployment).work_pool_name == f"{left.name}-agents"
    assert not client.read_work_pool(f"{left.name}-agents").is_paused
    client.delete_work_pool(left.name)
    assert migrated().is_complete


def test_export_is_applied_to_another_server(client, tmp_path) -> None:
    name = f"exported-{uuid4().hex[:8]}"
    export = json.loads(
        (Path(__file__).parents[1] / "migration/export.json").read_text().replace("NAME", name)
    )
    (tmp_path / "export.json").write_text(json.dumps(export))
    assert (
        "read the server itself"
        in migrated(tmp_path / "export.json", apply=False).items[-2].by_hand[0]
    )
    assert name not in {pool.name for pool in client.read_work_pools()}
    migrated(tmp_path / "export.json")
    assert CplnInfrastructure.load(name).config.token.get_secret_value() == CANARY
    reference = client.read_work_pool(name).base_job_template["variables"]["properties"]["config"][
        "default"
    ]
    assert client.read_block_document(reference["$ref"]["block_document_id"]).name == name


def test_server_that_is_not_there_is_named(tmp_path) -> None:
    done = cli(f"http://127.0.0.1:{conftest._free_port()}/api")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("cpln-flows: Prefect's server cannot be reached")


def test_file_of_another_kind_is_refused(server, tmp_path) -> None:
    with pytest.raises(ConfigurationError, match=r"expected programs \(.py\) or exports"):
        anyio.run(lambda: migrate([tmp_path / "x.toml"]))
