"""Many objects from manifests: applied in order, again without change, and deleted in reverse."""

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.context import FlowRunContext

from cpln_flows import (
    CplnConfig,
    CplnCredentials,
    CplnError,
    JobTimeoutError,
    ManifestError,
    apply_manifests,
    delete_manifests,
    list_workloads,
)
from cpln_flows.emulator import Platform, PlatformConfig
from cpln_flows.tasks import manifests

pytestmark = pytest.mark.usefixtures("prefect_api")

TEXT = """
kind: workload
name: nightly
spec:
  type: cron
  containers: [{name: main, image: busybox, command: date}]
  job: {schedule: "* * * * *"}
  defaultOptions: {suspend: true}
  identityLink: //gvc/quickstart/identity/runner
---
kind: identity
name: runner
---
kind: policy
name: runner-reveals
targetKind: secret
targetLinks: [//secret/keys]
bindings: [{permissions: [reveal], principalLinks: [//gvc/quickstart/identity/runner]}]
---
kind: secret
name: keys
type: dictionary
data: {PW: hush-hush}
"""


@pytest.fixture
def credentials(local) -> CplnCredentials:
    """Those of the local platform."""
    return CplnCredentials(config=CplnConfig(token=local.platform.token))


def _actions(rows) -> dict[str, str]:
    return {row["kind"]: row["action"] for row in rows}


def test_objects_are_made_in_their_order_and_stay_when_nothing_changes(credentials) -> None:
    assert set(_actions(apply_manifests(credentials, TEXT, dry_run=True)).values()) == {"create"}
    made = apply_manifests(credentials, TEXT)
    assert [row["kind"] for row in made] == ["secret", "identity", "policy", "workload"]
    assert set(_actions(made).values()) == {"created"}
    again = _actions(apply_manifests(credentials, TEXT))
    assert (again["identity"], again["workload"]) == ("unchanged", "unchanged")
    changed = apply_manifests(
        credentials, TEXT.replace("image: busybox", "image: alpine"), dry_run=True
    )
    assert changed[-1] == {
        "kind": "workload",
        "name": "nightly",
        "action": "update",
        "fields": "spec.containers[main].image",
    }


def test_objects_of_a_folder_are_deleted_in_reverse(credentials, tmp_path) -> None:
    for number, document in enumerate(TEXT.split("---")):
        (tmp_path / f"{number}.yaml").write_text(document)
    (tmp_path / "notes.txt").write_text("no manifest")
    apply_manifests(credentials, tmp_path)
    assert set(_actions(delete_manifests(credentials, tmp_path, dry_run=True)).values()) == {
        "delete"
    }
    gone = delete_manifests(credentials, tmp_path)
    assert [row["kind"] for row in gone] == ["workload", "policy", "identity", "secret"]
    assert list_workloads(credentials, "local", "quickstart")["items"] == []
    assert set(_actions(delete_manifests(credentials, tmp_path)).values()) == {"absent"}


def test_rows_are_a_table_artifact_without_values(credentials) -> None:
    @flow
    def install() -> str:
        apply_manifests(credentials, TEXT)
        return str(FlowRunContext.get().flow_run.id)

    run_id = install()
    with get_client(sync_client=True) as client:
        wanted = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run_id]))
        (artifact,) = [
            one
            for one in client.read_artifacts(artifact_filter=wanted)
            if one.key == manifests.ARTIFACT
        ]
    assert '"action": "created"' in artifact.data
    assert "hush-hush" not in artifact.data


def test_refused_object_is_named_and_the_others_are_made(credentials) -> None:
    with pytest.raises(
        CplnError,
        match=r"some objects were refused, the others were made: workload nightly: PUT .*400",
    ):
        apply_manifests(credentials, TEXT.replace("image: busybox, ", ""))
    assert _actions(apply_manifests(credentials, TEXT, dry_run=True))["identity"] == "unchanged"


def test_wrong_manifests_change_nothing(credentials, local) -> None:
    with pytest.raises(ManifestError, match="name: expected the name of a secret"):
        apply_manifests(credentials, TEXT.replace("name: keys\n", "name: a/b\n"))
    assert local.platform.workloads() == []


def test_workloads_are_waited_for_until_they_are_ready(credentials, monkeypatch) -> None:
    monkeypatch.setattr(manifests, "_LOOK_SECONDS", 0.01)
    assert _actions(apply_manifests(credentials, TEXT, ready_seconds=60))["workload"] == "created"


@pytest.mark.parametrize(
    "local", [lambda: Platform(PlatformConfig(ready_delay_seconds=3600))], indirect=True
)
def test_workload_that_is_not_ready_in_time_says_so(credentials, monkeypatch) -> None:
    monkeypatch.setattr(manifests, "_LOOK_SECONDS", 0.01)
    with pytest.raises(JobTimeoutError, match=r"workload/nightly was not ready within 0.2 s"):
        apply_manifests(credentials, TEXT, ready_seconds=0.2)
