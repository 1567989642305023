"""Kubernetes Jobs to change, and what the conversion says of them."""

from typing import Any

import pytest

from cpln_flows.errors import ManifestError
from cpln_flows.manifest.conversion import convert
from cpln_flows.manifest.manifest import JobManifest
from tests.manifests import changed

POD = "spec.template.spec"
MAIN = f"{POD}.containers[0]"
AMOUNTS = {"limits": {"cpu": "500m", "memory": "512Mi"}}
JOB = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {"name": "etl"},
    "spec": {
        "template": {
            "spec": {
                "containers": [{"name": "main", "image": "ubuntu:24.04", "resources": AMOUNTS}]
            }
        }
    },
}


def converted(*changes: tuple[str, Any]) -> JobManifest:
    """The job with some changes."""
    return convert(changed(JOB, *changes), gvc="dev")


def faults(*changes: tuple[str, Any]) -> dict[str, str]:
    """Return what is wrong with the job after some changes, by path; each place has one message."""
    with pytest.raises(ManifestError) as caught:
        converted(*changes)
    found = {fault.path: fault.message for fault in caught.value.faults}
    assert len(found) == len(caught.value.faults)
    return found


def notes(job: JobManifest) -> dict[str, str]:
    """The notes of a job, by path."""
    return {note.path: note.message for note in job.notes}
