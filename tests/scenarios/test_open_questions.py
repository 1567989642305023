"""What the platform's documentation leaves open does not matter to a job.

Both answers are tried; the harsher one is the default.
"""

import pytest

from cpln_flows import CplnJob, JobFailedError, JobTimeoutError, run_namespaced_job
from cpln_flows.emulator import Platform, PlatformConfig
from tests.manifests import FAILING, FOREVER, LINES, kubernetes_job, texts

pytestmark = [pytest.mark.usefixtures("prefect_api")]


def switched(**config):
    """Platforms for the fixture ``local``, one for each position of a switch."""
    ((name, values),) = config.items()
    makers = [
        pytest.param(lambda v=value: Platform(PlatformConfig(**{name: v})), id=f"{name}-{value}")
        for value in values
    ]
    return pytest.mark.parametrize("local", makers, indirect=True)


def test_the_defaults_are_the_harsher_answers() -> None:
    config = PlatformConfig()
    assert config.final_stage_after_stop == "failed"
    assert config.post_body == "text"
    assert config.command_retention_seconds is not None
    assert config.delete_delay_seconds > 0


@switched(final_stage_after_stop=["failed", "cancelled"])
def test_a_job_that_was_stopped_is_known_as_such_whatever_its_final_stage(local) -> None:
    with pytest.raises(JobTimeoutError, match="it was stopped"):
        run_namespaced_job(CplnJob(v1_job=kubernetes_job(FOREVER), timeout_seconds=1))
    assert local.platform.active_jobs == []


@switched(post_body=["text", "json"])
def test_a_job_is_started_once_whatever_the_answer_holds(local) -> None:
    assert texts(run_namespaced_job(CplnJob(v1_job=kubernetes_job(LINES)))) == [
        f"line {n}" for n in range(5)
    ]
    assert local.platform.jobs_started == 1


@switched(command_retention_seconds=[None, 0.0])
def test_a_job_whose_command_is_forgotten_at_its_end_has_its_result(local) -> None:
    job = CplnJob(v1_job=kubernetes_job(LINES), delete_after_completion=False)
    assert texts(run_namespaced_job(job)) == [f"line {n}" for n in range(5)]
    failing = CplnJob(v1_job=kubernetes_job(FAILING), delete_after_completion=False)
    with pytest.raises(JobFailedError) as caught:
        run_namespaced_job(failing)
    assert caught.value.exit_code == 3
    assert len(local.platform.commands()) == (
        2 if local.platform.config.command_retention_seconds is None else 0
    )


@switched(delete_delay_seconds=[0.0, 2.0])
def test_a_job_ends_without_waiting_for_the_deletion_of_its_workload(local) -> None:
    for _ in range(2):
        assert texts(run_namespaced_job(CplnJob(v1_job=kubernetes_job("print('x')")))) == ["x"]
    deleted = [request.path for request in local.platform.requests if request.method == "DELETE"]
    assert len(deleted) == 2
