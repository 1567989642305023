"""What is deployed: `run_namespaced_job` in a process of its own, and the maintenance flows.

The latter run with the permissions that they are given.
"""

import os
import subprocess
import sys
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.states import Completed, Pending, Running

from cpln_flows import (
    CplnConfig,
    CplnCredentials,
    CplnJob,
    cleanup_orphaned_workloads,
    cli,
    deploy,
    run_namespaced_job,
    sync,
)
from cpln_flows.api import secrets
from cpln_flows.emulator import (
    Exit,
    ManualClock,
    Platform,
    PlatformConfig,
    Script,
    ScriptedExecutor,
)
from cpln_flows.errors import ConfigurationError
from cpln_flows.examples.fan_out import AT_ONCE, fan_out
from cpln_flows.examples.retrying import retrying
from cpln_flows.provision.permissions import Feature
from tests.manifests import LINES, kubernetes_job
from tests.patience import PATIENCE_SECONDS
from tests.scenarios.hands import GVC, Hands
from tests.scenarios.permissions import by_kind
from tests.scenarios.test_sync import options, reaches

ROOT = Path(__file__).parents[2]
CANARY = "s.canary-deployment-0123456789"


@pytest.mark.proof
@pytest.mark.parametrize(
    "local", [lambda: Platform(PlatformConfig(token=CANARY, delete_delay_seconds=0))], indirect=True
)
def test_a_deployment_runs_the_job_of_a_saved_block_and_shows_no_token(
    local, prefect_api, tmp_path
) -> None:
    credentials = CplnCredentials(config=CplnConfig(token=CANARY))
    CplnJob(credentials=credentials, v1_job=kubernetes_job(LINES)).save("deployed", overwrite=True)
    with get_client(sync_client=True) as client:
        flow_id = client.create_flow(run_namespaced_job)
        deployment_id = client.create_deployment(
            flow_id,
            name="deployed",
            entrypoint="cpln_flows.flows.run_job.run_namespaced_job",
            pull_steps=[],
            parameters={"cpln_job": {"$ref": {"block_document_slug": "cpln-job/deployed"}}},
        )
        run = client.create_flow_run_from_deployment(deployment_id)
        done = subprocess.run(
            [sys.executable, "-m", "prefect", "flow-run", "execute", str(run.id)],
            env=os.environ
            | local.environment
            | {"PREFECT_API_URL": prefect_api, "PREFECT_LOGGING_LEVEL": "DEBUG"},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        run = client.read_flow_run(run.id)
        stored = client.read_deployment(deployment_id).model_dump_json() + run.model_dump_json()
    assert run.state.is_completed(), done.stdout + done.stderr
    assert local.platform.jobs_started == 1
    assert local.platform.workloads() == []
    assert CANARY not in stored + done.stdout + done.stderr


MAINTAINER = "/org/local/gvc/quickstart/identity/maintainer"
TOKENS = {"s.root": "/org/local/group/superusers", "s.maintainer": MAINTAINER}
RIGHTS = {str(feature): by_kind(feature) for feature in (Feature.SYNC, Feature.CLEANUP)}


def enforcing() -> Platform:
    """A platform that looks at tokens and is 100 hours behind; jobs never end."""
    clock = ManualClock(datetime.now(UTC) - timedelta(hours=100))

    def script(run):
        return Script(()) if "prefect.io/flow-run-id" in run.tags else Script((Exit(1),))

    config = PlatformConfig(delete_delay_seconds=0, token="s.root", tokens=TOKENS)
    return Platform(config, clock=clock, executor=ScriptedExecutor(script))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def hands(local, prefect_api):
    async with Hands(local) as opened:
        yield opened


async def as_maintainer(hands: Hands, flow: str, gvc: str | None) -> CplnCredentials:
    """Who has the rights of a flow's identity, exactly those that are documented."""
    await hands.client.put(f"{GVC.path}/identity", {"kind": "identity", "name": "maintainer"})
    for kind, permissions in RIGHTS[flow].items():
        if kind == "gvc" and gvc is None:
            continue
        binding = {"permissions": permissions, "principalLinks": [MAINTAINER]}
        policy = {
            "kind": "policy",
            "name": f"maintainer-{kind}",
            "targetKind": kind,
            "target": "all",
            "bindings": [binding],
        }
        await hands.client.put("/org/local/policy", policy)
    return CplnCredentials(config=CplnConfig(token="s.maintainer"))


enforced = pytest.mark.parametrize("local", [enforcing], indirect=True, ids=["enforced"])


@pytest.mark.anyio
@enforced
@pytest.mark.parametrize("gvc", [None, "quickstart"])
async def test_sync_needs_no_more_than_the_rights_that_are_documented(hands, gvc) -> None:
    credentials = await as_maintainer(hands, "sync", gvc)
    finished = await hands.run(Pending(), Running())
    ref = await hands.container(finished, await hands.workload())
    hands.local.platform.clock.advance(100 * 3600)
    await reaches(hands, ref, "running")
    await hands.become(finished, Completed())
    gone = await hands.run(Pending(), Running())
    await hands.prefect.update_flow_run(
        gone.id, infrastructure_pid=GVC.workload("gone").command("x").pid
    )
    result = await sync(credentials=credentials, gvc=gvc, options=options(hands, misses=1))
    assert (result["changes"], result["unread"]) == (2, 0)
    assert (await hands.state(gone)).type == "CRASHED"
    await reaches(hands, ref, "failed", "cancelled", "completed")


@pytest.mark.anyio
@enforced
@pytest.mark.parametrize("gvc", [None, "quickstart"])
async def test_the_cleanup_needs_no_more_than_the_rights_that_are_documented(hands, gvc) -> None:
    credentials = await as_maintainer(hands, "cleanup", gvc)
    link = await secrets.put_identity(hands.client, GVC, "of-orphan", description="x")
    await secrets.put_reveal_policy(
        hands.client, "local", "p-of-orphan", secrets=["s"], principal=link, description="x"
    )
    await hands.start(await hands.workload(name="orphan"), {})
    await hands.client.patch(GVC.workload("orphan").path, {"spec": {"identityLink": link}})
    hands.local.platform.clock.advance(100 * 3600)
    result = await cleanup_orphaned_workloads(credentials=credentials, gvc=gvc)
    assert result == {"deleted": 3, "kept": 0, "failed": 0, "unread": 0}


@pytest.mark.parametrize("flow", list(RIGHTS))
def test_the_rights_of_the_maintenance_flows_are_documented(flow) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    assert f"`cpln-flows-{flow}`: [`{flow}`](docs/permissions.md#{flow}) |" in readme


def _job(script: str) -> CplnJob:
    return CplnJob(v1_job=kubernetes_job(script))


def test_the_example_fan_out_runs_a_job_for_each_part_and_no_more_at_once_than_it_says(
    local, prefect_api, tmp_path
) -> None:
    script = f"""
import os, pathlib, time
begun = time.time()
time.sleep(0.3)
print("part", os.environ["PART"])
pathlib.Path({str(tmp_path)!r}, os.environ["PART"]).write_text(f"{{begun}} {{time.time()}}")
"""
    assert [log.strip().split(" - ")[1] for log in fan_out(_job(script), parts=3)] == [
        "part 0",
        "part 1",
        "part 2",
    ]
    times = [tuple(map(float, path.read_text().split())) for path in tmp_path.iterdir()]
    assert len(times) == 3
    for moment, _ in times:
        assert sum(begun <= moment < ended for begun, ended in times) <= AT_ONCE
    assert local.platform.jobs_started == 3
    assert local.platform.workloads() == []


def test_the_example_that_retries_runs_a_job_that_has_failed_once_more(
    local, prefect_api, tmp_path
) -> None:
    script = f"""
import pathlib, sys
failed = pathlib.Path({str(tmp_path / "failed")!r})
if not failed.exists():
    failed.touch()
    sys.exit(1)
print("done")
"""
    assert "done" in retrying.with_options(retry_delay_seconds=0)(_job(script))
    assert local.platform.jobs_started == 2
    assert local.platform.workloads() == []


def test_an_installed_package_prints_the_file_with_every_deployment(capsys) -> None:
    assert cli.prefect_yaml() == 0
    assert capsys.readouterr().out == (ROOT / "prefect.yaml").read_text()
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"][
        "targets"
    ]["wheel"]
    assert wheel["force-include"] == {"prefect.yaml": "cpln_flows/prefect.yaml"}, (
        "where an installed package looks for it"
    )


def test_missing_variable_of_a_deployment_is_an_error_elsewhere(monkeypatch) -> None:
    monkeypatch.delenv("CPLN_FLOWS_IMAGE", raising=False)
    monkeypatch.delitem(sys.modules, "prefect.cli.deploy._core", raising=False)
    with pytest.raises(ConfigurationError, match="CPLN_FLOWS_IMAGE: not set"):
        deploy.from_environment(image="CPLN_FLOWS_IMAGE")
