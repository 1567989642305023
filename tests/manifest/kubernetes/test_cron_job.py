"""A Kubernetes CronJob runs when it is asked for, like a Job."""

from dataclasses import replace

import pytest

from cpln_flows.errors import ManifestError
from cpln_flows.manifest.conversion import convert
from tests.manifest.kubernetes.jobs import JOB, notes
from tests.manifests import changed

CRON_JOB = {
    "apiVersion": "batch/v1",
    "kind": "CronJob",
    "metadata": {"name": "nightly"},
    "spec": {"schedule": "0 3 * * *", "jobTemplate": {"spec": JOB["spec"]}},
}


def test_job_of_a_cron_job_is_that_of_its_template() -> None:
    made = convert(CRON_JOB, gvc="dev")
    assert list(notes(made)) == ["spec.schedule"]
    assert replace(made, notes=()) == replace(convert(JOB, gvc="dev"), name="nightly")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("spec.concurrencyPolicy", "Forbid"),
        ("spec.startingDeadlineSeconds", 5),
        ("spec.successfulJobsHistoryLimit", 3),
        ("spec.failedJobsHistoryLimit", 1),
        ("spec.timeZone", "Etc/UTC"),
        ("spec.suspend", True),
    ],
)
def test_what_only_a_schedule_needs_is_noted(path, value) -> None:
    assert path in notes(convert(changed(CRON_JOB, (path, value)), gvc="dev"))


def test_faults_have_their_paths_in_the_template() -> None:
    path = "spec.jobTemplate.spec.template.spec.hostNetwork"
    with pytest.raises(ManifestError) as caught:
        convert(changed(CRON_JOB, (path, True), ("spec.odd", 1)), gvc="dev")
    assert {fault.path for fault in caught.value.faults} == {path, "spec.odd"}
