"""The template of a pool that does what a saved manifest did."""

import pytest

from cpln_flows.blocks import CplnInfrastructure, pool_template, published_pool
from cpln_flows.manifest.customization import container_of, pod_of
from cpln_flows.worker.template import RunValues, convert

PREFECT_2 = "docker.io/prefecthq/prefect:2-latest"


def made_of(**fields):
    return published_pool.template(CplnInfrastructure(**fields), None)


def defaults(template) -> dict:
    return {
        name: found["default"]
        for name, found in template["variables"]["properties"].items()
        if found.get("default") is not None
    }


def test_fields_become_defaults_of_variables() -> None:
    template = made_of(
        command=["sh", "-c", "date"],
        env={"A": "1"},
        image="//image/flows:1",
        job_watch_timeout_seconds=600,
        labels={"team": "data"},
        location="aws-us-west-2",
        name="nightly",
        namespace="dev",
        org="acme",
        pod_watch_timeout_seconds=90,
        service_account_name="runner",
        stream_output=False,
    )
    assert defaults(template) == {
        "command": "sh -c date",
        "cpu": "500m",
        "env": {"A": "1"},
        "image": "//image/flows:1",
        "job_watch_timeout_seconds": 600,
        "labels": {"team": "data"},
        "location": "aws-us-west-2",
        "memory": "512Mi",
        "name": "nightly",
        "namespace": "dev",
        "org": "acme",
        "pod_watch_timeout_seconds": 90,
        "service_account_name": "runner",
        "stream_output": False,
    }


def test_manifest_gets_placeholders() -> None:
    manifest = made_of(image="busybox", env={"A": "1"}, labels={"a": "b"})["job_configuration"][
        "job_manifest"
    ]
    assert container_of(manifest) == {
        "name": "prefect-job",
        "args": "{{ command }}",
        "env": "{{ env }}",
        "image": "{{ image }}",
        "resources": {"limits": {"cpu": "{{ cpu }}", "memory": "{{ memory }}"}},
    }
    assert manifest["metadata"] == {"labels": "{{ labels }}", "generateName": "{{ name }}-"}


def test_what_the_block_does_not_know_stays() -> None:
    job = CplnInfrastructure.base_job_manifest()
    job["metadata"] = {"labels": {"own": "yes"}, "namespace": "elsewhere"}
    pod_of(job).update(parallelism=1, completions=1)
    container_of(job).update(
        env=[{"name": "OWN", "value": "1"}],
        workingDir="/srv",
        resources={"limits": {"cpu": 1, "memory": "2Gi"}},
    )
    template = made_of(job=job, env={"A": "1"}, labels={"a": "b"})
    manifest = template["job_configuration"]["job_manifest"]
    assert manifest["metadata"] == {"labels": {"own": "yes"}, "generateName": "{{ name }}-"}
    assert container_of(manifest)["env"] == [{"name": "OWN", "value": "1"}]
    assert container_of(manifest)["workingDir"] == "/srv"
    assert not {"parallelism", "completions"} & pod_of(manifest).keys()
    assert {name: defaults(template)[name] for name in ("cpu", "memory", "env")} == {
        "cpu": "1",
        "memory": "2Gi",
        "env": {"A": "1"},
    }


def test_patch_that_sets_the_arguments_is_kept() -> None:
    patch = [
        {
            "op": "replace",
            "path": "/spec/template/spec/containers/0/args",
            "value": ["prefect", "flow-run", "execute"],
        }
    ]
    manifest = made_of(customizations=patch)["job_configuration"]["job_manifest"]
    assert container_of(manifest)["args"] == ["prefect", "flow-run", "execute"]


@pytest.mark.parametrize("where", ["field", "manifest", "patch"])
def test_image_of_prefect_2_is_left_out(where) -> None:
    job = CplnInfrastructure.base_job_manifest()
    if where == "manifest":
        container_of(job)["image"] = PREFECT_2
    patch = (
        [{"op": "add", "path": "/spec/template/spec/containers/0/image", "value": PREFECT_2}]
        if where == "patch"
        else []
    )
    template = made_of(job=job, image=PREFECT_2 if where == "field" else None, customizations=patch)
    assert "image" not in defaults(template)
    assert PREFECT_2 not in str(template)


@pytest.mark.parametrize(
    "command", [None, [], ["python", "-m", "prefect.engine"], ["prefect", "flow-run", "execute"]]
)
def test_command_of_every_flow_run_is_prefects(command) -> None:
    assert pool_template.flow_run_command(command) is None


def test_sixty_seconds_were_chosen_by_nobody() -> None:
    assert "pod_watch_timeout_seconds" not in defaults(made_of())


def test_template_can_be_run() -> None:
    manifest = made_of(job=CplnInfrastructure.base_job_manifest())["job_configuration"][
        "job_manifest"
    ]
    container_of(manifest).update(
        env=None, resources={"limits": {"cpu": "500m", "memory": "512Mi"}}
    )
    pod_of(manifest)["serviceAccountName"] = None
    manifest["metadata"]["labels"] = {}
    values = RunValues(command="prefect flow-run execute", env={"A": "1"}, image="busybox")
    container_of(manifest).update(image=None, args=None)
    made = convert(manifest, values, gvc="dev")
    assert (made.main.image, made.main.env) == ("busybox", {"A": "1"})
