"""What users get wrong: a clear, early error names field and fix, and nothing is half created."""

from __future__ import annotations

import copy
import socket
from typing import Any

import anyio
import pytest
from pydantic import ValidationError

from cpln_flows import CplnConfig, CplnCredentials, CplnJob, ManifestError
from cpln_flows.emulator import Fault
from cpln_flows.errors import ConfigurationError, ForbiddenError, TransportError, UnauthorizedError
from tests.manifests import LINES, kubernetes_job, texts
from tests.scenarios import scripted

ABSENT = object()


def _manifest(*changes: tuple[str, Any]) -> dict[str, Any]:
    """A good manifest with other values at some paths."""
    manifest = copy.deepcopy(kubernetes_job(LINES))
    for path, value in changes:
        *parents, last = [int(part) if part.isdigit() else part for part in path.split("/")]
        place: Any = manifest
        for part in parents:
            place = place[part]
        if value is ABSENT:
            del place[last]
        else:
            place[last] = value
    return manifest


POD = "spec/template/spec"
MAIN = f"{POD}/containers/0"
MANIFESTS = {
    "no-containers": ([(f"{POD}/containers", ABSENT)], ["spec.template.spec.containers"]),
    "empty-containers": ([(f"{POD}/containers", [])], ["spec.template.spec.containers"]),
    "wrong-kind": ([("kind", "Pod")], ["kind", "Pod", "Job"]),
    "wrong-type": ([(f"{MAIN}/args", 1)], ["spec.template.spec.containers[0].args"]),
    "wrong-image": ([(f"{MAIN}/image", "a b")], ["spec.template.spec.containers[0].image"]),
    "reserved-variable": (
        [(f"{MAIN}/env", [{"name": "CPLN_TOKEN", "value": "x"}])],
        ["env[0].name", "CPLN_"],
    ),
    "long-command": ([(f"{MAIN}/command", ["x" * 257])], ["command", "256"]),
    "long-name": ([("metadata/name", "n" * 50)], ["metadata.name", "49"]),
    "unsupported": ([(f"{POD}/hostNetwork", True)], ["spec.template.spec.hostNetwork"]),
    "all-at-once": (
        [(f"{MAIN}/image", "${IMAGE}"), (f"{MAIN}/args", 3), (f"{POD}/hostNetwork", True)],
        ["containers[0].image", "containers[0].args", "hostNetwork"],
    ),
}


@pytest.mark.parametrize(("changes", "says"), MANIFESTS.values(), ids=MANIFESTS)
def test_a_manifest_that_cannot_run_is_refused_before_any_request(changes, says, local) -> None:
    with pytest.raises(ManifestError) as caught:
        CplnJob(v1_job=_manifest(*changes), location="local-1").trigger()
    for text in says:
        assert text in str(caught.value)
    assert len(caught.value.faults) >= (3 if len(changes) > 1 else 1)
    assert local.platform.requests == []


def test_without_a_token_the_fields_and_the_variable_are_named(local, monkeypatch) -> None:
    monkeypatch.delenv("CPLN_TOKEN")
    with pytest.raises((ConfigurationError, ValidationError), match="CPLN_TOKEN"):
        CplnJob(
            v1_job=kubernetes_job(LINES), credentials=CplnCredentials(config=CplnConfig())
        ).trigger()
    assert local.platform.requests == []


def test_a_refused_token_is_said_once_with_the_fix(local, monkeypatch) -> None:
    monkeypatch.setenv("CPLN_TOKEN", "s.of-another-platform")
    with pytest.raises(UnauthorizedError) as caught:
        CplnJob(v1_job=kubernetes_job(LINES)).trigger()
    assert "CPLN_TOKEN" in str(caught.value)
    assert "Control Plane Configuration block" in str(caught.value)
    assert len(local.platform.requests) == 1


def test_a_missing_permission_is_named(local) -> None:
    message = 'serviceaccount x requires permission "create" in workload'
    local.platform.faults.add(
        Fault(method="POST", path="/workload$", status=403, message=message, times=None)
    )
    with pytest.raises(ForbiddenError) as caught:
        CplnJob(v1_job=kubernetes_job(LINES)).trigger()
    assert message in str(caught.value)
    assert "grant the permission" in str(caught.value)
    assert local.platform.workloads() == []


def test_an_endpoint_that_does_not_answer_is_named_with_its_setting(local, monkeypatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    monkeypatch.setenv("CPLN_ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("CPLN_RETRY_SECONDS", "0")
    with pytest.raises(TransportError) as caught:
        CplnJob(v1_job=kubernetes_job(LINES)).trigger()
    assert f"127.0.0.1:{port}" in str(caught.value)
    assert "CPLN_ENDPOINT" in str(caught.value)


@pytest.mark.parametrize("status", [401, 403])
def test_refused_logs_are_said_once_and_the_job_goes_on(status, caplog) -> None:
    message = 'requires permission "readLogs" in org local'
    faults = (Fault(path="/logs/", status=status, message=message, times=None),)
    outcome = anyio.run(scripted.outcome_of, scripted.Cell(faults=faults))
    assert outcome.error is None
    assert outcome.result == ""
    assert outcome.workloads == []
    (said,) = [line for line in caplog.messages if "bind the permission" in line]
    assert "readLogs" in said


def test_lines_that_were_read_before_are_kept_when_the_rest_is_refused(caplog) -> None:
    faults = (Fault(method="GET", path="/query_range$", status=403, times=None),)
    outcome = anyio.run(scripted.outcome_of, scripted.Cell(faults=faults))
    assert texts(outcome.result) == scripted.LINES
    assert len([line for line in caplog.messages if "bind the permission" in line]) == 1


@pytest.mark.parametrize("field", ["org", "namespace"])
def test_an_empty_field_is_named(field) -> None:
    given = {"org": "acme", "namespace": "dev", "v1_job": kubernetes_job(LINES)}
    with pytest.raises(
        ConfigurationError,
        match=f"^CplnJob: {field} is not given, and CPLN_.* is not set: give {field}=",
    ):
        CplnJob(**given | {field: ""})


def test_a_prefect_server_that_the_job_cannot_reach_is_warned_about(caplog) -> None:
    manifest = _manifest(
        (f"{MAIN}/env", [{"name": "PREFECT_API_URL", "value": "http://127.0.0.1:4200/api"}])
    )
    outcome = anyio.run(scripted.outcome_of, scripted.Cell(fields={"v1_job": manifest}))
    assert outcome.error is None
    (said,) = [line for line in caplog.messages if "PREFECT_API_URL" in line]
    assert "[CPLN] Init" in said
    assert "container main is a loopback address" in said
