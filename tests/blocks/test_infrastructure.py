"""The fork's infrastructure blocks: their fields, a command that they run, and their work pool."""

import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anyio
import pytest
import yaml
from prefect import flow, runtime
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import InfrastructureNotAvailable, InfrastructureNotFound
from prefect.utilities.dockerutils import get_prefect_image_name

from cpln_flows import (
    ConfigurationError,
    CplnInfrastructure,
    CplnInfrastructureConfig,
    JobTimeoutError,
    ManifestError,
)
from cpln_flows.emulator import Platform, PlatformConfig
from cpln_flows.manifest.customization import container_of
from tests.manifests import FOREVER
from tests.scenarios import pools, programs

CANARY = "s.canary-infrastructure-0123456789"
PREFECT_2 = "docker.io/prefecthq/prefect:2.20.25-python3.11"
SAVED = [
    document
    for document in json.loads((Path(__file__).parent / "saved.json").read_text())
    if document["slug"] == "control-plane-infrastructure"
]
FIELDS = {
    "type",
    "env",
    "labels",
    "name",
    "command",
    "config",
    "org",
    "namespace",
    "location",
    "service_account_name",
    "job",
    "customizations",
    "image",
    "job_watch_timeout_seconds",
    "pod_watch_timeout_seconds",
    "stream_output",
}


def python(script: str, **fields) -> CplnInfrastructure:
    return CplnInfrastructure(command=["python", "-c", script], image="python:3.12-slim", **fields)


def pool_of(name: str):
    with get_client(sync_client=True) as client:
        return client.read_work_pool(name)


def test_names_and_fields_are_the_forks() -> None:
    assert CplnInfrastructure.get_block_type_slug() == "control-plane-infrastructure"
    assert CplnInfrastructureConfig.get_block_type_slug() == "control-plane-infrastructure-config"
    assert set(CplnInfrastructure.model_fields) == FIELDS
    assert CplnInfrastructure().type == "cpln-infrastructure"


@pytest.mark.parametrize("document", SAVED, ids=lambda document: document["name"])
def test_documents_of_the_fork_load(document, monkeypatch) -> None:
    monkeypatch.delenv("CPLN_ORG", raising=False)
    block = CplnInfrastructure.model_validate(document["data"])
    assert block.org == document["data"]["org"]
    assert block.config.token.get_secret_value() == "tok-infra"


def test_open_places_stay_open_when_saved(local, prefect_api) -> None:
    CplnInfrastructure(image="busybox", location="").save("infra-open", overwrite=True)
    block = CplnInfrastructure.load("infra-open")
    assert (block.org, block.namespace, block.location) == (None, None, None)


def test_wrong_fields_are_named() -> None:
    with pytest.raises(
        ConfigurationError,
        match=r"customizations: \[0\] expected an operation .*, found the integer 1",
    ):
        CplnInfrastructure(customizations=[1])
    with pytest.raises(ConfigurationError, match="imagee: is not a field; did you mean 'image'"):
        CplnInfrastructure(imagee="busybox")


def test_nothing_shows_what_may_be_secret() -> None:
    block = CplnInfrastructure(
        config=CplnInfrastructureConfig(token=CANARY),
        env={"A": CANARY},
        labels={"a": CANARY},
        command=[CANARY],
    )
    assert CANARY not in f"{block!r} {block}"
    assert CANARY not in pickle.dumps(
        CplnInfrastructure(config=CplnInfrastructureConfig(token=CANARY))
    ).decode("latin-1")


def test_manifest_and_patch_come_from_files(tmp_path) -> None:
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(CplnInfrastructure.base_job_manifest()))
    (tmp_path / "patch.json").write_text(
        '[{"op": "add", "path": "/metadata/labels/team", "value": "data"}]'
    )
    block = CplnInfrastructure(
        job=CplnInfrastructure.job_from_file(tmp_path / "job.yaml"),
        customizations=CplnInfrastructure.customize_from_file(str(tmp_path / "patch.json")),
        image="busybox",
    )
    assert block.manifest()["metadata"]["labels"] == {"team": "data"}


def test_file_that_is_no_manifest_is_named(tmp_path) -> None:
    (tmp_path / "job.yaml").write_text("[1")
    with pytest.raises(ManifestError, match=r"job\.yaml: not YAML"):
        CplnInfrastructure.job_from_file(tmp_path / "job.yaml")


def test_preview_is_the_manifest(local) -> None:
    found = yaml.safe_load(python("pass", env={"A": "1"}).preview())
    assert container_of(found)["args"] == ["python", "-c", "pass"]
    assert container_of(found)["env"] == [{"name": "A", "value": "1"}]


def test_preview_names_every_fault(local) -> None:
    job = CplnInfrastructure.base_job_manifest()
    container_of(job)["resources"] = {"limits": {"cpu": "much", "memory": "more"}}
    with pytest.raises(ManifestError, match=r"(?s)cpu.*memory"):
        CplnInfrastructure(job=job, image="busybox").preview()


@pytest.mark.parametrize(("code", "succeeded"), [(0, True), (3, False)])
def test_run_returns_pid_and_exit_code(code, succeeded, local, capsys) -> None:
    result = python(f"import sys; print('from the job', flush=True); sys.exit({code})").run()
    (command,) = local.platform.commands()
    assert (result.status_code, bool(result)) == (code, succeeded)
    assert result.identifier.endswith(command["id"])
    assert "from the job" in capsys.readouterr().out


def test_run_is_quiet_where_asked(local, capsys) -> None:
    assert python("print('from the job')", stream_output=False).run()
    assert "from the job" not in capsys.readouterr().out


def test_run_writes_into_the_log_of_its_flow_run(local, prefect_api) -> None:
    @flow
    def nightly() -> str:
        assert python("for n in range(3): print('line', n)").run()
        return runtime.flow_run.id

    assert len(pools.lines(nightly(), 3)) == 3


def test_run_in_async_code_is_awaited(local) -> None:
    async def main():
        return await python("pass").run()

    assert anyio.run(main)


def test_run_without_a_command_is_refused(local) -> None:
    with pytest.raises(ConfigurationError, match="command: none is given"):
        CplnInfrastructure(image="busybox").run()
    assert local.platform.commands() == []


def test_run_past_its_time_is_stopped(local) -> None:
    with pytest.raises(JobTimeoutError):
        python(FOREVER, job_watch_timeout_seconds=1).run()
    assert local.platform.commands()[0]["lifecycleStage"] == "failed"


@pytest.mark.parametrize("image", [PREFECT_2, None])
def test_image_of_prefect_2_never_runs(image, local) -> None:
    assert CplnInfrastructure(command=["python", "-c", "pass"], image=image).run()
    (workload,) = local.platform.workloads()
    assert workload["spec"]["containers"][0]["image"] == get_prefect_image_name()


def test_kill_stops_a_job(local) -> None:
    block = python(FOREVER)
    with ThreadPoolExecutor() as threads:
        running = threads.submit(block.run)
        command = programs.until(lambda: programs.running_command(local))
        (workload,) = local.platform.workloads()
        pid = f"local:quickstart:{workload['name']}:{command['id']}"
        block.kill(pid, grace_seconds=10)
        result = running.result()
    assert (result.identifier, result.status_code, bool(result)) == (pid, 143, False)
    with pytest.raises(InfrastructureNotFound):
        block.kill(pid)


@pytest.mark.parametrize(
    "pid", ["other:quickstart:w:c", "local:other:w:c", "nonsense", "local:quickstart:w"]
)
def test_kill_of_another_place_is_refused(pid, local) -> None:
    with pytest.raises(InfrastructureNotAvailable):
        CplnInfrastructure().kill(pid)


class TestPublished:
    def test_twice_is_once(self, local, prefect_api) -> None:
        config = CplnInfrastructureConfig(token=CANARY)
        config.save("published-config", overwrite=True)
        block = CplnInfrastructure(config=config, image="busybox")
        for _ in range(2):
            block.publish_as_work_pool("published-twice")
        pool = pool_of("published-twice")
        assert pool.type == "cpln"
        reference = pool.base_job_template["variables"]["properties"]["config"]["default"]
        assert reference == {"$ref": {"block_document_id": str(config._block_document_id)}}
        assert CANARY not in str(pool.base_job_template)

    def test_unsaved_token_is_saved_once(self, local, prefect_api) -> None:
        block = CplnInfrastructure(config=CplnInfrastructureConfig(token=CANARY), image="busybox")
        for _ in range(2):
            block.publish_as_work_pool("published-unsaved")
        assert CplnInfrastructureConfig.load("published-unsaved").token.get_secret_value() == CANARY
        other = CplnInfrastructure(
            config=CplnInfrastructureConfig(token="s.other"), image="busybox"
        )
        with pytest.raises(ConfigurationError, match="another token exists"):
            other.publish_as_work_pool("published-unsaved", overwrite=True)

    def test_pool_that_differs_is_left_alone(self, local, prefect_api) -> None:
        CplnInfrastructure(image="busybox").publish_as_work_pool("published-other")
        before = pool_of("published-other").base_job_template
        changed = CplnInfrastructure(image="alpine")
        with pytest.raises(ConfigurationError, match="exists and differs"):
            changed.publish_as_work_pool("published-other")
        assert pool_of("published-other").base_job_template == before
        changed.publish_as_work_pool("published-other", overwrite=True)
        assert (
            pool_of("published-other").base_job_template["variables"]["properties"]["image"][
                "default"
            ]
            == "alpine"
        )

    def test_pool_of_another_type_is_refused(self, local, prefect_api) -> None:
        with get_client(sync_client=True) as client:
            client.create_work_pool(WorkPoolCreate(name="published-process", type="process"))
        with pytest.raises(ConfigurationError, match="its type is 'process'"):
            CplnInfrastructure(image="busybox").publish_as_work_pool(
                "published-process", overwrite=True
            )

    def test_manifest_that_cannot_run_makes_no_pool(self, local, prefect_api) -> None:
        job = CplnInfrastructure.base_job_manifest()
        container_of(job)["resources"] = {"limits": {"cpu": "much"}}
        with pytest.raises(ManifestError):
            CplnInfrastructure(job=job, image="busybox").publish_as_work_pool("published-never")
        with get_client(sync_client=True) as client:
            assert "published-never" not in {pool.name for pool in client.read_work_pools()}


@pytest.mark.parametrize("local", [lambda: Platform(PlatformConfig(token=CANARY))], indirect=True)
def test_token_of_the_block_is_used(local, monkeypatch) -> None:
    monkeypatch.setenv("CPLN_TOKEN", "s.refused-0123456789")
    assert python("pass", config=CplnInfrastructureConfig(token=CANARY)).run()
