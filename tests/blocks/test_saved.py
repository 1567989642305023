"""What users of Prefect 2 with prefect-cpln have saved.

Each document loads, and its job runs or reports what to change.
"""

import json
from pathlib import Path

import httpx
import pytest
from prefect.utilities.dockerutils import get_prefect_image_name

from cpln_flows import (
    ConfigurationError,
    CplnConfig,
    CplnCredentials,
    CplnInfrastructure,
    CplnInfrastructureConfig,
    CplnJob,
    ManifestError,
    run_namespaced_job,
)
from tests.manifests import kubernetes_job, texts

DOCUMENTS = {
    document["name"]: document
    for document in json.loads((Path(__file__).parent / "saved.json").read_text())
}
CLASSES = {
    "control-plane-configuration": CplnConfig,
    "control-plane-credentials": CplnCredentials,
    "cpln-job": CplnJob,
    "control-plane-infrastructure": CplnInfrastructure,
    "control-plane-infrastructure-config": CplnInfrastructureConfig,
}
JOBS = [name for name, document in DOCUMENTS.items() if document["slug"] == "cpln-job"]


def load(name: str, **changes):
    """The block of a document, as Prefect makes it."""
    return CLASSES[DOCUMENTS[name]["slug"]].model_validate({**DOCUMENTS[name]["data"], **changes})


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_document_loads_where_it_runs(name, local) -> None:
    block = load(name)
    if isinstance(block, CplnJob):
        assert (block.org, block.namespace) == ("local", "quickstart")
    elif isinstance(block, CplnInfrastructure):
        assert block.preview()
    else:
        assert block.api_settings().token.get_secret_value()


@pytest.mark.parametrize("name", ["job-env", "creds-null", "cfg-null"])
def test_missing_place_names_the_variable(name, monkeypatch) -> None:
    for variable in ("CPLN_ORG", "CPLN_GVC", "CPLN_TOKEN"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(ConfigurationError, match=r"set CPLN_(ORG|TOKEN)|CPLN_TOKEN is not set"):
        load(name).api_settings()


@pytest.mark.parametrize("name", [name for name in JOBS if name != "job-envfrom"])
def test_saved_job_runs_on_prefect_3(name, local, prefect_api) -> None:
    job = load(name, credentials={"config": {"token": local.platform.token}})
    assert texts(run_namespaced_job(job)) == [f"line {number}" for number in range(3)]


def test_saved_job_with_env_from_runs_once_its_secret_is_there(local, prefect_api) -> None:
    job = load("job-envfrom", credentials={"config": {"token": local.platform.token}})
    with pytest.raises(
        ManifestError, match=r"envFrom\[0\].secretRef: there is no secret 'settings'"
    ):
        run_namespaced_job(job)
    headers = {"authorization": f"Bearer {local.platform.token}"}
    body = {"name": "settings", "type": "dictionary", "data": {"MODE": "fast"}}
    httpx.post(f"{local.url}/org/local/secret", json=body, headers=headers).raise_for_status()
    assert texts(run_namespaced_job(job)) == [f"line {number}" for number in range(3)]


def test_container_without_image_gets_prefects(local) -> None:
    manifest = kubernetes_job("pass")
    for image in ("", None):
        manifest["spec"]["template"]["spec"]["containers"][0]["image"] = image
        (container,) = CplnJob(v1_job=manifest).preview()["spec"]["containers"]
        assert container["image"] == get_prefect_image_name()


def test_job_without_limits_says_what_it_gets(local, prefect_api, caplog) -> None:
    job = CplnJob(v1_job=kubernetes_job("pass"))
    (container,) = job.preview()["spec"]["containers"]
    assert (container["cpu"], container["memory"]) == ("500m", "512Mi")
    with caplog.at_level("INFO"):
        run_namespaced_job(job)
    (note,) = [line for line in caplog.messages if "no limit of cpu and memory is given" in line]
    assert note.startswith("[CPLN] Workload")
    assert "500m of CPU and 512Mi of memory" in note
